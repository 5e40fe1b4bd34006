"""A chart as a picture for chats: one card, legible on a phone, that says the same as the page and hides nothing.

What a designer would ask, answered: sizes are chosen so that 1,000 pixels shown 360 wide still read; the last value stands
beside its line's end, in its colour; what cannot be drawn (NaN, infinities, on a logarithmic axis values up to 0) is a gap with
a small ✕ at the edge, and is counted; pieces that a restart left behind are pale.

Threads: pure functions; the only state are fonts once found. Cost: 2 lines of 5,000 points take some 30 ms and 25 kB.
"""

from collections.abc import Sequence

from farwatch.bridges.picture.card import Card
from farwatch.bridges.picture.fonts import Fonts, system_fonts
from farwatch.bridges.picture.numbers import format_number
from farwatch.bridges.picture.sheet import EDGE_PX, Mark, Sheet, ended, names_drawn
from farwatch.bridges.picture.traces import (
    Line,
    Trace,
    draw_traces,
    lines_checked,
    padded,
    traces_of,
    x_range,
    y_range,
)
from farwatch.errors import UsageError

MOST_LINES = 24  # more are told, not drawn
LEAST_SIDE, MOST_PIXELS = 160, 4_000_000


def chart_png(
    lines: Sequence[Line],
    *,
    title: str,
    subtitle: str = "",
    marks: Sequence[Mark] = (),
    band: tuple[float, float, float] | None = None,
    x_title: str | None = None,
    log_y: bool = False,
    smooth: float = 0.0,
    lang: str = "en",
    width: int = 1000,
    height: int = 600,
    fonts: Fonts | None = None,
) -> bytes:
    """Draw lines as a PNG of `width` by `height` pixels.

    Args:
        lines: at most 24 are drawn; how many more there were is written. Any number of points.
        title, subtitle: text of any kind; what cannot be written here is left out (see `names_drawn` for names of lines).
        marks: in any order; those outside the range of steps are left out.
        band: what was usual before an alert: low, usual and high; drawn as a strip.
        x_title: what the steps are; None: the word for step.
        log_y: logarithmic; where no value is above 0 the axis stays linear and says so.
        smooth: 0 (none) to below 1, as on the page; the raw line stays behind, pale.
        lang: `en` or `zh` for the few words of the picture's own; English where no font can write the other.
        fonts: None: those of this machine.

    Raises:
        UsageError: an impossible size, or arrays of a line that do not belong together.
    """
    if min(width, height) < LEAST_SIDE or width * height > MOST_PIXELS:
        raise UsageError(
            f"a picture has sides of at least {LEAST_SIDE} and {MOST_PIXELS:,} pixels at most: `{width} x {height}`"
        )
    sheet = Sheet(Card(width, height, fonts or system_fonts()), lang)
    drawn = lines_checked(lines[:MOST_LINES])
    columns = round(width - 2 * EDGE_PX * sheet.scale)
    reach, seen, note = x_range(drawn), None, ""
    traces: list[Trace] = []
    for log in (True, False) if log_y else (False,):
        if reach and seen is None:
            traces = traces_of(drawn, *reach, columns, log)
            seen = y_range(traces, band or (), log)
            note = "" if seen is None or not log_y else sheet.words["log" if log else "linear"]
            log_y = log_y and log
    sheet.head(title, subtitle)
    sheet.notes(traces, note)
    if len(lines) > 1:
        sheet.legend(
            names_drawn([line.name for line in drawn], lang, sheet.fonts), drawn, len(lines) - len(drawn)
        )
    if reach is None or seen is None:
        sheet.nothing("none" if reach else "empty")
        return sheet.card.png()
    shown = [mark for mark in marks if reach[0] <= mark.step <= reach[1]]
    ends = [format_number(trace.curve.last[1]) for trace in ended(traces)]
    frame = sheet.axes(reach, padded(*seen, log_y), ends, bool(shown), x_title)
    if band is not None:
        sheet.strip(frame, band)
    sheet.marks(frame, shown)
    draw_traces(sheet.card, frame, traces, smooth, sheet.scale)
    sheet.finish(frame, traces)
    return sheet.card.png()
