"""Lines of a chart on their way to the wire: joining parts, and packing many lines into shared arrays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farwatch.service import recut
from farwatch.service.packed import Table
from farwatch.store.base import Buckets, SeriesInfo, SeriesKey

FLOAT32_MAX = float(np.finfo(np.float32).max)
LEVELS = 1 << 16  # of an overview line's range: finer than any screen, and coarse enough to compress
FLAT = 64  # a line whose values are this many times its range is sent as differences: float32 would draw it as stairs


@dataclass(frozen=True, slots=True)
class Span:
    """An interval of steps (inclusive; None: open) of one attempt's series."""

    key: SeriesKey
    lo: float | None
    hi: float | None
    info: SeriesInfo
    pale: bool = False


@dataclass(slots=True)
class Line:
    """One line: which spans it is made of, and once computed, what is drawn.

    `mean`: over ranks, up to the step `until` which all of them have reached.
    `pale`: history that a later attempt took over. `unplaced`: points for which the metric on the x axis has no value.
    """

    run: str
    name: str
    rank: int
    spans: list[Span]
    pale: bool = False
    mean: bool = False
    until: float | None = None
    approximate: bool = False
    unplaced: int = 0
    parts: list[Buckets | None] = field(default_factory=list)
    drawn: Buckets | None = None


def joined(parts: Sequence[Buckets], buckets: int, *, across: bool = False) -> Buckets:
    """Parts of one line as one line of at most `buckets` buckets.

    `across`: parts lie over each other (ranks): their mean, with the envelope of all.
    """
    present = [part for part in parts if len(part.lo)]
    if not present:
        return recut.empty()
    if across and len(present) > 1:
        if all(part.exact for part in present):
            whole = recut.same_place(present)
            if len(whole.lo) <= buckets:
                return whole
        return recut.averaged(present, max(buckets, 1))
    whole = present[0] if len(present) == 1 else recut.concatenated(present)
    return recut.regrouped(whole, max(buckets, 1))


def drawn_table(head: dict[str, Any], lines: Sequence[Line], *, many: bool) -> Table:
    """Pack lines into shared arrays.

    Lines of single points go exactly into `px` and `pv`; the others into float32 columns, as differences to the `base` of their line.
    `many`: an overview, whose minima and maxima are moved outward to one of 65,536 levels of the line's range, so that a hundred lines
    fit in 200 kB.
    """
    exact: list[Buckets] = []
    thin: list[Buckets] = []
    bases: list[float] = []
    told: list[dict[str, Any]] = []
    places = {True: 0, False: 0}
    for line in lines:
        drawn = line.drawn if line.drawn is not None else joined([], 1)
        (exact if drawn.exact else thin).append(drawn)
        said = _told(line, drawn, places[drawn.exact])
        told.append(said)
        if not drawn.exact:
            said["base"] = _base(drawn)
            bases.append(said["base"])
        places[drawn.exact] += len(drawn.lo)
    arrays: dict[str, tuple[str, NDArray[Any]]] = {
        "px": ("f8", _column(exact, "lo")),
        "pv": ("f8", _column(exact, "last")),
        "x": ("f8", _column(thin, "lo") / 2 + _column(thin, "hi") / 2),
    }
    base = np.repeat(np.array(bases), [len(drawn.lo) for drawn in thin])
    low, high = _envelope(thin, base, many=many)
    arrays["min"], arrays["max"] = ("f4", low), ("f4", high)
    mean = _column(thin, "mean") - base
    if many:
        with np.errstate(invalid="ignore", divide="ignore"):
            share = (mean - low) / (high.astype(np.float64) - low) * 255
        arrays["mean8"] = ("u1", np.clip(np.nan_to_num(share), 0, 255).round().astype(np.uint8))
    else:
        arrays["mean"] = ("f4", _float32(mean))
        arrays["last"] = ("f4", _float32(_column(thin, "last") - base))
    arrays["count"] = ("u4", np.minimum(_column(thin, "count"), 2**32 - 1).astype(np.uint32))
    arrays["nonfinite"] = ("u4", np.minimum(_column(thin, "nonfinite"), 2**32 - 1).astype(np.uint32))
    return Table({**head, "lines": told}, arrays)


def _told(line: Line, drawn: Buckets, start: int) -> dict[str, Any]:
    latest = max((span for span in line.spans), key=lambda span: span.key.attempt, default=None)
    said: dict[str, Any] = {
        "run": line.run,
        "name": line.name,
        "rank": line.rank,
        "attempt": latest.key.attempt if latest else 1,
        "pale": line.pale,
        "exact": drawn.exact,
        "approximate": line.approximate,
        "start": start,
        "length": len(drawn.lo),
        "count": int(drawn.count.sum()),
        "nonfinite": int(drawn.nonfinite.sum()),
        "last": _plain(latest.info.last) if latest else None,
        "last_step": _plain(latest.info.last_step) if latest else None,
        "kind": latest.info.kind if latest else "f",
    }
    if line.mean:
        said["ranks"] = len({span.key.rank for span in line.spans})
    if line.unplaced:
        said["unplaced"] = line.unplaced
    return said


def _plain(value: float) -> float | str:
    if math.isfinite(value):
        return float(value)
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _column(parts: Sequence[Buckets], name: str) -> NDArray[Any]:
    return np.concatenate([getattr(part, name) for part in parts]) if parts else np.empty(0)


def _float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Nearest float32; what float32 cannot hold becomes its largest number, not infinity. NaN and infinities stay."""
    held = np.where(np.isfinite(values), np.clip(values, -FLOAT32_MAX, FLOAT32_MAX), values)
    return held.astype(np.float32)


def _base(drawn: Buckets) -> float:
    """What a line's values are sent as differences to: 0, but the middle of values that are far larger than their changes."""
    low, high = np.fmin.reduce(drawn.min, initial=np.nan), np.fmax.reduce(drawn.max, initial=np.nan)
    if math.isnan(low) or high / 2 - low / 2 > max(abs(low), abs(high)) / FLAT / 2:
        return 0.0
    return float(low / 2 + high / 2)


def _envelope(
    parts: Sequence[Buckets], base: NDArray[np.float64], *, many: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    low, high = _column(parts, "min") - base, _column(parts, "max") - base
    if many and parts:
        lengths = [len(part.lo) for part in parts]
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])[np.array(lengths) > 0]
        sizes = np.array([length for length in lengths if length])
        span = np.fmax.reduceat(high, starts) / 2 - np.fmin.reduceat(low, starts) / 2
        usable = np.isfinite(span) & (span > 1e-300)
        unit = np.exp2(np.floor(np.log2(np.where(usable, span, 1.0))) + 1) / LEVELS
        units = np.repeat(np.where(usable, unit, 0.0), sizes)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            low = np.where(units > 0, np.floor(low / units) * units, low)
            high = np.where(units > 0, np.ceil(high / units) * units, high)
    return _float32(low), _float32(high)
