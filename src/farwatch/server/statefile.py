"""The state folder and the file that tells this user's programs where the server is.

The folder is 0700 and ours, no link; the file is 0600, written whole, and removed at a clean exit.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

from farwatch.errors import UsageError
from farwatch.machine import process_start
from farwatch.servers import LOCAL_SERVER as NAME


def prepare(folder: Path) -> Path:
    """Make the folder, or check that it is a real one, ours, and closed to others. Raises `UsageError` if it cannot be."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode):
        raise UsageError(
            f"the state folder is a link or no folder: `{folder}`", hint="set FARWATCH_DIR to a real folder"
        )
    if hasattr(os, "geteuid") and seen.st_uid != os.geteuid():
        raise UsageError(
            f"the state folder belongs to another user: `{folder}`",
            hint="set FARWATCH_DIR to your own folder",
        )
    if stat.S_IMODE(seen.st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


def read(folder: Path) -> dict[str, Any] | None:
    """What the file says, or None if there is no readable one of ours."""
    try:
        handle = os.open(folder / NAME, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(handle) as file:
            if hasattr(os, "geteuid") and os.fstat(file.fileno()).st_uid != os.geteuid():
                return None
            value = json.load(file)
        return value if isinstance(value, dict) else None
    except (OSError, ValueError):
        return None


def write(folder: Path, content: dict[str, Any]) -> None:
    """Replace the file at once by a new one that only we can read."""
    temporary = folder / f"{NAME}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(content, file)
    os.replace(temporary, folder / NAME)


def remove(folder: Path) -> None:
    """Take the file away if it is still this process's."""
    said = read(folder)
    if said is not None and said.get("pid") == os.getpid():
        (folder / NAME).unlink(missing_ok=True)


def running(folder: Path) -> dict[str, Any] | None:
    """The file of a server of this user that still lives, or None."""
    said = read(folder)
    if said is None or not isinstance(said.get("pid"), int) or said["pid"] == os.getpid():
        return None
    start = process_start(said["pid"])
    return said if start is not None and start == said.get("pid_start") else None
