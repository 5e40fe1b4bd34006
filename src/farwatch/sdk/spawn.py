"""Starting this machine's agent, without becoming its parent.

The agent must outlive the trainer, must not be reaped by a program that waits for its own children, and must not inherit
what is open here. So a shell starts it in the background and exits at once; the trainer waits one millisecond for the
shell. [H 10]
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from farwatch.settings import SETTINGS

# A launcher's words would make the agent's libraries think that they are rank 3 of 8; a preload would run in it.
_FOREIGN = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LD_PRELOAD", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONWARNINGS", "PYTHONPATH",
    "COVERAGE_PROCESS_START",
)  # fmt: skip
_FOREIGN_PREFIXES = ("TORCHELASTIC_", "OMPI_", "PMI_", "PMIX_", "SLURM_", "FARWATCH_")
_KEPT = tuple(setting.env for setting in SETTINGS if setting.scope == "agent")


def command(state: Path) -> list[str]:
    """The command line of the agent for a state folder."""
    return [sys.executable, "-P", "-m", "farwatch.agent", "--state", str(state)]


def can_start() -> str | None:
    """Why this program cannot start an agent; None if it can. A frozen application would start itself again."""
    if getattr(sys, "frozen", False):
        return "this is a frozen application"
    name = os.path.basename(sys.executable or "").lower()
    if not name.startswith(("python", "pypy")):
        return f"`{name or 'the executable'}` is no Python interpreter"
    return None


def agent_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment that the agent gets: this one without launchers' and loaders' words, and where to find us."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or (name not in _FOREIGN and not name.startswith(_FOREIGN_PREFIXES))
    }
    kept["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    return kept


def start_agent(state: Path, environ: Mapping[str, str]) -> None:
    """Start an agent for `state`; if one is running, the new one notices and leaves.

    *Cost*: about 1 ms. Raises `OSError` if nothing could be started.
    """
    if os.name == "nt":
        _start_on_windows(state, environ)
        return
    null = os.devnull
    shell = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", '"$@" &', "sh", *command(state)],
        agent_environment(environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, null, os.O_WRONLY, 0),
        ],
        setpgroup=0,  # Ctrl-C in the terminal is meant for the trainer; the agent then makes a session of its own
        setsigmask=[],
    )
    try:
        os.waitpid(shell, 0)
    except ChildProcessError:
        pass  # the program ignores its children, or waited for all of them at this moment


def _start_on_windows(state: Path, environ: Mapping[str, str]) -> None:
    import subprocess  # not needed elsewhere, and slow to import

    subprocess.Popen(
        command(state),
        env=agent_environment(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        creationflags=0x00000008 | 0x00000200 | 0x01000000,  # DETACHED_PROCESS, NEW_PROCESS_GROUP, BREAKAWAY_FROM_JOB
    )
