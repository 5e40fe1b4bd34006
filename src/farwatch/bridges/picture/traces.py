"""Lines on a card: what of each can be seen, over which range, and how it is drawn."""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from farwatch.bridges.picture.card import LINES, Card, Path, mixed
from farwatch.bridges.picture.series import Array, Curve, Floats, band_of, curve_of, pieces, smoothed
from farwatch.errors import UsageError

BAND = 0.14  # strength of a band
PALE = 0.38  # of an earlier attempt
BEHIND = 0.4  # of the raw line behind a smoothed one
LINE_PX, THIN_PX = 3.0, 2.0
DASH_PX, GAP_PX = 11.0, 7.0
AIR = 0.06
LARGEST = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `steps`, `values` (n,) as they were read, of any number type; steps may go back where a run was restarted.

    `low`, `high` (n,): the band of values that were thinned to buckets. `colour`: the run's place in the palette (any whole
    number, taken modulo its 10); None: by order. `dashed`: validation. `pale`: an earlier attempt.
    """

    name: str
    steps: Array
    values: Array
    low: Array | None = None
    high: Array | None = None
    colour: int | None = None
    dashed: bool = False
    pale: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of numbers from `low` to a greater `high`; both above 0 where it is logarithmic."""

    low: float
    high: float
    log: bool = False

    def share(self, values: Array | float) -> Floats:
        """How far along each value lies: 0 at `low`, 1 at `high`."""
        low, high, at = self.low, self.high, np.asarray(values, dtype=np.float64)
        with np.errstate(all="ignore"):
            if self.log:
                low, high, at = math.log10(low), math.log10(high), np.log10(np.where(at > 0, at, np.nan))
            # halves: the whole may be too large for a double
            return np.asarray((at / 2 - low / 2) / (high / 2 - low / 2))


@dataclass(frozen=True, slots=True)
class Frame:
    """Where on the card which numbers are."""

    left: float
    top: float
    right: float
    bottom: float
    x: Axis
    y: Axis

    def px(self, steps: Array | float) -> Floats:
        return np.asarray(self.left + self.x.share(steps) * (self.right - self.left))

    def py(self, values: Array | float) -> Floats:
        return np.asarray(self.bottom - self.y.share(values) * (self.bottom - self.top))


@dataclass(frozen=True, slots=True)
class Trace:
    """A line as it is drawn. `before`: pieces that a restart left behind; `band`: steps, least and most."""

    line: Line
    colour: str
    curve: Curve
    before: tuple[Curve, ...]
    band: tuple[Floats, Floats, Floats] | None


def x_range(lines: Sequence[Line]) -> tuple[float, float] | None:
    """Smallest and largest finite step of all lines; None without any."""
    low, high = math.inf, -math.inf
    for line in lines:
        if not len(line.steps):
            continue
        least, most = float(np.fmin.reduce(line.steps)), float(np.fmax.reduce(line.steps))
        if not (math.isfinite(least) and math.isfinite(most)):
            finite = line.steps[np.isfinite(line.steps)]
            least, most = (float(finite.min()), float(finite.max())) if len(finite) else (math.inf, -math.inf)
        low, high = min(low, least), max(high, most)
    return (low, high) if low <= high else None


def traces_of(lines: Sequence[Line], low: float, high: float, columns: int, log: bool) -> list[Trace]:
    """Lines reduced to what `columns` columns between two steps can show; those without a point are left out."""
    traces = []
    for place, line in enumerate(lines):
        banded = line.low is not None and line.high is not None
        parts = pieces(line.steps, line.values, *((line.low, line.high) if banded else ()))
        if not parts:
            continue
        curves = [curve_of(part[0], part[1], low, high, columns, log) for part in parts]
        band = band_of(parts[-1][0], parts[-1][2], parts[-1][3], low, high, columns) if banded else None
        traces.append(Trace(line, colour_of(line, place), curves[-1], tuple(curves[:-1]), band))
    return traces


def colour_of(line: Line, place: int) -> str:
    """The colour of a line that is drawn at a place among others."""
    return LINES[(place if line.colour is None else line.colour) % len(LINES)]


def y_range(traces: Sequence[Trace], also: Sequence[float], log: bool) -> tuple[float, float] | None:
    """Smallest and largest value to be seen, bands and all (above 0 for a logarithmic axis); None without any."""
    low, high = math.inf, -math.inf
    for trace in traces:
        seen = [curve.y for curve in (*trace.before, trace.curve)]
        for values in (*seen, *(trace.band or ())[1:]):
            good = values[np.isfinite(values) & (values > 0)] if log else values[np.isfinite(values)]
            if len(good):
                low, high = min(low, float(good.min())), max(high, float(good.max()))
    if low > high:
        return None
    for value in also:
        if math.isfinite(value) and (value > 0 or not log):
            low, high = min(low, value), max(high, value)
    return low, high


def padded(low: float, high: float, log: bool) -> Axis:
    """The dashboard's range of an axis around values: some air, never empty."""
    if log:
        air = max(0.02, (math.log10(high) - math.log10(low)) * AIR)
        return Axis(max(low * 10**-air, sys.float_info.min * 2**-52), min(high * 10**air, LARGEST), True)
    if low == high:
        air = abs(low) * 0.1 or 1.0
        return Axis(max(low - air, -LARGEST), min(high + air, LARGEST))
    air = (high / 2 - low / 2) * (2 * AIR)
    foot = 0.0 if low >= 0 > low - air else max(low - air, -LARGEST)
    return Axis(foot, max(min(high + air, LARGEST), math.nextafter(foot, math.inf)))


def draw_traces(card: Card, frame: Frame, traces: Sequence[Trace], strength: float, scale: float) -> None:
    """Bands below, pale remains, raw behind smoothed, and dots where a line has no length or ends."""
    for trace in traces:
        if trace.band is not None:
            _band(card, frame, trace, mixed(trace.colour, BAND if not trace.line.pale else BAND / 2))
    span = frame.x.high - frame.x.low
    for trace in traces:
        for curve in trace.before:
            _curve(card, frame, curve.x, curve.y, THIN_PX * scale, mixed(trace.colour, PALE))
    for trace in sorted(traces, key=lambda trace: not trace.line.pale):
        curve, line = trace.curve, trace.line
        colour = mixed(trace.colour, PALE) if line.pale else trace.colour
        width = (THIN_PX if line.pale else LINE_PX) * scale
        calm = smoothed(curve.mean_x, curve.mean_y, strength, span) if not line.pale else curve.mean_y
        if calm is curve.mean_y:
            _curve(card, frame, curve.x, curve.y, width, colour, line.dashed)
        else:
            _curve(card, frame, curve.x, curve.y, THIN_PX * scale, mixed(colour, BEHIND))
            _curve(card, frame, curve.mean_x, calm, width, colour, line.dashed)


def end_of(frame: Frame, trace: Trace) -> tuple[float, float] | None:
    """Where the last drawn point of a line is; None for a line of gaps."""
    known = np.flatnonzero(np.isfinite(trace.curve.y))
    if not len(known):
        return None
    last = known[-1]
    return float(frame.px(trace.curve.x[last])), float(frame.py(trace.curve.y[last]))


def _curve(
    card: Card, frame: Frame, x: Floats, y: Floats, width: float, colour: str, dashed: bool = False
) -> None:
    for part in _unbroken(frame.px(x), frame.py(y)):
        if len(part) == 1:
            card.dot(part[0, 0], part[0, 1], width * 0.85, colour)
            continue
        if not dashed:
            card.path(part, width, colour)
            continue
        length = float(np.hypot(*np.diff(part, axis=0).T).sum())
        if length > 2.5 * (frame.right - frame.left):
            # so rough that a spike could fall into a gap between two dashes
            card.path(part, width, mixed(colour, BEHIND))
        k = width / LINE_PX
        card.dashes(part, width, colour, DASH_PX * k, GAP_PX * k)


def _unbroken(px: Floats, py: Floats) -> Iterator[Path]:
    """Paths between gaps, without points that fall on one another."""
    known = np.isfinite(py)
    edges = np.flatnonzero(np.diff(known.astype(np.int8), prepend=0, append=0))
    for start, stop in edges.reshape(-1, 2):
        part = np.stack([px[start:stop], py[start:stop]], axis=1)
        places = np.round(part * 2)
        part = part[np.concatenate(([True], (places[1:] != places[:-1]).any(axis=1)))]
        yield part


def _band(card: Card, frame: Frame, trace: Trace, colour: str) -> None:
    assert trace.band is not None
    x, low, high = trace.band
    px = frame.px(x)
    top, foot = frame.py(high), frame.py(low)
    # below zero on a logarithmic axis: down to its foot
    foot = np.where(np.isfinite(top) & ~np.isfinite(foot), frame.bottom, foot)
    for part in _unbroken(px, top + 0 * foot):
        first, last = np.searchsorted(px, [part[0, 0], part[-1, 0]])
        last += 1
        if last - first > 1:
            there = np.stack([px[first:last], top[first:last]], axis=1)
            back = np.stack([px[first:last], foot[first:last]], axis=1)[::-1]
            card.polygon([(float(a), float(b)) for a, b in np.concatenate((there, back))], colour)
    # where it is far taller than usual it is narrow and would be lost: it gets a stroke of its own
    heights = foot - top
    limit = max(5 * float(np.nanmedian(heights)) if np.isfinite(heights).any() else 0.0, 16.0)
    for k in np.flatnonzero(heights > limit):
        card.path(np.array([[px[k], top[k]], [px[k], foot[k]]]), THIN_PX, mixed(trace.colour, 3 * BAND))


def lines_checked(lines: Sequence[Line]) -> list[Line]:
    """The same lines with arrays in one dimension and of one length each.

    Raises:
        UsageError: arrays of a line do not belong together.
    """
    checked = []
    for line in lines:
        steps, values = np.asarray(line.steps), np.asarray(line.values)
        low = None if line.low is None else np.asarray(line.low)
        high = None if line.high is None else np.asarray(line.high)
        shapes = {each.shape for each in (steps, values, low, high) if each is not None}
        if len(shapes) != 1 or steps.ndim != 1:
            raise UsageError(f"arrays of a line must be flat and of one length: `{line.name[:80]}`")
        checked.append(Line(line.name, steps, values, low, high, line.colour, line.dashed, line.pale))
    return checked
