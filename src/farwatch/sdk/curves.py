"""The points of a journal as curves of bounded size, read on from where the last look ended.

For pictures inside the training process: the standard library only, so whole columns go through C (`struct`, `min`,
`sum`), about a fifth of a microsecond a point. Nothing is sampled: every point is in the minimum and maximum of its bucket.
"""

import json
import math
import operator
import os
import struct
import time
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from farwatch.wire.records import HEAD_SIZE, Flag, Kind
from farwatch.wire.segment import HEADER_SIZE, WORD, list_segments, padded

BUCKETS = 240  # at most twice as many are kept; more than the pixels of a small chart
NAMES_MAX = 64
PIECE_BYTES = 1 << 18  # about 20,000 points: 4 ms
_LETTERS = {"f": "d", "i": "q", "b": "q"}


@dataclass(slots=True)
class Bucket:
    """Points whose steps lie together. `low` and `high` are meant only where `count` is not 0; `bad`: NaN and infinite."""

    x: float
    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0
    count: int = 0
    bad: int = 0

    @property
    def mean(self) -> float:
        """Mean of the finite values, NaN without any."""
        return self.total / self.count if self.count else math.nan

    def take(self, values: Sequence[float]) -> None:
        """Add values."""
        total = math.fsum(values) if len(values) < 8 else sum(values)
        if not math.isfinite(total):
            whole = len(values)
            values = [value for value in values if math.isfinite(value)]
            self.bad += whole - len(values)
            if not values:
                return
            total = math.fsum(value / len(values) for value in values) * len(values)
        self.low = min(self.low, min(values))
        self.high = max(self.high, max(values))
        self.total += total
        self.count += len(values)

    def merge(self, other: "Bucket") -> None:
        """Add the points of another bucket, which lies to the right."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.total += other.total
        self.count += other.count
        self.bad += other.bad


class Curve:
    """One metric: single points while they are few, then buckets that grow as the curve does.

    `last`: keep only the newest so many points, as they are. `newest`: the value that was logged last.
    """

    def __init__(self, name: str, last: int | None = None) -> None:
        self.name = name
        self.count = 0
        self.newest: float | None = None
        self._points: deque[tuple[float, float]] = deque(maxlen=last)
        self._bounded = last is not None
        self._left, self._right = math.inf, -math.inf
        self._width = 0.0  # of a bucket; 0 while there are single points
        self._buckets: dict[int, Bucket] = {}

    def add(self, steps: Sequence[float], values: Sequence[float]) -> None:
        """Add points in the order in which they were logged."""
        self.count += len(values)
        self.newest = float(values[-1])
        self._left, self._right = min(self._left, min(steps)), max(self._right, max(steps))
        if not self._width:
            self._points.extend(zip(steps, values, strict=True))
            if self._bounded or len(self._points) <= 2 * BUCKETS:
                return
            steps, values = zip(*self._points, strict=True)
            self._points.clear()
            self._width = (max(steps) - min(steps)) / BUCKETS or 1.0
        self._add(steps, values)
        while len(self._buckets) > 2 * BUCKETS:
            self._widen()

    def span(self) -> tuple[float, float]:
        """The lowest and the highest step that `buckets` is about; there is a point."""
        if not self._bounded:
            return self._left, self._right
        steps = [step for step, _ in self._points]
        return min(steps), max(steps)

    def buckets(self) -> list[Bucket]:
        """What there is, from left to right."""
        if self._width:
            return [bucket for _, bucket in sorted(self._buckets.items())]
        if len(self._points) > 2 * BUCKETS:  # of a long `last`
            whole = Curve(self.name)
            steps, values = zip(*self._points, strict=True)
            whole.add(steps, values)
            return whole.buckets()
        found = []
        for step, value in sorted(self._points, key=operator.itemgetter(0)):
            bucket = Bucket(float(step))
            bucket.take((value,))
            found.append(bucket)
        return found

    def _add(self, steps: Sequence[float], values: Sequence[float]) -> None:
        width, size = self._width, len(steps)
        rising = all(map(operator.le, steps, islice(steps, 1, None)))
        start = 0
        while start < size:
            place = math.floor(steps[start] / width)
            end = bisect_left(steps, (place + 1) * width, start) if rising else start + 1
            end = max(end, start + 1)  # rounding may put a step on the border of its own bucket
            bucket = self._buckets.get(place)
            if bucket is None:
                bucket = self._buckets[place] = Bucket((place + 0.5) * width)
            bucket.take(values[start:end])
            start = end

    def _widen(self) -> None:
        self._width *= 2
        fresh: dict[int, Bucket] = {}
        for place, bucket in sorted(self._buckets.items()):
            wide = fresh.get(place // 2)
            if wide is None:
                bucket.x = (place // 2 + 0.5) * self._width
                fresh[place // 2] = bucket
            else:
                wide.merge(bucket)
        self._buckets = fresh


class Curves:
    """All curves of one journal. *Threads*: one at a time; the journal may be written meanwhile, by this process."""

    def __init__(self, folder: Path, last: int | None = None) -> None:
        self.found: dict[str, Curve] = {}
        self.behind = False  # there is more than the last look had time for
        self.left_out = 0  # names beyond `NAMES_MAX`
        self._folder = folder
        self._last = last
        self._segment = ""
        self._offset = 0
        self._schemas: dict[int, tuple[str, list[Curve | None]]] = {}
        self._unknown: set[str] = set()

    def read(self, committed: tuple[str, int] | None = None, limit_ns: int | None = None) -> bool:
        """Read on; returns whether there was anything new. `committed`: the segment that is written, and its end so far.

        Bytes behind the end of the living segment may be remains of a call that was interrupted. `limit_ns`: stop after so much time,
        `behind` says whether there is more.
        """
        before = (self._segment, self._offset)
        deadline_ns = None if limit_ns is None else time.monotonic_ns() + limit_ns
        self.behind = False
        for path in list_segments(self._folder):
            if path.name < self._segment:
                continue
            if path.name != self._segment:
                self._segment, self._offset = path.name, HEADER_SIZE
            living = committed is not None and path.name == committed[0]
            try:
                with open(path, "rb") as file:
                    while self._take(file, committed[1] if committed is not None and living else None):
                        if deadline_ns is not None and time.monotonic_ns() > deadline_ns:
                            self.behind = True
                            return True
            except FileNotFoundError:
                continue  # sent long ago, and deleted to make room
            if living:
                break  # a segment that has been begun meanwhile is for the next look, after the rest of this one
        return before != (self._segment, self._offset)

    def _take(self, file: BinaryIO, end: int | None) -> bool:
        """Take in the next piece of a segment, up to `end`; returns False where there is none yet."""
        for size in (PIECE_BYTES, -1):  # a record may be longer than a piece
            file.seek(self._offset)
            data = file.read(size)
            if end is not None:
                data = data[: max(0, end - self._offset)]
            taken = self._walk(data)
            self._offset += taken
            if taken:
                return True
            if len(data) < PIECE_BYTES or not WORD.unpack_from(data)[0]:
                return False
        return False

    def _walk(self, data: bytes) -> int:
        """Take in records; returns where the first one stands that is not there yet."""
        offset, size = 0, len(data)
        while offset + 8 + HEAD_SIZE <= size:
            length = WORD.unpack_from(data, offset)[0] >> 32
            end = offset + 8 + length
            if not length or end > size:
                break
            kind = data[offset + 8]
            if kind == Kind.STEP:
                offset = self._steps(data, offset, length)
                continue
            if kind == Kind.SCHEMA:
                self._schema(json.loads(data[offset + 8 + HEAD_SIZE : end]))
            elif kind == Kind.EXTEND:
                self._extend(data[offset + 8 : end])
            offset += 8 + padded(length)
        return offset

    def _schema(self, body: dict[str, Any]) -> None:
        letters = "".join(_LETTERS[letter] for letter in body["types"])
        self._schemas[body["id"]] = (letters, [self._curve(name) for name in body["keys"]])

    def _curve(self, name: str) -> Curve | None:
        curve = self.found.get(name)
        if curve is None:
            if len(self.found) >= NAMES_MAX:
                self._unknown.add(name)
                self.left_out = len(self._unknown)
                return None
            curve = self.found[name] = Curve(name, self._last)
        return curve

    def _steps(self, data: bytes, offset: int, length: int) -> int:
        """Take in the calls that stand here one after another under one schema; returns where the next record is."""
        head = WORD.unpack_from(data, offset + 8)[0]
        flags, letters_curves = head >> 8 & 0xFF, self._schemas.get(head >> 32)
        if letters_curves is None or flags & Flag.STEP_NONE:
            return offset + 8 + padded(length)
        letters, curves = letters_curves
        row = struct.Struct("<QQ" + ("d" if flags & Flag.STEP_FLOAT else "q") + "q" + letters)
        if row.size != 8 + length:
            return offset + 8 + padded(length)
        room = (len(data) - offset) // row.size * row.size
        rows = []
        for found in row.iter_unpack(memoryview(data)[offset : offset + room]):
            if found[1] != head or found[0] >> 32 != length:
                break
            rows.append(found)
        columns = list(zip(*rows, strict=True))
        for curve, values in zip(curves, columns[4:], strict=True):
            if curve is not None:
                curve.add(columns[2], values)
        return offset + len(rows) * row.size

    def _extend(self, payload: bytes) -> None:
        flags = payload[1]
        name_size, count, step = (
            int.from_bytes(payload[2:4], "little"),
            int.from_bytes(payload[4:8], "little"),
            struct.unpack_from("<d" if flags & Flag.STEP_FLOAT else "<q", payload, 8)[0],
        )
        name = payload[HEAD_SIZE : HEAD_SIZE + name_size].decode("utf-8", "replace")
        at = HEAD_SIZE + padded(name_size)
        steps: Iterable[float] = range(int(step), int(step) + count)
        if flags & Flag.HAS_STEPS:
            steps, at = _column(payload, at, count, "d" if flags & Flag.STEP_FLOAT else "q"), at + 8 * count
        if flags & Flag.HAS_TIMES:
            at += 8 * count
        values = _column(payload, at, count, "q" if flags & Flag.VALUES_INT else "d")
        curve = self._curve(name)
        if curve is not None and count:
            curve.add(tuple(steps), tuple(values))


def _column(payload: bytes, at: int, count: int, letter: str) -> array:
    column = array(letter)
    column.frombytes(payload[at : at + 8 * count])
    return column


def writer_of(run: str, roots: Iterable[Path]) -> Path | None:
    """The newest journal of a run of this machine, by its id or the first letters of it; None if there is none."""
    best: tuple[int, Path] | None = None
    for root in roots:
        for folder in _folders(root):
            try:
                about = json.loads((folder / "writer.json").read_bytes())
                mine = about.get("role", "trainer") == "trainer" and about["main"] and about["rank"] == 0
                started = int(about["started_ms"])
                if mine and (about["run"] == run or (len(run) >= 7 and about["run"].startswith(run))):
                    best = max(best, (started, folder)) if best else (started, folder)
            except (OSError, ValueError, KeyError):
                continue  # somebody's unfinished or foreign folder
    return best[1] if best else None


def _folders(root: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
