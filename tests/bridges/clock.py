"""A clock that a test moves."""

from farwatch.clock import SystemClock


class MovedClock:
    """The system's, moved by hand."""

    def __init__(self) -> None:
        self.moved_us = 0
        self._real = SystemClock()

    def wall_us(self) -> int:
        return self._real.wall_us() + self.moved_us

    def mono_us(self) -> int:
        return self._real.mono_us() + self.moved_us

    def sleep(self, seconds: float) -> None:
        self.moved_us += int(seconds * 1e6)
