"""A store in memory: the reference that others are compared with, for tests and throw-away servers.

Lists of points, a list of batches; nothing is clever and nothing survives the process.
"""

import math
import os
import threading
from collections.abc import Iterator, Sequence

import numpy as np

from farwatch.errors import DataError, NotFoundError
from farwatch.store.base import (
    Ack,
    Axis,
    Buckets,
    Decoded,
    Incoming,
    Mark,
    Points,
    SeriesInfo,
    SeriesKey,
    Writer,
)
from farwatch.store.marks import check_writer, judge
from farwatch.wire.segment import first_seed

Schemas = dict[int, tuple[list[str], str]]
Row = tuple[float, int, float]  # step, time in µs, value


class MemoryStore:
    """All points in lists. *Threads*: any, one lock. *Cost*: everything is linear in the length of a series."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._epoch = os.urandom(8).hex()
        self._closed = False
        self._writers: dict[str, tuple[Writer, Mark, Schemas]] = {}
        self._log: list[tuple[int, str, Decoded]] = []
        self._series: dict[SeriesKey, list[Row]] = {}
        self._kinds: dict[SeriesKey, str] = {}

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def seq(self) -> int:
        return len(self._log)

    def register(self, writer: Writer) -> Mark:
        check_writer(writer)
        with self._open():
            known = self._writers.setdefault(
                writer.writer_id, (writer, Mark(0, first_seed(writer.writer_id)), {})
            )
            return known[1]

    def writer(self, writer_id: str) -> tuple[Writer, Mark, Schemas] | None:
        with self._open():
            known = self._writers.get(writer_id)
            return known and (known[0], known[1], dict(known[2]))

    def append(self, batches: Sequence[Incoming]) -> list[Ack | Exception]:
        with self._open():
            return [self._append(batch) for batch in batches]

    def _append(self, batch: Incoming) -> Ack | Exception:
        known = self._writers.get(batch.writer_id)
        if known is None:
            return NotFoundError(f"no writer with id: `{batch.writer_id}`", hint="register it first")
        writer, mark, schemas = known
        verdict = judge(batch, mark)
        if isinstance(verdict, Exception):
            return verdict
        if not verdict:
            return Ack(mark, self.seq, False)
        mark = Mark(batch.first + batch.count, batch.crc_after)
        decoded = batch.decoded
        self._writers[batch.writer_id] = (writer, mark, {**schemas, **decoded.schemas})
        self._log.append((self.seq + 1, batch.writer_id, decoded))
        points = decoded.points
        for i, *row in zip(
            decoded.index.tolist(),
            points.steps.tolist(),
            points.times.tolist(),
            points.values.tolist(),
            strict=True,
        ):
            key = SeriesKey(writer.run, decoded.names[i], writer.rank, writer.attempt)
            kind = decoded.kinds[i]
            self._kinds[key] = kind if self._kinds.get(key, kind) == kind else "f"
            self._series.setdefault(key, []).append((row[0], row[1], row[2]))
        return Ack(mark, self.seq, True)

    def replay(self, after_seq: int) -> Iterator[tuple[int, Writer, Decoded]]:
        """Batches kept after a commit, oldest first."""
        with self._open():
            found = [(seq, self._writers[name][0], decoded) for seq, name, decoded in self._log[after_seq:]]
        return iter(found)

    def series(self, run: str, names: Sequence[str] | None = None) -> list[SeriesInfo]:
        wanted = None if names is None else frozenset(names)
        with self._open():
            keys = [key for key in self._series if key.run == run and (wanted is None or key.name in wanted)]
            keys.sort(key=lambda key: (key.name, key.rank, key.attempt))
            return [_describe(key, self._kinds[key], self._series[key]) for key in keys]

    def points(
        self, key: SeriesKey, *, axis: Axis = "step", lo: float | None = None, hi: float | None = None
    ) -> Points:
        with self._open():
            rows = self._rows(key, axis, lo, hi)
        return Points(
            np.array([row[0] for row in rows], np.float64),
            np.array([row[1] for row in rows], np.int64),
            np.array([row[2] for row in rows], np.float64),
        )

    def chart(
        self,
        keys: Sequence[SeriesKey],
        *,
        axis: Axis = "step",
        lo: float | None = None,
        hi: float | None = None,
        buckets: int = 1000,
    ) -> list[Buckets]:
        with self._open():
            return [_cut(self._rows(key, axis, lo, hi), axis == "time", buckets) for key in keys]

    def delete(self, run: str, names: Sequence[str] | None = None) -> None:
        with self._open():
            for key in [
                key for key in self._series if key.run == run and (names is None or key.name in names)
            ]:
                del self._series[key], self._kinds[key]

    def close(self) -> None:
        self._closed = True

    def _open(self) -> threading.RLock:
        if self._closed:
            raise DataError("the store is closed")
        return self._lock

    def _rows(self, key: SeriesKey, axis: Axis, lo: float | None, hi: float | None) -> list[Row]:
        low = -math.inf if lo is None else lo
        high = math.inf if hi is None else hi
        column = 1 if axis == "time" else 0
        return [row for row in self._series.get(key, []) if low <= row[column] <= high]


def _describe(key: SeriesKey, kind: str, rows: list[Row]) -> SeriesInfo:
    finite = [row for row in rows if math.isfinite(row[2])]
    least = min(finite, key=lambda row: row[2], default=(math.nan, 0, math.nan))
    most = max(finite, key=lambda row: row[2], default=(math.nan, 0, math.nan))
    return SeriesInfo(
        key=key,
        kind=kind,
        count=len(rows),
        nonfinite=len(rows) - len(finite),
        first_step=rows[0][0],
        last=rows[-1][2],
        last_step=rows[-1][0],
        last_time_us=rows[-1][1],
        step_min=min(row[0] for row in rows),
        step_max=max(row[0] for row in rows),
        time_min_us=min(row[1] for row in rows),
        time_max_us=max(row[1] for row in rows),
        min=least[2],
        min_step=least[0],
        max=most[2],
        max_step=most[0],
        mean=sum(row[2] for row in finite) / len(finite) if finite else math.nan,
    )


def _cut(rows: list[Row], by_time: bool, buckets: int) -> Buckets:
    """Equal widths between the smallest and the largest axis value; empty buckets are left out."""
    column = 1 if by_time else 0
    exact = len(rows) <= buckets
    rows = sorted(rows, key=lambda row: row[column]) if exact else rows
    groups: dict[int, list[Row]] = {}
    low = min((row[column] for row in rows), default=0.0)
    width = (
        max((row[column] for row in rows), default=0.0) / 2 - low / 2 or 1.0
    )  # halves: the whole may overflow
    for i, row in enumerate(rows):
        number = i if exact else min(int((row[column] / 2 - low / 2) / width * buckets), buckets - 1)
        groups.setdefault(number, []).append(row)
    cut = [groups[number] for number in sorted(groups)]
    finite = [[row[2] for row in group if math.isfinite(row[2])] for group in cut]
    return Buckets(
        lo=np.array([min(row[column] for row in group) for group in cut], np.float64),
        hi=np.array([max(row[column] for row in group) for group in cut], np.float64),
        min=np.array([min(values, default=math.nan) for values in finite], np.float64),
        max=np.array([max(values, default=math.nan) for values in finite], np.float64),
        mean=np.array([sum(values) / len(values) if values else math.nan for values in finite], np.float64),
        last=np.array([group[-1][2] for group in cut], np.float64),
        count=np.array([len(group) for group in cut], np.int64),
        nonfinite=np.array(
            [len(group) - len(values) for group, values in zip(cut, finite, strict=True)], np.int64
        ),
        exact=exact,
    )
