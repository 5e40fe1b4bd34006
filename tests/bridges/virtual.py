"""A loop whose time jumps to the next timer when nothing is ready, and a bridge that does as a script says. No sockets, no waiting."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

from farwatch.bridges.base import Address, Caps, Condition, Incoming, Message, Outcome, Receipt, Receive


class _Jump(selectors.SelectSelector):
    """Waits for nothing: what it would have waited has passed."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.loop.passed_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes only where everybody waits for it."""

    def __init__(self) -> None:
        self.passed_s = 1_000.0
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.passed_s


def run_virtually(main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run a coroutine on such a loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


class Scripted:
    """A bridge that answers as told: `script` holds receipts for the next requests, then everything is sent.

    `log`: (seconds, what, text, chat) of every request.
    """

    def __init__(self, caps: Caps | None = None) -> None:
        self.caps = caps or Caps(text_max=4096, edit=True, delete=True, buttons=True, two_way=True, edit_every_s=5.0)
        self.script: list[Receipt] = []
        self.log: list[tuple[float, str, str, str]] = []
        self.messages: list[Message] = []
        self.acknowledged: list[str] = []
        self.takes_s = 0.0
        self._next = 0
        self.receive: Receive | None = None

    async def open(self, receive: Receive) -> None:
        self.receive = receive

    async def close(self) -> None:
        pass

    async def check(self) -> str:
        return "scripted"

    async def send(self, to: Address, message: Message) -> Receipt:
        return await self._answer("send", to, message)

    async def edit(self, to: Address, message_id: str, message: Message) -> Receipt:
        return await self._answer("edit", to, message)

    async def delete(self, to: Address, message_id: str) -> Receipt:
        return await self._answer("delete", to, Message(()))

    async def acknowledge(self, incoming: Incoming, text: str = "") -> None:
        self.acknowledged.append(text)

    def condition(self) -> Condition:
        return Condition(True)

    async def _answer(self, what: str, to: Address, message: Message) -> Receipt:
        self.log.append((round(asyncio.get_running_loop().time() - 1_000, 2), what, message.text, str(to)))
        self.messages.append(message)
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        if self.script:
            return self.script.pop(0)
        self._next += 1
        return Receipt(Outcome.SENT, (f"m{self._next}",) if what == "send" else ())

    def did(self, what: str) -> list[str]:
        """Texts of all requests of one sort."""
        return [text for _, one, text, _ in self.log if one == what]
