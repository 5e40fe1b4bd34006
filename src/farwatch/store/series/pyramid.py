"""Pyramids: what is known of many points at once, level above level.

A chunk is 4,096 points. An entry of level 1 covers 64 of them, an entry of level k + 1 covers 16 entries of level k, and a
block holds the 1,024 entries of 16 blocks (or chunks) below it. Level 1 begins at 64 and not at 16 because a
column of a chunk decodes in 40 µs: up to 128 points a bucket are read faster from the points themselves, and the
four noisy columns of a 16-point entry would cost 2 bytes a point instead of 0.5.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farwatch.store.series import blob

CHUNK = 4096
BASE = 64  # points of a level-1 entry
FAN = 16  # entries, blocks or chunks below one
ENTRIES = CHUNK // BASE * FAN  # 1,024 entries of a block

POINT_KINDS = "fif"  # columns of a chunk
STEPS, TIMES, VALUES = 0, 1, 2
ENTRY_KINDS = "ffiiffffi"  # columns of a block, in the order of the fields of `Entries`
STEP_LO, STEP_HI, TIME_LO, TIME_HI, MIN, MAX, SUM, LAST, NONFINITE = range(9)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Entries:
    """Columns of m entries, all `(m,)`. `min`, `max`, `sum` are over finite values; NaN, NaN and 0 if there are none."""

    step_lo: Floats
    step_hi: Floats
    time_lo: Ints
    time_hi: Ints
    min: Floats
    max: Floats
    sum: Floats
    last: Floats
    nonfinite: Ints

    def columns(self) -> list[NDArray[Any]]:
        return [getattr(self, name) for name in self.__slots__]

    def encode(self) -> bytes:
        """The entries as a blob."""
        return blob.encode(self.columns(), ENTRY_KINDS)


def entry_points(level: int) -> int:
    """How many points an entry of a level covers; 1 for level 0."""
    return BASE * FAN ** (level - 1) if level else 1


def block_points(level: int) -> int:
    """How many points a block of a level covers; a chunk is a block of level 0."""
    return CHUNK * FAN**level


def summarise(steps: Floats, times: Ints, values: Floats) -> Entries:
    """Level 1 of points whose number is a multiple of 64."""
    step_rows, time_rows, rows = steps.reshape(-1, BASE), times.reshape(-1, BASE), values.reshape(-1, BASE)
    finite = np.isfinite(rows)
    if finite.all():
        least, most, total = rows.min(axis=1), rows.max(axis=1), _sum(rows)
        bad = np.zeros(len(rows), np.int64)
    else:
        known = np.where(finite, rows, np.nan)
        least, most = np.fmin.reduce(known, axis=1), np.fmax.reduce(known, axis=1)
        total = _sum(np.where(finite, rows, 0.0))
        bad = BASE - finite.sum(axis=1)
    return Entries(
        step_rows.min(axis=1),
        step_rows.max(axis=1),
        time_rows.min(axis=1),
        time_rows.max(axis=1),
        least,
        most,
        total,
        rows[:, -1].copy(),
        bad,
    )


def coarsen(entries: Entries) -> Entries:
    """The next level of entries whose number is a multiple of 16."""
    return Entries(
        entries.step_lo.reshape(-1, FAN).min(axis=1),
        entries.step_hi.reshape(-1, FAN).max(axis=1),
        entries.time_lo.reshape(-1, FAN).min(axis=1),
        entries.time_hi.reshape(-1, FAN).max(axis=1),
        np.fmin.reduce(entries.min.reshape(-1, FAN), axis=1),
        np.fmax.reduce(entries.max.reshape(-1, FAN), axis=1),
        _sum(entries.sum.reshape(-1, FAN)),
        entries.last[FAN - 1 :: FAN].copy(),
        entries.nonfinite.reshape(-1, FAN).sum(axis=1),
    )


def join(parts: list[Entries]) -> Entries:
    """Entries one behind the other."""
    if len(parts) == 1:
        return parts[0]
    return Entries(
        *(np.concatenate(columns) for columns in zip(*(part.columns() for part in parts), strict=True))
    )


def read_entries(data: bytes) -> Entries:
    """Entries back from a blob. Raises `DataError` for damage."""
    opened = blob.Blob(data, ENTRY_KINDS)
    return Entries(*(opened.column(number) for number in range(len(ENTRY_KINDS))))


def _sum(rows: Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):  # 64 values near 1e308
        return rows.sum(axis=1)
