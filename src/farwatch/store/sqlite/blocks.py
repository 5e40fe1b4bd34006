"""What is in `series.db`, and reading it: chunks, pyramid blocks, and segments.

A **block** of level 0 is a chunk of 4,096 points of one series; of level k it is 1,024 entries of the pyramid. A
**segment** holds what did not fill a chunk, of many series, sorted by series, in pages of 4,096 rows. Both are
written once and never changed; segments are joined into larger ones and then dropped.
"""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from farwatch.errors import DataError
from farwatch.store.series.blob import Blob
from farwatch.store.series.pyramid import ENTRY_KINDS, POINT_KINDS
from farwatch.store.sqlite.files import SERIES, open_reader, storage_errors

T = TypeVar("T")

FORMAT = 1
PAGE_ROWS = 4096
ROW_KINDS = "ifif"  # columns of a segment's page: sid, step, time, value
SID = 0

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (k TEXT PRIMARY KEY, v);
CREATE TABLE IF NOT EXISTS run (no INTEGER PRIMARY KEY, id TEXT NOT NULL, dead INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS run_by_id ON run (id);
CREATE TABLE IF NOT EXISTS names (run INTEGER NOT NULL, page INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (run, page));
CREATE TABLE IF NOT EXISTS state (run INTEGER NOT NULL, page INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (run, page));
CREATE TABLE IF NOT EXISTS block (
  sid INTEGER NOT NULL, level INTEGER NOT NULL, no INTEGER NOT NULL, step_lo REAL NOT NULL, step_hi REAL NOT NULL,
  time_lo INTEGER NOT NULL, time_hi INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (sid, level, no));
CREATE TABLE IF NOT EXISTS segment (
  uid INTEGER PRIMARY KEY AUTOINCREMENT, ord INTEGER NOT NULL, rows INTEGER NOT NULL, d0 INTEGER NOT NULL, d1 INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS page (
  segment INTEGER NOT NULL, no INTEGER NOT NULL, d0 INTEGER NOT NULL, d1 INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (segment, no));
CREATE TABLE IF NOT EXISTS tombstone (run TEXT NOT NULL, name TEXT, seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS doomed (run INTEGER NOT NULL, k INTEGER NOT NULL)
"""


@dataclass(frozen=True, slots=True)
class Segment:
    """`uid`: its name on disk. `ord`: its place among segments; rows of one series are in order of `ord`.

    `rows`: how many. `d0`, `d1`: its first and last series.
    """

    uid: int
    ord: int
    rows: int
    d0: int
    d1: int


def load_segments(connection: sqlite3.Connection) -> tuple[Segment, ...]:
    """All segments in order."""
    return tuple(
        Segment(*row) for row in connection.execute("SELECT uid, ord, rows, d0, d1 FROM segment ORDER BY ord")
    )


class Cache:
    """Opened blobs, the least recently used forgotten first. *Threads*: any."""

    def __init__(self, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._found: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()

    def get(self, key: Hashable) -> object | None:
        with self._lock:
            found = self._found.get(key)
            if found is None:
                return None
            self._found.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: object, size_bytes: int) -> None:
        with self._lock:
            old = self._found.pop(key, None)
            self._bytes += size_bytes - (old[1] if old else 0)
            self._found[key] = (value, size_bytes)
            while self._bytes > self._max_bytes and self._found:
                self._bytes -= self._found.popitem(last=False)[1][1]

    def clear(self) -> None:
        with self._lock:
            self._found.clear()
            self._bytes = 0


class Reader:
    """One consistent look at `series.db`: a read transaction on a connection, with the shared cache."""

    def __init__(self, connection: sqlite3.Connection, cache: Cache) -> None:
        self._connection = connection
        self._cache = cache

    def blocks(self, sid: int, level: int, first: int, end: int) -> Iterator[tuple[int, Blob | DataError]]:
        """Blocks `first` to before `end`, in order; what is damaged or missing comes as an error.

        Long stretches of chunks pass by the cache: they would only push everything else out.
        """
        kinds = ENTRY_KINDS if level else POINT_KINDS
        keep = level > 0 or end - first <= 32
        found: dict[int, Blob | DataError] = {}
        if keep:
            for no in range(first, end):
                cached = self._cache.get((sid, level, no))
                if isinstance(cached, Blob):
                    found[no] = cached
        if len(found) == end - first:
            yield from found.items()
            return
        wanted = first
        with storage_errors(SERIES):
            for no, data in self._connection.execute(
                "SELECT no, data FROM block WHERE sid = ? AND level = ? AND no >= ? AND no < ? ORDER BY no",
                (sid, level, first, end),
            ):
                for missing in range(wanted, no):
                    yield missing, DataError(f"block {missing} is missing")
                wanted = no + 1
                blob: Blob | DataError | None = found.get(no)
                if blob is None:
                    try:
                        blob = Blob(data, kinds)
                        if keep:
                            self._cache.put((sid, level, no), blob, blob.size_bytes)
                    except DataError as error:
                        blob = error
                yield no, blob
        for missing in range(wanted, end):
            yield missing, DataError(f"block {missing} is missing")

    def load(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Whatever `read` finds in the same look."""
        with storage_errors(SERIES):
            return read(self._connection)

    def bounds(
        self, sid: int, level: int, first: int, end: int, by_time: bool
    ) -> list[tuple[int, float, float]]:
        """Numbers and axis bounds of blocks, without reading their contents."""
        columns = "time_lo, time_hi" if by_time else "step_lo, step_hi"
        with storage_errors(SERIES):
            return self._connection.execute(
                f"SELECT no, {columns} FROM block WHERE sid = ? AND level = ? AND no >= ? AND no < ? ORDER BY no",
                (sid, level, first, end),
            ).fetchall()

    def pages(self, segment: Segment, first: int, last: int) -> list[int]:
        """Pages of a segment that may hold series `first` to `last`."""
        key = ("pages", segment.uid)
        edges = self._cache.get(key)
        if edges is None:
            with storage_errors(SERIES):
                rows = self._connection.execute(
                    "SELECT d0, d1 FROM page WHERE segment = ? ORDER BY no", (segment.uid,)
                ).fetchall()
            edges = np.array(rows, np.int64).reshape(-1, 2).T
            self._cache.put(key, edges, edges.nbytes)
        assert isinstance(edges, np.ndarray)
        d0, d1 = edges[0], edges[1]
        return list(range(int(np.searchsorted(d1, first)), int(np.searchsorted(d0, last, side="right"))))

    def page(self, segment: Segment, no: int, keep: bool = True) -> Blob:
        """One page of a segment. Raises `DataError` for damage."""
        key = ("page", segment.uid, no)
        cached = self._cache.get(key)
        if isinstance(cached, Blob):
            return cached
        with storage_errors(SERIES):
            row = self._connection.execute(
                "SELECT data FROM page WHERE segment = ? AND no = ?", (segment.uid, no)
            ).fetchone()
        if row is None:
            raise DataError(f"page {no} of segment {segment.uid} is missing")
        blob = Blob(row[0], ROW_KINDS)
        if keep:
            self._cache.put(key, blob, blob.size_bytes)
        return blob


class Readers:
    """Read-only connections to `series.db`, handed out one at a time and kept for the next."""

    KEEP = 4

    def __init__(self, folder: Path, cache: Cache) -> None:
        self._path = folder / SERIES
        self._cache = cache
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    def take(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return open_reader(self._path)

    def give(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._lock:
            if not self._closed and len(self._idle) < self.KEEP:
                self._idle.append(connection)
                return
        connection.close()

    def look(self, begin: Callable[[sqlite3.Connection], bool]) -> sqlite3.Connection | None:
        """A connection inside a read transaction that `begin` accepts; None if it did not."""
        connection = self.take()
        accepted = False
        try:
            with storage_errors(SERIES):
                connection.execute("BEGIN")
                accepted = begin(connection)
        finally:
            if not accepted:
                self.give(connection)
        return connection if accepted else None

    def reader(self, connection: sqlite3.Connection) -> Reader:
        return Reader(connection, self._cache)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
