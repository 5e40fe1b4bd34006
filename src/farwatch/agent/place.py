"""Which agent: its key, its lock, and its sign of life.

One agent serves a (boot, PID namespace, user, wire major): processes of another namespace have numbers that mean
something else here. The key is part of the names of its files in `agents/` of the state folder: `<key>.lock`, held with
`flock`; `<key>.log`; and `<key>.beat`, whose modification time is the last sign of life, renewed each second. A trainer
that finds it old, or missing, starts a new agent; the lock decides which of two stays.
"""

import contextlib
import os
from pathlib import Path

from farwatch.machine import agent_path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def agent_file(state: Path, suffix: str) -> Path:
    """One of the agent's files: `lock`, `beat`, `log`. Makes their folder."""
    path = agent_path(state, suffix)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


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

    def holds(self) -> bool:
        """Whether it is held, and still the file that others would try: a state folder may be deleted and made again."""
        try:
            return self._descriptor is not None and os.path.samestat(
                os.fstat(self._descriptor), os.stat(self._path)
            )
        except OSError:
            return False

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
        self._path = path
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        os.close(descriptor)

    def stamp(self) -> None:
        """Say that it lives."""
        with contextlib.suppress(OSError):
            os.utime(self._path)

    def close(self) -> None:
        """Say that it has left; may be called twice."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
