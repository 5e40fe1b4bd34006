"""`farwatch export`: every point, in files that need no Farwatch to be read."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from farwatch.api import Api, Metric, Run, SeriesTable
from farwatch.cli.output import _plain, emit_json, say, server_options
from farwatch.errors import NotFoundError, UsageError

POINTS_PER_QUESTION = 2_000_000
LINES_PER_QUESTION = 1_000
HEAD = ("run", "name", "metric", "rank", "attempt", "step", "time_ms", "value")
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Portion(NamedTuple):
    """Points of some series of one run."""

    name: str
    table: SeriesTable


@click.command()
@click.argument("target", nargs=-1, required=True)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    help="Default: by the ending of --to, else csv.",
)
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; default: standard output (not for Parquet).",
)
@click.option("--metric", "match", metavar="REGEX", help="Only metrics whose name matches.")
@click.option("--where", metavar="EXPRESSION", help="Only runs of the project that match.")
@server_options
def export(
    target: tuple[str, ...],
    kind: str | None,
    to: Path | None,
    match: str | None,
    where: str | None,
    as_json: bool,
    server: str | None,
) -> None:
    """Write every point of TARGET: a project, or runs by id or project#number.

    One row per point: run (its id), name, metric, rank, attempt, step, time_ms (UTC), value, exact to the last bit. Parquet needs the
    extra `farwatch[parquet]`. With --json, a report goes to stdout when the file is complete (needs --to).
    """
    kind = kind or {".jsonl": "jsonl", ".parquet": "parquet"}.get(to.suffix if to else "", "csv")
    if to is None and (kind == "parquet" or as_json):
        raise UsageError("this needs a file to write to", hint="add: --to points." + kind)
    with Api(server) as api:
        portions = _portions(api, target, match, where)
        if to is None:
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(
                    errors="backslashreplace", newline=""
                )  # a name may hold what no encoding can say
            count = _write_text(portions, sys.stdout, kind)
        else:
            part = to.with_name(to.name + ".part")  # the file is there when it is complete
            if kind == "parquet":
                count = _write_parquet(portions, part)
            else:
                with open(part, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                    count = _write_text(portions, file, kind)
            part.replace(to)
    if as_json:
        emit_json({"file": str(to), "format": kind, "points": count, "bytes": to.stat().st_size if to else 0})
    else:
        say(f"{count} points" + (f" → {to}" if to else ""))


def _portions(api: Api, targets: tuple[str, ...], match: str | None, where: str | None) -> Iterator[Portion]:
    projects = {project["name"] for project in api.projects()}
    for target in targets:
        if target in projects:
            runs: list[Run] = list(api.runs(target, where=where, sort="created", archived=True))
        elif where is not None:
            raise NotFoundError(f"no project: `{target}`", hint="--where chooses among the runs of a project")
        else:
            runs = [api.run(target)]
        for run in runs:
            for lines in _questions(run, match):
                meta, arrays = run._contact.columns("/series", {"lines": lines})
                yield Portion(run.name, SeriesTable(meta["lines"], arrays))


def _questions(run: Run, match: str | None) -> Iterator[list[dict[str, Any]]]:
    """The series of a run in portions that fit into memory."""
    lines: list[dict[str, Any]] = []
    points = 0
    for metric in run.metrics(match).values():
        wanted = _lines_of(run, metric)
        if lines and (
            points + metric.count > POINTS_PER_QUESTION or len(lines) + len(wanted) > LINES_PER_QUESTION
        ):
            yield lines
            lines, points = [], 0
        lines += wanted
        points += metric.count
    if lines:
        yield lines


def _lines_of(run: Run, metric: Metric) -> list[dict[str, Any]]:
    return [
        {"run": run.id, "name": metric.name, "rank": rank, "attempt": attempt}
        for rank in metric.ranks or (0,)
        for attempt in metric.attempts or (1,)
    ]


def _write_text(portions: Iterator[Portion], file: IO[str], kind: str) -> int:
    writer = csv.writer(file, lineterminator="\n")
    if kind == "csv":
        writer.writerow(HEAD)
    count = 0
    for portion in portions:
        for series in portion.table:
            steps = [_whole(step) for step in series.steps.tolist()]
            values = series.values.tolist()
            first = (series.run, portion.name, series.name, series.rank, series.attempt)
            rows = zip(steps, series.times.tolist(), values, strict=True)
            if kind == "csv":
                shown = (*(_text(word) for word in first[:3]), *first[3:])
                writer.writerows((*shown, step, time, _cell(value)) for step, time, value in rows)
            else:
                for row in rows:
                    file.write(
                        json.dumps(_plain(dict(zip(HEAD, (*first, *row), strict=True))), ensure_ascii=False)
                        + "\n"
                    )
            count += len(series)
    return count


def _whole(step: float) -> float | int:
    return int(step) if step.is_integer() else step


def _cell(value: Any) -> Any:
    return "true" if value is True else "false" if value is False else repr(value)


def _text(text: str) -> str:
    """Text that a spreadsheet will not take for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _write_parquet(portions: Iterator[Portion], path: Path) -> int:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise UsageError("writing Parquet needs pyarrow", hint="pip install 'farwatch[parquet]'") from None
    text = arrow.dictionary(arrow.int32(), arrow.string())
    fields = [
        ("run", text),
        ("name", text),
        ("metric", text),
        ("rank", arrow.int32()),
        ("attempt", arrow.int32()),
        ("step", arrow.float64()),
        ("time", arrow.timestamp("ms", tz="UTC")),
        ("value", arrow.float64()),
    ]
    repeated = [name for name, _ in fields[:5]]
    count = 0
    schema = arrow.schema(fields)
    with parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeated) as writer:
        for portion in portions:
            table = portion.table
            columns = [
                _dictionary(arrow, *table.codes("run")),
                _dictionary(arrow, np.zeros(len(table), np.int32), [portion.name]),
                _dictionary(arrow, *table.codes("metric")),
                arrow.array(table.rank.astype(np.int32)),
                arrow.array(table.attempt.astype(np.int32)),
                arrow.array(table.step),
                arrow.array(table.time, schema.field("time").type),
                arrow.array(table.value),
            ]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))
            count += len(table)
    return count


def _dictionary(arrow: Any, codes: NDArray[np.int32], words: list[str]) -> Any:
    return arrow.DictionaryArray.from_arrays(arrow.array(codes), arrow.array(words, arrow.string()))
