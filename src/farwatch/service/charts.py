"""Charts: lines to draw, cut so that no spike and no NaN is lost, and exact points.

Over step and time the store answers from its pyramid, whatever the length. Everything else (another metric as x, a mean over ranks) is
computed from points while there are at most 200,000 of them, else from buckets on one shared grid, labelled approximate.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from farwatch.errors import LimitError, NotFoundError, UsageError
from farwatch.service import recut
from farwatch.service.lines import Line, Span, drawn_table, joined
from farwatch.service.packed import Table
from farwatch.store.base import Axis, Buckets, Points, SeriesInfo, SeriesKey, Store

LINES_MAX = 1_000
BUCKETS_MAX = 10_000
EXACT_POINTS = 200_000  # up to here everything is computed from points
SERIES_POINTS_MAX = 20_000_000  # 480 MB
RANKS = ("0", "mean", "all", "slowest")
TOGETHER_US = 2_000_000  # ranks that were heard so close to each other are on the way to the same step
SMALLEST_PIECE = 8  # buckets that even a short attempt gets


class History(Protocol):
    """What charts ask of runs."""

    def find(self, ref: str) -> str: ...

    def row(self, run_id: str) -> Mapping[str, Any]: ...

    def visible(
        self, run_id: str, name: str, rank: int
    ) -> Sequence[tuple[SeriesKey, float | None, float | None]]: ...

    def list(self, **query: Any) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a chart was asked for. `axis`: `step`, `time`, `relative`, or the name of a metric; `lo`, `hi` in its unit."""

    axis: str
    lo: float | None
    hi: float | None
    buckets: int
    ranks: str
    lines: list[tuple[str, str, int, str | int]]

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> "Wanted":
        """Read a request. Raises `UsageError` for one that cannot be right, `LimitError` for one that is too large."""
        axis, buckets, ranks = body.get("x", "step"), body.get("buckets", 250), body.get("ranks", "0")
        if not isinstance(axis, str) or not axis:
            raise UsageError("`x` is step, time, relative, or the name of a metric")
        if isinstance(buckets, bool) or not isinstance(buckets, int) or not 1 <= buckets <= BUCKETS_MAX:
            raise UsageError(f"`buckets` is a whole number from 1 to {BUCKETS_MAX}")
        if str(ranks) not in RANKS:
            raise UsageError(f"`ranks` is one of {', '.join(RANKS)}")
        return cls(
            axis, _bound(body, "lo"), _bound(body, "hi"), buckets, str(ranks), parse_lines(body.get("lines"))
        )


def parse_lines(given: Any) -> list[tuple[str, str, int, str | int]]:
    """Read `[{"run", "name", "rank", "attempt"}]`. Raises `UsageError` or `LimitError`."""
    if not isinstance(given, list):
        raise UsageError('`lines` is a list of {"run": id, "name": metric}')
    if len(given) > LINES_MAX:
        raise LimitError(f"a chart may have {LINES_MAX} lines, not {len(given)}")
    lines = []
    for line in given:
        if (
            not isinstance(line, dict)
            or not isinstance(line.get("run"), str)
            or not isinstance(line.get("name"), str)
        ):
            raise UsageError('a line is {"run": id, "name": metric}')
        rank, attempt = line.get("rank", 0), line.get("attempt", "latest")
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 0:
            raise UsageError("`rank` is a whole number from 0 on")
        if attempt not in ("latest", "all") and (
            isinstance(attempt, bool) or not isinstance(attempt, int) or attempt < 1
        ):
            raise UsageError("`attempt` is latest, all, or a whole number from 1 on")
        lines.append((line["run"], line["name"], rank, attempt))
    return lines


def _bound(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"`{name}` is a finite number or null")
    return float(value)


@dataclass(slots=True)
class _Known:
    """What one request has learned, so that it asks once."""

    store: Store
    runs: History
    ids: dict[str, str | None] = field(default_factory=dict)
    series: dict[str, dict[str, list[SeriesInfo]]] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)

    def learn(self, lines: Sequence[tuple[str, str, int, str | int]], more: Sequence[str] = ()) -> None:
        """Resolve runs and read what is known of their series, one question per run. Unknown runs have no lines."""
        names: dict[str, set[str]] = {}
        for ref, name, *_ in lines:
            if ref not in self.ids:
                try:
                    self.ids[ref] = self.runs.find(ref)
                except NotFoundError:
                    self.ids[ref] = None
            run = self.ids[ref]
            if run is not None:
                names.setdefault(run, set()).update((name, *more))
        for run, wanted in names.items():
            by_name: dict[str, list[SeriesInfo]] = {}
            for info in self.store.series(run, sorted(wanted)):
                by_name.setdefault(info.key.name, []).append(info)
            self.series[run] = by_name

    def infos(self, run: str, name: str) -> list[SeriesInfo]:
        """The series of a metric, of all ranks and attempts."""
        return self.series.get(run, {}).get(name, [])

    def start_us(self, run: str) -> int:
        """When a run started, µs since the epoch."""
        if run not in self.starts:
            row = self.runs.row(run)
            self.starts[run] = int(row.get("started_ms") or row.get("created_ms") or 0) * 1000
        return self.starts[run]

    def spans(self, run: str, name: str, rank: int, attempt: str | int) -> list[Span]:
        """Which parts of which attempts are asked for; `pale` ones are history that a later attempt took over."""
        infos = {info.key: info for info in self.infos(run, name) if info.key.rank == rank}
        if isinstance(attempt, int):
            return [Span(key, None, None, info) for key, info in infos.items() if key.attempt == attempt]
        visible = [
            Span(key, _open(lo), _open(hi), infos[key])
            for key, lo, hi in self.runs.visible(run, name, rank)
            if key in infos
        ]
        if attempt == "latest":
            return visible
        seen = {span.key: span for span in visible}
        hidden: list[Span] = []
        for key, info in infos.items():
            shown = seen.get(key)
            if shown is None:
                hidden.append(Span(key, None, None, info, pale=True))
                continue
            if shown.hi is not None and info.step_max > shown.hi:
                hidden.append(Span(key, math.nextafter(shown.hi, math.inf), None, info, pale=True))
            if shown.lo is not None and info.step_min < shown.lo:
                hidden.append(Span(key, None, math.nextafter(shown.lo, -math.inf), info, pale=True))
        return visible + hidden


class Charts:
    """Answers for lines and points.

    *Threads*: any. *Cost*: a millisecond or two per line over step and time; other axes about 10 ms per 100,000 points.
    """

    def __init__(self, store: Store, runs: History, seq: Callable[[], int] | None = None) -> None:
        self._store = store
        self._runs = runs
        self._seq = seq or (lambda: store.seq)

    def chart(self, body: Mapping[str, Any]) -> Table:
        """Lines to draw; see the HTTP reference for the shape. `seq` in its meta is where the live stream goes on."""
        wanted = Wanted.parse(body)
        head = {"seq": self._seq(), "epoch": self._store.epoch, "x": wanted.axis}
        return drawn_table(head, self.drawn(wanted), many=len(wanted.lines) > 20)

    def drawn(self, wanted: Wanted) -> list[Line]:
        """The same as lines, each with its `drawn` buckets."""
        known = _Known(self._store, self._runs)
        by_metric = wanted.axis not in ("step", "time", "relative")
        known.learn(wanted.lines, (wanted.axis,) if by_metric else ())
        lines = [line for one in wanted.lines for line in self._lines(known, wanted, *one)]
        if by_metric:
            self._by_metric(known, wanted, lines)
        elif wanted.axis == "step":
            self._by_step(wanted, lines)
        else:
            self._by_time(known, wanted, lines)
        return lines

    def _lines(
        self, known: _Known, wanted: Wanted, ref: str, name: str, rank: int, attempt: str | int
    ) -> list[Line]:
        """The lines that one requested line becomes: one per rank, and one per pale remainder."""
        run = known.ids[ref]
        if run is None:
            return [Line(ref, name, rank, [])]
        ranks = sorted({info.key.rank for info in known.infos(run, name)})
        if wanted.ranks == "all" and ranks:
            chosen = ranks
        elif wanted.ranks == "slowest" and ranks:
            latest = {
                info.key.rank: info for info in known.infos(run, name)
            }  # ordered by attempt: the last stays
            chosen = [min(ranks, key=lambda one: (latest[one].last_step, -latest[one].last_time_us))]
        elif wanted.ranks == "mean" and len(ranks) > 1:
            spans = [span for one in ranks for span in known.spans(run, name, one, attempt) if not span.pale]
            return [Line(run, name, rank, spans, mean=True, until=_reached(spans))]
        else:
            chosen = [rank]
        lines = []
        for one in chosen:
            spans = known.spans(run, name, one, attempt)
            lines.append(Line(run, name, one, [span for span in spans if not span.pale]))
            lines += [Line(run, name, one, [span], pale=True) for span in spans if span.pale]
        return lines

    def _by_step(self, wanted: Wanted, lines: list[Line]) -> None:
        """Ask the store for all spans with the same limits at once."""
        asked: dict[tuple[float | None, float | None, int], list[tuple[Line, int]]] = {}
        for line in lines:
            line.parts = [None] * len(line.spans)
            shares = (
                [2 * wanted.buckets] * len(line.spans)  # ranks lie over each other and share nothing
                if line.mean
                else _shares(line.spans, wanted.lo, wanted.hi, wanted.buckets)
            )
            for place, (span, buckets) in enumerate(zip(line.spans, shares, strict=True)):
                lo, hi = _most(span.lo, wanted.lo), _least(_least(span.hi, wanted.hi), line.until)
                if lo is None or hi is None or lo <= hi:
                    asked.setdefault((lo, hi, buckets), []).append((line, place))
        for (lo, hi, buckets), places in asked.items():
            keys = [line.spans[place].key for line, place in places]
            for (line, place), found in zip(
                places, self._store.chart(keys, lo=lo, hi=hi, buckets=buckets), strict=True
            ):
                line.parts[place] = found
        for line in lines:
            line.drawn = joined(
                [part for part in line.parts if part is not None], wanted.buckets, across=line.mean
            )

    def _by_time(self, known: _Known, wanted: Wanted, lines: list[Line]) -> None:
        """As by step, with limits in µs; a span that is cut at a step is cut at the time of that step."""
        for line in lines:
            start = known.start_us(line.run) if wanted.axis == "relative" and line.spans else 0
            scale = 1e6 if wanted.axis == "relative" else 1e3
            lo = None if wanted.lo is None else wanted.lo * scale + start
            hi = None if wanted.hi is None else wanted.hi * scale + start
            each = 2 * wanted.buckets if line.mean else wanted.buckets // max(1, len(line.spans))
            shares = [max(SMALLEST_PIECE, each)] * len(line.spans)
            parts = [self._timed(span, lo, hi, share) for span, share in zip(line.spans, shares, strict=True)]
            line.approximate = any(approximate for _, approximate in parts)
            drawn = joined([part for part, _ in parts], wanted.buckets, across=line.mean)
            line.drawn = _rescaled(drawn, start, scale)

    def _timed(self, span: Span, lo: float | None, hi: float | None, buckets: int) -> tuple[Buckets, bool]:
        info = span.info
        if (span.lo is None or info.step_min >= span.lo) and (span.hi is None or info.step_max <= span.hi):
            return self._store.chart([span.key], axis="time", lo=lo, hi=hi, buckets=buckets)[0], False
        if info.count <= EXACT_POINTS:
            points = _clipped(self._store.points(span.key, lo=span.lo, hi=span.hi), "time", lo, hi)
            return recut.of_points(points.times.astype(np.float64), points.values, buckets), False
        if span.lo is not None and info.step_min < span.lo:
            lo = _most(lo, self._time_of(span.key, span.lo, math.inf))
        if span.hi is not None and info.step_max > span.hi:
            edge = self._time_of(span.key, math.nextafter(span.hi, math.inf), math.inf)
            hi = _least(hi, None if edge is None else edge - 1)
        return self._store.chart([span.key], axis="time", lo=lo, hi=hi, buckets=buckets)[0], True

    def _time_of(self, key: SeriesKey, step: float, before: float) -> float | None:
        """The time (µs) of the first point from `step` on, found through ever smaller ranges of steps."""
        found = self._store.chart([key], lo=step, hi=None if math.isinf(before) else before, buckets=2_000)[0]
        if not len(found.lo):
            return None
        points = self._store.points(key, lo=step, hi=float(found.hi[0]))
        return float(points.times.min()) if len(points.times) else None

    def _by_metric(self, known: _Known, wanted: Wanted, lines: list[Line]) -> None:
        """Place points at the last value of another metric up to their step."""
        axes = {(line.run, line.rank): self._axis_spans(known, wanted, line) for line in lines if line.spans}
        total = sum(span.info.count for line in lines for span in line.spans)
        total += sum(span.info.count for spans in axes.values() for span in spans)
        for line in lines:
            spans = axes.get((line.run, line.rank), [])
            if not line.spans or not spans:
                line.unplaced = sum(span.info.count for span in line.spans)
                line.drawn = joined([], wanted.buckets)
            elif total <= EXACT_POINTS:
                self._placed_exactly(wanted, line, spans)
            else:
                self._placed_roughly(wanted, line, spans)

    def _axis_spans(self, known: _Known, wanted: Wanted, line: Line) -> list[Span]:
        attempt: str | int = line.spans[0].key.attempt if line.pale else "latest"
        for rank in (line.rank, 0):
            spans = known.spans(line.run, wanted.axis, rank, attempt)
            if spans:
                return spans
        return []

    def _placed_exactly(self, wanted: Wanted, line: Line, axis: list[Span]) -> None:
        x, y = self._points(axis), self._points(line.spans)
        order = np.argsort(x.steps, kind="stable")
        place = np.searchsorted(x.steps[order], y.steps, side="right") - 1
        at = (
            np.where(place >= 0, x.values[order][np.maximum(place, 0)], np.nan)
            if len(order)
            else np.full(len(y.steps), np.nan)
        )
        placed = np.isfinite(at)
        line.unplaced = int(len(at) - placed.sum())
        chosen = placed & _between(at, wanted.lo, wanted.hi)
        line.drawn = recut.of_points(at[chosen], y.values[chosen], wanted.buckets)

    def _placed_roughly(self, wanted: Wanted, line: Line, axis: list[Span]) -> None:
        """The same from buckets: each bucket of the line stands at the metric's mean in the steps that it covers."""
        fine = min(BUCKETS_MAX, 4 * wanted.buckets)
        x = joined(self._charts(axis, fine), fine)
        y = joined(self._charts(line.spans, fine), fine)
        line.approximate = True
        if not len(x.lo) or not len(y.lo):
            line.unplaced = int(y.count.sum())
            line.drawn = joined([], wanted.buckets)
            return
        place = np.searchsorted(x.lo, (y.lo + y.hi) / 2, side="right") - 1
        at = np.where(place >= 0, x.mean[np.maximum(place, 0)], np.nan)
        chosen = np.isfinite(at) & _between(at, wanted.lo, wanted.hi)
        line.unplaced = int(y.count[~np.isfinite(at)].sum())
        line.drawn = recut.regrouped(recut.placed(recut.chosen(y, chosen), at[chosen]), wanted.buckets)

    def _charts(self, spans: list[Span], buckets: int) -> list[Buckets]:
        return [self._store.chart([span.key], lo=span.lo, hi=span.hi, buckets=buckets)[0] for span in spans]

    def _points(self, spans: Sequence[Span], lo: float | None = None, hi: float | None = None) -> Points:
        found = [
            self._store.points(span.key, lo=_most(span.lo, lo), hi=_least(span.hi, hi)) for span in spans
        ]
        if len(found) == 1:
            return found[0]
        none = Points(np.empty(0), np.empty(0, np.int64), np.empty(0))
        return Points(
            *(
                np.concatenate([getattr(one, name) for one in [none, *found]])
                for name in ("steps", "times", "values")
            )
        )

    def series(self, body: Mapping[str, Any]) -> Table:
        """Every point of some series, exact and in order of arrival: steps, times in µs, values."""
        lo, hi = _bound(body, "lo"), _bound(body, "hi")
        lines = parse_lines(body["lines"]) if "lines" in body else self._lines_where(body)
        head: dict[str, Any] = {"seq": self._seq(), "epoch": self._store.epoch}
        known = _Known(self._store, self._runs)
        known.learn(lines)
        told: list[dict[str, Any]] = []
        found: list[Points] = []
        total = 0
        for place, (ref, name, rank, attempt) in enumerate(lines):
            run = known.ids[ref]
            spans = [] if run is None else self._whole(known, run, name, rank, attempt)
            for span in spans:
                points = self._points([span], lo, hi)
                total += len(points.steps)
                if total > SERIES_POINTS_MAX:
                    raise LimitError(
                        f"more than {SERIES_POINTS_MAX} points in one answer",
                        hint="ask for fewer lines, or with lo and hi",
                    )
                told.append(
                    {
                        "line": place,
                        "run": run,
                        "name": name,
                        "rank": span.key.rank,
                        "attempt": span.key.attempt,
                        "kind": span.info.kind,
                        "start": total - len(points.steps),
                        "length": len(points.steps),
                    }
                )
                found.append(points)
        head["lines"] = told
        return Table(
            head,
            {
                "steps": ("f8", _concatenated([points.steps for points in found], np.float64)),
                "times": ("i8", _concatenated([points.times for points in found], np.int64)),
                "values": ("f8", _concatenated([points.values for points in found], np.float64)),
            },
        )

    @staticmethod
    def _whole(known: _Known, run: str, name: str, rank: int, attempt: str | int) -> list[Span]:
        if attempt == "all":
            return [
                Span(info.key, None, None, info) for info in known.infos(run, name) if info.key.rank == rank
            ]
        return known.spans(run, name, rank, attempt)

    def _lines_where(self, body: Mapping[str, Any]) -> list[tuple[str, str, int, str | int]]:
        """One metric of all runs that match an expression."""
        project, name, where = body.get("project"), body.get("name"), body.get("where")
        if (
            not isinstance(project, str)
            or not isinstance(name, str)
            or not (where is None or isinstance(where, str))
        ):
            raise UsageError('ask for {"lines": […]} or {"project", "name", "where"}')
        page = self._runs.list(project=project, where=where or None, columns=[], limit=100_000)
        return [(row["id"], name, 0, "latest") for row in page["runs"]]


def _reached(spans: Sequence[Span]) -> float | None:
    """The step up to which all ranks have come: behind it, the mean of those that came first would jump as the others come.

    A rank that has been silent for longer than the others holds back nobody.
    """
    latest: dict[int, SeriesInfo] = {}
    for span in spans:
        before = latest.get(span.key.rank)
        if before is None or before.key.attempt < span.key.attempt:
            latest[span.key.rank] = span.info
    newest = max((info.last_time_us for info in latest.values()), default=0)
    return min(
        (info.step_max for info in latest.values() if newest - info.last_time_us <= TOGETHER_US), default=None
    )


def _concatenated(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _open(limit: float | None) -> float | None:
    """A limit, with None for one that limits nothing."""
    return None if limit is None or math.isinf(limit) else limit


def _most(left: float | None, right: float | None) -> float | None:
    return right if left is None else left if right is None else max(left, right)


def _least(left: float | None, right: float | None) -> float | None:
    return right if left is None else left if right is None else min(left, right)


def _between(x: NDArray[Any], lo: float | None, hi: float | None) -> NDArray[np.bool_]:
    chosen = np.ones(len(x), bool)
    if lo is not None:
        chosen &= x >= lo
    if hi is not None:
        chosen &= x <= hi
    return chosen


def _clipped(points: Points, axis: Axis, lo: float | None, hi: float | None) -> Points:
    chosen = _between(points.times if axis == "time" else points.steps, lo, hi)
    return Points(points.steps[chosen], points.times[chosen], points.values[chosen])


def _rescaled(drawn: Buckets, start: int, scale: float) -> Buckets:
    """Times of µs since the epoch as ms since the epoch, or as seconds since a start."""
    lo, hi = (drawn.lo - start) / scale, (drawn.hi - start) / scale
    return Buckets(
        lo, hi, drawn.min, drawn.max, drawn.mean, drawn.last, drawn.count, drawn.nonfinite, drawn.exact
    )


def _shares(spans: Sequence[Span], lo: float | None, hi: float | None, buckets: int) -> list[int]:
    """How many buckets each span of a line gets: by how many steps it covers."""
    if len(spans) <= 1:
        return [buckets] * len(spans)
    widths = []
    for span in spans:
        first = max(limit for limit in (span.lo, lo, span.info.step_min) if limit is not None)
        last = min(limit for limit in (span.hi, hi, span.info.step_max) if limit is not None)
        widths.append(max(0.0, last / 2 - first / 2))
    total = sum(widths)
    return [
        max(SMALLEST_PIECE, round(buckets * width / total)) if total > 0 else SMALLEST_PIECE
        for width in widths
    ]
