"""What a reader of the live stream looks at."""

from dataclasses import dataclass
from typing import Any

from farwatch.errors import UsageError

SUBSCRIBED_MAX = 5_000


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a browser looks at. `project`: rows of that project, `*` for all; `runs`: rows of these; `series`: run -> names."""

    project: str | None
    runs: frozenset[str]
    series: dict[str, frozenset[str]]
    console: frozenset[str]

    @classmethod
    def parse(cls, body: dict[str, Any]) -> "Subscription":
        """Read a request. Raises `UsageError` for what is none, or too much."""
        runs, series, console = body.get("runs") or [], body.get("series") or [], body.get("console") or []
        project = body.get("project")
        if not (isinstance(runs, list) and isinstance(series, list) and isinstance(console, list)):
            raise UsageError("`runs`, `series` and `console` are lists")
        if len(runs) + len(series) + len(console) > SUBSCRIBED_MAX:
            raise UsageError(
                f"at most {SUBSCRIBED_MAX} things can be watched in one stream",
                hint="subscribe to what is visible",
            )
        if not all(isinstance(run, str) for run in [*runs, *console]) or not (
            project is None or isinstance(project, str)
        ):
            raise UsageError("runs and projects are named by text")
        wanted: dict[str, set[str]] = {}
        for line in series:
            if (
                not isinstance(line, dict)
                or not isinstance(line.get("run"), str)
                or not isinstance(line.get("name"), str)
            ):
                raise UsageError('a series is {"run": id, "name": text}')
            wanted.setdefault(line["run"], set()).add(line["name"])
        return cls(
            project,
            frozenset(runs),
            {run: frozenset(names) for run, names in wanted.items()},
            frozenset(console),
        )

    def watches(self, run: str) -> bool:
        """Whether points, lines or names of a run are wanted."""
        return run in self.series or run in self.console or run in self.runs
