"""The log: every acknowledged batch as it came, with the mark of its writer in the same transaction.

A batch stays here until its points are in `series.db` and whoever else builds on the log has said that it is
durable up to there. The connection is shared by the committing thread and the flusher, one at a time.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from farwatch.errors import DataError, DiskFullError, NotFoundError
from farwatch.store.base import Ack, Incoming, Mark, Writer
from farwatch.store.marks import check_writer, judge
from farwatch.store.sqlite.files import LOG, open_writer, storage_errors, transaction
from farwatch.wire.segment import first_seed

FORMAT = 1
PAGE_ROWS = 64  # batches read at once
TRIM_BYTES = 1 << 20  # packed bytes dropped at once, so that commits in between do not wait long
CACHED_WRITERS = 4096

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (k TEXT PRIMARY KEY, v);
CREATE TABLE IF NOT EXISTS writer (
  id TEXT PRIMARY KEY, run TEXT NOT NULL, rank INTEGER NOT NULL, attempt INTEGER NOT NULL, wall_us INTEGER NOT NULL,
  step_base INTEGER NOT NULL, expected INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS schema (
  writer TEXT NOT NULL, id INTEGER NOT NULL, keys TEXT NOT NULL, types TEXT NOT NULL, PRIMARY KEY (writer, id));
CREATE TABLE IF NOT EXISTS log (
  seq INTEGER PRIMARY KEY, writer TEXT NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
  gap INTEGER NOT NULL, encoding TEXT NOT NULL, data BLOB NOT NULL)
"""

Schemas = dict[int, tuple[list[str], str]]


class Row(NamedTuple):
    """A batch in the log."""

    seq: int
    writer_id: str
    first: int
    records: int
    gap: bool
    encoding: str
    packed: bytes


class Known(NamedTuple):
    """What is known of a writer."""

    writer: Writer
    mark: Mark
    schemas: Schemas


class LogFile:
    """`log.db`. *Threads*: any, one lock around the connection."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._sync = "FULL" if durable else "NORMAL"
        self._lock = threading.Lock()
        # 0: nothing is checkpointed while batches come; the flusher does it when most pages have been dropped again
        self._connection = open_writer(folder / LOG, SCHEMA, sync=self._sync, checkpoint_pages=16_000)
        self._known: dict[str, Known] = {}
        with storage_errors(LOG):
            self.epoch = self._first_use()
            self.seq: int = max(
                self._value("trimmed", 0), self._scalar("SELECT coalesce(max(seq), 0) FROM log")
            )

    def _first_use(self) -> str:
        with transaction(self._connection):
            found = self._value("format", None)
            if found is None:
                self._set("format", FORMAT)
                self._set("epoch", os.urandom(8).hex())
            elif found != FORMAT:
                raise DataError(
                    f"`{LOG}` has format {found}, this program reads {FORMAT}", hint="upgrade Farwatch"
                )
        return str(self._value("epoch", ""))

    def _scalar(self, sql: str, *arguments: object) -> int:
        return int(self._connection.execute(sql, arguments).fetchone()[0])

    def _value(self, key: str, default: Any) -> Any:
        row = self._connection.execute("SELECT v FROM meta WHERE k = ?", (key,)).fetchone()
        return default if row is None else row[0]

    def _set(self, key: str, value: object) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def register(self, writer: Writer) -> Mark:
        """See `Store.register`."""
        check_writer(writer)
        with self._lock, storage_errors(LOG):
            known = self._find(writer.writer_id)
            if known is None:
                mark = Mark(0, first_seed(writer.writer_id))
                row = (
                    writer.writer_id,
                    writer.run,
                    writer.rank,
                    writer.attempt,
                    writer.wall_us,
                    writer.step_base,
                    mark.expected,
                    mark.crc,
                )
                with transaction(self._connection):
                    self._connection.execute("INSERT INTO writer VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
                known = self._known[writer.writer_id] = Known(writer, mark, {})
            return known.mark

    def find(self, writer_id: str) -> Known | None:
        """What is known of a writer, or None."""
        with self._lock, storage_errors(LOG):
            known = self._find(writer_id)
            return known and known._replace(schemas=dict(known.schemas))

    def writer(self, writer_id: str) -> Writer | None:
        """A writer alone, or None."""
        with self._lock, storage_errors(LOG):
            known = self._find(writer_id)
            return known and known.writer

    def _find(self, writer_id: str) -> Known | None:
        known = self._known.get(writer_id)
        if known is not None:
            return known
        row = self._connection.execute("SELECT * FROM writer WHERE id = ?", (writer_id,)).fetchone()
        if row is None:
            return None
        rows = self._connection.execute("SELECT id, keys, types FROM schema WHERE writer = ?", (writer_id,))
        schemas = {number: (json.loads(keys), types) for number, keys, types in rows}
        while len(self._known) >= CACHED_WRITERS:
            self._known.pop(next(iter(self._known)))
        known = self._known[writer_id] = Known(Writer(*row[:6]), Mark(*row[6:]), schemas)
        return known

    def append(self, batches: Sequence[Incoming]) -> list[tuple[Ack | Exception, Writer | None]]:
        """Keep what is new, in one commit. With each answer comes the writer if something was kept.

        Raises `DiskFullError` or `DataError` if nothing was kept.
        """
        with self._lock, storage_errors(LOG):
            fresh: dict[str, Known] = {}
            seq = self.seq
            answers: list[tuple[Ack | Exception, Writer | None]] = []
            rows: list[tuple[object, ...]] = []
            schemas: list[tuple[object, ...]] = []
            for batch in batches:
                known = fresh.get(batch.writer_id) or self._find(batch.writer_id)
                if known is None:
                    unknown = NotFoundError(
                        f"no writer with id: `{batch.writer_id[:40]}`", hint="register it first"
                    )
                    answers.append((unknown, None))
                    continue
                verdict = judge(batch, known.mark)
                if isinstance(verdict, Exception):
                    answers.append((verdict, None))
                elif not verdict:
                    answers.append((Ack(known.mark, seq, False), None))
                else:
                    seq += 1
                    mark = Mark(batch.first + batch.count, batch.crc_after)
                    new = {k: v for k, v in batch.decoded.schemas.items() if k not in known.schemas}
                    fresh[batch.writer_id] = Known(
                        known.writer, mark, {**known.schemas, **new} if new else known.schemas
                    )
                    schemas += [
                        (batch.writer_id, k, json.dumps(keys), types) for k, (keys, types) in new.items()
                    ]
                    rows.append(
                        (
                            seq,
                            batch.writer_id,
                            batch.first,
                            batch.count,
                            batch.gap,
                            batch.encoding,
                            batch.packed,
                        )
                    )
                    answers.append((Ack(mark, seq, True), known.writer))
            if rows:
                marks = [(known.mark.expected, known.mark.crc, name) for name, known in fresh.items()]
                with transaction(self._connection) as connection:
                    connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
                    connection.executemany("UPDATE writer SET expected = ?, crc = ? WHERE id = ?", marks)
                    if schemas:
                        connection.executemany("INSERT INTO schema VALUES (?, ?, ?, ?)", schemas)
                self._known.update(fresh)
                self.seq = seq
            return answers

    def rows(self, after_seq: int) -> Iterator[Row]:
        """Batches after a commit that are still here, oldest first."""
        while True:
            with self._lock, storage_errors(LOG):
                found = self._connection.execute(
                    "SELECT * FROM log WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, PAGE_ROWS)
                ).fetchall()
            if not found:
                return
            for row in found:
                yield Row(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6])
            after_seq = found[-1][0]

    def never_below(self, seq: int) -> None:
        """Number the next commit above `seq`: the log may be empty while `series.db` knows of more."""
        with self._lock:
            self.seq = max(self.seq, seq)

    def trim(self, seq: int) -> None:
        """Drop batches up to a commit, then checkpoint. A full disk is no error here: there is a next time."""
        try:
            while self._trim_some(seq):
                pass
            with self._lock, storage_errors(LOG):
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except DiskFullError:
            pass

    def _trim_some(self, seq: int) -> bool:
        """Drop about a megabyte; whether there is more."""
        with self._lock, storage_errors(LOG):
            rows = self._connection.execute(
                "SELECT seq, length(data) FROM log WHERE seq <= ? ORDER BY seq LIMIT 256", (seq,)
            ).fetchall()
            if not rows:
                return False
            total, last = 0, 0
            for number, size in rows:
                last, total = number, total + size
                if total > TRIM_BYTES:
                    break
            # Dropping needs no fsync: what comes back after a power cut is in `series.db` too, and is known there
            self._connection.execute("PRAGMA synchronous=NORMAL")
            try:
                with transaction(self._connection) as connection:
                    connection.execute("DELETE FROM log WHERE seq <= ?", (last,))
                    self._set("trimmed", last)
                    connection.execute("PRAGMA incremental_vacuum(64)").fetchall()  # a row per page
            finally:
                self._connection.execute(f"PRAGMA synchronous={self._sync}")
            return True

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._connection.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """For tests."""
        return self._connection
