"""A metric that is no number any more."""

import math

from farwatch.service.alerts.finding import Band, Finding, Phase, at_step, shown
from farwatch.service.alerts.robust import median, spread
from farwatch.service.alerts.rules import Rule

HEALS = 3  # so many finite values in a row
USUAL = 32  # values before, of which the band is made


class NonFinite:
    """Fires for a run of values that are NaN or infinite, or for a single one that nothing finite follows.

    A single one between finite values is what mixed precision does when it finds its loss scale (Micikevicius et al., "Mixed Precision
    Training", 2018, section 3.2: the step is skipped and the scale halved), so it is forgiven. A metric that is infinite before its first
    finite value is a placeholder ("best so far"), and one that is not a loss may be NaN before there is anything to average.
    """

    __slots__ = ("_bad", "_good", "_has_been_finite", "_healed", "_last_good", "_loss", "_name", "_since", "_wait_us", "phase")

    def __init__(self, name: str, *, loss: bool) -> None:
        self._name = name
        self._loss = loss
        self.phase = Phase.QUIET
        self._bad = 0
        self._good = 0
        self._healed = 0
        self._has_been_finite = False
        self._last_good: list[float] = []
        self._since: tuple[float, int, float, int] = (0.0, 0, 0.0, 0)  # step, time, value, when it came

    def good(self, value: float) -> None:
        """A finite value has come."""
        self._has_been_finite = True
        self._last_good.append(value)
        if len(self._last_good) > 2 * USUAL:
            del self._last_good[:USUAL]
        if not self._bad:
            return
        self._good += 1
        if self.phase is Phase.PENDING or self._good >= HEALS:
            self._healed += self.phase is Phase.PENDING
            self._bad = 0
            self.phase = Phase.QUIET

    def bad(self, step: float, time_us: int, value: float, now_us: int, rule: Rule) -> None:
        """A value that is no finite number has come. `now_us`: when, on the server's monotonic clock."""
        if not self._has_been_finite and (not self._loss or not math.isnan(value)):
            return
        if not self._bad:
            self._since = (step, time_us, value, now_us)
        self._bad += 1
        self._good = 0
        if self.phase is Phase.QUIET:
            self.phase = Phase.PENDING
        if self._bad >= rule.numbers["in_a_row"]:
            self.phase = Phase.FIRING

    def tick(self, now_us: int, rule: Rule) -> None:
        """Time has passed. A metric that has healed before gets the benefit of the doubt: it must be bad several times in a row."""
        if self.phase is Phase.PENDING and not self._healed and now_us - self._since[3] >= rule.numbers["wait_s"] * 1e6:
            self.phase = Phase.FIRING

    def finding(self) -> Finding:
        """What there is to say while it is not quiet."""
        step, time_us, value, _ = self._since
        word = "NaN" if math.isnan(value) else "infinite" if value > 0 else "minus infinite"
        before = self._last_good[-USUAL:]
        band = None
        text = "It was no number from the first value on."
        if before:
            usual, noise = median(before), spread(before)
            band = Band(usual - 3 * noise, usual, usual + 3 * noise)
            text = f"The last value before was {shown(before[-1])}."
        return Finding(
            "nan", self.phase, f"{self._name} is {word} since {at_step(step)}", text, self._name, step, time_us, value, band
        )
