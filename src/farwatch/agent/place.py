"""Which agent: its key, its lock, and its sign of life.

One agent serves a (boot, PID namespace, user, wire major): processes of another namespace have numbers that mean
something else here. The key is part of the names of its files in the state folder:
`agent-<key>.lock` (held with `flock`), `agent-<key>.log`, and `agent-<key>.alive`: 16 bytes, two little-endian 64-bit
integers, milliseconds of the monotonic clock at the last sign of life (each second; 0: it has left) and its PID.
A trainer that finds the first more than 15 s old starts a new agent.
"""

import contextlib
import hashlib
import os
import struct
from pathlib import Path

from farwatch.wire.segment import WIRE_MAJOR

ALIVE = struct.Struct("<QQ")

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def boot_id() -> str | None:
    """What names this boot of the machine; None where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def pid_namespace() -> int | None:
    """The inode of this process's PID namespace; None where there are none."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def agent_key() -> str:
    """Key of the agent for this process: the same in trainer and agent, without asking anybody."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    text = f"{boot_id()}:{pid_namespace()}:{user}:{WIRE_MAJOR}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def alive_path(state: Path) -> Path:
    """Where the agent of this process stamps its sign of life."""
    return state / f"agent-{agent_key()}.alive"


def lock_path(state: Path) -> Path:
    """What the agent of this process holds."""
    return state / f"agent-{agent_key()}.lock"


class Lock:
    """A lock between processes, free as soon as its holder is gone. Never inherited: the agent does not fork."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Try to take it, without waiting. Raises `OSError` if the file cannot be made."""
        if self._descriptor is not None:
            return True
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._path, flags, 0o600)
        try:
            _lock(descriptor)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give it back; may be called twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt  # exists on Windows only

    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


class Alive:
    """The agent's side of its sign of life."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        self._descriptor: int | None = os.open(path, flags, 0o600)

    def stamp(self, mono_us: int) -> None:
        """Say that it lives; 0: that it has left."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                os.write(self._descriptor, ALIVE.pack(mono_us // 1000, os.getpid()))

    def close(self) -> None:
        """Say that it has left; may be called twice."""
        self.stamp(0)
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def last_sign_ms(path: Path) -> int | None:
    """Monotonic milliseconds of the agent's last sign of life; None if there is none."""
    try:
        data = path.read_bytes()
        stamp, _ = ALIVE.unpack(data[: ALIVE.size])
    except (OSError, struct.error):
        return None
    return int(stamp) or None
