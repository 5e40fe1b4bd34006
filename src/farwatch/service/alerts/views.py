"""Alerts as JSON."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from farwatch.service.alerts.register import state_of
from farwatch.service.runs import Runs
from farwatch.store.meta import AlertRow

OWN = frozenset({"title_key", "records", "rang_ms", "said"})  # facts that are ours, or told under another name


Told = Mapping[str, list[dict[str, Any]]]


def nobody(abouts: Iterable[str]) -> Told:
    """Whom alerts have reached where there are no chats."""
    return {}


class AlertViews:
    """Shows alerts. *Threads*: any. `told`: whom notices about these have reached, in one look at the database."""

    def __init__(self, runs: Runs, now_ms: Callable[[], int], told: Callable[[Iterable[str]], Told] = nobody) -> None:
        self._runs = runs
        self._now_ms = now_ms
        self._told = told

    def row(self, row: AlertRow) -> dict[str, Any]:
        """One alert."""
        return self.rows([row])[0]

    def _row(self, row: AlertRow, told: Told) -> dict[str, Any]:
        run = None if row.run_no is None else self._runs.meta.run(row.run_no)
        facts = row.facts
        return {
            "id": row.no,
            "run": None if run is None else run.id, "short": None if run is None else run.short,
            "run_name": None if run is None else run.name, "number": None if run is None else run.number,
            "project": None if run is None else run.project, "attempt": row.attempt, "rule": row.rule, "metric": row.metric,
            "title": row.title, "text": row.text, "level": row.level, "said": facts.get("said"), "state": state_of(row, self._now_ms()),
            "opened_ms": row.opened_ms, "fired_ms": row.fired_ms, "resolved_ms": row.resolved_ms, "modified_ms": row.modified_ms,
            "snoozed_until_ms": row.snoozed_until_ms, "acknowledged_ms": row.acknowledged_ms, "acknowledged_by": row.acknowledged_by,
            "times": row.times, "step": facts.get("step"), "time_ms": facts.get("time_ms"), "value": facts.get("value"),
            "band": facts.get("band"), "last": facts.get("last"), "recovered": bool(facts.get("recovered")),
            "resolution": facts.get("resolution"), "moved": facts.get("moved") or [], "checkpoint": facts.get("checkpoint"),
            "left_s": facts.get("left_s"), "consequence": row.consequence,
            "url": None if run is None else self._runs.url(run), "told": list(told.get(about(row), ())),
        }  # fmt: skip

    def rows(self, rows: Iterable[AlertRow]) -> list[dict[str, Any]]:
        """Several."""
        listed = list(rows)
        told = self._told([about(row) for row in listed if row.fired_ms is not None])
        return [self._row(row, told) for row in listed]


def about(row: AlertRow) -> str:
    """How messages and deliveries about an alert are found."""
    return f"alert/{row.no}"
