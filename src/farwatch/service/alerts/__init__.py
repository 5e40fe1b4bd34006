"""Rules that watch runs, and the alerts that come of them.

`rules` says what is watched by default and how people tune it. `robust`, `curve` and the detectors (`nonfinite`, `spike`, `plateau`,
`overfitting`, `pace`, `idle`) are pure: fed by points, without clock, thread or SQL. `watch` feeds those of one run, `engine` those of
all runs, `register` keeps what they found, `context` says what a person wants to know beside it.
"""

from farwatch.service.alerts.engine import Engine
from farwatch.service.alerts.register import Register
from farwatch.service.alerts.rules import PRESETS, RuleBook

__all__ = ["PRESETS", "Engine", "Register", "RuleBook"]
