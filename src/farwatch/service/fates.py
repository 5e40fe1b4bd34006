"""What becomes of a command of which nothing is heard: decided from what is known of the processes that could have done it.

The journal is right, whatever is said here: a record of it that comes later changes the ending. So nothing is said that a record under
way would contradict: of a process that has ended, only once all its records have come; of one that lives, only once its agent has told
that it has no more of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from farwatch.store.meta import CommandRow, RunRow, WriterRow
from farwatch.wire.commands import DESIRED, CommandState, Op

UNKNOWN_MS = 30_000  # after its expiry, what may have been delivered and of which nothing is heard has an unknown outcome
SETTLED_MS = 500  # an agent's word counts once it has been written down
SLACK_MS = 1_000  # by which a trainer's limit may be later than this server's: the way of an answer to its agent


@dataclass(frozen=True, slots=True)
class Fate:
    """An ending with its reason; or, with `attempt`, the attempt to which a wish goes on."""

    state: CommandState
    reason: str = ""
    attempt: int | None = None


def fate_of(
    row: CommandRow, run: RunRow, writers: Sequence[WriterRow], *, left_ms: int, told_ms: Callable[[WriterRow], float]
) -> Fate | None:
    """What becomes of a pending command to a trainer; None: it may still be done.

    `writers`: of the run, oldest first. `left_ms`: until it expires, negative afterwards. `told_ms`: how long ago the agent of a living
    writer said that all its records have come.
    """
    mains = [one for one in writers if one.rank == 0 and one.role == "main"]
    holder = next((one for one in writers if one.id == row.told.get("writer")), None)
    if holder is None and (row.delivered_ms is not None or row.agent is not None):
        holder = next((one for one in reversed(mains) if one.attempt == row.attempt), None)
    if row.started_ms is not None and holder is not None and holder.ended_ms is None:
        return None  # it is being done, however long that takes
    if holder is not None and holder.ended_ms is not None:
        return _of_the_dead(row, run, holder, mains, left_ms)
    newer = any(one.attempt > row.attempt for one in mains)
    if holder is None and newer and Op(row.op) not in DESIRED:
        return Fate(CommandState.REFUSED, "not repeated: the run has started again")
    if holder is None and run.final:
        return Fate(CommandState.REFUSED, f"the run has ended ({run.state})")
    if left_ms > 0:
        return None
    if holder is None:
        return Fate(CommandState.EXPIRED, "nobody took it in time: the run's machine did not ask")
    if SETTLED_MS <= told_ms(holder) < -left_ms - SLACK_MS:
        return Fate(CommandState.EXPIRED, "the run came to no safe point in time")
    return _unknown(left_ms)


def _of_the_dead(row: CommandRow, run: RunRow, holder: WriterRow, mains: Sequence[WriterRow], left_ms: int) -> Fate | None:
    """The process that had it, or was offered it, has ended."""
    heir = next((one for one in reversed(mains) if one.attempt > holder.attempt and one.ended_ms is None), None)
    if Op(row.op) in DESIRED and heir is not None and left_ms > 0:
        return Fate(CommandState.PENDING, attempt=heir.attempt)
    if row.started_ms is not None:
        return Fate(CommandState.INTERRUPTED, "outcome unknown: the process ended while it was being done")
    if holder.ending not in ("goodbye", "gone"):
        return _unknown(left_ms)  # records of it may still come
    if Op(row.op) in DESIRED and left_ms > 0 and not run.final:
        return None  # the run may start again in time
    if Op(row.op) not in DESIRED and any(one.attempt > holder.attempt for one in mains):
        return Fate(CommandState.REFUSED, "not repeated: the run has started again")
    return Fate(CommandState.REFUSED, "the process ended before it came to a safe point")


def _unknown(left_ms: int) -> Fate | None:
    if left_ms > -UNKNOWN_MS:
        return None
    return Fate(CommandState.INTERRUPTED, "outcome unknown: it may have been delivered, and nothing was heard of it since")
