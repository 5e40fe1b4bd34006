"""A metric that has stopped getting better."""

import math
from typing import Any

from farwatch.service.alerts.curve import Curve
from farwatch.service.alerts.finding import Finding, Phase, at_step, shown, span
from farwatch.service.alerts.robust import MEDIAN_LOSS, median, noise
from farwatch.service.alerts.rules import Rule

QUARTERS = 4
FEWEST = 8  # blocks in the time that counts
LOOKS = 20  # in the time that counts, or in the run so far if that is shorter
LOOKS_MAX = 200  # in the time that counts: a young run at many steps a second is not looked at with each of them
WORTH = 10  # times the least improvement: one that large must be out of the question
WORTH_LEVEL = 0.02  # or an improvement by this part of the level


class Plateau:
    """Compares the two halves of the last stretch of a curve: the longer of so many seconds and so large a share of the run.

    Flat: their medians differ by less than two standard errors, or by less than a small share of the whole progress, and a difference that
    would be worth something can be excluded: where noise hides everything, nothing is said (an equivalence test, as of Schuirmann,
    J. Pharmacokinetics and Biopharmaceutics 15, 1987). A curve that rises is
    something else: a harder task, a new cycle of the learning rate, over-fitting.
    The share makes the stretch grow with the run: power laws (Hestness et al., "Deep learning scaling is predictable, empirically", 2017)
    improve by a ratio per doubling, so half an hour late in a long run says nothing. `up`: more is better.
    """

    __slots__ = ("_floor", "_from_us", "_log", "_name", "_next_us", "_since", "_up", "level", "phase", "trend")

    def __init__(self, name: str, *, up: bool) -> None:
        self._name = name
        self._up = up
        self.phase = Phase.QUIET
        self.level = math.nan
        self.trend: dict[str, Any] | None = None  # the last comparison, for advice
        self._floor = math.inf
        self._from_us = -(1 << 62)  # it was seen to get better then
        self._log = False
        self._next_us = 0
        self._since: tuple[float, int] = (0.0, 0)

    def look(self, curve: Curve, rule: Rule) -> None:
        """Look at a curve to which a block has been added."""
        now_us = curve.times[-1]
        if now_us < self._next_us:
            return
        after_us = rule.numbers["after_s"] * 1e6
        self._next_us = now_us + int(max(min(after_us, now_us - curve.times[0]) / LOOKS, after_us / LOOKS_MAX))
        values = self._scaled(curve)
        whole = len(values)
        if self.phase is Phase.FIRING:
            if median(values[-self._recent(whole) :]) < self._floor:
                self.phase, self._from_us = Phase.QUIET, now_us
            return
        first = whole - 1
        while first > 0 and now_us - curve.times[first] < after_us:
            first -= 1
        first = min(first, int(whole * (1 - rule.numbers["share"])))
        short = now_us - curve.times[0] < after_us or whole - first < FEWEST
        gain, error = self._compare(values[whole // 3 if short else first :], curve, values)
        if short or curve.times[first] < self._from_us:
            return
        start = self._domain(curve.start)
        least = rule.numbers["least"] * abs(start - self.level)
        worth = max(WORTH * least, WORTH_LEVEL * (1.0 if self._log else abs(self.level)))
        if abs(gain) <= max(2 * error, least) and abs(gain) + 2 * error <= worth and _level(values[first:], max(3 * error, worth)):
            self.phase = Phase.FIRING
            self._since = (curve.steps[first], curve.times[first])
            recent = error * math.sqrt((whole - first) / 2 / self._recent(whole))
            self._floor = self.level - max(3 * error + 3 * recent, 3 * least, 1e-9 * abs(self.level))

    def _recent(self, blocks: int) -> int:
        return max(3, blocks // 16)

    def _scaled(self, curve: Curve) -> list[float]:
        """Values of which less is better: logarithms where all are positive, for a loss may fall over many orders."""
        self._log = not self._up and min(curve.values) > 0.0 and curve.start > 0.0
        if self._up:
            return [-value for value in curve.values]
        return [*map(math.log, curve.values)] if self._log else curve.values

    def _domain(self, value: float) -> float:
        return -value if self._up else math.log(value) if self._log else value

    def _raw(self, value: float) -> float:
        return -value if self._up else math.exp(value) if self._log else value

    def _compare(self, stretch: list[float], curve: Curve, values: list[float]) -> tuple[float, float]:
        """By how much the second half is better, and the standard error of that."""
        half = len(stretch) // 2
        if half < 2:
            return math.inf, 0.0
        before, now = median(stretch[:half]), median(stretch[half:])
        error = MEDIAN_LOSS * noise(stretch) * math.sqrt(2 / half)
        self.level = now
        self.trend = {"gain": before - now, "error": error, "before": before, "now": now, "step": curve.steps[len(values) - len(stretch)]}
        return before - now, error

    @property
    def improves(self) -> bool:
        """Whether the newest stretch is significantly better than before."""
        return self.trend is not None and self.trend["gain"] > max(3 * self.trend["error"], 1e-12)

    def told(self) -> tuple[float, float, float]:
        """The last comparison for people: the value before, the value now, and since which step."""
        assert self.trend is not None
        return self._raw(self.trend["before"]), self._raw(self.trend["now"]), self.trend["step"]

    def finding(self, curve: Curve) -> Finding:
        """What there is to say while it fires."""
        step, time_us = self._since
        value = self._raw(self.level)
        flat_s = (curve.times[-1] - time_us) / 1e6
        title = f"{self._name} has been flat at {shown(value)} for {span(flat_s)}, since {at_step(step)}"
        text = "A lower learning rate may help, or this is all it can learn."
        return Finding("plateau", self.phase, title, text, self._name, step, time_us, value)


def _level(stretch: list[float], most: float) -> bool:
    """Whether the medians of all quarters are close together: halves are alike by chance where a curve jumps and falls again."""
    size = len(stretch) / QUARTERS
    middles = [median(stretch[int(place * size) : int((place + 1) * size)]) for place in range(QUARTERS)]
    return max(middles) - min(middles) <= most
