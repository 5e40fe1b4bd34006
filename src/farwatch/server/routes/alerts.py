"""Alerts: listed, answered; and the rules behind them."""

from typing import Annotated, Any

from starlette.responses import Response

from farwatch.errors import NotFoundError, UsageError
from farwatch.server.route import Ask, Endpoint
from farwatch.server.shapes import alerts as shapes
from farwatch.server.shapes.chat import AlertDetail
from farwatch.service.alerts.register import rings
from farwatch.service.alerts.rules import SERVER
from farwatch.service.alerts.views import about

DELIVERIES_MAX = 200
STATES = ("pending", "firing", "silenced", "resolved")


async def _run(ask: Ask, ref: str) -> str:
    run: str = await ask.run(ask.services.runs.find, ref)
    return run


def _states(ask: Ask) -> list[str]:
    listed = [state for state in ask.query.get("state", "").split(",") if state]
    for state in listed:
        if state not in STATES:
            raise UsageError(f"no state of an alert: `{state[:40]}`", hint=", ".join(STATES))
    return listed


def _listed(ask: Ask, run_nos: list[int] | None) -> dict[str, Any]:
    alerts, views = ask.services.alerts, ask.services.alert_views
    before = ask.number("before", 0, high=1 << 53)
    rows = alerts.list(run_nos, _states(ask), before or None, ask.number("limit", 100, low=1, high=1_000))
    now_ms = alerts.now_ms()
    return {"alerts": views.rows(rows), "firing": sum(rings(row, now_ms) for row in alerts.all_open())}


async def list_alerts(ask: Ask) -> Response:
    runs, project = ask.services.runs, ask.query.get("project")
    if ask.query.get("run"):
        ref = await _run(ask, ask.query["run"])
        return ask.reply(await ask.run(_listed, ask, [runs.meta.run_by_id(ref).no]))  # type: ignore[union-attr]
    nos = None if not project else [run.no for run in runs.meta.runs_of(project) if not run.purged]
    return ask.reply(await ask.run(_listed, ask, nos))


async def run_alerts(ask: Ask) -> Response:
    run = await _run(ask, ask.params["ref"])
    return ask.reply(await ask.run(_listed, ask, [ask.services.runs.meta.run_by_id(run).no]))  # type: ignore[union-attr]


async def run_messages(ask: Ask) -> Response:
    run = ask.services.runs.meta.run_by_id(await _run(ask, ask.params["ref"]))
    assert run is not None
    limit = ask.number("limit", 100, low=1, high=1_000)

    def found() -> list[dict[str, Any]]:
        with ask.services.runs.meta.read() as reads:
            return reads.messages(run.no, limit)

    return ask.reply({"messages": await ask.run(found)})


def _number(ask: Ask) -> int:
    text = ask.params["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 17):
        raise NotFoundError(f"no alert with the number: `{text[:40]}`")
    return int(text)


async def get_alert(ask: Ask) -> Response:
    number, services = _number(ask), ask.services

    def found() -> dict[str, Any]:
        row = services.alerts.get(number)
        return {**services.alert_views.row(row), "deliveries": services.people_views.deliveries(about(row), None, DELIVERIES_MAX)}

    return ask.reply(await ask.run(found))


async def answer_alert(ask: Ask) -> Response:
    asked = await ask.object()
    row = await ask.run(ask.services.alerts.answer, _number(ask), asked, ask.who.name, pool=ask.services.writers)
    return ask.reply(await ask.run(ask.services.alert_views.row, row))


def _rules(ask: Ask, scope: str, rules: dict[str, Any]) -> dict[str, Any]:
    return {"rules": [rule.body() for rule in rules.values()], "changes": ask.services.rules.changes(scope)}


async def _change(ask: Ask, scope: str) -> None:
    asked = (await ask.object()).get("rules")
    if not isinstance(asked, dict):
        raise UsageError('rules are changed by {"rules": {name: changes or null}}')
    book = ask.services.rules
    await ask.run(book.change, scope, asked, ask.who.name, ask.services.alerts.now_ms(), pool=ask.services.writers)


async def server_rules(ask: Ask) -> Response:
    return ask.reply(_rules(ask, SERVER, ask.services.rules.server()))


async def change_server_rules(ask: Ask) -> Response:
    await _change(ask, SERVER)
    return await server_rules(ask)


def _project(ask: Ask) -> str:
    project = ask.params["project"]
    if project not in ask.services.runs.meta.project_names():
        raise NotFoundError(f"no project: `{project[:100]}`")
    return project


async def project_rules(ask: Ask) -> Response:
    project = _project(ask)
    return ask.reply(_rules(ask, f"project/{project}", ask.services.rules.of(project, "")))


async def change_project_rules(ask: Ask) -> Response:
    await _change(ask, f"project/{_project(ask)}")
    return await project_rules(ask)


async def run_rules(ask: Ask) -> Response:
    run = ask.services.runs.meta.run_by_id(await _run(ask, ask.params["ref"]))
    assert run is not None
    return ask.reply(_rules(ask, f"run/{run.id}", ask.services.rules.of(run.project, run.id)))


async def change_run_rules(ask: Ask) -> Response:
    await _change(ask, f"run/{await _run(ask, ask.params['ref'])}")
    return await run_rules(ask)


LIST_QUERY = {
    "state": Annotated[str, "pending, firing, silenced, resolved; several with commas; all if left out"],
    "before": Annotated[int, "only those with a smaller number: the next page"],
    "limit": Annotated[int, "at most"],
}

ENDPOINTS = (
    Endpoint(
        "GET",
        "/alerts",
        "read",
        list_alerts,
        "Alerts, newest first.",
        query={"project": Annotated[str, "of this project"], "run": Annotated[str, "of this run"], **LIST_QUERY},
        answer=shapes.AlertList,
    ),
    Endpoint("GET", "/runs/{ref}/alerts", "read", run_alerts, "Alerts of a run.", query=LIST_QUERY, answer=shapes.AlertList),
    Endpoint(
        "GET",
        "/runs/{ref}/messages",
        "read",
        run_messages,
        "What the program said by run.notify, newest first.",
        query={"limit": Annotated[int, "at most"]},
        answer=shapes.MessageList,
    ),
    Endpoint("GET", "/alerts/{id}", "read", get_alert, "One alert, with what was sent about it.", answer=AlertDetail),
    Endpoint(
        "POST",
        "/alerts/{id}",
        "steer",
        answer_alert,
        "Acknowledge, snooze or resolve an alert.",
        body=shapes.AlertAnswer,
        answer=shapes.AlertRow,
    ),
    Endpoint("GET", "/rules", "read", server_rules, "Rules of the whole server.", answer=shapes.RuleList),
    Endpoint(
        "PUT", "/rules", "steer", change_server_rules, "Change rules of the whole server.", body=shapes.RuleChange, answer=shapes.RuleList
    ),
    Endpoint("GET", "/projects/{project}/rules", "read", project_rules, "Rules of a project.", answer=shapes.RuleList),
    Endpoint(
        "PUT",
        "/projects/{project}/rules",
        "steer",
        change_project_rules,
        "Change rules of a project.",
        body=shapes.RuleChange,
        answer=shapes.RuleList,
    ),
    Endpoint("GET", "/runs/{ref}/rules", "read", run_rules, "Rules of a run.", answer=shapes.RuleList),
    Endpoint(
        "PUT",
        "/runs/{ref}/rules",
        "steer",
        change_run_rules,
        "Change rules of a run.",
        body=shapes.RuleChange,
        answer=shapes.RuleList,
    ),
)
