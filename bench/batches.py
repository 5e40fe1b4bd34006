"""Batches as an agent sends them, made from columns and not record by record, so that making them costs nothing."""

import struct

import numpy as np

from farwatch.store import zstd
from farwatch.testing.journal import WALL_US
from farwatch.wire.batch import Batch
from farwatch.wire.records import HEAD, Kind, encode_json, encode_schema
from farwatch.wire.segment import first_seed, frame


class Batches:
    """A journal of one schema, cut into packed batches."""

    def __init__(self, writer_id: str, names: list[str], wall_us: int = WALL_US) -> None:
        self.writer_id = writer_id
        self.names = names
        self.wall_us = wall_us
        self.crc = first_seed(writer_id)
        self.at = 0

    def packed(
        self, steps: np.ndarray, times_us: np.ndarray, values: np.ndarray, *, end: bool = False
    ) -> tuple[bytes, int]:
        """A batch of (m, k) values at m steps; `end`: and the run has finished.

        The chain is one number a batch here: the store only compares ends.
        """
        m, k = values.shape
        parts: list[bytes] = []
        before = self.crc
        if not self.at:
            framed, self.crc = frame(encode_schema(0, tuple(self.names), "f" * k), self.crc)
            parts.append(framed)
        rows = np.empty((m, 4 + k), np.uint64)
        crcs = (self.crc + 1 + np.arange(m, dtype=np.uint64)) & np.uint64(0xFFFFFFFF)
        rows[:, 0] = np.uint64((HEAD.size + 8 * k) << 32) | crcs
        rows[:, 1] = struct.unpack("<Q", struct.pack("<BBHI", Kind.STEP, 0, 0, 0))[0]
        rows[:, 2] = steps.astype(np.int64).view(np.uint64)
        rows[:, 3] = (times_us - self.wall_us).astype(np.int64).view(np.uint64)
        rows[:, 4:] = values.view(np.uint64)
        self.crc = int(crcs[-1])
        parts.append(rows.tobytes())
        if end:
            framed, self.crc = frame(encode_json(Kind.GOODBYE, {"state": "finished", "reason": ""}), self.crc)
            parts.append(framed)
        count = m + len(parts) - 1
        batch = Batch(self.writer_id, self.at, count, before, self.crc, b"".join(parts))
        self.at += count
        return zstd.compress(batch.encode()), count


def noisy(rng: np.random.Generator, n: int) -> np.ndarray:
    """Losses: float64 with noise in every digit."""
    return 0.5 + 0.1 * rng.normal(size=n)


def times(rng: np.random.Generator, n: int, wall_us: int = WALL_US) -> np.ndarray:
    """Steps of 8 to 13 ms."""
    return wall_us + 1000 * np.cumsum(rng.integers(8, 14, n))
