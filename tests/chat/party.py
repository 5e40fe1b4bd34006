"""A server, its trainers and a fake of Telegram with people in it, all real but the people."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from farwatch.bridges.base import Address
from farwatch.testing.bridges import Seen
from farwatch.testing.chat.telegram import FakeTelegram
from tests.faults.machine import Machine, until

T = TypeVar("T")


class Party(Machine):
    """A machine whose server is connected to Telegram by its environment."""

    def __init__(self, folder: Path, **fake: Any) -> None:
        super().__init__(folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fakes", daemon=True)
        self._thread.start()
        self.telegram = self.on_loop(_entered(FakeTelegram(**fake)))
        self.environ |= {"FARWATCH_TELEGRAM_TOKEN": self.telegram.token, "FARWATCH_TELEGRAM_URL": self.telegram.url}

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        self.on_loop(self.telegram.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something where the fakes live."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(60)

    # --- people

    def pair(
        self, *, name: str = "Ann", user: int | None = None, chat: Address | None = None, scopes: tuple[str, ...] = ("steer", "start")
    ) -> None:
        """Make a Telegram user somebody here, as people do: by a code."""
        with self.api() as api:
            code = api._contact.post("/people/pair", {"name": name, "scopes": list(scopes)})["code"]
        before = len(self.seen(chat))
        self.write(f"/start {code}", user=user, chat=chat)
        until(lambda: len(self.seen(chat)) > before, what="a greeting")

    def write(self, text: str, *, user: int | None = None, chat: Address | None = None, **more: Any) -> str:
        """Somebody writes; returns the id of the message."""
        who = {} if user is None else {"user": user, "name": f"User {user}"}
        return self.on_loop(self.telegram.write(text, chat=chat, **who, **more))

    def seen(self, chat: Address | None = None) -> list[Seen]:
        """What stands in a chat (Ann's by default), oldest first."""
        return self.telegram.seen(chat or self.telegram.chat)

    def texts(self, chat: Address | None = None) -> list[str]:
        return [one.text for one in self.seen(chat)]

    def ask(self, text: str, *, limit_s: float = 30.0, **more: Any) -> str:
        """Write something and return the answer: the newest message with a sound, once there is one more."""
        chat = more.get("chat")
        before = {one.message_id for one in self.seen(chat)}
        self.write(text, **more)

        def answer() -> str | None:
            return next((one.text for one in reversed(self.seen(chat)) if one.message_id not in before and not one.silent), None)

        return str(until(answer, limit_s, f"an answer to {text!r}"))

    def message_with(self, part: str, limit_s: float = 30.0, chat: Address | None = None) -> Seen:
        """A message that holds some words, once it is there."""

        def there() -> Seen | None:
            return next((one for one in reversed(self.seen(chat)) if part in one.text), None)

        found: Seen = until(there, limit_s, f"a message with {part!r}")
        return found

    def press(self, seen: Seen, label: str, *, user: int | None = None) -> None:
        """Press a button of a message."""
        who = {} if user is None else {"user": user, "name": f"User {user}"}
        self.on_loop(self.telegram.press(seen.message_id, label, chat=Address.parse(seen.chat), **who))


async def _entered(fake: FakeTelegram) -> FakeTelegram:
    return await fake.__aenter__()
