"""What happens to runs, told as it happens: started, how far, a line every so often, conditions that people watch, ended, messages.

Committing threads leave word; the switchboard's loop looks every quarter of a second. What was so before the server's start, and what is
older than an hour when it arrives, is told to nobody.
"""

import asyncio
import logging
import mimetypes
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from farwatch.bridges import compose
from farwatch.bridges.audience import Audience, Telling
from farwatch.bridges.base import Attachment, Message, Part, plain
from farwatch.bridges.dispatch import Notice, Urgency
from farwatch.bridges.folding import Folding
from farwatch.bridges.switchboard import Switchboard
from farwatch.clock import Clock
from farwatch.service.ingest import Decoded, Writer
from farwatch.service.people import ChatRow, People
from farwatch.service.runs import RunRow, Runs
from farwatch.wire.records import Kind
from farwatch.wire.states import State

log = logging.getLogger("farwatch.bridges")

TURN_S = 0.25
FRESH_MS = 3_600_000
QUEUED_MAX = 20_000
PROGRESS_S = 1.0  # how often a run's own message is made anew; the dispatcher sends fewer
ATTACHMENT_WAIT_S = 30.0
MILESTONES = (25, 50, 75)  # percent, where a message cannot be changed
IN_MEMORY_MAX = 1 << 20
LINES_MAX = 200  # lines of one run and chat that wait together
SILENT_JOBS = frozenset({"progress"})  # runs that a bar alone has made: its message is all there is to tell


class Contents(Protocol):
    """Where files lie by their hash."""

    def open(self, sha256: str) -> BinaryIO: ...

    def size(self, sha256: str) -> int | None: ...


@dataclass(slots=True)
class _Watch:
    """What was told of one run. `lines`: per chat, the step at which the last line was. `met`: conditions that have come true.

    `late`: what came last was old when it came, as from a program without a network, or a journal that is synced.
    """

    state: str
    attempt: int
    fresh: bool = False  # whether all of it happens while we look
    told_us: int = 0
    closed: bool = False
    late: bool = False
    share: int = 0
    bar_ms: int = 0
    lines: dict[int, float] = field(default_factory=dict)
    line_us: dict[int, int] = field(default_factory=dict)
    met: set[tuple[int, str]] = field(default_factory=set)


class Reporter:
    """Tells of runs. *Threads*: `publish` and `touch` by any, they only leave word; the rest in the switchboard's loop."""

    def __init__(
        self, board: Switchboard, audience: Audience, people: People, runs: Runs, blobs: Contents, clock: Clock,
        link: Callable[[Mapping[str, Any]], str | None], rule_on: Callable[[RunRow, str], bool],
    ) -> None:  # fmt: skip
        self._board = board
        self._audience = audience
        self._people = people
        self._runs = runs
        self._blobs = blobs
        self._clock = clock
        self._link = link
        self._rule_on = rule_on
        self._batches: deque[tuple[Writer, Decoded]] = deque(maxlen=QUEUED_MAX)
        self._touched: set[str] = set()
        self._lock = threading.Lock()  # over `_touched`
        self._watches: dict[int, _Watch] = {run.no: _Watch(run.state, run.attempt, closed=run.final) for run in runs.meta.runs_of(None)}
        self._folding: Folding[tuple[str, str], Mapping[str, Any]] = Folding(self._flush_folded)
        self.beside: Callable[[], bool] = lambda: False  # whether chats other than people's wait for news
        self.active = False  # whether anybody is told anything: without chats nothing is kept

    # --- what others leave

    def publish(self, writer: Writer, decoded: Decoded) -> None:
        """A batch was committed."""
        if self.active:
            self._batches.append((writer, decoded))

    def touch(self, run_id: str) -> None:
        """Something of a run has changed."""
        if self.active:
            with self._lock:
                self._touched.add(run_id)

    # --- the loop

    async def work(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(TURN_S)
            try:
                self.turn()
            except Exception:  # one run's oddity must not end all notices
                log.exception("telling of runs failed")

    def turn(self) -> None:
        """Look at what has come."""
        chats = self._people.chats()
        was, self.active = self.active, bool(chats) or self.beside()
        if not self.active:
            return
        if not was:
            self._catch_up()
        fresh: dict[str, list[Decoded]] = {}
        while self._batches:
            writer, decoded = self._batches.popleft()
            self._messages_of(writer, decoded)
            if len(decoded.index) and writer.rank == 0:
                fresh.setdefault(writer.run, []).append(decoded)
        with self._lock:
            touched, self._touched = self._touched, set()
        for run_id in touched | fresh.keys():
            run = self._runs.meta.run_by_id(run_id)
            if run is not None and not run.purged and run.deleted_ms is None and run.role != "system":
                self._look(run, fresh.get(run_id, []), chats)

    def _catch_up(self) -> None:
        """The first chat has come: what is so already is no news."""
        for run in self._runs.meta.runs_of(None):
            self._watches.setdefault(run.no, _Watch(run.state, run.attempt, closed=run.final))

    def _look(self, run: RunRow, fresh: list[Decoded], chats: list[ChatRow]) -> None:
        now_us = self._clock.mono_us()
        watch = self._watches.get(run.no)
        if watch is None:
            watch = self._watches[run.no] = _Watch("", 0, fresh=True)
            if self._clock.wall_us() // 1000 - run.started_ms > FRESH_MS:
                watch.state, watch.attempt, watch.closed = run.state, run.attempt, run.final
        if run.attempt > watch.attempt and not run.final:
            watch.attempt, watch.closed, watch.share = run.attempt, False, 0
        if watch.closed and run.final:
            watch.state = run.state
            return
        if fresh:
            watch.late = self._clock.wall_us() - max(int(decoded.points.times.max()) for decoded in fresh) > FRESH_MS * 1000
        if watch.late and not (run.final and self._ended_lately(run)):
            watch.state, watch.closed = run.state, run.final
            return
        row = self._runs.describe(run)
        if fresh:
            self._lines(run, row, watch, chats)
            self._conditions(run, row, watch, fresh, chats)
        watch.closed = run.final
        if run.final:
            watch.state = run.state
            self._ended(run, row)
            return
        changed = watch.state != run.state
        watch.state = run.state
        meter = row.get("progress") or {}
        if meter.get("ended") and meter.get("to") and meter["at_ms"] != watch.bar_ms:
            watch.bar_ms, changed = meter["at_ms"], True  # the next bar may be shown in no chat, or in another one
        if changed or now_us - watch.told_us >= PROGRESS_S * 1e6:
            watch.told_us = now_us
            self._progress(run, row, watch)

    # --- the one message of a run

    def _progress(self, run: RunRow, row: Mapping[str, Any], watch: _Watch) -> None:
        share = compose.share_of(row) or 0
        milestone = max((one for one in MILESTONES if watch.share < one <= share), default=None)
        watch.share = max(watch.share, share)
        values = self._values(run)

        def words(chat: ChatRow) -> Message | None:
            bridge = self._board.bridges.get(chat.channel)
            begun = self._board.dispatcher.has(chat.no, progress_key(run))
            if bridge is None or (begun and not bridge.caps.edit and milestone is None):
                return None
            lang, detail = self._people.lang_of(chat), _detail(chat)
            if not begun and (chat.settings.get("events") is False and not bridge.caps.edit):
                return None
            return compose.running(row, values, lang, detail, self._link(row))

        key = progress_key(run)
        self._audience.tell(Telling(Urgency.PROGRESS, key, words, run.project, key=key, to=_named_by_bars(row)))

    def _ended(self, run: RunRow, row: Mapping[str, Any]) -> None:
        values = self._values(run)
        key = progress_key(run)

        def last(chat: ChatRow) -> Message | None:
            bridge = self._board.bridges.get(chat.channel)
            if bridge is None or not bridge.caps.edit:
                return None
            return compose.running({**row, "state": State.RUNNING}, values, self._people.lang_of(chat), _detail(chat), self._link(row))

        if (row.get("progress") or {}).get("leave") is False:
            self._take_back(key)
        else:
            self._audience.tell(Telling(Urgency.PROGRESS, key, last, run.project, key=key, closes=True, to=_named_by_bars(row)))
        if run.job_type in SILENT_JOBS or not self._ended_lately(run):
            return
        if run.state == State.FAILED and self._rule_on(run, "failed"):
            return  # an alert says so, and more
        detail = self._runs.meta.detail(run.no)
        given = list(detail.given)
        tail = detail.traceback or ""

        def words(chat: ChatRow) -> Message:
            return compose.ended(row, values, given, tail, self._people.lang_of(chat), _detail(chat), self._link(row))

        line = partial(compose.ended_line, row)
        telling = Telling(Urgency.EVENT, f"run/{run.no}", words, run.project, digest=line, vital=True)
        if self._folding.take((run.project, run.group_name or ""), bool(run.group_name), row, asyncio.get_running_loop()):
            self._audience.tell(telling)

    def _ended_lately(self, run: RunRow) -> bool:
        return self._clock.wall_us() // 1000 - (run.ended_ms or 0) <= FRESH_MS

    def _take_back(self, key: str) -> None:
        for chat in self._audience.reached(key):
            self._board.dispatcher.post(chat, Notice(Urgency.PROGRESS, key, plain(""), key=key, deletes=True, closes=True))

    def _flush_folded(self, name: tuple[str, str], rows: list[Mapping[str, Any]]) -> None:
        """Many ends of one group of a project, as one message."""
        project, group = name[0], name[1] or name[0]
        values = {row["id"]: row.get("main_last") for row in rows}

        def words(chat: ChatRow) -> Message:
            return compose.folded(group, rows, values, self._people.lang_of(chat), _detail(chat))

        line = partial(compose.folded_line, group, rows)
        self._audience.tell(Telling(Urgency.EVENT, f"group/{group}"[:100], words, project, digest=line))

    # --- lines and conditions

    def _lines(self, run: RunRow, row: Mapping[str, Any], watch: _Watch, chats: list[ChatRow]) -> None:
        """A line of metrics, every so many steps or seconds, where somebody asked for it."""
        now_us = self._clock.mono_us()
        for chat in chats:
            every = chat.settings.get("every") or {}
            if not isinstance(row["step"], int | float):
                continue
            if "steps" not in every:
                watch.lines[chat.no] = float(row["step"])  # from here on, should somebody ask
            if "steps" in every:
                self._lines_by_step(run, row, watch, chat, float(every["steps"]))
            elif every and now_us - watch.line_us.get(chat.no, 0) >= every["s"] * 1e6:
                first = chat.no not in watch.line_us
                watch.line_us[chat.no] = now_us
                if not first:
                    text = compose.metric_line(row, row["step"], self._values(run), self._people.lang_of(chat), _detail(chat))
                    self._say(chat, run, plain(text, silent=True))

    def _lines_by_step(self, run: RunRow, row: Mapping[str, Any], watch: _Watch, chat: ChatRow, every: float) -> None:
        """Lines at whole multiples of `every`, counted from step 1; with the values as they were there, exactly."""
        step = float(row["step"])
        after = watch.lines.setdefault(chat.no, 0.0 if watch.fresh else step)
        places = [every * n for n in range(int(after // every) + 1, int((step + 1) // every) + 1)[-LINES_MAX:]]
        if not places:
            return
        watch.lines[chat.no] = places[-1]
        lang, detail = self._people.lang_of(chat), _detail(chat)
        names = compose.chosen(self._values(run), row.get("main_metric"))
        values = self._values_at(run, names, [place - 1 for place in places])
        lines = [compose.metric_line(row, place, at, lang, detail) for place, at in zip(places, values, strict=True)]
        self._say(chat, run, plain("\n".join(lines), silent=True))

    def _values_at(self, run: RunRow, names: list[str], steps: list[float]) -> list[dict[str, Any]]:
        """The last value of each metric up to each of these steps, ascending."""
        found: list[dict[str, Any]] = [{} for _ in steps]
        for info in self._runs.store.series(run.id, names):
            if info.key.rank != 0 or info.key.attempt != run.attempt:
                continue
            points = self._runs.store.points(info.key, lo=steps[0] - (steps[-1] - steps[0]) - 1, hi=steps[-1])
            for place, step in enumerate(steps):
                known = points.values[points.steps <= step]
                if len(known):
                    found[place][info.key.name] = float(known[-1])
        return found

    def _conditions(
        self, run: RunRow, row: Mapping[str, Any], watch: _Watch, fresh: list[Decoded], chats: list[ChatRow]
    ) -> None:
        """Conditions such as `loss < 0.3` that somebody watches: told once per run, when they come true."""
        for chat in chats:
            for one in chat.settings.get("watch") or ():
                key = (chat.no, f"{one.get('metric')}{one.get('op')}{one.get('value')}{one.get('run') or ''}")
                if key in watch.met or (one.get("run") and one["run"] != run.id):
                    continue
                met = _first_met(fresh, str(one.get("metric")), str(one.get("op")), float(one.get("value", 0.0)))
                if met is None:
                    continue
                watch.met.add(key)
                lang = self._people.lang_of(chat)
                facts = {"name": one["metric"], "op": one["op"], "limit": compose.number(one["value"]), "value": compose.number(met[1])}
                said = compose.say(lang, "condition", **facts)
                step = compose.say(lang, "step", step=compose.number(met[0]))
                text = f"◎ {compose.named(row, _detail(chat), lang)}: {said} · {step}"
                self._say(chat, run, plain(text if _detail(chat) == "full" else f"◎ {compose.say(lang, 'a_run')}"))

    # --- messages of programs

    def _messages_of(self, writer: Writer, decoded: Decoded) -> None:
        for other in decoded.others:
            if other.record.kind != Kind.EVENT:
                continue
            try:
                told = other.record.body().get("notify")
            except ValueError:
                continue
            run = self._runs.meta.run_by_id(writer.run)
            if isinstance(told, Mapping) and run is not None and self._clock.wall_us() - other.time_us < FRESH_MS * 1000:
                self._board.task(self._message(run, writer, dict(told)))

    async def _message(self, run: RunRow, writer: Writer, told: dict[str, Any]) -> None:
        """Send what a program says by `run.notify`, with its picture and file once they have come."""
        picture = await self._attachment(run, writer, told.get("image"), "picture.png", "image/png")
        file = await self._attachment(run, writer, told.get("file"), "file", "application/octet-stream")
        text = str(told.get("text") or "")
        row = self._runs.describe(run)
        await self.tell_message(text, row, picture, () if file is None else (file,))

    async def tell_message(
        self, text: str, row: Mapping[str, Any] | None, picture: Attachment | None, files: tuple[Attachment, ...], **more: Any
    ) -> None:
        """Send a message to everybody. `row`: the run that says it; None for nobody in particular. `more`: fields of `Message`."""

        def words(chat: ChatRow) -> Message:
            if _detail(chat) == "minimal":
                return plain(compose.say(self._people.lang_of(chat), "message"))
            head = f"{compose.named(row, 'full', 'en')}: " if row is not None else ""
            parts = more.get("parts") or (Part(text),)
            named = (Part(head, "bold"),) if head else ()
            return Message((*named, *parts), picture, files, silent=bool(more.get("silent")), preview=bool(more.get("preview")))

        about = "message" if row is None else f"run/{self._runs.meta.run_by_id(row['id']).no}"  # type: ignore[union-attr]
        digest = next((line.strip()[:120] for line in text.splitlines() if line.strip()), "…")

        def line(lang: str, detail: str) -> str:
            return compose.say(lang, "message") if detail == "minimal" else digest

        self._audience.tell(Telling(Urgency.EVENT, about, words, None if row is None else row["project"], digest=line))

    async def _attachment(self, run: RunRow, writer: Writer, told: Any, name: str, media_type: str) -> Attachment | None:
        if not isinstance(told, Mapping) or not isinstance(told.get("spool"), str):
            return None
        end_s = asyncio.get_running_loop().time() + ATTACHMENT_WAIT_S
        while asyncio.get_running_loop().time() < end_s:
            content = await asyncio.to_thread(self._blob_of, writer.writer_id, str(told["spool"]))
            if content is not None:
                kind = told.get("media_type") or mimetypes.guess_type(str(told.get("name") or name))[0] or media_type
                return Attachment(str(told.get("name") or name)[:100], str(kind), content)
            await asyncio.sleep(0.25)
        return None

    def _blob_of(self, writer_id: str, spool: str) -> Path | bytes | None:
        row = self._runs.meta.writer(writer_id)
        if row is None:
            return None
        with self._runs.meta.read() as reads:
            sha256 = reads.spool_hash(row.no, spool)
        if sha256 is None:
            return None
        with self._blobs.open(sha256) as file:
            large = (self._blobs.size(sha256) or 0) > IN_MEMORY_MAX and isinstance(file.name, str)
            return Path(file.name) if large else file.read()

    # --- small parts

    def _say(self, chat: ChatRow, run: RunRow, message: Message) -> None:
        self._audience.say(chat, Telling(Urgency.EVENT, f"run/{run.no}", lambda _: message, run.project))

    def _values(self, run: RunRow) -> dict[str, Any]:
        return self._runs.summary(run) if self._runs.activity.overlay(run).points else dict(self._runs.meta.detail(run.no).given)


def progress_key(run: RunRow) -> str:
    """How the one message of a run is found; a new attempt begins a new one."""
    return f"progress/{run.no}.{run.attempt}"


def _named_by_bars(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple((row.get("progress") or {}).get("to") or ())


def _detail(chat: ChatRow) -> str:
    return str(chat.settings.get("detail") or "full")


def _first_met(fresh: list[Decoded], metric: str, op: str, limit: float) -> tuple[float, float] | None:
    """Step and value of the first new point of a metric that meets a condition."""
    for decoded in fresh:
        if metric not in decoded.names:
            continue
        mine = decoded.index == decoded.names.index(metric)
        values, steps = decoded.points.values[mine], decoded.points.steps[mine]
        met = {"<": values < limit, "<=": values <= limit, ">": values > limit, ">=": values >= limit}.get(op)
        if met is not None and met.any():
            place = int(met.argmax())
            return float(steps[place]), float(values[place])
    return None
