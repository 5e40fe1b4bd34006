"""Files: media, sources and attachments, found by what is in them.

A blob is named by the SHA-256 of its bytes and never changes. It arrives in pieces, each acknowledged by an offset, so
that an upload goes on where it stopped; it appears under its name only once all of it has been compared with it. No
name that anybody sent ever becomes part of a path.
"""

import errno
import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from farwatch.errors import (
    BodyError,
    DataError,
    DiskFullError,
    GapError,
    LimitError,
    NotFoundError,
    UsageError,
)

if TYPE_CHECKING:
    from hashlib import _Hash

_SHA256 = re.compile(r"[0-9a-f]{64}")
READ_BYTES = 1 << 20
HASHES_KEPT = 256  # uploads whose running hash is remembered; others are read again when they are complete
STRIPES = 64
PARTIAL = "partial"


class Upload(NamedTuple):
    """The piece that an upload expects next, and whether it is complete."""

    offset: int
    done: bool


class Blobs(Protocol):
    """Keeps blobs. Seven methods.

    *Threads*: any; pieces of one upload take turns. *Ownership*: whoever opens a blob closes it. *Errors*: a full disk is
    `DiskFullError`; a name that is no SHA-256 is `UsageError`. *Cost*: `size` and `open` do not read the blob.
    """

    def size(self, sha256: str) -> int | None:
        """Bytes of a blob; None if it is not here."""
        ...

    def offset(self, writer_id: str, name: str) -> int:
        """How much of an unfinished upload has arrived; 0 if it never began or is complete."""
        ...

    def write(self, writer_id: str, name: str, offset: int, data: bytes, *, size: int, sha256: str) -> Upload:
        """Add a piece at `offset` of the upload that a writer calls `name`; `size` and `sha256` are of the whole.

        What is already here is skipped. The last piece makes the blob, durably. Raises `GapError(expected=…)` for a
        piece that begins beyond what is here, `LimitError` for one that ends beyond `size`, `BodyError` if the whole
        is not what `sha256` says: then the upload begins anew.
        """
        ...

    def put(self, data: bytes) -> str:
        """Keep a small blob at once, durably. Returns its SHA-256."""
        ...

    def open(self, sha256: str) -> BinaryIO:
        """A blob to read, from any position. Raises `NotFoundError` if it is not here."""
        ...

    def delete(self, sha256: str) -> None:
        """Drop a blob; one that is not here is no error. Readers that have it open go on."""
        ...

    def total_bytes(self) -> int:
        """Bytes of all blobs."""
        ...


class FolderBlobs:
    """Blobs as files `ab/abcd…` in a folder; see `Blobs`. Unfinished uploads are in `partial/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._partial = folder / PARTIAL
        self._partial.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._locks = [threading.Lock() for _ in range(STRIPES)]  # of uploads; taken before `_lock`
        self._lock = threading.Lock()
        self._hashes: OrderedDict[str, tuple[int, _Hash]] = OrderedDict()
        self._total: int | None = None

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise UsageError(f"not a SHA-256: `{sha256[:80]}`")
        return self._folder / sha256[:2] / sha256

    @staticmethod
    def _key(writer_id: str, name: str) -> str:
        return hashlib.sha256(f"{writer_id}/{name}".encode("utf-8", "surrogatepass")).hexdigest()

    def size(self, sha256: str) -> int | None:
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def offset(self, writer_id: str, name: str) -> int:
        try:
            return (self._partial / self._key(writer_id, name)).stat().st_size
        except FileNotFoundError:
            return 0

    def write(self, writer_id: str, name: str, offset: int, data: bytes, *, size: int, sha256: str) -> Upload:
        self._path(sha256)
        if offset < 0 or size < 0 or offset + len(data) > size:
            raise LimitError(f"a piece of `{name[:200]}` ends beyond its {size} bytes")
        key = self._key(writer_id, name)
        with self._locks[int(key[:8], 16) % STRIPES], _disk_errors():
            path = self._partial / key
            known = path.stat().st_size if path.exists() else 0
            if known > size:
                self._forget(path, key)
                known = 0
            if offset > known:
                raise GapError(
                    f"byte {known} of `{name[:200]}` is expected, not: `{offset}`",
                    hint="send from the expected byte on",
                    expected=known,
                )
            fresh = memoryview(data)[known - offset :] if known - offset < len(data) else memoryview(b"")
            end = self._add(path, key, known, fresh)
            if end < size:
                return Upload(end, False)
            self._finish(path, key, size, sha256)
            return Upload(size, True)

    def _add(self, path: Path, key: str, known: int, data: memoryview) -> int:
        """Write behind what is known; after an error the file is as long as before. Returns the new length."""
        with self._lock:
            at, digest = self._hashes.pop(key, (0, hashlib.sha256()))
        with path.open("ab", buffering=0) as file:  # a buffer would write its rest again when it is closed
            try:
                done = 0
                while done < len(data):
                    done += file.write(data[done:]) or 0
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file.fileno(), known)
                raise
        if at == known:
            digest.update(data)
            with self._lock:
                self._hashes[key] = (known + len(data), digest)
                while len(self._hashes) > HASHES_KEPT:
                    self._hashes.popitem(last=False)
        return known + len(data)

    def _finish(self, path: Path, key: str, size: int, sha256: str) -> None:
        """Compare a complete upload with its name and give it that name."""
        with self._lock:
            at, digest = self._hashes.get(key, (-1, hashlib.sha256()))
        with path.open("rb+") as file:
            if at != size:
                digest = hashlib.file_digest(file, "sha256")  # type: ignore[assignment]
            if digest.hexdigest() != sha256:
                self._forget(path, key)
                raise BodyError(
                    "a file is not what its SHA-256 says", hint="send it again from its first byte"
                )
            os.fsync(file.fileno())
        self._appear(path, sha256, size)
        with self._lock:
            self._hashes.pop(key, None)

    def _appear(self, path: Path, sha256: str, size: int) -> None:
        """Give a complete, synced file its name, durably; bytes that are here already are not kept twice."""
        target = self._path(sha256)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        known = self.size(sha256)
        os.replace(path, target)
        for folder in (target.parent, self._folder):
            _sync_folder(folder)
        with self._lock:
            if self._total is not None and known is None:
                self._total += size

    def _forget(self, path: Path, key: str) -> None:
        path.unlink(missing_ok=True)
        with self._lock:
            self._hashes.pop(key, None)

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        if self.size(sha256) is None:
            self.write(f"put-{threading.get_ident()}", sha256, 0, data, size=len(data), sha256=sha256)
        return sha256

    def open(self, sha256: str) -> BinaryIO:
        try:
            return self._path(sha256).open("rb")
        except FileNotFoundError:
            raise NotFoundError(f"no file with the SHA-256: `{sha256}`") from None

    def delete(self, sha256: str) -> None:
        size = self.size(sha256)
        if size is None:
            return
        self._path(sha256).unlink(missing_ok=True)
        with self._lock:
            if self._total is not None:
                self._total -= size

    def total_bytes(self) -> int:
        with self._lock:
            if self._total is None:
                self._total = sum(path.stat().st_size for _, path in list_blobs(self._folder))
            return self._total

    def sweep(self, before_s: float) -> int:
        """Drop unfinished uploads untouched since `before_s` (seconds since the epoch). Returns how many."""
        dropped = 0
        for path in list(self._partial.iterdir()):
            with self._locks[int(path.name[:8], 16) % STRIPES], suppress(FileNotFoundError):
                if path.stat().st_mtime < before_s:
                    self._forget(path, path.name)
                    dropped += 1
        return dropped


def list_blobs(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every complete blob of a folder with its file, for backup and fsck."""
    for part in sorted(folder.iterdir()):
        if part.is_dir() and len(part.name) == 2:
            for path in sorted(part.iterdir()):
                if _SHA256.fullmatch(path.name):
                    yield path.name, path


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, (FileNotFoundError, PermissionError)) or error.errno is None:
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFullError("the disk is full: files cannot be kept", hint="free some space") from error
        raise DataError(f"a file cannot be written: {error.strerror}") from error
