"""The one list of states that a run can be in."""

from enum import StrEnum


class State(StrEnum):
    """State of a run; each comes with a reason text. Only the last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    IDLE = "idle"
    STALLED = "stalled"
    LOST = "lost"
    FINISHING = "finishing"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    PREEMPTED = "preempted"

    @property
    def final(self) -> bool:
        """Whether the run has ended; a lost run has not, it may speak again."""
        return self in FINAL


FINAL = frozenset({State.FINISHED, State.STOPPED, State.FAILED, State.PREEMPTED})
