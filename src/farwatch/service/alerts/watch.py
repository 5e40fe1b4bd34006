"""One run as the rules see it: which of its series are watched, and what their detectors say."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from farwatch.service.alerts import names as naming
from farwatch.service.alerts.finding import Finding, Phase
from farwatch.service.alerts.nonfinite import NonFinite
from farwatch.service.alerts.rules import Rule

LAYOUTS_KEPT = 64
SERIES_MAX = 64  # watched of one run
NEVER_US = -(1 << 62)


@dataclass(slots=True)
class Series:
    """A watched metric. `goal_up`: more is better; None: nobody knows."""

    name: str
    main: bool
    nonfinite: NonFinite | None = None
    last: float = math.nan
    last_step: float = -math.inf

    def feed(self, steps: list[float], times: list[int], values: list[float], now_us: int, rules: Mapping[str, Rule]) -> bool:
        """Take points; returns whether a detector is anything but quiet, or was."""
        stirred = False
        nonfinite = self.nonfinite
        for step, time_us, value in zip(steps, times, values, strict=True):
            if value - value == 0.0:  # finite
                if nonfinite is not None:
                    stirred = stirred or nonfinite.phase is not Phase.QUIET
                    nonfinite.good(value)
            elif nonfinite is not None:
                nonfinite.bad(step, time_us, value, now_us, rules["nan"])
                stirred = True
        if values:
            self.last, self.last_step = values[-1], steps[-1]
        return stirred


@dataclass(slots=True)
class Watch:
    """The detectors of one attempt of one run. *Threads*: one.

    `main`: gives the run's main metric; asked when new names come. `rules`: those in force.
    """

    run_no: int
    run: str
    attempt: int
    rules: Mapping[str, Rule]
    main: Callable[[], str | None]
    series: dict[str, Series] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    found: dict[str, Finding] = field(default_factory=dict)  # what was told last, by rule
    newest_us: int = 0  # time of the newest point
    skip_seq: int = -1  # commits up to here have been read from the store
    restless: bool = False  # something is pending, and time may make it sure
    _layouts: dict[tuple[str, ...], list[tuple[int, Series]]] = field(default_factory=dict)

    def feed(self, listed: list[str], index: NDArray[np.int32], steps: NDArray[np.float64], times: NDArray[np.int64],
             values: NDArray[np.float64], now_us: int) -> bool:  # fmt: skip
        """Take the points of a batch; returns whether `findings` may have changed."""
        places = self._places(listed)
        stirred = self.restless
        if len(times):
            self.newest_us = max(self.newest_us, int(times[-1]))
        for place, one in places:
            if len(listed) == 1:
                mine = slice(None)
            else:
                mine = np.flatnonzero(index == place)
            stirred |= one.feed(steps[mine].tolist(), times[mine].tolist(), values[mine].tolist(), now_us, self.rules)
        return stirred

    def _places(self, listed: list[str]) -> list[tuple[int, Series]]:
        """Which of a batch's names are watched."""
        key = tuple(listed)
        found = self._layouts.get(key)
        if found is None:
            self.discover(listed)
            found = [(place, self.series[name]) for place, name in enumerate(listed) if name in self.series]
            while len(self._layouts) >= LAYOUTS_KEPT:
                self._layouts.pop(next(iter(self._layouts)))
            self._layouts[key] = found
        return found

    def discover(self, listed: Iterable[str]) -> list[str]:
        """Choose what to watch of names that may be new; returns those that are watched from now on."""
        fresh = [name for name in listed if name not in self.known]
        if not fresh:
            return []
        self.known.update(fresh)
        main = self.main()
        chosen = []
        for name in dict.fromkeys([*fresh, *([main] if main else [])]):
            if name not in self.series and len(self.series) < SERIES_MAX and name in self.known:
                made = self._watched(name, name == main)
                if made is not None:
                    self.series[name] = made
                    chosen.append(name)
        if chosen:
            self._layouts.clear()
        return chosen

    def _watched(self, name: str, main: bool) -> Series | None:
        loss = naming.is_any_loss(name)
        if not (loss or main):
            return None
        return Series(name, main, NonFinite(name, loss=loss) if self.rules["nan"].names(name) is not False else None)

    def tick(self, now_us: int) -> bool:
        """Let time pass; returns whether `findings` may have changed."""
        if not self.restless:
            return False
        for one in self.series.values():
            if one.nonfinite is not None:
                one.nonfinite.tick(now_us, self.rules["nan"])
        return True

    def findings(self) -> dict[str, Finding]:
        """What there is to say now, by rule: the surest and earliest finding of each."""
        found: dict[str, list[Finding]] = {}
        for one in self.series.values():
            if one.nonfinite is not None and one.nonfinite.phase is not Phase.QUIET:
                found.setdefault("nan", []).append(one.nonfinite.finding())
        self.restless = any(one.phase is Phase.PENDING for listed in found.values() for one in listed)
        chosen = {}
        for rule, listed in found.items():
            if self.rules[rule].on:
                chosen[rule] = max(listed, key=lambda one: (one.phase, -one.time_us))
        return chosen
