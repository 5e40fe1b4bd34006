"""Writes journals as the trainer does, record by record, so that tests can damage them where they want."""

import json
import os
import struct
from pathlib import Path

from farwatch.wire.ids import new_run_id, new_writer_id
from farwatch.wire.records import Kind, encode_head, encode_json, encode_schema
from farwatch.wire.segment import HEADER_SIZE, SegmentHeader, first_seed, frame, segment_name


class WrittenJournal:
    """A journal in `folder/<writer id>`, with a HELLO and one schema of `keys` to begin with."""

    def __init__(
        self, folder: Path, *, capacity: int = 1 << 20, keys: tuple[str, ...] = ("loss",), **sidecar: object
    ):
        self.writer_id = str(sidecar.pop("writer", new_writer_id()))
        self.path = folder / self.writer_id
        self.path.mkdir(parents=True, mode=0o700)
        self.capacity = capacity
        self.crc = first_seed(self.writer_id)
        self.number = 0
        self.segment = -1
        self.offset = 0
        self.offsets: list[tuple[int, int]] = []
        self.sidecar = {
            "format": 1, "wire": 1, "writer": self.writer_id, "run": new_run_id(), "project": "digits", "mode": "online",
            "server": None, "credential": None, "pid": os.getpid(), "rank": 0, "local_rank": 0, "main": True,
            "system": False, "uid": os.getuid(), "host": "here", "wall_us": 1_700_000_000_000_000, "mono_us": 0,
        } | sidecar  # fmt: skip
        (self.path / "writer.json").write_text(json.dumps(self.sidecar))
        self._rotate()
        self.add(encode_json(Kind.HELLO, {k: v for k, v in self.sidecar.items() if k != "credential"}))
        self.add(encode_schema(1, keys, "f" * len(keys)))

    @property
    def file(self) -> Path:
        return self.path / segment_name(self.segment)

    def add(self, payload: bytes) -> int:
        """Append one record; returns its number."""
        framed, crc = frame(payload, self.crc)
        if self.offset + len(framed) > self.capacity and self.offset > HEADER_SIZE:
            os.truncate(self.file, self.offset)
            self._rotate()
        with open(self.file, "r+b") as file:
            file.seek(self.offset)
            file.write(framed)
        self.offsets.append((self.segment, self.offset))
        self.crc = crc
        self.offset += len(framed)
        self.number += 1
        return self.number - 1

    def step(self, step: int, *values: float) -> int:
        return self.add(
            encode_head(Kind.STEP, step=step, time=step * 1000, aux32=1)
            + struct.pack(f"<{len(values)}d", *values)
        )

    def steps(self, count: int, first: int = 0) -> None:
        """Many steps at once, in one write per segment."""
        parts: list[bytes] = []
        at = self.offset
        for n in range(first, first + count):
            framed, crc = frame(_step(n), self.crc)
            if at + len(framed) > self.capacity:
                self._flush(parts)
                os.truncate(self.file, self.offset)
                self._rotate()
                at, parts = self.offset, []
            parts.append(framed)
            self.offsets.append((self.segment, at))
            at += len(framed)
            self.crc = crc
            self.number += 1
        self._flush(parts)

    def goodbye(self, state: str = "finished") -> None:
        self.add(encode_json(Kind.GOODBYE, {"state": state, "reason": ""}))
        os.truncate(self.file, self.offset)

    def spool(self, name: str, data: bytes) -> None:
        (self.path / "spool").mkdir(exist_ok=True, mode=0o700)
        (self.path / "spool" / name).write_bytes(data)

    def damage(self, number: int, *, at: int = 12, byte: int = 0xFF) -> None:
        """Flip bits of a record, `at` bytes behind the start of its commit word."""
        segment, offset = self.offsets[number]
        with open(self.path / segment_name(segment), "r+b") as file:
            file.seek(offset + at)
            old = file.read(1)[0]
            file.seek(offset + at)
            file.write(bytes([old ^ byte]))

    def _flush(self, parts: list[bytes]) -> None:
        data = b"".join(parts)
        with open(self.file, "r+b") as file:
            file.seek(self.offset)
            file.write(data)
        self.offset += len(data)

    def _rotate(self) -> None:
        self.segment += 1
        header = SegmentHeader(self.writer_id, self.segment, self.number, self.crc, self.capacity)
        with open(self.file, "wb") as file:
            file.write(header.encode())
            file.truncate(self.capacity)
        self.offset = HEADER_SIZE


def _step(n: int) -> bytes:
    return encode_head(Kind.STEP, step=n, time=n * 1000, aux32=1) + struct.pack("<d", n / 7)
