"""Reading one series: which blocks, segments and rows of memory hold the points of a range.

A series is, in order of arrival: chunks with a pyramid above them, rows in segments, rows in memtables. A chart takes
the coarsest level that still gives two entries per bucket; where the edge of a range cuts an entry, what is below it
is read, down to the points, so that counts and extremes are exact. Where a block is damaged, what is below it is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from farwatch.errors import DataError
from farwatch.store.base import Axis, Buckets, Points
from farwatch.store.series import pyramid
from farwatch.store.series.blob import Blob
from farwatch.store.series.cut import Part, Rows, cut
from farwatch.store.series.pyramid import CHUNK, FAN, STEPS, TIMES, VALUES
from farwatch.store.sqlite.blocks import SID, Reader, Segment
from farwatch.store.sqlite.memtable import RunTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

DETAIL = 2  # entries per bucket, at least


@dataclass(slots=True)
class SeriesView:
    """Where the points of one series are, as of one moment.

    `sealed`: how many chunks. `loose`: how many points in `segments`. `tables`: memtables, older first; in them the
    series is number `k`. `lo`, `hi`: bounds of what is in chunks and segments, of step and of time.
    """

    sid: int
    k: int
    sealed: int
    loose: int
    segments: list[Segment]
    tables: list[RunTable]
    steps: tuple[float, float]
    times: tuple[float, float]


@dataclass(slots=True)
class Range:
    """What is asked for: an axis, and bounds that are inside."""

    axis: Axis
    lo: float = -np.inf
    hi: float = np.inf

    @property
    def by_time(self) -> bool:
        return self.axis == "time"

    @property
    def column(self) -> int:
        return TIMES if self.by_time else STEPS

    def mask(self, x: NDArray[np.float64] | NDArray[np.int64]) -> Mask | None:
        """Which axis values are inside; None if all are."""
        if self.lo == -np.inf and self.hi == np.inf:
            return None
        mask = (x >= self.lo) & (x <= self.hi)
        return None if mask.all() else mask

    def holds(self, bounds: tuple[float, float]) -> bool:
        return self.lo <= bounds[0] and bounds[1] <= self.hi


@dataclass(slots=True)
class Walk:
    """One reading of one series. `damage`: what could not be read, in words."""

    view: SeriesView
    reader: Reader | None
    span: Range
    damage: list[str] = field(default_factory=list)

    # --- points

    def points(self) -> Points:
        """All points of the range in order of arrival. Raises `DataError` for damage among them."""
        parts = list(self._chunk_points())
        for steps, times, values, _ in self._tail():
            mask = self.span.mask(times if self.span.by_time else steps)
            parts.append((steps, times, values) if mask is None else (steps[mask], times[mask], values[mask]))
        if self.damage:
            raise DataError("; ".join(self.damage[:3]), hint="the rest of the series can still be charted")
        if not parts:
            return Points(np.empty(0), np.empty(0, np.int64), np.empty(0))
        steps, times, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return Points(steps, times, values)

    def _chunk_points(self) -> Iterator[tuple[Floats, Ints, Floats]]:
        for no, chunk, mask in self._chunks():
            try:
                steps, times, values = chunk.column(STEPS), chunk.column(TIMES), chunk.column(VALUES)
            except DataError as error:
                self._damaged(no, error)
                continue
            yield (steps, times, values) if mask is None else (steps[mask], times[mask], values[mask])

    # --- charts

    def chart(self, buckets: int) -> Buckets:
        """The range cut into buckets; what is damaged is left out and named in `damage`."""
        if not self.view.sealed:
            return cut(self._tail_parts(), buckets)
        level = self._level(self._total(), buckets)
        while True:
            self.damage.clear()
            parts = [*self._parts(level), *self._tail_parts()]
            finer = min(level, self._level(sum(part.points() for part in parts), buckets))
            if finer == level:
                return cut(parts, buckets)
            level = finer  # fewer points are inside than there seemed to be

    def _total(self) -> int:
        """How many points there are at most."""
        return self.view.sealed * CHUNK + self.view.loose

    def _level(self, points: int, buckets: int) -> int:
        """The coarsest level that gives enough entries, and has any."""
        level = 0
        while points >= DETAIL * buckets * pyramid.entry_points(level + 1) and self.view.sealed >= FAN ** (
            level + 1
        ):
            level += 1
        return level

    def _parts(self, target: int) -> list[Part | Rows]:
        """Entries of level `target` where there are any, finer ones behind them and at the edges, else points."""
        parts: list[Part | Rows] = []
        whole = self.span.holds(self.view.times if self.span.by_time else self.view.steps)
        for level, first, end in self._tops(target if whole else None):
            self._visit(level, first, end, target, None, whole, parts)
        return parts

    def _tops(self, most: int | None) -> list[tuple[int, int, int]]:
        """Stretches of blocks, the highest level first, that cover all chunks once: (level, first, end)."""
        level = 0
        while self.view.sealed >= FAN ** (level + 1) and (most is None or level < most):
            level += 1
        stretches, covered = [], 0  # covered: blocks of the level at hand
        while level >= 0:
            end = self.view.sealed // FAN**level
            if end > covered:
                stretches.append((level, covered, end))
            covered = end * FAN
            level -= 1
        return stretches

    def _visit(
        self,
        level: int,
        first: int,
        end: int,
        target: int,
        mask: Mask | None,
        whole: bool,
        parts: list[Part | Rows],
    ) -> None:
        """Collect what of blocks `first` to before `end` is in the range; `mask`: which entries count, of one block."""
        assert self.reader is not None
        if not whole and mask is None:
            first, end = self._narrow(level, first, end)
        for no, block in self.reader.blocks(self.view.sid, level, first, end):
            if isinstance(block, DataError):
                self._instead(level, no, block, target, mask, whole, parts)
                continue
            try:
                if level == 0:
                    self._take_points(no, block, mask, whole, parts)
                else:
                    self._take_entries(level, no, block, target, mask, whole, parts)
            except DataError as error:
                self._instead(level, no, error, target, mask, whole, parts)

    def _narrow(self, level: int, first: int, end: int) -> tuple[int, int]:
        """Leave out blocks at both ends that lie outside; those in between are looked into."""
        assert self.reader is not None
        bounds = self.reader.bounds(self.view.sid, level, first, end, self.span.by_time)
        inside = [no for no, lo, hi in bounds if hi >= self.span.lo and lo <= self.span.hi]
        if len(bounds) < end - first:
            return first, end  # one is missing: look, and say so
        return (inside[0], inside[-1] + 1) if inside else (first, first)

    def _take_points(
        self, no: int, chunk: Blob, mask: Mask | None, whole: bool, parts: list[Part | Rows]
    ) -> None:
        x, values = chunk.floats(self.span.column), chunk.column(VALUES)
        inside = None if whole else self.span.mask(x)
        if mask is not None:
            inside = mask if inside is None else inside & mask
        if inside is None:
            parts.append(Part(x, values, no * CHUNK))
        elif inside.any():
            parts.append(Part(x[inside], values[inside], no * CHUNK + np.flatnonzero(inside)))

    def _take_entries(
        self,
        level: int,
        no: int,
        block: Blob,
        target: int,
        mask: Mask | None,
        whole: bool,
        parts: list[Part | Rows],
    ) -> None:
        at_lo, at_hi = (
            (pyramid.TIME_LO, pyramid.TIME_HI) if self.span.by_time else (pyramid.STEP_LO, pyramid.STEP_HI)
        )
        lo, hi = block.floats(at_lo), block.floats(at_hi)
        alive = np.ones(len(lo), bool) if mask is None else mask
        inside = alive if whole else alive & (lo >= self.span.lo) & (hi <= self.span.hi)
        if level <= target and inside.any():
            size = pyramid.entry_points(level)
            parts.append(_rows(block, lo, hi, size, no * pyramid.block_points(level), inside))
        if level <= target:
            below = alive & ~inside & (hi >= self.span.lo) & (lo <= self.span.hi)
        else:
            below = alive if whole else alive & (hi >= self.span.lo) & (lo <= self.span.hi)
        if below.any():
            self._descend(level, no, below, target, whole, parts)

    def _descend(
        self, level: int, no: int, below: Mask, target: int, whole: bool, parts: list[Part | Rows]
    ) -> None:
        """Look below some entries of a block: entry i belongs to child i // 64, and covers 16 entries (64 points) of it."""
        per_child = len(below) // FAN
        times = FAN if level > 1 else pyramid.BASE
        for child in np.unique(np.flatnonzero(below) // per_child).tolist():
            mask = np.repeat(below[child * per_child : (child + 1) * per_child], times)
            number = no * FAN + child
            self._visit(
                level - 1, number, number + 1, target, None if mask.all() and whole else mask, whole, parts
            )

    def _instead(
        self,
        level: int,
        no: int,
        error: DataError,
        target: int,
        mask: Mask | None,
        whole: bool,
        parts: list[Part | Rows],
    ) -> None:
        """A block cannot be read: take what is below it."""
        if level == 0:
            self._damaged(no, error)
        else:
            below = np.ones(pyramid.ENTRIES, bool) if mask is None else mask
            self._descend(level, no, below, min(target, level - 1), whole, parts)

    def _damaged(self, no: int, error: DataError) -> None:
        self.damage.append(f"points {no * CHUNK} to {(no + 1) * CHUNK - 1} are damaged: {error.message}")

    # --- chunks, segments, memory

    def _chunks(self) -> Iterator[tuple[int, Blob, Mask | None]]:
        """Chunks that have points of the range, with the mask of those points."""
        if not self.view.sealed:
            return
        assert self.reader is not None
        whole = self.span.holds(self.view.times if self.span.by_time else self.view.steps)
        stretches = [(0, self.view.sealed)] if whole else self._stretches()
        for first, end in stretches:
            for no, chunk in self.reader.blocks(self.view.sid, 0, first, end):
                if isinstance(chunk, DataError):
                    self._damaged(no, chunk)
                    continue
                mask = None if whole else self.span.mask(chunk.column(self.span.column))
                if mask is None or mask.any():
                    yield no, chunk, mask

    def _stretches(self) -> list[tuple[int, int]]:
        """Runs of chunks that may have points of the range, found from the top of the pyramid."""
        found: list[int] = []
        for level, first, end in self._tops(None):
            self._seek(level, first, end, found)
        numbers = np.array(sorted(found), np.int64)
        if not len(numbers):
            return []
        cuts = np.flatnonzero(np.diff(numbers) > 1) + 1
        return [(int(part[0]), int(part[-1]) + 1) for part in np.split(numbers, cuts)]

    def _seek(self, level: int, first: int, end: int, found: list[int]) -> None:
        assert self.reader is not None
        first, end = self._narrow(level, first, end)
        if level == 0:
            found.extend(range(first, end))
            return
        at_lo, at_hi = (
            (pyramid.TIME_LO, pyramid.TIME_HI) if self.span.by_time else (pyramid.STEP_LO, pyramid.STEP_HI)
        )
        for no, block in self.reader.blocks(self.view.sid, level, first, end):
            children = np.arange(no * FAN, (no + 1) * FAN)
            if not isinstance(block, DataError):
                inside = (block.floats(at_hi) >= self.span.lo) & (block.floats(at_lo) <= self.span.hi)
                children = children[inside.reshape(FAN, -1).any(axis=1)]
            if level == 1:
                found.extend(children.tolist())
            else:
                for child in children.tolist():
                    self._seek(level - 1, child, child + 1, found)

    def _tail_parts(self) -> list[Part]:
        parts = []
        for steps, times, values, first in self._tail():
            x = times.astype(np.float64) if self.span.by_time else steps
            mask = self.span.mask(x)
            if mask is None:
                parts.append(Part(x, values, first))
            elif mask.any():
                parts.append(Part(x[mask], values[mask], first + np.flatnonzero(mask)))
        return parts

    def _tail(self) -> Iterator[tuple[Floats, Ints, Floats, int]]:
        """Points that are in no chunk, in order of arrival, with the number of the first."""
        first = self.view.sealed * CHUNK
        for part in self._segment_points():
            yield *part, first
            first += len(part[0])
        for table in self.view.tables:
            for run in table.sorted():
                where = run.of(self.view.k)
                if where is not None:
                    yield run.steps[where], run.times[where], run.values[where], first
                    first += where.stop - where.start

    def _segment_points(self) -> Iterator[tuple[Floats, Ints, Floats]]:
        for segment in self.view.segments:
            assert self.reader is not None
            for no in self.reader.pages(segment, self.view.sid, self.view.sid):
                try:
                    page = self.reader.page(segment, no)
                    sids = page.column(SID)
                    first = int(np.searchsorted(sids, self.view.sid))
                    end = int(np.searchsorted(sids, self.view.sid, side="right"))
                    if first < end:
                        yield page.column(1)[first:end], page.column(2)[first:end], page.column(3)[first:end]
                except DataError as error:
                    self.damage.append(f"some of the newest points are damaged: {error.message}")


def _rows(block: Blob, lo: Floats, hi: Floats, size: int, first: int, inside: Mask) -> Rows:
    """Some entries of a block as partial buckets; `first`: number of the block's first point."""
    picked: slice | Ints = slice(None) if inside.all() else np.flatnonzero(inside)
    last = (np.arange(len(lo)) + 1) * size + first - 1
    return Rows(
        lo[picked],
        hi[picked],
        block.column(pyramid.MIN)[picked],
        block.column(pyramid.MAX)[picked],
        block.column(pyramid.SUM)[picked],
        block.column(pyramid.LAST)[picked],
        np.full(len(lo), size)[picked],
        block.column(pyramid.NONFINITE)[picked],
        last[picked],
    )
