"""Uploads of files that journals refer to: in chunks, resumable, known by hash in the end.

A name from outside never becomes a path: the unfinished file is called by the hash of writer and name.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farwatch.errors import BodyError, DiskFullError, LimitError, UsageError
from farwatch.settings import Settings
from farwatch.store.blobs import Blobs

CHUNK_MAX = 8 << 20
NAME_MAX = 255
READ = 1 << 20

Finished = Callable[[str, str, str, int, str | None], Any]


@dataclass(slots=True)
class Uploads:
    """Unfinished files in `folder`; finished ones go to `blobs`, and `finished(writer, name, sha256, size, media_type)` is told.

    *Threads*: any; two uploads of one file take turns. *Ordering*: a chunk at 0 begins anew; any other chunk that does not continue
    changes nothing, and the answer says where to go on.
    """

    folder: Path
    blobs: Blobs
    finished: Finished
    settings: Settings
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def offset(self, writer: str, name: str) -> int:
        """How many bytes of a file have come."""
        try:
            return self._part(writer, name).stat().st_size
        except FileNotFoundError:
            return 0

    def put(self, writer: str, name: str, offset: int, size: int, sha256: str, chunk: bytes, media_type: str | None) -> dict[str, Any]:
        """Keep one chunk. Returns how far the file is, and whether it is done.

        Raises `LimitError` for a file or chunk that is too large, `DiskFullError` where files are refused, `BodyError` if the finished
        file has another hash; it is then dropped and may be sent again.
        """
        if len(chunk) > CHUNK_MAX:
            raise LimitError(f"a chunk may have {CHUNK_MAX} bytes")
        if size > self.settings.blob_max_bytes:
            raise LimitError(f"a file may have {self.settings.blob_max_bytes} bytes, not {size}")
        if offset + len(chunk) > size:
            raise UsageError("more bytes than the file's size")
        self._check_disk(size - offset)
        part = self._part(writer, name)
        with self._lock(part.name):
            if offset == 0:
                part.unlink(missing_ok=True)
            have = self.offset(writer, name)
            if offset != have:
                return {"offset": have, "done": False}
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o600)
            with os.fdopen(handle, "ab") as file:
                file.write(chunk)
            have += len(chunk)
            if have < size:
                return {"offset": have, "done": False}
            return self._finish(writer, name, part, size, sha256, media_type)

    def _finish(self, writer: str, name: str, part: Path, size: int, sha256: str, media_type: str | None) -> dict[str, Any]:
        digest = hashlib.sha256()
        with part.open("rb") as file:
            while piece := file.read(READ):
                digest.update(piece)
        if digest.hexdigest() != sha256:
            part.unlink()
            raise BodyError("the file that came has another hash than announced", hint="send it again from its first byte")
        self.blobs.adopt(part, sha256)
        self.finished(writer, name, sha256, size, media_type)
        return {"offset": size, "done": True}

    def _check_disk(self, more: int) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stats = os.statvfs(self.folder)
        free = stats.f_bavail * stats.f_frsize
        if free - more < stats.f_blocks * stats.f_frsize * self.settings.disk_files_percent / 100:
            raise DiskFullError("the server's disk is nearly full and takes no files", hint="free space; files wait where they are")

    def _part(self, writer: str, name: str) -> Path:
        if not 0 < len(name.encode("utf-8", "replace")) <= NAME_MAX:
            raise UsageError(f"the name of a spooled file has 1 to {NAME_MAX} bytes")
        return self.folder / hashlib.sha256(f"{writer}\n{name}".encode("utf-8", "replace")).hexdigest()

    def _lock(self, key: str) -> threading.Lock:
        with self._guard:
            if len(self._locks) > 10_000:
                self._locks = {one: lock for one, lock in self._locks.items() if lock.locked()}
            return self._locks.setdefault(key, threading.Lock())
