"""A whole series in a few hundred numbers."""

from farwatch.service.alerts.robust import median

CAP = 256  # blocks; half as many after they have joined
START = 5


class Curve:
    """A series as blocks of equally many points, each by its median. When there are too many blocks, neighbours join.

    `steps`, `times`: of the last point of each block; `values`: their medians. `start`: the median of the first points.
    *Cost*: 0.2 µs a point; 256 blocks.
    """

    __slots__ = ("_first", "_open", "count", "size", "start", "steps", "times", "values")

    def __init__(self) -> None:
        self.count = 0
        self.size = 1
        self.start = float("nan")
        self.steps: list[float] = []
        self.times: list[int] = []
        self.values: list[float] = []
        self._open: list[float] = []
        self._first: list[float] = []

    def add(self, step: float, time_us: int, value: float) -> bool:
        """Take a finite point; returns whether a block is complete."""
        self.count += 1
        if len(self._first) < START:
            self._first.append(value)
            self.start = median(self._first)
        self._open.append(value)
        if len(self._open) < self.size:
            return False
        self._close(step, time_us, value if self.size == 1 else median(self._open))
        return True

    def add_all(self, steps: list[float], times: list[int], values: list[float]) -> bool:
        """The same for many points, a block at a time."""
        at, count, complete = 0, len(values), False
        while at < count and (len(self._first) < START or self.size == 1):
            complete = self.add(steps[at], times[at], values[at]) or complete
            at += 1
        while at < count:
            end = min(at + self.size - len(self._open), count)
            self._open += values[at:end]
            self.count += end - at
            if len(self._open) >= self.size:
                self._close(steps[end - 1], times[end - 1], median(self._open))
                complete = True
            at = end
        return complete

    def _close(self, step: float, time_us: int, value: float) -> None:
        """A block is complete."""
        self.steps.append(step)
        self.times.append(time_us)
        self.values.append(value)
        self._open.clear()
        if len(self.values) >= CAP:
            self._join()

    def _join(self) -> None:
        values = self.values
        self.values = [(first + second) / 2 for first, second in zip(values[::2], values[1::2], strict=True)]
        self.steps = self.steps[1::2]
        self.times = self.times[1::2]
        self.size *= 2

    def back_to(self, step: float) -> None:
        """Forget what is beyond a step: the program has gone back to it."""
        kept = sum(one <= step for one in self.steps)
        del self.steps[kept:], self.times[kept:], self.values[kept:]
        self._open.clear()
        self.count = kept * self.size
