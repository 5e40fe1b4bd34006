"""A progress bar for `run.progress` where tqdm is not installed.

One line on the error stream, and only where that is a terminal: in a log file a line that is rewritten becomes hundreds. It
knows what programs do with the object that a `for` loop over tqdm gives them; who wants all of tqdm installs it.
"""

import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from farwatch import settings
from farwatch.errors import UsageError
from farwatch.sdk.progress import begin_steps, end_steps, meter_of
from farwatch.wire.progress import bar_text, read_meter

# What tqdm takes besides; looks and thresholds of a bar that is not tqdm's.
IGNORED = frozenset(
    "file ncols maxinterval miniters ascii dynamic_ncols smoothing bar_format position write_bytes lock_args nrows colour delay gui".split()
)


class SmallBar:
    """Counts iterations, tells the run and draws one line. Arguments and members are those of tqdm that are named here."""

    def __init__(
        self, iterable: Any = None, desc: str | None = None, total: float | None = None, *, run: Any, mute: bool | None = None,
        leave: bool | None = True, disable: bool | None = False, unit: str = "it", unit_scale: bool | float = False,
        unit_divisor: float = 1000, initial: float = 0, postfix: Any = None, mininterval: float = 0.1, **ignored: Any,
    ) -> None:  # fmt: skip
        unknown = sorted(set(ignored) - IGNORED)
        if unknown:
            raise UsageError(f"progress takes no argument `{unknown[0]}`", hint="it takes those of tqdm")
        self.iterable, self.desc, self.unit, self.leave = iterable, f"{desc}: " if desc else "", unit, leave
        self.unit_scale, self.unit_divisor, self.initial = unit_scale, unit_divisor, initial
        self.n, self.disable = initial, bool(disable)
        self.postfix: str | None = None
        self.total = total if total is not None else _length(iterable)
        self._run, self._interval = run, mininterval
        self._reports = None if self.disable else run._reports_of_bars()
        shown = not (settings.read("mute") if mute is None else mute) and not self.disable
        self._stream = sys.stderr if shown and sys.stderr is not None and sys.stderr.isatty() else None
        self._drawn_s = self._start_s = time.monotonic()
        self._end_s: float | None = None
        self._drawn_n: float = self.n
        self._rate: float | None = None
        self._width = 0
        if postfix:
            self.set_postfix(postfix if isinstance(postfix, dict) else {}, refresh=False)
        if self._reports is not None:
            if self._stream is not None and not self._reports.alone:
                self._stream = None  # one line: the outer bar has it
            self._reports.opened(self)
            self.refresh()

    # --- counting

    def __iter__(self) -> Iterator[Any]:
        step_end = begin_steps(self._run)
        try:
            for item in self.iterable:
                yield item
                self.update()
                if step_end():
                    return
        finally:
            end_steps(self._run)
            self.close()

    def __len__(self) -> int:
        return len(self.iterable) if hasattr(self.iterable, "__len__") else int(self.total or 0)

    def update(self, n: float = 1) -> bool | None:
        """Count `n` iterations more; returns whether the bar was drawn."""
        if self.disable:
            return None
        self.n += n
        now = time.monotonic()
        if now - self._drawn_s < self._interval:
            return None
        if self.n != self._drawn_n:
            fresh = (self.n - self._drawn_n) / (now - self._drawn_s)
            self._rate = fresh if self._rate is None else 0.3 * fresh + 0.7 * self._rate
            self._drawn_n = self.n
        self._drawn_s = now
        self.refresh()
        return True

    def reset(self, total: float | None = None) -> None:
        """Begin again at 0."""
        self.n = self._drawn_n = 0
        self._rate = None
        self.total = total if total is not None else self.total
        self._start_s = self._drawn_s = time.monotonic()
        self.refresh()

    def close(self) -> None:
        """End the bar."""
        if self.disable:
            return
        self._rate, self._end_s = None, time.monotonic()
        if self.leave is False:
            self._put("\r" + " " * self._width + "\r")
        else:
            self.refresh()
            self._put("\n")
        self.disable = True
        if self._reports is not None:
            self._reports.closed(self)

    def __enter__(self) -> "SmallBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "disable", True):
            self.close()

    # --- what it says

    def set_description(self, desc: str | None = None, refresh: bool = True) -> None:
        """Change the words in front of the bar."""
        self.set_description_str(f"{desc}: " if desc else "", refresh)

    def set_description_str(self, desc: str | None = None, refresh: bool = True) -> None:
        """The same, as they are."""
        self.desc = desc or ""
        if refresh:
            self.refresh()

    def set_postfix(self, ordered_dict: Any = None, refresh: bool = True, **values: Any) -> None:
        """Change what stands behind the bar: names and values."""
        both = {**dict(ordered_dict or {}), **{name: values[name] for name in sorted(values)}}
        told = (
            f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in both.items()
        )
        self.set_postfix_str(", ".join(told), refresh)

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """The same, as it is."""
        self.postfix = str(s)
        if refresh:
            self.refresh()

    def refresh(self, *_: Any, **__: Any) -> None:
        """Draw the bar, and tell the run."""
        if self.disable:
            return
        if self._stream is not None:
            text = str(self)
            self._put("\r" + text.ljust(self._width))
            self._width = len(text)
        if self._reports is not None:
            self._reports.changed()

    def write(self, s: str, file: Any = None, end: str = "\n", **_: Any) -> None:
        """Print a line above the bar."""
        self._put("\r" + " " * self._width + "\r")
        print(s, file=file, end=end)
        self.refresh()

    @property
    def format_dict(self) -> dict[str, Any]:
        """What the bar shows, by tqdm's names."""
        return {
            "n": self.n, "total": self.total, "elapsed": (self._end_s or time.monotonic()) - self._start_s, "prefix": self.desc,
            "unit": self.unit, "unit_scale": self.unit_scale, "unit_divisor": self.unit_divisor, "rate": self._rate,
            "initial": self.initial, "postfix": self.postfix,
        }  # fmt: skip

    def farwatch_meter(self) -> dict[str, Any]:
        """What it shows now."""
        return meter_of(self.format_dict)

    def farwatch_order(self) -> int:
        return 0

    def __str__(self) -> str:
        return bar_text(read_meter(self.farwatch_meter()) or {"n": 0})

    def _put(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None  # the terminal has gone


def _length(iterable: Any) -> int | None:
    try:
        return len(iterable)
    except (TypeError, AttributeError):
        return None
