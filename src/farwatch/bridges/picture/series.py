"""From points to what a picture can show of them: one column of pixels keeps its first, least, most and last value.

Cost: nothing is copied whole. Steps are looked through in blocks of `BLOCK` points, columns are found by bisection, and
values are reduced block by block, so ten million points need no more memory than a hundred thousand.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Array = NDArray[Any]  # numbers of any type, as they were read

BLOCK = 1 << 16
MOST_PIECES = 12
BAD = ("nan", "more", "less", "under")  # NaN, +∞, −∞, and what a logarithmic axis cannot show


@dataclass(frozen=True, slots=True)
class Curve:
    """A line as it is drawn: `x` (n,) in steps, `y` (n,); NaN in `y` is a gap. `mean_x`, `mean_y`: one of each column, to smooth.

    `bad`: by kind (of `BAD`) the steps to mark; `counts`: how many points of each kind. `last`: the last point as it came,
    finite or not.
    """

    x: Floats
    y: Floats
    mean_x: Floats
    mean_y: Floats
    bad: dict[str, Floats]
    counts: dict[str, int]
    last: tuple[float, float]


def pieces(steps: Array, *others: Array) -> list[tuple[Array, ...]]:
    """Parts of a line, steps and whatever belongs to them, whose steps do not go back; the oldest first.

    A run that was restarted goes back a few times. Steps in no order at all are put in order instead. Points without a finite
    step are left out.
    """
    cuts: list[int] = []
    for start in range(0, len(steps), BLOCK):
        block = steps[start : start + BLOCK + 1]
        if not np.isfinite(block).all():
            keep = np.isfinite(steps)
            return pieces(steps[keep], *(other[keep] for other in others))
        if len(cuts) < MOST_PIECES:
            cuts += [int(at) + start + 1 for at in np.flatnonzero(block[1:] < block[:-1])[:MOST_PIECES]]
    if not len(steps):
        return []
    if len(cuts) >= MOST_PIECES:
        order = np.argsort(steps, kind="stable")
        return [tuple(each[order] for each in (steps, *others))]
    ends = [0, *cuts, len(steps)]
    return [tuple(each[a:b] for each in (steps, *others)) for a, b in pairwise(ends)]


def curve_of(steps: Array, values: Array, low: float, high: float, columns: int, log: bool) -> Curve:
    """A piece of a line, reduced to `columns` columns between the steps `low` and `high`."""
    gathered = _Gathered(log)
    if len(steps) <= 4 * columns:
        own = np.asarray(steps, dtype=np.float64)
        given = gathered.finite(own, np.asarray(values, dtype=np.float64), np.arange(len(own)))
        return gathered.curve(own, given, own, given, _last(steps, values))
    points: list[Floats] = []
    middles: list[Floats] = []
    for start, stop, begins in _blocks(_borders(steps, low, high, columns)):
        own = np.asarray(steps[start:stop], dtype=np.float64)
        given = gathered.finite(own, np.asarray(values[start:stop], dtype=np.float64), begins)
        ends = np.append(begins[1:], stop - start)
        points.append(_corners(own, given, begins, ends))
        middles.append(_means(own, given, begins, ends))
    x, y = np.concatenate(points, axis=1)
    mean_x, mean_y = np.concatenate(middles, axis=1)
    return gathered.curve(x, y, mean_x, mean_y, _last(steps, values))


def band_of(
    steps: Array, lows: Array, highs: Array, low: float, high: float, columns: int
) -> tuple[Floats, Floats, Floats]:
    """A band that belongs to a piece of a line, reduced like it: steps, least and most of each column."""
    if len(steps) <= 2 * columns:
        return tuple(np.asarray(part, dtype=np.float64) for part in (steps, lows, highs))  # type: ignore[return-value]
    begins = _borders(steps, low, high, columns)[:-1]
    with np.errstate(all="ignore"):
        least, most = np.fmin.reduceat(lows, begins), np.fmax.reduceat(highs, begins)
    return tuple(np.asarray(part, dtype=np.float64) for part in (steps[begins], least, most))  # type: ignore[return-value]


def smoothed(x: Floats, y: Floats, strength: float, span: float) -> Floats:
    """The dashboard's smoothing: a mean of both sides with weights that fall off exponentially.

    The reach is a share of the visible `span`, so the curve looks the same however many points there are and does not lag
    behind them. `strength`: 0 (none) to below 1. Gaps stay gaps.
    """
    if len(y) < 3 or not 0 < strength < 1 or not span > 0:
        return y
    known = np.isfinite(y)
    if known.any() and np.abs(y[known]).max() > 1e290:  # sums would be too large for a double
        return np.asarray(smoothed(x, y * 2.0**-99, strength, span) * 2.0**99)
    keep = np.exp(-np.abs(np.diff(x)) / (span * strength**3 / 8)).tolist()
    given, counted = np.where(known, y, 0.0).tolist(), known.astype(np.float64).tolist()
    sums, weights = np.zeros(len(y)), np.zeros(len(y))
    for way in (1, -1):
        sum_, weight, ahead, behind = given[::way], counted[::way], 0.0, 0.0
        for k, fade in enumerate([0.0, *keep[::way]]):
            ahead, behind = ahead * fade + sum_[k], behind * fade + weight[k]
            sum_[k], weight[k] = ahead, behind
        sums += sum_[::way]
        weights += weight[::way]
    with np.errstate(all="ignore"):  # each point was counted by both sweeps
        return np.where(known, (sums - y) / (weights - 1), y)


class _Gathered:
    """What of a line cannot be drawn: how much of each kind, and at which steps."""

    def __init__(self, log: bool) -> None:
        self._log = log
        self._counts = dict.fromkeys(BAD, 0)
        self._steps: dict[str, list[Floats]] = {kind: [] for kind in BAD}

    def finite(self, own: Floats, given: Floats, begins: NDArray[np.intp]) -> Floats:
        """`given` with NaN for everything that cannot be drawn; one step is noted for each column that holds such."""
        good = np.isfinite(given)
        if self._log:
            good &= given > 0
        if good.all():
            return given
        kinds = {"nan": np.isnan(given), "more": given == np.inf, "less": given == -np.inf}
        if self._log:
            kinds["under"] = (given <= 0) & ~kinds["less"]
        for kind, mask in kinds.items():
            count = int(np.count_nonzero(mask))
            if count:
                self._counts[kind] += count
                self._steps[kind].append(own[begins][np.logical_or.reduceat(mask, begins)])
        return np.where(good, given, np.nan)

    def curve(self, x: Floats, y: Floats, mean_x: Floats, mean_y: Floats, last: tuple[float, float]) -> Curve:
        steps = {kind: np.concatenate(found) for kind, found in self._steps.items() if found}
        return Curve(x, y, mean_x, mean_y, steps, {k: n for k, n in self._counts.items() if n}, last)


def _borders(steps: Array, low: float, high: float, columns: int) -> NDArray[np.intp]:
    """Where the columns that hold points begin, and behind the last of them the end."""
    edges = low / 2 + (high / 2 - low / 2) * (np.arange(1, columns) / columns)
    cuts = np.searchsorted(steps, edges * 2, side="left")
    return np.unique(np.concatenate(([0], cuts, [len(steps)]))).astype(np.intp)


def _blocks(borders: NDArray[np.intp]) -> Iterator[tuple[int, int, NDArray[np.intp]]]:
    """Whole columns, together about `BLOCK` points: first, end, and where in between columns begin."""
    at = 0
    while at < len(borders) - 1:
        stop = int(np.searchsorted(borders, borders[at] + BLOCK, side="right")) - 1
        stop = min(max(stop, at + 1), len(borders) - 1)
        yield int(borders[at]), int(borders[stop]), borders[at:stop] - borders[at]
        at = stop


def _corners(own: Floats, given: Floats, begins: NDArray[np.intp], ends: NDArray[np.intp]) -> Floats:
    """(2, 4 k): x and y of the first, the nearer and the farther extreme, and the last of each column."""
    with np.errstate(all="ignore"):
        least, most = np.fmin.reduceat(given, begins), np.fmax.reduceat(given, begins)
    first, last = given[begins], given[ends - 1]
    first, last = np.where(np.isnan(first), least, first), np.where(np.isnan(last), most, last)
    down = first / 2 - least / 2 <= most / 2 - first / 2
    middle = own[(begins + ends) // 2]
    x = np.stack([own[begins], middle, middle, own[ends - 1]], axis=1)
    y = np.stack([first, np.where(down, least, most), np.where(down, most, least), last], axis=1)
    return np.stack([x.ravel(), y.ravel()])


def _means(own: Floats, given: Floats, begins: NDArray[np.intp], ends: NDArray[np.intp]) -> Floats:
    """(2, k): middle step and mean of each column; NaN for a column without values."""
    known = np.isfinite(given)
    with np.errstate(all="ignore"):
        counts = np.add.reduceat(known.astype(np.float64), begins)
        scale = np.maximum(counts, 1)  # divided before the sum, which could be too large for a double
        shares = np.where(known, given, 0.0) / np.repeat(scale, ends - begins)
        means = np.where(counts > 0, np.add.reduceat(shares, begins), np.nan)
    return np.stack([own[(begins + ends) // 2], means])


def _last(steps: Array, values: Array) -> tuple[float, float]:
    return float(steps[-1]), float(values[-1])
