"""Turn what a program writes to a terminal into numbered lines, the way the terminal would show them.

A progress bar rewrites its line (`\\r`) or the lines above (`ESC [ A`); what counts is what stands there in
the end. Colours stay in the text, other control sequences act or are dropped. Pure: no clock, no lock, no
stream.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LINE_MAX = 16_384  # characters; a longer line goes on in the next, so that a line of dots is not sent again and again
WINDOW = 64  # lines that a cursor can come back to; tqdm needs one per nested bar
RECORD_LINES = 500
RECORD_CHARS = 200_000

_TOKEN = re.compile(
    r"(?P<newline>\r?\n)|(?P<return>\r)|(?P<back>\x08+)"
    r"|\x1b\[(?P<count>\d{0,4})(?P<move>[ABEFGDJK])"
    r"|(?P<colour>\x1b\[[\d;:]{0,40}m)"
    r"|(?P<dropped>\x1b\[[\d;:?<=>!]{0,40}[@-~]|\x1b\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)|\x1b[@-Z\\^_=>()78c]|[\x00\x07\x0e\x0f])"
)


@dataclass(slots=True)
class Line:
    """One line on the screen. `sent`: the text of its last record, None before the first."""

    number: int
    text: str = ""
    sent: str | None = None
    sent_open: bool = True
    sent_at: float = 0.0

    @property
    def dirty(self) -> bool:
        return self.text != self.sent


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive lines for one record; `open`: the last of them may still change."""

    first: int
    lines: list[str]
    open: bool


class Screen:
    """The last lines of one stream, and where its cursor is.

    `number`: gives out line numbers; shared by the streams of a writer. *Threads*: one at a time.
    """

    def __init__(self, number: Callable[[], int]) -> None:
        self._number = number
        self._lines: list[Line] = []
        self._row = (
            0  # may be one behind the last line: that line has no number before something is written to it
        )
        self._fresh = False  # a carriage return came: the next text replaces the line
        self.rewrites = False  # this stream has rewritten a line: it draws a progress bar

    def feed(self, text: str) -> list[Chunk]:
        """Take in what was written; returns the lines that are complete by it."""
        done: list[Line] = []
        position = 0
        for match in _TOKEN.finditer(text):
            if match.start() > position:
                self._put(text[position : match.start()], done)
            position = match.end()
            self._control(match, done)
        if position < len(text):
            self._put(text[position:], done)
        self._forget()
        return list(_chunks(done))

    def open_chunks(self, now: float, interval: float) -> list[Chunk]:
        """The lines that have changed since they were sent, each at most once in `interval` seconds."""
        found = []
        for line in self._lines:
            if line.dirty and (line.sent is None or now - line.sent_at >= interval):
                line.sent, line.sent_open, line.sent_at = line.text, True, now
                found.append(Chunk(line.number, [line.text], True))
        return found

    def close(self) -> list[Chunk]:
        """Everything that is not yet sent as complete."""
        return list(_chunks([line for line in self._lines if line.dirty or line.sent_open]))

    def _control(self, match: re.Match[str], done: list[Line]) -> None:
        kind = match.lastgroup
        if kind == "newline":
            self._newline(done)
        elif kind == "return":
            self._fresh = True
        elif kind == "back":
            line = self._line()
            line.text = line.text[: -len(match.group())] if len(match.group()) < len(line.text) else ""
            self.rewrites = True
        elif kind == "colour":
            self._put(match.group(), done)
        elif kind == "move":
            self._move(match.group("move"), int(match.group("count") or "1"), match.group("count"))

    def _move(self, move: str, count: int, written: str) -> None:
        if move in "AF":
            self._row = max(0, self._row - count)
            self._fresh, self.rewrites = True, True
        elif move in "BE":
            self._row = min(len(self._lines), self._row + count)
            self._fresh = True
        elif move in "GD":
            self._fresh = True
        elif move == "K" and (self._fresh or written == "2"):
            self._line().text = ""
        elif move == "J":
            for line in self._lines[self._row + (0 if self._fresh else 1) :]:
                line.text = ""

    def _line(self) -> Line:
        if self._row >= len(self._lines):
            self._lines.append(Line(self._number()))
            self._row = len(self._lines) - 1
        return self._lines[self._row]

    def _put(self, text: str, done: list[Line]) -> None:
        line = self._line()
        if self._fresh:
            self.rewrites = self.rewrites or bool(line.text)
            line.text = ""
            self._fresh = False
        while len(line.text) + len(text) > LINE_MAX:
            room = LINE_MAX - len(line.text)
            line.text += text[:room]
            text = text[room:]
            self._newline(done)
            line = self._line()
            line.text = ""
        line.text += text

    def _newline(self, done: list[Line]) -> None:
        line = self._line()
        if (line.dirty or line.sent_open) and not (done and done[-1] is line):
            done.append(line)
        self._row += 1
        self._fresh = True  # a line that the cursor comes to again from above is written anew

    def _forget(self) -> None:
        extra = len(self._lines) - WINDOW
        if extra > 0 and self._row >= extra:
            del self._lines[:extra]
            self._row -= extra


def _chunks(lines: list[Line]) -> Iterator[Chunk]:
    """Group lines with consecutive numbers, marking them as sent and complete."""
    group: list[str] = []
    first = size = 0
    for line in lines:
        line.sent, line.sent_open = line.text, False
        if group and (line.number != first + len(group) or len(group) >= RECORD_LINES or size > RECORD_CHARS):
            yield Chunk(first, group, False)
            group, size = [], 0
        if not group:
            first = line.number
        group.append(line.text)
        size += len(line.text)
    if group:
        yield Chunk(first, group, False)
