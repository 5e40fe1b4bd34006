"""One process per folder: a lock that the system gives back when its owner dies."""

import os
import sys
from pathlib import Path

from farwatch.errors import DataError

if sys.platform != "win32":
    import fcntl

NAME = "store.lock"


class FolderLock:
    """Held from construction to `close`. Raises `DataError` if somebody else holds it."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        if sys.platform == "win32":
            return  # SQLite's own locks keep two writers apart, with a worse message
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            self._descriptor = -1
            raise DataError(
                f"another server uses this folder: `{folder.name}`", hint="stop it, or choose another folder"
            ) from error

    def close(self) -> None:
        """Let go; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
