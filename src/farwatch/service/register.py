"""Which run, attempt and rank a writer belongs to.

The rules (`docs/protocol.md`):

- Only rank 0 makes runs. Other ranks wait for the writer of rank 0 that met them under the same rendezvous key and whose life overlaps
  theirs; after ten minutes without one a rank becomes a run of its own, so that nothing stays unseen.
- A new process is a new attempt only if the writers of rank 0 before it have ended: they said goodbye, their agent saw them go, or
  nothing was heard for a while. If one provably lives, the process is a peer in the same attempt. If neither is known yet, the answer is
  "later": the agent asks again, and a record, a beat or silence decides.
- `farwatch run` makes the run, and the first program in it that calls `init` joins it: same run, same attempt, and its words for name,
  project and tags count. If that program is started again in its place (an elastic launcher), both go on in the next attempt.
- A forked worker and a system writer belong where the writer that they name belongs; their end never decides anything.
"""

import threading
from dataclasses import replace
from enum import Enum

from farwatch.clock import Clock
from farwatch.errors import BusyError, ExistsError, NotFoundError, RefusedError
from farwatch.service.activity import Activity
from farwatch.service.history import last_step, next_step
from farwatch.service.sidecar import Sidecar
from farwatch.service.states import DECIDING, PROGRAMS, RUNNER
from farwatch.store.base import Store
from farwatch.store.meta import AttemptRow, Meta, RunRow, WriterRow, Writes
from farwatch.wire.ids import run_name, short_id
from farwatch.wire.states import State

LATER_S = 1.0  # after which the agent asks again
SILENT_US = (
    15_000_000  # a beat comes every 10 s; a process that nobody mentions for longer is not known to live
)
ALONE_US = 600_000_000  # how long a rank waits for its rank 0
SKEW_MS = 5_000  # between clocks of two machines
ASKED_KEPT = 10_000
GUESSED = "guessed"  # role of a run whose project `farwatch run` has guessed, until its program says


class Life(Enum):
    """What is known of an earlier writer when a new one of its run and rank appears."""

    ENDED = "ended"
    ALIVE = "alive"
    UNKNOWN = "unknown"


class Registrar:
    """Places writers. *Threads*: any; placing itself happens in the meta database's writing thread, one at a time."""

    def __init__(self, meta: Meta, store: Store, activity: Activity, clock: Clock) -> None:
        self._meta = meta
        self._store = store
        self._activity = activity
        self._clock = clock
        self._started_us = clock.mono_us()
        self._asked: dict[str, int] = {}  # writer -> when it first asked, on the monotonic clock
        self._lock = threading.Lock()

    def register(self, sidecar: Sidecar, actor: str) -> WriterRow:
        """The row of a writer, made on first sight.

        Raises `BusyError` for a writer that cannot be placed yet, `ExistsError` and `NotFoundError` by its `resume`, `RefusedError` for a
        deleted run.
        """
        known = self._meta.writer(sidecar.writer)
        if known is None:
            first_asked = self._first_asked(sidecar.writer)
            counted = self._count_on(sidecar)
            known = self._meta.write(lambda writes: self._place(writes, sidecar, actor, first_asked, counted))
            with self._lock:
                self._asked.pop(sidecar.writer, None)
        return known

    def _first_asked(self, writer_id: str) -> int:
        with self._lock:
            while len(self._asked) > ASKED_KEPT:
                del self._asked[next(iter(self._asked))]
            return self._asked.setdefault(writer_id, self._clock.mono_us())

    def _count_on(self, sidecar: Sidecar) -> int:
        """Where a new attempt of the run would count on."""
        run = self._meta.run_by_id(sidecar.run)
        if run is None or sidecar.rank != 0 or sidecar.system or not sidecar.main:
            return 0
        with self._meta.read() as reads:
            rewinds = {
                row.attempt: row.from_step for row in reads.attempts(run.no) if row.from_step is not None
            }
        return next_step(last_step(self._store.series(run.id), rewinds))

    def _place(
        self, writes: Writes, sidecar: Sidecar, actor: str, first_asked: int, counted: int
    ) -> WriterRow:
        known = writes.writer(sidecar.writer)
        if known is not None:
            return known
        if sidecar.system or not sidecar.main:
            return self._beside(writes, sidecar)
        twin = writes.writer(sidecar.clone_of) if sidecar.clone_of else None
        if twin is not None:
            return self._add(writes, sidecar, twin, "peer", step_base=twin.step_base)
        runner = self._runner(writes, sidecar, first_asked)
        if sidecar.rank != 0 and runner is not None:
            return self._add(writes, sidecar, runner, "main", step_base=runner.step_base)
        if sidecar.rank != 0:
            host = self._rank_zero(writes, sidecar)
            if host is not None:
                role = RUNNER if sidecar.runs_it else "main"
                return self._add(writes, sidecar, host, role, step_base=host.step_base)
            if self._clock.mono_us() - first_asked < ALONE_US:
                raise _later("rank 0 of this job has not come yet")
            if writes.run_by_id(sidecar.run) is not None:
                return self._beside(writes, sidecar)
        return self._main(writes, sidecar, actor, first_asked, counted, runner)

    def _runner(self, writes: Writes, sidecar: Sidecar, first_asked: int) -> WriterRow | None:
        """The writer of the `farwatch run` that a program runs under."""
        if sidecar.runner is None:
            return None
        row = writes.writer(sidecar.runner)
        if row is None and self._clock.mono_us() - first_asked < ALONE_US:
            raise _later("the `farwatch run` of this program has not come yet")
        return row if row is not None and row.role == RUNNER else None

    def _beside(self, writes: Writes, sidecar: Sidecar) -> WriterRow:
        """A forked worker or a system writer: where the writer is that it names, else in the run that it names."""
        role = "system" if sidecar.system else "fork" if not sidecar.main else "main"
        named = writes.writer(sidecar.sibling_of) if sidecar.sibling_of else None
        if named is None and (run := writes.run_by_id(sidecar.run)) is not None:
            writers = [row for row in writes.writers_of(run.no) if row.role in DECIDING]
            same_rank = [row for row in writers if row.rank == sidecar.rank]
            named = next(reversed(same_rank or writers), None)
        if named is None:
            raise _later("the process that this writer belongs to has not come yet")
        own = replace(sidecar, rank=named.rank) if role == "fork" else sidecar
        return self._add(writes, own, named, role, step_base=named.step_base)

    def _rank_zero(self, writes: Writes, sidecar: Sidecar) -> WriterRow | None:
        """The writer of rank 0 that belongs to another rank: same rendezvous or same given run, overlapping life, nearest start."""
        found: list[WriterRow] = []
        if sidecar.rendezvous:
            found = writes.writers_at(sidecar.rendezvous, 0)
        if not found and sidecar.run_given and (run := writes.run_by_id(sidecar.run)) is not None:
            found = [row for row in writes.writers_of(run.no) if row.rank == 0 and row.role in PROGRAMS]
        overlapping = [
            row for row in found if row.ended_ms is None or self._overlap_ms(row, sidecar, +SKEW_MS) >= 0
        ]
        return min(overlapping, key=lambda row: abs(row.started_ms - _started_ms(sidecar, row)), default=None)

    def _main(
        self,
        writes: Writes,
        sidecar: Sidecar,
        actor: str,
        first_asked: int,
        counted: int,
        runner: WriterRow | None = None,
    ) -> WriterRow:
        role = "http" if sidecar.http else RUNNER if sidecar.runs_it else "main"
        run = writes.run_by_id(sidecar.run) if runner is None else writes.run(runner.run_no)
        if run is None:
            if sidecar.resume == "must":
                raise NotFoundError(f"no run with id: `{sidecar.run}`", hint='resume="allow" makes it')
            run = self._new_run(writes, sidecar, actor)
            return self._add(writes, sidecar, None, role, run=run, step_base=int(sidecar.from_step or 0))
        if run.purged or run.deleted_ms is not None:
            raise RefusedError(
                f"the run `{run.short}` was deleted", hint="bring it back on its page, or use another id"
            )
        if sidecar.resume == "never" and (runner is None or run.attempt > 1):
            raise ExistsError(
                f"a run with this id exists: `{run.id}`", hint='use another id, or resume="allow"'
            )
        before = [
            row for row in writes.writers_of(run.no)
            if row.attempt == run.attempt and row.rank == sidecar.rank
            and row.role in (DECIDING if runner is None else PROGRAMS)
        ]  # fmt: skip
        if runner is not None and not before:
            return self._join(writes, run, runner, sidecar)
        lives = [self._life(run, row, sidecar, first_asked) for row in before]
        if Life.ALIVE in lives:
            return self._add(writes, sidecar, before[0], "peer", step_base=before[0].step_base)
        if Life.UNKNOWN in lives:
            raise _later("whether the process before this one has ended is not known yet")
        if any(row.records_behind and row.ending == "gone" and not self._silent(row) for row in before):
            raise _later("the attempt before this one is still being delivered")
        step_base = counted if sidecar.from_step is None else int(sidecar.from_step)
        run = self._new_attempt(writes, run, sidecar, before)
        if runner is not None:
            writes.put_writer(replace(runner, attempt=run.attempt))
        return self._add(
            writes, sidecar, None, role, run=run, step_base=step_base, from_step=sidecar.from_step
        )

    def _join(self, writes: Writes, run: RunRow, runner: WriterRow, sidecar: Sidecar) -> WriterRow:
        """The first program of a `farwatch run`: its run has begun already, under names that its parent could only guess."""
        named = replace(run, world_size=max(run.world_size, sidecar.world_size), total_steps=sidecar.total_steps or run.total_steps)
        if sidecar.name and sidecar.name != run_name(run.id):
            named = replace(named, name=sidecar.name)
        named = replace(
            named, group_name=sidecar.group or run.group_name, job_type=sidecar.job_type or run.job_type,
            notes=sidecar.notes or run.notes, tags=list(dict.fromkeys(run.tags + sidecar.tags)), parent=sidecar.parent or run.parent,
        )  # fmt: skip
        if run.role == GUESSED and sidecar.project != run.project:
            number = writes.next_number(sidecar.project, run.created_ms)
            named = replace(named, project=sidecar.project, number=number)
        writes.put_run(replace(named, role="sdk"))
        detail = writes.detail(run.no)
        writes.put_detail(replace(detail, python=sidecar.python or detail.python))
        step_base = runner.step_base
        if sidecar.from_step is not None:
            step_base = int(sidecar.from_step)
            for attempt in writes.attempts(run.no):
                if attempt.attempt == runner.attempt:
                    writes.put_attempt(replace(attempt, step_base=step_base, from_step=sidecar.from_step))
        return self._add(writes, sidecar, runner, "main", step_base=step_base)

    # --- what is known of an earlier writer

    def _life(self, run: RunRow, before: WriterRow, sidecar: Sidecar, first_asked: int) -> Life:
        if self._overlap_ms(before, sidecar, -SKEW_MS) > 0:
            return (
                Life.ALIVE
            )  # it wrote after the new one had started; whether it has ended since does not matter
        if before.ended_ms is not None or run.state == State.LOST:
            return Life.ENDED
        if self._activity.sign(before.id).alive_us > first_asked:
            return Life.ALIVE
        return Life.ENDED if self._silent(before) else Life.UNKNOWN

    def _overlap_ms(self, before: WriterRow, sidecar: Sidecar, slack_ms: int) -> int:
        """How long one wrote after the other had started; clocks of two machines may differ by the slack."""
        overlap_ms = self._last_ms(before) - _started_ms(sidecar, before)
        return overlap_ms if before.machine == sidecar.machine else overlap_ms + slack_ms

    def _last_ms(self, row: WriterRow) -> int:
        return max(row.last_ms, self._activity.sign(row.id).last_ms)

    def _silent(self, row: WriterRow) -> bool:
        return (
            self._clock.mono_us() - max(self._activity.sign(row.id).contact_us, self._started_us) > SILENT_US
        )

    # --- rows

    def _new_run(self, writes: Writes, sidecar: Sidecar, actor: str) -> RunRow:
        now_ms = self._clock.wall_us() // 1000
        started_ms = sidecar.started_ms or now_ms
        run = writes.add_run(
            RunRow(
                no=0, id=sidecar.run, short=short_id(sidecar.run), project=sidecar.project, number=0, name=sidecar.run_name,
                state=State.RUNNING, reason="", ends_as=None, ends_reason="", created_ms=now_ms, modified_ms=now_ms,
                started_ms=started_ms, ended_ms=None, contact_ms=now_ms, owner=sidecar.user or actor, creator=actor, host=sidecar.host,
                attempt=1, group_name=sidecar.group, job_type=sidecar.job_type, parent=sidecar.parent, tags=sidecar.tags,
                notes=sidecar.notes or "", archived=False, deleted_ms=None, purged=False, step=None, total_steps=sidecar.total_steps,
                progress=None, points=0, bytes=0, world_size=sidecar.world_size, first_metric=None, main_metric=None, main_last=None,
                role="http" if sidecar.http else GUESSED if sidecar.runs_it and not sidecar.settled else "sdk",
            )
        )  # fmt: skip
        writes.put_detail(replace(writes.detail(run.no), argv=sidecar.argv, python=sidecar.python))
        return run

    def _new_attempt(self, writes: Writes, run: RunRow, sidecar: Sidecar, before: list[WriterRow]) -> RunRow:
        now_ms = self._clock.wall_us() // 1000
        for row in before:
            if row.ended_ms is None:
                writes.put_writer(
                    replace(row, ended_ms=max(self._last_ms(row), row.started_ms), ending="lost")
                )
        for attempt in writes.attempts(run.no):
            if attempt.attempt == run.attempt and attempt.ended_ms is None:
                ended_ms = run.ended_ms or max((self._last_ms(row) for row in before), default=run.contact_ms)
                state = run.state if run.final else State.LOST
                writes.put_attempt(replace(attempt, ended_ms=ended_ms, state=state, reason=run.reason))
        detail = writes.detail(run.no)
        writes.put_detail(
            replace(
                detail,
                argv=sidecar.argv or detail.argv,
                python=sidecar.python or detail.python,
                traceback=None,
                steer={},  # it declares its own
            )
        )
        return writes.put_run(
            replace(
                run, attempt=run.attempt + 1, state=State.RUNNING, reason="", ends_as=None, ends_reason="", ended_ms=None,
                contact_ms=now_ms, modified_ms=now_ms, host=sidecar.host or run.host, name=sidecar.name or run.name,
                notes=sidecar.notes or run.notes, tags=list(dict.fromkeys(run.tags + sidecar.tags)), role="http" if sidecar.http else "sdk",
                world_size=sidecar.world_size, total_steps=sidecar.total_steps or run.total_steps, progress=None,
            )
        )  # fmt: skip

    def _add(
        self,
        writes: Writes,
        sidecar: Sidecar,
        beside: WriterRow | None,
        role: str,
        *,
        step_base: int,
        run: RunRow | None = None,
        from_step: float | None = None,
    ) -> WriterRow:
        """Store a writer, in the attempt of `beside` or as the one that begins the run's newest attempt."""
        now_ms = self._clock.wall_us() // 1000
        run = run if run is not None else writes.run(beside.run_no if beside else 0)
        assert run is not None, "a writer stands beside one of a known run"
        attempt = beside.attempt if beside is not None else run.attempt
        started_ms = sidecar.started_ms or now_ms
        if beside is None:
            writes.put_attempt(
                AttemptRow(
                    run.no,
                    attempt,
                    started_ms,
                    None,
                    State.RUNNING,
                    "",
                    None,
                    None,
                    step_base,
                    from_step,
                    sidecar.host,
                )
            )
        elif sidecar.world_size > run.world_size:
            writes.put_run(replace(run, world_size=sidecar.world_size))
        self._activity.arrived(run, sidecar.writer)
        return writes.add_writer(
            WriterRow(
                no=0, id=sidecar.writer, run_no=run.no, run=run.id, rank=sidecar.rank, attempt=attempt, role=role,
                rendezvous=sidecar.rendezvous, host=sidecar.host, machine=sidecar.machine, agent=None,
                wall_us=sidecar.wall_us or now_ms * 1000, step_base=step_base, started_ms=started_ms, ended_ms=None, ending=None,
                last_ms=started_ms, applied=-1, console_base=None, console_next=0, meter=None, cause=None, records_behind=0,
                bytes_behind=0, set_aside=0,
            )
        )  # fmt: skip


def _started_ms(sidecar: Sidecar, beside: WriterRow) -> int:
    """When a process started, by the wall clock as another one has read it.

    Two of one boot have read one monotonic clock, and `wall_us` is what the wall clock showed at its zero. A clock that was set back
    between them would else make a resumed process one that runs beside the one before.
    """
    boot = sidecar.machine.partition("/")[0]
    if not boot or beside.machine.partition("/")[0] != boot:
        return sidecar.started_ms
    return sidecar.started_ms + (beside.wall_us - sidecar.wall_us) // 1000


def _later(why: str) -> BusyError:
    return BusyError(why, hint="ask again", retry_after_s=LATER_S)
