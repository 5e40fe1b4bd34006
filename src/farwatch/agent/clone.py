"""A journal whose writer has a twin: its records under a new writer id.

After a snapshot of a machine or a copy of a state folder two sides write different records under the same numbers.
The server takes the first and answers the second with a fork. The second goes on as a writer of its own: its HELLO and
all schemas again, then every record behind the last one that the server had acknowledged to it. The records are the
same bytes; only the commit words change, since the chain starts with the writer's id.
"""

import struct
import zlib
from dataclasses import dataclass, field

from farwatch.agent.folder import CLONE, JournalFolder
from farwatch.agent.reader import Reader, records_of
from farwatch.errors import ForkError
from farwatch.wire.batch import FLAG_GAP, FLAG_SPILL, Batch
from farwatch.wire.ids import is_writer_id, new_writer_id
from farwatch.wire.records import HEAD_SIZE, Kind, Record, encode_json
from farwatch.wire.segment import WORD, first_seed, frame, padded

_GAP = struct.Struct("<QQ")


@dataclass(slots=True)
class ClonedReader:
    """A `Reader` of the same journal that speaks as another writer. See `Reader` for the contract.

    `start`, `start_crc`: where the twins part, in the numbers and the chain of the journal itself.
    """

    folder: JournalFolder
    writer_id: str
    start: int
    start_crc: int
    number: int = 0
    crc: int = 0
    _source: Reader = field(init=False, repr=False)
    _prelude: list[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._source = Reader(self.folder)
        self._prelude = self._collect()
        self._rewind()

    @classmethod
    def make(cls, folder: JournalFolder, acknowledged: int) -> "ClonedReader":
        """Begin a clone behind the last record that the server had acknowledged to this copy, and remember it."""
        source = Reader(folder)
        while source.number < acknowledged:
            if source.cut(1 << 20, now_us=0, ended=True, max_records=acknowledged - source.number) is None:
                break
        source.close()
        clone = cls(folder, new_writer_id(), source.number, source.crc)
        folder.write_note(
            CLONE, {"writer": clone.writer_id, "start": clone.start, "start_crc": clone.start_crc}
        )
        return clone

    @classmethod
    def find(cls, folder: JournalFolder) -> "ClonedReader | None":
        """The clone that an earlier agent began, if there is one."""
        told = folder.read_note(CLONE)
        writer, start, crc = told.get("writer"), told.get("start"), told.get("start_crc")
        if not (
            isinstance(writer, str)
            and is_writer_id(writer)
            and isinstance(start, int)
            and isinstance(crc, int)
        ):
            return None
        return cls(folder, writer, start, crc)

    @property
    def gaps(self) -> int:
        return self._source.gaps

    @property
    def goodbye(self) -> bool:
        return self._source.goodbye

    @property
    def named(self) -> list[str]:
        return self._source.named

    @property
    def reached(self) -> bool:
        return True

    def journal_number(self, number: int) -> int:
        """Of a record that the server knows as `number`, the number in the journal."""
        return self.start + max(0, number - len(self._prelude))

    def close(self) -> None:
        self._source.close()

    def behind_bytes(self) -> int:
        return self._source.behind_bytes()

    def seek(self, expected: int, crc: int) -> None:
        """Go to the record that the server expects of the clone. Raises `ForkError` if it has another history."""
        self._rewind()
        while self.number < expected:
            batch = self.cut(1 << 20, now_us=0, ended=True, max_records=expected - self.number)
            if batch is None:
                break
        if (self.number, self.crc) != (expected, crc):
            raise ForkError(
                f"the server has another history of this writer before record {expected}", expected=expected
            )

    def cut(
        self, max_bytes: int, *, now_us: int, ended: bool = False, max_records: int = 1 << 30
    ) -> Batch | None:
        if self.number < len(self._prelude):
            payloads = self._prelude[self.number : self.number + max_records]
            return self._frame(payloads, flags=0)
        batch = self._source.cut(max_bytes, now_us=now_us, ended=ended, max_records=max_records)
        if batch is None:
            return None
        if batch.flags & FLAG_GAP:
            before, self.crc = self.crc, zlib.crc32(_GAP.pack(batch.first, batch.count), self.crc)
            first, self.number = self.number, self.number + batch.count
            return Batch(self.writer_id, first, batch.count, before, self.crc, batch.body, FLAG_GAP)
        if batch.flags & FLAG_SPILL:
            length = WORD.unpack_from(batch.body)[0] >> 32
            named = bytes(batch.body[8 : 8 + length])
            content = bytes(batch.body[8 + padded(length) :])
            return self._frame([named], flags=FLAG_SPILL, behind=content)
        return self._frame([record.payload for record in records_of(batch)], flags=0)

    def _frame(self, payloads: list[bytes], *, flags: int, behind: bytes = b"") -> Batch:
        first, before = self.number, self.crc
        parts: list[bytes] = []
        for payload in payloads:
            framed, self.crc = frame(payload, self.crc)
            parts.append(framed)
        self.number += len(payloads)
        return Batch(
            self.writer_id, first, len(payloads), before, self.crc, b"".join([*parts, behind]), flags
        )

    def _rewind(self) -> None:
        self.number, self.crc = 0, first_seed(self.writer_id)
        self._source.seek(self.start, self.start_crc)

    def _collect(self) -> list[bytes]:
        """What the clone must say again: who it is, and what its columns mean."""
        source = Reader(self.folder)
        hello: dict[str, object] = {"writer": self.writer_id, "clone_of": self.folder.writer_id}
        schemas: list[bytes] = []
        while source.number < self.start:
            batch = source.cut(1 << 20, now_us=0, ended=True, max_records=self.start - source.number)
            if batch is None:
                break
            for record in records_of(batch):
                if record.kind == Kind.HELLO:
                    hello = _body_of(record) | hello
                elif record.kind == Kind.SCHEMA:
                    schemas.append(record.payload)
        source.close()
        if self.start == 0:
            return []
        return [encode_json(Kind.HELLO, hello), *schemas]


def _body_of(record: Record) -> dict[str, object]:
    try:
        return record.body() if len(record.payload) > HEAD_SIZE else {}
    except ValueError:
        return {}
