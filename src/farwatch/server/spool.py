"""Uploads of files that journals refer to: in chunks, resumable, known by hash in the end."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farwatch.errors import DiskFullError, GapError, LimitError, UsageError
from farwatch.settings import Settings
from farwatch.store.blobs import Blobs

CHUNK_MAX = 8 << 20
NAME_MAX = 255

Finished = Callable[[str, str, str, int, str | None], Any]


@dataclass(frozen=True, slots=True)
class Uploads:
    """Checks chunks and hands them to `blobs`; `finished(writer, name, sha256, size, media_type)` is told of each file that is whole.

    *Threads*: any. `folder`: on the disk whose free room counts.
    """

    folder: Path
    blobs: Blobs
    finished: Finished
    settings: Settings

    def offset(self, writer: str, name: str) -> int:
        """How many bytes of an unfinished file have come."""
        return self.blobs.offset(writer, _checked(name))

    def put(
        self,
        writer: str,
        name: str,
        offset: int,
        size: int,
        sha256: str,
        chunk: bytes,
        media_type: str | None,
    ) -> dict[str, Any]:
        """Keep one chunk. Returns where the next one begins, and whether the file is whole.

        A chunk that does not continue changes nothing, and the answer says where to go on. Raises `LimitError` for a file or chunk that
        is too large, `DiskFullError` where files are refused, `BodyError` if the whole file has another hash.
        """
        if len(chunk) > CHUNK_MAX:
            raise LimitError(f"a chunk may have {CHUNK_MAX} bytes")
        if size > self.settings.blob_max_bytes:
            raise LimitError(f"a file may have {self.settings.blob_max_bytes} bytes, not {size}")
        if offset + len(chunk) > size:
            raise UsageError("more bytes than the file's size")
        self._check_disk(size - offset)
        try:
            where = self.blobs.write(writer, _checked(name), offset, chunk, size=size, sha256=sha256)
        except GapError as gap:
            return {"offset": gap.details["expected"], "done": False}
        if where.done:
            self.finished(writer, name, sha256, size, media_type)
        return {"offset": where.offset, "done": where.done}

    def _check_disk(self, more: int) -> None:
        stats = os.statvfs(self.folder)
        free, total = stats.f_bavail * stats.f_frsize, stats.f_blocks * stats.f_frsize
        if free - more < total * self.settings.disk_files_percent / 100:
            raise DiskFullError(
                "the server's disk is nearly full and takes no files",
                hint="free space; files wait where they are",
            )


def _checked(name: str) -> str:
    if not 0 < len(name.encode("utf-8", "replace")) <= NAME_MAX:
        raise UsageError(f"the name of a spooled file has 1 to {NAME_MAX} bytes")
    return name
