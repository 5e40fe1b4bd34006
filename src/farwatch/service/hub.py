"""The live stream: what has changed since a cursor, for whoever looks.

Committing threads `publish`, readers `wait`. Everything since a cursor is found in a ring of ticks; a tick (one batch of one run) is cut
into series once and its JSON is made once, however many browsers ask. Answers are coalesced, never queued: a slow reader gets fewer and
larger ones.

A position is (commit number, count within it), written `epoch:seq` or `epoch:seq.n`; an answer of a list or chart at commit number
`seq` continues at `epoch:seq`. A cursor of another epoch, of before this process, or of the future is answered by `reset`.
"""

import asyncio
import bisect
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from farwatch.clock import Clock
from farwatch.errors import BusyError, NotFoundError
from farwatch.service.news import Changes, encoded, lines_of, points_of
from farwatch.service.subscription import Subscription
from farwatch.service.ticks import Tick
from farwatch.settings import Settings
from farwatch.store.base import Decoded, Writer

RING_BYTES = 32 << 20
RING_TICKS = 50_000
COALESCE_S = 0.05
ALERTS_KEPT = 1_000  # a reader that is further behind asks for the list
ROW_S = 0.5  # a run whose only news is points shows a new row this often
WAIT_MAX_S = 25.0
NAMES_MAX = 100_000  # names remembered per run to notice new ones
EVERYTHING = "*"


class Position(NamedTuple):
    """A place in the stream of changes."""

    seq: int
    minor: int = 0


NOWHERE = Position(-1)


@dataclass(slots=True)
class _Run:
    """What the hub knows of a run: ticks in the ring, and when its row last changed."""

    ticks: deque[Tick] = field(default_factory=deque)
    lost: Position = NOWHERE  # ticks up to here have left the ring
    row_at: Position = NOWHERE
    row_mono: float = -1e9
    project: str | None = None
    known: set[str] = field(default_factory=set)
    cached: tuple[Position, bytes | None] | None = None


class _Waiter:
    __slots__ = ("event", "subscription")

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.event = asyncio.Event()


Row = Callable[[str], dict[str, Any]]
Encode = Callable[[Any], bytes]


class Hub:
    """Hands changes to those who wait for them.

    *Threads*: `publish` and `touch` may be called from any thread; `wait` only on the loop that `attach` named. The lock is held for memory
    operations only. *Ordering*: `publish` is called in commit order. *Cost*: publishing costs some 10 µs where nobody looks; nothing runs
    while nothing happens.

    `row`: gives a run's row, or raises `NotFoundError` for one that is gone. `seq`: commit number at the start. `console_base`: what to
    add to a writer's own line numbers.
    """

    def __init__(
        self,
        epoch: str,
        seq: int,
        row: Row,
        settings: Settings,
        clock: Clock,
        *,
        console_base: Callable[[str], int] = lambda writer_id: 0,
    ) -> None:
        self.epoch = epoch
        self.row = row
        self.console_base = console_base
        self._settings = settings
        self._clock = clock
        self._base = self._now = Position(seq)
        self._runs: dict[str, _Run] = {}
        self._ring: deque[Tick] = deque()
        self._ring_bytes = 0
        self._lock = threading.Lock()
        self._waiters: set[_Waiter] = set()
        self._alerts: deque[tuple[Position, str | None, str | None, bytes]] = deque(maxlen=ALERTS_KEPT)
        self._changed: set[str] = set()
        self._rows_changed = False
        self._due: set[str] = set()
        self._ripening = False
        self._waking = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: dict[str, int] = {}
        self._refreshing: dict[str, asyncio.Future[None]] = {}
        self._closed = False

    @property
    def seq(self) -> int:
        """Commit number of the last change that is visible to readers."""
        return self._now.seq

    @property
    def cursor(self) -> str:
        """Where a stream that begins now begins."""
        return self._write(self._now)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop on which readers wait."""
        self._loop = loop

    def publish(self, seq: int, writer: Writer, decoded: Decoded) -> None:
        """Tell readers of one committed batch; its points are visible in the store already."""
        mono = self._clock.mono_us() / 1e6
        tick = Tick(writer, decoded)
        if tick.has_lines:
            tick.line_base = self.console_base(writer.writer_id)
        with self._lock:
            now = self._advance(seq)
            tick.place = now
            run = self._runs.setdefault(writer.run, _Run())
            if len(run.known) < NAMES_MAX and not run.known.issuperset(decoded.names):
                tick.new_names = [name for name in decoded.names if name not in run.known]
                run.known.update(tick.new_names)
            run.ticks.append(tick)
            self._ring.append(tick)
            self._ring_bytes += tick.size
            while self._ring and (self._ring_bytes > RING_BYTES or len(self._ring) > RING_TICKS):
                self._forget(self._ring.popleft())
            self._changed.add(writer.run)
            if mono - run.row_mono >= ROW_S:
                self._row_changes(run, now, mono)
            else:
                self._due.add(writer.run)
            wake = self._wakes()
        if wake is not None:
            wake.call_soon_threadsafe(self._pump)

    def touch(self, run_id: str) -> None:
        """Tell readers that something of a run's row has changed, or that the run is gone."""
        mono = self._clock.mono_us() / 1e6
        with self._lock:
            now = self._advance(self._now.seq)
            self._row_changes(self._runs.setdefault(run_id, _Run()), now, mono)
            self._due.discard(run_id)
            self._changed.add(run_id)
            wake = self._wakes()
        if wake is not None:
            wake.call_soon_threadsafe(self._pump)

    def alert(self, run_id: str | None, project: str | None, row: dict[str, Any]) -> None:
        """Tell readers that an alert has changed; `run_id` and `project` are None if it is about the server."""
        body = encoded(row)
        with self._lock:
            now = self._advance(self._now.seq)
            self._alerts.append((now, run_id, project, body))
            self._rows_changed = True
            if run_id is not None:
                self._changed.add(run_id)
            wake = self._wakes()
        if wake is not None:
            wake.call_soon_threadsafe(self._pump)

    def close(self) -> None:
        """Answer all readers now; later ones are answered at once. Called on the loop."""
        self._closed = True
        for waiter in self._waiters:
            waiter.event.set()

    def _advance(self, seq: int) -> Position:
        now = self._now
        self._now = Position(seq) if seq > now.seq else Position(now.seq, now.minor + 1)
        return self._now

    def _row_changes(self, run: _Run, now: Position, mono: float) -> None:
        run.row_at, run.row_mono = now, mono
        self._rows_changed = True

    def _forget(self, tick: Tick) -> None:
        run = self._runs[tick.writer.run]
        run.ticks.popleft()
        run.lost = tick.place
        self._ring_bytes -= tick.size

    def _wakes(self) -> asyncio.AbstractEventLoop | None:
        if self._waking or not self._waiters or self._loop is None:
            return None
        self._waking = True
        return self._loop

    def _pump(self) -> None:
        with self._lock:
            changed, self._changed = self._changed, set()
            rows, self._rows_changed = self._rows_changed, False
            self._waking = False
            ripen = bool(self._due) and not self._ripening
            self._ripening = self._ripening or ripen
        for waiter in self._waiters:
            subscription = waiter.subscription
            if (rows and subscription.project is not None) or any(map(subscription.watches, changed)):
                waiter.event.set()
        if ripen and self._loop is not None:
            self._loop.call_later(ROW_S, self._ripen)

    def _ripen(self) -> None:
        """Show the rows that were held back while points came in."""
        mono = self._clock.mono_us() / 1e6
        with self._lock:
            self._ripening = False
            due, self._due = self._due, set()
            if due:
                now = self._advance(self._now.seq)
                for run_id in due:
                    self._row_changes(self._runs[run_id], now, mono)
            self._changed |= due
            self._waking = True
        self._pump()

    def _write(self, place: Position) -> str:
        return f"{self.epoch}:{place.seq}.{place.minor}" if place.minor else f"{self.epoch}:{place.seq}"

    def _read(self, cursor: str) -> Position | None:
        """The position of a cursor; None if this stream cannot continue from there."""
        epoch, _, rest = cursor.rpartition(":")
        seq, _, minor = rest.partition(".")
        if epoch != self.epoch or not (seq.isascii() and seq.isdigit() and len(seq) < 19):
            return None
        if minor and not (minor.isascii() and minor.isdigit() and len(minor) < 19):
            return None
        place = Position(int(seq), int(minor or 0))
        return place if self._base <= place <= self._now else None

    @contextmanager
    def _admit(self, actor: str) -> Iterator[None]:
        if sum(self._open.values()) >= self._settings.streams_max:
            raise BusyError("too many open streams", hint="close some pages", retry_after_s=5)
        if self._open.get(actor, 0) >= self._settings.streams_per_actor:
            raise BusyError("too many open streams of one person", hint="close some pages", retry_after_s=5)
        self._open[actor] = self._open.get(actor, 0) + 1
        try:
            yield
        finally:
            self._open[actor] -= 1
            if not self._open[actor]:
                del self._open[actor]

    async def wait(
        self,
        subscription: Subscription,
        cursor: str | None,
        wait_s: float,
        actor: str,
        gone: asyncio.Event | None = None,
    ) -> bytes:
        """What has changed since `cursor`, as JSON: at once if something has, else when something does, or after `wait_s` seconds.

        `cursor`: None begins now and answers at once. `actor`: whose streams are counted together. `gone`: set when nobody listens any
        more. Raises `BusyError` beyond the limits of open streams.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + min(max(wait_s, 0.0), WAIT_MAX_S)
        place = self._now if cursor is None else self._read(cursor)
        if cursor is None or place is None:
            return self._answer(self._now, place is None, Changes())
        waiter = _Waiter(subscription)
        with self._admit(actor):
            self._waiters.add(waiter)
            if self._due:
                self._pump()  # rows held back while nobody looked
            try:
                while True:
                    waiter.event.clear()
                    if self._has_news(subscription, place) and began + COALESCE_S > loop.time():
                        await asyncio.sleep(began + COALESCE_S - loop.time())
                    now, changes = await self._collect(subscription, place)
                    left = deadline - loop.time()
                    if changes.any or left <= 0 or self._closed or (gone is not None and gone.is_set()):
                        return self._answer(now, False, changes)
                    try:
                        await asyncio.wait_for(waiter.event.wait(), left)
                    except TimeoutError:
                        pass
            finally:
                self._waiters.discard(waiter)

    def wake(self, gone: asyncio.Event, waiter_of: Subscription) -> None:
        """Let the reader of a subscription look up, because nobody listens to it any more."""
        gone.set()
        for waiter in self._waiters:
            if waiter.subscription is waiter_of:
                waiter.event.set()

    def _has_news(self, subscription: Subscription, place: Position) -> bool:
        with self._lock:
            if subscription.project is not None and any(run.row_at > place for run in self._runs.values()):
                return True
            if self._alerts_since(subscription, place):
                return True
            watched = [
                self._runs.get(run)
                for run in (*subscription.runs, *subscription.series, *subscription.console)
            ]
            return any(
                run and (run.row_at > place or (run.ticks and run.ticks[-1].place > place)) for run in watched
            )

    def _alerts_since(self, subscription: Subscription, place: Position) -> list[bytes]:
        """Alerts that have changed, in order. The lock is held."""
        if not self._alerts or self._alerts[-1][0] <= place:
            return []
        listed = []
        for at, run_id, project, body in reversed(self._alerts):
            if at <= place:
                break
            if run_id in subscription.runs or subscription.project == EVERYTHING or project in (None, subscription.project):
                listed.append(body)
        return listed[::-1]

    async def _collect(self, subscription: Subscription, place: Position) -> tuple[Position, "Changes"]:
        changes = Changes()
        with self._lock:
            now = self._now
            if subscription.project is not None:
                rows = [one for one, run in self._runs.items() if run.row_at > place]
            else:
                rows = [
                    one for one in subscription.runs if one in self._runs and self._runs[one].row_at > place
                ]
            ticks = {
                run_id: _since(run.ticks, place)
                for run_id in {*subscription.runs, *subscription.series, *subscription.console}
                if (run := self._runs.get(run_id)) is not None and run.ticks and run.ticks[-1].place > place
            }
            changes.alerts = self._alerts_since(subscription, place)
            lost = {run_id for run_id in ticks if self._runs[run_id].lost > place}
        for run_id, found in ticks.items():
            if run_id in subscription.series:
                changes.points += points_of(found, subscription.series[run_id], run_id in lost)
            if run_id in subscription.console:
                changes.console += lines_of(found)
            if run_id in subscription.runs or run_id in subscription.series:
                changes.note_names(run_id, found)
        if rows:
            await self._rows(rows, subscription, changes)
        return now, changes

    async def _rows(self, ids: list[str], subscription: Subscription, changes: "Changes") -> None:
        """Add changed rows, each read and encoded once per change for all readers."""
        needed = {one: self._runs[one].row_at for one in ids}
        while stale := [
            one
            for one, place in needed.items()
            if (seen := self._runs[one].cached) is None or seen[0] < place
        ]:
            mine = [one for one in stale if one not in self._refreshing]
            if mine:
                reading = asyncio.get_running_loop().run_in_executor(None, self._refresh, mine)
                self._refreshing.update(dict.fromkeys(mine, reading))
                reading.add_done_callback(partial(self._refreshed, mine))
            done, _ = await asyncio.wait({self._refreshing[one] for one in stale if one in self._refreshing})
            for reading in done:
                reading.result()
        for one in ids:
            run = self._runs[one]
            wanted = one in subscription.runs or subscription.project in (EVERYTHING, run.project)
            if not wanted or run.cached is None:
                continue
            if run.cached[1] is None:
                changes.removed.append(one)
            else:
                changes.rows.append(run.cached[1])

    def _refreshed(self, ids: list[str], _: object) -> None:
        for one in ids:
            self._refreshing.pop(one, None)

    def _refresh(self, ids: list[str]) -> None:
        for one in ids:
            run = self._runs[one]
            place = run.row_at
            try:
                row = self.row(one)
            except NotFoundError:
                run.cached = (place, None)
                continue
            run.project = row.get("project", run.project)
            run.cached = (place, None if row.get("deleted_ms") else encoded(row))

    def _answer(self, now: Position, reset: bool, changes: "Changes") -> bytes:
        head = {
            "cursor": self._write(now),
            "reset": reset,
            "removed": changes.removed,
            "now_ms": self._clock.wall_us() // 1000,
        }
        return b"".join(
            (
                encoded(head)[:-1],
                b',"runs":[',
                b",".join(changes.rows),
                b'],"points":[',
                b",".join(changes.points),
                b'],"console":[',
                b",".join(changes.console),
                b'],"alerts":[',
                b",".join(changes.alerts),
                b'],"new_metrics":',
                encoded(changes.new_metrics),
                b',"media":',
                encoded(changes.media),
                b"}",
            )
        )


def _since(ticks: deque[Tick], place: Position) -> list[Tick]:
    listed = list(ticks)
    return listed[bisect.bisect_right(listed, place, key=lambda tick: tick.place) :]
