"""What the test files of the WeCom smart bot use."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from farwatch.bridges.base import (
    Button,
    Incoming,
    Setup,
)
from farwatch.bridges.services.wecom import Wecom
from farwatch.bridges.services.wecom_link import Timing
from farwatch.clock import SystemClock
from farwatch.testing.bridges import until
from farwatch.testing.chat.wecom import FakeWecom
from tests.bridges.memory import KeptMemory

QUICK = Timing(ping_s=30, ack_s=2, patience_s=2, first_s=0.01, most_s=0.05, refused_s=0.05)
ALARM = ((Button("Stop", "a1:stop"), Button("Lower", "a1:lower")),)


def made(fake: FakeWecom, timing: Timing = QUICK, memory: KeptMemory | None = None, **values: str) -> Wecom:
    fields = {"bot_id": fake.bot_id, "secret": fake.secret, "url": fake.url, **values}
    return Wecom(Setup("wecom", fields, memory or KeptMemory(), SystemClock()), timing)


@contextlib.asynccontextmanager
async def connected(
    timing: Timing = QUICK, memory: KeptMemory | None = None, fake: FakeWecom | None = None
) -> AsyncIterator[tuple[Wecom, FakeWecom, list[Incoming]]]:
    """A bridge that listens, its service, and what it heard."""
    heard: list[Incoming] = []

    async def receive(incoming: Incoming) -> None:
        heard.append(incoming)

    async with (fake or FakeWecom()).serving() as service:
        bridge = made(service, timing, memory)
        await bridge.open(receive)
        try:
            await until(lambda: bridge.condition().ok)
            yield bridge, service, heard
        finally:
            await bridge.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(), 30)

    asyncio.run(bounded())


async def ignore(incoming: Incoming) -> None:
    pass
