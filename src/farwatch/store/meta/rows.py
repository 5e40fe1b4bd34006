"""Rows of the meta database as frozen values. To change one, make another with `dataclasses.replace` and `put` it."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from sqlalchemy import Table

from farwatch.store.meta import tables
from farwatch.wire.states import State


def dump(value: Any) -> str:
    """JSON as it stands in a column: ASCII, with non-finite numbers as the texts `NaN`, `Infinity`, `-Infinity`."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except ValueError:
        return json.dumps(spell_nonfinite(value), separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def spell_nonfinite(value: Any) -> Any:
    """A copy of a JSON value in which non-finite numbers are texts."""
    if isinstance(value, float):
        return (
            value
            if math.isfinite(value)
            else "NaN"
            if value != value
            else "Infinity"
            if value > 0
            else "-Infinity"
        )
    if isinstance(value, dict):
        return {key: spell_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [spell_nonfinite(item) for item in value]
    return value


class Row:
    """Turns a dataclass into columns and back: a field `x` is the column `x`, or JSON in the column `x_json`."""

    __slots__ = ()
    table: ClassVar[Table]
    in_json: ClassVar[frozenset[str]] = frozenset()

    def columns(self) -> dict[str, Any]:
        """All columns by name."""
        return {self._column(name): self._store(name) for name in self._fields()}

    def changes(self, old: Self) -> dict[str, Any]:
        """The columns in which this row differs from `old`."""
        return {
            self._column(name): self._store(name)
            for name in self._fields()
            if getattr(self, name) != getattr(old, name)
        }

    @classmethod
    def read(cls, found: Any) -> Self:
        """The row that a SELECT of the whole table, in the table's order of columns, gave."""
        values = list(found)
        for place in cls._json_places():
            if values[place] is not None:
                values[place] = json.loads(values[place])
        return cls(*values)

    @classmethod
    def _fields(cls) -> tuple[str, ...]:
        return tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]

    @classmethod
    def _json_places(cls) -> list[int]:
        return [place for place, name in enumerate(cls._fields()) if name in cls.in_json]

    @classmethod
    def _column(cls, name: str) -> str:
        return f"{name}_json" if name in cls.in_json else name

    def _store(self, name: str) -> Any:
        value = getattr(self, name)
        return dump(value) if name in self.in_json and value is not None else value


@dataclass(frozen=True, slots=True)
class RunRow(Row):
    """A run; fields stand in the order of the table's columns. `no` is 0 before it is stored."""

    table = tables.run
    in_json = frozenset({"tags", "progress"})

    no: int
    id: str
    short: str
    project: str
    number: int
    name: str
    state: str
    reason: str
    ends_as: str | None
    ends_reason: str
    created_ms: int
    modified_ms: int
    started_ms: int
    ended_ms: int | None
    contact_ms: int
    owner: str
    creator: str
    host: str
    attempt: int
    group_name: str | None
    job_type: str | None
    parent: str | None
    tags: list[str]
    notes: str
    archived: bool
    deleted_ms: int | None
    purged: bool
    step: float | None
    total_steps: float | None
    progress: dict[str, Any] | None
    points: int
    bytes: int
    world_size: int
    first_metric: str | None
    main_metric: str | None
    main_last: str | None
    role: str

    @property
    def final(self) -> bool:
        """Whether the run has ended."""
        return State(self.state).final


@dataclass(frozen=True, slots=True)
class DetailRow(Row):
    """What is large and seldom looked at: config, own summary values, definitions, captured environment."""

    table = tables.detail
    in_json = frozenset({"config", "given", "definitions", "capture", "argv", "steer"})

    run_no: int
    config: dict[str, Any]
    given: dict[str, Any]
    definitions: list[dict[str, Any]]
    capture: dict[str, Any]
    argv: list[str]
    python: str
    traceback: str | None
    steer: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WriterRow(Row):
    """A writer, its place in a run, and how far its records are in this database."""

    table = tables.writer
    in_json = frozenset({"meter", "cause"})

    no: int
    id: str
    run_no: int
    run: str
    rank: int
    attempt: int
    role: str
    rendezvous: str | None
    host: str
    machine: str
    agent: str | None
    wall_us: int
    step_base: int
    started_ms: int
    ended_ms: int | None
    ending: str | None
    last_ms: int
    applied: int
    console_base: int | None
    console_next: int
    meter: dict[str, Any] | None
    cause: dict[str, Any] | None
    records_behind: int
    bytes_behind: int
    set_aside: int


@dataclass(frozen=True, slots=True)
class AttemptRow(Row):
    """One life of a run."""

    table = tables.attempt

    run_no: int
    attempt: int
    started_ms: int
    ended_ms: int | None
    state: str
    reason: str
    first_step: float | None
    last_step: float | None
    step_base: int
    from_step: float | None
    host: str


@dataclass(frozen=True, slots=True)
class AlertRow(Row):
    """One occurrence of what a rule watches for, or of what a program alerted. `no` is 0 before it is stored.

    `run_no`: None for what is about the server. `facts`: value, band, since and whatever else belongs to this rule.
    """

    table = tables.alert
    in_json = frozenset({"facts", "consequence"})

    no: int
    run_no: int | None
    attempt: int
    rule: str
    metric: str | None
    title: str
    text: str
    level: str
    state: str
    opened_ms: int
    fired_ms: int | None
    resolved_ms: int | None
    modified_ms: int
    snoozed_until_ms: int | None
    acknowledged_ms: int | None
    acknowledged_by: str | None
    times: int
    facts: dict[str, Any]
    consequence: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class CommandRow(Row):
    """What somebody asked, and how far it is."""

    table = tables.command
    in_json = frozenset({"args", "told"})

    no: int
    id: str
    run_no: int
    attempt: int
    seq: int
    op: str
    args: dict[str, Any]
    actor: str
    channel: str
    text: str
    agent: str | None
    state: str
    reason: str
    accepted_ms: int
    expires_ms: int
    delivered_ms: int | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    step: float | None = None
    told: dict[str, Any] = dataclasses.field(default_factory=dict)
