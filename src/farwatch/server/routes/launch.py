"""Starts: which machines offer what, and the wish for one."""

from starlette.responses import Response

from farwatch.server.route import Ask, Endpoint
from farwatch.server.shapes import launch as shapes
from farwatch.server.shapes.steer import CommandRow

ANYWHERE = "-"


async def profiles(ask: Ask) -> Response:
    return ask.reply({"machines": await ask.run(ask.services.launching.machines)})


async def start(ask: Ask) -> Response:
    body = await ask.object()
    where, profile = ask.params["machine"], ask.params["profile"]
    said = await ask.run(
        ask.services.launching.start, None if where == ANYWHERE else where, profile, body, ask.who, pool=ask.services.writers
    )
    return ask.reply(said, 202)


async def restart(ask: Ask) -> Response:
    body = await ask.object()
    said = await ask.run(ask.services.launching.restart, ask.params["ref"], body, ask.who, pool=ask.services.writers)
    return ask.reply(said, 202)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/launch/profiles",
        "read",
        profiles,
        "What can be started on which machine.",
        answer=shapes.MachineList,
    ),
    Endpoint(
        "POST",
        "/launch/{machine}/{profile}",
        "start",
        start,
        "Start a profile on a machine: its agent, host or user@host, or `-` for the only one that offers it.",
        body=shapes.StartRequest,
        answer=CommandRow,
        status=202,
    ),
    Endpoint(
        "POST",
        "/runs/{ref}/restart",
        "start",
        restart,
        "Run the command of a run again, on its machine, as a new run.",
        body=shapes.RestartRequest,
        answer=CommandRow,
        status=202,
    ),
)
