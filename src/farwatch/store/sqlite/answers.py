"""Small pieces between the store's columns and the answers of its contract."""

import math

import numpy as np
from numpy.typing import NDArray

from farwatch.store.base import Axis, Decoded, Points, SeriesInfo, SeriesKey
from farwatch.store.sqlite.read import Range
from farwatch.store.sqlite.stats import Stats


def infos(keys: list[SeriesKey], kinds: list[str], stats: Stats) -> list[SeriesInfo]:
    """Rows of stats as `SeriesInfo`, without those that have no points."""
    finite = stats.count - stats.nonfinite
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite > 0, stats.sum / finite, math.nan)
    columns = (
        stats.count,
        stats.nonfinite,
        stats.first_step,
        stats.last,
        stats.last_step,
        stats.last_time,
        stats.step_min,
        stats.step_max,
        stats.time_min,
        stats.time_max,
        stats.min,
        stats.min_step,
        stats.max,
        stats.max_step,
        mean,
    )
    rows = zip(keys, kinds, *(column.tolist() for column in columns), strict=True)
    return [SeriesInfo(*row) for row in rows if row[2]]


def span(axis: Axis, lo: float | None, hi: float | None) -> Range:
    """A range; a missing bound is open."""
    return Range(axis, -math.inf if lo is None else lo, math.inf if hi is None else hi)


def place(key: SeriesKey) -> str:
    """A series in words."""
    return f"`{key.name}` of run {key.run}, rank {key.rank}, attempt {key.attempt}"


def no_points() -> Points:
    return Points(np.empty(0), np.empty(0, np.int64), np.empty(0))


def without(decoded: Decoded, dead: list[int]) -> Decoded:
    """A batch without the points of some of its names."""
    alive: NDArray[np.bool_] = ~np.isin(decoded.index, dead)
    points = decoded.points
    kept = Points(points.steps[alive], points.times[alive], points.values[alive])
    return Decoded(decoded.names, decoded.kinds, decoded.index[alive], kept, decoded.others, decoded.schemas)
