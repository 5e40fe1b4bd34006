"""Log-ins by a scan that people have begun, for pages and terminals that ask how far they are.

A service holds each question for half a minute, and gives the session in an answer that it gives once: a question is never broken off
because whoever asked has gone; the next one to ask hears its answer.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from farwatch.bridges import registry
from farwatch.bridges.base import Scan, ScanState
from farwatch.bridges.channels import Channel, checked
from farwatch.bridges.switchboard import Switchboard
from farwatch.clock import Clock
from farwatch.errors import NotFoundError, UsageError
from farwatch.service.people import People

HELD_S = 25.0
IDLE_S = 600.0  # a log-in that nobody asks about any more


@dataclass(slots=True)
class _Open:
    """One that has begun. `link`: the code to draw now; `asked_us`: when somebody last asked, on the monotonic clock."""

    channel: Channel
    scan: Scan
    link: str
    asked_us: int
    question: "asyncio.Task[ScanState] | None" = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Logins:
    """*Threads*: the switchboard's loop."""

    def __init__(self, board: Switchboard, people: People, clock: Clock) -> None:
        self._board = board
        self._people = people
        self._clock = clock
        self._open: dict[str, _Open] = {}

    async def step(self, name: str, by: str, *, digits: str | None = None, again: bool = False) -> dict[str, Any]:
        """Begin a log-in, or ask how far it is: `state`, `link` to draw as a code, `text` for people. Answers within 25 s.

        `digits`: the number that the phone shows. `again`: with a new code. A service that is not connected yet goes by its own name.
        Raises `NotFoundError`, `UsageError` for one that needs no scan, `BridgeError`.
        """
        await self._sweep()
        one = self._open.get(name)
        if one is None or again:
            return await self._begin(name)
        one.asked_us = self._clock.mono_us()
        async with one.lock:
            if self._open.get(name) is not one:
                raise UsageError("this log-in has ended meanwhile", hint="begin again")
            if digits is not None:
                one.scan.give_digits(digits)
            if one.question is None:
                one.question = self._board.begun(one.scan.poll())
            await self._board.within([one.question], HELD_S)
            if not one.question.done():
                return _said("wait", one.link, "scan the code")
            question, one.question = one.question, None
            if question.exception() is not None:
                await self._end(name)
            state = question.result()
            one.link = state.link or one.link
            if state.done:
                await self._end(name)
                if state.good:
                    await self._board.logged_in(one.channel, by)
                    if state.user:  # an administrator has let them scan, at this server: that is as good as a code
                        await asyncio.to_thread(self._people.bind, one.channel.name, state.user, by)
            drawn = not state.done and state.code in ("wait", "expired")
            return _said(state.code, one.link if drawn else None, state.text)

    async def close(self) -> None:
        """Let go of all of them."""
        for name in list(self._open):
            await self._end(name)

    async def _begin(self, name: str) -> dict[str, Any]:
        try:
            channel = self._board.known(name)
        except NotFoundError:
            channel = checked(name, name, {})  # by its own name, with nothing but what it takes by itself
        login = registry.kind(channel.kind).login
        if login is None:
            raise UsageError(f"{channel.kind} is not connected by a scan", hint="give its credentials instead")
        await self._end(name)
        scan = login(self._board.setup(channel))
        try:
            link = await scan.begin()
        except BaseException:
            await scan.close()
            raise
        self._open[name] = _Open(channel, scan, link, self._clock.mono_us())
        return _said("wait", link, scan.warning)

    async def _end(self, name: str) -> None:
        one = self._open.pop(name, None)
        if one is not None:
            if one.question is not None:
                one.question.cancel()
            await one.scan.close()

    async def _sweep(self) -> None:
        now_us = self._clock.mono_us()
        for name in [name for name, one in self._open.items() if now_us - one.asked_us > IDLE_S * 1e6]:
            await self._end(name)


def _said(state: str, link: str | None, text: str) -> dict[str, Any]:
    return {"state": state, "link": link, "text": text}
