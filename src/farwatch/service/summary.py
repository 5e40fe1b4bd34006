"""One current value per metric and run: its last, min, max and mean over the visible history of rank 0.

Summaries are made from the store's own statistics, for the metrics that have changed since somebody looked or since they were last
written. A summary is a table of float64, one row per metric; the names are shared between runs that log the same. System metrics
and other ranks stay out.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farwatch.service.activity import SYSTEM_PREFIX, Activity
from farwatch.service.history import Interval, last_step, visible_intervals
from farwatch.store.base import SeriesInfo, Store
from farwatch.store.meta import Meta, RunRow

STATS = ("last", "min", "max", "mean", "last_step", "min_step", "max_step", "count", "nonfinite")
RULES = ("last", "min", "max", "mean")
KEPT = 2_000  # summaries in memory
MAIN = ("val/loss", "eval_loss", "val_loss", "train/loss", "loss")
EXACT_POINTS = 2_000_000  # a clipped attempt up to this long is read point by point
_PLACE = {stat: place for place, stat in enumerate(STATS)}


@dataclass(slots=True)
class Summary:
    """`values`: (n, 9) float64, columns as in `STATS`, one row per name. `index`: name -> row."""

    names: list[str]
    values: NDArray[np.float64]
    index: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.index:
            self.index = {name: row for row, name in enumerate(self.names)}

    def get(self, name: str, stat: str = "last") -> float | None:
        """One number; None if the metric has none."""
        row = self.index.get(name)
        return None if row is None else float(self.values[row, _PLACE[stat]])


EMPTY = Summary([], np.empty((0, len(STATS))))


@dataclass(frozen=True, slots=True)
class Rule:
    """What `define_metric` said of a metric."""

    x: str | None = None
    summary: str = "last"
    goal: str | None = None
    unit: str | None = None


def rule_of(name: str, definitions: Iterable[Mapping[str, Any]]) -> Rule:
    """The definitions that match a name, later ones over earlier ones."""
    told: dict[str, Any] = {}
    for one in definitions:
        match = one.get("match", "")
        if match == name or fnmatchcase(name, match):
            told.update(
                {key: one[key] for key in ("x", "summary", "goal", "unit") if one.get(key) is not None}
            )
    rule = told.get("summary")
    goal = told.get("goal")
    if rule not in RULES:
        rule = goal if goal in ("min", "max") else "last"
    return Rule(told.get("x"), rule, goal if goal in ("min", "max") else None, told.get("unit"))


def main_metric(
    names: Iterable[str], definitions: list[dict[str, Any]], first: str | None, pinned: str | None
) -> str | None:
    """The metric that stands for a run: the pinned one, else the first with a goal, else one of the usual names, else the first logged."""
    known = set(names)
    if pinned is not None and pinned in known:
        return pinned
    for one in definitions:
        if one.get("goal") in ("min", "max"):
            if one["match"] in known:
                return one["match"]
            found = sorted(name for name in known if fnmatchcase(name, one["match"]))
            if found:
                return found[0]
    for name in MAIN:
        if name in known:
            return name
    return first if first in known else min(known, default=None)


class Summaries:
    """Summaries of all runs. *Threads*: any; two that want the same summary may both make it, with the same outcome."""

    def __init__(self, meta: Meta, store: Store, activity: Activity) -> None:
        self._meta = meta
        self._store = store
        self._activity = activity
        self._kept: OrderedDict[int, Summary] = OrderedDict()
        self._clipped: OrderedDict[tuple[Any, ...], NDArray[np.float64]] = OrderedDict()
        self._making: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()
        self.version: dict[int, int] = {}  # run -> how often its summary has changed

    def get(self, run: RunRow) -> Summary:
        """The summary of a run, as of now."""
        return self.get_many([run])[run.no]

    def size(self, run_no: int) -> int:
        """How many metrics a run's summary has as far as it is in memory."""
        kept = self._kept.get(run_no)
        return 0 if kept is None else len(kept.names)

    def get_many(self, runs: Iterable[RunRow]) -> dict[int, Summary]:
        """The summaries of runs by their row numbers."""
        listed = list(runs)
        found: dict[int, Summary] = {}
        for run in listed:
            if self._activity.stale(run.no):
                self._refresh(run)
            kept = self._kept.get(run.no)
            if kept is not None:
                found[run.no] = kept
        missing = [run.no for run in listed if run.no not in found]
        if missing:
            found.update(self._load(missing))
        return found

    def _load(self, nos: list[int]) -> dict[int, Summary]:
        found = dict.fromkeys(nos, EMPTY)
        with self._meta.read() as reads:
            rows = list(reads.summaries(nos))
        by_layout: dict[int, tuple[list[str], dict[str, int]]] = {}
        for no, layout, body in rows:
            if layout not in by_layout:
                names = self._meta.layout(layout)
                by_layout[layout] = (names, {name: row for row, name in enumerate(names)})
            names, index = by_layout[layout]
            found[no] = Summary(names, np.frombuffer(body, np.float64).reshape(len(names), len(STATS)), index)
        if len(nos) <= KEPT:
            with self._lock:
                for no, summary in found.items():
                    if no not in self._kept:
                        self._keep(no, summary)
        return found

    def _keep(self, no: int, summary: Summary) -> None:
        self._kept[no] = summary
        self._kept.move_to_end(no)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _refresh(self, run: RunRow) -> None:
        with self._lock:
            making = self._making.setdefault(run.no, threading.Lock())
        with making:
            names = self._activity.take_fresh(run)
            if names is not None and not names:
                return
            try:
                base = EMPTY if names is None else self._kept.get(run.no) or self._load([run.no])[run.no]
                summary = self._make(run, names, base)
            except BaseException:
                self._activity.touch(run, all_metrics=names is None, names=names or ())
                raise
            with self._lock:
                self._keep(run.no, summary)
                self.version[run.no] = self.version.get(run.no, 0) + 1

    def _make(self, run: RunRow, names: set[str] | None, base: Summary) -> Summary:
        wanted = None if names is None else [name for name in names if not name.startswith(SYSTEM_PREFIX)]
        if wanted is not None and not wanted:
            return base
        infos = [
            info for info in self._store.series(run.id, wanted)
            if info.key.rank == 0 and not info.key.name.startswith(SYSTEM_PREFIX)
        ]  # fmt: skip
        rewinds = self.rewinds(run) if run.attempt > 1 else {}
        if run.attempt > 1 and names is None:
            self._activity.live(run).step = last_step(infos, rewinds)
        by_name: dict[str, list[SeriesInfo]] = {}
        for info in infos:
            by_name.setdefault(info.key.name, []).append(info)
        made: dict[str, Any] = {
            name: _row(attempts[0])
            if len(attempts) == 1 and not rewinds
            else self._numbers(attempts, rewinds)
            for name, attempts in by_name.items()
        }
        if made.keys() <= base.index.keys():
            values = base.values.copy()
            listed, index = base.names, base.index
        else:
            listed = sorted({*base.names, *made})
            index = {name: row for row, name in enumerate(listed)}
            values = np.empty((len(listed), len(STATS)))
            if base.names:
                values[[index[name] for name in base.names]] = base.values
        if made:
            values[[index[name] for name in made]] = list(made.values())
        return Summary(listed, values, index)

    def rewinds(self, run: RunRow) -> dict[int, float]:
        """Attempt -> the step to which it went back."""
        with self._meta.read() as reads:
            return {row.attempt: row.from_step for row in reads.attempts(run.no) if row.from_step is not None}

    def numbers(self, infos: list[SeriesInfo], rewinds: Mapping[int, float]) -> NDArray[np.float64] | None:
        """The numbers of one metric, columns as in `STATS`, over the visible history of rank 0; None if rank 0 has none."""
        own = [info for info in infos if info.key.rank == 0]
        return self._numbers(own, rewinds) if own else None

    def _numbers(self, attempts: list[SeriesInfo], rewinds: Mapping[int, float]) -> NDArray[np.float64]:
        if len(attempts) == 1 and not rewinds:
            return _whole(attempts[0])
        parts = [
            _whole(one.info) if one.whole else self._clip(one) for one in visible_intervals(attempts, rewinds)
        ]
        return _join([part for part in parts if part[_PLACE["count"]]])

    def _clip(self, interval: Interval) -> NDArray[np.float64]:
        """The numbers of a series up to where a later attempt took over; the earlier one has ended, so they are kept."""
        key = (interval.key, interval.hi, interval.info.count)
        found = self._clipped.get(key)
        if found is None:
            found = self._clipped[key] = self._count(interval)
            while len(self._clipped) > 10_000:
                self._clipped.popitem(last=False)
        return found

    def _count(self, interval: Interval) -> NDArray[np.float64]:
        if interval.info.count <= EXACT_POINTS:
            points = self._store.points(interval.key, hi=interval.hi)
            steps, values = points.steps, points.values
        else:
            cut = self._store.chart([interval.key], hi=interval.hi, buckets=1000)[0]
            return _of_buckets(cut)
        if not len(values):
            return np.array([math.nan] * 7 + [0.0, 0.0])
        finite = np.isfinite(values)
        row = np.array(
            [
                values[-1],
                math.nan,
                math.nan,
                math.nan,
                steps[-1],
                math.nan,
                math.nan,
                len(values),
                len(values) - finite.sum(),
            ]
        )
        if finite.any():
            low = int(np.argmin(np.where(finite, values, np.inf)))
            high = int(np.argmax(np.where(finite, values, -np.inf)))
            row[[1, 2, 3, 5, 6]] = values[low], values[high], values[finite].mean(), steps[low], steps[high]
        return row

    def forget(self, run_no: int) -> None:
        """Drop the summary of a run that is gone."""
        with self._lock:
            self._kept.pop(run_no, None)


def _row(info: SeriesInfo) -> tuple[float, ...]:
    return (
        info.last, info.min, info.max, info.mean, info.last_step, info.min_step, info.max_step, info.count, info.nonfinite
    )  # fmt: skip


def _whole(info: SeriesInfo) -> NDArray[np.float64]:
    return np.array(_row(info))


def _of_buckets(cut: Any) -> NDArray[np.float64]:
    count, nonfinite = int(cut.count.sum()), int(cut.nonfinite.sum())
    weights = cut.count - cut.nonfinite
    if not weights.any():
        last = cut.last[-1] if len(cut.last) else math.nan
        return np.array([last] + [math.nan] * 6 + [count, nonfinite])
    low, high = int(np.nanargmin(cut.min)), int(np.nanargmax(cut.max))
    mean = float(np.nansum(cut.mean * weights) / weights.sum())
    return np.array(
        [
            cut.last[-1],
            cut.min[low],
            cut.max[high],
            mean,
            cut.hi[-1],
            cut.lo[low],
            cut.lo[high],
            count,
            nonfinite,
        ]
    )


def _join(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The numbers of several stretches of one history, oldest first."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return np.array([math.nan] * 7 + [0.0, 0.0])
    table = np.array(parts)
    joined = table[-1].copy()
    count = table[:, 7]
    finite = count - table[:, 8]
    joined[7], joined[8] = count.sum(), table[:, 8].sum()
    if finite.any():
        low, high = int(np.nanargmin(table[:, 1])), int(np.nanargmax(table[:, 2]))
        joined[1], joined[5] = table[low, 1], table[low, 5]
        joined[2], joined[6] = table[high, 2], table[high, 6]
        joined[3] = np.nansum(table[:, 3] * finite) / finite.sum()
    return joined
