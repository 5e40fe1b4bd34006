"""Journals in memory, made record by record, for tests of everything that reads batches."""

import struct
from dataclasses import dataclass, field

from farwatch.store.base import Incoming, Writer
from farwatch.store.decode import decode_batch
from farwatch.wire.batch import Batch
from farwatch.wire.records import Flag, Kind, encode_extend, encode_head, encode_json, encode_schema
from farwatch.wire.segment import first_seed, frame

WALL_US = 1_700_000_000_000_000


@dataclass
class Journal:
    """A writer's journal in memory."""

    writer: Writer
    payloads: list[bytes] = field(default_factory=list)
    schemas: dict[tuple[tuple[str, ...], str], int] = field(default_factory=dict)
    framed: list[bytes] = field(default_factory=list)
    crcs: list[int] = field(default_factory=list)

    def add(self, payload: bytes) -> None:
        """Append one record."""
        framed, crc = frame(payload, self.crc_before(len(self.payloads)))
        self.payloads.append(payload)
        self.framed.append(framed)
        self.crcs.append(crc)

    def crc_before(self, number: int) -> int:
        """The chain value before a record."""
        return self.crcs[number - 1] if number else first_seed(self.writer.writer_id)

    def hello(self) -> None:
        self.add(encode_json(Kind.HELLO, {"run": self.writer.run}))

    def step(
        self, values: dict[str, float | int | bool], step: float | int | None, time: int = 0, flags: int = 0
    ) -> None:
        types = "".join(
            "b" if isinstance(v, bool) else "i" if isinstance(v, int) else "f" for v in values.values()
        )
        key = (tuple(values), types)
        if key not in self.schemas:
            self.schemas[key] = len(self.schemas)
            self.add(encode_schema(self.schemas[key], tuple(values), types))
        head = encode_head(Kind.STEP, step=step, time=time, flags=flags, aux32=self.schemas[key])
        letters = "".join("d" if t == "f" else "q" for t in types)
        self.add(head + struct.pack(f"<{letters}", *values.values()))

    def extend(
        self,
        name: str,
        values: list[float],
        *,
        step: int = 0,
        steps: list[float] | None = None,
        times: list[int] | None = None,
    ) -> None:
        n = len(values)
        flags = Flag.STEP_FLOAT if steps is not None else 0
        self.add(
            encode_extend(
                name,
                struct.pack(f"<{n}d", *values),
                n,
                steps=None if steps is None else struct.pack(f"<{n}d", *steps),
                step=0.0 if steps is not None else step,
                times=None if times is None else struct.pack(f"<{n}q", *times),
                time=0,
                flags=flags,
            )
        )

    def batch(self, first: int = 0, end: int | None = None) -> Batch:
        """Records `first` to before `end`, as an agent would send them."""
        end = len(self.payloads) if end is None else end
        body = b"".join(self.framed[first:end])
        return Batch(
            self.writer.writer_id, first, end - first, self.crc_before(first), self.crc_before(end), body
        )


def incoming(
    batch: Batch, writer: Writer, schemas: dict | None = None, packed: bytes | None = None
) -> Incoming:
    """A batch as the service hands it to the store, uncompressed."""
    return Incoming(
        batch.writer_id,
        batch.first,
        batch.count,
        batch.crc_before,
        batch.crc_after,
        batch.encode() if packed is None else packed,
        "identity",
        decode_batch(batch, writer, schemas or {}),
    )
