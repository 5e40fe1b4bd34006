"""Seeing processes live and die, and saying only what is known.

A process is its PID and start time, held as a pidfd, so that a number that is given out again is nobody's end. Causes
of death, best first: what the kernel tells about the exit of a pidfd (Linux 6.15 and later), the exit status of a
zombie, and whether the control group's count of kills for memory has changed; else "ended without goodbye", not a
guess. About processes of another boot, PID namespace, user or machine nothing is said at all.
"""

import contextlib
import os
import select
import signal
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farwatch.machine import boot_id, pid_namespace, process_start

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# linux/pidfd.h: struct pidfd_info, version 0, and PIDFD_GET_INFO = _IOWR(0xFF, 11, struct pidfd_info)
_INFO = struct.Struct("<QQ11Ii")
_INFO_EXIT = 1 << 3
_GET_INFO = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11
SETTLE_US = 2_000_000  # after the end, so long may its parent take to collect the exit status
NO_GOODBYE = "ended without goodbye"


@dataclass(slots=True)
class Watched:
    """One process. `alive`: None where nobody can say. `cause`: set once, when it has died."""

    pid: int
    started: int | None
    alive: bool | None = None
    cause: dict[str, Any] | None = None
    _pidfd: int = -1
    _oom_path: Path | None = field(default=None, repr=False)
    _kills: int | None = None
    _status: int | None = None
    _gone_us: int | None = None

    def look(self, now_us: int) -> bool | None:
        """Whether it lives now; as long as its exit status may still come, it counts as alive."""
        if not self.alive:
            return self.alive
        if not self._is_gone():
            return True
        if self._gone_us is None:
            self._gone_us = now_us
        known = self._exit_status()
        if known is None and now_us - self._gone_us < SETTLE_US:
            return True
        self.alive = False
        self.cause = self._describe(known)
        self.close()
        return False

    def close(self) -> None:
        """Let go of the process; may be called twice."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _is_gone(self) -> bool:
        if self._pidfd >= 0:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            return bool(poll.poll(0))
        return not _exists(self.pid, self.started)

    def _exit_status(self) -> int | None:
        """The wait status, from whoever tells; asked again until its parent has collected it."""
        if self._pidfd >= 0 and fcntl is not None:
            asked = bytearray(_INFO.pack(_INFO_EXIT, *[0] * 13))
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._pidfd, _GET_INFO, asked)
                told = _INFO.unpack(asked)
                if told[0] & _INFO_EXIT:
                    return int(told[-1])
        status = _zombie_status(self.pid)
        if status:  # 0 also means that we may not know
            self._status = status
        if self._gone_us is not None and self._status is not None:
            return self._status
        return None

    def _describe(self, status: int | None) -> dict[str, Any]:
        kills = oom_kills(self._oom_path)
        out_of_memory = self._kills is not None and kills is not None and kills > self._kills
        if status is None:
            if out_of_memory:
                return {"oom": True, "text": "killed because the memory ran out"}
            return {"text": NO_GOODBYE}
        number = status & 0x7F
        if number == 0:
            return {"exit_code": status >> 8 & 0xFF, "text": f"exit code {status >> 8 & 0xFF}"}
        if number == signal.SIGKILL and out_of_memory:
            return {"oom": True, "signal": number, "text": "killed because the memory ran out"}
        return {"signal": number, "text": f"killed by {_signal_name(number)}"}


def watch(sidecar: Mapping[str, Any]) -> Watched:
    """Begin to watch the process that a journal's sidecar names.

    `alive` is None if it belongs to another boot, namespace, user or machine, False if it has gone already.
    """
    pid, started = sidecar.get("pid"), sidecar.get("pid_start")
    if not isinstance(pid, int) or pid <= 0 or not is_ours(sidecar):
        return Watched(pid if isinstance(pid, int) else 0, None)
    watched = Watched(pid, started if isinstance(started, int) else None)
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            watched._pidfd = os.pidfd_open(pid)
    # Compared after opening: from here on the descriptor means this process and no later one.
    if not _exists(pid, watched.started):
        watched.close()
        watched.alive = False
        watched.cause = {"text": NO_GOODBYE}
        return watched
    watched.alive = True
    watched._oom_path = oom_file(pid)
    watched._kills = oom_kills(watched._oom_path)
    return watched


def is_ours(sidecar: Mapping[str, Any]) -> bool:
    """Whether a sidecar's process number means something here: same boot, namespace and user."""
    uid = sidecar.get("uid")
    if uid is not None and hasattr(os, "getuid") and uid != os.getuid():
        return False
    boot, namespace = sidecar.get("boot_id"), sidecar.get("pid_ns")
    if sys.platform == "linux":
        return boot == boot_id() and namespace == pid_namespace()
    host = sidecar.get("host")
    return host is None or host == _host()


def _host() -> str:
    import socket  # only where there is no boot id

    return socket.gethostname()


def _exists(pid: int, started: int | None) -> bool:
    if sys.platform == "linux":
        found = process_start(pid)
        return found is not None and (started is None or found == started)
    if sys.platform == "win32":
        try:
            import psutil
        except ImportError:
            return True
        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _zombie_status(pid: int) -> int | None:
    """Field 52 of `/proc/PID/stat` of a process that has ended and was not collected yet."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
        fields = text[text.rindex(b")") + 2 :].split()
        return int(fields[49]) if fields[0] == b"Z" else None
    except (OSError, ValueError, IndexError):
        return None


def oom_file(pid: int) -> Path | None:
    """Where the kernel counts kills for memory in the control group of a process."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found = Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            found = Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.oom_control"
        else:
            continue
        if found.exists():
            return found
    return None


def oom_kills(path: Path | None) -> int | None:
    """How often the kernel has killed for memory there; None where it does not say."""
    if path is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
