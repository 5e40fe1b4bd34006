"""SQLite as a container: how its files are opened, and what its errors mean here.

One connection per file writes and checkpoints, always the same one: in every SQLite from 3.7.0 to 3.51.2 two
connections that write or checkpoint at once can damage the file (the WAL-reset bug). Readers open read-only.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farwatch.errors import DataError, DiskFullError

LOG = "log.db"
SERIES = "series.db"
META = "meta.db"
BLOBS = "blobs"

PAGE_BYTES = 4096
BUSY_S = 30.0
WAL_KEEP_BYTES = 64 << 20


def open_writer(
    path: Path, schema: str, *, sync: str = "FULL", checkpoint_pages: int = 1000
) -> sqlite3.Connection:
    """Open the writing connection of a file, making it first if it is not there.

    `sync`: SQLite's `synchronous`. `checkpoint_pages`: WAL pages after which a commit checkpoints, 0 for never.
    """
    with storage_errors(path.name):
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # can only be chosen before the first table
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={sync}")
            connection.execute("PRAGMA secure_delete=FAST")
            connection.execute(f"PRAGMA wal_autocheckpoint={checkpoint_pages}")
            connection.execute(f"PRAGMA journal_size_limit={WAL_KEEP_BYTES}")
            connection.execute("PRAGMA cache_size=-16000")
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("BEGIN IMMEDIATE")
            for statement in filter(str.strip, schema.split(";")):
                connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write. Raises `DataError` if there is no such file."""
    with storage_errors(path.name):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA query_only=1")
        connection.execute("PRAGMA cache_size=-8000")
    return connection


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn SQLite's errors into ours: `DiskFullError` for a full disk, else `DataError` naming `what`."""
    try:
        yield
    except sqlite3.Error as error:
        if is_full(error):
            raise DiskFullError(
                f"the disk is full: `{what}` cannot grow",
                hint="free some space; journals wait on their machines",
            ) from error
        raise DataError(f"`{what}` cannot be used: {error}", hint="run `farwatch fsck`") from error


def is_full(error: sqlite3.Error) -> bool:
    """Whether an error means that the disk is full. A failed write to a WAL comes as an I/O error in some versions."""
    code = getattr(error, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_WRITE


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One write transaction: all of it or, after any exception, nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
