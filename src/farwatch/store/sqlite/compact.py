"""Compaction: joining segments of similar size, dropping rows that are in chunks by now or were deleted."""

import sqlite3
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from farwatch.store.series.blob import Blob
from farwatch.store.sqlite.blocks import PAGE_ROWS, Reader, Segment
from farwatch.store.sqlite.catalog import NEVER, RUN_BITS, STATE_KINDS
from farwatch.store.sqlite.flush import Rows, run_of, write_segment

Ints = NDArray[np.int64]

FAN_IN = 8  # segments that are joined into one: every row is rewritten about log8(rows) times
LARGEST_ROWS = 4 << 20  # a join takes about 100 bytes a row in memory; larger ones stay as they are
SINCE = len(STATE_KINDS) - 1


def choose(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Neighbours to join, or none: the newest ones, as far back as their size class reaches."""
    for size_class in range(32):
        limit = PAGE_ROWS * FAN_IN**size_class
        group: list[Segment] = []
        for segment in reversed(segments):
            if segment.rows > limit or sum(found.rows for found in group) + segment.rows > LARGEST_ROWS:
                break
            group.append(segment)
        if len(group) >= FAN_IN:
            return tuple(reversed(group))
        if limit > LARGEST_ROWS:
            return ()
    return ()


def join(reader: Reader, segments: tuple[Segment, ...], since_of: Callable[[int], Ints | None]) -> Rows:
    """The living rows of some neighbours, sorted by series. Raises `DataError` for damage: then nothing is dropped.

    `since_of`: for a run, the first segment that counts for each series; None if the run is deleted.
    """
    parts: list[Rows] = []
    for segment in segments:
        for no in reader.pages(segment, segment.d0, segment.d1):
            page = reader.page(segment, no, keep=False)
            rows = Rows(*(page.column(i) for i in range(4)))
            alive = _alive(rows.sids, segment.ord, since_of)
            parts.append(rows if alive.all() else rows.take(alive))
    if not parts:
        return Rows.none()
    joined = Rows.join(parts)
    return joined if len(segments) == 1 else joined.take(np.argsort(joined.sids, kind="stable"))


def _alive(sids: Ints, order: int, since_of: Callable[[int], Ints | None]) -> NDArray[np.bool_]:
    runs = run_of(sids)
    alive = np.zeros(len(sids), bool)
    for run in np.unique(runs).tolist():
        since = since_of(run)
        if since is not None:
            mine = runs == run
            k = sids[mine] & ((1 << RUN_BITS) - 1)
            known = k < len(since)
            alive[mine] = known & (since[np.where(known, k, 0)] <= order) if len(since) else False
    return alive


def replace(connection: sqlite3.Connection, old: tuple[Segment, ...], rows: Rows) -> Segment | None:
    """Put the joined rows in the place of some segments, inside the caller's transaction."""
    uids = [(segment.uid,) for segment in old]
    connection.executemany("DELETE FROM page WHERE segment = ?", uids)
    connection.executemany("DELETE FROM segment WHERE uid = ?", uids)
    return write_segment(connection, old[-1].ord, rows)


def read_since(connection: sqlite3.Connection, run: int) -> Ints | None:
    """The `since` column of a run that is not in memory; None if it is deleted."""
    row = connection.execute("SELECT dead FROM run WHERE no = ?", (run,)).fetchone()
    if row is None or row[0]:
        return None
    pages = connection.execute("SELECT data FROM state WHERE run = ? ORDER BY page", (run,)).fetchall()
    columns = [Blob(data, STATE_KINDS).column(SINCE) for (data,) in pages]
    return np.concatenate(columns) if columns else np.full(1, NEVER)
