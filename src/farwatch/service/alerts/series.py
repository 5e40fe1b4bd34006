"""One watched metric with its detectors."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from farwatch.service.alerts import names as naming
from farwatch.service.alerts.curve import Curve
from farwatch.service.alerts.finding import Finding, Phase
from farwatch.service.alerts.nonfinite import NonFinite
from farwatch.service.alerts.overfitting import Overfitting
from farwatch.service.alerts.plateau import Plateau
from farwatch.service.alerts.rules import Rule
from farwatch.service.alerts.spike import Spike

MANY = 16  # points of a batch that are looked at together while all is calm
BACK = 3  # points in a row at earlier steps: the program has gone back


@dataclass(slots=True)
class Series:
    """The detectors of a metric; None where that one does not watch it. `training`: the curve beside a validation metric."""

    name: str
    nonfinite: NonFinite | None = None
    spike: Spike | None = None
    plateau: Plateau | None = None
    over: Overfitting | None = None
    training: Curve | None = None
    curve: Curve = field(default_factory=Curve)
    last: float = math.nan
    last_step: float = -math.inf
    _back: int = 0

    @classmethod
    def chosen(cls, name: str, main: bool, up: bool | None, rules: Mapping[str, Rule]) -> "Series | None":
        """A metric with the detectors that rules choose for it by its name; None if none does."""
        any_loss, loss = naming.is_any_loss(name), naming.is_loss(name)
        falls = loss or (main and up is False)

        def picks(rule: str, usual: bool) -> bool:
            named = rules[rule].names(name)
            return usual if named is None else named

        made = cls(
            name,
            NonFinite(name, loss=any_loss) if picks("nan", any_loss or main) else None,
            Spike(name) if picks("spike", falls and not (main and up)) else None,
            None,
            Overfitting(name) if picks("overfitting", loss and naming.validates(name)) else None,
        )
        watched = any((made.nonfinite, made.spike, made.over, picks("plateau", main), loss))
        return made if watched else None

    def feed(
        self, steps: list[float], times: list[int], values: list[float], now_us: int, rules: Mapping[str, Rule]
    ) -> bool:
        """Take points; returns whether a detector is anything but quiet, or was."""
        if not values:
            return False
        spike, top = self.spike, max(values)
        if (
            len(values) >= MANY
            and steps[0] >= self.last_step
            and math.isfinite(sum(values))
            and (self.nonfinite is None or self.nonfinite.phase is Phase.QUIET)
            and (spike is None or spike.calm(top))
        ):
            self._feed_calm(steps, times, values, rules)
            return self._stirred
        stirred = self._stirred
        for step, time_us, value in zip(steps, times, values, strict=True):
            if value - value == 0.0:  # finite
                self._feed_one(step, time_us, value, rules)
            elif self.nonfinite is not None:
                self.nonfinite.bad(step, time_us, value, now_us, rules["nan"])
        return stirred or self._stirred

    def _feed_calm(self, steps: list[float], times: list[int], values: list[float], rules: Mapping[str, Rule]) -> None:
        if self.nonfinite is not None:
            self.nonfinite.good(values[-1])
        if self.spike is not None:
            self.spike.absorb(values, rules["spike"])
        complete = self.curve.add_all(steps, times, values)
        self.last, self.last_step, self._back = values[-1], steps[-1], 0
        if complete:
            self._look(rules)

    def _feed_one(self, step: float, time_us: int, value: float, rules: Mapping[str, Rule]) -> None:
        if self.nonfinite is not None:
            self.nonfinite.good(value)
        if step < self.last_step:
            self._back += 1
            if self._back < BACK:
                return  # a late point
            self.curve.back_to(step)
            if self.spike is not None:
                self.spike.went_back()
        self._back = 0
        self.last, self.last_step = value, step
        if self.spike is not None:
            self.spike.feed(step, time_us, value, rules["spike"])
        if self.curve.add(step, time_us, value):
            self._look(rules)

    def _look(self, rules: Mapping[str, Rule]) -> None:
        if self.plateau is not None:
            self.plateau.look(self.curve, rules["plateau"])
        if self.over is not None:
            self.over.look(self.curve, self.training, rules["overfitting"])

    @property
    def _stirred(self) -> bool:
        quiet = Phase.QUIET
        return (
            (self.nonfinite is not None and self.nonfinite.phase is not quiet)
            or (self.spike is not None and self.spike.phase is not quiet)
            or (self.plateau is not None and self.plateau.phase is not quiet)
            or (self.over is not None and self.over.phase is not quiet)
        )

    def findings(self) -> Iterator[Finding]:
        """What its detectors have to say now."""
        quiet = Phase.QUIET
        if self.nonfinite is not None and self.nonfinite.phase is not quiet:
            yield self.nonfinite.finding()
        if self.spike is not None and self.spike.phase is not quiet:
            yield self.spike.finding()
        if self.plateau is not None and self.plateau.phase is not quiet:
            yield self.plateau.finding(self.curve)
        if self.over is not None and self.over.phase is not quiet:
            yield self.over.finding()
