"""The bytes of a journal segment, and how a reader may trust them.

A journal is a folder named by its writer with segments `000000.fwj`, `000001.fwj`, …, each a 64-byte header followed
by records. A record is one aligned 8-byte commit word, `length << 32 | crc`, then the payload, then zeros up to the
next multiple of 8. The word is stored last, by one aligned store; a zero word means "not yet".

The CRC-32 of a record is seeded with the CRC of the record before it, and the first with the CRC of the writer id.
So the word proves payload, writer, position and everything before it at once, and the CRC of a record *is* the
running hash of the journal up to there: a batch that continues another history is recognised by one integer.
"""

import os
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from farwatch.errors import DataError
from farwatch.machine import WIRE_MAJOR as WIRE_MAJOR
from farwatch.wire.records import Record

MAGIC = b"FWJRNL\x00\x01"  # the last byte is the wire major
HEADER = struct.Struct("<8s16sQQIIQ")  # magic, writer, segment, first record, seed, 0, capacity
HEADER_CRC = struct.Struct("<I")
HEADER_SIZE = 64
WORD = struct.Struct("<Q")
SUFFIX = ".fwj"
SIDECAR = "writer.json"
MAX_RECORD = 1 << 30

assert sys.byteorder == "little", "Farwatch's files are little-endian; no big-endian machine is supported"


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What the first 64 bytes of a segment say: whose it is and where it continues."""

    writer_id: str
    segment: int
    first_record: int
    seed: int
    capacity: int

    def encode(self) -> bytes:
        head = HEADER.pack(
            MAGIC, bytes.fromhex(self.writer_id), self.segment, self.first_record, self.seed, 0, self.capacity
        )
        return (head + HEADER_CRC.pack(zlib.crc32(head))).ljust(HEADER_SIZE, b"\0")

    @classmethod
    def decode(cls, data: bytes) -> "SegmentHeader":
        """Read a header. Raises `DataError` if it is too short, foreign, of another version, or damaged."""
        if len(data) < HEADER_SIZE:
            raise DataError("a journal segment is shorter than its header")
        magic, writer, segment, first, seed, _, capacity = HEADER.unpack_from(data)
        if magic[:7] != MAGIC[:7]:
            raise DataError("not a journal segment")
        if magic[7] != WIRE_MAJOR:
            raise DataError(f"journal of wire version {magic[7]}, this program reads {WIRE_MAJOR}")
        if HEADER_CRC.unpack_from(data, HEADER.size)[0] != zlib.crc32(data[: HEADER.size]):
            raise DataError("the header of a journal segment is damaged")
        return cls(writer.hex(), segment, first, seed, capacity)


def first_seed(writer_id: str) -> int:
    """The CRC that stands before record 0 of a writer."""
    return zlib.crc32(bytes.fromhex(writer_id))


def padded(length: int) -> int:
    """The room that a payload of `length` bytes takes after its commit word."""
    return (length + 7) & ~7


def frame(payload: bytes, seed: int) -> tuple[bytes, int]:
    """Put a commit word before a payload and zeros behind it. Returns the bytes and the CRC for the next record."""
    crc = zlib.crc32(payload, seed)
    return WORD.pack(len(payload) << 32 | crc) + payload + b"\0" * (-len(payload) % 8), crc


def segment_name(number: int) -> str:
    """The file name of a segment."""
    return f"{number:06d}{SUFFIX}"


@dataclass(slots=True)
class Scan:
    """What `scan` found in a run of journal bytes.

    `end`: offset behind the last good record. `count`: good records. `crc`: chain value behind the last.
    `damaged`: a non-zero word stands at `end` that does not fit: torn, or not yet.
    """

    end: int
    count: int
    crc: int
    damaged: bool


def scan(data: bytes | memoryview, offset: int, seed: int, *, limit: int | None = None, max_bytes: int = 1 << 62) -> Scan:
    """Walk committed records from `offset` and stop at the first that is missing, damaged, or over a limit.

    `limit`: at most so many records; `max_bytes`: stop once so many bytes are covered (at least one record is taken).
    *Cost*: about 0.5 µs a record plus the CRC of its bytes.
    """
    size = len(data)
    start = offset
    count = 0
    unpack = WORD.unpack_from
    crc32 = zlib.crc32
    while offset + 8 <= size and (limit is None or count < limit) and (offset - start < max_bytes):
        word = unpack(data, offset)[0]
        if not word:
            return Scan(offset, count, seed, False)
        length = word >> 32
        end = offset + 8 + length
        if not length or end > size:
            return Scan(offset, count, seed, True)
        crc = crc32(data[offset + 8 : end], seed)
        if crc != word & 0xFFFFFFFF:
            return Scan(offset, count, seed, True)
        seed = crc
        count += 1
        offset = (end + 7) & ~7
    return Scan(min(offset, size), count, seed, False)


def split(data: bytes | memoryview, first: int) -> Iterator[Record]:
    """Cut bytes that `scan` has accepted into records, numbered from `first`."""
    offset = 0
    while offset + 8 <= len(data):
        length = WORD.unpack_from(data, offset)[0] >> 32
        yield Record(first, bytes(data[offset + 8 : offset + 8 + length]))
        first += 1
        offset += 8 + padded(length)


def list_segments(folder: Path) -> list[Path]:
    """The segments of a journal, oldest first."""
    names = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX))
    return [folder / name for name in names]


def read_journal(folder: Path) -> Iterator[Record]:
    """Every committed record of a journal on disk, in order, skipping what is damaged.

    For export, the notebook's inline charts and tests; the agent keeps its own place and reads on.
    """
    for path in list_segments(folder):
        data = path.read_bytes()
        header = SegmentHeader.decode(data)
        found = scan(data, HEADER_SIZE, header.seed)
        yield from split(memoryview(data)[HEADER_SIZE : found.end], header.first_record)
