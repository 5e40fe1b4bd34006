"""Files and media of a run, copied beside its journal when they are logged.

A reader of a journal never follows a path that it names: it only opens files of this folder. So what is logged is
copied here at once, and what the program does to its own file later changes nothing.
"""

import itertools
import os
import shutil
from pathlib import Path

from farwatch.sdk.place import disk_free


class Spool:
    """The spool folder of one writer.

    *Threads*: any. *Errors*: `OSError`, with nothing left behind.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "spool"
        self._numbers = itertools.count()

    def keep(self, content: bytes | Path, suffix: str = "") -> tuple[str, int]:
        """Copy `content` into the spool. Returns its name there and its size in bytes.

        A file is cloned where the file system can (btrfs, xfs), else copied by the kernel.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{next(self._numbers):08d}{suffix}"
        path = self._folder / name
        try:
            if isinstance(content, bytes):
                path.write_bytes(content)
                return name, len(content)
            size = content.stat().st_size
            if size > disk_free(self._folder):
                raise OSError(f"no room for a copy of {size} bytes beside the journal")
            shutil.copyfile(content, path)
            return name, os.stat(path).st_size
        except BaseException:
            path.unlink(missing_ok=True)
            raise
