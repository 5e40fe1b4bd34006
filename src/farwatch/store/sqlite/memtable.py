"""Points in memory that are in the log and not yet in chunks.

Batches arrive unsorted and stay as they came until somebody reads or flushes; then the new ones are sorted by series,
and sorted runs of similar size are joined, so that each point is sorted a few times whatever the reader does.
"""

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from farwatch.store.sqlite.catalog import RunState
from farwatch.store.sqlite.stats import Stats, describe

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(slots=True)
class Part:
    """Points of one run as they came: `series` (n,) numbers of series within the run, and n points."""

    series: NDArray[np.int32]
    steps: Floats
    times: Ints
    values: Floats


class Sorted:
    """Points sorted by series, within one by arrival: `ids` (m,) series, `starts` (m + 1,) their edges, n points."""

    __slots__ = ("_stats", "ids", "starts", "steps", "times", "values")

    def __init__(
        self, ids: NDArray[np.int32], starts: Ints, steps: Floats, times: Ints, values: Floats
    ) -> None:
        self.ids = ids
        self.starts = starts
        self.steps = steps
        self.times = times
        self.values = values
        self._stats: Stats | None = None

    @property
    def n(self) -> int:
        return len(self.steps)

    @property
    def stats(self) -> Stats:
        """A row for each of `ids`."""
        if self._stats is None:
            self._stats = describe(self.steps, self.times, self.values, self.starts[:-1])
        return self._stats

    def of(self, series: int) -> slice | None:
        """Where the points of a series are, or None."""
        at = int(np.searchsorted(self.ids, series))
        if at == len(self.ids) or self.ids[at] != series:
            return None
        return slice(int(self.starts[at]), int(self.starts[at + 1]))

    def series(self) -> NDArray[np.int32]:
        """(n,) the series of each point."""
        return np.repeat(self.ids, np.diff(self.starts))


def sort(parts: list[Part]) -> Sorted:
    """Sort points by series, keeping the order of arrival within each; parts are in order of arrival."""
    series = _join([part.series for part in parts])
    steps = _join([part.steps for part in parts])
    times = _join([part.times for part in parts])
    values = _join([part.values for part in parts])
    if (series[1:] < series[:-1]).any():
        # 16 bits are sorted by radix, five times as fast; few runs have more series
        keys = series.astype(np.uint16) if int(series.max()) < 1 << 16 else series
        order = np.argsort(keys, kind="stable")
        series, steps, times, values = series[order], steps[order], times[order], values[order]
    edges = np.flatnonzero(series[1:] != series[:-1]) + 1
    starts = np.concatenate([[0], edges, [len(series)]]).astype(np.int64)
    return Sorted(series[starts[:-1]], starts, steps, times, values)


def _join(arrays: list[NDArray]) -> NDArray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


class RunTable:
    """The points of one run in a memtable. *Threads*: any; appending never waits for sorting."""

    def __init__(self, run: RunState) -> None:
        self.run = run
        self._lock = threading.Lock()  # taken inside `_sorting`, held for list operations only
        self._sorting = threading.Lock()
        self._parts: list[Part] = []
        self._sorted: tuple[Sorted, ...] = ()

    def add(self, part: Part) -> None:
        with self._lock:
            self._parts.append(part)

    def sorted(self) -> tuple[Sorted, ...]:
        """All points so far in few sorted runs, in order of arrival."""
        with self._sorting:
            with self._lock:
                parts, self._parts = self._parts, []
            if parts:
                runs = [*self._sorted, sort(parts)]
                while len(runs) > 1 and runs[-2].n < 2 * runs[-1].n:
                    runs[-2:] = [_merge(runs[-2:])]
                self._sorted = tuple(runs)
            return self._sorted

    def whole(self) -> Sorted | None:
        """All points so far in one sorted run; None if there is none."""
        runs = self.sorted()
        if len(runs) > 1:
            with self._sorting:
                self._sorted = runs = (_merge(list(self._sorted)),)
        return runs[0] if runs else None


def _merge(runs: list[Sorted]) -> Sorted:
    return sort([Part(run.series(), run.steps, run.times, run.values) for run in runs])


@dataclass(slots=True)
class Memtable:
    """Points by run, with the commits that they came from. Filled under the store's lock."""

    born_us: int
    points: int = 0
    seq: int = 0  # of the last commit in it
    runs: dict[int, RunTable] = field(default_factory=dict)

    def add(self, run: RunState, part: Part) -> None:
        table = self.runs.get(run.number)
        if table is None:
            table = self.runs[run.number] = RunTable(run)
        table.add(part)
        self.points += len(part.series)
