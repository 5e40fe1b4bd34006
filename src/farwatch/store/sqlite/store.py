"""The store: a log that makes batches durable, a shelf that answers for points, and a flusher between them."""

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from farwatch.clock import Clock
from farwatch.errors import BusyError, DataError, DiskFullError, FarwatchError
from farwatch.settings import Settings
from farwatch.store.base import (
    Ack,
    Axis,
    Buckets,
    Decoded,
    Guard,
    Incoming,
    Mark,
    Points,
    SeriesInfo,
    SeriesKey,
    Writer,
)
from farwatch.store.decode import decode_batch, unpack
from farwatch.store.series.cut import cut
from farwatch.store.sqlite.answers import infos, no_points, place, span, without
from farwatch.store.sqlite.catalog import RunState
from farwatch.store.sqlite.heap import give_back
from farwatch.store.sqlite.lock import FolderLock
from farwatch.store.sqlite.log import LogFile, Row, Schemas
from farwatch.store.sqlite.read import Range, Walk
from farwatch.store.sqlite.shelf import Shelf
from farwatch.wire.batch import Batch

WAIT_S = 30.0  # longest wait of a batch for the flusher; then it is refused and comes again
RETRY_S = 1.0  # how long the flusher rests after a trouble, and how often it looks at the clock
CLOSE_S = 120.0
BEHIND = 8  # memtables of points taken in at open before one is flushed

_logger = logging.getLogger("farwatch.store")


class SqliteStore:
    """See `farwatch.store.base.Store`.

    *Threads*: any. `append` calls take turns; readers wait for nobody. One thread of its own flushes. *Errors*: a
    process that finds the folder in use by another raises `DataError`.
    """

    def __init__(self, folder: Path, settings: Settings, clock: Clock, guard: Guard | None = None) -> None:
        """Open the store in `folder`, making it if need be, and take in what a crash left in the log.

        `guard`: called with a commit number before the log is trimmed up to it; it returns once nothing up to there
        is needed from `replay` any more.
        """
        self.folder = folder
        self._settings = settings
        self._clock = clock
        self.guard = guard
        self.damage: dict[str, str] = {}  # what was found damaged, in words, by where
        self._closed = False
        self._closing = False
        self._trouble: FarwatchError | None = None
        self._trimmed = 0
        self._keep_log = False
        self._appending = threading.Lock()  # first in order, then `_flushing`, then those of the shelf
        self._flushing = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.ExitStack() as opened:
            self._folder_lock = opened.enter_context(contextlib.closing(FolderLock(folder)))
            self._log = opened.enter_context(
                contextlib.closing(LogFile(folder, durable=settings.durability != "os"))
            )
            self._shelf = opened.enter_context(contextlib.closing(Shelf(folder, clock.mono_us())))
            self._log.never_below(self._shelf.flushed)
            self._recover()
            opened.pop_all()
        self._thread = threading.Thread(target=self._flush_for_ever, name="farwatch-flusher", daemon=True)
        self._thread.start()

    # --- what it is

    @property
    def epoch(self) -> str:
        return self._log.epoch

    @property
    def seq(self) -> int:
        return self._log.seq

    def __enter__(self) -> "SqliteStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise DataError("the store is closed")

    # --- writers and batches

    def register(self, writer: Writer) -> Mark:
        self._check_open()
        return self._log.register(writer)

    def writer(self, writer_id: str) -> tuple[Writer, Mark, Schemas] | None:
        self._check_open()
        return self._log.find(writer_id)

    def append(self, batches: Sequence[Incoming]) -> list[Ack | Exception]:
        """See `Store.append`. Raises `BusyError` too, if the flusher has not kept up for 30 s: nothing was kept."""
        with self._appending:
            self._check_open()
            self._make_room()
            held, broken = self._runs_of(batches)
            sound = [batch for batch in batches if batch.writer_id not in broken]
            kept = iter(self._log.append(sound))
            answers: list[Ack | Exception] = []
            with self._shelf.lock:
                for batch in batches:
                    if batch.writer_id in broken:
                        answers.append(broken[batch.writer_id])
                        continue
                    answer, writer = next(kept)
                    if writer is not None and isinstance(answer, Ack):
                        self._shelf.remember(answer.seq, writer, batch.decoded, held[writer.run])
                    answers.append(answer)
            return answers

    def _runs_of(
        self, batches: Sequence[Incoming]
    ) -> tuple[dict[str, RunState | None], dict[str, DataError]]:
        """The runs of some batches, read before anything is kept; and writers whose run is damaged: they hurt nobody else."""
        held: dict[str, RunState | None] = {}
        broken: dict[str, DataError] = {}
        for writer_id in {batch.writer_id for batch in batches}:
            writer = self._log.writer(writer_id)
            if writer is not None and writer.run not in held:
                try:
                    held[writer.run] = self._shelf.run(writer.run)
                except DataError as error:
                    broken[writer_id] = error
        return held, broken

    def _make_room(self) -> None:
        """Let the flusher have a full memtable; wait while it is busy with the one before."""
        shelf = self._shelf
        limit = max(1, self._settings.memtable_points)
        with shelf.changed:
            if shelf.active.points < limit:
                return
            if shelf.frozen is not None and not shelf.changed.wait_for(
                lambda: shelf.frozen is None or self._trouble is not None or self._closing, WAIT_S
            ):
                raise BusyError("the store is writing older points", hint="try again later", retry_after_s=5)
            if shelf.frozen is not None:
                if isinstance(self._trouble, DiskFullError):
                    raise DiskFullError(self._trouble.message, hint=self._trouble.hint)
                raise BusyError(f"the store cannot write older points: {self._trouble}", retry_after_s=5)
            shelf.freeze(self._clock.mono_us())

    def replay(self, after_seq: int) -> Iterator[tuple[int, Writer, Decoded]]:
        """Batches after a commit that are still in the log, oldest first, decoded again.

        A batch that no longer unpacks is left out and named in `damage`.
        """
        self._check_open()
        for row in self._log.rows(after_seq):
            known = self._log.find(row.writer_id)
            decoded = None if known is None else self._decode(row, known.writer, known.schemas)
            if known is not None and decoded is not None:
                yield row.seq, known.writer, decoded

    def _decode(self, row: Row, writer: Writer, schemas: Schemas) -> Decoded | None:
        try:
            batch = Batch.decode(unpack(row.packed, row.encoding, 1 << 31))
            return replace(decode_batch(batch, writer, schemas), packed_bytes=len(row.packed))
        except FarwatchError as error:
            self._note(f"log {row.seq}", f"a batch of writer {row.writer_id} is damaged: {error.message}")
            return None

    def _recover(self) -> None:
        """Take in what is in the log and not in `series.db`."""
        for seq, writer, decoded in self.replay(self._shelf.flushed):
            try:
                held = self._shelf.run(writer.run)
            except DataError as error:
                self._note(f"run {writer.run}", error.message)
                self._keep_log = True  # the log holds the only copy of these points
                continue
            with self._shelf.lock:
                kept = self._without_deleted(seq, writer, decoded)
                self._shelf.remember(seq, writer, kept, held)
                full = self._shelf.active.points >= BEHIND * self._settings.memtable_points
                if full:
                    self._shelf.freeze(self._clock.mono_us())
            if full:
                self._shelf.flush()

    def _without_deleted(self, seq: int, writer: Writer, decoded: Decoded) -> Decoded:
        """A batch without what was deleted after it came."""
        gone = {name for run, name, last in self._shelf.tombstones if run == writer.run and seq <= last}
        if not gone:
            return decoded
        return without(decoded, [i for i, name in enumerate(decoded.names) if None in gone or name in gone])

    # --- reading

    def series(self, run: str, names: Sequence[str] | None = None) -> list[SeriesInfo]:
        self._check_open()
        keys, kinds, stats = self._shelf.stats(run, names)
        return infos(keys, kinds, stats)

    def points(
        self, key: SeriesKey, *, axis: Axis = "step", lo: float | None = None, hi: float | None = None
    ) -> Points:
        self._check_open()
        asked = span(axis, lo, hi)
        for walk in self._walks([key], asked):
            if walk is not None:
                try:
                    return walk.points()
                except DataError as error:
                    self._note(place(key), error.message)
                    raise DataError(
                        f"series {place(key)} is damaged: {error.message}", hint=error.hint
                    ) from error
        return no_points()

    def chart(
        self,
        keys: Sequence[SeriesKey],
        *,
        axis: Axis = "step",
        lo: float | None = None,
        hi: float | None = None,
        buckets: int = 1000,
    ) -> list[Buckets]:
        """See `Store.chart`. Damaged points are left out of their own series, which `damage` then names."""
        self._check_open()
        found: list[Buckets] = []
        buckets = max(1, buckets)
        for key, walk in zip(keys, self._walks(keys, span(axis, lo, hi)), strict=True):
            if walk is None:
                found.append(cut([], buckets))
                continue
            found.append(walk.chart(buckets))
            if walk.damage:
                self._note(place(key), walk.damage[0])
        return found

    def _walks(self, keys: Sequence[SeriesKey], asked: Range) -> Iterator[Walk | None]:
        """A walk for each series, all as of one moment; None for a series that does not exist."""
        for run in {key.run for key in keys}:
            self._shelf.run(run)
        with self._shelf.look(lambda _: self._shelf.views(keys)) as (views, reader):
            for view in views:
                yield None if view is None else Walk(view, reader, asked)

    # --- keeping house

    def delete(self, run: str, names: Sequence[str] | None = None) -> None:
        self._check_open()
        with self._appending:
            self._shelf.delete(run, names, self._log.seq)
        with self._shelf.changed:
            self._shelf.changed.notify_all()

    def flush(self) -> None:
        """Write everything that is in memory to `series.db`, and trim the log. Raises what goes wrong."""
        self._check_open()
        self._flush_all()

    def _flush_all(self) -> None:
        for _ in range(2):
            with self._shelf.lock:
                if self._shelf.frozen is None and self._shelf.active.seq:
                    self._shelf.freeze(self._clock.mono_us())
            self._flush_once()

    def _flush_once(self) -> None:
        """Write what was put aside, then trim the log; the flusher and `flush` take turns."""
        with self._flushing:
            for damaged in self._shelf.flush():
                self._note("flush", damaged)
            flushed = self._shelf.flushed
            if self._trimmed < flushed and not self._keep_log:
                if self.guard is not None:
                    self.guard(flushed)
                self._log.trim(flushed)
                self._trimmed = flushed

    def _flush_for_ever(self) -> None:
        """The flusher: one memtable after another, and in between compaction and reclaiming."""
        shelf = self._shelf
        while not self._closing:
            with shelf.changed:
                age_us = self._clock.mono_us() - shelf.active.born_us
                if shelf.frozen is None and shelf.active.seq and age_us >= self._settings.flush_s * 1e6:
                    shelf.freeze(self._clock.mono_us())
                if shelf.frozen is None and self._trouble is None and not shelf.doomed:
                    shelf.changed.wait(min(RETRY_S, max(self._settings.flush_s, 0.02)))
                    if shelf.frozen is None:
                        continue
            try:
                if shelf.frozen is not None:
                    self._flush_once()
                    give_back()
                while not self._closing and shelf.frozen is None and (shelf.compact() or shelf.reclaim()):
                    pass
                self._trouble = None
            except FarwatchError as error:
                self._rest(error)
            except (
                Exception
            ) as error:  # a border: whatever goes wrong, the log keeps the points and there is a next try
                self._rest(DataError(f"flushing failed: {error!r}"))

    def _rest(self, error: FarwatchError) -> None:
        """Say what is wrong, once, and wait before the next try."""
        if self._trouble is None or self._trouble.message != error.message:
            _logger.error("store: %s", error)
        self._note("flusher", error.message)
        with self._shelf.changed:
            self._trouble = error
            self._shelf.changed.notify_all()
            self._shelf.changed.wait_for(lambda: self._closing, RETRY_S)

    def _note(self, where: str, what: str) -> None:
        if len(self.damage) < 1000:
            self.damage[where] = what

    def status(self) -> dict[str, object]:
        """How the store is doing, for `doctor` and the page."""
        self._check_open()
        used, free = self._shelf.size_bytes()
        with self._shelf.lock:
            frozen = self._shelf.frozen.points if self._shelf.frozen else 0
            return {
                "seq": self.seq,
                "flushed_seq": self._shelf.flushed,
                "memory_points": self._shelf.active.points + frozen,
                "segments": len(self._shelf.segments),
                "series_bytes": used,
                "reclaimable_bytes": free,
                "trouble": self._trouble.message if self._trouble else None,
                "damage": dict(self.damage),
            }

    def close(self) -> None:
        """See `Store.close`. What cannot be flushed stays in the log and is taken in by the next open."""
        with self._appending:
            if self._closed:
                return
            self._closing = True
            with self._shelf.changed:
                self._shelf.changed.notify_all()
            self._thread.join(CLOSE_S)
            try:
                self._flush_all()
            except FarwatchError as error:
                _logger.error("store: %s", error)
            finally:
                self._closed = True
                self._shelf.close()
                self._log.close()
                self._folder_lock.close()
