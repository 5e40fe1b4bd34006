"""WeCom (企业微信) smart bot: two-way without a public address, pushes first, cards with buttons, pictures and files.

The service gives no ids to what is sent: ours are the request's, or a card's `task_id`, which comes back when its button is pressed. Only a
card can be changed, once, within 5 s of a press; hence no edits. What answers somebody's message goes as an answer to it.
"""

import asyncio
import base64
import hashlib
import logging
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from math import ceil
from typing import Any
from urllib.parse import urlsplit

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
)
from farwatch.bridges.outward import Unreached, is_private
from farwatch.bridges.services.wecom_files import file_name, is_picture, sendable
from farwatch.bridges.services.wecom_link import Frame, Link, Timing
from farwatch.bridges.services.wecom_markdown import pieces
from farwatch.errors import BridgeError

URL = "wss://openws.work.weixin.qq.com"
TEXT_MAX_BYTES = 20_480
TITLE_MAX, WORDS_MAX = 26, 112  # characters of a card that are shown whole
BUTTONS_MAX = 6
CHUNK_BYTES, CHUNKS_MAX = 512 << 10, 100
FILE_MAX_BYTES = CHUNK_BYTES * CHUNKS_MAX
PICTURE_MAX_BYTES = 10 << 20
ANSWER_S = 6 * 60.0  # that a message can be answered as such
UPDATE_S = 5.0  # that a card can be changed after a press
REMEMBERED = 200
CARDS_KEPT = 50
_LOG = logging.getLogger(__name__)

_LATER = {45009: 60.0, 45033: 5.0, 846607: 60.0}  # too often; too many at once: seconds to wait
_FAULTS = {-1, 6000}  # busy, or two at the same time
_REVOKED = {40001, 40013, 40014, 41001, 42001}
_NOBODY = {40003, 60111, 81013, 86001, 93006}  # no such person or group, or one that has not written to the bot yet
_NO_ANSWER = {846604, 846605, 846608}  # the message can no longer be answered as such


@dataclass(frozen=True, slots=True)
class _Asked:
    """A person's message that can still be answered as such."""

    chat: str
    req_id: str
    at_s: float
    group: bool


class Wecom:
    """See `farwatch.bridges.base.Bridge`."""

    caps = Caps(
        text_max=TEXT_MAX_BYTES, unit="bytes", two_way=True, push_first=True, buttons=True, groups=True,
        picture_max_bytes=PICTURE_MAX_BYTES, file_max_bytes=FILE_MAX_BYTES,
        rates=(Rate(30, 60.0, "chat"), Rate(1_000, 3_600.0, "chat")),
    )  # fmt: skip

    def __init__(self, setup: Setup, timing: Timing | None = None) -> None:
        self._setup = setup
        self._bot_id = setup.get("bot_id")
        url = setup.get("url", URL)
        parts = urlsplit(url)
        if not self._bot_id or not setup.get("secret"):
            raise BridgeError("a WeCom bot needs its id and its secret", hint="the bot's page shows both: API mode, long connection")
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise BridgeError("the address of WeCom's long connection begins with wss://")
        if parts.scheme == "ws" and not is_private(parts.hostname):
            raise BridgeError("the secret would go through the net in clear", hint="use wss://")
        self._link = Link(url, self._bot_id, setup.get("secret"), timing or Timing())
        self._receive: Receive | None = None
        self._asked: OrderedDict[str, _Asked] = OrderedDict()  # message id -> how to answer it
        self._known: OrderedDict[str, None] = OrderedDict()  # ids of callbacks, since they are delivered again where the net is bad
        self._cards: dict[str, Frame] = _cards(setup.memory.load().get("cards"))

    async def open(self, receive: Receive) -> None:
        self._receive = receive
        self._link.start(self._hear)

    async def close(self) -> None:
        await self._link.stop()

    async def check(self) -> str:
        """Without `open`, this throws out whoever else is connected as this bot: a bot has one connection."""
        try:
            await self._link.probe()
        except Unreached as error:
            raise BridgeError(error.receipt.reason, hint="is there a way to openws.work.weixin.qq.com from here?") from None
        return f"WeCom bot {self._bot_id}"

    def condition(self) -> Condition:
        return self._link.condition

    async def send(self, to: Address, message: Message) -> Receipt:
        attachments, left_out = sendable(message, PICTURE_MAX_BYTES, FILE_MAX_BYTES)
        beside = [one.caption for one in attachments if one.caption] + [f"({words})" for words in left_out]
        said = [*message.parts, *(Part(f"\n{words}") for words in beside)]
        text = "".join(part.text for part in said)
        card = _card(text, message.buttons) if any(message.buttons) else None
        texts = [] if card is not None and _fits_card(text) else pieces(said, TEXT_MAX_BYTES)
        if not texts and card is None and not attachments:
            return Receipt(Outcome.REFUSED, reason="there is nothing to say")
        ids: list[str] = []
        failed: Receipt | None = None
        asked = self._answerable(to, message.reply_to)
        for content in texts:
            failed = await self._say(to, content, asked, ids)
            if failed is not None:
                break
            asked = None
        if card is not None and failed is None:
            failed = await self._put(to, "template_card", card, ids, str(card["task_id"]))
            if failed is None:
                self._keep(card)
                ids.insert(0, ids.pop())  # the one whose buttons are pressed
        for one in attachments:
            if failed is None:
                failed = await self._attach(to, one, ids)
        return _outcome(ids, failed, left_out)

    async def edit(self, to: Address, message_id: str, message: Message) -> Receipt:
        return Receipt(Outcome.REFUSED, reason="what a WeCom bot has sent cannot be changed")

    async def delete(self, to: Address, message_id: str) -> Receipt:
        return Receipt(Outcome.REFUSED, reason="what a WeCom bot has sent cannot be taken back")

    async def acknowledge(self, incoming: Incoming, text: str = "") -> None:
        """Show the words on the card that was pressed, where that is within 5 s. The buttons stay: others may answer too."""
        raw = incoming.raw if isinstance(incoming.raw, dict) else {}
        card = self._cards.get(incoming.message_id)
        late = asyncio.get_running_loop().time() - float(raw.get("at_s", 0.0)) > UPDATE_S
        if card is None or not text or late:
            return
        old = str(card.get("sub_title_text", ""))
        words = shorten(text[:200], WORDS_MAX)
        room = WORDS_MAX - len(words) - 1
        card = {**card, "sub_title_text": f"{shorten(old, room)}\n{words}" if old and room > 10 else words}
        self._keep(card)
        body = {"response_type": "update_template_card", "template_card": card}
        try:
            await self._link.ask("aibot_respond_update_msg", body, req_id=str(raw.get("req_id", "")))
        except Unreached:
            pass  # the press is heard all the same; only the card does not say so

    # -- out

    def _answerable(self, to: Address, reply_to: str | None) -> _Asked | None:
        """The message that this one answers, taken out: each is answered once. In a group only the one that is named."""
        now = asyncio.get_running_loop().time()
        for key in [key for key, one in self._asked.items() if now - one.at_s > ANSWER_S]:
            del self._asked[key]
        if reply_to is not None:
            found = self._asked.get(reply_to)
            return self._asked.pop(reply_to) if found is not None and found.chat == to.chat else None
        latest = next((key for key in reversed(self._asked) if self._asked[key].chat == to.chat), None)
        return self._asked.pop(latest) if latest is not None and not self._asked[latest].group else None

    async def _say(self, to: Address, content: str, asked: _Asked | None, ids: list[str]) -> Receipt | None:
        """Send Markdown, as an answer if it is one; None when it was sent."""
        if asked is not None:
            stream_id = uuid.uuid4().hex
            stream = {"id": stream_id, "finish": True, "content": content}
            answer = await self._request("aibot_respond_msg", {"msgtype": "stream", "stream": stream}, asked.req_id)
            if isinstance(answer, Receipt):
                return answer
            if answer.get("errcode") not in _NO_ANSWER:
                failed = _receipt(answer, self._link)
                ids += [] if failed else [stream_id]
                return failed
        return await self._put(to, "markdown", {"content": content}, ids)

    async def _put(self, to: Address, kind: str, what: Frame, ids: list[str], message_id: str = "") -> Receipt | None:
        req_id = f"aibot_send_msg_{uuid.uuid4().hex}"
        answer = await self._request("aibot_send_msg", {"chatid": to.chat, "msgtype": kind, kind: what}, req_id)
        failed = answer if isinstance(answer, Receipt) else _receipt(answer, self._link)
        if failed is None:
            ids.append(message_id or req_id)
        return failed

    async def _request(self, cmd: str, body: Frame, req_id: str | None = None) -> Frame | Receipt:
        try:
            return await self._link.ask(cmd, body, req_id=req_id)
        except Unreached as error:
            return error.receipt

    async def _attach(self, to: Address, one: Attachment, ids: list[str]) -> Receipt | None:
        """Upload in pieces, then send; None when it was sent."""
        try:
            content = await asyncio.to_thread(one.read)
        except OSError as error:
            return Receipt(Outcome.REFUSED, reason=f"{one.name}: {error.strerror}")
        kind = "image" if is_picture(one) else "video" if one.media_type == "video/mp4" and len(content) <= PICTURE_MAX_BYTES else "file"
        name = file_name(one)
        steps: list[tuple[str, Frame]] = [("init", {
            "type": kind, "filename": name, "total_size": len(content), "total_chunks": ceil(len(content) / CHUNK_BYTES),
            "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        })]  # fmt: skip
        steps += [("chunk", {"chunk_index": index}) for index in range(ceil(len(content) / CHUNK_BYTES))]
        steps.append(("finish", {}))
        upload: Frame = {}
        got: Frame = {}
        for step, body in steps:
            if step == "chunk":
                start = body["chunk_index"] * CHUNK_BYTES
                body = {**body, "base64_data": base64.b64encode(content[start : start + CHUNK_BYTES]).decode("ascii")}
            answer = await self._request(f"aibot_upload_media_{step}", {**upload, **body})
            failed = answer if isinstance(answer, Receipt) else _receipt(answer, self._link)
            if failed is not None:
                return Receipt(failed.outcome, reason=f"{name}: {failed.reason}", retry_after_s=failed.retry_after_s)
            got = answer["body"] if isinstance(answer, dict) and isinstance(answer.get("body"), dict) else {}
            if step == "init":
                upload = {"upload_id": got.get("upload_id")}
        return await self._put(to, kind, {"media_id": got.get("media_id")}, ids)

    def _keep(self, card: Frame) -> None:
        """Remember a card, over a restart too: an alarm of the night is answered in the morning."""
        self._cards.pop(str(card["task_id"]), None)
        self._cards[str(card["task_id"])] = card
        while len(self._cards) > CARDS_KEPT:
            del self._cards[next(iter(self._cards))]
        try:
            self._setup.memory.save({**self._setup.memory.load(), "cards": list(self._cards.values())})
        except OSError as error:  # a full disk; the card is known until the next start
            _LOG.warning("a card is not kept: %s", error.strerror)

    # -- in

    async def _hear(self, frame: Frame) -> None:
        incoming = self._understood(frame)
        if incoming is not None and self._receive is not None:
            await self._receive(incoming)

    def _understood(self, frame: Frame) -> Incoming | None:
        """What a callback says; None for what nobody can answer to (somebody opened the chat) and what was here before."""
        body = frame["body"]
        user = str((body.get("from") or {}).get("userid") or "")
        key = str(body.get("msgid") or "")
        group = body.get("chattype") == "group"
        chat = str(body.get("chatid") or "") if group else user
        if not user or not key or not chat or key in self._known:
            return None
        _remember(self._known, key, None)
        at_s = asyncio.get_running_loop().time()
        req_id = str((frame.get("headers") or {}).get("req_id") or "")
        common: dict[str, Any] = {
            "channel": self._setup.channel, "address": Address(chat), "key": key, "user": user, "user_name": user, "group": group,
            "sent_ms": _sent_ms(body, self._setup),
        }  # fmt: skip
        if frame["cmd"] == "aibot_event_callback":
            event = body.get("event") or {}
            pressed = event.get("template_card_event")
            if event.get("eventtype") != "template_card_event" or not isinstance(pressed, dict) or not pressed.get("event_key"):
                return None
            raw = {"req_id": req_id, "at_s": at_s}
            return Incoming(message_id=str(pressed.get("task_id") or ""), button=str(pressed["event_key"]), raw=raw, **common)
        text = _text(body)
        if not text:
            return None
        _remember(self._asked, key, _Asked(chat, req_id, at_s, group))
        # In a group the service hands over only what names the bot.
        return Incoming(message_id=key, text=text, mentioned=group, **common)


def _remember(where: OrderedDict[str, Any], key: str, value: Any) -> None:
    where[key] = value
    if len(where) > REMEMBERED:
        where.popitem(last=False)


def _sent_ms(body: Frame, setup: Setup) -> int:
    seconds = body.get("create_time")
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < 1e11:
        return int(seconds * 1000)
    return setup.clock.wall_us() // 1000


def _text(body: Frame) -> str:
    """The words of a message: typed, among pictures, or said and written down by the service."""
    kind = body.get("msgtype")
    if kind in ("text", "voice"):
        return str((body.get(kind) or {}).get("content") or "").strip()
    if kind == "mixed":
        items = [one for one in (body.get("mixed") or {}).get("msg_item") or [] if isinstance(one, dict)]
        words = [str((one.get("text") or {}).get("content") or "") for one in items if one.get("msgtype") == "text"]
        return "\n".join(word for word in words if word).strip()
    return ""


def _fits_card(text: str) -> bool:
    first, _, rest = text.strip().partition("\n")
    return len(first) <= TITLE_MAX and len(rest.strip()) <= WORDS_MAX


def _card(text: str, rows: tuple[tuple[Button, ...], ...]) -> Frame:
    first, _, rest = text.strip().partition("\n")
    buttons = [button for row in rows for button in row][:BUTTONS_MAX]
    card: Frame = {
        "card_type": "button_interaction",
        "main_title": {"title": shorten(first, TITLE_MAX) or "Farwatch"},
        "button_list": [{"text": one.label, "style": 1, "key": one.data} for one in buttons],
        "task_id": f"farwatch-{uuid.uuid4().hex}",
    }
    return {**card, "sub_title_text": shorten(rest.strip(), WORDS_MAX)} if rest.strip() else card


def _cards(stored: Any) -> dict[str, Frame]:
    return {str(one["task_id"]): one for one in stored or [] if isinstance(one, dict) and one.get("task_id")}


def _receipt(answer: Frame, link: Link) -> Receipt | None:
    """What an answer means; None for success."""
    code = answer.get("errcode")
    if code == 0:
        return None
    if not isinstance(code, int):
        return Receipt(Outcome.UNSURE, reason="the answer is none of WeCom's")
    reason = f"{link.clean(answer.get('errmsg'))} ({code})"
    if code in _LATER:
        return Receipt(Outcome.LATER, reason=reason, retry_after_s=_LATER[code])
    if code in _NOBODY:
        return Receipt(Outcome.ASLEEP, reason=f"somebody has to write to the bot in this chat first: {reason}")
    if code in _REVOKED:
        return Receipt(Outcome.REVOKED, reason=reason)
    return Receipt(Outcome.FAILED if code in _FAULTS else Outcome.REFUSED, reason=reason)


def _outcome(ids: list[str], failed: Receipt | None, left_out: list[str]) -> Receipt:
    """One receipt for several requests. Where a part has arrived, the rest is not worth saying that part again."""
    if failed is None:
        return Receipt(Outcome.SENT, tuple(ids), reason="; ".join(left_out))
    if not ids:
        return failed
    return Receipt(Outcome.SENT, tuple(ids), reason=f"not all of it: {failed.reason}")


KIND = Kind(
    name="wecom",
    title="WeCom 企业微信",
    fields=(
        Field("bot_id", "the bot's id, from its page in WeCom", required=True),
        Field("secret", "the bot's secret, beside its id", secret=True, required=True),
        Field("chat", "who is told: user ids or group ids, separated by commas; each has to write to the bot once before"),
        Field("url", "the address of the long connection, for a deployment of one's own", default=URL),
    ),
    make=Wecom,
    steps=(
        "In WeCom, open Workbench, Smart bot (智能机器人), create one by hand (手动创建).",
        "Choose API mode (API模式), then long connection (长连接); copy Bot ID and Secret.",
        "Choose who may see the bot, save, and write it any message.",
    ),
)
