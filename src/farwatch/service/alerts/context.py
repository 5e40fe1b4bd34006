"""What stands beside an alert: what else moved at that step, the last checkpoint, the time that is left."""

import math
import re
from typing import Any

import numpy as np

from farwatch.clock import Clock
from farwatch.service.activity import SYSTEM_PREFIX
from farwatch.service.alerts.finding import Finding
from farwatch.service.alerts.robust import median, spread
from farwatch.service.alerts.watch import Watch
from farwatch.service.runs import Runs
from farwatch.service.table import plain
from farwatch.store.base import SeriesInfo
from farwatch.store.meta import RunRow

REREAD_POINTS = 2_000  # of a series, exactly; what is older comes in buckets
REREAD_BUCKETS = 200
MOVED_NAMES = 300  # metrics among which those that moved are looked for
MOVED_BEFORE = 40  # points before, of which the usual value is the median
MOVED_FEWEST = 5
MOVED_NOISES = 3.0
CHECKPOINT = re.compile(r"(^|[/_.-])(ckpt|checkpoint)|\.(pt|pth|ckpt|safetensors|keras|h5|pkl|npz)$", re.IGNORECASE)
LAST_NUMBER = re.compile(r"(\d{1,12})(?!.*\d)")


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
            if info.key.rank == 0 and info.key.attempt == watch.attempt
        }
        watch.discover(infos)
        read = [(name, *self._reread(infos[name])) for name in [*watch.series, *watch.gauges] if name in infos]
        if not read:
            return
        names, steps, times, values = zip(*read, strict=True)
        index = np.repeat(np.arange(len(names), dtype=np.int32), [len(one) for one in steps])
        joined = [np.concatenate(column) for column in (steps, times, values)]
        order = np.argsort(joined[1], kind="stable")  # as they came: some detectors look at two series
        for part in np.array_split(order, max(1, len(order) // REREAD_POINTS)):
            watch.feed(list(names), index[part], joined[0][part], joined[1][part], joined[2][part], now_us, pace=False)

    def _reread(self, info: SeriesInfo) -> tuple[Any, Any, Any]:
        """Steps, times and values of a series: the newest exactly, older ones as means of buckets."""
        store = self._runs.store
        if info.count <= REREAD_POINTS:
            points = store.points(info.key)
            return points.steps, points.times, points.values
        first = info.step_max - (info.step_max - info.step_min) * REREAD_POINTS / info.count
        points = store.points(info.key, lo=first)
        old = store.chart([info.key], hi=float(np.nextafter(first, -np.inf)), buckets=REREAD_BUCKETS)[0]
        keep = np.isfinite(old.mean)
        steps = old.hi[keep]
        share = (steps - info.step_min) / max(first - info.step_min, 1e-300)
        newest = int(points.times.min()) if len(points.times) else info.time_max_us
        times = (info.time_min_us + share * (newest - info.time_min_us)).astype(np.int64)
        return (
            np.concatenate((steps, points.steps)),
            np.concatenate((times, points.times)),
            np.concatenate((old.mean[keep], points.values)),
        )

    # --- beside an alert

    def facts(self, run: RunRow, finding: Finding) -> dict[str, Any]:
        """What a person wants to know beside a finding: what moved, the last checkpoint, the seconds that are left."""
        return {
            "moved": self.moved(run, finding),
            "checkpoint": self.checkpoint(run),
            "left_s": self.left_s(self._runs.activity.overlay(run)),
        }

    def moved(self, run: RunRow, finding: Finding) -> list[dict[str, Any]]:
        """The metrics that moved most at a step, in units of their usual noise."""
        if finding.step is None:
            return []
        names = [name for name in self._runs.names.listed(run.id)[:MOVED_NAMES] if not name.startswith(SYSTEM_PREFIX)]
        found = []
        for info in self._runs.store.series(run.id, names) if names else ():
            if info.key.rank == 0 and info.key.attempt == run.attempt and info.key.name != finding.metric and info.count > MOVED_FEWEST:
                one = self._move(info, finding.step)
                if one is not None:
                    found.append(one)
        found.sort(key=lambda one: -one[0])
        return [one for _, one in found[:3]]

    def _move(self, info: SeriesInfo, step: float) -> tuple[float, dict[str, Any]] | None:
        """How far a series went from its usual value around a step; None if it did not."""
        spacing = (info.step_max - info.step_min) / max(info.count - 1, 1)
        points = self._runs.store.points(info.key, lo=step - MOVED_BEFORE * spacing, hi=step + 3 * spacing)
        before = [value for value in points.values[points.steps < step].tolist() if math.isfinite(value)]
        after = points.values[points.steps >= step].tolist()
        if len(before) < MOVED_FEWEST or not after:
            return None
        usual = median(before)
        scale = max(spread(before), 1e-9 * abs(usual), 1e-300)
        far = max(after, key=lambda value: abs(value - usual) if math.isfinite(value) else math.inf)
        noises = abs(far - usual) / scale if math.isfinite(far) else math.inf
        if noises < MOVED_NOISES:
            return None
        shown = {"name": info.key.name, "before": plain(usual), "at": plain(far), "noises": plain(round(min(noises, 1e9), 1))}
        return noises, shown

    def checkpoint(self, run: RunRow) -> dict[str, Any] | None:
        """The newest checkpoint: of a command that was applied, or a saved file that looks like one."""
        with self._runs.meta.read() as reads:
            events, files = reads.events(run.no), reads.files(run.no)
        found: dict[str, Any] | None = None
        for one in events:
            if one.get("op") == "checkpoint" and one.get("event") == "ended" and one.get("state") == "applied":
                result = one.get("result")
                found = {"step": plain(one["step"]), "time_ms": one["time_ms"], "path": result if isinstance(result, str) else None}
        for file in files:
            if CHECKPOINT.search(file.path) and (found is None or file.mtime_ms > found["time_ms"]):
                step = LAST_NUMBER.search(file.path)
                found = {"step": int(step[1]) if step else None, "time_ms": file.mtime_ms, "path": file.path}
        return found

    def left_s(self, run: RunRow) -> float | None:
        """How long a run still needs, at its pace so far; None if it never said how far it goes."""
        progress = run.progress or {}
        if isinstance(progress.get("remaining_s"), int | float) and not progress.get("ended"):
            return float(progress["remaining_s"])
        done, total = run.step, run.total_steps
        if progress.get("total"):
            done, total = progress.get("n"), progress["total"]
        passed_s = self._clock.wall_us() / 1e6 - run.started_ms / 1000
        if run.final or not total or not done or done <= 0 or passed_s <= 0:
            return None
        return round(max(0.0, (total - done) * passed_s / done), 1)
