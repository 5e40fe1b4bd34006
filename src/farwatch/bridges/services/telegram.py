"""Telegram by its Bot API: two-way without a public address, messages that edit themselves, pictures, files, buttons, topics.

Requests and their answers are in `telegram_api`, text in `telegram_text`, long polling in `telegram_listen`, what people write in
`telegram_update`.
"""

import asyncio
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from farwatch.bridges.base import (
    Address,
    Attachment,
    Button,
    Caps,
    Condition,
    Field,
    Incoming,
    Kind,
    Message,
    Outcome,
    Part,
    Rate,
    Receipt,
    Receive,
    Setup,
    shorten,
)  # fmt: skip
from farwatch.bridges.services.telegram_api import HOME, Api, File, Reply
from farwatch.bridges.services.telegram_listen import Kept, Listener, Pause
from farwatch.bridges.services.telegram_text import (
    CAPTION_MAX,
    TEXT_MAX,
    Notation,
    Piece,
    notation,
    pieces,
    styled,
    units,
    whole,
)
from farwatch.bridges.services.telegram_update import GENERAL, record
from farwatch.errors import BridgeError

PICTURE_MAX_BYTES = 10_000_000  # a larger picture goes as a document
FILE_MAX_BYTES = 50_000_000
PIECES_MAX = 10  # a text that needs more messages comes as its beginning and a file
RECENT_MAX = 2_000  # messages of which we remember what they hold
ANSWER_TEXT_MAX = 200  # of `answerCallbackQuery`
DATA_MAX_BYTES = 64
CAPS = Caps(
    text_max=TEXT_MAX, caption_max=CAPTION_MAX, two_way=True, edit=True, edit_every_s=5.0, delete=True, buttons=True, groups=True,
    group_prefix="-", silent=True, picture_max_bytes=PICTURE_MAX_BYTES, file_max_bytes=FILE_MAX_BYTES,
    rates=(Rate(1, 1.0, "chat"), Rate(20, 60.0, "group"), Rate(30, 1.0, "channel")),  # core.telegram.org/bots/faq
)  # fmt: skip
_CHAT = re.compile(r"(-?\d+|@\w+)(/\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Words:
    """Text in a person's notation, if any, and as it stands, for when Telegram refuses the notation."""

    noted: Notation | None
    as_is: Piece

    @classmethod
    def of(cls, parts: Iterable[Part]) -> "_Words":
        kept = tuple(parts)
        return cls(notation(kept), styled(kept))

    def fits(self, limit: int) -> bool:
        """Whether it is within a limit; what a notation shows is never longer than its source."""
        return units(self.as_is.text) <= limit

    def fields(self, name: str, limit: int) -> list[dict[str, Any]]:
        """Parameters to try, in this order; what is too long is shortened. `name`: `text` or `caption`."""
        if not self.fits(limit):
            return [self.as_is.shortened(limit).fields(name)]
        return [one.fields(name) for one in (self.noted, self.as_is) if one is not None]


@dataclass(frozen=True, slots=True)
class _Item:
    """One message of several: words, or a file with its caption."""

    words: _Words
    file: Attachment | None = None


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a message of ours holds. `digest`: of the picture's or file's bytes; empty without one, or if it is not known."""

    media: bool
    digest: str = ""


@dataclass(frozen=True, slots=True)
class _Upload:
    """A file as it is sent. `kind`: as Telegram calls it; also the name of its field."""

    kind: str
    file: File

    @property
    def digest(self) -> str:
        return hashlib.blake2b(self.file[1], digest_size=16).hexdigest()

    @property
    def method(self) -> str:
        return f"send{self.kind.capitalize()}"


class TelegramBridge:
    """One bot. See `farwatch.bridges.base.Bridge`. `pause`: how the long poll waits after a failure, so that tests need not.

    A text too long for one message, and its picture, are several messages; buttons are under the first, which `edit` changes.
    """

    caps = CAPS

    def __init__(self, setup: Setup, *, pause: Pause = asyncio.sleep) -> None:
        chats = setup.many("chat")
        for chat in chats:
            if not _CHAT.fullmatch(chat):
                hint = "a chat is a number, such as 4711, or -1001234567890/5 with a topic"
                raise BridgeError(f"this is no chat of Telegram: `{chat[:60]}`", hint=hint)
        self._api = Api(setup.get("token").strip(), setup.get("url", HOME).strip())
        self._kept = Kept(setup.memory, self._api.bot_id, frozenset(Address.parse(chat).chat for chat in chats))
        self._listener = Listener(self._api, self._kept, setup.channel, setup.clock, pause)
        self._shown: OrderedDict[tuple[str, str], _Shown] = OrderedDict()

    async def open(self, receive: Receive) -> None:
        self._listener.start(receive)

    async def close(self) -> None:
        await self._listener.close()
        await self._api.close()

    def condition(self) -> Condition:
        return self._listener.condition()

    def invite(self, code: str) -> str | None:
        """A link that opens the bot and sends it a pairing code."""
        me = self._listener.me
        return None if me is None else f"https://t.me/{me.username}?start={code}"

    async def check(self) -> str:
        receipt = (await self._listener.ask_me()).receipt
        if receipt.outcome is Outcome.SENT:
            return str(self._listener.me)
        if receipt.outcome is Outcome.REVOKED:
            raise BridgeError(receipt.reason, hint="write /mybots to @BotFather, choose the bot, then API Token")
        hint = "if Telegram is blocked where this machine is, set HTTPS_PROXY, or `url` to a relay"
        raise BridgeError(f"Telegram cannot be asked: {receipt.reason}", hint=hint)

    async def send(self, to: Address, message: Message) -> Receipt:
        plan, notes = _plan(message)
        ids: list[str] = []
        while plan:
            item = plan.pop(0)
            fields = {"disable_notification": True} if message.silent or ids else {}
            if not ids:
                fields |= _keyboard(message.buttons) | _answering(message.reply_to)
            receipt = await self._post(to, item, fields, message.preview)
            if receipt.outcome is Outcome.SENT:
                ids += receipt.message_ids
            elif receipt.outcome is Outcome.REFUSED and item.file is not None:
                notes.append(f"{item.file.name} was not sent: {receipt.reason}")
                if item.words.as_is.text.strip():
                    plan.insert(0, _Item(item.words))  # a picture that is no good must not cost the words
            elif ids:
                # Asking again would repeat what has arrived.
                notes.append(f"only a part was sent: {receipt.reason}")
                break
            else:
                return receipt
        reason = "; ".join(notes)
        return Receipt(Outcome.SENT, tuple(ids), reason) if ids else Receipt(Outcome.REFUSED, reason=reason or "nothing to say")

    async def edit(self, to: Address, message_id: str, message: Message) -> Receipt:
        if not message_id.isdecimal():
            return Receipt(Outcome.REFUSED, reason="this is no message of Telegram")
        key, words = (to.chat, message_id), _Words.of(message.parts)
        fields = {"message_id": int(message_id), **_keyboard(message.buttons)}
        shown = self._shown.get(key)
        media = shown is not None and shown.media
        ways = ["caption", "text"] if media else ["text", "caption"]  # after a restart we do not know, and Telegram says
        upload = None
        if message.picture is not None and (media or words.fits(CAPTION_MAX)) and not _objection(message.picture):
            upload = await _read(message.picture)
        if upload is not None:
            same = shown is not None and shown.digest == upload.digest
            ways = ways if same else ["media", *ways]
        for way in ways:
            reply = await self._change(to, way, fields, words, upload, message.preview)
            if not (reply.other_kind or (way == "media" and reply.receipt.outcome is Outcome.REFUSED)):
                break
        if reply.receipt.outcome is Outcome.SENT:
            if way == "media" and upload is not None:
                self._note(key, _Shown(True, upload.digest))
            elif shown is None:
                self._note(key, _Shown(way == "caption"))
            return Receipt(Outcome.SENT, (message_id,))
        if reply.receipt.outcome is Outcome.GONE:
            self._shown.pop(key, None)
        return reply.receipt

    async def delete(self, to: Address, message_id: str) -> Receipt:
        if not message_id.isdecimal():
            return Receipt(Outcome.REFUSED, reason="this is no message of Telegram")
        self._shown.pop((to.chat, message_id), None)
        return (await self._ask(to, "deleteMessage", {"message_id": int(message_id)})).receipt

    async def acknowledge(self, incoming: Incoming, text: str = "") -> None:
        if query := record(incoming.raw).get("id"):
            said = {"text": shorten(whole(text), ANSWER_TEXT_MAX)} if text.strip() else {}
            await self._api.ask("answerCallbackQuery", {"callback_query_id": query, **said})

    async def _post(self, to: Address, item: _Item, fields: Mapping[str, Any], preview: bool) -> Receipt:
        """Send one message, in words if the notation is refused, a picture as a document if it is refused."""
        fields = {**_topic(to), **fields}
        upload = None
        if item.file is None:
            tried = [{**fields, **_unfolding(preview), **words} for words in item.words.fields("text", TEXT_MAX)]
            reply = await self._first_readable(to, "sendMessage", tried)
        else:
            if (upload := await _read(item.file)) is None:
                return Receipt(Outcome.REFUSED, reason="the file cannot be read")
            tried = [{**fields, **words} for words in item.words.fields("caption", CAPTION_MAX)]
            reply = await self._first_readable(to, upload.method, tried, {upload.kind: upload.file})
            if upload.kind == "photo" and reply.status == 400 and re.search("photo|image", reply.said, re.IGNORECASE):
                # Sides that differ too much, or add up to more than 10,000 pixels; what is no picture at all.
                upload = _Upload("document", upload.file)
                reply = await self._first_readable(to, upload.method, tried, {upload.kind: upload.file})
        if reply.receipt.outcome is not Outcome.SENT:
            return reply.receipt
        number = record(reply.result).get("message_id")
        if not isinstance(number, int):
            return Receipt(Outcome.UNSURE, reason="something answered that is not Telegram")
        self._note((to.chat, str(number)), _Shown(True, upload.digest) if upload else _Shown(False))
        return Receipt(Outcome.SENT, (str(number),))

    async def _change(
        self, to: Address, way: str, fields: Mapping[str, Any], words: _Words, upload: _Upload | None, preview: bool
    ) -> Reply:
        """Edit the text, the caption, or the picture and its caption."""
        if way == "text":
            tried = [{**fields, **_unfolding(preview), **one} for one in words.fields("text", TEXT_MAX)]
            return await self._first_readable(to, "editMessageText", tried)
        captions = words.fields("caption", CAPTION_MAX)
        if way == "caption" or upload is None:
            return await self._first_readable(to, "editMessageCaption", [{**fields, **one} for one in captions])
        media = [{"type": upload.kind, "media": "attach://file", **one} for one in captions]
        tried = [{**fields, "media": json.dumps(one)} for one in media]
        return await self._first_readable(to, "editMessageMedia", tried, {"file": upload.file})

    async def _first_readable(
        self, to: Address, method: str, tried: Iterable[Mapping[str, Any]], files: Mapping[str, File] | None = None
    ) -> Reply:
        """The same request with other markup until Telegram can read it."""
        for fields in tried:
            reply = await self._ask(to, method, fields, files)
            if not reply.unreadable:
                break
        return reply

    async def _ask(
        self, to: Address, method: str, fields: Mapping[str, Any], files: Mapping[str, File] | None = None
    ) -> Reply:
        """One request about a chat; again, once, if Telegram says that the chat has another id now."""
        reply = await self._api.ask(method, {"chat_id": self._kept.current(to.chat), **fields}, files)
        if reply.moved_to is None:
            return reply
        self._kept.move(to.chat, reply.moved_to)
        return await self._api.ask(method, {"chat_id": reply.moved_to, **fields}, files)

    def _note(self, key: tuple[str, str], shown: _Shown) -> None:
        self._shown[key] = shown
        self._shown.move_to_end(key)
        if len(self._shown) > RECENT_MAX:
            self._shown.popitem(last=False)


def _plan(message: Message) -> tuple[list[_Item], list[str]]:
    """The messages that a message becomes, and what cannot be sent.

    The picture, or the only file, carries the text if that fits below it; else the text comes first, so that an edit finds it.
    """
    files, notes = [], []
    for one in ((message.picture,) if message.picture else ()) + message.files:
        if objection := _objection(one):
            notes.append(objection)
        else:
            files.append(one)
    text = _Words.of(_lines(message.parts, notes))
    if files and (files[0] is message.picture or (len(files) == 1 and not files[0].caption)):
        both = _Words.of(_lines(message.parts, [files[0].caption, *notes]))
        if both.fits(CAPTION_MAX):
            return [_Item(both, files[0]), *map(_captioned, files[1:])], notes
    cut = pieces(text.as_is)
    if len(cut) <= 1:
        said = [_Item(text)] if cut else []
    elif len(cut) <= PIECES_MAX:
        said = [_Item(_Words(None, one)) for one in cut]
    else:
        said = [_Item(_Words(None, text.as_is.shortened(TEXT_MAX)))]
        files.append(Attachment("message.txt", "text/plain", text.as_is.text.encode("utf-8")))
    return [*said, *map(_captioned, files)], notes


def _captioned(file: Attachment) -> _Item:
    return _Item(_Words.of((Part(file.caption),)), file)


def _lines(parts: tuple[Part, ...], more: Iterable[str]) -> tuple[Part, ...]:
    """Parts of a message with lines below."""
    for line in more:
        if line:
            parts = (*parts, Part(f"\n{line}" if parts else line))
    return parts


def _objection(file: Attachment) -> str:
    """Why a file cannot be sent, in as few words as need no translation; empty if it can."""
    try:
        size = file.size()
    except OSError as error:
        return f"{file.name}: {error.strerror or type(error).__name__}"
    if size > FILE_MAX_BYTES:
        return f"{file.name}: {size / 1e6:,.1f} MB > {FILE_MAX_BYTES / 1e6:.0f} MB"
    return "" if size else f"{file.name}: 0 B"


async def _read(file: Attachment) -> _Upload | None:
    """A file as Telegram takes it; None if it cannot be read."""
    try:
        content = file.content if isinstance(file.content, bytes) else await asyncio.to_thread(file.read)
    except OSError:
        return None
    kind: str = file.kind
    if kind == "picture":
        kind = "animation" if file.media_type == "image/gif" else "photo"
        kind = kind if len(content) <= PICTURE_MAX_BYTES else "document"
    return _Upload(kind, (file.name.replace("\\", "/").rpartition("/")[2] or "file", content, file.media_type))


def _keyboard(rows: tuple[tuple[Button, ...], ...]) -> dict[str, Any]:
    """Buttons below a message; what Telegram would refuse the whole message for is left out."""
    kept = [
        [{"text": whole(one.label), "callback_data": one.data} for one in row if _usable(one)] for row in rows
    ]
    kept = [row for row in kept if row]
    return {"reply_markup": {"inline_keyboard": kept}} if kept else {}


def _usable(button: Button) -> bool:
    return bool(button.label.strip()) and button.data.isascii() and 0 < len(button.data) <= DATA_MAX_BYTES


def _answering(message_id: str | None) -> dict[str, Any]:
    if message_id is None or not message_id.isdecimal():
        return {}
    return {"reply_parameters": {"message_id": int(message_id), "allow_sending_without_reply": True}}


def _topic(to: Address) -> dict[str, Any]:
    if to.topic is None or to.topic == GENERAL:
        return {}
    return {"message_thread_id": int(to.topic) if to.topic.isdecimal() else to.topic}


def _unfolding(preview: bool) -> dict[str, Any]:
    return {} if preview else {"link_preview_options": {"is_disabled": True}}


KIND = Kind(
    name="telegram",
    title="Telegram",
    fields=(
        Field("token", "what @BotFather gave for your bot, such as `110201543:AAH…`", secret=True, required=True),
        Field("chat", "where to send without pairing: ids of chats, `id/topic` for a topic, separated by commas"),
        Field("url", "the Bot API's address, for a relay or a server of your own", default=HOME),
    ),
    make=TelegramBridge,
    steps=(
        "In Telegram, open @BotFather (https://t.me/BotFather) and send /newbot.",
        "Give it a name, then a user name that ends in `bot`.",
        "Copy the token from its answer and paste it here.",
        "Open your new bot and press Start. For a group, add the bot to the group.",
    ),
)
