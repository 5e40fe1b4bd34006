"""One run as the rules see it: which of its series are watched, and what their detectors say."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farwatch.service.activity import SYSTEM_PREFIX
from farwatch.service.alerts import names as naming
from farwatch.service.alerts.finding import Finding, Phase
from farwatch.service.alerts.pace import DiskLeft, IdleGpu, Pace
from farwatch.service.alerts.plateau import Plateau
from farwatch.service.alerts.rules import Rule
from farwatch.service.alerts.series import Series

LAYOUTS_KEPT = 64
SERIES_MAX = 64  # watched of one run
WORSE = ("nan", "spike", "overfitting")
DISK = "system/disk/free_bytes"


@dataclass(slots=True)
class Watch:
    """The detectors of one attempt of one run. *Threads*: one. *Cost*: 10 µs a batch and 1 µs a watched point.

    `main`: gives the run's main metric and whether more of it is better; asked when new names come. `rules`: those in force.
    """

    run_no: int
    run: str
    attempt: int
    rules: Mapping[str, Rule]
    main: Callable[[], tuple[str | None, bool | None]]
    series: dict[str, Series] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    found: dict[str, Finding] = field(default_factory=dict)  # what was told last, by rule
    newest_us: int = 0  # time of the newest point
    skip_seq: int = -1  # commits up to here have been read from the store
    main_name: str | None = None
    rewarded: bool = False  # the run learns by reward: its losses say little
    gauges: dict[str, IdleGpu | DiskLeft] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    restless: bool = False  # something is not quiet
    _layouts: dict[tuple[str, ...], list[tuple[int, Any]]] = field(default_factory=dict)

    def feed(
        self,
        listed: list[str],
        index: NDArray[np.int32],
        steps: NDArray[np.float64],
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        now_us: int,
        *,
        pace: bool = True,
    ) -> bool:
        """Take the points of a batch; returns whether `findings` may have changed. `pace`: they came at their own pace."""
        if not len(times):
            return False
        stirred = self.restless
        newest_us = int(times[-1])
        self.newest_us = max(self.newest_us, newest_us)
        system = listed[0].startswith(SYSTEM_PREFIX)
        for place, one in self._places(listed):
            mine = slice(None) if len(listed) == 1 else np.flatnonzero(index == place)
            if isinstance(one, Series):
                stirred |= one.feed(steps[mine].tolist(), times[mine].tolist(), values[mine].tolist(), now_us, self.rules)
            elif len(taken := values[mine]):
                one.feed(newest_us, float(taken[-1]), self.rules["idle_gpu" if isinstance(one, IdleGpu) else "disk_full"])
                stirred |= one.phase is not Phase.QUIET
        if pace and not system:
            stirred |= self.pace.feed(float(steps[-1]), newest_us, self.rules["slow_step"])
        return stirred

    def _places(self, listed: list[str]) -> list[tuple[int, Any]]:
        """Which of a batch's names are watched, by what."""
        key = tuple(listed)
        found = self._layouts.get(key)
        if found is None:
            self.discover(listed)
            watched: dict[str, Any] = {**self.series, **self.gauges}
            found = [(place, watched[name]) for place, name in enumerate(listed) if name in watched]
            while len(self._layouts) >= LAYOUTS_KEPT:
                self._layouts.pop(next(iter(self._layouts)))
            self._layouts[key] = found
        return found

    # --- what to watch

    def discover(self, listed: Iterable[str]) -> None:
        """Choose what to watch of names that may be new."""
        fresh = [name for name in listed if name not in self.known]
        if not fresh:
            return
        self.known.update(fresh)
        self._layouts.clear()
        for name in fresh:
            if name.startswith("system/gpu/") and name.endswith("/utilization"):
                self.gauges[name] = IdleGpu(name)
            elif name == DISK:
                self.gauges[name] = DiskLeft()
        mine = [name for name in fresh if not name.startswith(SYSTEM_PREFIX)]
        self.rewarded = self.rewarded or any(naming.is_reward(name) for name in mine)
        main, up = self.main()
        for name in dict.fromkeys([*mine, *([main] if main in self.known else [])]):
            if name is not None and name not in self.series and len(self.series) < SERIES_MAX:
                made = Series.chosen(name, name == main, up, self.rules)
                if made is not None:
                    self.series[name] = made
        self._choose_main(main, up)
        for one in self.series.values():
            if self.rewarded and not self.rules["spike"].names(one.name):
                one.spike = None
            if one.over is not None:
                found = naming.training_of(one.name, self.series)
                one.training = None if found is None else self.series[found].curve

    def _choose_main(self, main: str | None, up: bool | None) -> None:
        """Watch the main metric, or those that people named, for a plateau."""
        for one in self.series.values():
            named = self.rules["plateau"].names(one.name)
            wanted = one.name == main if named is None else named
            higher = up if one.name == main and up is not None else naming.rises(one.name)
            if wanted and higher is not None and one.plateau is None:
                one.plateau = Plateau(one.name, up=higher)
            elif not wanted:
                one.plateau = None
        self.main_name = main

    def retune(self, rules: Mapping[str, Rule]) -> None:
        """Other rules are in force."""
        chosen = {name: rule.metrics for name, rule in self.rules.items()}
        self.rules = rules
        if chosen != {name: rule.metrics for name, rule in rules.items()}:
            self.known.clear()  # choose again what to watch; what has been learned stays
            self._layouts.clear()

    # --- what they say

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
        found = [finding for one in self.series.values() for finding in one.findings()]
        for gauge in self.gauges.values():
            if gauge.phase is not Phase.QUIET:
                found.append(gauge.finding(self.newest_us) if isinstance(gauge, IdleGpu) else gauge.finding())
        if self.pace.phase is not Phase.QUIET:
            found.append(self.pace.finding())
        self.restless = bool(found)
        chosen: dict[str, Finding] = {}
        for one in sorted(found, key=lambda one: (-one.phase, one.time_us)):
            if self.rules[one.rule].on:
                chosen.setdefault(one.rule, one)
        if any(rule in chosen and chosen[rule].phase is Phase.FIRING for rule in WORSE):
            chosen.pop("plateau", None)  # it says less than they do
        return chosen
