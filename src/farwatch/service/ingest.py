"""From a request body to an acknowledgement: unpack, check, keep, apply, tell.

Bodies are decoded in the caller's thread. One committing thread drains what has come, keeps it in one commit of the store, applies what is
no number to the meta database in one transaction, tells the hub, and only then answers. What a batch says is checked before it is kept,
so that applying cannot fail for it; a meta database that cannot be written holds up answers, not data: it is tried again.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from farwatch.clock import Clock
from farwatch.errors import BodyError, BusyError, DataError, FarwatchError, GapError, NotFoundError
from farwatch.service import states
from farwatch.service.activity import Activity
from farwatch.service.changes import Applier, Change, Effects, read_changes
from farwatch.service.cut import cut_batch
from farwatch.service.limits import Limits
from farwatch.service.runs import Runs
from farwatch.settings import Settings
from farwatch.store.base import Ack, Decoded, Incoming, Points, Store, Writer
from farwatch.store.decode import decode_batch, unpack
from farwatch.store.meta import CommandRow, Meta, Writes
from farwatch.wire.batch import FLAG_GAP, Batch
from farwatch.wire.states import State

log = logging.getLogger("farwatch.ingest")

QUEUED_MAX = 1_000
GROUP_MAX = 256
GROUP_BYTES = 64 << 20
RETRY_S = 0.5
SETTLE_S = 2.0  # how long the store may wait for changes of what it wants to trim


class Hub(Protocol):
    """Who is told of commits."""

    def publish(self, seq: int, writer: Writer, decoded: Decoded) -> None: ...

    def touch(self, run_id: str) -> None: ...


@dataclass(slots=True)
class _Piece:
    """A batch on its way. `packed_size` counts for the run's size; `future` is answered once all its parts are kept."""

    incoming: Incoming
    writer: Writer
    changes: list[Change]
    future: "Future[dict[str, Any]] | None"
    gap_reason: str | None = None


@dataclass(slots=True)
class _Work:
    piece: _Piece
    ack: Ack
    effects: Effects = field(default_factory=Effects)


class Ingest:
    """Takes batches of all writers.

    *Threads*: `submit` by any; it decodes, and blocks for nothing else. *Ordering*: batches of one writer are kept in the order of their
    numbers; one that comes too early is answered by the number expected. *Errors*: through the future; see `submit`.
    """

    def __init__(
        self, store: Store, meta: Meta, runs: Runs, hub: Hub, settings: Settings, clock: Clock
    ) -> None:
        self._store = store
        self._meta = meta
        self._runs = runs
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._activity: Activity = runs.activity
        self._limits = Limits(store, runs.names, settings, clock)
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._queued = 0
        self.on_commands: Callable[[Iterable[CommandRow]], None] = lambda rows: None
        self._closed = False
        self._guard = threading.Lock()
        self._idle = threading.Condition(self._guard)
        self._in_flight = False
        self._replay()
        if hasattr(store, "guard"):
            store.guard = self.make_durable
        self._thread = threading.Thread(target=self._work, name="farwatch-ingest", daemon=True)
        self._thread.start()

    # --- coming in

    def submit(self, writer_id: str, packed: bytes, encoding: str) -> "Future[dict[str, Any]]":
        """Take one packed batch; the future gives `{"expected", "crc", "epoch", "seq", "set_aside"}`.

        It raises `GapError` and `ForkError` with the mark in `details`; `BodyError` and `LimitError` for a batch that can never be taken;
        `BusyError` and `DiskFullError` for one that may come again later; `NotFoundError` for a writer to be registered first.
        """
        future: Future[dict[str, Any]] = Future()
        try:
            piece = self._prepare(writer_id, packed, encoding)
            if isinstance(piece, dict):
                future.set_result(piece)
                return future
            piece.future = future
            self._enqueue(piece)
        except FarwatchError as error:
            future.set_exception(error)
        return future

    def _enqueue(self, piece: _Piece) -> None:
        with self._guard:
            if self._closed:
                raise BusyError("the server is closing", retry_after_s=2.0)
            if self._queued >= QUEUED_MAX:
                raise BusyError(
                    "more batches wait than can be written",
                    hint="send again a little later",
                    retry_after_s=1.0,
                )
            self._queued += 1
            self._queue.put(piece)

    def _prepare(self, writer_id: str, packed: bytes, encoding: str) -> "_Piece | dict[str, Any]":
        """Decode and check a batch; an answer at once for one that is known or too early."""
        batch = Batch.decode(unpack(packed, encoding, self._settings.batch_unpacked_max_bytes))
        if batch.writer_id != writer_id:
            raise BodyError("a batch of another writer than the address names")
        known = self._store.writer(writer_id)
        row = self._meta.writer(writer_id)
        if known is None or row is None:
            raise NotFoundError(f"no writer with id: `{writer_id}`", hint="register it first")
        run = self._meta.run(row.run_no)
        if run is None or run.purged:
            raise BodyError("the run of this writer was deleted for good")
        self._limits.check_disk()
        self._limits.check_project(run.project, self._runs.project_bytes)
        writer, mark, schemas = known
        end = batch.first + batch.count
        if (
            batch.first > mark.expected
        ):  # not left to the store: what is missing may come meanwhile, and this has not been decoded
            raise GapError(
                f"record {mark.expected} is expected, not: `{batch.first}`",
                hint="send from the expected record on",
                expected=mark.expected,
                crc=mark.crc,
                epoch=self._store.epoch,
            )
        if end <= mark.expected:
            nothing = Decoded(
                [], "", np.empty(0, np.int32), Points(np.empty(0), np.empty(0, np.int64), np.empty(0)), []
            )
            return _Piece(
                _incoming(batch, packed, encoding, nothing), writer, [], None
            )  # the store judges whether its history is the same
        if batch.first < mark.expected:
            batch, packed, encoding = cut_batch(batch, mark)
        decoded = decode_batch(batch, writer, schemas)
        self._limits.check_names(writer.run, decoded.names)
        changes = read_changes(decoded, self._settings)
        reason = bytes(batch.body).decode("utf-8", "replace") if batch.flags & FLAG_GAP else None
        return _Piece(
            _incoming(batch, packed, encoding, decoded, gap=reason is not None), writer, changes, None, reason
        )

    # --- the committing thread

    def _work(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            size = len(first.incoming.packed)
            stop = False
            while len(group) < GROUP_MAX and size < GROUP_BYTES:
                try:
                    piece = self._queue.get_nowait()
                except queue.Empty:
                    break
                if piece is None:
                    stop = True
                    break
                group.append(piece)
                size += len(piece.incoming.packed)
            try:
                self._commit(group)
            except Exception as error:  # a fault of ours must not end the thread that everything goes through
                log.exception("a group of batches was not kept")
                for piece in group:
                    if piece.future is not None and not piece.future.done():
                        piece.future.set_exception(error)
            if stop:
                return

    def _commit(self, group: list[_Piece]) -> None:
        with self._guard:
            self._queued -= len(group)
            self._in_flight = True
        try:
            self._delete_metrics(group)
            results = self._store.append([piece.incoming for piece in group])
            works = []
            for piece, result in zip(group, results, strict=True):
                if isinstance(result, Exception):
                    self._refuse(piece, result)
                elif result.new:
                    works.append(_Work(piece, result))
                else:
                    self._answer(piece, result)
            if works:
                self._apply_until_done(works)
                self._note(works)
        finally:
            with self._guard:
                self._in_flight = False
                self._idle.notify_all()
        for work in works:
            if work.effects.commands:
                self.on_commands(work.effects.commands)
            self._hub.publish(work.ack.seq, work.piece.writer, work.piece.incoming.decoded)
            if work.piece.changes or work.piece.gap_reason is not None:
                self._hub.touch(work.piece.writer.run)
            self._answer(work.piece, work.ack)

    def _delete_metrics(self, group: list[_Piece]) -> None:
        """Metrics that a batch deletes go before its points come; deleting twice is harmless."""
        for piece in group:
            row = self._meta.writer(piece.writer.writer_id)
            names = [
                name
                for change in piece.changes
                if row and change.number > row.applied
                for name in change.deletes
            ]
            if names:
                self._store.delete(piece.writer.run, names)

    def _refuse(self, piece: _Piece, error: Exception) -> None:
        if isinstance(error, GapError):
            error.details["epoch"] = self._store.epoch
        if piece.future is not None:
            piece.future.set_exception(error)

    def _answer(self, piece: _Piece, ack: Ack) -> None:
        if piece.future is not None:
            piece.future.set_result(
                {
                    "expected": ack.mark.expected,
                    "crc": ack.mark.crc,
                    "epoch": self._store.epoch,
                    "seq": ack.seq,
                    "set_aside": False,
                }
            )

    # --- applying

    def _apply_until_done(self, works: Sequence[_Work]) -> None:
        """Apply what is kept. It is in the log, so it must reach the meta database before anybody is told that it was taken."""
        if not any(
            work.piece.changes or work.piece.gap_reason is not None or self._speaks_again(work)
            for work in works
        ):
            return
        while True:
            try:
                self._meta.write(lambda writes: self._apply(writes, works), durable=False)
                return
            except DataError:
                if self._closed:
                    return  # replay brings it back
                raise
            except (
                Exception
            ):  # disk full, database locked by a backup: it passes, and the data is safe in the log
                log.exception("the meta database cannot be written; trying again")
                if self._closed:
                    return
                self._clock.sleep(RETRY_S)

    def _speaks_again(self, work: _Work) -> bool:
        row = self._meta.writer(work.piece.writer.writer_id)
        run = None if row is None else self._meta.run(row.run_no)
        return run is not None and (run.state == State.LOST or run.state in states.QUIET)

    def _apply(self, writes: Writes, works: Sequence[_Work]) -> None:
        for work in works:
            work.effects = self._apply_one(writes, work.piece)

    def _apply_one(self, writes: Writes, piece: _Piece) -> Effects:
        now_ms = self._clock.wall_us() // 1000
        applier = Applier.begin(writes, self._settings, piece.writer.writer_id, now_ms)
        if applier is None:
            return Effects()
        try:
            with writes.attempt_alone():
                effects = applier.apply(piece.changes)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            # A check that we lack: better one batch of notes lost and told of than a server that takes nothing any more.
            log.exception("changes of writer %s were not understood", piece.writer.writer_id)
            effects = Effects()
        if piece.gap_reason is not None:
            writes.put_gap(
                {
                    "writer_no": applier.writer.no, "first": piece.incoming.first, "run_no": applier.run.no,
                    "count": piece.incoming.count, "reason": piece.gap_reason[:1_000], "at_ms": now_ms,
                }
            )  # fmt: skip
        self._runs.speaks(writes, piece.writer.writer_id, logged=len(piece.incoming.decoded.index) > 0)
        return effects

    def _note(self, works: Sequence[_Work]) -> None:
        noted = []
        by_run: dict[int, list[_Work]] = {}
        for work in works:
            row = self._meta.writer(work.piece.writer.writer_id)
            run = None if row is None else self._meta.run(row.run_no)
            if row is None or run is None:
                continue
            self._limits.note(work.piece.writer.run, work.piece.incoming.decoded.names)
            noted.append((run, row, work.piece.incoming.decoded, len(work.piece.incoming.packed)))
            by_run.setdefault(run.no, []).append(work)
        self._activity.note(max(work.ack.seq for work in works), noted)
        for run_no, mine in by_run.items():
            if any(change.deletes for work in mine for change in work.piece.changes):
                self._runs.recount(run_no)
            elif any(work.effects.all_metrics for work in mine):
                known = self._meta.run(run_no)
                if known is not None:
                    self._activity.touch(known, all_metrics=True)

    # --- after a crash

    def _replay(self) -> None:
        """Apply what the log holds and the meta database lacks."""
        replay = getattr(self._store, "replay", None)
        if replay is None:
            return
        stale: set[int] = set()
        for seq, writer, decoded in replay(self._activity.applied_seq):
            row = self._meta.writer(writer.writer_id)
            run = None if row is None else self._meta.run(row.run_no)
            if row is None or run is None or run.purged:
                self._activity.settle(seq)
                continue
            try:
                changes = read_changes(decoded, self._settings)
            except FarwatchError:
                log.exception("changes of writer %s in the log are not understood", writer.writer_id)
                changes = []
            incoming = Incoming(writer.writer_id, 0, 0, 0, 0, b"", "identity", decoded)
            piece = _Piece(incoming, writer, changes, None)
            if changes:
                self._meta.write(lambda writes, piece=piece: self._apply_one(writes, piece), durable=False)  # type: ignore[misc]
            fresh = self._meta.writer(writer.writer_id) or row
            batch = (self._meta.run(run.no) or run, fresh, decoded, decoded.packed_bytes)
            self._activity.note(seq, [batch], replayed=True)
            if run.no not in stale:
                stale.add(run.no)
                self._activity.touch(run, all_metrics=True)

    def make_durable(self, seq: int) -> None:
        """The store's guard: all changes up to commit `seq` are in the meta database and survive a power cut when this returns.

        Raises `BusyError` if they are not applied within some seconds; then the log must not be trimmed yet.
        """
        with self._idle:
            done = self._idle.wait_for(
                lambda: self._activity.applied_seq >= seq or not self._in_flight, SETTLE_S
            )
        if not done:
            raise BusyError("changes of the log are still being applied", retry_after_s=1.0)
        self._activity.settle(seq)
        self._runs.flush(durable=True)

    def close(self) -> None:
        """Keep what has come, write what is in memory; may be called twice."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._runs.flush(durable=True)
        if hasattr(self._store, "guard"):
            self._store.guard = (
                None  # everything is in the meta database; what is trimmed from now on is not needed
            )


def not_yet(seq: int) -> None:
    """The guard of a store until an `Ingest` has taken over: nothing of the log may be trimmed before it was replayed."""
    raise BusyError("the log is still being read", retry_after_s=1.0)


def _incoming(batch: Batch, packed: bytes, encoding: str, decoded: Decoded, *, gap: bool = False) -> Incoming:
    return Incoming(
        batch.writer_id,
        batch.first,
        batch.count,
        batch.crc_before,
        batch.crc_after,
        bytes(packed),
        encoding,
        decoded,
        gap,
    )
