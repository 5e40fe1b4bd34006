"""A validation loss that rises while the training loss does not."""

import math

from farwatch.service.alerts.curve import Curve
from farwatch.service.alerts.finding import Band, Finding, Phase, at_step, shown
from farwatch.service.alerts.robust import MEDIAN_LOSS, median, noise
from farwatch.service.alerts.rules import Rule

FEWEST = 8  # evaluations
SURE = 2.33  # standard normal deviate: 1 % by chance
AWAY = 0.1  # of all evaluations must lie behind the best one


class Overfitting:
    """Fires when validation has risen significantly above its best and the training loss has not.

    The best is a median of three, so that one lucky evaluation is none ("generalization loss" of Prechelt, "Early stopping - but when?",
    1998, section 2.2, made robust). The rise since then must be large against the noise and against the progress, and a trend by the
    test of Mann, "Nonparametric tests against trend", Econometrica 13 (1945).
    """

    __slots__ = ("_best", "_heal", "_name", "_now", "_trained", "phase")

    def __init__(self, name: str) -> None:
        self._name = name
        self.phase = Phase.QUIET
        self._best: tuple[float, int, float] = (0.0, 0, math.nan)  # step, time, value
        self._now = math.nan
        self._heal = math.nan
        self._trained: tuple[float, float] | None = None

    def look(self, curve: Curve, training: Curve | None, rule: Rule) -> None:
        """Look at a validation curve to which a block has been added. `training`: the curve beside it."""
        values = curve.values
        if len(values) < FEWEST:
            return
        smooth = [median(values[max(0, place - 1) : place + 2]) for place in range(len(values) - 1)]
        self._now = median(values[-3:])
        if self.phase is Phase.FIRING:
            if self._now < self._heal:
                self.phase = Phase.QUIET
            return
        place = min(range(len(smooth)), key=smooth.__getitem__)
        since = values[place:]
        behind = len(values) - 1 - place
        if behind < rule.numbers["evaluations"] or behind < AWAY * len(values):
            return
        best = smooth[place]
        now = median(since[-max(3, len(since) // 3) :])
        jitter = MEDIAN_LOSS * noise(values[-64:])
        least = rule.numbers["rise"] * max(curve.start - best, 0.2 * abs(best))
        alone = training is None or not training.values
        if now - best <= max(1.5 * jitter, least * (2 if alone else 1)) or _trend(since) < SURE:
            return
        if training is not None and not alone and not self._still_learns(training, curve.steps[place]):
            return
        self.phase = Phase.FIRING
        self._best = (curve.steps[place], curve.times[place], best)
        self._now = now
        self._heal = best + 0.3 * (now - best)

    def _still_learns(self, training: Curve, step: float) -> bool:
        """Whether the training loss is not above what it was at a step."""
        before = [value for at, value in zip(training.steps, training.values, strict=True) if at <= step][-5:]
        after = training.values[-5:]
        if not before or training.steps[-1] <= step:
            return True
        self._trained = (median(before), median(after))
        return self._trained[1] <= self._trained[0] + 0.3 * noise(training.values[-64:])

    def finding(self) -> Finding:
        """What there is to say while it fires."""
        step, time_us, best = self._best
        title = f"{self._name} has risen from {shown(best)} at {at_step(step)} to {shown(self._now)}"
        text = "The training loss has not risen: the model learns its training data by heart."
        if self._trained is not None:
            text = f"The training loss went from {shown(self._trained[0])} to {shown(self._trained[1])}: it learns its data by heart."
        band = Band(best, best, best)
        return Finding("overfitting", self.phase, title, text, self._name, step, time_us, self._now, band, {"best_step": step})


def _trend(values: list[float]) -> float:
    """The Mann-Kendall statistic of a rise, as a standard normal deviate; of at most 64 values, evenly taken."""
    if len(values) > 64:
        stride = len(values) / 64
        values = [values[int(place * stride)] for place in range(64)]
    count = len(values)
    score = sum((after > before) - (after < before) for place, before in enumerate(values) for after in values[place + 1 :])
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    return (score - (score > 0)) / deviation if deviation else 0.0
