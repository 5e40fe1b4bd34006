"""Everything on the card that is not a line: words, axes, legend, marks, the strip of what was usual, values at the ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from farwatch.bridges.picture.card import BAD, INK, PAPER, SECOND_INK, Card, mixed
from farwatch.bridges.picture.fonts import Fonts
from farwatch.bridges.picture.numbers import axis_words, format_number, log_ticks, nice_ticks
from farwatch.bridges.picture.series import BAD as KINDS
from farwatch.bridges.picture.series import Floats
from farwatch.bridges.picture.traces import DASH_PX, GAP_PX, PALE, Axis, Frame, Line, Trace, colour_of, end_of

TITLE_PX, TEXT_PX, VALUE_PX = 36, 26, 28
EDGE_PX = 36  # a chat rounds the corners of what it shows
ROW_PX = 38
MARK_PX = 52
FARTHEST = 2.2  # rows that a last value may stand away from its line's end
HAIRLINE, STRIP = 0.1, 0.13
WORDS = {
    "en": {
        "step": "step", "usual": "usual", "empty": "no points yet", "none": "no value is a number", "line": "line {n}",
        "rest": "+{n} more", "linear": "no value above 0 for log y", "log": "log y",
        "nan": "{n} NaN", "more": "{n} ∞", "less": "{n} −∞", "under": "{n} not above 0",
    },
    "zh": {
        "step": "步", "usual": "平常", "empty": "还没有数据点", "none": "没有一个值是有效数字", "line": "曲线 {n}",
        "rest": "另有 {n} 条", "linear": "没有大于零的值，无法使用对数轴", "log": "对数纵轴",
        "nan": "{n} 个 NaN", "more": "{n} 个 ∞", "less": "{n} 个 −∞", "under": "{n} 个不大于零",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a step: a command that was applied (◆) or an alert (▲), in a few words."""

    step: float
    kind: Literal["command", "alert"]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Spot:
    """Marks so close that they share one sign; an alert gives the look."""

    x: float
    alert: bool
    texts: tuple[str, ...]


def own_words(lang: str, fonts: Fonts) -> dict[str, str]:
    """The picture's own words in a language; English where that is unknown or cannot be written here."""
    words = WORDS.get("zh" if lang.lower().startswith("zh") else lang, WORDS["en"])
    return words if all(fonts.whole(word.format(n=1)) for word in words.values()) else WORDS["en"]


def names_drawn(names: Sequence[str], lang: str, fonts: Fonts) -> list[str]:
    """Names of lines as a picture writes them: one with a letter that cannot be written here becomes `line 2`."""
    word = own_words(lang, fonts)["line"]
    return [fonts.whole(name) or word.format(n=place) for place, name in enumerate(names, 1)]


class Sheet:
    """A card that is filled from the top: `top` is where the next row begins."""

    def __init__(self, card: Card, lang: str) -> None:
        self.card, self.fonts = card, card.fonts
        self.words = own_words(lang, card.fonts)
        self.scale = max(0.42, min(card.width / 1000, card.height / 600))
        self.title_px, self.text_px, self.value_px = (
            self._px(size) for size in (TITLE_PX, TEXT_PX, VALUE_PX)
        )
        self.edge = self._px(EDGE_PX)
        self.right = card.width - self.edge
        self.top = float(self._px(24))

    def head(self, title: str, subtitle: str) -> None:
        """Title and what belongs to it, the lighthouse in the corner."""
        size = self._px(MARK_PX)
        self.card.mark(self.right - size * 0.96, self.top - self._px(2), size)
        room = self.right - size - self._px(16) - self.edge
        self.top += self._px(ROW_PX + 8)
        words = self.fonts.fitting(self.fonts.legible(title), self.title_px, room)
        self.card.text(self.edge, self.top - self._px(12), words, self.title_px, INK)
        self._subtitle = self.fonts.legible(subtitle)

    def notes(self, traces: Sequence[Trace], note: str) -> None:
        """The second row: what belongs to the title left, what the lines do not show right."""
        told = [trace.curve.counts for trace in traces if not trace.line.pale]
        counts = {kind: sum(count.get(kind, 0) for count in told) for kind in KINDS}
        bad = " · ".join(self.words[kind].format(n=f"{count:,}") for kind, count in counts.items() if count)
        if not (bad or note or self._subtitle):
            return
        self.top += self._px(ROW_PX)
        base, left = self.top - self._px(10), float(self.right)
        if bad:
            left -= self.card.text(left, base, bad, self.text_px, BAD, 1) + self._px(14)
            self.card.cross(left, base - self.text_px * 0.33, 7 * self.scale, 2.6 * self.scale, BAD)
            left -= self._px(26)
        if note:
            left -= self.card.text(left, base, note, self.text_px, SECOND_INK, 1) + self._px(24)
        words = self.fonts.fitting(self._subtitle, self.text_px, left - self.edge)
        self.card.text(self.edge, base, words, self.text_px, SECOND_INK)

    def legend(self, names: Sequence[str], lines: Sequence[Line], more: int) -> None:
        """Names beside a piece of their line, in two rows or three; how many more there are at the end."""
        swatch, space, gap = self._px(34), self._px(10), self._px(28)
        few = len(names) <= 4
        most = (self.right - self.edge) * (0.8 if len(names) == 2 else 0.46 if few else 0.29)
        rows, x = 2 if few else 3, float(self.edge)
        reach = self.right - gap - self._wide(self.words["rest"].format(n=len(names) + more))
        self.top += self._px(ROW_PX)
        for place, (name, line) in enumerate(zip(names, lines, strict=True)):
            words = self.fonts.fitting(name, self.text_px, most - swatch - space, middle=True)
            wide = swatch + space + self._wide(words)
            left = len(names) - place - 1 + more
            if x > self.edge and x + wide > self.right:
                rows, x = rows - 1, float(self.edge)
                self.top += self._px(ROW_PX)
            if x > self.edge and rows == 1 and left and x + wide > reach:
                more = left + 1
                break
            base = self.top - space
            self._swatch(x, base - self.text_px * 0.33, swatch, line, colour_of(line, place))
            self.card.text(x + swatch + space, base, words, self.text_px, SECOND_INK if line.pale else INK)
            x += wide + gap
        if more:
            self.card.text(x, self.top - space, self.words["rest"].format(n=more), self.text_px, SECOND_INK)

    def nothing(self, word: str) -> None:
        """One sentence where the lines would be."""
        middle = (self.top + self.card.height) / 2
        self.card.text(self.card.width / 2, middle, self.words[word], self.text_px, SECOND_INK, 0.5)

    def axes(
        self, steps: tuple[float, float], y: Axis, ends: Sequence[str], marked: bool, x_title: str | None
    ) -> Frame:
        """Grid, ticks and their words around what is left of the card. `ends`: what will stand at ends of lines."""
        top = self.top + self._px(46 if marked else 16)
        bottom = self.card.height - self._px(30) - self._px(36)
        count = max(2, round((bottom - top) / (80 * self.scale)))
        ticks = log_ticks(y.low, y.high, count) if y.log else nice_ticks(y.low, y.high, count)
        places = [place for place in ticks if y.low <= place <= y.high]
        words = axis_words(places) if places else []
        left = self.edge + self._px(14) + max((self._wide(word) for word in words), default=0)
        last = max((self.fonts.width(word, self.value_px) for word in ends), default=0)
        title = self.fonts.legible(self.words["step"] if x_title is None else x_title)
        title = self.fonts.fitting(title, self.text_px, self.card.width / 4)
        right = self.right - (last + self._px(20) if ends else self._px(8))
        around = 0 if steps[0] < steps[1] else max(1, abs(steps[0]) * 0.01)
        frame = Frame(left, top, right, bottom, Axis(steps[0] - around, steps[1] + around), y)
        for place, word in zip(places, words, strict=True):
            at = float(frame.py(place))
            self._hair(left, at, right)
            self.card.text(left - self._px(14), at + self.text_px * 0.34, word, self.text_px, SECOND_INK, 1)
        if bottom - (float(frame.py(places[0])) if places else 0) > 1:
            self._hair(left, bottom, right)
        self._x_words(frame, steps, title)
        return frame

    def strip(self, frame: Frame, band: tuple[float, float, float]) -> None:
        """What was usual: a strip from low to high, and a dashed line in the middle."""
        heights = np.nan_to_num(frame.py(np.array(band)), nan=frame.bottom)
        low, usual, high = heights.clip(frame.top, frame.bottom).tolist()
        thick = max(low - high, 8 * self.scale)
        middle = (low + high) / 2
        ground = mixed(SECOND_INK, STRIP)
        self.card.box(frame.left, middle - thick / 2, frame.right, middle + thick / 2, ground)
        line, dash = np.array([[frame.left, usual], [frame.right, usual]]), 6 * self.scale
        self.card.dashes(line, self.scale, mixed(SECOND_INK, 0.5), dash, dash)
        size = round(self.text_px * 0.85)
        above = (
            middle - thick / 2 - self._px(8) if high - frame.top > size * 1.5 else middle + thick / 2 + size
        )
        words = f"{self.words['usual']} {format_number(band[1])}"
        self.card.text(frame.left + self._px(8), above, words, size, mixed(SECOND_INK, 0.85))

    def marks(self, frame: Frame, marks: Sequence[Mark]) -> None:
        """A hairline down from each sign; the words beside it where there is room, those of alerts and of later ones first."""
        taken: list[tuple[float, float]] = []
        spots = self._spots(frame, marks)
        y, size = frame.top - self._px(22), 9 * self.scale
        for spot in spots:
            colour = BAD if spot.alert else INK
            line = np.array([[spot.x, y + size + 4 * self.scale], [spot.x, frame.bottom]])
            self.card.dashes(line, self.scale, mixed(colour, 0.45), 3 * self.scale, 4 * self.scale)
            shape = ((0, -1), (1.1, 0.9), (-1.1, 0.9)) if spot.alert else ((0, -1), (1, 0), (0, 1), (-1, 0))
            self.card.polygon([(spot.x + right * size, y + down * size) for right, down in shape], colour)
            taken.append((spot.x - size - self._px(6), spot.x + size + self._px(6)))
        for spot in sorted(spots, key=lambda spot: (not spot.alert, -spot.x)):
            self._beside(spot, taken, y, size, frame)

    def finish(self, frame: Frame, traces: Sequence[Trace]) -> None:
        """What lies on top of the lines: the signs of what is no number, a dot and the last value at each end."""
        for trace in traces:
            if not trace.line.pale:
                for kind, steps in trace.curve.bad.items():
                    self._crosses(frame, steps, frame.top if kind == "more" else frame.bottom)
        ends = []
        for trace in ended(traces):
            end = end_of(frame, trace)
            finite = np.isfinite(trace.curve.last[1])
            if end is not None and finite:
                self.card.dot(*end, 5.5 * self.scale, PAPER)
                self.card.dot(*end, 4.5 * self.scale, trace.colour)
            ends.append((end[1] if end else frame.bottom, end[0] if end else frame.left, trace))
        self._values(frame, ends)

    def _values(self, frame: Frame, ends: Sequence[tuple[float, float, Trace]]) -> None:
        """The last values beside the ends of their lines; where many ends are close, those of later lines make room."""
        apart, ends = self.value_px * 1.12, list(ends)
        while True:
            heights = _spread([own for own, _, _ in ends], apart, frame.top, frame.bottom)
            far = [k for k, (own, _, _) in enumerate(ends) if abs(heights[k] - own) > FARTHEST * apart]
            if not far or len(ends) == 1:
                break
            del ends[far[-1]]
        x = frame.right + self._px(16)
        for height, (own, at, trace) in zip(heights, ends, strict=True):
            value = trace.curve.last[1]
            colour = trace.colour if np.isfinite(value) else BAD
            if frame.right - at > 24 * self.scale or abs(height - own) > apart:
                path = np.array([[at + 10 * self.scale, own], [frame.right, own], [x - self._px(5), height]])
                self.card.dashes(path, 1.4 * self.scale, mixed(colour, 0.6), 2 * self.scale, 6 * self.scale)
            self.card.text(x, height + self.value_px * 0.35, format_number(value), self.value_px, colour)

    def _crosses(self, frame: Frame, steps: Floats, y: float) -> None:
        before = -np.inf
        for x in np.sort(frame.px(steps)).tolist():
            if x - before >= 15 * self.scale:  # a run of NaN is a row of signs, not a thousand on one another
                before = x
                self.card.cross(x, y, 8.5 * self.scale, 5.5 * self.scale, PAPER)
                self.card.cross(x, y, 7 * self.scale, 2.6 * self.scale, BAD)

    def _spots(self, frame: Frame, marks: Sequence[Mark]) -> list[Spot]:
        spots: list[Spot] = []
        for x, mark in sorted(((float(frame.px(mark.step)), mark) for mark in marks), key=lambda one: one[0]):
            text = self.fonts.legible(mark.text)
            texts = (text,) if text else ()
            if spots and x - spots[-1].x < 22 * self.scale:
                last = spots.pop()
                spots.append(Spot(last.x, last.alert or mark.kind == "alert", last.texts + texts))
            else:
                spots.append(Spot(x, mark.kind == "alert", texts))
        return spots

    def _beside(
        self, spot: Spot, taken: list[tuple[float, float]], y: float, size: float, frame: Frame
    ) -> None:
        if not spot.texts:
            return
        small = round(self.text_px * 0.92)
        words = spot.texts[-1] + (f" +{len(spot.texts) - 1}" if len(spot.texts) > 1 else "")
        after, before = spot.x + size + self._px(8), spot.x - size - self._px(8)
        right = min((start for start, _ in taken if start > spot.x), default=self.right)
        left = max((stop for _, stop in taken if stop < spot.x), default=frame.left)
        for room, begin in ((right - after, True), (before - left, False)):
            most = min(room, (frame.right - frame.left) * 0.45)
            shown = self.fonts.fitting(words, small, most)
            if shown == words or (begin and most > 140 * self.scale and before - left < room):
                wide = self.fonts.width(shown, small)
                start = after if begin else before - wide
                self.card.text(start, y + small * 0.35, shown, small, BAD if spot.alert else SECOND_INK)
                taken.append((start - self._px(8), start + wide + self._px(8)))
                return

    def _x_words(self, frame: Frame, steps: tuple[float, float], title: str) -> None:
        base = frame.bottom + self._px(36)
        free = self.right - self._wide(title) - self._px(18) if title else self.right
        for count in range(7, 0, -1):
            places = nice_ticks(*steps, count)
            words = axis_words(places) if places else []
            at = frame.px(np.array(places)).tolist()
            placed = [(x, word, self._wide(word)) for x, word in zip(at, words, strict=True)]
            if all(b - a > (m + n) / 2 + self._px(28) for (a, _, m), (b, _, n) in pairwise(placed)):
                break
        for x, word, wide in placed:
            if x + wide / 2 <= free or len(placed) == 1:
                half, foot = self.scale / 2, frame.bottom + self._px(6)
                self.card.box(x - half, frame.bottom, x + half, foot, mixed(INK, 0.3))
                self.card.text(x, base, word, self.text_px, SECOND_INK, 0.5)
        self.card.text(self.right, base, title, self.text_px, mixed(SECOND_INK, 0.75), 1)

    def _swatch(self, x: float, y: float, wide: float, line: Line, colour: str) -> None:
        path = np.array([[x, y], [x + wide, y]])
        if line.dashed:
            self.card.dashes(path, 4 * self.scale, colour, DASH_PX * self.scale, GAP_PX * self.scale)
        else:
            self.card.path(path, 4 * self.scale, mixed(colour, PALE) if line.pale else colour)

    def _hair(self, left: float, y: float, right: float) -> None:
        self.card.box(left, round(y), right, round(y) + 1, mixed(INK, HAIRLINE))

    def _wide(self, words: str) -> float:
        return self.fonts.width(words, self.text_px)

    def _px(self, size: float) -> int:
        return max(1, round(size * self.scale))


def ended(traces: Sequence[Trace]) -> list[Trace]:
    """Lines whose last value is written."""
    return [trace for trace in traces if not trace.line.pale]


def _spread(wanted: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Heights at least `apart` from one another, together as near as can be to those wanted, in the given order.

    What is wanted less its share of the row may only grow: neighbours that do not are drawn together to their mean.
    """
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    pools: list[list[float]] = []
    for place, k in enumerate(order):
        pools.append([wanted[k] - place * apart])
        while len(pools) > 1 and np.mean(pools[-2]) >= np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    means = [float(np.mean(pool)) for pool in pools for _ in pool]
    heights = [0.0] * len(wanted)
    for place, (k, mean) in enumerate(zip(order, means, strict=True)):
        heights[k] = max(min(mean, high - (len(wanted) - 1) * apart), low) + place * apart
    return heights
