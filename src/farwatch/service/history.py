"""Which points of a metric are its visible history: each attempt takes a series over from its own first step.

Nothing is overwritten. What an earlier attempt has beyond the point where a later one took over is kept and drawn pale.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from farwatch.store.base import SeriesInfo, SeriesKey


class Interval(NamedTuple):
    """Steps `lo <= step <= hi` of one attempt's series; `whole`: no point of it is outside."""

    key: SeriesKey
    lo: float
    hi: float
    whole: bool
    info: SeriesInfo


def visible_intervals(attempts: Sequence[SeriesInfo], rewinds: Mapping[int, float]) -> list[Interval]:
    """The visible history of one metric and rank, oldest attempt first; attempts of which nothing is visible are left out.

    `attempts`: its series, ordered by attempt. `rewinds`: attempt -> the step to which it went back (`from_step`); that
    hides what earlier attempts have from there on, in every series.
    """
    cut = math.inf
    found: list[Interval] = []
    later = sorted(rewinds, reverse=True)
    for info in reversed(attempts):
        while later and later[0] > info.key.attempt:
            cut = min(cut, rewinds[later.pop(0)])
        if info.step_min < cut:
            whole = info.step_max < cut
            hi = math.inf if cut == math.inf else math.nextafter(cut, -math.inf)
            found.append(Interval(info.key, -math.inf, hi, whole, info))
        cut = min(cut, info.first_step)
    return found[::-1]


def last_step(infos: Iterable[SeriesInfo], rewinds: Mapping[int, float]) -> float | None:
    """The last visible step of a run, over its metrics of rank 0; None if it has none.

    System metrics have times for steps and do not count.
    """
    by_name: dict[str, list[SeriesInfo]] = {}
    for info in infos:
        if info.key.rank == 0 and not info.key.name.startswith("system/"):
            by_name.setdefault(info.key.name, []).append(info)
    last: float | None = None
    for attempts in by_name.values():
        for interval in visible_intervals(attempts, rewinds):
            end = interval.info.step_max
            if not interval.whole:
                end = min(end, math.ceil(interval.hi) - 1.0)  # the whole step before the one that took over
            last = end if last is None else max(last, end)
    return last


def next_step(last: float | None) -> int:
    """Where a new attempt counts on: the whole step behind the last one; 0 for a fresh run."""
    return 0 if last is None or not abs(last) < 2**62 else math.floor(last) + 1
