"""Checking a data folder: every page, every blob, every batch; what is damaged is named, and the rest is served."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farwatch.errors import DataError, FarwatchError
from farwatch.store.base import SeriesKey
from farwatch.store.blobs import list_blobs
from farwatch.store.decode import unpack
from farwatch.store.series.blob import Blob
from farwatch.store.series.pyramid import CHUNK, ENTRIES, ENTRY_KINDS, FAN, POINT_KINDS
from farwatch.store.sqlite.blocks import ROW_KINDS, SID, load_segments
from farwatch.store.sqlite.catalog import NEVER, RunState, load_run, sid_of
from farwatch.store.sqlite.files import BLOBS, LOG, META, SERIES, open_reader, storage_errors
from farwatch.wire.batch import Batch


@dataclass(slots=True)
class Report:
    """What `fsck` found. `problems`: in words. `series`: series with damage, each once; all others are whole."""

    problems: list[str] = field(default_factory=list)
    series: list[SeriesKey] = field(default_factory=list)
    runs: int = 0
    points: int = 0
    blocks: int = 0
    pages: int = 0
    batches: int = 0
    blobs: int = 0

    @property
    def ok(self) -> bool:
        return not self.problems

    def hit(self, key: SeriesKey, what: str) -> None:
        self.problems.append(f"`{key.name}` of run {key.run}, rank {key.rank}, attempt {key.attempt}: {what}")
        if key not in self.series:
            self.series.append(key)


def fsck(folder: Path, *, blobs: bool = True) -> Report:
    """Check the data in a folder without changing it; a server may be using it.

    `blobs`: also read every file and compare it with its name. *Cost*: reads everything once.
    """
    report = Report()
    for name in (LOG, SERIES, META):
        if (folder / name).exists():
            _check_file(folder / name, report)
    if (folder / SERIES).exists():
        try:
            with closing(open_reader(folder / SERIES)) as connection, storage_errors(SERIES):
                connection.execute("BEGIN")
                _check_series(connection, report)
        except DataError as error:
            report.problems.append(error.message)
    if (folder / LOG).exists():
        try:
            with closing(open_reader(folder / LOG)) as connection, storage_errors(LOG):
                _check_log(connection, report)
        except DataError as error:
            report.problems.append(error.message)
    if blobs and (folder / BLOBS).is_dir():
        for sha256, path in list_blobs(folder / BLOBS):
            report.blobs += 1
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    report.problems.append(f"a file is not what its SHA-256 says: `{sha256}`")
    return report


def _check_file(path: Path, report: Report) -> None:
    """Ask SQLite about its own structures."""
    try:
        with closing(open_reader(path)) as connection, storage_errors(path.name):
            rows = connection.execute("PRAGMA integrity_check(100)").fetchall()
            report.problems += [f"`{path.name}`: {text}" for (text,) in rows if text != "ok"]
    except FarwatchError as error:
        report.problems.append(error.message)


def _check_log(connection: sqlite3.Connection, report: Report) -> None:
    for seq, encoding, packed in connection.execute("SELECT seq, encoding, data FROM log ORDER BY seq"):
        report.batches += 1
        try:
            Batch.decode(unpack(packed, encoding, 1 << 31))
        except FarwatchError as error:
            report.problems.append(f"batch {seq} of the log: {error.message}")


def _check_series(connection: sqlite3.Connection, report: Report) -> None:
    """Every run: its state, its blocks, and that as many points are there as its state says."""
    loose, broken = _count_loose(connection, report)
    for (run_id,) in connection.execute("SELECT id FROM run WHERE dead = 0 ORDER BY no").fetchall():
        report.runs += 1
        try:
            run = load_run(connection, run_id)
        except DataError as error:
            report.problems.append(error.message)
            continue
        assert run is not None
        for k in sorted(run.all_of(None)):
            if k < run.written.m:
                _check_one(connection, report, run, k, loose, broken)


def _check_one(
    connection: sqlite3.Connection,
    report: Report,
    run: RunState,
    k: int,
    loose: dict[int, list[tuple[int, int]]],
    broken: list[tuple[int, int]],
) -> None:
    name, rank, attempt = run.keys[k]
    key = SeriesKey(run.id, name, rank, attempt)
    sid, sealed = sid_of(run.number, k), int(run.written.sealed[k])
    count = int(run.written.stats.count[k])
    report.points += count
    found = dict.fromkeys(range(12), 0)
    for level, no, step_lo, step_hi, data in connection.execute(
        "SELECT level, no, step_lo, step_hi, data FROM block WHERE sid = ? ORDER BY level, no", (sid,)
    ):
        report.blocks += 1
        if no != found[level]:
            report.hit(key, f"block {found[level]} of level {level} is missing")
        found[level] = no + 1
        try:
            _check_block(level, step_lo, step_hi, data)
        except DataError as error:
            report.hit(key, f"points {no * CHUNK * FAN**level} and later, level {level}: {error.message}")
    for level in range(12):
        if found[level] != sealed // FAN**level:
            report.hit(key, f"level {level} has {found[level]} blocks, {sealed // FAN**level} are due")
    since = int(run.written.since[k])
    rows = sum(n for order, n in loose.get(sid, []) if order >= since)
    if sealed * CHUNK + rows != count and since != NEVER:
        why = (
            "a damaged page holds some"
            if any(lo <= sid <= hi for lo, hi in broken)
            else "nothing explains it"
        )
        report.hit(key, f"{count} points are due, {sealed * CHUNK + rows} are there: {why}")


def _check_block(level: int, step_lo: float, step_hi: float, data: bytes) -> None:
    blob = Blob(data, ENTRY_KINDS if level else POINT_KINDS)
    if blob.n != (ENTRIES if level else CHUNK):
        raise DataError(f"a block of {blob.n} rows")
    for column in range(len(ENTRY_KINDS if level else POINT_KINDS)):
        blob.column(column)
    if (float(blob.column(0).min()), float(blob.column(1 if level else 0).max())) != (step_lo, step_hi):
        raise DataError("a block whose bounds are not those of its points")


def _count_loose(
    connection: sqlite3.Connection, report: Report
) -> tuple[dict[int, list[tuple[int, int]]], list[tuple[int, int]]]:
    """Rows in segments by series, as (place of the segment, how many); and the series ranges of damaged pages."""
    loose: dict[int, list[tuple[int, int]]] = {}
    broken: list[tuple[int, int]] = []
    for segment in load_segments(connection):
        rows = 0
        for no, d0, d1, data in connection.execute(
            "SELECT no, d0, d1, data FROM page WHERE segment = ? ORDER BY no", (segment.uid,)
        ):
            report.pages += 1
            try:
                rows += _check_page(data, d0, d1, segment.ord, loose)
            except DataError as error:
                broken.append((d0, d1))
                report.problems.append(f"page {no} of segment {segment.uid}: {error.message}")
        if rows != segment.rows and not broken:
            report.problems.append(f"segment {segment.uid} has {rows} rows, {segment.rows} are due")
    return loose, broken


def _check_page(data: bytes, d0: int, d1: int, order: int, loose: dict[int, list[tuple[int, int]]]) -> int:
    blob = Blob(data, ROW_KINDS)
    sids: NDArray[np.int64] = blob.column(SID)
    for column in range(1, len(ROW_KINDS)):
        blob.column(column)
    if (int(sids[0]), int(sids[-1])) != (d0, d1) or (sids[1:] < sids[:-1]).any():
        raise DataError("a page that is not sorted as it says")
    for sid, n in _runs(sids):
        loose.setdefault(sid, []).append((order, n))
    return len(sids)


def _runs(sids: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    values, counts = np.unique(sids, return_counts=True)
    yield from zip(values.tolist(), counts.tolist(), strict=True)
