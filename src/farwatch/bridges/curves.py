"""Curves of runs as pictures: what the page draws, with the same buckets, as one PNG."""

import asyncio
import contextlib
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from farwatch.bridges.base import Attachment
from farwatch.bridges.picture import Line, Mark, chart_png
from farwatch.errors import FarwatchError
from farwatch.service.charts import Charts, Wanted
from farwatch.service.lines import Buckets
from farwatch.service.runs import Runs
from farwatch.service.steer import Steer

WIDTH, HEIGHT = 1000, 600
BUCKETS = 900
DRAW_S = 2.0  # a picture that takes longer is left out: the words do not wait for it
KEPT = 32
AROUND = 300  # points before an alert that its picture shows
MARKS_MAX = 20
HIDDEN_MAX = 1_000  # values of one bucket that are no numbers
VALIDATION = ("val", "eval", "test")


class Curves:
    """Draws. *Threads*: any; one picture at a time, in a thread of its own. *Cost*: some 50 ms; the newest pictures are kept."""

    def __init__(self, charts: Charts, runs: Runs, steer: Steer) -> None:
        self._charts = charts
        self._runs = runs
        self._steer = steer
        self._pool = ThreadPoolExecutor(1, "farwatch-draw")
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()

    def close(self) -> None:
        """Let go of the thread; may be called twice."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def of_alert(self, run: Mapping[str, Any], alert: Mapping[str, Any], lang: str) -> Attachment | None:
        """The curve of an alert's metric around where it began; None where there is none to show, or drawing takes too long."""
        name = alert.get("metric") or run.get("main_metric")
        if not name or str(name).startswith("system/"):
            return None
        return await self._within(lambda: self._alert(run, str(name), alert, lang))

    async def of_metrics(
        self, run: Mapping[str, Any], names: Sequence[str], seconds: float | None, lang: str
    ) -> Attachment | None:
        """Curves of metrics over the run, or over its last `seconds`; None where drawing takes too long."""
        return await self._within(lambda: self._metrics(run, list(names), seconds, lang))

    async def _within(self, draw: Any) -> Attachment | None:
        with contextlib.suppress(TimeoutError, FarwatchError, RuntimeError):
            png = await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self._pool, draw), DRAW_S)
            return None if png is None else Attachment("chart.png", "image/png", png)
        return None

    def _alert(self, run: Mapping[str, Any], name: str, alert: Mapping[str, Any], lang: str) -> bytes | None:
        step = alert.get("step")
        lo = None
        infos = [info for info in self._runs.store.series(run["id"], [name]) if info.key.rank == 0]
        if not infos:
            return None
        last = infos[-1]
        if isinstance(step, int | float) and last.count > 2 * AROUND:
            spacing = (last.step_max - last.step_min) / max(last.count - 1, 1)
            after = max(0.0, last.step_max - step)
            lo = max(last.step_min, step - max(AROUND * spacing, 2 * after))
        told = alert.get("band")
        band = (float(told["low"]), float(told["usual"]), float(told["high"])) if told and _numbers(told) else None
        marks = [Mark(float(step), "alert")] if isinstance(step, int | float) else []
        return self._png(run, [name], lo, None, "step", marks, band, lang)

    def _metrics(self, run: Mapping[str, Any], names: list[str], seconds: float | None, lang: str) -> bytes | None:
        if seconds is None:
            return self._png(run, names, None, None, "step", self._marks(run), None, lang)
        from_ms = (run["ended_ms"] or self._runs.clock.wall_us() // 1000) - seconds * 1000
        return self._png(run, names, from_ms, None, "time", [], None, lang)

    def _png(
        self, run: Mapping[str, Any], names: list[str], lo: float | None, hi: float | None, axis: str, marks: list[Mark],
        band: tuple[float, float, float] | None, lang: str,
    ) -> bytes | None:  # fmt: skip
        key = (run["id"], run["points"], tuple(names), lo, hi, axis, len(marks), band, lang)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        wanted = Wanted(axis, lo, hi, BUCKETS, "0", [(run["id"], name, 0, "latest") for name in names])
        lines = []
        for place, line in enumerate(self._charts.drawn(wanted)):
            drawn = line.drawn
            if drawn is None or not len(drawn.lo):
                continue
            x, values, low, high = _columns(drawn)
            if axis == "time":
                x = (x - x[-1]) / 60_000
            lines.append(Line(line.name, x, values, low, high, place, _is_validation(line.name), line.pale))
        if not lines:
            return None
        title = f"{' · '.join(names[:3])}"
        minutes = None if axis == "step" else ("minutes" if lang == "en" else "分钟")
        png = chart_png(
            lines, title=title, subtitle=f"{run['name']} #{run['number']}", marks=marks, band=band, lang=lang, width=WIDTH, height=HEIGHT,
            x_title=minutes,
        )  # fmt: skip
        with self._lock:
            self._kept[key] = png
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return png

    def _marks(self, run: Mapping[str, Any]) -> list[Mark]:
        """The newest commands that changed the run."""
        with contextlib.suppress(FarwatchError):
            found = self._steer.history(run["id"], 100, None)["commands"]
            applied = [one for one in found if one["state"] == "applied" and one["step"] is not None]
            return [Mark(one["step"], "command", one["op"]) for one in applied[:MARKS_MAX]]
        return []


def _numbers(band: Mapping[str, Any]) -> bool:
    return all(isinstance(band.get(side), int | float) and math.isfinite(band[side]) for side in ("low", "usual", "high"))


def _columns(drawn: Buckets) -> tuple[Any, Any, Any, Any]:
    """Places, values and band of a line; a value that is no number inside a bucket stands behind it, so that it is marked and counted."""
    x = drawn.lo / 2 + drawn.hi / 2
    if drawn.exact:
        return x, drawn.last, None, None
    values = np.where(np.isfinite(drawn.mean), drawn.mean, drawn.last)
    hidden = np.where(np.isfinite(drawn.mean), drawn.nonfinite, drawn.nonfinite - 1).clip(0, HIDDEN_MAX).astype(np.int64)
    order = np.repeat(np.arange(len(x)), hidden + 1)
    first = np.concatenate(([True], order[1:] != order[:-1]))
    return x[order], np.where(first, values[order], np.nan), drawn.min[order], drawn.max[order]


def _is_validation(name: str) -> bool:
    parts = name.lower().replace("_", "/").split("/")
    return any(part in VALIDATION for part in parts)
