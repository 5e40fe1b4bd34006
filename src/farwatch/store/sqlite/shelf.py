"""The points of a store: what is in memory, what is in `series.db`, and one consistent look at both.

Every transaction on `series.db` raises its `generation`, and what is kept in memory about the file changes with it. A
reader begins a read transaction, compares the two numbers, and tries again in the moment between a commit and the
change in memory. So nobody holds a lock while the disk works.

Locks, in the order in which they are taken: the store's own for appending and flushing, `_writing` (one transaction
after another), `lock` (memory only).
"""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from farwatch.errors import DataError
from farwatch.store.base import Decoded, SeriesKey, Writer
from farwatch.store.sqlite import compact, flush
from farwatch.store.sqlite.blocks import FORMAT, SCHEMA, Cache, Reader, Readers, Segment, load_segments
from farwatch.store.sqlite.catalog import (
    NEVER,
    PAGE_SERIES,
    RunState,
    Written,
    load_run,
    names_page,
    sid_of,
    state_page,
)
from farwatch.store.sqlite.files import SERIES, open_writer, storage_errors, transaction
from farwatch.store.sqlite.memtable import Memtable, Part, RunTable
from farwatch.store.sqlite.read import SeriesView
from farwatch.store.sqlite.stats import Stats

CACHE_BYTES = 64 << 20
RUNS_KEPT = 4096
LOOKS = 1000  # tries for a consistent look, each waiting up to 10 ms for the writer's next word
RECLAIM_ROWS = 256  # blocks dropped in one transaction, 7 MiB or so

T = TypeVar("T")


class Shelf:
    """See the module. *Threads*: any; `flush`, `compact` and `reclaim` belong to one flusher."""

    def __init__(self, folder: Path, now_us: int) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self._writing = threading.Lock()
        self._connection = open_writer(folder / SERIES, SCHEMA)
        self._cache = Cache(CACHE_BYTES)
        self._readers = Readers(folder, self._cache)
        with storage_errors(SERIES):
            found = self._value("format", None)
            if found is None:
                self._connection.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT,))
            elif found != FORMAT:
                raise DataError(
                    f"`{SERIES}` has format {found}, this program reads {FORMAT}", hint="upgrade Farwatch"
                )
            self.generation = int(self._value("generation", 0))
            self.flushed = int(self._value("flushed", 0))
            self._ord = int(self._value("ord", 1))
            self._next_run = 1 + int(
                self._connection.execute("SELECT coalesce(max(no), 0) FROM run").fetchone()[0]
            )
            self.segments = load_segments(self._connection)
            self.doomed = bool(self._connection.execute("SELECT 1 FROM doomed LIMIT 1").fetchone())
            self.tombstones: list[tuple[str, str | None, int]] = self._connection.execute(
                "SELECT run, name, seq FROM tombstone WHERE seq > ?", (self.flushed,)
            ).fetchall()
        self._runs: OrderedDict[str, RunState] = OrderedDict()
        self.active = Memtable(now_us)
        self.frozen: Memtable | None = None

    def _value(self, key: str, default: Any) -> Any:
        row = self._connection.execute("SELECT v FROM meta WHERE k = ?", (key,)).fetchone()
        return default if row is None else row[0]

    # --- looking

    @contextmanager
    def look(self, take: Callable[[sqlite3.Connection], T]) -> Iterator[tuple[T, Reader]]:
        """What `take` returns, called under the lock, and a reader of the file as of the same moment."""
        taken: list[T] = []

        def begin(connection: sqlite3.Connection) -> bool:
            found = connection.execute("SELECT v FROM meta WHERE k = 'generation'").fetchone()
            with self.lock:
                if (found[0] if found else 0) != self.generation:
                    self.changed.wait(0.01)
                    return False
                taken.append(take(connection))
                return True

        for _ in range(LOOKS):
            connection = self._readers.look(begin)
            if connection is not None:
                break
        else:
            raise DataError(
                f"`{SERIES}` changes under this server", hint="stop the other process that writes to it"
            )
        try:
            yield taken[0], self._readers.reader(connection)
        finally:
            self._readers.give(connection)

    def run(self, run_id: str) -> RunState | None:
        """A run, read from disk if need be; None if it has no points."""
        with self.lock:
            found = self._runs.get(run_id)
            if found is not None:
                self._runs.move_to_end(run_id)
                return found
        while True:
            with self.look(lambda _: self.generation) as (generation, reader):
                loaded = reader.load(lambda connection: load_run(connection, run_id))
            with self.lock:
                if self.generation != generation:
                    continue
                if loaded is not None:
                    loaded = self._runs.setdefault(run_id, loaded)
                    self._forget_runs()
                return loaded or self._runs.get(run_id)

    def _forget_runs(self) -> None:
        """Drop runs that were not asked for lately and have nothing in memory. Under the lock."""
        spare = len(self._runs) - RUNS_KEPT
        if spare <= 0:
            return
        busy = set(self.active.runs) | (set(self.frozen.runs) if self.frozen else set())
        for run_id in [key for key, run in self._runs.items() if run.number not in busy][:spare]:
            del self._runs[run_id]

    def views(self, keys: Sequence[SeriesKey]) -> list[SeriesView | None]:
        """Where the points of some series are. Under the lock, after their runs have been loaded."""
        return [self._view(key) for key in keys]

    def _view(self, key: SeriesKey) -> SeriesView | None:
        run = self._runs.get(key.run)
        k = None if run is None else run.find(key.name, key.rank, key.attempt)
        if run is None or k is None:
            return None
        sid = sid_of(run.number, k)
        view = SeriesView(sid, k, 0, 0, [], self._tables(run), (np.inf, -np.inf), (np.inf, -np.inf))
        written = run.written
        if k < written.m and written.stats.count[k]:
            stats = written.stats
            view.sealed = int(written.sealed[k])
            view.loose = int(stats.count[k]) - view.sealed * flush.CHUNK
            view.steps = (float(stats.step_min[k]), float(stats.step_max[k]))
            view.times = (float(stats.time_min[k]), float(stats.time_max[k]))
            if view.loose:
                since = int(written.since[k])
                view.segments = [s for s in self.segments if s.ord >= since and s.d0 <= sid <= s.d1]
        return view

    def _tables(self, run: RunState) -> list[RunTable]:
        tables = [memory.runs.get(run.number) for memory in (self.frozen, self.active) if memory is not None]
        return [table for table in tables if table is not None]

    def stats(self, run_id: str, names: Sequence[str] | None) -> tuple[list[SeriesKey], list[str], Stats]:
        """Keys, kinds and stats of all living series of a run, or of those with some names, ordered by key."""
        run = self.run(run_id)
        if run is None:
            return [], [], Stats.empty(0)
        with self.lock:
            series = run.all_of(names)
            series.sort(key=run.keys.__getitem__)
            keys = [run.keys[k] for k in series]
            kinds = [run.kinds[k] for k in series]
            written, tables = run.written, self._tables(run)
        wanted = np.array(series, np.int64)
        stats = Stats.empty(len(series))
        old = np.flatnonzero(wanted < written.m)
        for name, column in zip(Stats.__slots__, stats.columns(), strict=True):
            column[old] = getattr(written.stats, name)[wanted[old]]
        row_of = np.full(int(wanted.max(initial=-1)) + 1, -1)
        row_of[wanted] = np.arange(len(wanted))
        for table in tables:
            for part in table.sorted():
                inside = part.ids < len(row_of)
                rows = (
                    np.where(inside, row_of[np.where(inside, part.ids, 0)], -1)
                    if len(row_of)
                    else np.empty(0, int)
                )
                here = np.flatnonzero(rows >= 0)
                stats.fold(rows[here], part.stats.take(here))
        return [SeriesKey(run_id, *key) for key in keys], kinds, stats

    # --- adding

    def remember(self, seq: int, writer: Writer, decoded: Decoded, held: RunState | None) -> None:
        """Add the points of a commit. Under the lock; `held`: what `run` found, it may be forgotten since."""
        self.active.seq = seq
        if not len(decoded.index):
            return
        run = self._runs.get(writer.run)
        if run is None:
            if held is None or held.deleted:
                held = RunState(writer.run, self._next_run)
                self._next_run += 1
            run = self._runs[writer.run] = held
        ids = run.resolve(decoded.names, decoded.kinds, writer.rank, writer.attempt)
        points = decoded.points
        self.active.add(run, Part(ids[decoded.index], points.steps, points.times, points.values))

    def freeze(self, now_us: int) -> None:
        """Put the memtable aside for the flusher and begin a new one. Under the lock; there is none aside."""
        assert self.frozen is None
        self.frozen, self.active = self.active, Memtable(now_us)
        self.changed.notify_all()

    # --- flushing

    def flush(self) -> list[str]:
        """Write the memtable that was put aside. Returns what was found damaged on the way; raises as it goes."""
        with self._writing:
            with self.lock:
                frozen = self.frozen
                if frozen is None:
                    return []
                plan = flush.begin(frozen, self._ord)
            try:
                with self.look(lambda _: None) as (_, reader):
                    flush.build(plan, frozen, self.segments, reader)
                with self._transaction() as connection:
                    segment = flush.write(connection, plan, frozen.seq)
            except BaseException:
                with self.lock:
                    flush.undo(plan)
                raise
            with self.lock:
                for part in plan.parts:
                    part.run.written = part.written
                if segment is not None:
                    self.segments = (*self.segments, segment)
                self._ord += 1
                self.flushed = frozen.seq
                self.tombstones = [row for row in self.tombstones if row[2] > frozen.seq]
                self.frozen = None
                self._next_generation()
            return plan.damage

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that begins the next generation. The caller holds `_writing`, and says it in memory after."""
        with storage_errors(SERIES), transaction(self._connection) as connection:
            yield connection
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('generation', ?)", (self.generation + 1,))

    def _next_generation(self) -> None:
        self.generation += 1
        self.changed.notify_all()

    def compact(self) -> bool:
        """Join some segments, if there are enough of one size; whether there were. Raises `DataError` for damage."""
        old = compact.choose(self.segments)
        if old:
            self._replace(old)
        return bool(old)

    def _replace(self, old: tuple[Segment, ...]) -> None:
        with self._writing:
            with self.look(lambda _: {run.number: run for run in self._runs.values()}) as (runs, reader):

                def since_of(number: int) -> compact.Ints | None:
                    run = runs.get(number)
                    if run is not None and run.written.m:
                        return run.written.since
                    return reader.load(lambda connection: compact.read_since(connection, number))

                rows = compact.join(reader, old, since_of)
            with self._transaction() as connection:
                segment = compact.replace(connection, old, rows)
            with self.lock:
                at = self.segments.index(old[0])
                new = () if segment is None else (segment,)
                self.segments = (*self.segments[:at], *new, *self.segments[at + len(old) :])
                self._next_generation()

    # --- deleting

    def delete(self, run_id: str, names: Sequence[str] | None, last: int) -> None:
        """Forget series at once; `reclaim` gives their space back. `last`: the last commit; none comes meanwhile."""
        self.run(run_id)
        with self._writing:
            run = self._runs.get(run_id)
            if run is None:
                return
            series = run.all_of(names)
            with self._transaction() as connection:
                rows = (
                    [(run_id, None, last)] if names is None else [(run_id, name, last) for name in set(names)]
                )
                connection.executemany("INSERT INTO tombstone VALUES (?, ?, ?)", rows)
                connection.executemany(
                    "INSERT INTO doomed VALUES (?, ?)",
                    [(run.number, -1)] if names is None else [(run.number, k) for k in series],
                )
                written = run.written
                if names is None:
                    connection.execute("INSERT OR REPLACE INTO run VALUES (?, ?, 1)", (run.number, run_id))
                else:
                    written = self._bury(connection, run, series)
            with self.lock:
                run.written = written
                run.bury(series)
                if names is None:
                    run.deleted = True
                    del self._runs[run_id]
                else:
                    written_pages = {k // PAGE_SERIES for k in series if k < written.m}
                    run.names_written |= {
                        page for page in written_pages if (page + 1) * PAGE_SERIES <= written.m
                    }
                self.tombstones += rows
                self.doomed = True
                self._next_generation()

    def _bury(self, connection: sqlite3.Connection, run: RunState, series: list[int]) -> Written:
        """Write the names and state of a run without some series."""
        written = run.written.grown(run.written.m)
        old = np.array([k for k in series if k < written.m], np.int64)
        if not len(old):
            return written
        nothing = Stats.empty(len(old))
        for column, fresh in zip(written.stats.columns(), nothing.columns(), strict=True):
            column[old] = fresh
        written.sealed[old] = 0
        written.since[old] = NEVER
        gone = set(series)
        for page in np.unique(old // PAGE_SERIES).tolist():
            rows = run.names_rows(page, written.m)
            for i, row in enumerate(rows):
                if page * PAGE_SERIES + i in gone:
                    rows[i] = ["", *row[1:4], 1]
            connection.execute(
                "INSERT OR REPLACE INTO names VALUES (?, ?, ?)", (run.number, page, names_page(rows))
            )
            state = (run.number, page, state_page(written, page))
            connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", state)
        return written

    def reclaim(self) -> bool:
        """Drop some of what was deleted; whether there may be more. Raises `DataError` for damage."""
        if not self.doomed:
            return False
        with self._writing, storage_errors(SERIES):
            doomed = self._connection.execute("SELECT rowid, run, k FROM doomed LIMIT 1000").fetchall()
        ranges = [
            (sid_of(run, 0), sid_of(run + 1, 0) - 1) if k < 0 else (sid_of(run, k), sid_of(run, k))
            for _, run, k in doomed
        ]
        for lo, hi in ranges:
            while self._drop_blocks(lo, hi):
                pass
        for segment in self.segments:
            if self._has_any(segment, ranges):
                self._replace((segment,))
        with self._writing:
            with self._transaction() as connection:
                connection.executemany(
                    "DELETE FROM doomed WHERE rowid = ?", [(rowid,) for rowid, _, _ in doomed]
                )
                for _, run, k in doomed:
                    if k < 0:
                        for table, column in (("names", "run"), ("state", "run"), ("run", "no")):
                            connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (run,))
                more = connection.execute("SELECT 1 FROM doomed LIMIT 1").fetchone()
                connection.execute("PRAGMA incremental_vacuum").fetchall()
            with self.lock:
                self.doomed = bool(more)
                self._next_generation()
        return bool(more)

    def _drop_blocks(self, lo: int, hi: int) -> bool:
        """Drop some blocks of series `lo` to `hi`; whether there may be more. Nobody looks at them any more."""
        with self._writing, storage_errors(SERIES), transaction(self._connection) as connection:
            gone = connection.execute(
                "DELETE FROM block WHERE rowid IN (SELECT rowid FROM block WHERE sid >= ? AND sid <= ? LIMIT ?)",
                (lo, hi, RECLAIM_ROWS),
            )
            return gone.rowcount == RECLAIM_ROWS

    def _has_any(self, segment: Segment, ranges: list[tuple[int, int]]) -> bool:
        """Whether a segment may hold rows of some ranges of series."""
        with self.look(lambda _: None) as (_, reader):
            return any(
                lo <= segment.d1 and segment.d0 <= hi and reader.pages(segment, lo, hi) for lo, hi in ranges
            )

    def size_bytes(self) -> tuple[int, int]:
        """Bytes of `series.db` in use, and bytes that are free in it."""
        with self.look(lambda _: None) as (_, reader):
            return reader.load(_sizes)

    def close(self) -> None:
        """Close all connections; may be called twice."""
        self._readers.close()
        with self._writing:
            self._connection.close()


def _sizes(connection: sqlite3.Connection) -> tuple[int, int]:
    page, count, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "page_count", "freelist_count")
    )
    return page * (count - free), page * free
