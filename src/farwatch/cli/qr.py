"""A code to scan from a terminal: two rows of it in each line, dark on light whatever the terminal's colours are."""

import shutil
import sys
from typing import TextIO

from farwatch.settings import environment

_DARK_ON_LIGHT = "\x1b[38;5;16;48;5;231m"
_PLAIN = "\x1b[0m"
_HALVES = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
MARGIN = 2  # modules; the standard asks for 4, every phone takes 2


def qr_lines(text: str) -> list[str]:
    """The lines of a code, without colours: `█` is dark."""
    import segno  # only for those who scan

    rows = [list(row) for row in segno.make(text, error="l", micro=False).matrix_iter(border=MARGIN)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    return ["".join(_HALVES[upper, lower] for upper, lower in zip(*pair, strict=True)) for pair in zip(rows[::2], rows[1::2], strict=True)]


def can_draw(stream: TextIO) -> bool:
    """Whether a code can be scanned from there: a terminal with colours that knows block letters."""
    environ = environment()
    dumb = environ.get("TERM", "") in ("", "dumb") or bool(environ.get("NO_COLOR"))
    return stream.isatty() and not dumb and (stream.encoding or "").lower().replace("-", "") == "utf8"


def draw_qr(text: str) -> bool:
    """Draw a code on the error stream, if it can be scanned from there; returns whether it was drawn."""
    if sys.stderr is None or not can_draw(sys.stderr):
        return False
    lines = qr_lines(text)
    if len(lines[0]) > shutil.get_terminal_size().columns:
        return False
    for line in lines:
        print(f"{_DARK_ON_LIGHT}{line}{_PLAIN}", file=sys.stderr)
    sys.stderr.flush()
    return True
