"""Reading a journal while it grows, and cutting batches from it.

By `pread`, never by a mapping: a journal that somebody shortens must not kill the reader. The reader trusts nothing but
the chain of CRCs (`farwatch.wire.segment`): what does not verify is "not yet" while its writer lives, and a counted gap
as soon as that cannot be true any more.

What is skipped, and how far: a damaged record whose successor verifies (seeded with the CRC that stands in the damaged
word) is a gap of one; anything worse is a gap up to the first record of the next segment; behind the last segment of a
writer that has ended it is a torn tail, which was never committed.
"""

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from farwatch.agent.folder import SPILL, JournalFolder
from farwatch.errors import DataError, ForkError
from farwatch.wire.batch import FLAG_GAP, FLAG_SPILL, MAX_UNPACKED_BYTES, Batch
from farwatch.wire.records import HEAD_SIZE, Kind, Record
from farwatch.wire.segment import HEADER_SIZE, MAX_RECORD, WORD, SegmentHeader, first_seed

FIRST_READ = 64 << 10
PATIENCE_US = 5_000_000  # a live writer's damaged record may be one that this processor does not see yet
MAX_SPILL_BYTES = MAX_UNPACKED_BYTES - (1 << 16)

_SPILL_KIND = int(Kind.SPILL)  # a plain integer compares ten times faster

# Spool files are not written in one go: what no committed record names may still be incomplete.
NAMED = re.compile(rb'spool":"([A-Za-z0-9_-][A-Za-z0-9._-]{0,199})"')

# Why a walk stopped.
_ZERO, _CUT, _DAMAGED, _MORE, _SPILL, _FULL = range(6)


@dataclass(slots=True)
class _Walk:
    """Where a walk over bytes ended: behind `count` good records, and why there. `need`: bytes wanted from `end` on.
    `last`: where the last good record starts."""

    end: int
    count: int
    crc: int
    why: int
    need: int = 0
    last: int = 0


def walk(data: bytes, offset: int, seed: int, max_records: int, max_bytes: int) -> _Walk:
    """Verify records from `offset`; stops before a SPILL record, at what is missing or damaged, and at the limits."""
    unpack = WORD.unpack_from
    crc32 = zlib.crc32
    size = len(data)
    start = last = offset
    count = 0
    while count < max_records:
        if offset + 8 > size:
            return _Walk(offset, count, seed, _MORE, 8, last)
        word = unpack(data, offset)[0]
        if not word:
            return _Walk(offset, count, seed, _ZERO, 0, last)
        length = word >> 32
        end = offset + 8 + length
        if end > size:
            if not HEAD_SIZE <= length <= MAX_RECORD:
                return _Walk(offset, count, seed, _DAMAGED, 0, last)
            if count and end - start > max_bytes:
                return _Walk(offset, count, seed, _FULL, 0, last)
            return _Walk(offset, count, seed, _MORE, 8 + length, last)
        crc = crc32(data[offset + 8 : end], seed)
        if crc != word & 0xFFFFFFFF or length < HEAD_SIZE:
            return _Walk(offset, count, seed, _DAMAGED, 0, last)
        if data[offset + 8] == _SPILL_KIND:
            return _Walk(offset, count, seed, _SPILL, 0, last)
        if end - start > max_bytes and count:
            return _Walk(offset, count, seed, _FULL, 0, last)
        seed = crc
        count += 1
        last = offset
        offset = (end + 7) & ~7
    return _Walk(offset, count, seed, _FULL, 0, last)


@dataclass(slots=True)
class Reader:
    """Keeps its place in one journal.

    `number`: the next record to cut; `crc`: the chain value before it. *Threads*: one at a time. *Errors*: `OSError` if
    the folder cannot be read; `ForkError` from `seek` and `cut` if the server has another history of this writer.
    *Cost*: about 0.5 µs a record; one 8-byte read where nothing is new.

    `named`: spool files that records name, in order, only ever appended to; another thread may read it.
    `reopen`: open the segment at each `cut`, for folders on shared storage, where an open file stays as it was.
    """

    folder: JournalFolder
    reopen: bool = False
    number: int = 0
    crc: int = 0
    gaps: int = 0
    goodbye: bool = False
    named: list[str] = field(default_factory=list, repr=False)
    _segment: int = -1
    _descriptor: int = -1
    _offset: int = HEADER_SIZE
    _target: tuple[int, int] | None = None
    _bad_since_us: int | None = None
    _pending: Batch | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.crc = first_seed(self.folder.writer_id)

    @property
    def reached(self) -> bool:
        """Whether the mark of the last `seek` was found here; else the server has more, perhaps another copy's."""
        return self._target is None

    def journal_number(self, number: int) -> int:
        """Of a record that the server knows as `number`, the number in the journal: the same."""
        return number

    def close(self) -> None:
        """Let go of the open segment; may be called twice, and reading may go on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def seek(self, expected: int, crc: int) -> None:
        """Go to the record that the server expects. What the journal no longer has becomes a gap at the next `cut`.

        Raises `ForkError` if the records before it are not those that the server has.
        """
        self.close()
        self._bad_since_us = None
        self._pending = None
        self._target = None
        self._segment, self.number, self.crc = -1, expected, crc
        best: SegmentHeader | None = None
        for number in self.folder.segments():
            header = self._header(number)
            if header is None:
                continue
            if header.first_record > expected:
                break
            if best is not None:
                self._find_names(best.segment)
            best = header
        if best is None:
            return
        self._enter(best)
        self._target = (expected, crc)
        self._reach_target(now_us=0, ended=True)

    def cut(
        self, max_bytes: int, *, now_us: int, ended: bool = False, max_records: int = 1 << 30
    ) -> Batch | None:
        """The next batch, of at most `max_bytes` if it has more than one record; None if nothing is there (yet).

        `now_us`: any forward-moving clock. `ended`: the writer will write no more, so what is not whole never will be.
        """
        if self._target is not None and not self._reach_target(now_us=now_us, ended=ended):
            return None
        if self._pending is not None:
            batch, self._pending = self._pending, None
            return batch
        try:
            return self._next(max_bytes, max_records, now_us, ended)
        finally:
            if self.reopen:
                self.close()

    def behind_bytes(self) -> int:
        """Bytes of segments that are not cut yet; an upper bound, since segments are allocated before they are full."""
        total = 0
        for number in self.folder.segments():
            if number >= self._segment:
                try:
                    descriptor = self.folder.open_segment(number)
                except (OSError, DataError):
                    continue
                total += os.fstat(descriptor).st_size - HEADER_SIZE
                os.close(descriptor)
        return max(0, total - (self._offset - HEADER_SIZE if self._segment >= 0 else 0))

    # --- the place

    def _enter(self, header: SegmentHeader) -> None:
        self.close()
        self._segment = header.segment
        self.number, self.crc, self._offset = header.first_record, header.seed, HEADER_SIZE

    def _reach_target(self, now_us: int, ended: bool) -> bool:
        """Walk, without giving anything out, to the server's mark. Returns whether it was reached."""
        assert self._target is not None
        expected, crc = self._target
        while self.number < expected:
            batch = self._next(1 << 20, expected - self.number, now_us, ended)
            if batch is None:
                return False  # the server has more than this journal: it is an older copy, or power was lost
        self._target = None
        if self.number > expected:  # the mark is within what is damaged here
            skipped = self.number - expected
            self._pending = self._gap(expected, skipped, crc, self.crc, "damaged in the journal")
        elif self.crc != crc:
            raise ForkError(
                f"the server has another history of this writer before record {expected}",
                hint="two copies of one machine or folder are sending",
                expected=expected,
            )
        return True

    def _find_names(self, number: int) -> None:
        """Files that a segment before the mark names: the server has its records, but perhaps not the files."""
        try:
            descriptor = self.folder.open_segment(number)
        except (OSError, DataError):
            return
        with os.fdopen(descriptor, "rb") as file:
            self._note_names(file.read())

    def _note_names(self, data: bytes) -> None:
        self.named += [name.decode() for name in NAMED.findall(data)]

    def _header(self, number: int) -> SegmentHeader | None:
        """The header of a segment; None if it is missing, damaged or another writer's."""
        try:
            descriptor = self.folder.open_segment(number)
        except (OSError, DataError):
            return None
        try:
            header = SegmentHeader.decode(os.pread(descriptor, HEADER_SIZE, 0))
        except DataError:
            return None
        finally:
            os.close(descriptor)
        return header if header.writer_id == self.folder.writer_id and header.segment == number else None

    def _following(self) -> SegmentHeader | None:
        """The header of the next segment that has a readable one."""
        direct = self._header(self._segment + 1)
        if direct is not None:
            return direct
        for number in self.folder.segments():
            if number > self._segment:
                header = self._header(number)
                if header is not None:
                    return header
        return None

    # --- records

    def _next(self, max_bytes: int, max_records: int, now_us: int, ended: bool) -> Batch | None:
        while True:
            if self._segment < 0:
                batch = self._begin()
                if batch is not None or self._segment < 0:
                    return batch
            body, found = self._read(max_bytes, max_records)
            if found.count:
                self._bad_since_us = None
                return self._take(body, found)
            if found.why == _SPILL:
                return self._take_spill()
            if found.why == _FULL:
                return None
            moved = self._leave(found, now_us, ended)
            if isinstance(moved, Batch):
                return moved
            if not moved:
                return None

    def _begin(self) -> Batch | None:
        """Enter the first segment that is there; what should come before it is a gap."""
        header = self._following()
        if header is None:
            return None
        if header.first_record < self.number:
            raise DataError("the segments of a journal overlap", hint="it is kept; export it by hand")
        number, crc = self.number, self.crc
        self._enter(header)
        if header.first_record > number:
            return self._gap(
                number, header.first_record - number, crc, header.seed, "no longer kept by the sender"
            )
        if header.seed != crc:
            raise ForkError(
                f"the server has another history of this writer before record {number}", expected=number
            )
        return None

    def _read(self, max_bytes: int, max_records: int) -> tuple[bytes, _Walk]:
        """Verify what stands at the place; grows what it reads with what it finds."""
        if self._descriptor < 0:
            try:
                self._descriptor = self.folder.open_segment(self._segment)
            except FileNotFoundError:
                return b"", _Walk(0, 0, self.crc, _CUT)
        head = os.pread(self._descriptor, 8, self._offset)
        if len(head) < 8:
            return b"", _Walk(0, 0, self.crc, _CUT)
        if head == b"\0\0\0\0\0\0\0\0":
            return b"", _Walk(0, 0, self.crc, _ZERO)
        left = os.fstat(self._descriptor).st_size - self._offset
        data = os.pread(self._descriptor, min(max_bytes + 8, FIRST_READ, left), self._offset)
        done = walk(data, 0, self.crc, max_records, max_bytes)
        while done.why == _MORE and done.end < max_bytes:
            want = max(done.need, min(max_bytes + 8 - done.end, 16 * FIRST_READ)) + done.end - len(data)
            want = min(want, left - len(data))  # a damaged length must not become a large allocation
            more = os.pread(self._descriptor, want, self._offset + len(data)) if want > 0 else b""
            if not more:
                # The segment ends here: cut exactly behind a record, or inside one.
                done.why = _CUT if len(data) - done.end < 8 else _DAMAGED
                break
            data += more
            rest = walk(data, done.end, done.crc, max_records - done.count, max(0, max_bytes - done.end))
            if not rest.count:
                rest.last = done.last
            rest.count += done.count
            done = rest
        return data[: done.end], done

    def _take(self, body: bytes, found: _Walk) -> Batch:
        batch = Batch(self.folder.writer_id, self.number, found.count, self.crc, found.crc, body)
        self._note_names(body)
        self.goodbye = self.goodbye or body[found.last + 8] == Kind.GOODBYE
        self.number += found.count
        self.crc = found.crc
        self._offset += found.end
        return batch

    def _take_spill(self) -> Batch:
        """The SPILL record at the place, with the bytes of the file that it names; a gap if those are not there."""
        head = os.pread(self._descriptor, 8, self._offset)
        word = WORD.unpack(head)[0]
        length = word >> 32
        framed = os.pread(self._descriptor, 8 + ((length + 7) & ~7), self._offset)
        number, before, after = self.number, self.crc, word & 0xFFFFFFFF
        self.number, self.crc, self._offset = number + 1, after, self._offset + len(framed)
        try:
            told = Record(number, framed[8 : 8 + length]).body()
            name, size, crc = str(told["name"]), int(told["size"]), int(told["crc"])
            content = self.folder.read(name, min(size, MAX_SPILL_BYTES), SPILL)
            if len(content) != size or zlib.crc32(content) != crc:
                raise DataError("a large record is damaged")
        except (ValueError, KeyError, TypeError, OSError, DataError) as error:
            return self._gap(number, 1, before, after, f"a large record cannot be read: {error}")
        self._note_names(content)
        return Batch(self.folder.writer_id, number, 1, before, after, framed + content, FLAG_SPILL)

    def _leave(self, found: _Walk, now_us: int, ended: bool) -> Batch | bool:
        """Nothing good at the place: go to the next segment, skip damage, or wait.

        Returns True to look again, False if there is nothing yet, or a gap.
        """
        following = self._following()
        if following is not None and following.first_record == self.number and following.seed == self.crc:
            again = os.pread(self._descriptor, 8, self._offset) if self._descriptor >= 0 else b""
            if found.why == _ZERO and any(again):
                return True  # written between our two looks
            self._enter(following)
            self._bad_since_us = None
            return True
        if found.why in (_ZERO, _CUT) and following is None:
            return False
        if not self._patient(now_us, ended):
            return False
        if found.why == _DAMAGED:
            skipped = self._skip_one()
            if skipped is not None:
                return skipped
        if following is None:
            return False
        if following.first_record <= self.number:
            raise DataError("the segments of a journal overlap", hint="it is kept; export it by hand")
        number, crc = self.number, self.crc
        if found.why == _ZERO and any(os.pread(self._descriptor, 8, self._offset)):
            return True
        self._enter(following)
        self._bad_since_us = None
        return self._gap(
            number, following.first_record - number, crc, following.seed, "damaged in the journal"
        )

    def _patient(self, now_us: int, ended: bool) -> bool:
        """Whether what looks bad has looked so for long enough to be believed."""
        if ended:
            return True
        if self._bad_since_us is None:
            self._bad_since_us = now_us
        return now_us - self._bad_since_us >= PATIENCE_US

    def _skip_one(self) -> Batch | None:
        """A gap of one record, if the next one proves that only this one is damaged."""
        word = WORD.unpack(os.pread(self._descriptor, 8, self._offset))[0]
        length, stored = word >> 32, word & 0xFFFFFFFF
        if not 0 < length <= MAX_RECORD:
            return None
        next_offset = self._offset + 8 + ((length + 7) & ~7)
        head = os.pread(self._descriptor, 8, next_offset)
        if len(head) < 8:
            return None
        next_word = WORD.unpack(head)[0]
        next_length = next_word >> 32
        if not HEAD_SIZE <= next_length <= MAX_RECORD:
            return None
        payload = os.pread(self._descriptor, next_length, next_offset + 8)
        if len(payload) != next_length or zlib.crc32(payload, stored) != next_word & 0xFFFFFFFF:
            return None
        number, before = self.number, self.crc
        self.number, self.crc, self._offset = number + 1, stored, next_offset
        self._bad_since_us = None
        return self._gap(number, 1, before, stored, "damaged in the journal")

    def _gap(self, first: int, count: int, before: int, after: int, reason: str) -> Batch:
        self.gaps += count
        return Batch(self.folder.writer_id, first, count, before, after, reason.encode()[:1000], FLAG_GAP)


def records_of(batch: Batch) -> Iterator[Record]:
    """The records of a batch, a spilled one in its real form; none of a gap."""
    if batch.flags & FLAG_GAP:
        return
    view = memoryview(batch.body)
    offset, number = 0, batch.first
    while offset + 8 <= len(view):
        length = WORD.unpack_from(view, offset)[0] >> 32
        end = offset + 8 + length
        following = (end + 7) & ~7
        if batch.flags & FLAG_SPILL:
            yield Record(number, bytes(view[following:]))
            return
        yield Record(number, bytes(view[offset + 8 : end]))
        offset, number = following, number + 1
