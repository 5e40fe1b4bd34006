"""The card that a picture is drawn on: shapes at twice the size, then reduced, then text; the colours are those of the dark page.

Coordinates are pixels of the finished picture. Colours that let something shine through are mixed beforehand with the paper,
so that a line that crosses itself looks the same everywhere.
"""

import io
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from farwatch.bridges.picture.fonts import Fonts

PAPER, RAISED, INK, SECOND_INK = "#0E1116", "#161A21", "#E8EAED", "#98A0AC"
LAMP, BAD = "#E8A317", "#F0706A"
LINES = (
    "#6F92F0", "#FA5A5B", "#33C2A1", "#FF99CE", "#2A9A38", "#C099EC", "#C7837D", "#AEBBEF", "#8291A6", "#D9A60A",
)  # fmt: skip
FINER = 2  # drawn so many times larger
SMOOTH_JOINTS = 400  # points of a path up to which its corners are worth rounding

Path = NDArray[np.float64]  # (n, 2), pixels


def mixed(colour: str, share: float, paper: str = PAPER) -> str:
    """`colour` at `share` of its strength on `paper`."""
    own, under = (bytes.fromhex(text[1:]) for text in (colour, paper))
    parts = (round(a * share + b * (1 - share)) for a, b in zip(own, under, strict=True))
    return f"#{bytes(parts).hex().upper()}"


class Card:
    """A picture of `width` by `height` pixels in the making."""

    def __init__(self, width: int, height: int, fonts: Fonts) -> None:
        self.width, self.height, self.fonts = width, height, fonts
        self._image = Image.new("RGB", (width * FINER, height * FINER), PAPER)
        self._pen = ImageDraw.Draw(self._image)
        self._texts: list[tuple[float, float, str, int, str]] = []

    def text(self, x: float, y: float, words: str, size: int, colour: str, align: float = 0.0) -> float:
        """Write at the end, on top of all shapes: base line at `y`, `align` 0 left of to 1 right of `x`. Returns the width."""
        wide = self.fonts.width(words, size)
        self._texts.append((x - wide * align, y, words, size, colour))
        return wide

    def box(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        """A filled rectangle; edges may lie on half pixels."""
        if right > left and bottom > top:
            x, y = round(left * FINER), round(top * FINER)
            ends = max(x, round(right * FINER) - 1), max(y, round(bottom * FINER) - 1)
            self._pen.rectangle((x, y, *ends), colour)

    def polygon(self, points: Iterable[tuple[float, float]], colour: str) -> None:
        """A filled polygon."""
        self._pen.polygon([(x * FINER, y * FINER) for x, y in points], colour)

    def dot(self, x: float, y: float, radius: float, colour: str) -> None:
        """A filled circle."""
        x, y, radius = x * FINER, y * FINER, radius * FINER
        self._pen.ellipse((x - radius, y - radius, x + radius, y + radius), colour)

    def path(self, path: Path, width: float, colour: str) -> None:
        """A line through at least two points."""
        flat = np.round(path * FINER).ravel().tolist()
        joint = "curve" if len(path) <= SMOOTH_JOINTS else None
        self._pen.line(flat, colour, max(1, round(width * FINER)), joint)

    def dashes(self, path: Path, width: float, colour: str, on: float, off: float, most: int = 400) -> None:
        """A line in dashes of `on` pixels with `off` between; longer ones where there would be more than `most`."""
        along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))))
        period = max(on + off, along[-1] / most)
        starts = np.arange(0, along[-1], period)
        borders = np.stack([starts, np.minimum(starts + period * on / (on + off), along[-1])], axis=1)
        ends = np.stack([np.interp(borders, along, path[:, axis]) for axis in (0, 1)], axis=2)
        begins = np.searchsorted(along, borders[:, 0], "right").tolist()
        stops = np.searchsorted(along, borders[:, 1]).tolist()
        for (first, last), begin, stop in zip(ends, begins, stops, strict=True):
            flat = np.round(np.concatenate((first, path[begin:stop].ravel(), last)) * FINER).tolist()
            self._pen.line(flat, colour, max(1, round(width * FINER)))

    def cross(self, x: float, y: float, size: float, width: float, colour: str) -> None:
        """A small ✕ around a place."""
        for way in (1, -1):
            self.path(np.array([[x - size, y - way * size], [x + size, y + way * size]]), width, colour)

    def mark(self, left: float, top: float, size: float) -> None:
        """The lighthouse (`web/src/parts/Mark.svelte`, on a field of 24 by 24)."""
        k = size / 24

        def placed(*points: tuple[float, float]) -> Sequence[tuple[float, float]]:
            return [(left + x * k, top + y * k) for x, y in points]

        self.polygon(placed((11, 6.6), (23, 2.5), (23, 11.1)), mixed(LAMP, 0.38))
        self.polygon(placed((5.2, 21.5), (12.8, 21.5), (11.7, 10), (6.3, 10)), SECOND_INK)
        self.polygon(placed((9, 2.2), (6.1, 4.6), (6.4, 5), (11.6, 5), (11.9, 4.6)), SECOND_INK)
        self.polygon(placed((5, 8.4), (13, 8.4), (13, 9.6), (5, 9.6)), SECOND_INK)
        self.polygon(placed((6.9, 4.9), (11.1, 4.9), (11.1, 8.3), (6.9, 8.3)), LAMP)

    def png(self) -> bytes:
        """The finished picture."""
        image = self._image.reduce(FINER)
        for x, y, words, size, colour in self._texts:
            self.fonts.draw(image, (x, y), words, size, colour)
        held = io.BytesIO()
        image.save(held, "PNG")
        return held.getvalue()
