"""Cutting a series into buckets: from points and entries of a pyramid to one `Buckets`.

Points are reduced to one row per bucket at once; entries go whole into the bucket of their middle; rows of one bucket
are then joined. So every point is in exactly one bucket, and min, max, count and sum are those of its points, while
the edges of a bucket may be off by half an entry.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farwatch.store.base import Buckets

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(slots=True)
class Rows:
    """m partial buckets; `min` and `max` are NaN where no value is finite. `order`: number of the last point."""

    lo: Floats
    hi: Floats
    min: Floats
    max: Floats
    sum: Floats
    last: Floats
    count: Ints
    nonfinite: Ints
    order: Ints

    def points(self) -> int:
        """How many points these are."""
        return int(self.count.sum())


@dataclass(slots=True)
class Part:
    """n points as they arrived. `order`: the number of each, or of the first if they follow each other."""

    x: Floats
    values: Floats
    order: Ints | int

    def points(self) -> int:
        """How many points these are."""
        return len(self.x)


@dataclass(slots=True)
class Grid:
    """Equal widths from `low` to `high`. Halves are taken before differences, which may overflow."""

    low: float
    high: float
    buckets: int

    def numbers(self, x: Floats) -> NDArray[Any]:
        """In which bucket each axis value falls, from 0."""
        span = self.high / 2 - self.low / 2
        if not span > 0:
            return np.zeros(len(x), np.uint16)
        found = (x * 0.5 - self.low / 2) * (1.0 / span if span > 1e-300 else 0.0) * self.buckets
        kind = np.uint16 if self.buckets <= 1 << 15 else np.int64
        return np.minimum(found, self.buckets - 1).astype(kind)


def cut(found: Sequence[Part | Rows], buckets: int) -> Buckets:
    """Cut points and entries into at most `buckets` buckets. Points alone come in order of arrival."""
    parts = [part for part in found if isinstance(part, Part) and len(part.x)]
    entries = [part for part in found if isinstance(part, Rows) and len(part.lo)]
    if not entries:
        x, values = _join([part.x for part in parts]), _join([part.values for part in parts])
        if len(x) <= buckets:
            return _single(x, values)
        return _finish(_reduce_points(x, values, 0, Grid(float(x.min()), float(x.max()), buckets)))
    low = min([float(part.lo.min()) for part in entries] + [float(part.x.min()) for part in parts])
    high = max([float(part.hi.max()) for part in entries] + [float(part.x.max()) for part in parts])
    grid = Grid(low, high, buckets)
    rows = entries + [_reduce_points(part.x, part.values, part.order, grid) for part in parts]
    joined = Rows(*(_join([getattr(part, name) for part in rows]) for name in Rows.__slots__))
    return _finish(_reduce_rows(joined, grid))


def _join(parts: list[NDArray[Any]]) -> NDArray[Any]:
    if not parts:
        return np.empty(0)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _single(x: Floats, values: Floats) -> Buckets:
    """One bucket per point, ordered by axis."""
    if (x[1:] < x[:-1]).any():
        order = np.argsort(x, kind="stable")
        x, values = x[order], values[order]
    finite = np.isfinite(values)
    known = values if finite.all() else np.where(finite, values, np.nan)
    return Buckets(
        lo=x.copy(),
        hi=x.copy(),
        min=known.copy(),
        max=known.copy(),
        mean=known.copy(),
        last=values.copy(),
        count=np.ones(len(x), np.int64),
        nonfinite=(~finite).astype(np.int64),
        exact=True,
    )


def _reduce_points(x: Floats, values: Floats, order: Ints | int, grid: Grid) -> Rows:
    """One row per bucket that has points."""
    numbers = grid.numbers(x)
    if (numbers[1:] < numbers[:-1]).any():
        by_bucket = np.argsort(numbers, kind="stable")
        numbers, x, values = numbers[by_bucket], x[by_bucket], values[by_bucket]
        order = by_bucket + order if isinstance(order, int) else order[by_bucket]
    starts = _starts(numbers)
    ends = np.append(starts[1:], len(x))
    count = ends - starts
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(values, starts)
    if np.isfinite(total).all():  # then every value is finite
        least, most = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        bad = np.zeros(len(starts), np.int64)
    else:
        finite = np.isfinite(values)
        known = np.where(finite, values, np.nan)
        least, most = np.fmin.reduceat(known, starts), np.fmax.reduceat(known, starts)
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.add.reduceat(np.where(finite, values, 0.0), starts)
        bad = count - np.add.reduceat(finite.astype(np.int64), starts)
    lo, hi = np.minimum.reduceat(x, starts), np.maximum.reduceat(x, starts)
    last = ends - 1 + order if isinstance(order, int) else order[ends - 1]
    return Rows(lo, hi, least, most, total, values[ends - 1], count, bad, last)


def _reduce_rows(rows: Rows, grid: Grid) -> Rows:
    """Join the rows whose middles share a bucket, in order of arrival."""
    numbers = grid.numbers(rows.lo * 0.5 + rows.hi * 0.5)
    falls = numbers[1:] < numbers[:-1]
    if (falls | ((numbers[1:] == numbers[:-1]) & (rows.order[1:] < rows.order[:-1]))).any():
        order = np.lexsort((rows.order, numbers))
        rows = Rows(*(getattr(rows, name)[order] for name in Rows.__slots__))
        numbers = numbers[order]
    starts = _starts(numbers)
    ends = np.append(starts[1:], len(numbers))
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(rows.sum, starts)
    return Rows(
        np.minimum.reduceat(rows.lo, starts),
        np.maximum.reduceat(rows.hi, starts),
        np.fmin.reduceat(rows.min, starts),
        np.fmax.reduceat(rows.max, starts),
        total,
        rows.last[ends - 1],
        np.add.reduceat(rows.count, starts),
        np.add.reduceat(rows.nonfinite, starts),
        rows.order[ends - 1],
    )


def _starts(numbers: NDArray[Any]) -> Ints:
    """Where each run of equal numbers begins."""
    return np.concatenate([[0], np.flatnonzero(numbers[1:] != numbers[:-1]) + 1])


def _finish(rows: Rows) -> Buckets:
    finite = rows.count - rows.nonfinite
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = rows.sum / finite
    return Buckets(
        rows.lo, rows.hi, rows.min, rows.max, mean, rows.last, rows.count, rows.nonfinite, exact=False
    )
