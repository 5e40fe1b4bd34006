"""What a chart has drawn, read from the picture that it saves: axes, lines, bands, bars and marks, in numbers of its axes."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Locator

SVG = "{http://www.w3.org/2000/svg}"
Piece = list[tuple[float, float]]


@dataclass(slots=True)
class Stroke:
    """One drawn line: `pieces` between its gaps, in pixels until `Drawing.numbers` has read them."""

    pieces: list[Piece]
    colour: str
    width: float
    opacity: float
    dashed: bool


@dataclass(slots=True)
class Drawing:
    """`x`, `y`: words of the axes with their pixel; `words`: what stands on the plot; `fills`: bands, bars, dots and marks."""

    title: str
    legend: list[str] = field(default_factory=list)
    x: list[tuple[str, float]] = field(default_factory=list)
    y: list[tuple[str, float]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    strokes: list[Stroke] = field(default_factory=list)
    fills: list[tuple[str, float, Piece]] = field(default_factory=list)
    heads: list[Piece] = field(default_factory=list)  # of commands and alerts, above the plot

    @property
    def x_words(self) -> list[str]:
        return [word for word, _ in self.x]

    @property
    def y_words(self) -> list[str]:
        return [word for word, _ in self.y]

    def lines(self) -> list[Stroke]:
        """The curves, without what lies behind or above them."""
        return [stroke for stroke in self.strokes if stroke.width == 1.5]

    def x_of(self, pixel: float) -> float:
        return _scaled(self.x, pixel)

    def y_of(self, pixel: float) -> float:
        return _scaled(self.y, pixel)

    def points(self, stroke: Stroke) -> list[list[tuple[float, float]]]:
        """A line's pieces in numbers of the axes, which must be linear."""
        return [
            [(round(self.x_of(x), 2), round(self.y_of(y), 2)) for x, y in piece] for piece in stroke.pieces
        ]

    def marks(self) -> list[float]:
        """Where the triangles of what is not a number stand on the x axis."""
        return [
            round(self.x_of(piece[1][0]), 2)
            for _, opacity, piece in self.fills
            if len(piece) == 3 and opacity == 1
        ]


def number(word: str) -> float:
    """The number that an axis writes: 1,000 or 1.5k or −2."""
    match = re.fullmatch(r"(−?[\d.,]+(?:e−?\d+)?)([kMGT]?)", word)
    assert match, word
    return float(match[1].replace(",", "").replace("−", "-")) * {
        "": 1,
        "k": 1e3,
        "M": 1e6,
        "G": 1e9,
        "T": 1e12,
    }[match[2]]


def _scaled(axis: list[tuple[str, float]], pixel: float) -> float:
    (first, at), (last, to) = axis[0], axis[-1]
    return number(first) + (pixel - at) * (number(last) - number(first)) / (to - at)


def read(figure: Locator, folder: Path) -> Drawing:
    """Save the chart as SVG, as a person would, and read it."""
    page = figure.page
    figure.get_by_role("button", name="More").click()
    with page.expect_download() as saving:
        page.get_by_role("menuitem", name="Save SVG").click()
    path = folder / "chart.svg"
    saving.value.save_as(path)
    page.mouse.move(0, 0)
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> Drawing:
    root = ElementTree.fromstring(text)
    words = root.findall(f"{SVG}text")
    drawing = Drawing(words[0].text or "")
    for word in words[1:]:
        said, anchor = word.text or "", word.get("text-anchor")
        if anchor == "end":
            drawing.y.append((said, float(word.get("y", 0)) - 4))
        elif anchor == "middle":
            drawing.x.append((said, float(word.get("x", 0))))
        else:
            drawing.legend.append(said)
    for inner in root.iter(f"{SVG}g"):
        for one in inner:
            if one.tag == f"{SVG}text":
                drawing.words.append(one.text or "")
            elif one.get("fill") == "none":
                drawing.strokes.append(_stroke(one))
            elif one.tag == f"{SVG}path":
                drawing.fills.append(
                    (one.get("fill", ""), float(one.get("fill-opacity", 1)), _corners(one.get("d", "")))
                )
    drawing.heads = [_corners(path.get("d", "")) for path in root.findall(f"{SVG}path") if path.get("fill") != "none"]
    drawing.x.sort(key=lambda place: place[1])
    return drawing


def _stroke(path: ElementTree.Element) -> Stroke:
    pieces: list[Piece] = []
    for kind, x, y in re.findall(r"([ML])(-?[\d.]+) (-?[\d.]+)", path.get("d", "")):
        if kind == "M":
            pieces.append([])
        pieces[-1].append((float(x), float(y)))
    return Stroke(
        pieces,
        path.get("stroke", ""),
        float(path.get("stroke-width", 1)),
        float(path.get("stroke-opacity", 1)),
        path.get("stroke-dasharray") is not None,
    )


def _corners(d: str) -> Piece:
    rect = re.fullmatch(r"M(-?[\d.]+) (-?[\d.]+)h(-?[\d.]+)v(-?[\d.]+)h-?[\d.]+Z", d)
    if rect:
        x, y, width, height = map(float, rect.groups())
        return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", d)]
