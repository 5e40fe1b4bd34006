"""The live stream, as a long poll."""

import asyncio

from starlette.responses import Response

from farwatch.errors import UsageError
from farwatch.server.route import Ask, Endpoint
from farwatch.server.shapes.live import LiveAnswer, LiveRequest
from farwatch.service.hub import WAIT_MAX_S
from farwatch.service.subscription import Subscription


async def live(ask: Ask) -> Response:
    body = await ask.object()
    cursor, wait_s = body.get("cursor"), body.get("wait_s", WAIT_MAX_S)
    if (
        not (cursor is None or isinstance(cursor, str))
        or isinstance(wait_s, bool)
        or not isinstance(wait_s, (int, float))
    ):
        raise UsageError("`cursor` is text or null, `wait_s` is a number of seconds")
    subscription = Subscription.parse(body)
    hub = ask.services.hub
    gone = asyncio.Event()

    async def watch() -> None:
        """Give the stream's place back as soon as nobody listens."""
        while (await ask.receive())["type"] != "http.disconnect":
            pass
        hub.wake(gone, subscription)

    watching = asyncio.create_task(watch())
    try:
        found = await hub.wait(subscription, cursor, float(wait_s), ask.who.key, gone)
    finally:
        watching.cancel()
    return Response(found, media_type="application/json")


ENDPOINTS = (
    Endpoint(
        "POST",
        "/live",
        "read",
        live,
        "What has changed since a cursor; waits up to 25 s for something.",
        body=LiveRequest,
        answer=LiveAnswer,
    ),
)
