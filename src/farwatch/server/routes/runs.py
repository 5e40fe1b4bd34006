"""Projects and runs: lists, details, and what a person changes."""

from typing import Annotated, Any

from starlette.responses import Response

from farwatch.errors import UsageError
from farwatch.server.answers import answer
from farwatch.server.route import Ask, Endpoint
from farwatch.server.shapes import runs as shapes
from farwatch.service.cells import packed
from farwatch.wire.columns import CONTENT_TYPE


async def projects(ask: Ask) -> Response:
    return ask.reply(await ask.run(ask.services.runs.projects))


async def list_runs(ask: Ask) -> Response:
    """A page of the runs table. `seq` is read first: what comes later is in the live stream, and nothing falls between."""
    hub = ask.services.hub
    cursor = {"seq": hub.seq, "epoch": hub.epoch}
    query = ask.query

    def found() -> dict[str, Any]:
        return ask.services.runs.list(
            project=query.get("project") or None,
            where=query.get("where") or None,
            q=query.get("q") or None,
            sort=query.get("sort") or None,
            columns=[name for name in query.get("columns", "").split(",") if name],
            limit=ask.number("limit", 100, low=1, high=ask.services.settings.query_rows_max),
            cursor=query.get("cursor") or None,
            archived=ask.flag("archived"),
            exact=ask.flag("exact"),
        )

    if CONTENT_TYPE not in ask.headers.get("accept", ""):
        return ask.reply({**await ask.run(found), **cursor})
    encoding = ask.headers.get("accept-encoding", "")
    response: Response = await ask.run(lambda: answer(packed({**found(), **cursor}).encode(), CONTENT_TYPE, encoding))
    return response


async def _run(ask: Ask) -> str:
    run: str = await ask.run(ask.services.runs.find, ask.params["ref"])
    return run


async def detail(ask: Ask) -> Response:
    whole = not ask.flag("brief")
    return ask.reply(await ask.run(ask.services.runs.detail, await _run(ask), whole))


async def costs(ask: Ask) -> Response:
    return ask.reply(await ask.run(ask.services.runs.costs, await _run(ask)))


async def update(ask: Ask) -> Response:
    patch = await ask.object()
    known = {"name": str, "notes": str, "tags": dict, "archived": bool}
    for name, value in patch.items():
        if name not in known or not isinstance(value, known[name]):
            raise UsageError(
                f"cannot change: `{name[:100]}`",
                hint="name, notes, tags {add, remove} and archived can be changed",
            )
    run = await _run(ask)
    await ask.run(ask.services.runs.update, run, patch, ask.who.name, pool=ask.services.writers)
    return ask.reply(await ask.run(ask.services.runs.row, run))


async def delete(ask: Ask) -> Response:
    run = await _run(ask)
    await ask.run(ask.services.runs.delete, run, ask.who.name, pool=ask.services.writers)
    return ask.reply({"id": run})


async def undelete(ask: Ask) -> Response:
    run = await _run(ask)
    await ask.run(ask.services.runs.undelete, run, ask.who.name, pool=ask.services.writers)
    return ask.reply(await ask.run(ask.services.runs.row, run))


async def delete_metrics(ask: Ask) -> Response:
    names = [value for name, value in ask.query.items() if name == "name" and value]
    if not names:
        raise UsageError("which metric? `?name=…`")
    run = await _run(ask)
    await ask.run(ask.services.runs.delete_metrics, run, names, ask.who.name, pool=ask.services.writers)
    return ask.reply({"id": run, "deleted": names})


async def metrics(ask: Ask) -> Response:
    match = ask.query.get("match") or None
    limit, offset = ask.number("limit", 1_000, low=0, high=100_000), ask.number("offset", 0, high=1 << 40)
    return ask.reply(await ask.run(ask.services.runs.metrics, await _run(ask), match, limit, offset))


async def columns(ask: Ask) -> Response:
    project = ask.query.get("project")
    if not project:
        raise UsageError("columns of which project? `?project=…`")
    return ask.reply(await ask.run(ask.services.runs.columns, project))


LIST_QUERY = {
    "project": Annotated[str, "only this project"],
    "where": Annotated[str, "an expression, as in farwatch.Api.runs"],
    "q": Annotated[str, "text in names, tags and notes"],
    "sort": Annotated[str, "names with commas, `-` turns one round: `-summary.acc,created`"],
    "columns": Annotated[str, "names with commas: `config.lr,summary.loss.min`"],
    "limit": Annotated[int, "rows at most"],
    "cursor": Annotated[str, "`next` of the page before"],
    "archived": Annotated[bool, "archived runs too"],
    "exact": Annotated[bool, "cells with all digits"],
}

ENDPOINTS = (
    Endpoint("GET", "/projects", "read", projects, "All projects.", answer=shapes.ProjectList),
    Endpoint(
        "GET",
        "/runs",
        "read",
        list_runs,
        "Runs that match. With `Accept: application/x-farwatch-columns` their cells are bytes.",
        query=LIST_QUERY,
        answer=shapes.RunList,
    ),
    Endpoint(
        "GET",
        "/runs/{ref}",
        "read",
        detail,
        "One run: id, 7 letters of it, or project#number.",
        query={"brief": Annotated[bool, "an empty summary, of which a run may have a hundred thousand values"]},
        answer=shapes.RunDetail,
    ),
    Endpoint(
        "GET",
        "/runs/{ref}/costs",
        "read",
        costs,
        "What is on its way and what logging has cost.",
        answer=shapes.RunCosts,
    ),
    Endpoint(
        "PATCH",
        "/runs/{ref}",
        "log",
        update,
        "Rename, tag, annotate, archive.",
        body=shapes.RunChange,
        answer=shapes.RunRow,
    ),
    Endpoint(
        "DELETE",
        "/runs/{ref}",
        "log",
        delete,
        "Delete a run; can be undone for 30 days.",
        answer=shapes.DeletedRun,
    ),
    Endpoint(
        "POST",
        "/runs/{ref}/undelete",
        "log",
        undelete,
        "Bring a deleted run back.",
        answer=shapes.RunRow,
    ),
    Endpoint(
        "GET",
        "/runs/{ref}/metrics",
        "read",
        metrics,
        "Metrics of a run.",
        query={
            "match": Annotated[str, "regular expression"],
            "limit": Annotated[int, "at most"],
            "offset": Annotated[int, "first"],
        },
        answer=shapes.MetricList,
    ),
    Endpoint(
        "DELETE",
        "/runs/{ref}/metrics",
        "log",
        delete_metrics,
        "Delete one metric for good.",
        query={"name": Annotated[str, "which"]},
        answer=shapes.DeletedMetrics,
    ),
    Endpoint(
        "GET",
        "/columns",
        "read",
        columns,
        "Columns that a runs table can have.",
        query={"project": Annotated[str, "of this project"]},
        answer=shapes.ColumnList,
    ),
)
