"""The one place that reads the clock or sleeps, so that tests can do both.

`SystemClock` is the real one. `farwatch.testing.clock.ManualClock` moves only when told.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks and a way to wait.

    *Threads*: all methods may be called from any thread. *Cost*: under a microsecond each.
    """

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch, UTC; may jump when somebody sets the clock."""
        ...

    def mono_us(self) -> int:
        """Microseconds on a clock that only moves forward; its zero means nothing."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after at least `seconds`."""
        ...


class SystemClock:
    """The clock of this machine."""

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def mono_us(self) -> int:
        return time.monotonic_ns() // 1000

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
