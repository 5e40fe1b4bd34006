"""What the progress bars of a run show, told to its journal: newest wins, twice a second, and always the last state.

No thread: a bar says so when it draws itself, which it does at most ten times a second anyway.
"""

import contextlib
import math
import os
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Protocol

from farwatch.wire.progress import BARS_MAX, TEXT_MAX

REPORT_NS = 500_000_000
LATE_S = 60.0  # a loop that begins after a stop, such as the final evaluation, has so long
SPARE = 3  # short bars in a row that may each tell their end at once


class Bar(Protocol):
    """A progress bar, ours or tqdm's."""

    def farwatch_meter(self) -> dict[str, Any]:
        """What it shows now; see `farwatch.wire.progress`."""
        ...

    def farwatch_order(self) -> int:
        """Its line on the terminal: bars further up hold those below them."""
        ...


def _goes_on() -> bool:
    """The end of a step of a program that nobody can stop."""
    return False


def begin_steps(run: Any) -> Callable[[], bool]:
    """What to call at the end of each iteration of a loop that begins now; it returns whether to leave the loop."""
    if run is None:
        return _goes_on
    many = getattr(run._steering, "many", False)
    if not run._steering.iterates(None if many else _place()):  # clocks of ranks differ, and all must do the same
        until = time.monotonic() + LATE_S
        return lambda: time.monotonic() > until
    step_end: Callable[[], bool] = run._steering.step_end if many else run._step_end
    return step_end


def _place() -> tuple[str, int]:
    """File and line of the program where its loop stands."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in ("farwatch", "tqdm"):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)


def end_steps(run: Any) -> None:
    """The loop that began has ended, by itself, by a `break` or by an exception."""
    if run is not None:
        run._steering.loop_ended()


class Reports:
    """Tells how far the bars of one run are.

    The outermost open bar stands for the run, those below it are told with it. When the last one closes, its state stays.

    *Threads*: any; bars that draw at the same moment may cost one report more. *Errors*: none but with `FARWATCH_STRICT=1`.
    *Forks*: a child tells nothing, nor does a rank above 0. *Cost*: between reports one look at the clock per drawing.
    """

    __slots__ = ("_clock", "_last", "_open", "_pid", "_run", "_silent", "_spare", "_told_ns", "_waiting")

    def __init__(self, run: Any, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._run = run
        self._clock = clock
        self._pid = os.getpid()
        self._silent = run.rank != 0
        self._open: dict[int, weakref.ref[Bar]] = {}
        self._told_ns = clock() - REPORT_NS
        self._spare = float(SPARE)
        self._last: dict[str, Any] | None = None
        self._waiting: dict[str, Any] | None = None  # an end that came too soon behind the previous report

    def opened(self, bar: Bar) -> None:
        """Count a bar among those that are shown."""
        self._open[id(bar)] = weakref.ref(bar)
        self.changed()

    @property
    def alone(self) -> bool:
        """Whether no bar is shown."""
        return not any(reference() is not None for reference in list(self._open.values()))

    def changed(self) -> None:
        """A bar has been drawn anew."""
        now = self._clock()
        if now - self._told_ns >= REPORT_NS:
            self._guarded(now, None)

    def closed(self, bar: Bar) -> None:
        """A bar has come to its end."""
        self._open.pop(id(bar), None)
        if not self.alone:
            self.changed()
            return
        now = self._clock()
        self._guarded(now, bar)

    def flush(self) -> None:
        """Tell the end that waits, if one does: the run ends, or looks after itself."""
        if self._waiting is not None:
            self._guarded(self._clock(), None)

    def _guarded(self, now: int, ended: Bar | None) -> None:
        if self._silent or os.getpid() != self._pid:
            return
        try:
            self._tell(now, ended)
        except Exception as error:
            self._run._failed(error, "progress")

    def _tell(self, now: int, ended: Bar | None) -> None:
        told = self._told() if ended is None else ended.farwatch_meter()
        if told is None:
            told = self._waiting
        if told is None:
            return
        if ended is not None and now - self._told_ns < REPORT_NS:
            if self._spare < 1:
                self._waiting = told
                return
            self._spare -= 1
        else:
            self._spare = max(0.0, min(SPARE, self._spare + (now - self._told_ns) / REPORT_NS - 1))
        final = ended is not None or told is self._waiting
        told = {**told, "ended": True} if final else told
        self._waiting = None
        seen = _seen(told)
        if final or seen != self._last:
            self._last = seen
            self._told_ns = now
            self._run._patch({"progress": told})

    def _told(self) -> dict[str, Any] | None:
        """The outermost open bar with those inside it; None if all are closed."""
        bars = []
        for key, reference in list(self._open.items()):
            bar = reference()
            if bar is None:
                self._open.pop(key, None)
            else:
                bars.append(bar)
        if not bars:
            return None
        bars.sort(key=lambda bar: bar.farwatch_order())
        outer, *inner = [bar.farwatch_meter() for bar in bars[: BARS_MAX + 1]]
        if not inner:
            return outer
        to = [*dict.fromkeys(digest for meter in (outer, *inner) for digest in meter.pop("to", ()))]
        return {**outer, **({"to": to} if to else {}), "bars": inner}


def _seen(told: dict[str, Any]) -> dict[str, Any]:
    """What of a report is news: not that time has passed."""
    kept = {name: value for name, value in told.items() if name not in ("elapsed_s", "rate", "bars")}
    return {**kept, "bars": [_seen(bar) for bar in told.get("bars", ())]}


def meter_of(shown: Mapping[str, Any]) -> dict[str, Any]:
    """What a bar shows, from what tqdm calls its `format_dict`: the same numbers as its text has, as far as they are known."""
    n, total, elapsed = _number(shown["n"]) or 0, _number(shown["total"]), _number(shown["elapsed"]) or 0.0
    rate = _number(shown.get("rate"))
    scale = shown.get("unit_scale")
    if total and n >= total + 0.5:
        total = None  # more than were promised: the bar shows a count only
    if scale and scale not in (True, 1):
        factor = _number(scale) or 1
        n, total, rate = n * factor, total and total * factor, rate and rate * factor
    if rate is None and elapsed > 0:
        rate = (n - (_number(shown.get("initial")) or 0)) / elapsed
    meter = {
        "n": n,
        "total": total or None,
        "desc": _words(str(shown.get("prefix") or "").removesuffix(": ")),
        "unit": _words(shown.get("unit")),
        "elapsed_s": elapsed,
        "rate": rate if rate and rate > 0 else None,  # not rounded: the page cuts as the bar does
        "postfix": _words(shown.get("postfix")),
        "scale": (1024 if shown.get("unit_divisor") == 1024 else 1000)
        if scale in (True, 1) and scale
        else None,
    }
    return {name: value for name, value in meter.items() if value is not None}


def _number(value: Any) -> float | int | None:
    """A plain finite number, whatever library it is of; None if it is none."""
    if type(value) is not int:
        with contextlib.suppress(Exception):
            value = int(value) if hasattr(value, "__index__") else float(value)
    if not isinstance(value, int | float) or not math.isfinite(value) or abs(value) >= 2**63:
        return None
    return value


def _words(value: Any) -> str | None:
    return str(value)[:TEXT_MAX] if value is not None and value != "" else None
