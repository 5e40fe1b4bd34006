"""Commands: asked by people, fetched by agents."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from starlette.responses import Response

from farwatch.errors import UsageError
from farwatch.server.route import Ask, Endpoint
from farwatch.server.schema import Raw
from farwatch.server.shapes import steer as shapes

WAIT_MAX_S = 25.0


async def submit(ask: Ask) -> Response:
    body = await ask.object()
    said = await ask.run(ask.services.steer.submit, ask.params["ref"], body, ask.who, pool=ask.services.writers)
    return ask.reply(said, 202)


async def listed(ask: Ask) -> Response:
    before = ask.number("before", 0, high=1 << 60) or None
    limit = ask.number("limit", 100, low=1, high=1_000)
    return ask.reply(await ask.run(ask.services.steer.history, ask.params["ref"], limit, before))


async def one(ask: Ask) -> Response:
    """A command, as it is now or, with `wait_s`, once it has ended."""
    steer, command = ask.services.steer, ask.params["command"]
    wait_s = min(ask.real("wait_s") or 0.0, WAIT_MAX_S)

    async def look() -> dict[str, Any]:
        found: dict[str, Any] = await ask.run(steer.get, command)
        return found

    found = await _until(ask, f"command:{command}", wait_s, look, lambda row: row["state"] != "pending")
    return ask.reply(found)


async def interventions(ask: Ask) -> Response:
    content = await ask.run(ask.services.steer.interventions, ask.params["ref"])
    headers = {"Content-Disposition": 'attachment; filename="interventions.jsonl"'}
    return Response(content, media_type="application/jsonl", headers=headers)


async def orders(ask: Ask) -> Response:
    """What an agent should deliver: at once if there is something, else when there is, or after `wait_s`."""
    body = await ask.object()
    agent, steer = ask.params["agent"], ask.services.steer
    if len(agent) > 200:
        raise UsageError("an agent's id has at most 200 characters")
    wait_s = body.get("wait_s", WAIT_MAX_S)
    if isinstance(wait_s, bool) or not isinstance(wait_s, int | float) or not 0 <= wait_s < float("inf"):
        raise UsageError("`wait_s` is a number of seconds, not below 0")
    await ask.run(steer.hear, agent, body, pool=ask.services.writers)

    async def look() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await ask.run(steer.orders, agent, pool=ask.services.writers)
        return found

    found = await _until(ask, f"agent:{agent}", min(float(wait_s), WAIT_MAX_S), look, bool)
    return ask.reply({"commands": found, "epoch": ask.services.store.epoch})


async def _until(ask: Ask, key: str, wait_s: float, look: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    """What `look` gives, once that is `enough`, it rang for the last time, or the time is over."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    with ask.services.steer.bell.listen([key]) as listening:
        while True:
            found = await look()
            left = deadline - loop.time()
            if enough(found) or left <= 0 or not await listening.wait(left):
                return found if enough(found) else await look()


ENDPOINTS = (
    Endpoint(
        "POST",
        "/runs/{ref}/commands",
        "steer",
        submit,
        "Ask something of a run.",
        body=shapes.CommandRequest,
        answer=shapes.CommandRow,
        status=202,
    ),
    Endpoint(
        "GET",
        "/runs/{ref}/commands",
        "read",
        listed,
        "What was asked of a run, newest first.",
        query={"limit": Annotated[int, "at most"], "before": Annotated[int, "only those with a lower `seq`"]},
        answer=shapes.CommandList,
    ),
    Endpoint(
        "GET",
        "/runs/{ref}/interventions.jsonl",
        "read",
        interventions,
        "Everything that people changed in a run, a JSON object per line.",
        media_type="application/jsonl",
        answer=Raw("the lines, oldest first"),
    ),
    Endpoint(
        "GET",
        "/commands/{command}",
        "read",
        one,
        "One command.",
        query={"wait_s": Annotated[float, "answer when it has ended, at most so many seconds (25) from now"]},
        answer=shapes.CommandRow,
    ),
    Endpoint(
        "POST",
        "/agents/{agent}/commands",
        "log",
        orders,
        "What an agent should deliver; waits up to 25 s for something.",
        body=shapes.OrdersRequest,
        answer=shapes.Orders,
    ),
)
