"""Charts as pictures, and as one line of text: pure functions of data that know of no chat, no store and no page."""

from farwatch.bridges.picture.chart import chart_png
from farwatch.bridges.picture.fonts import Fonts, system_fonts
from farwatch.bridges.picture.sheet import Mark, names_drawn
from farwatch.bridges.picture.spark import sparkline
from farwatch.bridges.picture.traces import Line

__all__ = ["Fonts", "Line", "Mark", "chart_png", "names_drawn", "sparkline", "system_fonts"]
