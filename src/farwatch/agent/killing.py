"""Ending a run at once: SIGTERM to the trees of its processes on this machine, and SIGKILL to what is left after a grace.

Only processes whose start this agent has seen are signalled, by their pidfd, and what descends from them; a number that
meanwhile means another process is nobody's. Of a program under `farwatch run` everything in its session counts as well,
because what its parents leave behind there has no parent any more. The runner itself is left alone: it tells how it ended.
"""

import contextlib
import glob
import os
import signal
import time
from collections.abc import Iterable
from typing import Any

from farwatch.agent.folder import CHILD, KILLED
from farwatch.agent.tracking import Tracked
from farwatch.machine import process_start, stat_fields

GONE_S = 4.0  # after SIGKILL, how long to wait until the kernel has ended everything
LOOK_S = 0.05
EVERYONE_S = 1.0  # between two looks at all processes of the machine: a login node has thousands
Process = tuple[int, int]  # (pid, start)


def kill(tracked: Iterable[Tracked], by: str, *, grace_s: float) -> dict[str, Any]:
    """End the processes of journals; returns how it went, as an agent answers a command."""
    if not os.path.isdir("/proc/self"):
        return {"state": "refused", "reason": "this system does not say which processes belong together; stop the run instead"}
    roots: dict[int, int] = {}
    sessions: set[int] = set()
    spared: set[int] = {os.getpid()}
    ending: list[Tracked] = []
    for one in tracked:
        if not one.watched.alive or one.folder.role not in ("trainer", "runner"):
            continue
        if one.folder.role == "runner":
            spared.add(one.watched.pid)
            if _add_child(one, roots, sessions):
                ending.append(one)
        elif one.watched.started is not None:
            roots[one.watched.pid] = one.watched.started
            ending.append(one)
    tree = Tree(roots, sessions, spared)
    if not tree.living():
        return {"state": "refused", "reason": "no process of this run lives on this machine"}
    for one in ending:  # not before somebody is there to be ended: whoever ends by himself was not killed
        one.folder.write_note(KILLED, {"by": by})
    count = tree.signal(signal.SIGTERM)
    if _wait(tree, grace_s, None):
        return {"state": "applied", "reason": "", "result": {"processes": count, "signal": "SIGTERM"}}
    tree.signal(signal.SIGKILL)
    if _wait(tree, GONE_S, signal.SIGKILL):
        return {"state": "applied", "reason": "", "result": {"processes": len(tree.known), "signal": "SIGKILL"}}
    left = ", ".join(str(pid) for pid, _ in sorted(tree.living()))
    return {"state": "interrupted", "reason": f"killed, but the kernel has not ended: {left}"}


def _add_child(one: Tracked, roots: dict[int, int], sessions: set[int]) -> bool:
    """The program of a `farwatch run`, if its number still means it: then its session is its own. Returns whether it does."""
    told = one.folder.read_note(CHILD)
    pid, started = told.get("pid"), told.get("pid_start")
    if isinstance(pid, int) and isinstance(started, int) and process_start(pid) == started:
        roots[pid] = started
        sessions.add(pid)
        return True
    return False


def _wait(tree: "Tree", limit_s: float, again: int | None) -> bool:
    """Wait until nothing of the tree lives; `again`: a signal for what appears meanwhile."""
    began = time.monotonic()
    everyone_s = began + EVERYONE_S
    while tree.known_living() or tree.living():  # before nothing is left, once more at everybody
        now = time.monotonic()
        if now >= began + limit_s:
            return False
        time.sleep(LOOK_S)
        if again is not None:
            tree.signal(again)  # which looks at everybody
        elif now >= everyone_s:
            everyone_s = now + EVERYONE_S
            tree.living()
    return True


class Tree:
    """Processes and what descends from them, found again at each look: a parent's death hides its children."""

    def __init__(self, roots: dict[int, int], sessions: set[int], spared: set[int]) -> None:
        self.known: set[Process] = set(roots.items())
        self._sessions = sessions
        self._spared = spared

    def living(self) -> set[Process]:
        """Those that live now, as a look at all processes of this machine tells."""
        self._look()
        return self._alive()

    def known_living(self) -> set[Process]:
        """The same, but for what has lost its parent since the last look; costs as much as the tree has processes."""
        fresh = self._alive()
        while fresh:
            fresh = {one for pid, _ in fresh for one in _children(pid) if one[0] not in self._spared} - self.known
            self.known |= fresh
        return self._alive()

    def _alive(self) -> set[Process]:
        return {one for one in self.known if process_start(one[0]) == one[1]}

    def signal(self, number: int) -> int:
        """Send a signal to all that live; returns to how many."""
        count = 0
        for pid, started in self.living():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                _signal(pid, started, number)
                count += 1
        return count

    def _look(self) -> None:
        everyone: dict[int, tuple[int, int, int]] = {}  # pid -> parent, session, start
        for name in os.listdir("/proc"):
            fields = stat_fields(int(name)) if name.isdigit() else None
            if fields is not None and len(fields) > 19 and fields[0] not in (b"Z", b"X"):
                everyone[int(name)] = (int(fields[1]), int(fields[3]), int(fields[19]))
        within = {pid for pid, started in self.known if everyone.get(pid, (0, 0, -1))[2] == started}
        grown = True
        while grown:
            more = {
                pid for pid, (parent, session, _) in everyone.items()
                if pid not in within and pid not in self._spared and (parent in within or session in self._sessions)
            }  # fmt: skip
            within |= more
            grown = bool(more)
        self.known |= {(pid, everyone[pid][2]) for pid in within}


def _children(pid: int) -> set[Process]:
    """The processes that a process has started itself; none where this system does not say."""
    found = set()
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            for word in file.read().split():
                started = process_start(int(word))
                if started is not None:
                    found.add((int(word), started))
    return found


def _signal(pid: int, started: int, number: int) -> None:
    """Signal a process, unless its number has become another's."""
    if not hasattr(os, "pidfd_open"):
        if process_start(pid) == started:
            os.kill(pid, number)
        return
    descriptor = os.pidfd_open(pid)
    try:
        if process_start(pid) == started:  # compared after opening: the descriptor means this process and no later one
            signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)
