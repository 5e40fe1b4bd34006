"""`farwatch runs` and `farwatch show`."""

from typing import Any

import click

from farwatch.api import Api, Run, Runs
from farwatch.cli.output import (
    clean,
    duration,
    emit,
    emit_json,
    moment,
    server_options,
    short_number,
    size,
    table,
)
from farwatch.wire.moments import text_of


@click.command()
@click.argument("project", required=False)
@click.option(
    "--where",
    metavar="EXPRESSION",
    help="""Only runs that match, e.g. 'summary.acc >= 0.9 and "baseline" in tags'.""",
)
@click.option("--search", metavar="TEXT", help="Only runs with this text in name, tags or notes.")
@click.option(
    "--sort", metavar="NAMES", help="Order, with commas; `-` before a name turns it: -summary.acc,created"
)
@click.option("--columns", metavar="NAMES", help="More columns, with commas: config.lr,summary.loss.min")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@click.option("--archived", is_flag=True, help="Archived runs too.")
@server_options
def runs(
    project: str | None, where: str | None, search: str | None, sort: str | None, columns: str | None, limit: int, archived: bool,
    as_json: bool, server: str | None,
) -> None:  # fmt: skip
    """List runs, of PROJECT or of all, newest first."""
    names = [name.strip() for name in (columns or "").split(",") if name.strip()]
    with Api(server) as api:
        found = api.runs(
            project, where=where, search=search, sort=sort, columns=names, limit=limit, archived=archived
        )
    if as_json:
        emit_json({"runs": found.rows, "total": found.total})
        return
    _list(found, with_project=project is None)


def _list(found: Runs, *, with_project: bool) -> None:
    head = [
        "run",
        "name",
        *(["project"] if with_project else []),
        "state",
        "step",
        "duration",
        "started",
        *found.columns,
    ]
    rows = []
    for row in found.rows:
        cells = [short_number(row["cells"].get(name)) for name in found.columns]
        project = [row["project"]] if with_project else []
        step = short_number(row.get("step"))
        rows.append(
            [
                row["short"],
                row["name"],
                *project,
                row["state"],
                step,
                duration(row.get("duration_ms")),
                moment(row.get("started_ms") or row.get("created_ms")),
                *cells,
            ]
        )
    numbers = {
        index for index, name in enumerate(head) if name in ("step", "duration") or name in found.columns
    }
    table(rows, head, right=frozenset(numbers))
    if found.total > len(found):
        emit(f"… {found.total - len(found)} more: --limit")


@click.command()
@click.argument("run")
@server_options
def show(run: str, as_json: bool, server: str | None) -> None:
    """Show everything about RUN: its id, its first 7 letters, or project#number."""
    with Api(server) as api:
        found = api.run(run)
        detail, metrics, alerts = found.detail, found.metrics(), found.alerts("firing")
        told = {
            name: {field: getattr(metric, field) for field in metric.__dataclass_fields__}
            for name, metric in metrics.items()
        }
    if as_json:
        emit_json({**detail, "metrics": told, "firing": [dict(alert.row) for alert in alerts]})
        return
    _show(found, detail, told, [alert.title for alert in alerts])


def _show(run: Run, detail: dict[str, Any], metrics: dict[str, dict[str, Any]], alerts: list[str]) -> None:
    state = f"{detail['state']} · {detail['reason']}" if detail.get("reason") else detail["state"]
    rows: list[tuple[str, object]] = [
        ("run", f"{detail['name']} {detail['id']}"),
        ("project", f"{detail['project']} #{detail['number']}"),
        ("state", state),
        ("started", f"{moment(detail.get('started_ms'))} · {duration(detail.get('duration_ms'))}"),
        ("where", " ".join(str(detail[key]) for key in ("owner", "host") if detail.get(key))),
        ("step", short_number(detail.get("step"))),
        ("size", f"{detail.get('points', 0)} points · {size(detail.get('bytes') or 0)}"),
        ("tags", ", ".join(detail.get("tags") or ())),
        ("notes", detail.get("notes") or ""),
        ("page", run.url),
        *(("alert", title) for title in alerts),
    ]
    if detail["advice"]["say"]:
        rows.append(("advice", f"{detail['advice']['say']}: {detail['advice']['why']}"))
    for name, value in rows:
        if value:
            emit(f"{name:<9}{clean(value)}")
    config = list(_flat(detail.get("config") or {}))
    if config:
        emit("\nconfig")
        table([(name, value) for name, value in config], ("name", "value"))
    if metrics:
        emit("\nmetrics")
        table(
            [
                (n, m["count"], *(short_number(m[key]) for key in ("last", "min", "max", "mean")))
                for n, m in metrics.items()
            ],
            ("name", "points", "last", "min", "max", "mean"),
            right=frozenset({1, 2, 3, 4, 5}),
        )
    if detail.get("traceback"):
        emit("\n" + clean(detail["traceback"]).rstrip())


def _flat(config: dict[str, Any], prefix: str = "") -> Any:
    for key, value in config.items():
        if isinstance(value, dict) and value and text_of(value) is None:
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", text_of(value) or value
