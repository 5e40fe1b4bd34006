"""Feeds the rules: points and events from committed batches, states of runs, and time.

One thread takes what the committing thread has left in a queue. A run's detectors are made when its first batch comes, from the points
that the store has of it, so that a restart of the server forgets nothing.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from farwatch.clock import Clock
from farwatch.errors import FarwatchError
from farwatch.service.alerts import names as naming
from farwatch.service.alerts.context import Context
from farwatch.service.alerts.finding import at_step, shown
from farwatch.service.alerts.register import FIRING, Register
from farwatch.service.alerts.rules import HINT, PROGRAM, RING, RuleBook
from farwatch.service.alerts.states import StateRules
from farwatch.service.alerts.watch import Watch
from farwatch.service.runs import Runs
from farwatch.service.summary import rule_of
from farwatch.settings import Settings
from farwatch.store.base import Decoded, Writer
from farwatch.store.meta import RunRow
from farwatch.wire.records import Kind

log = logging.getLogger("farwatch.alerts")

Submit = Callable[..., Any]  # submit(run_id, op, args, actor=, channel=): puts a command

TURN_S = 0.25  # what waits is looked at so often; half of a second is what an alert may take in all
FRESH_US = 3_600_000_000  # news that are older ring nobody: they come from a journal that was synced late
QUEUED_MAX = 100_000
CATCH_UP = 20  # runs at a time after a start
KEEPS = frozenset({"failed", "out_of_memory", PROGRAM})  # stay after the end of a run
WATCHED = frozenset({"nan", "spike", "plateau", "overfitting", "slow_step", "idle_gpu", "disk_full"})
STOPS = ("nan", "spike", "overfitting", "plateau")


class Engine:
    """Decides about alerts. *Threads*: `publish`, `touch` by any, they only leave word; the rest in a thread of its own, which `start`
    starts, or in that of whoever calls `turn`. `submit`: puts a command that an alert asks for; see `Submit`.
    """

    def __init__(self, runs: Runs, book: RuleBook, register: Register, settings: Settings, clock: Clock) -> None:
        self._runs = runs
        self._meta = runs.meta
        self._book = book
        self._register = register
        self._clock = clock
        self._settings = settings
        self._context = Context(runs, clock)
        self.submit: Submit | None = None
        self._batches: deque[tuple[int, Writer, Decoded]] = deque(maxlen=QUEUED_MAX)
        self._touched: set[str] = set()
        self._watches: dict[int, Watch] = {}
        self._states: dict[int, tuple[str, int]] = {
            run.no: (run.state, run.attempt) for run in self._meta.runs_of(None)
        }
        self._book_version = book.version
        self._lock = threading.Lock()  # over `_touched`
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._states_rules = StateRules(runs, register, self._context, settings, clock)
        now_ms = clock.wall_us() // 1000
        self._unseen = deque(
            run.no
            for run in self._meta.runs_of(None)
            if not run.purged and (not run.final or now_ms - (run.ended_ms or 0) < FRESH_US // 1000)
        )
        runs.alerts_of = register.ringing
        runs.advice_of = self.advice

    # --- what others leave

    def publish(self, seq: int, writer: Writer, decoded: Decoded) -> None:
        """A batch was committed."""
        self._batches.append((seq, writer, decoded))

    def touch(self, run_id: str) -> None:
        """Something of a run has changed."""
        with self._lock:
            self._touched.add(run_id)

    # --- the thread

    def start(self) -> None:
        """Begin to look by itself."""
        self._thread = threading.Thread(target=self._work, name="farwatch-alerts", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; may be called twice."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while not self._wake.wait(TURN_S):
            try:
                self.turn()
            except Exception:  # rules must outlive a fault of ours
                log.exception("looking at the rules failed")

    def turn(self) -> None:
        """Look at everything that has come, and at the clock."""
        if self._book.version != self._book_version:
            self._book_version = self._book.version
            self._retune()
        batches = self._batches
        while batches:
            seq, writer, decoded = batches.popleft()
            self._take(seq, writer, decoded)
        with self._lock:
            touched, self._touched = self._touched, set()
        for run_id in touched:
            run = self._meta.run_by_id(run_id)
            if run is not None:
                self._look_at_state(run)
        now_us = self._clock.mono_us()
        for watch in list(self._watches.values()):
            if watch.tick(now_us):
                self._report(watch)
        self._consequences()
        if self._unseen:
            self._catch_up()
        self._states_rules.look_at_disk(self._book.server()["disk_full"])

    def _retune(self) -> None:
        """People have changed rules."""
        for watch in self._watches.values():
            run = self._meta.run(watch.run_no)
            if run is not None:
                watch.retune(self._book.of(run.project, run.id))
                self._report(watch)

    # --- points

    def _take(self, seq: int, writer: Writer, decoded: Decoded) -> None:
        run = self._meta.run_by_id(writer.run)
        if run is None or run.purged:
            return
        if self._states.get(run.no) != (run.state, run.attempt):
            self._look_at_state(run)  # a run that logs again is running, and nobody else tells
        if decoded.others:
            self._look_for_events(run, writer, decoded)
        if not len(decoded.index) or writer.rank != 0:
            return
        watch = self._watches.get(run.no)
        if watch is None or watch.attempt < writer.attempt:
            watch = self._make(run, writer.attempt)
        if writer.attempt != watch.attempt or seq <= watch.skip_seq:
            return
        points = decoded.points
        if watch.feed(decoded.names, decoded.index, points.steps, points.times, points.values, self._clock.mono_us()):
            self._report(watch)

    def _make(self, run: RunRow, attempt: int) -> Watch:
        """The detectors of a run, fed by what the store has; a new attempt begins anew."""
        rules = self._book.of(run.project, run.id)
        watch = Watch(run.no, run.id, attempt, rules, lambda: self._main(run.no))
        watch.skip_seq = self._runs.store.seq
        self._watches[run.no] = watch
        self._context.rebuild(watch, self._clock.mono_us())
        self._report(watch)
        return watch

    def _main(self, run_no: int) -> tuple[str | None, bool | None]:
        """A run's main metric, and whether more of it is better."""
        run = self._meta.run(run_no)
        name = None if run is None else self._runs.main_metric(run)
        if name is None:
            return None, None
        goal = rule_of(name, self._meta.detail(run_no).definitions).goal
        return name, naming.rises(name) if goal is None else goal == "max"

    def _report(self, watch: Watch) -> None:
        """Bring the register in line with what a run's detectors say."""
        run = self._meta.run(watch.run_no)
        if run is None:
            return
        found = watch.findings()
        late = self._clock.wall_us() - watch.newest_us > FRESH_US
        for name, finding in found.items():
            before = watch.found.get(name)
            if before is not None and before.phase is finding.phase:
                continue
            if not late:
                self._register.observe(run, finding, watch.rules[name], lambda finding=finding: self._context.facts(run, finding))  # type: ignore[misc]
        for row in self._register.open_of(run.no):
            if row.rule in WATCHED and row.rule not in found:
                on = watch.rules[row.rule].on
                self._register.resolve(run.no, row.rule, "recovered" if on else "the rule was switched off", recovered=on)
        watch.found = found

    # --- what programs say

    def _look_for_events(self, run: RunRow, writer: Writer, decoded: Decoded) -> None:
        for other in decoded.others:
            if other.record.kind != Kind.EVENT:
                continue
            try:
                told = other.record.body().get("alert")
            except ValueError:
                continue
            if isinstance(told, Mapping):
                self.program_alert(run, told, other.step, other.time_us, writer.writer_id, other.record.number)

    def program_alert(
        self, run: RunRow, told: Mapping[str, Any], step: float | None, time_us: int, writer: str, number: int
    ) -> None:
        """Take what a program said by `run.alert`; the same record again changes nothing."""
        rule = self._book.of(run.project, run.id)[PROGRAM]
        if rule.on:
            level = HINT if told.get("level") == "info" else RING
            self._register.program(
                run, rule, told, level, step, time_us, (writer, number), lambda finding: self._context.facts(run, finding)
            )

    # --- states and time

    def _look_at_state(self, run: RunRow) -> None:
        """Note what a change of a run's state means for its alerts."""
        if run.purged:
            self._register.forget(run.no)
            self._watches.pop(run.no, None)
            return
        now = (run.state, run.attempt)
        if self._states.get(run.no) == now and run.deleted_ms is None:
            return
        self._states[run.no] = now
        if run.deleted_ms is not None:
            self._end_all(run, "the run was deleted")
            return
        self._states_rules.apply(run, self._book.of(run.project, run.id))
        if run.final:
            self._end_all(run, f"the run has ended: {run.state}", keep=KEEPS)
            watch = self._watches.pop(run.no, None)
            if watch is not None:
                watch.found.clear()

    def _end_all(self, run: RunRow, why: str, keep: frozenset[str] = frozenset()) -> None:
        for row in self._register.open_of(run.no):
            if row.rule not in keep:
                self._register.resolve(run.no, row.rule, why, title_key=str(row.facts.get("title_key") or ""))

    def _catch_up(self) -> None:
        """After a start: what happened while nobody looked, a few runs at a time."""
        for _ in range(min(CATCH_UP, len(self._unseen))):
            run = self._meta.run(self._unseen.popleft())
            if run is None or run.purged or run.deleted_ms is not None:
                continue
            self._states_rules.apply(run, self._book.of(run.project, run.id))
            self._events_of(run)
            if not run.final and run.points and run.no not in self._watches:
                self._make(run, run.attempt)

    def _events_of(self, run: RunRow) -> None:
        with self._meta.read() as reads:
            events = reads.alert_events(run.no)
        for writer, number, step, time_ms, body in events:
            if self._clock.wall_us() - time_ms * 1000 < FRESH_US:
                self.program_alert(run, body, step, time_ms * 1000, writer, number)

    def _consequences(self) -> None:
        """Send the commands that alerts ask for, each at most once: it is noted before it is sent."""
        now_ms = self._register.now_ms()
        for row in self._register.due(now_ms):
            run = None if row.run_no is None else self._meta.run(row.run_no)
            assert row.consequence is not None
            row = self._register.mark(row, {**row.consequence, "state": "sending"})
            assert row.consequence is not None
            outcome: dict[str, Any] = {"state": "refused", "reason": "there is no run to ask it of"}
            if run is not None and self.submit is not None:
                try:
                    command = self.submit(
                        run.id, row.consequence["op"], row.consequence["args"], actor=f"rule {row.rule}", channel="rule"
                    )
                    outcome = {"state": "sent", "command": command.get("id") if isinstance(command, Mapping) else None}
                except FarwatchError as error:
                    outcome = {"state": "refused", "reason": str(error)[:300]}
            self._register.mark(row, {**row.consequence, **outcome})

    # --- advice

    def advice(self, run: RunRow) -> dict[str, Any]:
        """Whether it is worth going on, and why: `{"say": "stop" | "continue" | None, "why"}`."""
        if run.final:
            return {"say": None, "why": ""}
        firing = {row.rule: row for row in self._register.open_of(run.no) if row.state == FIRING}
        for rule in STOPS:
            if rule in firing:
                row = firing[rule]
                return {"say": "stop", "why": f"{row.title}. {row.text}"}
        watch = self._watches.get(run.no)
        main = None if watch is None or watch.main_name is None else watch.series.get(watch.main_name)
        if main is not None and main.plateau is not None and main.plateau.improves:
            before, now, step = main.plateau.told()
            why = f"{main.name} still gets better: {shown(before)} → {shown(now)} since {at_step(step)}."
            return {"say": "continue", "why": why}
        return {"say": None, "why": ""}
