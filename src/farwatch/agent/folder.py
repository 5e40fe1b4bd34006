"""A journal folder as the agent sees it: which files it may open, and the small files that it leaves there.

Everything is opened relative to the folder's own descriptor, as a plain file of the same owner, never through a
link: a journal that names a file outside, or that somebody else put there, gives an error and no bytes.

What the agent leaves there, none of which matters if it is lost:
`agent.json`: how far the server has come and as what run, for the trainer's `wait` and `finish` and for `farwatch
status`. `death.json`: how the process ended. `files-sent`: names of spool files that arrived. `aside/`: what the server
refused for good.
"""

import contextlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from farwatch.errors import DataError
from farwatch.wire.ids import is_writer_id
from farwatch.wire.segment import SIDECAR, SUFFIX, segment_name

ANSWER = "agent.json"
DEATH = "death.json"
KILLED = "killed.json"  # who had its process killed by a command
CHILD = "child.json"  # of a `farwatch run`: the program that it runs
FILES_SENT = "files-sent"
CLONE = "clone.json"
ASIDE = "aside"
SPOOL = "spool"
SPILL = "spill"
MAX_SIDECAR_BYTES = 4 << 20

_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_READ |= getattr(os, "O_NONBLOCK", 0)  # a pipe put there must not hold us
_FOLDER = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_DIRECTORY", 0)
)
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_SEGMENT = re.compile(r"[0-9]{6,}" + re.escape(SUFFIX))
_RELATIVE = os.open in os.supports_dir_fd


class JournalFolder:
    """One writer's folder, opened and checked.

    *Threads*: any; the methods keep no state. *Errors*: `DataError` for a folder or file that is a link, somebody
    else's or not what it should be; `FileNotFoundError` for what is not there.
    """

    def __init__(self, path: Path) -> None:
        """Check `path` and read its `writer.json`. Raises `DataError` or `FileNotFoundError`."""
        self.path = path
        self.writer_id = path.name
        if not is_writer_id(self.writer_id):
            raise DataError(f"not the name of a journal: `{path.name[:80]}`")
        self._folder = _open_folder(path, None)
        try:
            self.sidecar = self._read_sidecar()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder; may be called twice."""
        folder, self._folder = self._folder, None
        if folder is not None:
            os.close(folder)

    def _read_sidecar(self) -> dict[str, Any]:
        told = _parse(self.read(SIDECAR, MAX_SIDECAR_BYTES), SIDECAR)
        if told.get("writer") != self.writer_id:
            raise DataError(f"`{SIDECAR}` belongs to another journal")
        if not isinstance(told.get("run"), str) or not isinstance(told.get("project"), str):
            raise DataError(f"`{SIDECAR}` names no run")
        return told

    @property
    def role(self) -> str:
        """`trainer`, or what else wrote it (`system`: the agent)."""
        return str(self.sidecar.get("role") or "trainer")

    @property
    def has_process(self) -> bool:
        """Whether its writer is a process of a run, whose end means something: a trainer, or `farwatch run`."""
        return self.role in ("trainer", "runner")

    @property
    def offline(self) -> bool:
        """Whether its owner asked that it is sent by hand only."""
        return self.sidecar.get("mode") == "offline"

    def open(self, name: str, inside: str | None = None) -> int:
        """Open one plain file for reading, in the folder or in its `spool` or `spill`; the caller closes it."""
        if not _NAME.fullmatch(name):
            raise DataError(f"a journal names a file outside its folder: `{name[:80]}`")
        if inside is None:
            return _open_file(name, self.path, self._folder)
        try:
            folder = _open_folder(self.path / inside, self._folder)
        except FileNotFoundError:
            raise
        try:
            return _open_file(name, self.path / inside, folder)
        finally:
            if folder is not None:
                os.close(folder)

    def read(self, name: str, max_bytes: int, inside: str | None = None) -> bytes:
        """Read one plain file. Raises `DataError` if it is larger than `max_bytes`."""
        descriptor = self.open(name, inside)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise DataError(f"`{name}` is larger than {max_bytes} bytes")
        return data

    def segments(self) -> list[int]:
        """Numbers of the segments that exist, in order."""
        return sorted(int(name[: -len(SUFFIX)]) for name in os.listdir(self.path) if _SEGMENT.fullmatch(name))

    def open_segment(self, number: int) -> int:
        """Open a segment for reading; the caller closes it."""
        return self.open(segment_name(number))

    def spool_size(self, name: str) -> int:
        """Size of a spool file in bytes. Raises as `open` does."""
        descriptor = self.open(name, SPOOL)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    # --- what the agent leaves

    def read_note(self, name: str) -> dict[str, Any]:
        """One of the small JSON files, empty if it is missing or spoilt: none of them matters."""
        try:
            return _parse(self.read(name, MAX_SIDECAR_BYTES), name)
        except (OSError, DataError):
            return {}

    def write_note(self, name: str, value: dict[str, Any]) -> None:
        """Replace one of the small JSON files; a folder that cannot be written stays as it is."""
        with contextlib.suppress(OSError):
            write_private(self.path / name, json.dumps(value, separators=(",", ":")).encode())

    def write_aside(self, name: str, data: bytes) -> None:
        """Keep what the server refused for good. Raises `OSError` if there is no room."""
        folder = self.path / ASIDE
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        write_private(folder / name, data)

    def aside(self) -> list[str]:
        """Names of what was refused, without the reasons beside them."""
        try:
            return sorted(
                name for name in os.listdir(self.path / ASIDE) if not name.endswith((".json", ".tmp"))
            )
        except OSError:
            return []

    def files_sent(self, epoch: str) -> set[str]:
        """Names of spool files that arrived at the store with this epoch."""
        try:
            lines = self.read(FILES_SENT, 1 << 28).decode().splitlines()
        except (OSError, DataError, UnicodeDecodeError):
            return set()
        return set(lines[1:]) if lines and lines[0] == epoch else set()

    def add_file_sent(self, epoch: str, name: str, *, first: bool) -> None:
        """Remember that a spool file arrived; `first`: start the list anew."""
        path = self.path / FILES_SENT
        with contextlib.suppress(OSError):
            if first:
                write_private(path, f"{epoch}\n{name}\n".encode())
            else:
                flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
                descriptor = os.open(path, flags)
                try:
                    os.write(descriptor, f"{name}\n".encode())
                finally:
                    os.close(descriptor)

    def answer(self) -> dict[str, Any]:
        """What was last noted of the server: `expected`, `files_behind`, `complete`, `address`, `run`, `url`, …."""
        return self.read_note(ANSWER)

    def bytes_on_disk(self) -> int:
        """Disk that the folder takes, in bytes."""
        return sum(os.lstat(path).st_blocks * 512 if sys.platform != "win32" else os.lstat(path).st_size
                   for path in self._files())  # fmt: skip

    def remove(self) -> None:
        """Delete the folder and what is in it. The sidecar goes last but one, so that a half-deleted folder is no journal."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path / SIDECAR)
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        for name in (SPOOL, SPILL, ASIDE):
            with contextlib.suppress(OSError):
                os.rmdir(self.path / name)
        with contextlib.suppress(OSError):
            os.rmdir(self.path)
        self.close()

    def _files(self) -> Iterator[str]:
        for folder in (self.path, self.path / SPOOL, self.path / SPILL, self.path / ASIDE):
            if os.path.islink(folder):
                continue
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        yield entry.path


def find_journals(folder: Path) -> list[Path]:
    """Paths that look like journals in a folder of journals; empty if it does not exist."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(folder / name for name in names if is_writer_id(name))


def write_private(path: Path, data: bytes) -> None:
    """Replace a file by a 0600 one, all or nothing. Raises `OSError`."""
    fresh = f"{path}.{os.getpid()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(fresh, flags | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


def _parse(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise DataError(f"`{name}` is no JSON object")
    return value


def _open_folder(path: Path, parent: int | None) -> int | None:
    """Open a folder of this user's that is no link; None where the system has no such descriptors."""
    if not _RELATIVE:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise DataError(f"no folder, or a link: `{path.name}`")
        return None
    try:
        descriptor = os.open(path.name if parent is not None else path, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(
            f"cannot open the folder `{path.name}`: {error.strerror}", hint="a link, or not yours?"
        ) from None
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid():
        os.close(descriptor)
        raise DataError(f"the folder `{path.name}` belongs to somebody else")
    return descriptor


def _open_file(name: str, folder: Path, parent: int | None) -> int:
    try:
        if parent is not None:
            descriptor = os.open(name, _READ, dir_fd=parent)
        else:
            if not stat.S_ISREG(os.lstat(folder / name).st_mode):
                raise DataError(f"no plain file: `{name}`")
            descriptor = os.open(folder / name, _READ)
    except FileNotFoundError:
        raise
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot open `{name}`: {error.strerror}", hint="a link, or not yours?") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or (sys.platform != "win32" and found.st_uid != os.geteuid()):
        os.close(descriptor)
        raise DataError(f"no plain file of this user: `{name}`")
    return descriptor
