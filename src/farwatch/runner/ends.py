"""What the end of a program means: a wait status, and what else its parent knows, as a state with a reason."""

import os
import signal
from dataclasses import dataclass, field
from typing import Any

from farwatch.wire.states import State

NOT_FOUND = 127  # what shells exit with for a command that does not exist,
NOT_RUNNABLE = 126  # and for one that cannot be run
ASKED = {  # signals that a person sends to end a program -> what is said of it
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "ended by SIGTERM",
    signal.SIGHUP: "its terminal was closed",
    signal.SIGQUIT: "ended by SIGQUIT",
}


@dataclass(frozen=True, slots=True)
class End:
    """How a program ended. `exit_status`: what `farwatch run` itself exits with. `facts`: for the goodbye record."""

    state: State
    reason: str
    exit_status: int
    facts: dict[str, Any] = field(default_factory=dict)


def end_of(status: int, *, asked: set[int], oom: bool = False, killed_by: str | None = None) -> End:
    """Read a wait status.

    Args:
        status: As `os.waitpid` gives it.
        asked: Signals that came to us for the program, or from its keyboard: an end by one of them was wanted.
        oom: The kernel has killed for memory in the program's control group meanwhile.
        killed_by: Who had it killed by a command, if somebody did.
    """
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        facts: dict[str, Any] = {"signal": number}
        core = os.WCOREDUMP(status)
        if core:
            facts["core"] = True
        if number == signal.SIGKILL and oom:
            facts["oom"] = True
        return _ended(number, 128 + number, f"killed by {name_of(number)}" + (", core dumped" * core), asked, killed_by, facts)
    code = os.WEXITSTATUS(status)
    if code == 0 and killed_by is None:
        return End(State.FINISHED, "", 0, {"exit_code": 0})
    # A shell tells the signal that ended its last command as 128 + n.
    return _ended(code - 128, code, f"exit code {code}", asked, killed_by, {"exit_code": code})


def _ended(number: int, status: int, reason: str, asked: set[int], killed_by: str | None, facts: dict[str, Any]) -> End:
    if killed_by is not None:
        return End(State.STOPPED, f"killed by {killed_by}", status, {**facts, "killed_by": killed_by})
    if facts.get("oom"):
        return End(State.FAILED, "out of memory", status, facts)
    if number == signal.SIGINT and ("signal" in facts or number in asked):
        return End(State.STOPPED, ASKED[signal.SIGINT], status, facts)
    if number in asked and number in ASKED:
        return End(State.STOPPED, ASKED[signal.Signals(number)], status, facts)
    return End(State.FAILED, reason, status, facts)


def not_started(command: str, error: OSError) -> End:
    """The end of a program that could not be started, with the exit status that a shell gives."""
    if isinstance(error, FileNotFoundError):
        return End(State.FAILED, f"command not found: {command[:200]}", NOT_FOUND, {"exit_code": NOT_FOUND})
    reason = f"{command[:200]}: {(error.strerror or str(error)).lower()}"
    return End(State.FAILED, reason, NOT_RUNNABLE, {"exit_code": NOT_RUNNABLE})


def name_of(number: int) -> str:
    """The name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
