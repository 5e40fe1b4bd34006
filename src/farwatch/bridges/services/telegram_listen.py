"""Hearing what people write to a Telegram bot: long polling, and what must be remembered for it."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

from farwatch.bridges.base import Condition, Memory, Outcome, Receipt, Receive
from farwatch.bridges.language.words import menu
from farwatch.bridges.services.telegram_api import Api, Reply
from farwatch.bridges.services.telegram_update import WANTED, Me, incoming, migrated, record
from farwatch.clock import Clock

HOLD_S = 40  # proxies that end silent connections do so after a minute
GROW_MAX_S = 60.0
REVOKED_S = 300.0  # a token that has been made anew is entered by a person, who restarts us; a relay may recover
TAKEN_S = 60.0
CALM_US = 180_000_000  # so long nobody else may poll before we call the token ours again
FRESH_MS = 25 * 3_600_000  # Telegram keeps updates for 24 h; a week after the last one it numbers them anew, perhaps lower
MENU_DEFAULT = "en"

Pause = Callable[[float], Awaitable[None]]
_log = logging.getLogger("farwatch.bridges")


class Kept:
    """What outlives a restart: the next update's number, and groups that have got another id.

    `fixed`: ids of chats that people configured, which keep their names.
    """

    def __init__(self, memory: Memory, bot_id: str, fixed: frozenset[str] = frozenset()) -> None:
        self._memory, self._bot_id = memory, bot_id
        value = record(memory.load())
        ours = value.get("bot") == bot_id
        self._offset = value["offset"] if ours and isinstance(value.get("offset"), int) else None
        self._seen_ms = value["seen_ms"] if ours and isinstance(value.get("seen_ms"), int) else 0
        self._moved = {str(old): str(new) for old, new in record(value.get("moved")).items()}
        self._fixed = fixed

    def offset(self, now_ms: int) -> int | None:
        """The number to ask from; None where everything that Telegram has is new to us."""
        return self._offset if now_ms - self._seen_ms < FRESH_MS else None

    def advance(self, update_id: int, now_ms: int) -> bool:
        """Note that an update is being handled; False for one that was. Kept before it is handled: a command is done once or never."""
        known = self.offset(now_ms)
        if known is not None and update_id < known:
            return False
        self._offset, self._seen_ms = update_id + 1, now_ms
        self._save()
        return True

    def move(self, old: str, new: str) -> None:
        """Note that a group's id has changed."""
        self._moved[old] = new
        self._save()

    def current(self, chat: str) -> str:
        """The id that Telegram knows a chat by."""
        return self._moved.get(chat, chat)

    def known(self, chat: str) -> str:
        """The id that we go on knowing a chat by, so that answers find what they answer."""
        if chat in self._fixed:
            return chat
        return next((old for old, new in self._moved.items() if new == chat), chat)

    def _save(self) -> None:
        value = {"bot": self._bot_id, "offset": self._offset, "seen_ms": self._seen_ms, "moved": self._moved}
        try:
            self._memory.save(value)
        except OSError as error:  # on a full disk, too, a person must be heard who wants to stop a run
            _log.warning("what was heard cannot be kept: %s", error.strerror or type(error).__name__)


class Listener:
    """The long poll of one channel. *Threads*: one event loop. *Ownership*: nothing else may poll with this token.

    `pause`: how to wait for so many seconds.
    """

    def __init__(self, api: Api, kept: Kept, channel: str, clock: Clock, pause: Pause = asyncio.sleep) -> None:
        self.me: Me | None = None
        self._api, self._kept, self._channel, self._clock, self._pause = api, kept, channel, clock, pause
        self._task: asyncio.Task[None] | None = None
        self._condition = Condition(False, "connecting", "connecting to Telegram")
        self._failures = 0
        self._taken_us: int | None = None

    def start(self, receive: Receive) -> None:
        """Begin; once."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(receive), name=f"telegram {self._channel}")

    async def close(self) -> None:
        """Stop; may be called twice."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def condition(self) -> Condition:
        """How listening goes."""
        if self._taken_us is not None and self._clock.mono_us() - self._taken_us < CALM_US:
            return Condition(
                False, "taken-over",
                "another program polls with this bot's token and takes what people write: look for a second Farwatch server, or another"
                " program, that has this token, and end it; or make a bot of its own for each with @BotFather",
            )  # fmt: skip
        return self._condition

    async def _run(self, receive: Receive) -> None:
        while True:
            try:
                wait_s = self._judge(await self._poll(receive) if self.me else await self._introduce())
            except Exception as error:  # what nobody thought of must not leave a person without an ear
                # Without its words, which may hold the address, and that the token.
                _log.warning("telegram %s: %s while listening", self._channel, type(error).__name__)
                wait_s = self._grown()
            if wait_s:
                await self._pause(wait_s)

    async def _introduce(self) -> Reply:
        """Ask who we are, and offer the words that we know. Without the words it works as well."""
        reply = await self.ask_me()
        if self.me is not None:
            for lang in ("en", "zh"):
                known = [{"command": word, "description": about[:256]} for word, about in menu(lang)]
                more = {} if lang == MENU_DEFAULT else {"language_code": lang}
                await self._api.ask("setMyCommands", {"commands": known, **more})
        return reply

    async def ask_me(self) -> Reply:
        """Ask who we are, and remember it."""
        reply = await self._api.ask("getMe", {})
        if reply.receipt.outcome is not Outcome.SENT:
            return reply
        if (me := Me.read(reply.result)) is None:
            return Reply(Receipt(Outcome.FAILED, reason="something answered that is not Telegram"))
        self.me = me
        return reply

    async def _poll(self, receive: Receive) -> Reply:
        fields: dict[str, Any] = {"timeout": HOLD_S if self._condition.ok else 0, "allowed_updates": WANTED}
        offset = self._kept.offset(self._now_ms())
        reply = await self._api.ask(
            "getUpdates", fields if offset is None else {**fields, "offset": offset}, answer_s=HOLD_S + 15.0
        )
        if reply.status == 409 and "webhook" in reply.said:
            # Set by a program that had this bot before; what waits there comes to us.
            deleted = await self._api.ask("deleteWebhook", {"drop_pending_updates": False})
            again = Receipt(Outcome.LATER, reason="a webhook was set", retry_after_s=1.0)
            return Reply(again) if deleted.receipt.arrived else deleted
        if reply.receipt.outcome is not Outcome.SENT:
            return reply
        if not isinstance(reply.result, list):
            return Reply(Receipt(Outcome.FAILED, reason="something answered that is not Telegram"))
        new = [await self._take(record(update), receive) for update in reply.result]
        if new and not any(new):
            return Reply(Receipt(Outcome.FAILED, reason="Telegram repeats what it has said"))
        return reply

    async def _take(self, update: dict[str, Any], receive: Receive) -> bool:
        """Hand one update on; False for what is not new."""
        number, now_ms = update.get("update_id"), self._now_ms()
        if not isinstance(number, int) or not self._kept.advance(number, now_ms):
            return False
        if moved := migrated(update):
            self._kept.move(*moved)
        assert self.me is not None
        found = incoming(update, self.me, self._channel, now_ms, self._kept.known)
        if found is not None:
            try:
                await receive(found)
            except Exception:  # the caller's fault; the next message must be heard all the same
                _log.exception("telegram %s: what was written could not be handled", self._channel)
        return True

    def _judge(self, reply: Reply) -> float:
        """Note how it went; returns how many seconds to wait before the next request."""
        receipt = reply.receipt
        if receipt.outcome is Outcome.SENT:
            self._failures = 0
            if self.me is not None and isinstance(reply.result, list):  # not before somebody would be heard
                facts = {"username": self.me.username, "link": f"https://t.me/{self.me.username}"}
                self._condition = Condition(True, text=str(self.me), facts=facts)
            return 0.0
        if reply.status == 409:
            self._taken_us = self._clock.mono_us()
            return TAKEN_S
        if receipt.outcome is Outcome.REVOKED:
            self._condition = Condition(False, "revoked", receipt.reason)
            return REVOKED_S
        if receipt.outcome is Outcome.LATER:
            return receipt.retry_after_s or 1.0
        self._condition = Condition(False, "no-contact", receipt.reason)
        return self._grown()

    def _grown(self) -> float:
        """A pause that doubles with every failure in a row, up to a minute, and is not the same everywhere."""
        self._failures += 1
        return min(GROW_MAX_S, 2.0 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)

    def _now_ms(self) -> int:
        return self._clock.wall_us() // 1000
