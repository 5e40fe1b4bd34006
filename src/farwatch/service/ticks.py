"""A tick: one batch of one run, as the live stream needs it, cut and encoded at most once."""

import json
from typing import Any

import numpy as np

from farwatch.store.base import Decoded, Writer
from farwatch.wire.records import Kind

_POINT_BYTES = 28  # step, time, value and index


class Tick:
    """Points, console lines and media names of one batch.

    *Threads*: made by a committing thread; read by the loop only, which also fills what is made on first use.
    """

    __slots__ = (
        "_bounds",
        "_console",
        "_decoded",
        "_encoded",
        "_lines",
        "_order",
        "_places",
        "line_base",
        "media",
        "new_names",
        "place",
        "size",
        "writer",
    )

    def __init__(self, writer: Writer, decoded: Decoded) -> None:
        self.writer = writer
        self.place: Any = None
        self.new_names: list[str] = []
        self.media: list[str] = []
        self.line_base = 0
        self._decoded = Decoded(decoded.names, decoded.kinds, decoded.index, decoded.points, [])
        self._console = [other for other in decoded.others if other.record.kind == Kind.CONSOLE]
        self._lines: list[bytes] | None = None
        self._places: dict[str, int] | None = None
        self._order: np.ndarray | None = None
        self._bounds: np.ndarray | None = None
        self._encoded: dict[str, tuple[bytes, bytes, bytes]] = {}
        for other in decoded.others:
            if other.record.kind == Kind.POINT:
                name = _field(other.record.payload, "name")
                if name:
                    self.media.append(name)
        text = sum(len(other.record.payload) for other in self._console)
        self.size = 1_000 + 2 * len(decoded.index) * _POINT_BYTES + 2 * text

    @property
    def places(self) -> dict[str, int]:
        """Name -> its number in this batch."""
        if self._places is None:
            self._places = {name: place for place, name in enumerate(self._decoded.names)}
        return self._places

    def _slice(self, name: str) -> np.ndarray:
        """Which points of the batch belong to a name, in arrival order; sorted once for all names."""
        place = self.places.get(name)
        if place is None:
            return np.empty(0, np.int64)
        if self._order is None or self._bounds is None:
            index = self._decoded.index
            self._order = np.argsort(index, kind="stable")
            self._bounds = np.searchsorted(index[self._order], np.arange(len(self._decoded.names) + 1))
        return self._order[self._bounds[place] : self._bounds[place + 1]]

    def count(self, name: str) -> int:
        """How many points of a name the batch holds."""
        return len(self._slice(name))

    def encoded(self, name: str, newest: int | None = None) -> tuple[bytes, bytes, bytes]:
        """Steps, times (ms) and values of a name as JSON without brackets; `newest`: only so many from the end."""
        if newest is None and name in self._encoded:
            return self._encoded[name]
        chosen = self._slice(name)
        if newest is not None:
            chosen = chosen[len(chosen) - newest :]
        points = self._decoded.points
        made = (
            numbers(points.steps[chosen]),
            numbers(points.times[chosen] // 1000),
            numbers(points.values[chosen]),
        )
        if newest is None:
            self._encoded[name] = made
        return made

    @property
    def has_lines(self) -> bool:
        """Whether there is anything of the console."""
        return bool(self._console)

    @property
    def lines(self) -> list[bytes]:
        """Console lines as JSON objects, in order."""
        if self._lines is None:
            self._lines = []
            for other in self._console:
                try:
                    body = other.record.body()
                    first, stream = int(body["n"]), str(body["s"])
                    texts = [str(line) for line in body["lines"]]
                except (ValueError, KeyError, TypeError):
                    continue  # a damaged record is the log's to keep, and nobody's to see
                for offset, text in enumerate(texts):
                    line = {
                        "n": self.line_base + first + offset,
                        "stream": stream,
                        "time_ms": other.time_us // 1000,
                        "text": text,
                    }
                    self._lines.append(json.dumps(line, separators=(",", ":")).encode())
            self._console = []
        return self._lines


def numbers(values: np.ndarray) -> bytes:
    """Numbers as JSON, separated by commas; non-finite ones as text, whole ones without a fraction."""
    listed: list[Any] = values.tolist()
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.all():
            listed = [
                value if ok else "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
                for value, ok in zip(listed, finite.tolist(), strict=True)
            ]
        elif (
            len(values)
            and np.all(np.abs(values) < 2**53)
            and np.all(values == np.trunc(values))
            and not np.any(np.signbit(values))
        ):
            listed = values.astype(np.int64).tolist()
    return json.dumps(listed, separators=(",", ":")).encode()[1:-1]


def _field(payload: bytes, key: str) -> str | None:
    try:
        value = json.loads(payload[24:])
        return value[key] if isinstance(value, dict) and isinstance(value.get(key), str) else None
    except ValueError:
        return None
