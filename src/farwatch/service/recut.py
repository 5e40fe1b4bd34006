"""Buckets of buckets: what comes out of the store, or single points, joined on another grid.

Whatever is joined, every point stays in exactly one bucket: counts add up, minima and maxima are those of all points, means are weighted by
how many finite values they stand for.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farwatch.store.base import Buckets

COLUMNS = ("lo", "hi", "min", "max", "mean", "last", "count", "nonfinite")


def empty() -> Buckets:
    """No points."""
    none, whole = np.empty(0), np.empty(0, np.int64)
    return Buckets(none, none, none, none, none, none, whole, whole, exact=True)


def single(x: NDArray[np.float64], values: NDArray[np.float64]) -> Buckets:
    """One bucket per point, ordered by x; points at one x keep their order."""
    order = np.argsort(x, kind="stable")
    x, values = x[order], values[order]
    finite = np.isfinite(values)
    known = np.where(finite, values, np.nan)
    return Buckets(
        x, x, known, known, known, values, np.ones(len(x), np.int64), (~finite).astype(np.int64), exact=True
    )


def of_points(x: NDArray[np.float64], values: NDArray[np.float64], buckets: int) -> Buckets:
    """Points as they are if there are at most `buckets`, else in that many intervals of x of equal width."""
    return regrouped(single(x, values), buckets)


def concatenated(parts: Sequence[Buckets]) -> Buckets:
    """All buckets of several parts, ordered by where they begin."""
    if not parts:
        return empty()
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    joined = Buckets(**columns, exact=all(part.exact for part in parts))
    ordered = bool((joined.lo[1:] >= joined.lo[:-1]).all())
    return joined if ordered else chosen(joined, np.lexsort((joined.hi, joined.lo)))


def chosen(buckets: Buckets, which: NDArray[Any]) -> Buckets:
    """Some of the buckets, by number or by mask."""
    return Buckets(**{name: getattr(buckets, name)[which] for name in COLUMNS}, exact=buckets.exact)


def placed(buckets: Buckets, x: NDArray[np.float64]) -> Buckets:
    """The same buckets at other places, ordered by them."""
    order = np.argsort(x, kind="stable")
    return replace(chosen(buckets, order), lo=x[order], hi=x[order])


def regrouped(buckets: Buckets, most: int) -> Buckets:
    """At most `most` buckets: those whose middles share one of `most` intervals of equal width become one."""
    if len(buckets.lo) <= most:
        return buckets
    middle = buckets.lo / 2 + buckets.hi / 2
    numbers = _numbers(middle, float(middle.min()), float(middle.max()), most)
    if (numbers[1:] < numbers[:-1]).any():
        order = np.argsort(numbers, kind="stable")
        buckets, numbers = chosen(buckets, order), numbers[order]
    return _merged(buckets, np.flatnonzero(np.diff(numbers, prepend=-1)))


def _numbers(middle: NDArray[np.float64], low: float, high: float, most: int) -> NDArray[np.int64]:
    """In which of `most` intervals of equal width from `low` to `high` each place lies."""
    span = high / 2 - low / 2  # halves, because the difference of two large numbers may overflow
    share = (middle / 2 - low / 2) / span if span > 0 else np.zeros(len(middle))
    return np.minimum((share * most).astype(np.int64), most - 1)


def averaged(parts: Sequence[Buckets], most: int) -> Buckets:
    """Parts that lie over each other on one grid of `most` intervals: the envelope of all, and the mean of their means.

    Each part counts once in an interval, however its own buckets fall into it: weights by count would draw the beat of two grids.
    """
    middles = [part.lo / 2 + part.hi / 2 for part in parts]
    low, high = min(float(one.min()) for one in middles), max(float(one.max()) for one in middles)
    lo, hi = np.full(most, np.inf), np.full(most, -np.inf)
    least, greatest, last = (np.full(most, np.nan) for _ in range(3))
    total, known = np.zeros(most), np.zeros(most, np.int64)
    count, nonfinite = np.zeros(most, np.int64), np.zeros(most, np.int64)
    for part, middle in zip(parts, middles, strict=True):
        numbers = _numbers(middle, low, high, most)
        order = np.argsort(numbers, kind="stable")
        starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
        at, own = numbers[order][starts], _merged(chosen(part, order), starts)
        lo[at], hi[at] = np.minimum(lo[at], own.lo), np.maximum(hi[at], own.hi)
        least[at], greatest[at] = np.fmin(least[at], own.min), np.fmax(greatest[at], own.max)
        finite = np.isfinite(own.mean)
        total[at] += np.where(finite, own.mean, 0.0)
        known[at] += finite
        count[at] += own.count
        nonfinite[at] += own.nonfinite
        last[at] = own.last
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / known
    every = Buckets(lo, hi, least, greatest, mean, last, count, nonfinite, exact=False)
    return chosen(every, count > 0)


def same_place(parts: Sequence[Buckets]) -> Buckets:
    """Parts that lie over each other, as ranks do: buckets with the same edges become one."""
    joined = concatenated(parts)
    joined = chosen(joined, np.lexsort((joined.hi, joined.lo)))
    changed = (np.diff(joined.lo) != 0) | (np.diff(joined.hi) != 0)
    return _merged(joined, np.concatenate([[0], np.flatnonzero(changed) + 1]))


def _merged(buckets: Buckets, starts: NDArray[np.intp]) -> Buckets:
    """Neighbours made one, from each of `starts` up to the next."""
    finite = buckets.count - buckets.nonfinite
    count, bad = np.add.reduceat(buckets.count, starts), np.add.reduceat(buckets.nonfinite, starts)
    weighted = np.where(finite > 0, np.nan_to_num(buckets.mean, posinf=0, neginf=0) * finite, 0.0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.add.reduceat(weighted, starts) / (count - bad)
    return Buckets(
        np.minimum.reduceat(buckets.lo, starts),
        np.maximum.reduceat(buckets.hi, starts),
        np.fmin.reduceat(buckets.min, starts),
        np.fmax.reduceat(buckets.max, starts),
        mean,
        buckets.last[np.append(starts[1:], len(buckets.lo)) - 1],
        count,
        bad,
        exact=False,
    )
