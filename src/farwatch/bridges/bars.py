"""Chats that a program names in its bars, for the progress of its run alone: see `farwatch.sdk.chat_bars`.

A run says a digest; what it stands for is in a file of this user on this machine. Nobody writes there but the bars, nobody is listened to,
and none of this stands among channels and people. Where the same bot is connected already, its channel is used: a service counts requests
by bot.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farwatch.bridges import registry
from farwatch.bridges.audience import Telling, wants
from farwatch.bridges.base import Address, Setup
from farwatch.bridges.channels import read_private, unusable
from farwatch.bridges.dispatch import Notice
from farwatch.bridges.switchboard import Switchboard
from farwatch.clock import Clock
from farwatch.errors import FarwatchError, NotFoundError, UsageError
from farwatch.service.people import ChatRow, People
from farwatch.wire.bars import FILE

log = logging.getLogger("farwatch.bridges")
KINDS = frozenset({"telegram", "discord", "slack"})


class Bars:
    """Sends progress to chats of bars. *Threads*: the switchboard's loop. *Ownership*: the board has and closes the bridges."""

    def __init__(self, board: Switchboard, people: People, state: Path, clock: Clock) -> None:
        """`state`: the state folder of the user whose server this is."""
        self._board = board
        self._people = people
        self._file = state / FILE
        self._clock = clock
        self._chats: dict[str, ChatRow] = {}  # by digest
        self._failed: set[str] = set()  # digests of which a line was logged
        self._locks: dict[str, asyncio.Lock] = {}

    @property
    def wanted(self) -> bool:
        """Whether any program of this user has ever named a chat."""
        return bool(self._chats) or self._file.exists()

    def chats(self) -> list[ChatRow]:
        """Those that something was sent to in this server's life."""
        return list(self._chats.values())

    def tell(self, telling: Telling) -> None:
        """Send the progress of a run to the chats that its bars name. Never waits."""
        for digest in telling.to:
            self._board.task(self._tell(digest, telling))

    async def _tell(self, digest: str, telling: Telling) -> None:
        async with self._locks.setdefault(digest, asyncio.Lock()):  # the first one opens it; the order stays
            chat = self._chats.get(digest) or await self._open(digest)
        known = None if chat is None else self._people.chat_at(chat.channel, chat.address)
        if chat is None or (known is not None and wants(known, telling)):
            return  # who is told of this run anyway is not told twice
        message = telling.compose(chat)
        if message is not None:
            notice = Notice(telling.urgency, telling.about, message, key=telling.key, closes=telling.closes)
            self._board.dispatcher.post(chat, notice)

    async def _open(self, digest: str) -> ChatRow | None:
        try:
            kind, values = await asyncio.to_thread(self._entry, digest)
            about = registry.kind(kind)
            address = str(Address.parse(about.chats(values)[0]))
            channel = self._connected(kind, values)
            if channel is None:
                channel = f"{kind}-{digest[:8]}"
                self._board.bridges[channel] = about.make(Setup(channel, values, Nothing(), self._clock))
        except (FarwatchError, OSError, LookupError) as error:
            if digest not in self._failed:
                self._failed.add(digest)
                log.warning("a bar is shown in no chat: %s", unusable(error))
            return None
        # Chats of people have numbers above 0; this one is the same after a restart, and its message is found again.
        chat = ChatRow(-1 - int(digest[:7], 16), channel, address, None, "", 0, {}, self._clock.wall_us() // 1000)
        self._chats[digest] = chat
        return chat

    def _entry(self, digest: str) -> tuple[str, dict[str, str]]:
        """Service and fields. Raises `NotFoundError`, `UsageError` for a file that others could read or have written."""
        found = read_private(self._file).get("bars")
        entry = found.get(digest) if isinstance(found, dict) else None
        if not isinstance(entry, dict):
            hint = "its program runs as another user, or on another machine: connect the chat with farwatch connect"
            raise NotFoundError(f"its chat is not known to this server; {hint}")
        kind, values = entry.get("kind"), entry.get("values")
        if kind not in KINDS or not isinstance(values, dict):
            raise UsageError(f"`{FILE}` names a service that bars have not")
        return str(kind), {str(key): str(value) for key, value in values.items()}

    def _connected(self, kind: str, values: Mapping[str, str]) -> str | None:
        """The channel that this bot has already."""
        secrets = {name: values[name] for name in registry.kind(kind).secrets if name in values}
        if not secrets or "webhook" in secrets:
            return None
        return self._board.channel_with(kind, secrets)


class Nothing:
    """The memory of a bridge that remembers nothing."""

    def load(self) -> dict[str, Any]:
        return {}

    def save(self, value: Mapping[str, Any]) -> None:
        """Forget it."""
