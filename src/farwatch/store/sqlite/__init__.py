"""The store that Farwatch uses: SQLite as the container, chunks as the format.

`log.db` holds batches as they came until their points are in `series.db`. See `docs` for the measurements behind it.
"""

from pathlib import Path

from farwatch.clock import Clock, SystemClock
from farwatch.settings import Settings
from farwatch.store.base import Guard
from farwatch.store.sqlite.care import backup, restore
from farwatch.store.sqlite.fsck import Report, fsck
from farwatch.store.sqlite.store import SqliteStore

__all__ = ["Report", "SqliteStore", "backup", "fsck", "open_store", "restore"]


def open_store(
    folder: Path, settings: Settings, clock: Clock | None = None, guard: Guard | None = None
) -> SqliteStore:
    """Open the store in a folder, making it if need be. Raises `DataError` if it is in use or beyond repair."""
    return SqliteStore(folder, settings, clock or SystemClock(), guard)
