"""Capture what a program prints, without a thread, a pipe or a second copy of its streams.

The `write` and `flush` of the stream objects themselves are wrapped, so `sys.stdout` stays the object it was
(`isatty`, `fileno`, `encoding`, `buffer`), and everybody who took hold of it earlier, such as a logging
handler, is captured too, once. A stream object that does not allow this is replaced by one that passes
everything on. What C libraries and child processes write goes past Python: that needs `farwatch run`. [H 27]
"""

import contextlib
import itertools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

from farwatch.sdk.lines import Chunk, Screen

OPEN_LINE_S = 0.1  # a line that is being rewritten is recorded at most so often, seconds
Emit = Callable[[str, int, list[str], bool], None]


class Console:
    """Captures `sys.stdout` and `sys.stderr` from now on until `close`.

    `emit(stream, first_line_number, lines, open)` gets complete lines at once and a rewritten line (a
    progress bar) at most ten times a second, newest wins; `stream` is `stdout`, `stderr` or, for lines that a
    logging handler wrote there, `logging`. Lines are numbered from 0 over all streams. A record with a known
    number replaces that line.

    *Threads*: any; `emit` is called by one at a time. *Re-entrancy*: what is printed by `emit` itself, by a
    signal handler or a finalizer during it, is taken in afterwards. *Errors*: none reach the program;
    `troubles` counts them. *Forks*: a child passes everything on and records nothing, until
    `reset_after_fork`.
    """

    def __init__(self, emit: Emit, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.troubles = 0
        self._emit = emit
        self._clock = clock
        self._undo: list[Callable[[], None]] = []
        self._open = True
        self._restart()
        seen: list[object] = []
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and not any(stream is other for other in seen):
                seen.append(stream)
                self._install(name, stream)

    def close(self) -> None:
        """Record what is not yet recorded and let go of the streams, where they are still as we left them."""
        if not self._open:
            return
        if os.getpid() == self._pid:
            self._take(None, "")
        self._open = False
        for undo in self._undo:
            undo()
        self._undo.clear()

    def poll(self) -> None:
        """Record rewritten lines that were held back by the rate limit; for callers that come by now and
        then."""
        self._note("", "", flushed=True)

    def add(self, stream: str, text: str) -> None:
        """Record `text` as if it had been written to `stream`: what a notebook shows without writing it anywhere."""
        self._note(stream, text if text.endswith("\n") else text + "\n", flushed=True)

    def reset_after_fork(self, emit: Emit | None = None) -> None:
        """Capture in a forked child as well, with lines numbered from 0; without this call it only passes
        on."""
        self._emit = emit or self._emit
        self._restart()

    def _restart(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._busy = False
        self._waiting: deque[tuple[str | None, str]] = deque()
        numbers = itertools.count()
        self._screens = {name: Screen(numbers.__next__) for name in ("stdout", "stderr", "logging")}

    # --- the streams

    def _install(self, name: str, stream: TextIO) -> None:
        write, flush = stream.write, stream.flush
        had = {key: key in getattr(stream, "__dict__", {}) for key in ("write", "flush")}

        def captured_write(text: str, /) -> int:
            written = write(text)  # the program's own write: its errors are the program's
            self._note("logging" if _from_logging() else name, text, flushed=False)
            return written

        def captured_flush() -> None:
            flush()
            self._note(name, "", flushed=True)

        any_stream: Any = stream
        try:
            any_stream.write = captured_write
            any_stream.flush = captured_flush
        except (AttributeError, TypeError):
            with contextlib.suppress(AttributeError, TypeError):
                del any_stream.write
            self._replace(name, stream, captured_write, captured_flush)
            return

        def undo() -> None:
            for key, ours, before in (("write", captured_write, write), ("flush", captured_flush, flush)):
                if getattr(stream, "__dict__", {}).get(key) is not ours:
                    continue  # somebody has wrapped us: we stay, and pass on
                if had[key]:
                    setattr(stream, key, before)
                else:
                    delattr(stream, key)

        self._undo.append(undo)

    def _replace(
        self, name: str, stream: TextIO, write: Callable[[str], int], flush: Callable[[], None]
    ) -> None:
        passing = _Passing(stream, write, flush)
        setattr(sys, name, passing)

        def undo() -> None:
            if getattr(sys, name) is passing:
                setattr(sys, name, stream)

        self._undo.append(undo)

    # --- taking in

    def _note(self, name: str | None, text: str, *, flushed: bool) -> None:
        if (
            not self._open
            or os.getpid() != self._pid
            or (not text and not flushed)
            or not isinstance(text, str)
        ):
            return
        try:
            self._take(name, text)
        except Exception:
            self.troubles += 1  # a border: printing must work for the program whatever happens to us

    def _take(self, name: str | None, text: str) -> None:
        """Take in `text` on stream `name`; empty text is a flush, the name None the end."""
        with self._lock:
            self._waiting.append((name, text))
            if self._busy:
                return  # we are inside ourselves: the outer call goes on with it
            self._busy = True
            try:
                while self._waiting:
                    self._step(*self._waiting.popleft())
            finally:
                self._busy = False

    def _step(self, name: str | None, text: str) -> None:
        if name is None:
            for stream, screen in self._screens.items():
                self._send(stream, screen.close())
            return
        if text:
            screen = self._screens[name]
            self._send(name, screen.feed(text))
            if not screen.rewrites:
                return  # `print` writes its text and its newline apart: an open line waits for a flush
        now = self._clock()
        for stream, screen in self._screens.items():
            self._send(stream, screen.open_chunks(now, OPEN_LINE_S))

    def _send(self, stream: str, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self._emit(stream, chunk.first, chunk.lines, chunk.open)


class _Passing:
    """Stands for a stream that cannot be wrapped: everything but `write` and `flush` is the stream's own."""

    def __init__(self, stream: TextIO, write: Callable[[str], int], flush: Callable[[], None]) -> None:
        self._stream = stream
        self.write = write
        self.flush = flush

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)


def _from_logging() -> bool:
    """Whether the write that we are in was called by a logging handler; if `logging` was never loaded, it was not."""
    logging = sys.modules.get("logging")
    return logging is not None and sys._getframe(2).f_code is logging.StreamHandler.emit.__code__
