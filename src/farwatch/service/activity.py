"""What changes with every batch, in memory: counts, steps, signs of life. Written to the meta database every few seconds.

The store's log brings back what a crash loses: the database notes up to which commit these numbers are in it (`applied_seq`), and
they are written together with that note.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from farwatch.clock import Clock
from farwatch.store.base import Decoded
from farwatch.store.meta import Meta, RunRow, WriterRow, Writes
from farwatch.store.meta.database import APPLIED_SEQ

SYSTEM_PREFIX = "system/"


@dataclass(slots=True)
class Pauses:
    """How a run logs, learned since the server's start: when it last did, on the monotonic clock, its longest pause so far,
    and how many pauses that is the longest of.
    """

    logged_us: int = 0
    longest_us: int = 0
    count: int = 0

    def logged(self, now_us: int) -> None:
        """A call has come."""
        if self.logged_us:
            self.longest_us = max(self.longest_us, now_us - self.logged_us)
            self.count += 1
        self.logged_us = now_us


@dataclass(slots=True)
class Live:
    """A run's numbers as they are now. `fresh`: metrics whose summary is older than their points; None means all.
    `heard_us`: on the monotonic clock, when one of its writers or their agents last spoke. `unseen`: its process runs
    where its agent cannot see it, so that only records tell that it lives.
    """

    points: int
    bytes: int
    step: float | None
    modified_ms: int
    contact_ms: int
    first_metric: str | None
    attempt_steps: dict[int, tuple[float, float]] = field(default_factory=dict)
    fresh: set[str] | None = field(default_factory=set)
    dirty: bool = False
    heard_us: int = 0
    unseen: bool = False
    pauses: Pauses = field(default_factory=Pauses)


@dataclass(slots=True)
class Sign:
    """Signs of life of a writer.

    `contact_us`, `alive_us`, `gone_us`: on the monotonic clock, when it or its agent last spoke, when the agent last said that its
    process lives, and when it first said that it does not. `last_ms`: time of its newest record, by its own clock.
    """

    contact_us: int = 0
    alive_us: int = 0
    gone_us: int = 0
    last_ms: int = 0
    written_ms: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Numbers of runs by row number, exactly as they stood at commit `seq`."""

    seq: int
    runs: dict[int, Live]


class Activity:
    """Numbers of all runs that have changed since the start.

    *Threads*: `note` by one committing thread; the rest by any.
    """

    def __init__(self, meta: Meta, clock: Clock) -> None:
        self._meta = meta
        self._clock = clock
        self._lock = threading.Lock()
        self._live: dict[int, Live] = {}
        self._signs: dict[str, Sign] = {}
        self.applied_seq = meta.start_seq
        self._written_seq = meta.start_seq

    def live(self, run: RunRow) -> Live:
        """The numbers of a run."""
        found = self._live.get(run.no)
        if found is None:
            fresh = Live(run.points, run.bytes, run.step, run.modified_ms, run.contact_ms, run.first_metric)
            found = self._live.setdefault(run.no, fresh)
        return found

    def sign(self, writer_id: str) -> Sign:
        """The signs of life of a writer."""
        return self._signs.get(writer_id) or self._signs.setdefault(writer_id, Sign())

    def overlay(self, run: RunRow) -> RunRow:
        """A run's row with its newest numbers."""
        live = self._live.get(run.no)
        if live is None or (
            live.points == run.points
            and live.modified_ms <= run.modified_ms
            and live.contact_ms <= run.contact_ms
            and live.bytes == run.bytes
            and live.step == run.step
            and live.first_metric == run.first_metric
        ):
            return run  # most runs of a long list are as the database has them, and `replace` is slow
        return replace(
            run,
            points=live.points,
            bytes=live.bytes,
            step=live.step,
            modified_ms=max(live.modified_ms, run.modified_ms),
            contact_ms=max(live.contact_ms, run.contact_ms),
            first_metric=live.first_metric,
        )

    def note(
        self,
        seq: int,
        batches: Iterable[tuple[RunRow, WriterRow, Decoded, int]],
        *,
        replayed: bool = False,
    ) -> None:
        """Count committed batches (run, writer, content, packed bytes) up to commit `seq`.

        `replayed`: they came before the server's start, so that their runs were not heard of now but when they were logged.
        """
        now_ms = self._clock.wall_us() // 1000
        now_us = self._clock.mono_us()
        with self._lock:
            for run, writer, decoded, size in batches:
                at_ms = min(_newest_ms(decoded), now_ms) if replayed else now_ms
                self._note(self.live(run), run, writer, decoded, size, at_ms)
                sign = self.sign(writer.id)
                sign.contact_us = now_us
                sign.last_ms = max(sign.last_ms, min(_newest_ms(decoded), now_ms))
            self.applied_seq = max(self.applied_seq, seq)

    def _note(
        self, live: Live, run: RunRow, writer: WriterRow, decoded: Decoded, size: int, now_ms: int
    ) -> None:
        live.dirty = True
        live.modified_ms = max(live.modified_ms, now_ms)
        live.contact_ms = max(live.contact_ms, now_ms)
        live.heard_us = self._clock.mono_us()
        live.bytes += size
        count = len(decoded.index)
        if not count:
            return
        live.points += count
        if live.fresh is not None:
            live.fresh.update(decoded.names)
        if writer.role == "system" or writer.rank != 0:
            return
        live.pauses.logged(live.heard_us)
        low, high = float(decoded.points.steps.min()), float(decoded.points.steps.max())
        first, last = live.attempt_steps.get(writer.attempt, (float(decoded.points.steps[0]), high))
        live.attempt_steps[writer.attempt] = (min(first, low), max(last, high))
        if writer.attempt == run.attempt:
            live.step = max(last, high)
        if live.first_metric is None:
            live.first_metric = next(
                (name for name in decoded.names if not name.startswith(SYSTEM_PREFIX)), None
            )

    def touch(self, run: RunRow, *, all_metrics: bool = False, names: Iterable[str] = ()) -> None:
        """Note that a run's summary is stale."""
        with self._lock:
            live = self.live(run)
            live.dirty = True
            if all_metrics:
                live.fresh = None
            elif live.fresh is not None:
                live.fresh.update(names)

    def contact(self, run: RunRow, writer_id: str, *, alive: bool | None) -> None:
        """Note that a writer's agent has spoken, and whether it says that the process lives; None: it cannot say."""
        now_us = self._clock.mono_us()
        sign = self.sign(writer_id)
        if alive is not None:
            sign.contact_us = now_us
        if alive:
            sign.alive_us = now_us
        elif alive is False and not sign.gone_us:
            sign.gone_us = now_us
        with self._lock:
            live = self.live(run)
            live.unseen = alive is None
            if alive is not None:
                live.heard_us = now_us
                live.contact_ms = self._clock.wall_us() // 1000

    def arrived(self, run: RunRow, writer_id: str) -> None:
        """Note that a writer has registered."""
        sign = self.sign(writer_id)
        sign.contact_us = self._clock.mono_us()
        with self._lock:
            live = self.live(run)
            live.heard_us = sign.contact_us
            live.contact_ms = self._clock.wall_us() // 1000

    def heard(self, run_no: int) -> tuple[int, bool]:
        """When a run was last heard of, on the monotonic clock, 0 if not since the start; and whether it is unseen."""
        live = self._live.get(run_no)
        return (0, False) if live is None else (live.heard_us, live.unseen)

    def pauses(self, run_no: int) -> Pauses | None:
        """How a run logs; None if it has not since the start."""
        live = self._live.get(run_no)
        return None if live is None else live.pauses

    def settle(self, seq: int) -> None:
        """Note that everything up to a commit is applied; for commits that bring nothing."""
        with self._lock:
            self.applied_seq = max(self.applied_seq, seq)

    def take_fresh(self, run: RunRow) -> set[str] | None:
        """The metrics whose summary must be made again, which is then up to the caller; None means all."""
        with self._lock:
            live = self.live(run)
            taken, live.fresh = live.fresh, set()
            return taken

    def stale(self, run_no: int) -> bool:
        """Whether `take_fresh` would give something."""
        live = self._live.get(run_no)
        return live is not None and (live.fresh is None or bool(live.fresh))

    def dirty(self) -> list[int]:
        """Runs whose numbers are not in the database."""
        with self._lock:
            return [no for no, live in list(self._live.items()) if live.dirty]

    @property
    def unwritten(self) -> bool:
        """Whether the database is behind."""
        return self.applied_seq != self._written_seq or any(live.dirty for live in list(self._live.values()))

    def take(self) -> "Snapshot":
        """The numbers that the database lacks, and the commit up to which they count; the caller writes them or puts them back."""
        with self._lock:
            taken = {
                no: replace(live, attempt_steps=dict(live.attempt_steps))
                for no, live in list(self._live.items())
                if live.dirty
            }
            for no in taken:
                self._live[no].dirty = False
            return Snapshot(self.applied_seq, taken)

    def put_back(self, snapshot: "Snapshot") -> None:
        """Undo `take` when writing has failed."""
        with self._lock:
            for no in snapshot.runs:
                if no in self._live:
                    self._live[no].dirty = True

    def write(self, writes: Writes, snapshot: "Snapshot") -> None:
        """Write numbers, and the commit up to which they count, in one transaction."""
        for no, live in snapshot.runs.items():
            self._write_run(writes, no, live)
        for writer_id, sign in list(self._signs.items()):
            row = writes.writer(writer_id) if sign.last_ms > sign.written_ms else None
            if row is not None and sign.last_ms > row.last_ms:
                writes.put_writer(replace(row, last_ms=sign.last_ms))
            sign.written_ms = sign.last_ms
        writes.set_setting(APPLIED_SEQ, snapshot.seq)
        writes.after_commit(lambda: setattr(self, "_written_seq", snapshot.seq))

    def _write_run(self, writes: Writes, no: int, live: Live) -> None:
        row = writes.run(no)
        if row is None or row.purged:
            return
        writes.put_run(
            replace(
                row,
                points=live.points,
                bytes=live.bytes,
                step=live.step,
                modified_ms=max(live.modified_ms, row.modified_ms),
                contact_ms=max(live.contact_ms, row.contact_ms),
                first_metric=live.first_metric,
            )
        )
        if live.attempt_steps:
            for attempt in writes.attempts(no):
                steps = live.attempt_steps.get(attempt.attempt)
                if steps is not None:
                    first = steps[0] if attempt.first_step is None else min(attempt.first_step, steps[0])
                    last = steps[1] if attempt.last_step is None else max(attempt.last_step, steps[1])
                    if (first, last) != (attempt.first_step, attempt.last_step):
                        writes.put_attempt(replace(attempt, first_step=first, last_step=last))

    def forget(self, run_no: int) -> None:
        """Drop the numbers of a run that is gone."""
        with self._lock:
            self._live.pop(run_no, None)


def _newest_ms(decoded: Decoded) -> int:
    newest = int(np.max(decoded.points.times)) // 1000 if len(decoded.points.times) else 0
    for other in decoded.others[-1:]:
        newest = max(newest, other.time_us // 1000)
    return newest
