"""What is known of many series at once: one row per series, columns as arrays, joined without a loop."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LATEST, _EARLIEST = np.iinfo(np.int64).max, np.iinfo(np.int64).min


@dataclass(slots=True)
class Stats:
    """Columns of m series, all `(m,)`; see `SeriesInfo` for what they say. `sum` is over finite values.

    A series without points has count 0, times at the opposite ends, and NaN elsewhere.
    """

    count: Ints
    nonfinite: Ints
    first_step: Floats
    last: Floats
    last_step: Floats
    last_time: Ints
    step_min: Floats
    step_max: Floats
    time_min: Ints
    time_max: Ints
    min: Floats
    min_step: Floats
    max: Floats
    max_step: Floats
    sum: Floats

    KINDS = "iifffiffiifffff"  # float64 or int64, in the order of the fields

    @classmethod
    def empty(cls, m: int) -> "Stats":
        """Rows of m series without points."""
        nan, zero = np.full(m, np.nan), np.zeros(m, np.int64)
        columns: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {
            name: (nan if kind == "f" else zero).copy() for name, kind in zip(NAMES, cls.KINDS, strict=True)
        }
        columns["time_min"][:] = _LATEST
        columns["time_max"][:] = _EARLIEST
        columns["sum"][:] = 0.0
        return cls(**columns)  # type: ignore[arg-type]

    def columns(self) -> list[NDArray[np.float64] | NDArray[np.int64]]:
        return [getattr(self, name) for name in NAMES]

    def take(self, rows: Ints | slice) -> "Stats":
        """A copy of some rows."""
        return Stats(*(np.array(column[rows]) for column in self.columns()))  # type: ignore[arg-type]

    def grown(self, m: int) -> "Stats":
        """A copy with rows of empty series behind, m in all."""
        more = Stats.empty(m - len(self.count))
        pairs = zip(self.columns(), more.columns(), strict=True)
        return Stats(*(np.concatenate(pair) for pair in pairs))  # type: ignore[arg-type]

    def fold(self, rows: Ints, newer: "Stats") -> None:
        """Join what came later into some rows, in place; each row at most once."""
        first = self.count[rows] == 0
        self.first_step[rows] = np.where(first, newer.first_step, self.first_step[rows])
        self.count[rows] += newer.count
        self.nonfinite[rows] += newer.nonfinite
        self.last[rows] = newer.last
        self.last_step[rows] = newer.last_step
        self.last_time[rows] = newer.last_time
        self.step_min[rows] = np.fmin(self.step_min[rows], newer.step_min)
        self.step_max[rows] = np.fmax(self.step_max[rows], newer.step_max)
        self.time_min[rows] = np.minimum(self.time_min[rows], newer.time_min)
        self.time_max[rows] = np.maximum(self.time_max[rows], newer.time_max)
        old = self.min[rows]
        less = (newer.min < old) | np.isnan(old)
        self.min[rows] = np.where(less, newer.min, old)
        self.min_step[rows] = np.where(less, newer.min_step, self.min_step[rows])
        old = self.max[rows]
        more = (newer.max > old) | np.isnan(old)
        self.max[rows] = np.where(more, newer.max, old)
        self.max_step[rows] = np.where(more, newer.max_step, self.max_step[rows])
        with np.errstate(over="ignore", invalid="ignore"):
            self.sum[rows] += newer.sum


NAMES = tuple(field.name for field in fields(Stats))


def describe(steps: Floats, times: Ints, values: Floats, starts: Ints) -> Stats:
    """One row per group of points; `starts` (m,): where each group begins, none is empty."""
    n = len(steps)
    ends = np.append(starts[1:], n)
    finite = np.isfinite(values)
    whole = bool(finite.all())
    if len(starts) == n:  # a wide step: every group is one point
        known = values if whole else np.where(finite, values, np.nan)
        at = steps if whole else np.where(finite, steps, np.nan)
        total = values if whole else np.where(finite, values, 0.0)
        ones = np.ones(n, np.int64)
        bad = (~finite).astype(np.int64)
        return Stats(
            ones, bad, steps, values, steps, times, steps, steps, times, times, known, at, known, at, total
        )
    count = ends - starts
    known = values if whole else np.where(finite, values, np.nan)
    least, most = np.fmin.reduceat(known, starts), np.fmax.reduceat(known, starts)
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(values if whole else np.where(finite, values, 0.0), starts)
    bad = np.zeros(len(starts), np.int64) if whole else np.add.reduceat((~finite).astype(np.int64), starts)
    return Stats(
        count,
        bad,
        steps[starts],
        values[ends - 1],
        steps[ends - 1],
        times[ends - 1],
        np.minimum.reduceat(steps, starts),
        np.maximum.reduceat(steps, starts),
        np.minimum.reduceat(times, starts),
        np.maximum.reduceat(times, starts),
        least,
        _where(known, steps, least, starts, count),
        most,
        _where(known, steps, most, starts, count),
        total,
    )


def _where(values: Floats, steps: Floats, wanted: Floats, starts: Ints, count: Ints) -> Floats:
    """The step of the first point in each group that has the wanted value; NaN where that is NaN."""
    hits = np.flatnonzero(values == np.repeat(wanted, count))
    group = np.searchsorted(starts, hits, side="right") - 1
    result = np.full(len(starts), np.nan)
    first = np.ones(len(hits), bool)
    first[1:] = group[1:] != group[:-1]
    result[group[first]] = steps[hits[first]]
    return result
