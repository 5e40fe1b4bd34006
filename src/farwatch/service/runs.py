"""Runs as the rest of the server sees them: registered, found, described, changed."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from farwatch.clock import Clock
from farwatch.errors import NotFoundError, UsageError
from farwatch.service import states
from farwatch.service.changes import clean_path, forget_metrics
from farwatch.service.register import Registrar
from farwatch.service.sidecar import NAME_MAX, Sidecar, tag_list, text
from farwatch.service.summary import Summary
from farwatch.service.views import RunViews
from farwatch.settings import Settings
from farwatch.store.base import Store, Writer
from farwatch.store.meta import Meta, RunRow, WriterRow, Writes
from farwatch.wire.states import State

FLUSH_US = 5_000_000  # live numbers are written at most this often
NAME_US = 500  # and the summary of a run after as much time per metric: 50 s for 100,000


class Runs(RunViews):
    """All runs of a server.

    *Threads*: any. *Errors*: a run that does not exist, or was deleted for good, is a `NotFoundError`. *Cost*: rows come from memory; what
    reads the database is said where it is.

    `on_change` is called with a run's id after its row has changed for any reason but points, and must not wait. `drop_blob` is called
    with the hash of a file that no run has any more.
    """

    def __init__(self, meta: Meta, store: Store, settings: Settings, clock: Clock) -> None:
        super().__init__(meta, store, settings, clock)
        self.on_change: Callable[[str], None] = lambda run_id: None
        self.drop_blob: Callable[[str], None] = lambda sha256: None
        self._registrar = Registrar(meta, store, self.activity, clock)
        self._flushing = threading.Lock()
        self._flushed_us = clock.mono_us()
        self._written: dict[
            int, tuple[int, int]
        ] = {}  # run -> version of its summary in the database, and when it was written
        self._deferred: set[int] = set()  # runs whose summary in the database is older than their points
        for run in meta.runs_of(None):
            if not (run.final or run.purged or run.state == State.LOST):
                self.activity.touch(
                    run, all_metrics=True
                )  # its summary may not have been written before a crash

    # --- writers

    def register(self, sidecar: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """Make a writer known and say where it belongs; the same again for the same writer.

        Raises `BusyError` while that cannot be decided (`details["retry_after_s"]`), `ExistsError` and `NotFoundError` by the `resume`
        asked for, `RefusedError` for a deleted run, `UsageError` for a body that is none.
        """
        told = Sidecar.parse(sidecar, self.settings)
        fresh = self.meta.writer(told.writer) is None
        row = self._registrar.register(told, actor)
        self.store.register(Writer(row.id, row.run, row.rank, row.attempt, row.wall_us, row.step_base))
        if fresh:
            run = self.meta.run(row.run_no)
            if run is not None and row.attempt > 1 and row.role in states.DECIDING:
                self.activity.touch(
                    run, all_metrics=True
                )  # what is visible of earlier attempts may have changed
            self.on_change(row.run)
        return self._status(row)

    def writer_status(self, writer_id: str) -> dict[str, Any]:
        """What `register` answered, as of now."""
        row = self.meta.writer(writer_id)
        if row is None:
            raise NotFoundError(f"no writer with id: `{writer_id[:60]}`", hint="register it first")
        return self._status(row)

    def _status(self, row: WriterRow) -> dict[str, Any]:
        run = self.meta.run(row.run_no)
        known = self.store.writer(row.id)
        if run is None or known is None:
            raise NotFoundError(f"no writer with id: `{row.id}`", hint="register it first")
        with self.meta.read() as reads:
            missing = reads.missing_spool(writer_no=row.no)
        return {
            "run": run.id, "name": run.name, "project": run.project, "number": run.number, "short": run.short, "url": self.url(run),
            "attempt": row.attempt, "rank": row.rank, "expected": known[1].expected, "crc": known[1].crc, "epoch": self.store.epoch,
            "step_base": row.step_base, "missing": missing,
        }  # fmt: skip

    # --- changing

    def update(self, run_id: str, patch: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """Change name, notes, tags (`{"add", "remove"}`), group or `archived`; returns the row. Raises `UsageError` for other keys."""
        unknown = set(patch) - {"name", "notes", "tags", "archived", "group"}
        if unknown:
            raise UsageError(
                f"a run has no changeable: `{sorted(unknown)[0][:100]}`",
                hint="name, notes, tags, group, archived",
            )
        run = self._find(run_id)
        changed = self.meta.write(lambda writes: self._update(writes, run.no, patch, actor))
        self.on_change(run.id)
        return self.describe(changed)

    def _update(self, writes: Writes, run_no: int, patch: Mapping[str, Any], actor: str) -> RunRow:
        run = writes.run(run_no)
        assert run is not None
        if "name" in patch:
            name = text(patch["name"], NAME_MAX)
            if name is None or not name.strip():
                raise UsageError(f"`name` is a text of 1 to {NAME_MAX} characters")
            run = replace(run, name=name)
        if "notes" in patch:
            run = replace(run, notes=text(patch["notes"], self.settings.text_max_bytes) or "")
        if "group" in patch:
            run = replace(run, group_name=text(patch["group"], NAME_MAX))
        if "tags" in patch:
            run = replace(run, tags=self._new_tags(run.tags, patch["tags"]))
        if "archived" in patch:
            if not isinstance(patch["archived"], bool):
                raise UsageError("`archived` is true or false")
            run = replace(run, archived=patch["archived"])
        now_ms = self.clock.wall_us() // 1000
        writes.add_audit(now_ms, actor, "update", run.id, {"keys": sorted(patch)})
        return writes.put_run(replace(run, modified_ms=now_ms))

    def _new_tags(self, tags: Iterable[str], asked: Any) -> list[str]:
        if not isinstance(asked, dict) or not all(
            isinstance(asked.get(key, []), list) for key in ("add", "remove")
        ):
            raise UsageError('`tags` is {"add": […], "remove": […]}')
        removed = set(tag_list(asked.get("remove")))
        kept = dict.fromkeys([tag for tag in tags if tag not in removed] + tag_list(asked.get("add")))
        if len(kept) > self.settings.tags_max:
            raise UsageError(f"a run has at most {self.settings.tags_max} tags")
        return [*kept]

    def delete(self, run_id: str, actor: str) -> None:
        """Hide a run everywhere; it can be brought back until `delete_keep_s` has passed."""
        self._mark_deleted(run_id, actor, self.clock.wall_us() // 1000)

    def undelete(self, run_id: str, actor: str) -> None:
        """Bring a deleted run back."""
        self._mark_deleted(run_id, actor, None)

    def _mark_deleted(self, run_id: str, actor: str, at_ms: int | None) -> None:
        run = self._find(run_id)

        def change(writes: Writes) -> None:
            row = writes.run(run.no)
            assert row is not None
            writes.put_run(replace(row, deleted_ms=at_ms))
            writes.add_audit(
                self.clock.wall_us() // 1000, actor, "undelete" if at_ms is None else "delete", run.id
            )

        self.meta.write(change)
        self.on_change(run.id)

    def delete_metrics(self, run_id: str, names: Iterable[str], actor: str) -> None:
        """Delete metrics for good: points, media and summary."""
        run = self._find(run_id)
        listed = [name for name in names if name]
        if not listed:
            raise UsageError("no metric was named")
        self.store.delete(run.id, listed)

        def change(writes: Writes) -> list[str]:
            forget_metrics(writes, run.no, listed)
            detail = writes.detail(run.no)
            writes.put_detail(
                replace(
                    detail, given={name: value for name, value in detail.given.items() if name not in listed}
                )
            )
            writes.add_audit(
                self.clock.wall_us() // 1000, actor, "delete metrics", run.id, {"names": listed[:100]}
            )
            return writes.release_blobs(run.no)

        self._drop_blobs(self.meta.write(change))
        self.recount(run.no)
        self.on_change(run.id)

    def delete_file(self, run_id: str, path: str, actor: str) -> None:
        """Forget a file of a run."""
        run = self._find(run_id)

        def change(writes: Writes) -> list[str]:
            if not writes.delete_files(run.no, [clean_path(path) or path]):
                raise NotFoundError(f"no file: `{path[:300]}`")
            writes.add_audit(self.clock.wall_us() // 1000, actor, "delete file", run.id, {"path": path})
            return writes.release_blobs(run.no)

        self._drop_blobs(self.meta.write(change))

    def _drop_blobs(self, hashes: Iterable[str]) -> None:
        for sha256 in hashes:
            self.drop_blob(sha256)

    def pin_main_metric(self, project: str, name: str | None) -> None:
        """Choose the main metric of a project's runs; None lets the rule choose."""
        self.meta.write(lambda writes: writes.pin_main_metric(project, name))
        self._pinned = (
            {**self._pinned, project: name}
            if name
            else {key: value for key, value in self._pinned.items() if key != project}
        )

    def recount(self, run_no: int) -> None:
        """Make a run's summary and number of points again, after metrics were deleted."""
        run = self.meta.run(run_no)
        if run is not None:
            self.names.forget(run.id)
            self.activity.touch(run, all_metrics=True)
            self.activity.live(run).points = sum(info.count for info in self.store.series(run.id))

    # --- files

    def spooled(self, writer_id: str, name: str, sha256: str, size: int, media_type: str | None) -> None:
        """Note that a file which a journal names, or will name, has come."""
        row = self.meta.writer(writer_id)
        if row is None:
            raise NotFoundError(f"no writer with id: `{writer_id[:60]}`", hint="register it first")
        now_ms = self.clock.wall_us() // 1000
        spool = {
            "writer_no": row.no,
            "name": name,
            "run_no": row.run_no,
            "sha256": sha256,
            "size": size,
            "media_type": media_type,
        }

        def change(writes: Writes) -> None:
            writes.put_spool(spool)
            run = writes.run(row.run_no)
            if run is not None and run.ends_as is not None:
                states.settle(writes, row.run_no, now_ms)

        self.meta.write(change)
        self.on_change(row.run)

    # --- signs of life

    def speaks(self, writes: Writes, writer_id: str, *, logged: bool = False) -> None:
        """Bring a lost run back to running because one of its deciding writers has spoken; a quiet one if it has `logged`."""
        row = writes.writer(writer_id)
        if row is not None and row.rank == 0 and row.role in states.DECIDING and row.ended_ms is None:
            states.revive(writes, row.run_no, logged=logged)

    # --- keeping

    def flush(self, *, durable: bool = False, all_runs: bool = True) -> None:
        """Write numbers that are only in memory. `all_runs=False`: only if some seconds have passed since the last time, and
        of runs with very many metrics less often.
        """
        now_us = self.clock.mono_us()
        if not all_runs and now_us - self._flushed_us < FLUSH_US:
            return
        with self._flushing:
            self._flushed_us = now_us
            if not (self.activity.unwritten or durable or self._deferred):
                return
            snapshot = self.activity.take()
            behind = self._deferred | snapshot.runs.keys()
            known = [run for no in behind if (run := self.meta.run(no)) is not None and not run.purged]
            rows = [run for run in known if all_runs or durable or self._is_due(run, now_us)]
            try:
                summaries = self.summaries.get_many(rows)
                mains = {run.no: self.main_metric(run) for run in rows}

                def change(writes: Writes) -> None:
                    self.activity.write(writes, snapshot)
                    for run in rows:
                        self._write_summary(writes, run.no, summaries[run.no], mains[run.no])

                self.meta.write(change, durable=durable)
            except BaseException:
                self.activity.put_back(snapshot)
                raise
            self._written.update({run.no: (self.summaries.version.get(run.no, 0), now_us) for run in rows})
            self._deferred = {run.no for run in known} - {run.no for run in rows}

    def _is_due(self, run: RunRow, now_us: int) -> bool:
        """Whether a run's summary is to be written: that of one with 100,000 metrics costs a second."""
        _, written_us = self._written.get(run.no, (0, -FLUSH_US))
        return (
            run.final
            or run.state == State.LOST
            or now_us - written_us >= self.summaries.size(run.no) * NAME_US
        )

    def _write_summary(self, writes: Writes, no: int, summary: Summary, main: str | None) -> None:
        row = writes.run(no)
        if row is None or row.purged:
            return
        last = summary.get(main) if main is not None else None
        writes.put_run(replace(row, main_metric=main, main_last=None if last is None else repr(last)))
        if self.summaries.version.get(no, 0) != self._written.get(no, (0, 0))[0]:
            writes.put_summary(no, summary.names, summary.values.tobytes())

    def purge_deleted(self) -> list[str]:
        """Drop for good what was deleted longer ago than `delete_keep_s`; returns the ids."""
        limit_ms = self.clock.wall_us() // 1000 - int(self.settings.delete_keep_s * 1000)
        gone = [
            run
            for run in self.meta.runs_of(None)
            if run.deleted_ms is not None and run.deleted_ms < limit_ms and not run.purged
        ]
        for run in gone:
            self.purge(run.id)
        return [run.id for run in gone]

    def purge(self, run_id: str) -> None:
        """Drop a run for good: its points, and everything but its number."""
        run = self._find(run_id)
        self.store.delete(run.id)

        def change(writes: Writes) -> list[str]:
            row = writes.run(run.no)
            assert row is not None
            unused = writes.purge_run(run.no)
            writes.put_run(replace(row, purged=True, points=0, bytes=0, notes="", tags=[], main_last=None))
            writes.add_audit(self.clock.wall_us() // 1000, "", "purge", run.id)
            return unused

        self._drop_blobs(self.meta.write(change))
        self.activity.forget(run.no)
        self.summaries.forget(run.no)
        self.names.forget(run.id)
        self.on_change(run.id)

    # --- the table; last, because its name hides the type

    def list(self, **query: Any) -> dict[str, Any]:
        """The runs table; arguments and errors as in `RunTable.query`."""
        return {**self._table.query(**query), "epoch": self.store.epoch}
