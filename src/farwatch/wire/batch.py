"""Batches: what an agent sends of a journal, and what the server answers.

A batch is a 56-byte header and the bytes of consecutive records exactly as they stand in the journal, commit words
included, so neither side touches a point. The whole is compressed (`Content-Encoding: zstd` or `deflate`).
"""

import struct
import zlib
from dataclasses import dataclass

from farwatch.errors import BodyError

MAGIC = b"FWB1"
HEADER = struct.Struct("<4sHH16sQIIII8x")  # magic, version, flags, writer, first, count, crc before, crc after, crc of the body
HEADER_SIZE = HEADER.size  # 56
VERSION = 1

FLAG_SPILL = 1  # one SPILL record, followed by the bytes of the file that it names
FLAG_GAP = 2  # no records: `count` records from `first` on are gone for good; the body is a UTF-8 reason

ENCODINGS = ("zstd", "deflate", "identity")
MAX_PACKED_BYTES = 16 << 20
MAX_UNPACKED_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one writer.

    `first`: number of the first record. `count`: how many. `crc_before`, `crc_after`: the chain values around them
    (see `farwatch.wire.segment`). `body`: their journal bytes.
    """

    writer_id: str
    first: int
    count: int
    crc_before: int
    crc_after: int
    body: bytes | memoryview
    flags: int = 0

    def encode(self) -> bytes:
        """The uncompressed bytes of the batch."""
        head = HEADER.pack(
            MAGIC,
            VERSION,
            self.flags,
            bytes.fromhex(self.writer_id),
            self.first,
            self.count,
            self.crc_before,
            self.crc_after,
            zlib.crc32(self.body),
        )
        return head + self.body

    @classmethod
    def decode(cls, data: bytes | memoryview) -> "Batch":
        """Read an uncompressed batch; the body is a view, not a copy.

        Raises `BodyError` if it is cut short, foreign, of another version, or fails its checksum.
        """
        if len(data) < HEADER_SIZE:
            raise BodyError(f"a batch has at least {HEADER_SIZE} bytes, this one {len(data)}")
        magic, version, flags, writer, first, count, before, after, crc = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise BodyError("not a batch", hint="send the journal with the agent or `farwatch sync`")
        if version != VERSION:
            raise BodyError(f"batch of version {version}, this server reads {VERSION}", hint="upgrade the older side")
        body = memoryview(data)[HEADER_SIZE:]
        if zlib.crc32(body) != crc:
            raise BodyError("a batch was damaged or cut short on its way")
        return cls(writer.hex(), first, count, before, after, body, flags)
