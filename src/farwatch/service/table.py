"""The runs table: filter, sort, page, and cells of config and summary."""

import base64
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from farwatch.clock import Clock
from farwatch.errors import QueryError
from farwatch.service import where as language
from farwatch.service.activity import Activity
from farwatch.service.comparing import number_of
from farwatch.service.config import flatten, type_name
from farwatch.service.regex import Deadline
from farwatch.service.summary import EMPTY, STATS, Summaries, Summary, rule_of
from farwatch.service.where import Field
from farwatch.settings import Settings
from farwatch.store.meta import Meta, RunRow
from farwatch.wire import moments
from farwatch.wire.states import State

EXACT_INT = 2**53
COLUMNS_MAX = 10_000
COLUMNS_KEPT = 64  # cached summary columns
CELL_TEXT_MAX = 200

_POWERS = np.array([10.0**power for power in range(23)])  # those that a double holds exactly
_LIVE = ("points", "bytes", "step", "modified", "contact", "duration")  # what activity knows better than the database
_CREATED = attrgetter("created_ms", "no")

Describe = Callable[[RunRow], dict[str, Any]]


def plain(number: float | None) -> Any:
    """A number as JSON shows it: whole ones without a fraction, non-finite ones as text."""
    if number is None or isinstance(number, int | str):
        return number
    if not math.isfinite(number):
        return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"
    return (
        int(number)
        if number.is_integer() and abs(number) < EXACT_INT and not _negative_zero(number)
        else number
    )


def _negative_zero(number: float) -> bool:
    return number == 0 and math.copysign(1, number) < 0


def rounded(number: float) -> Any:
    """A number with 5 significant digits, as JSON shows it."""
    if not math.isfinite(number):
        return plain(number)
    return plain(float(f"{number:.5g}"))


def rounded_all(numbers: NDArray[np.float64]) -> list[Any]:
    """As `rounded`, (n,) at once: a whole number of up to 5 digits over a power of ten that is exact is what parsing its text gives."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        power = 4 - np.floor(np.log10(np.abs(numbers)))
        usual = (power >= 0) & (power < len(_POWERS))
        scale = _POWERS[np.where(usual, power, 0).astype(np.int64)]
        found = np.rint(numbers * scale) / scale
    cells: list[Any] = found.tolist()
    for at in np.flatnonzero(~usual | (found == np.rint(found))).tolist():
        cells[at] = rounded(float(numbers[at]))
    return cells


class Flat(NamedTuple):
    """What a run's config looks like to filters: `config` by path, and `given`, the summary values that the program set."""

    version: int
    config: dict[str, Any]
    given: dict[str, Any]


NOTHING = Flat(0, {}, {})


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name as asked for, and the field behind it."""

    name: str
    field: Field


def parse_column(text: str) -> Column:
    """Read `config.opt/lr`, `summary.acc`, `summary.acc.max`, `summary["val/acc"].max`, or a column of the run.

    Raises `QueryError` for a name that no run can have.
    """
    root, dot, rest = text.partition(".")
    if root == "config" and dot and rest:
        return Column(text, Field("config", rest))
    if root == "summary" and dot and rest:
        path, _, stat = rest.rpartition(".")
        return Column(
            text, Field("summary", path, stat) if path and stat in STATS else Field("summary", rest)
        )
    name = text[:-3] if text.endswith("_ms") else text
    if name in language.FIELDS:
        return Column(text, Field(name))
    if text.startswith(("config[", "summary[")):
        fields = language.parse(text).fields
        if len(fields) == 1:
            return Column(text, next(iter(fields)))
    raise QueryError(
        f"no column of this name: `{text[:100]}`",
        hint="such as config.opt/lr, summary.acc, summary.acc.max, created",
    )


class RunTable:
    """Answers queries over the runs of a project, or of all.

    *Threads*: any. *Cost*: rows, flat configs and asked-for summary columns are kept in memory; the first query on a metric reads the
    summaries of the project once.
    """

    def __init__(
        self,
        meta: Meta,
        activity: Activity,
        summaries: Summaries,
        settings: Settings,
        clock: Clock,
        describe: Describe,
    ) -> None:
        self._meta = meta
        self._activity = activity
        self._summaries = summaries
        self._settings = settings
        self._clock = clock
        self._describe = describe
        self._lock = threading.Lock()
        self._configs: dict[int, Flat] = {}
        # (name, statistic) -> run -> (version of its summary, value)
        self._columns: OrderedDict[tuple[str, str], dict[int, tuple[int, float | None]]] = OrderedDict()

    # --- queries

    def query(
        self,
        *,
        project: str | None = None,
        where: str | None = None,
        q: str | None = None,
        sort: str | None = None,
        columns: str | Sequence[str] | None = None,
        limit: int = 100,
        cursor: str | None = None,
        archived: bool = False,
        deleted: bool = False,
        exact: bool = False,
        allowed: Callable[[RunRow], bool] | None = None,
    ) -> dict[str, Any]:
        """Runs that fit, in order, a page at a time.

        `where`: an expression. `q`: text that stands in name, id, notes, tags, state or group. `sort`: columns separated by commas, `-`
        before one turns it round; newest first without. `columns`: the cells wanted; `summary.*` and `config.*` stand for all. `archived`:
        the archived runs too; `deleted`: only those. `allowed`: which runs the asker may see.

        Raises `QueryError` for what does not parse or takes longer than `query_s`.
        """
        deadline = Deadline(self._settings.query_s)
        seq = self._activity.applied_seq
        runs = [
            run for run in self._meta.runs_of(project)
            if not run.purged and (run.deleted_ms is not None) == deleted and (archived or not run.archived)
            and (allowed is None or allowed(run))
        ]  # fmt: skip
        if any(name in f"{where} {sort}" for name in _LIVE):
            runs = [self._activity.overlay(run) for run in runs]
        if q and q.strip():
            runs = _containing(runs, q.strip().lower())
        if where and where.strip():
            runs = self._fitting(runs, where, deadline)
        runs = self._sorted(runs, sort, deadline)
        total = len(runs)
        offset = _offset(cursor, runs)
        page = runs[offset : offset + max(0, min(limit, self._settings.query_rows_max))]
        page = [self._activity.overlay(run) for run in page]
        wanted = columns.split(",") if isinstance(columns, str) else columns or ()
        listed = self._expand([name for name in wanted if name], page)
        rows = self._rows(page, listed, exact)
        more = offset + len(page) < total and page
        return {
            "runs": rows,
            "columns": [column.name for column in listed],
            "total": total,
            "next": _cursor(offset + len(page), page[-1].id) if more else None,
            "seq": seq,
        }

    def _rows(self, page: Sequence[RunRow], columns: Sequence[Column], exact: bool) -> list[dict[str, Any]]:
        rows = [self._describe(run) for run in page]
        if columns:
            with_summary = any(column.field.root == "summary" for column in columns)
            summaries = self._summaries.get_many(page) if with_summary else {}
            configs = self._flat(page)
            plan = [(column.field.root, column.field.path, column.field.stat) for column in columns]
            stats = np.array([STATS.index(stat) for _, _, stat in plan], np.int64)
            places: dict[int, NDArray[np.int64]] = {}  # by layout: the row of each column in `values`, -1 for none
            for row, run in zip(rows, page, strict=True):
                _, flat, given = configs[run.no]
                summary = summaries.get(run.no, EMPTY)
                at = places.get(id(summary.index))
                if at is None:
                    at = places[id(summary.index)] = _places(summary, plan)
                numbers = _numbers(summary, at, stats, exact)
                cells: list[Any] = []
                for (root, path, stat), known, number in zip(plan, (at >= 0).tolist(), numbers, strict=True):
                    if root == "summary":
                        if known and path not in given:
                            cells.append(number)
                        else:
                            told = given.get(path) if stat in ("last", "min", "max", "mean") else None
                            cells.append(_cell(told, exact))
                    elif root == "config":
                        cells.append(_cell(flat.get(path), exact))
                    else:
                        cells.append(_cell(_of_row(run, root, self._now_ms()), exact))
                row["cells"] = cells
        else:
            for row in rows:
                row["cells"] = []
        return rows

    def columns(self, project: str | None) -> dict[str, Any]:
        """What can be a column: config paths with their types, and metrics."""
        runs = [run for run in self._meta.runs_of(project) if run.deleted_ms is None and not run.purged]
        configs = self._flat(runs)
        types: dict[str, set[str]] = {}
        names: set[str] = set()
        for _, flat, given in configs.values():
            for path, value in flat.items():
                types.setdefault(path, set()).add(type_name(value))
            names.update(given)
        with self._meta.read() as reads:
            layouts = reads.layouts_of([run.no for run in runs])
        lists = [self._meta.layout(layout) for layout in layouts]
        # What is in memory may be ahead of the database also where it is not stale: it is written now and then.
        lists += [
            self._summaries.get(run).names
            for run in runs
            if self._activity.stale(run.no) or self._summaries.size(run.no)
        ]
        for one in {id(one): one for one in lists}.values():
            names.update(one)
        listed = [
            {"name": path, "type": next(iter(kinds)) if len(kinds) == 1 else "mixed"}
            for path, kinds in sorted(types.items())
        ]
        return {"config": listed, "summary": sorted(names)}

    # --- filtering

    def _fitting(self, runs: list[RunRow], where: str, deadline: Deadline) -> list[RunRow]:
        expression = language.parse(where)
        roots = {field.root for field in expression.fields}
        configs = self._flat(runs) if roots & {"config", "summary"} else {}
        columns = {field: self._column(runs, field) for field in expression.fields if field.root == "summary"}
        now_ms = self._now_ms()
        found = []
        for run in runs:
            deadline()
            known = configs.get(run.no, NOTHING)

            def lookup(field: Field, run: RunRow = run, known: Flat = known) -> Any:
                if field.root == "config":
                    return _below(known.config, field.path)
                if field.root == "summary":
                    if field.path in known.given:
                        return known.given[field.path]
                    return columns[field].get(run.no)
                return _of_row(run, field.root, now_ms)

            if expression.test(lookup):
                found.append(run)
        return found

    def _flat(self, runs: Sequence[RunRow]) -> dict[int, Flat]:
        """Flat configs and own summary values by run; only those that have changed are read."""
        version_of = self._meta.detail_version
        stale = {
            run.no: version_of(run.no) for run in runs
            if (kept := self._configs.get(run.no)) is None or kept.version != version_of(run.no)
        }  # fmt: skip
        if stale:
            with self._meta.read() as reads:
                loaded = {no: (config, given) for no, config, given in reads.configs(list(stale))}
            for no, version in stale.items():
                config, given = loaded.get(no, ({}, {}))
                self._configs[no] = Flat(version, flatten(config), given)
        return {run.no: self._configs[run.no] for run in runs}

    def _column(self, runs: Sequence[RunRow], field: Field) -> dict[int, float]:
        """One number of one metric for many runs, from memory where it has not changed."""
        key = (field.path, field.stat)
        with self._lock:
            known = self._columns.setdefault(key, {})
            self._columns.move_to_end(key)
            while len(self._columns) > COLUMNS_KEPT:
                self._columns.popitem(last=False)
        versions = self._summaries.version
        stale = [
            run
            for run in runs
            if run.no not in known
            or known[run.no][0] != versions.get(run.no, 0)
            or self._activity.stale(run.no)
        ]
        for start in range(0, len(stale), 1_000):
            part = stale[start : start + 1_000]
            for no, summary in self._summaries.get_many(part).items():
                value = summary.get(field.path, field.stat)
                known[no] = (versions.get(no, 0), value)
        return {run.no: value for run in runs if (value := known[run.no][1]) is not None}

    # --- sorting

    def _sorted(self, runs: list[RunRow], sort: str | None, deadline: Deadline) -> list[RunRow]:
        runs = sorted(runs, key=_CREATED, reverse=True)
        for one in reversed([name.strip() for name in (sort or "").split(",") if name.strip()]):
            deadline()
            falling = one.startswith("-")
            field = parse_column(one.lstrip("+-")).field
            runs = self._by(runs, field, falling)
        return runs

    def _by(self, runs: list[RunRow], field: Field, falling: bool) -> list[RunRow]:
        """Sorted by a field, stable; runs without it, and NaN, come last either way."""
        if field.root == "summary":
            flat, column = self._flat(runs), self._column(runs, field)
            values: list[Any] = [flat[run.no].given.get(field.path, column.get(run.no)) for run in runs]
        elif field.root == "config":
            flat = self._flat(runs)
            values = [flat[run.no].config.get(field.path) for run in runs]
        else:
            now_ms = self._now_ms()
            values = [_of_row(run, field.root, now_ms) for run in runs]
        numbers = [value if isinstance(value, int | float) else number_of(value) for value in values]
        if all(number is not None or value is None for number, value in zip(numbers, values, strict=True)):
            keys: NDArray[np.float64] = np.array(
                [math.nan if number is None else float(number) for number in numbers], np.float64
            )
            order = np.argsort(-keys if falling else keys, kind="stable")  # NaN goes last
            return [runs[place] for place in order.tolist()]
        have = [(value, run) for value, run in zip(values, runs, strict=True) if value is not None]
        have.sort(key=lambda pair: _order(pair[0]), reverse=falling)
        return [run for _, run in have] + [
            run for value, run in zip(values, runs, strict=True) if value is None
        ]

    # --- columns

    def _expand(self, names: Iterable[str], page: Sequence[RunRow]) -> list[Column]:
        columns: list[Column] = []
        for name in names:
            if name == "config.*":
                paths = {path for flat in self._flat(page).values() for path in flat.config}
                columns += [Column(f"config.{path}", Field("config", path)) for path in sorted(paths)]
            elif name == "summary.*":
                columns += self._all_metrics(page)
            else:
                columns.append(parse_column(name))
        if len(columns) > COLUMNS_MAX:
            raise QueryError(f"more than {COLUMNS_MAX} columns", hint="name those that you want")
        return columns

    def _all_metrics(self, page: Sequence[RunRow]) -> list[Column]:
        """Every metric of a page's runs, each with the statistic that its rule names."""
        summaries = self._summaries.get_many(page)
        lists = {id(summary.names): summary.names for summary in summaries.values()}
        names = {name for listed in lists.values() for name in listed}
        for flat in self._flat(page).values():
            names.update(flat.given)
        definitions = next((found for run in page if (found := self._meta.detail(run.no).definitions)), [])
        columns = []
        for name in sorted(names):
            rule = rule_of(name, definitions).summary
            shown = f"summary.{name}" if rule == "last" else f"summary.{name}.{rule}"
            columns.append(Column(shown, Field("summary", name, rule)))
        return columns

    def _now_ms(self) -> int:
        return self._clock.wall_us() // 1000


def _places(summary: Summary, plan: Sequence[tuple[str, str, str]]) -> NDArray[np.int64]:
    """(columns,) the row of each summary column, -1 where there is none."""
    index = summary.index
    return np.array([index.get(path, -1) if root == "summary" else -1 for root, path, _ in plan], np.int64)


def _numbers(summary: Summary, at: NDArray[np.int64], stats: NDArray[np.int64], exact: bool) -> list[Any]:
    """(columns,) numbers as JSON shows them; what stands at a place of -1 means nothing."""
    if not len(summary.names):
        return [None] * len(at)
    numbers = summary.values[at, stats]
    return [plain(number) for number in numbers.tolist()] if exact else rounded_all(numbers)


def _containing(runs: list[RunRow], text: str) -> list[RunRow]:
    words = text.split()
    return [
        run for run in runs
        if all(
            word in f"{run.name}\n{run.id}\n{run.notes}\n{' '.join(run.tags)}\n{run.state}\n{run.group_name or ''}\n#{run.number}".lower()
            for word in words
        )
    ]  # fmt: skip


def _of_row(run: RunRow, name: str, now_ms: int) -> Any:
    if name in language.TIMES:
        return getattr(run, f"{name}_ms")
    if name == "group":
        return run.group_name
    if name == "duration":
        until = (
            run.ended_ms
            if run.ended_ms is not None
            else run.contact_ms
            if run.state == State.LOST
            else now_ms
        )
        return max(0, until - run.started_ms)
    if name == "main_last":
        return None if run.main_last is None else float(run.main_last)
    value = getattr(run, name)
    return str(value) if isinstance(value, State) else value


def _below(flat: dict[str, Any], path: str) -> Any:
    """A config value, or the mapping of what lies below a path."""
    if path in flat:
        return flat[path]
    prefix = path + "/"
    below = {key[len(prefix) :]: value for key, value in flat.items() if key.startswith(prefix)}
    return below or None


def _cell(value: Any, exact: bool) -> Any:
    if isinstance(value, float):
        return plain(float(value)) if exact else rounded(float(value))
    if isinstance(value, str) and not exact and len(value) > CELL_TEXT_MAX:
        return value[: CELL_TEXT_MAX - 1] + "…"
    if isinstance(value, list | dict) and not exact:
        text = json.dumps(value, ensure_ascii=False)
        return value if len(text) <= CELL_TEXT_MAX else text[: CELL_TEXT_MAX - 1] + "…"
    return value


def _order(value: Any) -> tuple[int, Any]:
    """Numbers before texts before datetimes before the rest."""
    if isinstance(value, bool | int | float):
        return 0, (value != value, value)
    if isinstance(value, str):
        return 1, value.lower()
    moment = moments.moment_of(value)
    return (2, moments.instant_us(moment)) if moment is not None else (3, json.dumps(value, sort_keys=True, default=str))


def _cursor(offset: int, last: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([offset, last]).encode()).decode().rstrip("=")


def _offset(cursor: str | None, runs: Sequence[RunRow]) -> int:
    """Where the next page begins: behind the last run that was seen, wherever that stands now. Raises `QueryError`."""
    if not cursor:
        return 0
    try:
        offset, last = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if type(offset) is not int or not isinstance(last, str) or offset < 0:
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise QueryError("this cursor is none of ours", hint="take `next` of the page before") from None
    if 0 < offset <= len(runs) and runs[offset - 1].id == last:
        return offset
    for place, run in enumerate(runs):
        if run.id == last:
            return place + 1
    return offset
