"""The trainer's side of a journal: append a record to a memory-mapped file, and nothing else.

`Journal.commit` is the hot path of Farwatch. It makes no system call (but a page fault of the mapping), takes no lock
of its own, and never raises for a full disk. Its callers hold `Journal.lock` and have set `Journal.busy`; see `hold`.

How a record becomes true (`farwatch.wire.segment` has the bytes): payload first, then one aligned 8-byte store through
a `memoryview` cast to `Q` — never `struct.pack_into`, which zeroes before it stores, so that `kill -9` could leave an
empty word — and only then does `at`, one tuple, move on. An exception thrown between the two by a signal handler is
found by the next call: the word in front of it is not zero.
"""

import errno
import mmap
import os
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import RLock

from farwatch.wire import segment as wire
from farwatch.wire.records import Kind, encode_json

FIRST_SEGMENT = 64 << 10
LAST_SEGMENT = (
    4 << 20
)  # doubling stops here: larger ones cost resident memory and a slower fallocate, see [H 13]
SPILL_BYTES = 1 << 20  # a larger record goes to a file of its own
MARGIN = 4096  # end of each segment that only vital records may use: goodbye and last values on a full disk
RESERVE = 64 << 10  # end of the disk cap that only vital records may use
RETRY_NS = 1_000_000_000  # after a full disk, the next attempt

_Words = memoryview
_At = tuple[mmap.mmap, _Words, int, int, int, int]


class Journal:
    """The journal of one writer.

    `at`: the position, one tuple so that it cannot tear: mapping, its words, end of what ordinary records may use (0: go
    on elsewhere), offset of the next record, CRC of the last, number of the next.

    *Threads*: any, under `lock`. *Re-entrancy*: a call that finds `busy` set (a signal handler, a finalizer or a hook
    interrupted the holder of the lock in this very thread) must put itself into `deferred` and return.
    *Ownership*: the folder belongs to this process until `close`; a fork must not touch it, see `forked`.
    """

    __slots__ = (
        "_clock_ns", "_closed", "_max_bytes", "_segment", "_used_bytes",
        "at", "busy", "deferred", "dropped", "folder", "full", "lock", "retry_ns", "writer_id",
    )  # fmt: skip  # slots are read faster than a dictionary

    def __init__(self, folder: Path, writer_id: str, *, max_bytes: int, clock_ns: Callable[[], int]) -> None:
        """Create segment 0 in an existing `folder`. Raises `OSError` if there is no room for it."""
        self.folder = folder
        self.writer_id = writer_id
        self.lock = RLock()
        self.busy = False
        self.deferred: deque[Callable[[], object]] = deque()
        self.dropped = 0
        self.full: str | None = None  # why nothing more is kept, for the one warning
        self._max_bytes = max_bytes
        self._clock_ns = clock_ns
        self._used_bytes = 0
        self._segment = -1
        self.retry_ns = 0  # after a full disk: until then nothing is tried
        self._closed = False
        self.at: _At = self._open_segment(FIRST_SEGMENT, wire.first_seed(writer_id), 0)

    @property
    def number(self) -> int:
        """Number of the next record: how many have been committed."""
        return self.at[5]

    @property
    def segment(self) -> int:
        """Number of the segment that is being written."""
        return self._segment

    def hold(self, call: Callable[[], object]) -> None:
        """Run `call` under the lock, or behind the call that it interrupts. The pattern of every writer of records."""
        with self.lock:
            if self.busy:
                self.deferred.append(call)
                return
            try:
                self.busy = True
                call()
            finally:
                self.busy = False
            if self.deferred:
                self.drain()

    def drain(self) -> None:
        """Run what re-entrant calls have left; the lock is held and `busy` is clear."""
        while self.deferred:
            try:
                self.busy = True  # first: a call that interrupts us here must queue, not drain beside us
                if self.deferred:
                    self.deferred.popleft()()
            finally:
                self.busy = False

    def append(self, payload: bytes, *, vital: bool = False) -> None:
        """Commit one record, taking the lock. For everything but the hot path."""
        self.hold(lambda: self.commit(payload, vital))

    def commit(self, payload: bytes, vital: bool = False) -> bool:
        """Commit one record; the caller holds the lock and has set `busy`.

        Returns False if there was no room: the record is counted in `dropped`. `vital` records may use the reserves.
        """
        mapping, words, limit, offset, crc, number = self.at
        end = offset + 8 + len(payload)
        if end > limit and not (vital and limit and end <= len(mapping)):
            return self._make_room(payload, vital)
        if words[offset >> 3]:
            self._repair()
            return self.commit(payload, vital)
        crc = zlib.crc32(payload, crc)
        mapping[offset + 8 : end] = payload
        words[offset >> 3] = len(payload) << 32 | crc
        self.at = (mapping, words, limit, (end + 7) & ~7, crc, number + 1)
        return True

    def keep_together(self, length: int) -> None:
        """Go on in a new segment unless payloads of `length` bytes in all, their words included, fit this one; the journal is held."""
        _, words, limit, offset, _, _ = self.at
        if offset + length <= limit or self._closed or length > SPILL_BYTES or self._clock_ns() < self.retry_ns:
            return
        if limit and words[offset >> 3]:
            self._repair()
        try:
            self._rotate(length, False)
        except OSError:
            return  # the commit that follows meets the same, and says so

    def close(self) -> None:
        """Cut the last segment to size and let go of it. May be called twice; later commits are dropped."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            self._release()

    def forked(self) -> None:
        """Forget everything, in a child: the mapping is the parent's. Nothing is written, cut or unlocked."""
        self._closed = True
        self.lock = RLock()
        self.busy = False
        self.deferred = deque()
        mapping, words, _, offset, crc, number = self.at
        self.at = (mapping, words, 0, offset, crc, number)

    # --- the paths that are taken once a segment, or once a disaster

    def _repair(self) -> None:
        """Look at the word that stands where the next record should go: somebody threw an exception into `commit`.

        Either that record was complete, then it counts, or its remains (of a longer one) are wiped.
        """
        mapping, words, limit, offset, crc, number = self.at
        word = words[offset >> 3]
        length, found = word >> 32, word & 0xFFFFFFFF
        end = offset + 8 + length
        if end <= len(mapping) and zlib.crc32(mapping[offset + 8 : end], crc) == found:
            self.at = (mapping, words, limit, (end + 7) & ~7, found, number + 1)
        else:
            words[offset >> 3] = 0

    def _make_room(self, payload: bytes, vital: bool) -> bool:
        """Commit a record that does not fit: spill it if it is huge, else go on in a new segment."""
        _, words, limit, offset, _, _ = self.at
        if limit and offset >> 3 < len(words) and words[offset >> 3]:
            self._repair()  # before the position is carried into a new segment
            return self.commit(payload, vital)
        if self._closed or (self.retry_ns and not vital and self._clock_ns() < self.retry_ns):
            self.dropped += 1
            return False
        try:
            if len(payload) > SPILL_BYTES:
                return self.commit(self._spill(payload), vital)
            self._rotate(len(payload), vital)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                self.full = f"the journal cannot grow: {error.strerror}"
            else:
                self.full = (
                    "the disk is full"
                    if error.errno != errno.EFBIG
                    else "the journal has reached its disk cap"
                )
            self.retry_ns = self._clock_ns() + RETRY_NS
            self.dropped += 1
            return False
        self.retry_ns = 0
        return self.commit(payload, vital)

    def _rotate(self, length: int, vital: bool) -> None:
        mapping, _, _, _, crc, number = self.at
        need = wire.HEADER_SIZE + 8 + wire.padded(length) + MARGIN
        size = min(max(FIRST_SEGMENT, 2 * len(mapping)), LAST_SEGMENT)
        while size < need:
            size *= 2
        room = self._max_bytes - self._used_bytes - (0 if vital else RESERVE)
        if size > room:
            size = max(FIRST_SEGMENT, -(-need // mmap.PAGESIZE) * mmap.PAGESIZE)
            if size > room:
                raise OSError(errno.EFBIG, "disk cap")
        fresh = self._open_segment(size, crc, number)
        old = self.at
        self.at = fresh
        self._cut(old, self.folder / wire.segment_name(self._segment - 1))

    def _open_segment(self, size: int, crc: int, number: int) -> _At:
        """Create and really allocate the next segment, under a name of its own until its header stands."""
        following = self._segment + 1
        path = self.folder / wire.segment_name(following)
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            _allocate(descriptor, size)
            mapping = mmap.mmap(descriptor, size)
        except BaseException:
            os.unlink(fresh)
            raise
        finally:
            os.close(descriptor)
        header = wire.SegmentHeader(self.writer_id, following, number, crc, size)
        mapping[: wire.HEADER_SIZE] = header.encode()
        words = memoryview(mapping).cast("Q")
        if following:
            # A reader that sees the new file leaves the old one. So no commit may go there any more, even if somebody
            # throws an exception in here: limit 0 sends every commit back to make room, and that starts over.
            old_mapping, old_words, _, old_offset, old_crc, old_number = self.at
            self.at = (old_mapping, old_words, 0, old_offset, old_crc, old_number)
        os.replace(fresh, path)
        self._segment = following
        self._used_bytes += size
        return mapping, words, size - MARGIN, wire.HEADER_SIZE, crc, number

    def _spill(self, payload: bytes) -> bytes:
        """Write a record into a file of its own. Returns the payload of the record that names it."""
        number = self.at[5]
        if self._used_bytes + len(payload) > self._max_bytes - RESERVE:
            raise OSError(errno.EFBIG, "disk cap")
        folder = self.folder / "spill"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{number:012d}"
        try:
            path.write_bytes(payload)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._used_bytes += len(payload)
        return encode_json(Kind.SPILL, {"name": path.name, "size": len(payload), "crc": zlib.crc32(payload)})

    def _release(self) -> None:
        at = self.at
        _, _, _, offset, crc, number = at
        self.at = (mmap.mmap(-1, mmap.PAGESIZE), memoryview(b"\0" * 8).cast("Q"), 0, offset, crc, number)
        self._cut(at, self.folder / wire.segment_name(self._segment))

    def _cut(self, at: _At, path: Path) -> None:
        """Give back what a finished segment did not use."""
        mapping, words, _, offset, _, _ = at
        words.release()
        size = len(mapping)
        mapping.close()
        try:
            os.truncate(path, offset)
        except OSError:
            return  # the agent cuts it later; a longer file says the same
        self._used_bytes -= size - offset


def _allocate(descriptor: int, size: int) -> None:
    """Make `size` bytes of a file really exist, so that a full disk is an error here and never a SIGBUS later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    zeros = bytes(64 << 10)  # macOS and Windows have no such call: write them
    written = 0
    while written < size:
        written += os.write(descriptor, zeros[: size - written])
