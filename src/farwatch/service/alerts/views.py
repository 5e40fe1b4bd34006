"""Alerts as JSON."""

from collections.abc import Callable, Iterable
from typing import Any

from farwatch.service.alerts.register import state_of
from farwatch.service.runs import Runs
from farwatch.store.meta import AlertRow

OWN = frozenset({"title_key", "records", "rang_ms", "said"})  # facts that are ours, or told under another name


class AlertViews:
    """Shows alerts. *Threads*: any."""

    def __init__(self, runs: Runs, now_ms: Callable[[], int]) -> None:
        self._runs = runs
        self._now_ms = now_ms

    def row(self, row: AlertRow) -> dict[str, Any]:
        """One alert."""
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
            "url": None if run is None else self._runs.url(run),
        }  # fmt: skip

    def rows(self, rows: Iterable[AlertRow]) -> list[dict[str, Any]]:
        """Several."""
        return [self.row(row) for row in rows]
