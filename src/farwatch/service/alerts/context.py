"""What stands beside an alert: what else moved at that step, the last checkpoint, the time that is left."""

from typing import Any

import numpy as np

from farwatch.clock import Clock
from farwatch.service.activity import SYSTEM_PREFIX
from farwatch.service.alerts.finding import Finding
from farwatch.service.alerts.watch import Watch
from farwatch.service.runs import Runs
from farwatch.store.base import SeriesInfo
from farwatch.store.meta import RunRow

REREAD_POINTS = 2_000  # of a series, exactly; what is older comes in buckets
REREAD_BUCKETS = 200


class Context:
    """Asks the store and the database. *Threads*: any. *Cost*: some milliseconds, when an alert fires or a run is seen first."""

    def __init__(self, runs: Runs, clock: Clock) -> None:
        self._runs = runs
        self._clock = clock

    # --- detectors after a restart

    def rebuild(self, watch: Watch, now_us: int) -> None:
        """Feed what the store has of an attempt to detectors that have seen nothing yet."""
        infos = {
            info.key.name: info
            for info in self._runs.store.series(watch.run)
            if info.key.rank == 0 and info.key.attempt == watch.attempt and not info.key.name.startswith(SYSTEM_PREFIX)
        }
        watch.discover(infos)
        for name in watch.series:
            if name in infos:
                self._reread(watch, infos[name], now_us)

    def _reread(self, watch: Watch, info: SeriesInfo, now_us: int) -> None:
        store = self._runs.store
        first = info.step_min
        if info.count > REREAD_POINTS:
            first = info.step_max - (info.step_max - info.step_min) * REREAD_POINTS / info.count
            old = store.chart([info.key], hi=np.nextafter(first, -np.inf), buckets=REREAD_BUCKETS)[0]
            share = np.linspace(info.time_min_us, info.time_max_us, REREAD_BUCKETS + 1)
            span = max(info.step_max - info.step_min, 1e-300)
            place = np.clip((old.hi - info.step_min) / span * REREAD_BUCKETS, 0, REREAD_BUCKETS).astype(int)
            keep = np.isfinite(old.mean)
            self._feed(watch, info.key.name, old.hi[keep], share[place][keep].astype(np.int64), old.mean[keep], now_us)
        points = store.points(info.key, lo=first)
        self._feed(watch, info.key.name, points.steps, points.times, points.values, now_us)

    def _feed(self, watch: Watch, name: str, steps: Any, times: Any, values: Any, now_us: int) -> None:
        watch.feed([name], np.zeros(len(steps), np.int32), steps, times, values, now_us)

    # --- beside an alert

    def facts(self, run: RunRow, finding: Finding) -> dict[str, Any]:
        """What a person wants to know beside a finding."""
        return {}
