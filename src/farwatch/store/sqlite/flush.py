"""Flushing: from a memtable to chunks, pyramids and a segment, in one transaction.

Everything is sorted by series once. Series that now have 4,096 points outside of chunks are sealed: their rows are taken
out of the segments, joined with the new ones and cut into chunks. All other rows become one segment. Only sealing
loops in Python, once per chunk; the state of all series is joined as columns.
"""

import sqlite3
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from farwatch.errors import DataError
from farwatch.store.series import blob, pyramid
from farwatch.store.series.pyramid import CHUNK, ENTRY_KINDS, FAN, POINT_KINDS, Entries
from farwatch.store.sqlite.blocks import PAGE_ROWS, ROW_KINDS, SID, Reader, Segment
from farwatch.store.sqlite.catalog import (
    PAGE_SERIES,
    RUN_BITS,
    RunState,
    Written,
    names_page,
    sid_of,
    state_page,
)
from farwatch.store.sqlite.memtable import Memtable, Sorted

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVEL_1_ENTRIES = CHUNK // pyramid.BASE  # entries of a chunk


@dataclass(slots=True)
class Rows:
    """Points of many series: `sids` (n,), and n points. Sorted by series, or in order of arrival, as the user says."""

    sids: Ints
    steps: Floats
    times: Ints
    values: Floats

    def take(self, which: NDArray[np.bool_] | Ints | slice) -> "Rows":
        return Rows(self.sids[which], self.steps[which], self.times[which], self.values[which])

    @classmethod
    def join(cls, parts: list["Rows"]) -> "Rows":
        if len(parts) == 1:
            return parts[0]
        columns = zip(*((part.sids, part.steps, part.times, part.values) for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    @classmethod
    def none(cls) -> "Rows":
        return cls(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), np.empty(0))


@dataclass(slots=True)
class RunPart:
    """One run in a flush: what is new of it, and what will be written of it."""

    run: RunState
    rows: Sorted
    ids: Ints
    m: int
    names: dict[int, list[list[object]]]  # pages of names to write
    written: Written
    seals: NDArray[np.bool_]  # which of `ids` are sealed


@dataclass(slots=True)
class Plan:
    """Everything that one flush writes. `ord`: of the segment, and `since` of what is sealed."""

    ord: int
    parts: list[RunPart] = field(default_factory=list)
    blocks: list[tuple[object, ...]] = field(default_factory=list)
    rows: Rows = field(default_factory=Rows.none)
    damage: list[str] = field(default_factory=list)


def begin(frozen: Memtable, next_ord: int) -> Plan:
    """Note what must be written of names, and with which state it starts. Called under the store's lock: no I/O here."""
    plan = Plan(next_ord)
    for number in sorted(frozen.runs):
        table = frozen.runs[number]
        run = table.run
        if run.deleted:
            continue
        m = len(run.keys)
        pages = [page for page in range(-(-m // PAGE_SERIES)) if page not in run.names_written]
        run.names_written.update(pages)
        names = {page: run.names_rows(page, m) for page in pages}
        nothing = Sorted(np.empty(0, np.int32), np.zeros(1, np.int64), *_no_columns())
        ids = np.empty(0, np.int64)
        plan.parts.append(RunPart(run, nothing, ids, m, names, run.written, np.empty(0, bool)))
    return plan


def undo(plan: Plan) -> None:
    """After a flush that failed: its pages of names are still to be written. Called under the store's lock."""
    for part in plan.parts:
        part.run.names_written.difference_update(part.names)


def build(plan: Plan, frozen: Memtable, segments: tuple[Segment, ...], reader: Reader) -> None:
    """Encode everything. Takes the time; needs no lock, because nobody else changes what is written."""
    loose: list[Rows] = []
    sealing: list[Rows] = []
    for part in plan.parts:
        rows = _living(frozen.runs[part.run.number].whole(), part.run.dead)
        written = part.written.grown(part.m)
        if rows is None:
            part.written = written
            continue
        part.rows, part.ids = rows, rows.ids.astype(np.int64)
        pending = written.stats.count[part.ids] - CHUNK * written.sealed[part.ids]
        part.seals = pending + np.diff(rows.starts) >= CHUNK
        written.stats.fold(part.ids, rows.stats)
        part.written = written
        sids = np.repeat(part.ids + sid_of(part.run.number, 0), np.diff(rows.starts))
        columns = Rows(sids, rows.steps, rows.times, rows.values)
        if part.seals.any():
            where = np.repeat(part.seals, np.diff(rows.starts))
            sealing.append(columns.take(where))
            loose.append(columns.take(~where))
        else:
            loose.append(columns)
    if sealing:
        loose.append(_seal(plan, Rows.join(sealing), segments, reader))
    if loose:
        plan.rows = Rows.join(loose)
        if len(loose) > 1:
            plan.rows = plan.rows.take(np.argsort(plan.rows.sids, kind="stable"))


def _no_columns() -> tuple[Floats, Ints, Floats]:
    return np.empty(0), np.empty(0, np.int64), np.empty(0)


def _living(rows: Sorted | None, dead: set[int]) -> Sorted | None:
    """Rows without those of deleted series."""
    if rows is None or not dead:
        return rows
    alive = ~np.isin(rows.ids, np.fromiter(dead, np.int64))
    if alive.all():
        return rows
    counts = np.diff(rows.starts)
    where = np.repeat(alive, counts)
    starts = np.concatenate([[0], np.cumsum(counts[alive])])
    kept = Sorted(rows.ids[alive], starts, rows.steps[where], rows.times[where], rows.values[where])
    return kept if len(kept.ids) else None


# --- sealing


def _seal(plan: Plan, new: Rows, segments: tuple[Segment, ...], reader: Reader) -> Rows:
    """Cut series into chunks; returns the rows that are left over, sorted by series."""
    since: list[Ints] = []
    bases: list[Ints] = []
    sids: list[Ints] = []
    for part in plan.parts:
        ids = part.ids[part.seals] if len(part.ids) else part.ids
        sids.append(ids + sid_of(part.run.number, 0))
        since.append(part.written.since[ids])
        bases.append(part.written.sealed[ids])
    wanted, first = np.concatenate(sids), np.concatenate(since)
    rows = Rows.join([*_pending(plan, wanted, first, segments, reader), new])
    rows = rows.take(np.argsort(rows.sids, kind="stable"))
    starts = np.searchsorted(rows.sids, wanted)
    counts = np.append(starts[1:], len(rows.sids)) - starts
    chunks = counts // CHUNK
    left = np.ones(len(rows.sids), bool)
    for sid, base, start, m in zip(
        wanted.tolist(), np.concatenate(bases).tolist(), starts.tolist(), chunks.tolist(), strict=True
    ):
        part_rows = slice(start, start + m * CHUNK)
        left[part_rows] = False
        _write_chunks(plan, reader, sid, base, rows.take(part_rows))
    at = 0
    for part in plan.parts:
        ids = part.ids[part.seals] if len(part.ids) else part.ids
        part.written.sealed[ids] += chunks[at : at + len(ids)]
        part.written.since[ids] = plan.ord
        at += len(ids)
    return rows.take(left)


def _pending(
    plan: Plan, wanted: Ints, since: Ints, segments: tuple[Segment, ...], reader: Reader
) -> list[Rows]:
    """The rows of some series in the segments, in order of arrival; `wanted` is sorted."""
    found: list[Rows] = []
    for segment in segments:
        lo, hi = np.searchsorted(wanted, segment.d0), np.searchsorted(wanted, segment.d1, side="right")
        for no in _pages_with(reader, segment, wanted[lo:hi]):
            try:
                page = reader.page(segment, no, keep=False)
                sids = page.column(SID)
                at = np.minimum(np.searchsorted(wanted, sids), len(wanted) - 1)
                hit = (wanted[at] == sids) & (since[at] <= segment.ord)
                if hit.any():
                    found.append(
                        Rows(sids[hit], page.column(1)[hit], page.column(2)[hit], page.column(3)[hit])
                    )
            except DataError as error:
                plan.damage.append(f"page {no} of segment {segment.uid}: {error.message}")
    return found


def _pages_with(reader: Reader, segment: Segment, sids: Ints) -> list[int]:
    """Pages of a segment that may hold any of some series."""
    if not len(sids):
        return []
    if len(sids) > 64:
        return reader.pages(segment, int(sids[0]), int(sids[-1]))
    return sorted({no for sid in sids.tolist() for no in reader.pages(segment, sid, sid)})


def _write_chunks(plan: Plan, reader: Reader, sid: int, base: int, rows: Rows) -> None:
    """Add chunks `base`, `base + 1`, … of a series, and the pyramid blocks that they complete."""
    count = len(rows.sids) // CHUNK
    for i in range(count):
        part = slice(i * CHUNK, (i + 1) * CHUNK)
        steps, times = rows.steps[part], rows.times[part]
        data = blob.encode([steps, times, rows.values[part]], POINT_KINDS)
        plan.blocks.append((sid, 0, base + i, *_bounds(steps, times), data))
    fresh = pyramid.summarise(rows.steps, rows.times, rows.values)  # entries of all new chunks
    level, per_child, first, end = 1, LEVEL_1_ENTRIES, base, base + count
    while (
        end // FAN > first // FAN
    ):  # children `first` to before `end` of this level are new, and complete a block
        made: list[Entries] = []
        blocks = range(first // FAN, end // FAN)
        for no in blocks:
            entries = _entries_of(plan, reader, sid, level, no, first, per_child, fresh)
            if entries is None:
                made.append(_unknown(pyramid.ENTRIES))
                continue
            bounds = (
                float(entries.step_lo.min()),
                float(entries.step_hi.max()),
                int(entries.time_lo.min()),
                int(entries.time_hi.max()),
            )
            plan.blocks.append((sid, level, no, *bounds, entries.encode()))
            made.append(entries)
        fresh = pyramid.coarsen(pyramid.join(made))
        level, per_child, first, end = level + 1, pyramid.ENTRIES // FAN, blocks.start, blocks.stop


def _bounds(steps: Floats, times: Ints) -> tuple[float, float, int, int]:
    return float(steps.min()), float(steps.max()), int(times.min()), int(times.max())


def _entries_of(
    plan: Plan, reader: Reader, sid: int, level: int, no: int, first: int, per_child: int, fresh: Entries
) -> Entries | None:
    """The 1,024 entries of block `no`, those of children before `first` read from disk; None if one is damaged."""
    parts: list[Entries] = []
    start = no * FAN
    if start < first:
        for child, found in reader.blocks(sid, level - 1, start, first):
            try:
                if isinstance(found, DataError):
                    raise found
                columns = [found.column(i) for i in range(len(ENTRY_KINDS if level > 1 else POINT_KINDS))]
                parts.append(pyramid.coarsen(Entries(*columns)) if level > 1 else pyramid.summarise(*columns))
            except DataError as error:
                plan.damage.append(f"block {child} of level {level - 1} of series {sid}: {error.message}")
                return None
    known = slice(max(0, start - first) * per_child, (start + FAN - first) * per_child)
    new = Entries(*(column[known] for column in fresh.columns()))
    if np.isnan(new.step_lo).any():
        return None
    return pyramid.join([*parts, new])


def _unknown(n: int) -> Entries:
    """Entries over damaged points: no block is made of them, and readers look below."""
    nan, zero = np.full(n, np.nan), np.zeros(n, np.int64)
    return Entries(nan, nan, zero, zero, nan, nan, nan, nan, zero)


# --- writing


def write(connection: sqlite3.Connection, plan: Plan, flushed: int) -> Segment | None:
    """Put a plan into the file, inside the caller's transaction. Returns the new segment, if rows were left."""
    for part in plan.parts:
        _write_state(connection, part)
    connection.executemany("INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?, ?)", plan.blocks)
    segment = write_segment(connection, plan.ord, plan.rows)
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('flushed', ?)", (flushed,))
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('ord', ?)", (plan.ord + 1,))
    connection.execute("DELETE FROM tombstone WHERE seq <= ?", (flushed,))
    return segment


def _write_state(connection: sqlite3.Connection, part: RunPart) -> None:
    """The run, its names where they changed, and the state of its series where they grew."""
    number = part.run.number
    connection.execute("INSERT OR IGNORE INTO run VALUES (?, ?, 0)", (number, part.run.id))
    connection.executemany(
        "INSERT OR REPLACE INTO names VALUES (?, ?, ?)",
        [(number, page, names_page(rows)) for page, rows in part.names.items()],
    )
    changed = set(np.unique(part.ids // PAGE_SERIES).tolist()) | set(part.names)
    connection.executemany(
        "INSERT OR REPLACE INTO state VALUES (?, ?, ?)",
        [(number, page, state_page(part.written, page)) for page in sorted(changed)],
    )


def write_segment(connection: sqlite3.Connection, order: int, rows: Rows) -> Segment | None:
    """Write rows, sorted by series, as one segment."""
    n = len(rows.sids)
    if not n:
        return None
    d0, d1 = int(rows.sids[0]), int(rows.sids[-1])
    cursor = connection.execute(
        "INSERT INTO segment (ord, rows, d0, d1) VALUES (?, ?, ?, ?)", (order, n, d0, d1)
    )
    uid = int(cursor.lastrowid or 0)
    for no, start in enumerate(range(0, n, PAGE_ROWS)):
        page = rows.take(slice(start, start + PAGE_ROWS))
        data = blob.encode([page.sids, page.steps, page.times, page.values], ROW_KINDS)
        connection.execute(
            "INSERT INTO page VALUES (?, ?, ?, ?, ?)", (uid, no, int(page.sids[0]), int(page.sids[-1]), data)
        )
    return Segment(uid, order, n, d0, d1)


def run_of(sids: Ints) -> Ints:
    """The numbers of the runs that some series belong to."""
    return sids >> RUN_BITS
