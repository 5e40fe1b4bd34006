"""Messages that programs and people ask for: to everybody or to some chats, with files, and what became of them in each chat."""

import asyncio
import base64
import binascii
import mimetypes
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farwatch.bridges import compose
from farwatch.bridges.audience import Audience, Telling
from farwatch.bridges.base import Attachment, Message, Outcome, Part, Style, plain
from farwatch.bridges.dispatch import Notice, Ticket, Urgency
from farwatch.bridges.outgoing import Outgoing
from farwatch.bridges.services.carried import media_type
from farwatch.bridges.switchboard import Switchboard
from farwatch.errors import NotFoundError, UsageError
from farwatch.service.people import ChatRow, Meta, People

ABOUT = "message/"
TEXT_MAX = 100_000
FILES_MAX = 10
TO_MAX = 100
CAPTION_MAX = 1_024
WAIT_S, WAIT_MAX_S = 10.0, 30.0
DELETED_MAX = 100
DELETE_S = 20.0
STYLES: dict[str, Style] = {"text": "plain", "markdown": "markdown", "html": "html", "mono": "block"}
FIELDS = frozenset({"text", "format", "silent", "preview", "picture", "files", "to", "wait_s", "id"})
IDS_KEPT = 1_000
_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
ATTACHED = frozenset({"name", "media_type", "caption", "base64", "upload"})


@dataclass(frozen=True, slots=True)
class Wish:
    """A message as it was asked for. `to`: numbers of chats; None: everybody who wants messages. `wait_s`: for what becomes of it.

    `id`: chosen by who asks and may have to ask again, having heard no answer: it is sent once.
    """

    parts: tuple[Part, ...]
    picture: Attachment | None
    files: tuple[Attachment, ...]
    silent: bool
    preview: bool
    to: tuple[int, ...] | None
    wait_s: float
    id: str | None


@dataclass(slots=True)
class _Sent:
    """What became of it in one chat. `ticket`: None where it is held back, for the reason `why`."""

    chat: ChatRow
    ticket: Ticket | None
    why: str

    def body(self) -> dict[str, Any]:
        """For the answer."""
        told = {"chat": self.chat.no, "channel": self.chat.channel, "outcome": "waiting", "reason": "", "ids": []}
        if self.ticket is None:
            return {**told, "outcome": "held", "reason": self.why}
        if not self.ticket.done.done():
            return {**told, "reason": self.ticket.last.reason if self.ticket.last is not None else ""}
        receipt = self.ticket.done.result()
        return {**told, "outcome": receipt.outcome.value, "reason": receipt.reason, "ids": list(receipt.message_ids)}


class Notify:
    """*Threads*: `read` by any that may wait for the disk; `send` and `delete` in the switchboard's loop."""

    def __init__(self, board: Switchboard, audience: Audience, people: People, meta: Meta, outgoing: Outgoing) -> None:
        self._board = board
        self._audience = audience
        self._people = people
        self._meta = meta
        self._outgoing = outgoing
        self._asked: dict[str, dict[int, _Sent]] = {}  # by the id of the message

    # --- what was asked for

    def read(self, asked: Mapping[str, Any]) -> Wish:
        """Check a request. Raises `UsageError`, `NotFoundError`, `LimitError`."""
        for key in asked:
            if key not in FIELDS:
                raise UsageError(f"a message has no `{key[:40]}`", hint=f"it has: {', '.join(sorted(FIELDS))}")
        text, style = asked.get("text", ""), asked.get("format", "text")
        if not isinstance(text, str) or len(text) > TEXT_MAX:
            raise UsageError(f"`text` is a text of at most {TEXT_MAX} characters")
        if not isinstance(style, str) or style not in STYLES:
            raise UsageError(f"no format: `{str(style)[:40]}`", hint=", ".join(STYLES))
        flags = {}
        for key in ("silent", "preview"):
            flags[key] = asked.get(key, False)
            if not isinstance(flags[key], bool):
                raise UsageError(f"`{key}` is true or false")
        wait_s = asked.get("wait_s", WAIT_S)
        if isinstance(wait_s, bool) or not isinstance(wait_s, int | float) or not 0 <= wait_s <= WAIT_MAX_S:
            raise UsageError(f"`wait_s` is a number of seconds from 0 to {WAIT_MAX_S:g}")
        chosen = asked.get("id")
        if chosen is not None and not (isinstance(chosen, str) and _ID.fullmatch(chosen)):
            raise UsageError("`id` has 8 to 64 letters, digits and hyphens")
        to = self._chats(asked["to"]) if asked.get("to") is not None else None
        listed = asked.get("files") or []
        if not isinstance(listed, list) or len(listed) > FILES_MAX:
            raise UsageError(f"`files` is a list of at most {FILES_MAX}")
        picture = None if asked.get("picture") is None else self._attachment(asked["picture"], "picture")
        if picture is not None and picture.kind != "picture":
            raise UsageError("`picture` is a PNG, JPEG, WebP or GIF", hint="anything else goes into `files`")
        files = tuple(self._attachment(one, "files") for one in listed)
        if not text.strip() and picture is None and not files:
            raise UsageError("there is nothing to say", hint="give `text`, `picture` or `files`")
        parts = (Part(text, STYLES[style]),) if text else ()
        return Wish(parts, picture, files, flags["silent"], flags["preview"], to, float(wait_s), chosen)

    def _chats(self, asked: Any) -> tuple[int, ...]:
        """Numbers of the chats that are meant, each once."""
        listed = asked if isinstance(asked, list) else [asked]
        if not 0 < len(listed) <= TO_MAX:
            raise UsageError(f"`to` lists 1 to {TO_MAX} numbers of chats, or names of channels")
        found: dict[int, None] = {}
        for one in listed:
            if isinstance(one, int) and not isinstance(one, bool):
                found[self._people.chat(one).no] = None
                continue
            if not isinstance(one, str) or not one:
                raise UsageError("`to` lists numbers of chats, or names of channels")
            mine = self._people.chats(channel=one)
            if not mine and one.isascii() and one.isdigit() and len(one) < 17:
                mine = [self._people.chat(int(one))]
            if not mine:
                self._board.known(one)
                raise NotFoundError(f"`{one[:60]}` has no chat yet", hint="pair somebody, or add a chat")
            found.update(dict.fromkeys(chat.no for chat in mine))
        return tuple(found)

    def _attachment(self, asked: Any, where: str) -> Attachment:
        if not isinstance(asked, Mapping) or set(asked) - ATTACHED:
            raise UsageError(f"each of `{where}` is an object", hint=f"it has: {', '.join(sorted(ATTACHED))}")
        for key in asked:
            if asked[key] is not None and not isinstance(asked[key], str):
                raise UsageError(f"`{key}` of a file is a text")
        name, caption = str(asked.get("name") or ""), str(asked.get("caption") or "")
        if len(name) > 200 or len(caption) > CAPTION_MAX:
            raise UsageError(f"the name of a file has at most 200 characters, its caption {CAPTION_MAX}")
        if asked.get("upload"):
            return self._outgoing.attachment(asked["upload"], name or None, asked.get("media_type"), caption)
        try:
            content = base64.b64decode(asked.get("base64") or "", validate=True)
        except (binascii.Error, ValueError):
            raise UsageError(f"`base64` of `{name[:60]}` is no base64") from None
        if not content:
            raise UsageError("a file without bytes", hint="give `base64`, or `upload` from POST /notify/uploads")
        if not name:
            raise UsageError("a file has a `name`")
        key = self._outgoing.put(name, type_of(name, asked.get("media_type")), content)
        return self._outgoing.attachment(key, caption=caption)

    # --- in the loop

    async def send(self, wish: Wish) -> list[dict[str, Any]]:
        """Send it, and say what became of it in each chat within `wait_s`; what goes on then is `waiting`."""
        end_s = asyncio.get_running_loop().time() + wish.wait_s
        about = ABOUT + (wish.id or secrets.token_hex(8))
        if wish.id is not None and wish.id not in self._asked and (told := await self._told(about)):
            return told
        sent = self._asked.get(wish.id) if wish.id is not None else None
        if sent is None:
            sent = {}
            trying = self._post(wish, about, sent)
            if wish.id is not None:
                self._asked[wish.id] = sent
                while len(self._asked) > IDS_KEPT:
                    del self._asked[next(iter(self._asked))]
            await asyncio.sleep(0)  # those who try begin
            await self._board.within(trying, end_s - asyncio.get_running_loop().time())
        waited = [one.ticket.done for one in sent.values() if one.ticket is not None]
        await self._board.within(waited, end_s - asyncio.get_running_loop().time())
        return [one.body() for _, one in sorted(sent.items())]

    def _post(self, wish: Wish, about: str, sent: dict[int, _Sent]) -> list["asyncio.Task[Any]"]:
        """Put it into the queues; what becomes of it stands in `sent`. Returns what goes on trying."""

        def words(chat: ChatRow) -> Message:
            if chat.settings.get("detail") == "minimal":
                return plain(compose.say(self._people.lang_of(chat), "message"), silent=wish.silent)
            return Message(wish.parts, wish.picture, wish.files, silent=wish.silent, preview=wish.preview)

        def posted(chat: ChatRow, ticket: Ticket | None, why: str) -> None:
            sent[chat.no] = _Sent(chat, ticket, why)

        text = "".join(part.text for part in wish.parts)
        digest = next((line.strip()[:120] for line in text.splitlines() if line.strip()), "…")

        def line(lang: str, detail: str) -> str:
            return compose.say(lang, "message") if detail == "minimal" else digest

        telling = Telling(Urgency.EVENT, about, words, digest=line, vital=wish.to is not None, posted=posted)
        if wish.to is None:
            return self._audience.tell(telling)
        for no in wish.to:
            self._audience.say(self._people.chat(no), telling)
        return []

    async def _told(self, about: str) -> list[dict[str, Any]]:
        """What became of a message that was asked for before a restart; empty for one that never was."""
        looked = self._meta.enqueue(lambda writes: writes.people.deliveries_of([about]), durable=False)
        rows = {row.chat_no: row for row in await asyncio.wrap_future(looked)}
        return [
            {"chat": no, "channel": row.channel, "outcome": row.outcome, "reason": row.reason, "ids": []}
            for no, row in sorted(rows.items())
        ]

    async def delete(self, asked: Any) -> list[dict[str, Any]]:
        """Take messages back that `send` has sent. Raises `UsageError`."""
        if not isinstance(asked, list) or not 0 < len(asked) <= DELETED_MAX:
            raise UsageError(f"`messages` lists 1 to {DELETED_MAX} of what POST /notify has answered")
        pairs = [_pair(one) for one in asked]
        return list(await asyncio.gather(*(self._take_back(no, ids) for no, ids in pairs)))

    async def _take_back(self, no: int, ids: list[str]) -> dict[str, Any]:
        try:
            chat = self._people.chat(no)
        except NotFoundError:
            return {"chat": no, "outcome": Outcome.GONE.value, "reason": "no such chat"}
        # Asked behind all that waits to be written, so that what has just been sent is found.
        looked = self._meta.enqueue(lambda writes: writes.people.post_of_message(no, ids[0]), durable=False)
        post = await asyncio.wrap_future(looked)
        if post is None or not post.about.startswith(ABOUT):
            return {"chat": no, "outcome": Outcome.REFUSED.value, "reason": "only what was sent as a message can be taken back"}
        notice = Notice(Urgency.EVENT, post.about, plain(""), key=post.about, deletes=True, ahead=True)
        ticket = self._board.dispatcher.post(chat, notice)
        await self._board.within([ticket.done], DELETE_S)
        if not ticket.done.done():
            return {"chat": no, "outcome": "waiting", "reason": ""}
        receipt = ticket.done.result()
        return {"chat": no, "outcome": receipt.outcome.value, "reason": receipt.reason}


def _pair(asked: Any) -> tuple[int, list[str]]:
    no, ids = (asked.get("chat"), asked.get("ids")) if isinstance(asked, Mapping) else (None, None)
    texts = isinstance(ids, list) and ids and all(isinstance(one, str) for one in ids)
    if isinstance(no, bool) or not isinstance(no, int) or not texts:
        raise UsageError('each of `messages` is {"chat": number, "ids": [texts]}')
    return no, [str(one) for one in ids or ()]


def type_of(name: str, told: Any) -> str:
    """The media type of a file: as it was told, else by its name."""
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return media_type(Attachment(name, str(told or guessed), b""))
