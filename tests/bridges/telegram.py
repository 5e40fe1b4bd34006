"""What the test files of Telegram use."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from farwatch.bridges.base import Incoming, Setup
from farwatch.bridges.services.telegram import TelegramBridge
from farwatch.clock import Clock, SystemClock
from farwatch.testing.chat.telegram import FakeTelegram
from tests.bridges.memory import KeptMemory


class MovedClock:
    """The system's, moved by hand."""

    def __init__(self) -> None:
        self.moved_us = 0
        self._real = SystemClock()

    def wall_us(self) -> int:
        return self._real.wall_us() + self.moved_us

    def mono_us(self) -> int:
        return self.moved_us  # stands still between moves

    def sleep(self, seconds: float) -> None:
        self.moved_us += int(seconds * 1e6)


class Pauses:
    """How long the bridge wanted to wait; it waits for `go` instead, or not at all."""

    def __init__(self, *, held: bool = False) -> None:
        self.seconds: list[float] = []
        self.go = asyncio.Event()
        if not held:
            self.go.set()

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await self.go.wait()
        await asyncio.sleep(0)


def bridge_for(
    fake: FakeTelegram, memory: KeptMemory | None = None, *, pause: Pauses | None = None, clock: Clock | None = None, **values: str
) -> TelegramBridge:
    """A bridge that speaks to a fake."""
    fields = {"token": fake.token, "url": fake.url, **values}
    setup = Setup("telegram", fields, memory or KeptMemory(), clock or SystemClock())
    return TelegramBridge(setup, pause=pause) if pause else TelegramBridge(setup)


def run(test: Callable[[TelegramBridge, FakeTelegram], Awaitable[None]]) -> None:
    """Run one test with a fake and a bridge that is not opened."""

    async def whole() -> None:
        async with FakeTelegram() as fake:
            bridge = bridge_for(fake)
            try:
                await asyncio.wait_for(test(bridge, fake), 60)
            finally:
                await bridge.close()

    asyncio.run(whole())


def with_fake(test: Callable[[FakeTelegram], Awaitable[None]]) -> None:
    """Run one test with a fake alone."""

    async def whole() -> None:
        async with FakeTelegram() as fake:
            await asyncio.wait_for(test(fake), 60)

    asyncio.run(whole())


@contextlib.asynccontextmanager
async def closing(bridge: TelegramBridge) -> AsyncIterator[TelegramBridge]:
    """Another bridge, closed at the end."""
    try:
        yield bridge
    finally:
        await bridge.close()


def collect(heard: list[Incoming]) -> Callable[[Incoming], Awaitable[None]]:
    """What `open` is given, to keep everything in a list."""

    async def receive(incoming: Incoming) -> None:
        heard.append(incoming)

    return receive
