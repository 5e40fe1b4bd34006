"""How commands speak: data on stdout, as a table or as JSON; everything else on stderr."""

import json
import math
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import click

from farwatch.wire import moments

Function = TypeVar("Function", bound=Callable[..., Any])
TEXT_LEAST = 8  # columns that a text keeps however narrow the terminal is

# Escape sequences (CSI, OSC and the rest) and other control characters: text of a run may not drive this terminal.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])?|\x9b[0-?]*[ -/]*[@-~]"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(text: object) -> str:
    """Text of a run without anything that a terminal would obey; line ends and tabs stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", str(text)))


def say(text: str) -> None:
    """One line for the person, on stderr."""
    print(f"farwatch: {text}", file=sys.stderr, flush=True)


def emit_json(value: Any) -> None:
    """Write one JSON document to stdout. What is not finite becomes `"NaN"`, `"Infinity"` or `"-Infinity"`, as over HTTP."""
    json.dump(
        _plain(value), sys.stdout, ensure_ascii=not _speaks_utf8(), indent=2 if sys.stdout.isatty() else None
    )
    sys.stdout.write("\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return moments.as_json(value) if isinstance(value, date) else value


def _speaks_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def emit(text: str) -> None:
    """Write one line of data to stdout, in what its encoding can say."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)  # a pipe shows it when it is said


def table(
    rows: Sequence[Sequence[object]], head: Sequence[str], *, right: frozenset[int] = frozenset()
) -> None:
    """Write rows under a head, in columns two spaces apart.

    In a terminal that is too narrow the widest columns of text are cut; into a pipe or a file nothing is cut. `right`: columns of
    numbers, which are never cut.
    """
    texts = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
    widths = [max([wide(name)] + [wide(row[index]) for row in texts]) for index, name in enumerate(head)]
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if edge is not None:
        _narrow(widths, edge, right)
    for row in [list(head), *texts]:
        cells = []
        for index, cell in enumerate(row):
            cell = _cut(cell, widths[index])
            space = " " * (widths[index] - wide(cell))
            cells.append(space + cell if index in right else cell + space)
        line = "  ".join(cells).rstrip()
        emit(line if edge is None else _cut(line, edge))


def _narrow(widths: list[int], edge: int, right: frozenset[int]) -> None:
    """Take from the widest column of text until a table is no wider than `edge`, or each has come down to `TEXT_LEAST`."""
    spare = [index for index in range(len(widths)) if index not in right]
    while spare and sum(widths) + 2 * (len(widths) - 1) > edge:
        widest = max(spare, key=lambda index: widths[index])
        if widths[widest] <= TEXT_LEAST:
            return
        widths[widest] -= 1


def wrapped(text: str, indent: int) -> str:
    """A line broken at words for the terminal, if there is one, its further lines `indent` columns to the right."""
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if edge is None or wide(text) <= edge or edge < indent + TEXT_LEAST:
        return text
    kept = text[:indent]  # what stands in front is not broken, nor are its spaces taken for one
    return textwrap.fill(text[indent:], edge, initial_indent=kept, subsequent_indent=" " * indent, break_on_hyphens=False)


def wide(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _cut(line: str, width: int) -> str:
    if wide(line) <= width:
        return line
    while wide(line) > width - 1:
        line = line[:-1]
    return line + "…"


def short_number(value: object) -> str:
    """A number as a person reads it: five digits; None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return clean(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return str(int(value))
    return f"{value:.5g}"


def size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(milliseconds: float | None) -> str:
    """A duration as a person reads it: `3 s`, `4:05`, `2:04:05`."""
    if milliseconds is None:
        return "–"
    seconds = int(milliseconds // 1000)
    if seconds < 60:
        return f"{seconds} s"
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def moment(milliseconds: float | None) -> str:
    """A time in this machine's zone, to the second."""
    if milliseconds is None:
        return "–"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def json_option(function: Function) -> Function:
    """The option that every command has."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON.")(function)


def server_options(function: Function) -> Function:
    """Options of commands that ask a server. A token is never an argument: arguments can be read by everybody on a machine."""
    return click.option(
        "--server",
        metavar="ADDRESS",
        help="Server to ask; default: the one of `farwatch login`, else your own on this machine.",
    )(json_option(function))
