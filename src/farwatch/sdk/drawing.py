"""Small charts as SVG, and as lines of text. Pure: curves in, text out.

The SVG is shown as an image, so it may inherit nothing from the page: its greys are such that they can be read on
white and on black (both above 4:1), and so are the colours of its lines.
"""

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from farwatch.sdk.curves import Bucket, Curve

WIDTH = 400
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 22, 18
INK = "#7c7c7c"
COLOURS = ("#2e86de", "#d9702b", "#2f9e6b", "#b0589f", "#c9504b", "#8b7d2a")
DOTS_MAX = 24  # so few points are marked one by one
SPARK = "▁▂▃▄▅▆▇█"
_PARTS = {"train", "training", "val", "valid", "validation", "test", "eval", "evaluation", "dev"}
_AFFIX = re.compile(
    r"^(?:train|training|val|valid|validation|test|eval|dev)[_-]|[_-](?:train|val|valid|test|eval|dev)$"
)
_CLOCKS = {"epoch", "step", "global_step", "iteration", "iter", "time", "lr", "learning_rate"}


@dataclass(frozen=True, slots=True)
class Group:
    """Curves that are drawn in one chart: the same quantity of training and validation."""

    title: str
    curves: tuple[Curve, ...]


def groups(curves: Iterable[Curve]) -> list[Group]:
    """Put `train/loss`, `val/loss` and `val_loss` into one chart. Losses first, then what is validated, clocks last."""
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        found.setdefault(_quantity(curve.name), []).append(curve)
    made = [Group(title if len(mine) > 1 else mine[0].name, tuple(mine)) for title, mine in found.items()]
    return sorted(made, key=_rank)


def _quantity(name: str) -> str:
    parts = [part for part in name.split("/") if part.lower() not in _PARTS] or [name]
    parts[-1] = _AFFIX.sub("", parts[-1]) or parts[-1]
    return "/".join(parts)


def _rank(group: Group) -> int:
    title = group.title.lower()
    if title.rpartition("/")[2] in _CLOCKS:
        return 3
    return 0 if "loss" in title else 1 if len(group.curves) > 1 else 2


# --- SVG


def svg(group: Group, height: int) -> str:
    """One chart, `WIDTH` × `height` pixels: bands from minimum to maximum, means as lines, gaps where nothing is finite."""
    drawn = [(curve, curve.buckets()) for curve in group.curves]
    scale = _Scale.over(group.curves, [bucket for _, buckets in drawn for bucket in buckets], height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="system-ui,sans-serif" font-size="11">'
    ]
    parts.append(f'<text x="{LEFT}" y="14" fill="{INK}" font-weight="600">{html.escape(_cut(group.title, 34))}</text>')
    parts += _legend(group)
    if scale is None:
        parts.append(f'<text x="{LEFT}" y="{height // 2}" fill="{INK}">no finite value</text></svg>')
        return "".join(parts)
    parts += scale.axes()
    for number, (_, buckets) in enumerate(drawn):
        parts += _line(buckets, scale, COLOURS[number % len(COLOURS)])
    parts.append("</svg>")
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where steps and values stand in the picture."""

    left: float
    right: float
    low: float
    high: float
    height: int

    @classmethod
    def over(cls, curves: Sequence[Curve], buckets: Sequence[Bucket], height: int) -> "_Scale | None":
        finite = [bucket for bucket in buckets if bucket.count]
        if not finite:
            return None
        left, right = zip(*(curve.span() for curve in curves), strict=True)
        return cls(min(left), max(right), min(b.low for b in finite), max(b.high for b in finite), height)

    def x(self, step: float) -> float:
        share = (step - self.left) / (self.right - self.left) if self.right > self.left else 0.5
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)  # the middle of a bucket may lie beyond its points

    def y(self, value: float) -> float:
        half = self.high / 2 - self.low / 2  # halves: the whole span of two huge numbers is no number
        share = (value / 2 - self.low / 2) / half if half > 0 else 0.5
        return self.height - BOTTOM - share * (self.height - TOP - BOTTOM)

    def axes(self) -> list[str]:
        floor = self.height - BOTTOM
        lines = [
            f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="{INK}" stroke-opacity=".35"/>'
            for y in ((TOP, floor) if self.high > self.low else ((TOP + floor) / 2,))
        ]
        values = [(TOP + 4, self.high), (floor + 4, self.low)] if self.high > self.low else [((TOP + floor) / 2 + 4, self.low)]
        lines += [
            f'<text x="{LEFT - 5}" y="{y}" fill="{INK}" text-anchor="end">{number(value)}</text>' for y, value in values
        ]
        steps = [(LEFT, "start", self.left), (WIDTH - RIGHT, "end", self.right)] if self.right > self.left else [(LEFT, "start", self.left)]
        lines += [
            f'<text x="{x}" y="{self.height - 4}" fill="{INK}" text-anchor="{anchor}">{number(step)}</text>'
            for x, anchor, step in steps
        ]
        return lines


def _legend(group: Group) -> list[str]:
    """Names and newest values, from the right; one curve has its value alone."""
    parts, right = [], float(WIDTH - RIGHT)
    for index, curve in reversed(list(enumerate(group.curves[: len(COLOURS)]))):
        label = number(curve.newest)
        if len(group.curves) > 1:
            label = f"{_cut(curve.name.removesuffix(group.title).rstrip('/_') or curve.name, 14)} {label}"
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<text x="{right:.0f}" y="14" fill="{colour}" text-anchor="end">{html.escape(label)}</text>')
        right -= 6.2 * len(label) + 10
    return parts


def _line(buckets: Sequence[Bucket], scale: _Scale, colour: str) -> list[str]:
    parts: list[str] = []
    for piece in _pieces(buckets):
        middle = [(scale.x(b.x), scale.y(b.mean if math.isfinite(b.mean) else b.low / 2 + b.high / 2)) for b in piece]
        if any(bucket.high > bucket.low for bucket in piece):
            around = [(scale.x(b.x), scale.y(b.high)) for b in piece]
            around += [(scale.x(b.x), scale.y(b.low)) for b in reversed(piece)]
            parts.append(
                f'<path d="M{_points(around)}Z" fill="{colour}" fill-opacity=".3" stroke="{colour}" stroke-opacity=".45"'
                ' stroke-width=".7" stroke-linejoin="round"/>'
            )
        if len(piece) > 1:
            parts.append(
                f'<path d="M{_points(middle)}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-linejoin="round"/>'
            )
        if len(buckets) <= DOTS_MAX or len(piece) == 1:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>' for x, y in middle]
    floor = scale.height - BOTTOM
    for bucket in buckets:
        if bucket.bad:
            x = scale.x(bucket.x)
            parts.append(f'<path d="M{x - 3:.1f} {floor - 3}l6 6m0 -6l-6 6" stroke="{colour}" stroke-width="1.5"/>')
    return parts


def _pieces(buckets: Sequence[Bucket]) -> Iterable[list[Bucket]]:
    """What is drawn in one stroke: a bucket with no finite value breaks the line."""
    piece: list[Bucket] = []
    for bucket in buckets:
        if bucket.count:
            piece.append(bucket)
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f} {y:.1f}" for x, y in points)


# --- text


def lines(curve: Curve, width: int = 40) -> str:
    """A curve in one row of characters; `×` where a NaN or an infinity came, a space where nothing did."""
    buckets = curve.buckets()
    if not buckets:
        return ""
    left, right = buckets[0].x, buckets[-1].x
    columns: list[list[Bucket]] = [[] for _ in range(min(width, len(buckets)))]
    for bucket in buckets:
        share = (bucket.x - left) / (right - left) if right > left else 0.0
        columns[min(int(share * len(columns)), len(columns) - 1)].append(bucket)
    means = [[b.mean for b in column if math.isfinite(b.mean)] for column in columns]
    heights = [sum(found) / len(found) if found else None for found in means]
    known = [height for height in heights if height is not None]
    low, span = (min(known), max(known) - min(known)) if known else (0.0, 0.0)
    marks = []
    for column, height in zip(columns, heights, strict=True):
        if any(bucket.bad for bucket in column):
            marks.append("×")
        elif height is None:
            marks.append(" ")
        else:
            marks.append(SPARK[int((height - low) / span * 7) if span > 0 else 3])
    return "".join(marks)


def table(curves: Sequence[Curve]) -> str:
    """Name, newest value, range and curve of each metric, one per line."""
    rows = []
    for curve in curves:
        finite = [bucket for bucket in curve.buckets() if bucket.count]
        low, high = min((b.low for b in finite), default=None), max((b.high for b in finite), default=None)
        between = "" if low is None else f"{number(low)} … {number(high)}"
        rows.append((_cut(curve.name, 32), number(curve.newest), between, lines(curve)))
    widths = [max((len(row[place]) for row in rows), default=0) for place in range(3)]
    return "\n".join(
        f"{name:<{widths[0]}}  {newest:>{widths[1]}}  {between:<{widths[2]}}  {curve}".rstrip()
        for name, newest, between, curve in rows
    )


def number(value: float | None) -> str:
    """A number as a person reads it: four digits, whole ones up to a million as they are."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"


def _cut(text: str, length: int) -> str:
    text = "".join(letter if letter.isprintable() else "�" for letter in text)
    return text if len(text) <= length else text[: length - 1] + "…"
