"""What the test files of a person's own WeChat use."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from farwatch.bridges.base import Incoming, Setup
from farwatch.bridges.services.ilink import Ilink, Timing
from farwatch.bridges.services.ilink_login import Login, LoginState
from farwatch.testing.bridges import until
from farwatch.testing.chat.ilink import FakeIlink
from tests.bridges.clock import MovedClock
from tests.bridges.memory import KeptMemory

HOUR_S = 3_600


class Phone:
    """A fake, a clock, a memory that outlives bridges, and what was heard."""

    def __init__(self, fake: FakeIlink, clock: MovedClock) -> None:
        self.fake = fake
        self.clock = clock
        self.memory = KeptMemory()
        self.heard: list[Incoming] = []
        self.slept: list[float] = []
        self.paused: list[float] = []

    @property
    def setup(self) -> Setup:
        return Setup("wechat", {"url": self.fake.url, "cdn": f"{self.fake.url}/c2c"}, self.memory, self.clock)

    def bridge(self) -> Ilink:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.clock.sleep(seconds)

        async def pause(seconds: float) -> None:
            self.paused.append(seconds)
            await asyncio.sleep(0.01)

        return Ilink(self.setup, Timing(), sleep=sleep, pause=pause)

    async def receive(self, incoming: Incoming) -> None:
        self.heard.append(incoming)

    async def log_in(self) -> LoginState:
        login = Login(self.setup)
        try:
            assert (await login.begin()).startswith("https://")
            while not (state := await login.poll()).done:
                pass
        finally:
            await login.close()
        return state

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Ilink]:
        """A bridge that listens."""
        bridge = self.bridge()
        await bridge.open(self.receive)
        try:
            await until(lambda: bridge.condition().code != "connecting")
            yield bridge
        finally:
            await bridge.close()

    async def wake(self, bridge: Ilink, text: str = "hello") -> None:
        """The person writes, and it is heard."""
        count = len(self.heard)
        await self.fake.write(text)
        await until(lambda: len(self.heard) > count)


@contextlib.asynccontextmanager
async def phone(**more: Any) -> AsyncIterator[Phone]:
    """An account whose code nobody has scanned yet."""
    clock = MovedClock()
    async with FakeIlink(clock=clock, **more).serving() as fake:
        yield Phone(fake, clock)


@contextlib.asynccontextmanager
async def chatting() -> AsyncIterator[tuple[Ilink, Phone]]:
    """A bridge that was written to."""
    async with phone() as it:
        await it.log_in()
        async with it.connected() as bridge:
            await it.wake(bridge)
            yield bridge, it


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(), 30)

    asyncio.run(bounded())
