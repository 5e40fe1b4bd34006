"""A loss that jumps up, or climbs up, and stays there."""

import math
from collections import deque

from farwatch.service.alerts.finding import Band, Finding, Phase, at_step, shown
from farwatch.service.alerts.robust import MEDIAN_LOSS, median, noise, spread
from farwatch.service.alerts.rules import Rule

WINDOW = 128  # points of which the noise is known
LEVEL = 64  # points of which the level is the median
SHORT = 5  # points whose median must be beyond the limit: one or two wild ones are none
HEALED = 15  # points whose median must be back
SETTLED = 256  # points, or so long a time, before which no jump is told: nothing has settled yet
SETTLED_US = 600_000_000
LITTLE = 0.2  # of the first value: a loss that has not fallen by so much has learned nothing that could be lost
PATIENT = 5  # and is given so many times the holding time
FEWEST = 32  # before that nothing is usual
EVERY = 16  # points between two looks at what is usual, while the curve is young
YOUNG = 512
SELDOM = 64  # and later
AFTER = 512  # points kept of what came after a jump
LONGEST = 20  # a loss that keeps falling after a jump has so many times the holding time; then that is how it is now
FAST_SHARE = 0.4  # of what a slow rise must have lost, a jump must have lost so much
_SHORT_SE = MEDIAN_LOSS / math.sqrt(SHORT)


class Spike:
    """Fires for a jump that does not heal, and for a slow rise that has lost much of what was learned.

    The level is a median and the noise a MAD of first differences over a trailing window (`robust`), both of the logarithm while all values
    are positive: losses live on ratios, and their noise grows with them. Beyond the limit the detector waits: a jump that comes back
    below half of it heals; one that keeps falling significantly (medians of the halves of what came after, differing by more than three
    standard errors) is on its way back, as after a harder task or a restart; one that does neither fires. Robust location and scale for
    a shift of level: Davies, Fried and Gather, "Robust signal extraction for on-line monitoring data", J. Stat. Planning and Inference 122
    (2004); the two-halves test in place of their regression is ours.
    """

    __slots__ = (
        "_after", "_base", "_best", "_count", "_fell", "_first_us", "_heal", "_hold", "_level", "_log", "_name", "_over", "_recent",
        "_seen", "_sigma", "_since", "_start", "_stride", "_strong", "_until_look", "_weak_until", "band", "last", "limit", "phase",
        "worst",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self._name = name
        self.phase = Phase.QUIET
        self.limit = math.inf
        self.band: Band | None = None
        self.last = math.nan
        self.worst = math.nan
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._count = 0
        self._until_look = EVERY
        self._over = 0
        self._log = True
        self._best = math.inf  # in the domain that `_log` says
        self._start = math.nan  # raw
        self._level = self._base = self._sigma = 0.0
        self._heal = self._strong = math.inf
        self._since: tuple[float, int, float] = (0.0, 0, 0.0)
        self._after: list[float] = []
        self._stride = 1
        self._seen = 0  # points since the jump
        self._hold = 0.0
        self._fell = False
        self._weak_until = 0
        self._first_us = 0

    # --- points

    def feed(self, step: float, time_us: int, value: float, rule: Rule) -> None:
        """Take a finite point."""
        self._count += 1
        self.last = value
        if not self._first_us:
            self._first_us = time_us
        if self.phase is not Phase.QUIET:
            self._follow(time_us, value, rule)
            return
        self._recent.append(value)
        if value > self.limit:
            if not self._over:
                self._since = (step, time_us, value)
            self._over += 1
            if self._over >= SHORT // 2 + 1 and median([*self._recent][-SHORT:]) > self.limit:
                self._suspect(rule)
            return
        self._over = 0
        self._until_look -= 1
        if self._until_look <= 0:
            self._look(rule)

    def calm(self, top: float) -> bool:
        """Whether points up to `top` may come by `absorb`."""
        return self.phase is Phase.QUIET and not self._over and top <= self.limit < math.inf

    def absorb(self, values: list[float], rule: Rule) -> None:
        """Take many finite points at once, all below the limit."""
        self._count += len(values)
        self._recent.extend(values[-WINDOW:])
        self.last = values[-1]
        self._until_look -= len(values)
        if self._until_look <= 0:
            self._look(rule)

    def went_back(self) -> None:
        """The program has gone back to an earlier step: what was usual comes anew."""
        self._recent.clear()
        self._rest()

    # --- what is usual

    def _domain(self, value: float) -> float:
        return math.log(value) if self._log else value

    def _raw(self, value: float) -> float:
        return math.exp(min(value, 700.0)) if self._log else value

    def _look(self, rule: Rule) -> None:
        """Learn what is usual, and where the limit is."""
        self._until_look = EVERY if self._count < YOUNG else SELDOM
        values = [*self._recent]
        if self._count < FEWEST or len(values) < FEWEST // 2:
            return
        positive = min(values) > 0.0
        if math.isnan(self._start):
            self._start = median(values[:SHORT])
        if positive != self._log:
            self._log = positive and self._start > 0.0
            self._best = math.inf
        scaled = [*map(math.log, values)] if self._log else values
        late = scaled[-LEVEL:]
        level = median(late)
        sigma = max(noise(scaled), 0.5 * spread(late, level))
        self._best = min(self._best, level)
        jitter = rule.numbers["noises"] * _SHORT_SE * sigma
        best, progress = self._raw(self._best), max(self._start - self._raw(self._best), 0.0)
        share = rule.numbers["lost_share"] * progress
        fast, strong = self._domain(best + FAST_SHARE * share), self._domain(best + share)
        if self._log:
            ratio = math.log(rule.numbers["times"])
            fast = max(fast, level + max(ratio, jitter))
            strong = max(strong, self._best + max(1.5 * ratio, jitter))
        else:
            fast = max(fast, level + 1.5 * jitter)
            strong = max(strong, self._best + 2.0 * jitter)
        lower = min(fast, strong)
        base = level if fast <= strong else self._best
        self._level, self._base, self._sigma, self._strong = level, base, sigma, strong
        self.limit = self._raw(lower)
        self._heal = self._raw(base + 0.5 * (lower - base))
        if sigma == 0.0 and not self._log and progress == 0.0:
            self.limit = math.inf  # a constant that is not positive: nothing is known of its scale

    # --- after a jump

    def _suspect(self, rule: Rule) -> None:
        self.phase = Phase.PENDING
        before = [*self._recent][: -self._over] or [*self._recent]
        scaled = [self._domain(value) for value in before] if not self._log or min(before) > 0 else []
        middle = median(scaled) if scaled else self._level
        self.band = Band(self._raw(middle - 3 * self._sigma), self._raw(middle), self._raw(middle + 3 * self._sigma))
        self._after = [*self._recent][-self._over :]
        self.worst = max(self._after)
        self._seen, self._stride = self._over, 1
        self._fell = self._count < self._weak_until  # still on its way back from the last one
        self._hold = max(rule.numbers["hold_points"], rule.numbers["hold_share"] * self._count)
        if self._start - self._raw(self._best) < LITTLE * abs(self._start):
            self._hold *= PATIENT

    def _follow(self, time_us: int, value: float, rule: Rule) -> None:
        self._seen += 1
        self.worst = max(self.worst, value)
        if self._seen % self._stride == 0:
            self._after.append(value)
            if len(self._after) >= AFTER:
                self._after = self._after[1::2]
                self._stride *= 2
        self._recent.append(value)
        if median([*self._recent][-min(HEALED, max(SHORT, self._seen)) :]) <= self._heal:
            self._rest()
        elif (
            self.phase is Phase.PENDING
            and self._seen >= self._hold
            and (self._count >= SETTLED or time_us - self._first_us >= SETTLED_US)
        ):
            self._judge(rule)

    def _judge(self, rule: Rule) -> None:
        scaled = [math.log(value) if value > 0 else -700.0 for value in self._after] if self._log else self._after
        top = max(range(len(scaled)), key=scaled.__getitem__)
        if top < len(scaled) // 2:
            scaled = scaled[top:]  # from the peak on
        if self._fell:
            scaled = scaled[-max(len(scaled) // 2, 2 * HEALED) :]  # and does it still fall?
        half = max(len(scaled) // 2, 1)
        first, second = median(scaled[:half]), median(scaled[half:])
        error = MEDIAN_LOSS * max(noise(scaled[half:]), 0.5 * self._sigma) * math.sqrt(2 / half)
        if self._raw(second) <= self._heal:
            self._rest()
        elif first - second > max(3 * error, 0.03 * (first - self._base)):
            self._fell = True
            if self._seen > LONGEST * max(rule.numbers["hold_points"], rule.numbers["hold_share"] * self._count):
                self._accept()
            else:
                self._hold = 1.25 * self._seen
        elif self._fell and second < self._strong:
            self._accept()
        else:
            self.phase = Phase.FIRING

    def _rest(self) -> None:
        if self.phase is not Phase.QUIET:
            self._weak_until = self._count + 2 * self._seen
        self.phase = Phase.QUIET
        self._over = 0
        self._until_look = EVERY

    def _accept(self) -> None:
        """What came after the jump is how it is now."""
        self._rest()
        self._recent.clear()
        self._recent.extend(self._after[-LEVEL:])
        self._best = math.inf
        self._start = max(self._start, self._after[0])
        self._until_look = 0

    # --- to say

    def finding(self) -> Finding:
        """What there is to say while it is not quiet."""
        step, time_us, value = self._since
        usual = self.band.usual if self.band is not None else math.nan
        if self._base <= self._best and self.phase is Phase.FIRING and self._domain_or(value) - self._level < self._strong - self._best:
            title = f"{self._name} has risen from {shown(self._raw(self._best))} to {shown(self.last)} since {at_step(step)}"
        else:
            title = f"{self._name} jumped from {shown(usual)} to {shown(self.worst)} at {at_step(step)}"
        text = f"{self._seen:,} points later it is at {shown(self.last)}."
        return Finding("spike", self.phase, title, text, self._name, step, time_us, self.worst, self.band)

    def _domain_or(self, value: float) -> float:
        return self._domain(value) if not self._log or value > 0 else self._level
