"""Files and media of a run, copied beside its journal when they are logged.

A reader of a journal never follows a path that it names: it only opens files of this folder. So what is logged is
copied here at once, and what the program does to its own file later changes nothing.
"""

import contextlib
import itertools
import os
import shutil
import sys
from pathlib import Path

from farwatch.sdk.place import disk_free

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FICLONE = 0x40049409  # of Linux; `shutil` does not ask for it before Python 3.14


class Spool:
    """The spool folder of one writer.

    *Threads*: any. *Errors*: `OSError`, with nothing left behind.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "spool"
        self._numbers = itertools.count()

    def keep(self, content: bytes | Path, suffix: str = "") -> tuple[str, int]:
        """Copy `content` into the spool. Returns its name there and its size in bytes.

        A file is cloned where the file system can (btrfs, xfs), which takes no time, else copied by the kernel. Never linked: what
        the program writes into its own file later would change what was kept.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{next(self._numbers):08d}{suffix}"
        path = self._folder / name
        try:
            if isinstance(content, bytes):
                path.write_bytes(content)
                return name, len(content)
            if not _clone(content, path):
                size = content.stat().st_size
                if size > disk_free(self._folder):
                    raise OSError(f"no room for a copy of {size} bytes beside the journal")
                shutil.copyfile(content, path)
            return name, os.stat(path).st_size
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _clone(source: Path, path: Path) -> bool:
    """Make `path` share the blocks of `source` until one of them changes; False where that cannot be."""
    if fcntl is None or not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError), open(source, "rb") as old, open(path, "wb") as new:
        fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        return True
    return False
