"""Who reads and who writes the meta database, and what of it is kept in memory."""

import queue
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from farwatch.clock import Clock
from farwatch.errors import DataError
from farwatch.store.meta import migrations
from farwatch.store.meta.reads import Reads
from farwatch.store.meta.rows import DetailRow, RunRow, WriterRow
from farwatch.store.meta.writes import Pending, Writes

T = TypeVar("T")
Change = Callable[[Writes], T]

BUSY_MS = 5_000
READERS = 4
GROUP_MAX = 64  # changes per transaction
WRITERS_KEPT = 20_000
DETAILS_KEPT = 2_000
APPLIED_SEQ = "applied_seq"


@dataclass(slots=True)
class _Task:
    change: Change[Any]
    durable: bool
    future: Future[Any] = field(default_factory=Future)


class Meta:
    """The meta database of a server.

    *Threads*: any. All changes go through one thread and one connection, so a change sees the newest state and nobody
    changes it meanwhile; changes that wait together share a commit, and each is undone alone if it raises. Readers have connections of
    their own that cannot write. *Ordering*: a reader that starts after `write` returned sees the change. *Cost*: runs are kept in memory
    (about 1 KiB each); a durable change costs one fsync, shared; another none.

    `url`: a path, or an address of SQLAlchemy's such as `postgresql+psycopg://…`. Raises `DataError` for a database that a
    newer Farwatch has written.
    """

    def __init__(self, url: str | Path, clock: Clock) -> None:
        self.clock = clock
        self._engine = _engine(url, write=True)
        self._sqlite = self._engine.dialect.name == "sqlite"
        migrations.migrate(self._engine, clock)
        self._readers = _engine(url, write=False)
        self._lock = threading.Lock()  # over the caches below; held for memory operations only
        self._version = 0
        self._runs: dict[int, RunRow] = {}
        self._run_no: dict[str, int] = {}
        self._short_nos: dict[str, set[int]] = {}
        self._project_nos: dict[str, dict[int, int]] = {}  # project -> number -> no
        self._writers: OrderedDict[str, WriterRow] = OrderedDict()
        self._details: OrderedDict[int, DetailRow] = OrderedDict()
        self._detail_versions: dict[int, int] = {}  # how often details have changed since the start
        self._layouts: dict[int, list[str]] = {}
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._closed = False
        with self.read() as reads:
            self._publish(Pending(runs={row.no: row for row in reads.all_runs()}))
            self.start_seq = int(reads.setting(APPLIED_SEQ) or 0)
        self._thread = threading.Thread(target=self._work, name="farwatch-meta", daemon=True)
        self._thread.start()

    # --- changes

    def write(self, change: Change[T], *, durable: bool = True) -> T:
        """Apply a change in the writing thread and return its result when it is committed.

        `change` may be called in any order with other changes, but never beside one. `durable`: survives a power cut when this
        returns; otherwise what replay of the log brings back. Raises what `change` raises, and then nothing of it has happened.
        """
        return self.enqueue(change, durable=durable).result()

    def enqueue(self, change: Change[T], *, durable: bool = True) -> "Future[T]":
        """The same without waiting for it."""
        task = _Task(change, durable)
        with self._lock:
            if self._closed:
                raise DataError("the meta database is closed")
            self._tasks.put(task)
        return task.future

    def make_durable(self, seq: int) -> None:
        """Note that everything up to commit `seq` of the store is in this database, and make all of it survive a power cut."""
        self.write(lambda writes: writes.set_setting(APPLIED_SEQ, seq))

    def setting(self, key: str, value: Any = None) -> Any:
        """A stored value by key, None if there is none; with `value`: store it. Values are what JSON can hold."""
        if value is not None:
            self.write(lambda writes: writes.set_setting(key, value))
            return value
        with self.read() as reads:
            return reads.setting(key)

    def close(self) -> None:
        """Finish what waits and close all connections; may be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._tasks.put(None)
        self._thread.join()
        self._readers.dispose()  # before the writer: whoever closes last writes the checkpoint, and only one may
        self._engine.dispose()

    def _work(self) -> None:
        with self._engine.connect() as connection:
            while True:
                task = self._tasks.get()
                group: list[_Task] = []
                while task is not None:
                    group.append(task)
                    try:
                        task = self._tasks.get_nowait() if len(group) < GROUP_MAX else None
                    except queue.Empty:
                        break
                    if task is None:
                        self._tasks.put(None)  # close() came while a group was collected
                if not group:
                    return
                self._commit(connection, group)

    def _commit(self, connection: Connection, group: list[_Task]) -> None:
        """Apply a group in one transaction; each change in a savepoint of its own."""
        done: list[tuple[_Task, Any]] = []
        pending = Pending()
        try:
            if self._sqlite:
                # FULL syncs the WAL with this commit, and with it everything that was committed before.
                level = "FULL" if any(task.durable for task in group) else "NORMAL"
                connection.connection.dbapi_connection.execute(f"PRAGMA synchronous={level}")  # type: ignore[union-attr]
            with connection.begin():
                for task in group:
                    mine = pending.fork()
                    try:
                        with connection.begin_nested():
                            result = task.change(Writes(connection, self, mine))
                    except (
                        Exception
                    ) as error:  # the change's own trouble: told to its caller, and to nobody else
                        task.future.set_exception(error)
                        continue
                    pending = mine
                    done.append((task, result))
        except Exception as error:
            for task, _ in done:
                task.future.set_exception(error)
            for task in group:
                if not task.future.done():
                    task.future.set_exception(error)
            return
        self._publish(pending)
        for task, result in done:
            task.future.set_result(result)
        for follow_up in pending.after:
            follow_up()

    def _publish(self, pending: Pending) -> None:
        with self._lock:
            self._version += 1
            for no, row in pending.runs.items():
                old = self._runs.get(no)
                self._runs[no] = row
                self._run_no[row.id] = no
                self._short_nos.setdefault(row.short, set()).add(no)
                if old is not None and old.project != row.project:
                    self._project_nos[old.project].pop(old.number, None)
                self._project_nos.setdefault(row.project, {})[row.number] = no
            for writer_id, writer in pending.writers.items():
                _keep(self._writers, writer_id, writer, WRITERS_KEPT)
            for no, detail in pending.details.items():
                self._detail_versions[no] = self._detail_versions.get(no, 0) + 1
                _keep(self._details, no, detail, DETAILS_KEPT)

    # --- reading

    @contextmanager
    def read(self) -> Iterator[Reads]:
        """A consistent view of what is committed."""
        if self._closed:
            raise DataError("the meta database is closed")
        with self._readers.connect() as connection, connection.begin():
            yield Reads(connection)

    def run(self, no: int) -> RunRow | None:
        """A run by its row number."""
        return self._runs.get(no)

    def run_by_id(self, run_id: str) -> RunRow | None:
        """A run by its whole id."""
        no = self._run_no.get(run_id)
        return None if no is None else self._runs[no]

    def runs_by_short(self, short: str) -> list[RunRow]:
        """Runs whose short id this is."""
        with self._lock:
            return [self._runs[no] for no in sorted(self._short_nos.get(short, ()))]

    def run_by_number(self, project: str, number: int) -> RunRow | None:
        """The n-th run of a project."""
        no = self._project_nos.get(project, {}).get(number)
        return None if no is None else self._runs[no]

    def runs_of(self, project: str | None) -> list[RunRow]:
        """Runs of a project, or all, oldest first."""
        with self._lock:
            if project is None:
                return list(self._runs.values())
            return [self._runs[no] for _, no in sorted(self._project_nos.get(project, {}).items())]

    def project_names(self) -> list[str]:
        """Projects that have runs, in order of their names."""
        with self._lock:
            return sorted(self._project_nos)

    def writer(self, writer_id: str) -> WriterRow | None:
        """A writer by its id."""
        return self._cached(self._writers, writer_id, lambda reads: reads.writer(writer_id), WRITERS_KEPT)

    def detail(self, run_no: int) -> DetailRow:
        """Config and other large things of a run; do not change it."""
        found = self._cached(self._details, run_no, lambda reads: reads.detail(run_no), DETAILS_KEPT)
        return found if found is not None else DetailRow(run_no, {}, {}, [], {}, [], "", None)

    def detail_version(self, run_no: int) -> int:
        """A number that grows whenever a run's details change."""
        return self._detail_versions.get(run_no, 0)

    def layout(self, no: int) -> list[str]:
        """The names of a summary's rows."""
        names = self._layouts.get(no)
        if names is None:
            with self.read() as reads:
                names = self._layouts[no] = reads.layout(no)
        return names

    def _cached(
        self, cache: OrderedDict[Any, T], key: Hashable, read: Callable[[Reads], T | None], limit: int
    ) -> T | None:
        while True:
            with self._lock:
                found = cache.get(key)
                version = self._version
            if found is not None:
                return found
            with self.read() as reads:
                found = read(reads)
            with self._lock:
                if self._version != version:
                    continue  # somebody committed meanwhile: what was read may be older than what was published
                if found is not None:
                    _keep(cache, key, found, limit)
                return found


def _keep(cache: OrderedDict[Any, Any], key: Hashable, value: Any, limit: int) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > limit:
        cache.popitem(last=False)


def _engine(url: str | Path, *, write: bool) -> Engine:
    text = str(url)
    address = make_url(text if "://" in text else f"sqlite:///{Path(text).absolute()}")
    if address.get_backend_name() != "sqlite":
        return create_engine(
            address, pool_pre_ping=True, pool_size=1 if write else READERS, max_overflow=0 if write else 16
        )
    if write:
        engine = create_engine(address, poolclass=NullPool)
    else:
        engine = create_engine(
            address, pool_size=READERS, max_overflow=16, connect_args={"check_same_thread": False}
        )

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = (
            None  # we say BEGIN ourselves; the module's own rules open transactions too late
        )
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        if write:
            connection.execute(
                "PRAGMA auto_vacuum=INCREMENTAL"
            )  # cannot be switched on later without a full VACUUM
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA secure_delete=FAST")
        else:
            # One connection writes and checkpoints; two checkpointing ones can lose data in SQLite up to 3.51.2.
            connection.execute("PRAGMA query_only=ON")
            connection.execute("PRAGMA wal_autocheckpoint=0")

    @event.listens_for(engine, "begin")
    def begins(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
