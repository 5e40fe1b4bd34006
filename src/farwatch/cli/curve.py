"""Curves out of characters: a braille cell holds two columns of four dots, or blocks where only ASCII is safe."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from farwatch.api import Line
from farwatch.cli.output import short_number

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # column of the cell, then row from the top


def draw(line: Line, width: int, height: int) -> list[str]:
    """A chart line as `height` rows of `width` characters, labels at the left included.

    Every bucket is drawn from its minimum to its maximum, so no spike is lost; buckets without a finite value leave a gap,
    and one that holds a NaN or an infinity is marked with `×` in the bottom row.
    """
    finite = line.count > line.nonfinite
    if not finite.any():
        return ["no finite value".ljust(width)[:width], *([" " * width] * (height - 1))]
    low, high = float(np.nanmin(line.min[finite])), float(np.nanmax(line.max[finite]))
    labels = [short_number(high), short_number(low)]
    left = min(max(len(label) for label in labels) + 1, max(width - 4, 0))
    cells = _cells(line, finite, low, high, max(width - left, 1), height)
    rows = []
    for index, row in enumerate(cells):
        label = labels[0] if index == 0 else labels[1] if index == height - 1 else ""
        rows.append(label.rjust(left - 1)[: left - 1] + " " + "".join(row))
    return rows


def _cells(
    line: Line, finite: np.ndarray, low: float, high: float, width: int, height: int
) -> list[list[str]]:
    dots_x, dots_y = width * 2, height * 4
    start, end = float(line.x[0]), float(line.x[-1])
    across = (line.x - start) / (end - start) * (dots_x - 1) if end > start else np.zeros(len(line.x))
    span = high - low if high > low else 1.0
    grid = np.zeros((height, width), dtype=np.uint8)
    before: tuple[int, int, int] | None = None
    for x, least, most, good in zip(across.round().astype(int).tolist(), line.min, line.max, finite, strict=True):
        if not good:
            before = None  # a gap
            continue
        top, bottom = (round((high - float(value)) / span * (dots_y - 1)) for value in (most, least))
        for y in range(top, bottom + 1):
            grid[y // 4, x // 2] |= _DOTS[x % 2][y % 4]
        for dot_x, dot_y in _between(before, (x, top, bottom)):
            grid[dot_y // 4, dot_x // 2] |= _DOTS[dot_x % 2][dot_y % 4]
        before = (x, top, bottom)
    cells = [[chr(0x2800 + int(dots)) if dots else " " for dots in row] for row in grid]
    for x in across[line.nonfinite > 0].round().astype(int):
        if cells[-1][x // 2] == " ":
            cells[-1][x // 2] = "×"
    return cells


def _between(before: tuple[int, int, int] | None, after: tuple[int, int, int]) -> Iterator[tuple[int, int]]:
    """The dots that join two neighbours, each at `x` from `top` to `bottom`: a sparse curve is a line, no scattered dots."""
    if before is None:
        return
    (left, top, bottom), (right, next_top, next_bottom) = before, after
    start = min(max((next_top + next_bottom) // 2, top), bottom)  # from where the one comes nearest to the other
    end = min(max(start, next_top), next_bottom)
    length = max(right - left, abs(end - start))
    for step in range(1, length):
        yield left + round((right - left) * step / length), start + round((end - start) * step / length)


def sparkline(values: Sequence[float], width: int) -> str:
    """A curve of one row, from the last `width` values; what is not finite is a gap."""
    shown = list(values)[-width:]
    finite = [value for value in shown if math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = high - low or 1.0
    return "".join(
        "▁▂▃▄▅▆▇█"[int((value - low) / span * 7)] if math.isfinite(value) else " " for value in shown
    )
