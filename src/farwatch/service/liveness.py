"""Signs of life: which runs live, which have died, which have not been heard of.

Agents say every few seconds which of their processes live and how a dead one died. Silence is measured on this server's monotonic
clock, and begins at its own start at the earliest, so that a restart of the server changes no state. Lost is never final.
"""

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from farwatch.clock import Clock
from farwatch.errors import UsageError
from farwatch.service import states
from farwatch.service.runs import Runs
from farwatch.service.sidecar import text
from farwatch.settings import Settings
from farwatch.store.meta import Meta, RunRow, WriterRow, Writes
from farwatch.wire.commands import takes_orders
from farwatch.wire.ids import is_writer_id
from farwatch.wire.states import State

WRITERS_MAX = 10_000
HTTP_LOST_S = 3_600.0  # a run fed by hand has no agent that beats; it may well log once an hour
UNSEEN_LOST_S = (
    600.0  # of a process in another container only records tell that it lives; an epoch may take minutes
)
GOODBYE_US = 30_000_000  # how long a goodbye that its agent has seen may take
STALLED_TIMES = 10  # evaluation and checkpoints are pauses, too; ten times the longest one seen is none of them
CAUSES = ("exit_code", "signal", "oom", "text", "killed_by")
PURGE_US = 600_000_000
UNTOUCHED = frozenset({State.QUEUED, State.LOST})


class Hub(Protocol):
    """Who is told that a run's row has changed."""

    def touch(self, run_id: str) -> None: ...


class Liveness:
    """Decides about life. *Threads*: `beat` by any; `tick` by one, once a second."""

    def __init__(self, meta: Meta, runs: Runs, hub: Hub, settings: Settings, clock: Clock) -> None:
        self._meta = meta
        self._runs = runs
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._started_us = clock.mono_us()
        self._purged_us = clock.mono_us()
        self._ticking = threading.Lock()
        runs.on_change = hub.touch

    # --- what agents say

    def beat(self, agent_id: str, body: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """Take what an agent says of its writers; answers with what this server has of them.

        Unknown writers are left out of the answer: the agent registers them. Raises `UsageError` for a body that is none.
        """
        told = body.get("writers")
        if not isinstance(told, Mapping) or len(told) > WRITERS_MAX:
            raise UsageError(f"a beat has `writers`: an object with at most {WRITERS_MAX} entries")
        changed: set[str] = set()
        answer: dict[str, Any] = {}
        for writer_id, said in told.items():
            row = self._meta.writer(writer_id) if is_writer_id(writer_id) else None
            if row is None or not isinstance(said, Mapping):
                continue
            self._hear(agent_id, row, said, changed)
            known = self._runs.store.writer(writer_id)
            if known is not None:
                answer[writer_id] = {"expected": known[1].expected}
        for run_id in changed:
            self._hub.touch(run_id)
        return {"epoch": self._runs.store.epoch, "writers": answer}

    def _hear(self, agent_id: str, row: WriterRow, said: Mapping[str, Any], changed: set[str]) -> None:
        run = self._meta.run(row.run_no)
        if run is None or run.purged:
            return
        alive = said.get("alive") if isinstance(said.get("alive"), bool) else None
        decides = row.rank == 0 and row.role in states.DECIDING
        if decides or alive is not None:
            self._runs.activity.contact(run, row.id, alive=alive)
        behind = {key: _count(said.get(key)) for key in ("records_behind", "bytes_behind", "set_aside")}
        agent = text(agent_id, 200)
        news = replace(row, agent=agent if agent is None or takes_orders(agent) else row.agent, **behind)  # type: ignore[arg-type]
        cause = said.get("cause")
        if alive is False and row.ended_ms is None and row.cause is None and isinstance(cause, Mapping):
            news = replace(news, cause={key: cause[key] for key in CAUSES if key in cause})
        killed_by = cause.get("killed_by") if isinstance(cause, Mapping) else None
        if row.ended_ms is not None and killed_by and "killed_by" not in (row.cause or {}):  # its goodbye did not know
            self._meta.write(lambda writes: self._correct(writes, news, {"killed_by": str(killed_by)}), durable=False)
            changed.add(run.id)
            return
        if row.ended_ms is not None and isinstance(cause, Mapping) and (row.cause or {}).get("assumed"):
            true_cause = {key: cause[key] for key in ("exit_code", "signal", "oom") if cause.get(key)}
            if true_cause:  # its goodbye was written before the interpreter had left
                self._meta.write(lambda writes: self._correct(writes, news, true_cause), durable=False)
                changed.add(run.id)
                return
        wakes = alive is True and decides and run.state == State.LOST and row.ended_ms is None
        dies = alive is False and row.ended_ms is None
        if news.changes(row) or wakes or dies:
            self._meta.write(lambda writes: self._apply(writes, news, alive), durable=False)
            changed.add(run.id)

    def _apply(self, writes: Writes, news: WriterRow, alive: bool | None) -> None:
        row = _with_lag(writes, news)
        row = writes.put_writer(replace(row, agent=news.agent, cause=row.cause if row.cause is not None else news.cause))
        if alive:
            self._runs.speaks(writes, row.id)
        elif alive is False and row.ended_ms is None:
            self._gone(writes, row)

    def _gone(self, writes: Writes, row: WriterRow) -> None:
        """A process is gone, and its goodbye has not come: its agent may still have it, or knows that there is none."""
        now_ms = self._clock.wall_us() // 1000
        decides = row.rank == 0 and row.role in states.DECIDING
        behind = bool(row.records_behind or row.bytes_behind)
        gone_us = self._runs.activity.sign(row.id).gone_us
        if behind or (row.cause is None and self._clock.mono_us() - gone_us < GOODBYE_US):
            run = writes.run(row.run_no)
            if run is not None and decides and not run.final and not self._others_live(writes, row):
                reason = "the process has ended, its last records are on their way"
                writes.put_run(replace(run, state=State.FINISHING, reason=reason))
            return
        state, reason = states.end_of_death(row.cause)
        states.end_writer(writes, row, "gone", state, reason, now_ms)
        states.settle(writes, row.run_no, now_ms)

    def _correct(self, writes: Writes, news: WriterRow, known: dict[str, Any]) -> None:
        """Its agent knows better than its goodbye how a process ended."""
        row = _with_lag(writes, news)
        cause = {**(row.cause or {}), **known, "assumed": False}
        state, reason = states.end_of_death(cause)
        writes.put_writer(replace(row, cause={**cause, "state": state, "reason": reason}))
        states.settle(writes, row.run_no, self._clock.wall_us() // 1000)

    def _others_live(self, writes: Writes, row: WriterRow) -> bool:
        return any(
            other.id != row.id and other.rank == 0 and other.attempt == row.attempt and other.role in states.DECIDING
            and other.ended_ms is None and other.cause is None
            for other in writes.writers_of(row.run_no)
        )  # fmt: skip

    # --- what silence says

    def tick(self) -> None:
        """Look for runs that have not been heard of, write live numbers now and then, drop what was deleted long ago."""
        if not self._ticking.acquire(blocking=False):
            return
        try:
            for run in self._meta.runs_of(None):
                if not run.final and not run.purged and run.state not in UNTOUCHED:
                    self._listen(run)
            self._runs.flush(all_runs=False)
            if self._clock.mono_us() - self._purged_us > PURGE_US:
                self._purged_us = self._clock.mono_us()
                for run_id in self._runs.purge_deleted():
                    self._hub.touch(run_id)
        finally:
            self._ticking.release()

    def _listen(self, run: RunRow) -> None:
        heard_us, unseen = self._runs.activity.heard(run.no)
        limit_s = HTTP_LOST_S if run.role == "http" else UNSEEN_LOST_S if unseen else self._settings.lost_s
        if self._clock.mono_us() - max(heard_us, self._started_us) < limit_s * 1e6:
            self._look_for_stall(run)
            return
        self._meta.write(lambda writes: self._lose(writes, run.no), durable=False)
        self._hub.touch(run.id)

    def _look_for_stall(self, run: RunRow) -> None:
        """A process that lives but has not logged for ten times its longest pause, and never within `stalled_min_s`.

        Nothing is said before two pauses are known, so a slow first step or a long set-up is never a stall.
        """
        pauses = self._runs.activity.pauses(run.no)
        if run.state == State.PAUSED and pauses is not None and pauses.logged_us:
            pauses.logged_us = self._clock.mono_us()  # a person's pause is none of the run's own: silence begins when it ends
        if run.state != State.RUNNING or pauses is None or pauses.count < 2:
            return
        silence_us = self._clock.mono_us() - pauses.logged_us
        if silence_us < max(STALLED_TIMES * pauses.longest_us, self._settings.stalled_min_s * 1e6):
            return
        reason = f"nothing logged for {silence_us / 6e7:.0f} min; the longest pause before was {pauses.longest_us / 1e6:.3g} s"
        self._meta.write(lambda writes: self._quieten(writes, run.no, reason), durable=False)
        self._hub.touch(run.id)

    def _quieten(self, writes: Writes, run_no: int, reason: str) -> None:
        run = writes.run(run_no)
        if run is None or run.state != State.RUNNING:
            return
        detail = writes.detail(run_no)
        if detail is not None and detail.capture.get("in_notebook"):  # its person may be asleep: that is no fault
            raised = run.reason if run.reason.startswith(states.CELL_RAISED) else ""
            writes.put_run(replace(run, state=State.IDLE, reason=f"{raised}; {reason}" if raised else reason))
        else:
            writes.put_run(replace(run, state=State.STALLED, reason=reason))

    def _lose(self, writes: Writes, run_no: int) -> None:
        run = writes.run(run_no)
        if run is None or run.final or run.state in UNTOUCHED:
            return
        if run.ends_as is not None or run.state == State.FINISHING:
            # A goodbye has come, files or its program's journal have not, and nobody is left to send them.
            states.settle(writes, run_no, self._clock.wall_us() // 1000, wait_for_files=False)
            run = writes.run(run_no)
            if run is None or run.final:
                return
        contact = self._runs.activity.overlay(run).contact_ms
        when = datetime.fromtimestamp(contact / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        writes.put_run(replace(run, state=State.LOST, reason=f"no contact since {when}", contact_ms=contact))


def _with_lag(writes: Writes, news: WriterRow) -> WriterRow:
    """A writer as it stands, with what its agent says is behind."""
    row = writes.writer(news.id)
    assert row is not None
    return replace(row, records_behind=news.records_behind, bytes_behind=news.bytes_behind, set_aside=news.set_aside)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62 else 0
