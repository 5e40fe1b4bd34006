"""How a run's state follows from what its writers and their agents say.

Only processes of rank 0 decide: the one that began the attempt, its peers in the same attempt while they live, and `farwatch run`, which
has collected the program's exit status. Forked workers and system writers never do.
"""

from dataclasses import replace
from typing import Any

from farwatch.store.meta import RunRow, WriterRow, Writes
from farwatch.wire.states import FINAL, State

PROGRAMS = ("main", "peer", "http")
RUNNER = "runner"
DECIDING = (*PROGRAMS, RUNNER)
QUIET = frozenset({State.STALLED, State.IDLE})
CELL_RAISED = "last cell raised"
WITHOUT_GOODBYE = "ended without goodbye"
_NAMES = {
    "finished": State.FINISHED,
    "failed": State.FAILED,
    "stopped": State.STOPPED,
    "preempted": State.PREEMPTED,
}


def end_of_goodbye(body: dict[str, Any]) -> tuple[State, str]:
    """State and reason that a goodbye record tells."""
    state = _NAMES.get(str(body.get("state")), State.FINISHED)
    reason = body.get("reason")
    return state, reason[:2_000] if isinstance(reason, str) else ""


def end_of_death(cause: dict[str, Any] | None) -> tuple[State, str]:
    """State and reason of a process that is gone without goodbye, from what its agent could see."""
    cause = cause or {}
    killed_by = cause.get("killed_by")
    if isinstance(killed_by, str) and killed_by:
        return State.STOPPED, f"killed by {killed_by[:200]}"
    if cause.get("oom") is True:
        return State.FAILED, "out of memory"
    signal = cause.get("signal")
    if isinstance(signal, int) and not isinstance(signal, bool) and signal > 0:
        return State.FAILED, f"killed by signal {signal}"
    code = cause.get("exit_code")
    if isinstance(code, int) and not isinstance(code, bool):
        return (
            (State.FINISHED, "exit code 0, without goodbye")
            if code == 0
            else (State.FAILED, f"exit code {code}")
        )
    told = cause.get("text")
    return State.FAILED, told[:500] if isinstance(told, str) and told else WITHOUT_GOODBYE


def end_writer(
    writes: Writes, writer: WriterRow, how: str, state: State, reason: str, ended_ms: int
) -> WriterRow:
    """Note that a writer has ended, and how."""
    cause = {**(writer.cause or {}), "state": state, "reason": reason}
    return writes.put_writer(
        replace(writer, ending=how, ended_ms=max(ended_ms, writer.started_ms), cause=cause)
    )


def settle(writes: Writes, run_no: int, now_ms: int, *, wait_for_files: bool = True) -> None:
    """Bring a run's state in line with its writers, once one of them has ended or a file has come.

    While files that records name are on their way the run is finishing; `wait_for_files=False`: they are given up.
    """
    run = writes.run(run_no)
    if run is None or run.purged:
        return
    deciding = [
        row for row in writes.writers_of(run_no) if row.attempt == run.attempt and row.role in DECIDING
    ]
    if wait_for_files and _program_to_come(deciding):
        writes.put_run(replace(run, state=State.FINISHING, reason="waiting for the records of its program"))
        return
    first = min((row.rank for row in deciding), default=0)  # 0 but in a run whose rank 0 never came
    deciding = [row for row in deciding if row.rank == first]
    if not deciding or any(row.ended_ms is None for row in deciding):
        return
    state, reason = verdict(deciding)
    ended_ms = max(row.ended_ms or 0 for row in deciding)
    # A run that has ended does not begin to end again because a file of its capture is on its way.
    missing = 0 if run.final else len(writes.missing_spool(run_no=run_no))
    files = f"{missing} file{'s' if missing != 1 else ''}"
    if missing and wait_for_files:
        writes.put_run(
            replace(
                run,
                state=State.FINISHING,
                reason=f"waiting for {files}",
                ends_as=state,
                ends_reason=reason,
                ended_ms=ended_ms,
            )
        )
        return
    if missing:
        reason = f"{reason}; {files} never came" if reason else f"{files} never came"
    end_run(writes, run, state, reason, ended_ms)


def _program_to_come(deciding: list[WriterRow]) -> bool:
    """Whether `farwatch run` has said goodbye, and a program in it called `init`, whose journal is still on its way."""
    said = [row for row in deciding if row.role == RUNNER and row.rank == 0 and (row.cause or {}).get("joined")]
    return bool(said) and not any(row.role in PROGRAMS for row in deciding)


def verdict(writers: list[WriterRow]) -> tuple[State, str]:
    """How a run ended, from its deciding writers of one rank, all of which have ended (`docs/reliability.md`)."""
    programs = [row for row in writers if row.role != RUNNER]
    runner = next((row for row in writers if row.role == RUNNER), None)
    parent = (runner.cause or {}) if runner is not None and (runner.ending == "goodbye" or not programs) else None
    if not programs or (parent and parent.get("killed_by")):
        return _told(parent or {})
    state, reason = _told(programs[0].cause or {})
    killed = next((row for row in programs if (row.cause or {}).get("killed_by")), None)
    if killed is not None:
        return _told(killed.cause or {})
    if parent is None:
        return state, reason
    true_state, true_reason = _told(parent)
    if programs[0].ending != "goodbye" and true_state != State.FINISHED:
        return true_state, true_reason
    if state == State.FINISHED and true_state != State.FINISHED:
        if (programs[0].cause or {}).get("assumed"):  # the interpreter was leaving, and did not know its exit code
            return true_state, true_reason
        return true_state, f"{true_reason}, after the program had finished its run"
    return state, reason


def _told(cause: dict[str, Any]) -> tuple[State, str]:
    return State(cause.get("state") or State.FAILED), str(cause.get("reason") or "")


def end_run(writes: Writes, run: RunRow, state: State, reason: str, ended_ms: int) -> None:
    """Give a run and its newest attempt a final state."""
    assert state in FINAL
    writes.put_run(replace(run, state=state, reason=reason, ends_as=None, ends_reason="", ended_ms=ended_ms))
    for attempt in writes.attempts(run.no):
        if attempt.attempt == run.attempt:
            writes.put_attempt(replace(attempt, state=state, reason=reason, ended_ms=ended_ms))


def revive(writes: Writes, run_no: int, *, logged: bool) -> None:
    """A lost run that speaks again is running; a stalled or idle one only if it has logged."""
    run = writes.run(run_no)
    if run is not None and (run.state == State.LOST or (logged and run.state in QUIET)):
        paused = run.state == State.LOST and writes.detail(run_no).steer.get("paused")
        writes.put_run(replace(run, state=State.PAUSED if paused else State.RUNNING, reason="", ended_ms=None))
