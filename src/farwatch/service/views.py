"""Runs described: rows, details, metrics, console, media, files. Nothing here changes anything."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farwatch.clock import Clock
from farwatch.errors import NotFoundError
from farwatch.service.activity import Activity
from farwatch.service.events import steerable
from farwatch.service.history import visible_intervals
from farwatch.service.media import media_item
from farwatch.service.names import Names
from farwatch.service.regex import search
from farwatch.service.summary import STATS, Rule, Summaries, main_metric, rule_of
from farwatch.service.table import RunTable, plain
from farwatch.settings import Settings
from farwatch.store.base import SeriesInfo, SeriesKey, Store
from farwatch.store.meta import Meta, RunRow, WriterRow
from farwatch.wire.ids import short_id
from farwatch.wire.states import State

REF_NUMBER = re.compile(r"(.+)#(\d{1,9})", re.DOTALL)
CANDIDATES_MAX = 10
LISTED_MAX = 10_000
GROUPS_MAX = 1_000
FED = "it is fed by requests: no process of it takes commands"  # why such a run cannot be steered


class RunViews:
    """The reading half of `Runs`."""

    def __init__(self, meta: Meta, store: Store, settings: Settings, clock: Clock) -> None:
        self.meta = meta
        self.store = store
        self.settings = settings
        self.clock = clock
        self.activity = Activity(meta, clock)
        self.summaries = Summaries(meta, store, self.activity)
        self.names = Names(store)
        self.base_url: str = settings.url
        self.alerts_of: Callable[[int], int] = lambda run_no: 0  # how many alerts of a run need somebody
        self.advice_of: Callable[[RunRow], dict[str, Any]] = lambda run: {"say": None, "why": ""}
        self.commands_ms: dict[int, int] = {}  # by number: when something last happened to a command of the run
        self._table = RunTable(meta, self.activity, self.summaries, settings, clock, self.describe)
        with meta.read() as reads:
            self._pinned = {
                name: row["main_metric"] for name, row in reads.projects().items() if row["main_metric"]
            }

    def url(self, run: RunRow) -> str:
        """The address of a run's page."""
        return f"{self.base_url.rstrip('/')}/r/{run.short}" if self.base_url else f"r/{run.short}"

    # --- finding

    def find(self, ref: str) -> str:
        """The id of a run by its id, its short id or `project#number`.

        Raises `NotFoundError` for none, with the candidates if the reference fits several.
        """
        return self._find(ref).id

    def _find(self, ref: str) -> RunRow:
        run = self.meta.run_by_id(ref)
        if run is not None and not run.purged:
            return run
        if (numbered := REF_NUMBER.fullmatch(ref)) is not None:
            run = self.meta.run_by_number(numbered[1], int(numbered[2]))
            if run is not None and not run.purged:
                return run
        found = [
            row for row in self.meta.runs_by_short(short_id(ref)) if not row.purged and row.id.startswith(ref)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotFoundError(
                f"several runs begin with: `{ref[:150]}`",
                hint="one of "
                + ", ".join(f"{row.id} ({row.project}#{row.number})" for row in found[:CANDIDATES_MAX]),
                candidates=[row.id for row in found[:CANDIDATES_MAX]],
            )
        raise NotFoundError(
            f"no run: `{ref[:150]}`",
            hint="a run is named by its id, its first 7 letters, or `project#number`",
        )

    def creator(self, run_id: str) -> str:
        """The actor that made a run."""
        return self._find(run_id).creator

    def runs_with_blob(self, sha256: str) -> list[str]:
        """Ids of the runs that have a file of this hash."""
        with self.meta.read() as reads:
            nos = reads.runs_with_blob(sha256)
        return [run.id for no in nos if (run := self.meta.run(no)) is not None and not run.purged]

    # --- describing

    def row(self, run_id: str) -> dict[str, Any]:
        """A run as it stands in the table, without cells."""
        return self.describe(self._find(run_id))

    def describe(self, stored: RunRow) -> dict[str, Any]:
        """The same for a row at hand."""
        run = self.activity.overlay(stored)
        now_ms = self.clock.wall_us() // 1000
        until = (
            run.ended_ms
            if run.ended_ms is not None
            else run.contact_ms
            if run.state == State.LOST
            else now_ms
        )
        name, last = self._main(run)
        return {
            "id": run.id, "short": run.short, "number": run.number, "name": run.name, "project": run.project, "state": run.state,
            "reason": run.reason, "created_ms": run.created_ms, "modified_ms": run.modified_ms, "started_ms": run.started_ms,
            "ended_ms": run.ended_ms, "duration_ms": max(0, until - run.started_ms), "contact_ms": run.contact_ms, "owner": run.owner,
            "host": run.host, "attempt": run.attempt, "group": run.group_name, "job_type": run.job_type, "parent": run.parent,
            "tags": list(run.tags), "notes": run.notes, "archived": run.archived, "deleted_ms": run.deleted_ms, "step": plain(run.step),
            "total_steps": plain(run.total_steps), "progress": run.progress, "points": run.points, "bytes": run.bytes,
            "world_size": run.world_size, "main_metric": name, "main_last": plain(last),
            "commands_ms": self.commands_ms.get(run.no, 0), "alerts": self.alerts_of(run.no),
        }  # fmt: skip

    def _main(self, run: RunRow) -> tuple[str | None, float | None]:
        """The main metric of a run and its last value, without making its whole summary where that can be avoided."""
        name = run.main_metric
        if name is None or self._pinned.get(run.project, name) != name:
            if not run.points:
                return None, None
            name = self.main_metric(run)
        if name is None:
            return None, None
        if self.activity.stale(run.no):
            own = [info for info in self.store.series(run.id, [name]) if info.key.rank == 0]
            return name, own[-1].last if own else None
        if run.main_metric == name and run.main_last is not None:
            return name, float(run.main_last)
        return name, self.summaries.get(run).get(name)

    def main_metric(self, run: RunRow) -> str | None:
        """The metric that stands for a run."""
        names = self.summaries.get(run).names
        first = self.activity.overlay(run).first_metric
        return main_metric(names, self.meta.detail(run.no).definitions, first, self._pinned.get(run.project))

    def costs(self, run_id: str) -> dict[str, Any]:
        """What is on its way and what logging has cost: what changes beside the row while a run goes on."""
        whole = self.detail(run_id, summary=False)
        return {key: whole[key] for key in ("lag", "meter")}

    def detail(self, run_id: str, summary: bool = True) -> dict[str, Any]:
        """Everything about a run but its points; without `summary`, that is empty. Reads the database."""
        run = self._find(run_id)
        detail = self.meta.detail(run.no)
        with self.meta.read() as reads:
            attempts, writers, gaps = reads.attempts(run.no), reads.writers_of(run.no), reads.gaps(run.no)
            missing = len(reads.missing_spool(run_no=run.no))
        ranks: dict[int, dict[str, Any]] = {}
        for row in writers:
            rank = ranks.setdefault(row.rank, {"rank": row.rank, "host": row.host, "writers": []})
            rank["writers"].append(row.id)
        live = self.activity.live(run)
        shown = []
        for one in attempts:
            first, _ = live.attempt_steps.get(one.attempt, (one.first_step, None))
            current = one.attempt == run.attempt
            shown.append(
                {
                    "attempt": one.attempt, "started_ms": one.started_ms, "ended_ms": run.ended_ms if current else one.ended_ms,
                    "state": run.state if current else one.state, "reason": run.reason if current else one.reason,
                    "first_step": plain(one.first_step if one.first_step is not None else first), "host": one.host,
                }
            )  # fmt: skip
        return {
            **self.describe(run),
            "config": detail.config, "summary": self.summary(run) if summary else {}, "attempts": shown,
            "ranks": [ranks[rank] for rank in sorted(ranks)],
            "definitions": detail.definitions, "capture": detail.capture, "meter": _add_meters(row.meter for row in writers),
            "gaps": gaps, "steer": steerable(detail.steer, FED if run.role == "http" else None), "advice": self.advice_of(run),
            "traceback": detail.traceback, "argv": detail.argv,
            "python": detail.python, "url": self.url(run), "restartable": any(row.role == "runner" and row.agent for row in writers),
            "lag": _lag(writers, missing),
        }  # fmt: skip

    def summary(self, run: RunRow) -> dict[str, Any]:
        """One value per metric by its rule, and what the program set by itself."""
        found = self.summaries.get(run)
        detail = self.meta.detail(run.no)
        if detail.definitions:
            values = {
                name: plain(found.get(name, rule_of(name, detail.definitions).summary))
                for name in found.names
            }
        else:  # a column at once: a run may have a hundred thousand metrics
            column = found.values[:, STATS.index(Rule().summary)].tolist()
            values = dict(zip(found.names, map(plain, column), strict=True))
        return {**values, **detail.given}

    def definitions(self, run_id: str) -> list[dict[str, Any]]:
        """What `define_metric` told of a run's metrics."""
        return self.meta.detail(self._find(run_id).no).definitions

    def visible(self, run_id: str, name: str, rank: int = 0) -> list[tuple[SeriesKey, float, float]]:
        """The visible history of a metric: which steps (both included) of which attempt, oldest first."""
        run = self._find(run_id)
        infos = [info for info in self.store.series(run.id, [name]) if info.key.rank == rank]
        return [(one.key, one.lo, one.hi) for one in visible_intervals(infos, self.rewinds(run.id))]

    def rewinds(self, run_id: str) -> dict[int, float]:
        """Attempt -> the step to which it went back, where it was told to."""
        run = self._find(run_id)
        return self.summaries.rewinds(run) if run.attempt > 1 else {}

    def projects(self) -> dict[str, Any]:
        """All projects that have runs, newest first."""
        listed = []
        for name in self.meta.project_names():
            rows = [
                self.activity.overlay(row)
                for row in self.meta.runs_of(name)
                if row.deleted_ms is None and not row.purged
            ]
            if rows:
                listed.append(
                    {
                        "name": name, "runs": len(rows), "running": sum(not row.final for row in rows),
                        "points": sum(row.points for row in rows), "bytes": sum(row.bytes for row in rows),
                        "modified_ms": max(row.modified_ms for row in rows), "main_metric": self._pinned.get(name),
                    }
                )  # fmt: skip
        return {"projects": sorted(listed, key=lambda one: -one["modified_ms"])}

    def project_bytes(self, project: str) -> int:
        """Bytes that the runs of a project were sent in."""
        return sum(self.activity.overlay(run).bytes for run in self.meta.runs_of(project) if not run.purged)

    def columns(self, project: str) -> dict[str, Any]:
        """What can be a column of a project's table. Reads all configs of the project once."""
        return self._table.columns(project)

    def metrics(
        self, run_id: str, match: str | None = None, limit: int = 1_000, offset: int = 0
    ) -> dict[str, Any]:
        """The metrics of a run in order of their names, `limit` from the `offset`-th on.

        `match`: a regular expression that a name must contain. `groups`: how many of all that fit stand under each prefix; under its
        first part only, where there are very many.
        """
        run = self._find(run_id)
        names = self.names.listed(run.id)
        if match:
            names = search(match, names, self.settings.regex_s)
        page = names[max(offset, 0) : max(offset, 0) + max(0, min(limit, LISTED_MAX))]
        by_name: dict[str, list[SeriesInfo]] = {}
        for info in self.store.series(run.id, page) if page else ():
            by_name.setdefault(info.key.name, []).append(info)
        definitions = self.meta.detail(run.no).definitions
        rewinds = self.rewinds(run.id)
        shown = [
            _metric(name, infos, self.summaries.numbers(infos, rewinds), rule_of(name, definitions))
            for name, infos in sorted(by_name.items())
        ]
        return {"metrics": shown, "total": len(names), "groups": _groups(names)}

    def console(
        self,
        run_id: str,
        *,
        first: int | None = None,
        limit: int = 1_000,
        tail: bool = False,
        rank: int = 0,
        q: str | None = None,
    ) -> dict[str, Any]:
        """Console lines of a rank from number `first` on, or the last ones; `q`: only lines that contain it."""
        run = self._find(run_id)
        with self.meta.read() as reads:
            lines, total = reads.console(
                run.no, rank, first=first, limit=min(max(limit, 0), LISTED_MAX), tail=tail, text=q
            )
        return {"lines": lines, "total": total}

    def console_base(self, writer_id: str) -> int:
        """What to add to a writer's own line numbers to get those of `console`."""
        row = self.meta.writer(writer_id)
        return row.console_base or 0 if row is not None else 0

    def media(
        self,
        run_id: str,
        *,
        name: str | None = None,
        step_min: float | None = None,
        step_max: float | None = None,
        limit: int = 200,
    ) -> dict[str, Any]:
        """Points that are no numbers: which names there are, and the newest `limit` items in order of name and step."""
        run = self._find(run_id)
        with self.meta.read() as reads:
            names = reads.media_names(run.no)
            rows = reads.media(
                run.no, name=name, step_min=step_min, step_max=step_max, limit=min(max(limit, 0), LISTED_MAX)
            )
        for one in names:
            one["step_min"], one["step_max"] = plain(one["step_min"]), plain(one["step_max"])
        return {"names": names, "items": [media_item(run, row) for row in rows]}

    def figure(self, run_id: str, sha256: str) -> None:
        """Raise `NotFoundError` unless the run logged these bytes as a document to be shown: HTML, as a figure or as such."""
        run = self._find(run_id)
        with self.meta.read() as reads:
            rows = reads.media(run.no, sha256=sha256, limit=LISTED_MAX)
        if not any(media_item(run, row)["frame"] for row in rows):
            raise NotFoundError("no figure of this run has this hash")

    def files(self, run_id: str) -> dict[str, Any]:
        """Files of a run; `sha256` is None until the content has come."""
        run = self._find(run_id)
        with self.meta.read() as reads:
            rows = reads.files(run.no)
        keys = ("path", "sha256", "mtime_ms", "media_type")
        return {
            "files": [
                {**{key: getattr(row, key) for key in keys}, "size": row.blob_size or row.size}
                for row in rows
            ]
        }

    def file(self, run_id: str, path: str) -> tuple[str, str | None, int]:
        """Hash, media type and size of a file whose content has come."""
        run = self._find(run_id)
        with self.meta.read() as reads:
            found = reads.files(run.no, path)
        if not found or found[0].sha256 is None:
            raise NotFoundError(
                f"no file: `{path[:300]}`", hint="it may still be on its way" if found else None
            )
        return found[0].sha256, found[0].media_type or found[0].blob_type, found[0].blob_size


def _groups(names: list[str]) -> list[dict[str, Any]]:
    """How many names stand under each prefix."""
    groups = Counter(name.rpartition("/")[0] for name in names)
    if len(groups) > GROUPS_MAX:
        groups = Counter(name.partition("/")[0] if "/" in name else "" for name in names)
    return [{"prefix": prefix, "count": count} for prefix, count in sorted(groups.most_common(GROUPS_MAX))]


def _metric(
    name: str, infos: list[SeriesInfo], numbers: NDArray[np.float64] | None, rule: Rule
) -> dict[str, Any]:
    newest = infos[-1]
    if numbers is None:  # a metric that only other ranks log
        shown = {stat: getattr(newest, stat) for stat in STATS[:7]}
    else:
        shown = dict(zip(STATS[:7], map(float, numbers), strict=False))
    return {
        "name": name,
        "kind": newest.kind,
        "count": sum(info.count for info in infos),
        "nonfinite": sum(info.nonfinite for info in infos),
        **{stat: plain(value) for stat, value in shown.items()},
        "ranks": sorted({info.key.rank for info in infos}),
        "attempts": sorted({info.key.attempt for info in infos}),
        "x": rule.x,
        "summary": rule.summary,
        "goal": rule.goal,
        "unit": rule.unit,
    }


def _lag(writers: Sequence[WriterRow], missing: int) -> dict[str, int]:
    """What is on its way. A goodbye is the last record of its journal: what its agent said before, and will not correct, is over."""
    open_ = [row for row in writers if row.ending != "goodbye"]
    return {
        "records": sum(row.records_behind for row in open_),
        "bytes": sum(row.bytes_behind for row in (writers if missing else open_)),  # those of files count, too
        "set_aside": sum(row.set_aside for row in writers), "files": missing,
    }  # fmt: skip


def _add_meters(meters: Iterable[dict[str, Any] | None]) -> dict[str, Any]:
    """What logging has cost all processes of a run together."""
    total: dict[str, Any] = {"calls": 0, "total_ns": 0, "worst_ns": 0, "dropped": 0, "wall_ns": 0}
    for meter in meters:
        for key in total:
            value = (meter or {}).get(key)
            if isinstance(value, int) and not isinstance(value, bool):
                total[key] = max(total[key], value) if key in ("worst_ns", "wall_ns") else total[key] + value
    return total
