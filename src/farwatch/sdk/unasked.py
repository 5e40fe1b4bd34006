"""A run for a program whose only word about Farwatch is `from farwatch.tqdm import tqdm`.

It begins when a bar has been shown for a while, or at the end of the program, and says nothing on the terminal. A program that calls
`init` gets no other run: bars before that are forgotten if they were short, and end this run if they were long.
"""

import atexit
import sys
import time
from typing import Any, Protocol

from farwatch import settings
from farwatch.sdk.session import SESSION
from farwatch.sdk.start import init
from farwatch.wire.states import State

AFTER_NS = 2_000_000_000  # a bar that is shown for so long is worth a run at once


class Ended(Protocol):
    """A bar, as far as it matters here."""

    def farwatch_meter(self) -> dict[str, Any]: ...


def unasked() -> "Unasked":
    """That of this process."""
    if SESSION.bars is None:
        SESSION.bars = Unasked()
    found: Unasked = SESSION.bars
    return found


class Unasked:
    """The one run of a process that nobody asked for. *Threads*: any; two that come together make one."""

    def __init__(self) -> None:
        self._began_ns = 0
        self._last: dict[str, Any] | None = None

    def run(self, *, now: bool = False) -> Any:
        """The run, if it is time for it, or `now`; else None."""
        if self._not_wanted():
            return None
        if not self._began_ns:
            self._began_ns = time.monotonic_ns()
            atexit.register(self._at_exit)
        if not now and time.monotonic_ns() - self._began_ns < AFTER_NS:
            return None
        return self._start()

    def ended(self, bar: Ended) -> None:
        """A bar has ended before there was a run."""
        if not self._not_wanted():
            self._last = bar.farwatch_meter()

    def _not_wanted(self) -> bool:
        """Whether the program has runs of its own, is a worker of another one, or wants nothing kept."""
        if SESSION.began or SESSION.forked or settings.read("mode") == "disabled":
            return True
        process = sys.modules.get("multiprocessing.process")
        return process is not None and process.parent_process() is not None

    def _start(self) -> Any:
        with SESSION.quietly():
            return SESSION.current() or init(job_type="progress", console=False)

    def _at_exit(self) -> None:
        """The program ends, and its bars were too short for a run: their last state makes one."""
        if self._last is None or self._not_wanted():
            return
        run = self._start()
        run._patch({"progress": {**self._last, "ended": True}})
        run._end(State.FINISHED, "", assumed=True)
