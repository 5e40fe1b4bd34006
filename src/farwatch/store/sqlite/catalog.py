"""Which series there are: their numbers, names, and how far each has been written.

A series is numbered within its run (`k`) and everywhere (`sid` = run number · 2^26 + k), in order of first sight. Runs
are read when they are first asked for, in pages of 1,024 series, and written page by page, so that neither a
hundred thousand runs nor a run of a hundred thousand metrics costs more than what of it is in use.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farwatch.errors import DataError
from farwatch.store import zstd
from farwatch.store.series import blob
from farwatch.store.sqlite.stats import Stats

RUN_BITS = 26  # 67 million series in a run
NEVER = 1 << 62  # as first segment that counts: no segment does, the series is deleted
PAGE_SERIES = 1024
STATE_KINDS = Stats.KINDS + "ii"  # and the chunks sealed, and the first segment that counts

Ints = NDArray[np.int64]
Table = dict[tuple[int, int], dict[str, int]]  # (rank, attempt) -> name -> k


def sid_of(run: int, k: int) -> int:
    """The number of a series everywhere."""
    return run << RUN_BITS | k


@dataclass(frozen=True, slots=True)
class Written:
    """What of a run is in `series.db`; replaced as a whole by each flush, never changed.

    `stats`: a row per series. `sealed` (m,): chunks of 4,096 points. `since` (m,): segments numbered below hold
    nothing more of the series.
    """

    stats: Stats
    sealed: Ints
    since: Ints

    @classmethod
    def nothing(cls) -> "Written":
        return cls(Stats.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))

    @property
    def m(self) -> int:
        return len(self.sealed)

    def grown(self, m: int) -> "Written":
        """A copy with room for m series."""
        more = np.zeros(m - self.m, np.int64)
        return Written(
            self.stats.grown(m), np.concatenate([self.sealed, more]), np.concatenate([self.since, more])
        )


class RunState:
    """One run. *Threads*: changed under the store's lock only; `written` may be taken by anybody."""

    __slots__ = (
        "dead",
        "deleted",
        "id",
        "keys",
        "kinds",
        "last",
        "names_written",
        "number",
        "table",
        "written",
    )

    def __init__(self, run_id: str, number: int) -> None:
        self.id = run_id
        self.number = number
        self.keys: list[tuple[str, int, int]] = []  # name, rank, attempt by k
        self.kinds: list[str] = []
        self.table: Table = {}
        self.dead: set[int] = set()
        self.deleted = False  # the whole run; its id may belong to another RunState by now
        self.written = Written.nothing()
        self.names_written: set[int] = set()  # pages of names that are on disk as they are here
        self.last: tuple[list[str], str, int, int, NDArray[np.int32]] | None = None

    def resolve(self, names: list[str], kinds: str, rank: int, attempt: int) -> NDArray[np.int32]:
        """(k,) the series of some names, made where new. A name of two kinds becomes a float.

        The list of a schema is one object for all its batches, so the answer for the last list is kept.
        """
        last = self.last
        if last is not None and last[0] is names and last[1:4] == (kinds, rank, attempt):
            return last[4]
        known = self.table.setdefault((rank, attempt), {})
        found = np.empty(len(names), np.int32)
        for i, name in enumerate(names):
            k = known.get(name, -1)
            if k < 0:
                k = known[name] = len(self.keys)
                self.keys.append((name, rank, attempt))
                self.kinds.append(kinds[i])
                self.names_written.discard(k // PAGE_SERIES)
            elif self.kinds[k] != kinds[i] and self.kinds[k] != "f":
                self.kinds[k] = "f"
                self.names_written.discard(k // PAGE_SERIES)
            found[i] = k
        self.last = (names, kinds, rank, attempt, found)
        return found

    def find(self, name: str, rank: int, attempt: int) -> int | None:
        known = self.table.get((rank, attempt))
        return None if known is None else known.get(name)

    def all_of(self, names: Iterable[str] | None) -> list[int]:
        """Living series of some names, or all, in no order."""
        if names is None:
            return [k for known in self.table.values() for k in known.values()]
        wanted = set(names)
        return [known[name] for known in self.table.values() for name in wanted if name in known]

    def bury(self, series: Iterable[int]) -> None:
        """Forget the names of some series; if they come again, they are new series."""
        for k in series:
            name, rank, attempt = self.keys[k]
            if self.table.get((rank, attempt), {}).get(name) == k:
                del self.table[rank, attempt][name]
            self.keys[k] = ("", rank, attempt)
            self.dead.add(k)
            self.names_written.discard(k // PAGE_SERIES)
        self.last = None

    # --- pages

    def names_rows(self, page: int, m: int) -> list[list[object]]:
        """Names of one page, as far as series `m`."""
        first = page * PAGE_SERIES
        end = min(first + PAGE_SERIES, m)
        return [[*self.keys[k], self.kinds[k], int(k in self.dead)] for k in range(first, end)]

    def load(self, names: Sequence[bytes], states: Sequence[bytes]) -> None:
        """Take in all pages, in order. Raises `DataError` for damage."""
        try:
            rows = [row for page in names for row in json.loads(zstd.decompress(page))]
        except (zstd.ZstdError, ValueError) as error:
            raise DataError(f"the names of a run are damaged: `{self.id}`") from error
        for k, (name, rank, attempt, kind, dead) in enumerate(rows):
            self.keys.append((name, rank, attempt))
            self.kinds.append(kind)
            if dead:
                self.dead.add(k)
            else:
                self.table.setdefault((rank, attempt), {})[name] = k
        self.names_written = set(range(len(names)))
        pages = [blob.Blob(page, STATE_KINDS) for page in states]
        columns = [
            np.concatenate([page.column(i) for page in pages])
            if pages
            else np.empty(0, "f8" if kind == "f" else "i8")
            for i, kind in enumerate(STATE_KINDS)
        ]
        self.written = Written(Stats(*columns[:-2]), columns[-2], columns[-1])  # type: ignore[arg-type]
        if self.written.m != len(rows):
            raise DataError(f"the series of a run do not fit their names: `{self.id}`")


def names_page(rows: list[list[object]]) -> bytes:
    """A page of names as it is on disk."""
    return zstd.compress(json.dumps(rows, separators=(",", ":")).encode())


def state_page(written: Written, page: int) -> bytes:
    """The state of one page of series."""
    rows = slice(page * PAGE_SERIES, (page + 1) * PAGE_SERIES)
    columns = [np.ascontiguousarray(column[rows]) for column in written.stats.columns()]
    return blob.encode([*columns, written.sealed[rows], written.since[rows]], STATE_KINDS)


def load_run(connection: sqlite3.Connection, run_id: str) -> RunState | None:
    """Read a run, or None if nothing of it is written."""
    row = connection.execute("SELECT no FROM run WHERE id = ? AND dead = 0", (run_id,)).fetchone()
    if row is None:
        return None
    run = RunState(run_id, row[0])
    names = connection.execute("SELECT data FROM names WHERE run = ? ORDER BY page", row).fetchall()
    states = connection.execute("SELECT data FROM state WHERE run = ? ORDER BY page", row).fetchall()
    run.load([data for (data,) in names], [data for (data,) in states])
    return run
