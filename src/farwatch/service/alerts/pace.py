"""How fast steps go, what a GPU does, how much disk is left: numbers beside the curves."""

import math
from collections import deque

from farwatch.service.alerts.finding import Band, Finding, Phase, at_step, shown, span
from farwatch.service.alerts.robust import median
from farwatch.service.alerts.rules import Rule

BUCKET_US = 10_000_000
USUAL = 180  # buckets of which the usual pace is the median: half an hour
FEWEST = 12
BUSY = 20.0  # percent: a GPU that has done so much belongs to the run
GIB = 1 << 30


class Pace:
    """Fires when the median time per step over the last minutes is a multiple of what it was before.

    Evaluations and checkpoints are slow buckets among others: medians do not see them.
    """

    __slots__ = ("_before", "_begin", "_last", "_late", "_since", "phase")

    def __init__(self) -> None:
        self.phase = Phase.QUIET
        self._before: deque[float] = deque(maxlen=USUAL)
        self._late: deque[tuple[int, float]] = deque()  # end of a bucket, seconds per step; not yet usual
        self._begin: tuple[float, int] | None = None
        self._since: tuple[float, int] = (0.0, 0)
        self._last = math.nan

    def feed(self, step: float, time_us: int, rule: Rule) -> bool:
        """Take the newest step and its time; returns whether it may be anything but quiet."""
        if self._begin is None or step < self._begin[0] or time_us < self._begin[1]:
            self._begin = (step, time_us)
            return self.phase is not Phase.QUIET
        steps, passed_us = step - self._begin[0], time_us - self._begin[1]
        if passed_us < BUCKET_US or steps <= 0:
            return self.phase is not Phase.QUIET
        self._begin = (step, time_us)
        self._last = passed_us / 1e6 / steps
        self._late.append((time_us, self._last))
        hold_us = rule.numbers["hold_s"] * 1e6
        while self._late and time_us - self._late[0][0] > hold_us:
            _, old = self._late.popleft()
            if self.phase is Phase.QUIET:
                self._before.append(old)
        self._judge(step, time_us, hold_us, rule)
        return True

    def _judge(self, step: float, time_us: int, hold_us: float, rule: Rule) -> None:
        if len(self._before) < FEWEST:
            return
        usual = median([*self._before])
        late = [one for _, one in self._late]
        if self.phase is Phase.FIRING:
            if median(late[-3:]) < usual * (1 + rule.numbers["times"]) / 2:
                self.phase = Phase.QUIET
        elif (
            len(late) >= 3
            and time_us - self._late[0][0] >= 0.8 * hold_us
            and median(late) >= usual * rule.numbers["times"]
            and sorted(late)[len(late) // 5] >= usual * (1 + rule.numbers["times"]) / 2
        ):
            self.phase = Phase.FIRING
            self._since = (step, self._late[0][0])

    def finding(self) -> Finding:
        """What there is to say while it fires."""
        usual, now = median([*self._before]), median([one for _, one in self._late])
        title = f"steps take {now / usual:.1f} times as long as usual: {_each(now)} instead of {_each(usual)}"
        step, time_us = self._since
        return Finding(
            "slow_step", self.phase, title, f"Noticed at {at_step(step)}.", None, step, time_us, now,
            Band(min(self._before), usual, max(self._before)),
        )  # fmt: skip


def _each(seconds: float) -> str:
    return f"{shown(seconds)} s" if seconds >= 1 else f"{shown(seconds * 1000)} ms"


class IdleGpu:
    """Fires when a GPU that was busy has done nothing for a while."""

    __slots__ = ("_name", "_since_us", "_used", "_value", "phase")

    def __init__(self, name: str) -> None:
        self._name = name
        self.phase = Phase.QUIET
        self._used = False
        self._since_us: int | None = None
        self._value = math.nan

    def feed(self, time_us: int, value: float, rule: Rule) -> None:
        """Take a sample of its utilization, percent."""
        self._value = value
        self._used = self._used or value >= BUSY
        if value >= rule.numbers["percent"]:
            self._since_us = None
            self.phase = Phase.QUIET
        elif self._since_us is None:
            self._since_us = time_us
        elif self._used and time_us - self._since_us >= rule.numbers["hold_s"] * 1e6:
            self.phase = Phase.FIRING

    def finding(self, newest_us: int) -> Finding:
        """What there is to say while it fires."""
        gpu = self._name.split("/")[2] if self._name.count("/") > 2 else ""
        since_us = self._since_us or newest_us
        title = f"GPU {gpu} has been idle for {span((newest_us - since_us) / 1e6)}"
        text = "The run lives, and its GPU waits for it: data, a lock, or a long evaluation on the CPU."
        return Finding("idle_gpu", self.phase, title, text, self._name, None, since_us, self._value)


class DiskLeft:
    """Fires when the disk of a run's machine is nearly full."""

    __slots__ = ("_since_us", "_value", "phase")

    def __init__(self) -> None:
        self.phase = Phase.QUIET
        self._since_us = 0
        self._value = math.nan

    def feed(self, time_us: int, value: float, rule: Rule) -> None:
        """Take a sample of its free bytes."""
        limit = rule.numbers["machine_gib"] * GIB
        self._value = value
        if value < limit and self.phase is Phase.QUIET:
            self.phase, self._since_us = Phase.FIRING, time_us
        elif value > 1.2 * limit:
            self.phase = Phase.QUIET

    def finding(self) -> Finding:
        """What there is to say while it fires."""
        title = f"the disk of its machine has {self._value / GIB:.2f} GiB left"
        text = "Checkpoints may fail, and the journal stops growing when it is full."
        return Finding("disk_full", self.phase, title, text, "system/disk/free_bytes", None, self._since_us, self._value)
