"""A list of runs, as a query gave it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from farwatch.api.contact import Contact, value_of
from farwatch.api.run import Run

if TYPE_CHECKING:
    import pandas

PAGE = 1000


class Runs(Sequence[Run]):
    """Runs in the order that was asked for. `columns` are the names that the query asked for, `cells` their values
    (one row per run, exact), `total` how many runs match, also those beyond `limit`.
    """

    def __init__(self, contact: Contact, rows: list[dict[str, Any]], columns: list[str], total: int) -> None:
        self._contact = contact
        self._rows = rows
        self.columns = columns
        self.total = total

    @property
    def cells(self) -> list[list[Any]]:
        return [[value_of(cell) for cell in row.get("cells", ())] for row in self._rows]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The plain rows as the server told them, with a dictionary `cells` by column name."""
        named = []
        for row, cells in zip(self._rows, self.cells, strict=True):
            named.append(
                {
                    **{k: v for k, v in row.items() if k != "cells"},
                    "cells": dict(zip(self.columns, cells, strict=False)),
                }
            )
        return named

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs": ...
    def __getitem__(self, index: int | slice) -> "Run | Runs":
        if isinstance(index, slice):
            return Runs(self._contact, self._rows[index], self.columns, self.total)
        return Run(self._contact, self._rows[index]["id"], self._rows[index])

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Run]:
        return (self[index] for index in range(len(self)))

    def to_pandas(self) -> "pandas.DataFrame":
        """A frame with one row per run: its fields, and a column per name asked for. Times are UTC."""
        import pandas  # optional: whoever asks for a frame has it

        hidden = ("cells",)
        frame = pandas.DataFrame([{k: v for k, v in row.items() if k not in hidden} for row in self._rows])
        for name in list(frame.columns):
            if name in ("created_ms", "modified_ms", "started_ms", "ended_ms", "contact_ms", "deleted_ms"):
                frame[name.removesuffix("_ms")] = pandas.to_datetime(frame.pop(name), unit="ms", utc=True)
        cells = self.cells
        for index, name in enumerate(self.columns):
            frame[name] = [row[index] if index < len(row) else None for row in cells]
        return frame

    def __repr__(self) -> str:
        return f"<{len(self)} of {self.total} runs>"


def ask_runs(contact: Contact, query: Mapping[str, Any], limit: int | None) -> Runs:
    """Ask page by page until `limit` runs are there (None: all)."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        wanted = PAGE if limit is None else min(PAGE, limit - len(rows))
        answer = contact.get("/runs", **query, limit=wanted, cursor=cursor, exact=1)
        rows += answer["runs"]
        cursor = answer.get("next")
        if cursor is None or not answer["runs"] or (limit is not None and len(rows) >= limit):
            return Runs(contact, rows, list(answer.get("columns", ())), int(answer.get("total", len(rows))))
