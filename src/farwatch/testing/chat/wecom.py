"""WeCom's smart bot service on loopback: its WebSocket, as strict as its document and its own client libraries say it is.

What stands in the chat is kept as people would see it: Markdown is read the way CommonMark reads it, so that a text that should have
been text and became markup is missing letters.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import re
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from farwatch.bridges.base import Address
from farwatch.clock import Clock, SystemClock
from farwatch.testing.bridges import Seen
from farwatch.testing.chat.web import Misbehaviour

Frame = dict[str, Any]
TEXT_MAX_BYTES = 20_480
CHUNK_BYTES, CHUNKS_MAX = 512 << 10, 100
_SILENT = logging.Logger("farwatch.fake", logging.CRITICAL + 1)  # so that a secret in a log is the client's doing
_TASK_ID = re.compile(r"[A-Za-z0-9_\-@]{1,128}")


class Refused(Exception):
    """Raised inside the fake for what the service refuses: its `errcode` and `errmsg`."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


@dataclass
class _Upload:
    """A file on its way."""

    kind: str
    size: int
    chunks: int
    md5: str
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class _Callback:
    """Something that was told to the bot and may be answered. `kind`: `message`, `card` or `enter`."""

    kind: str
    chat: str
    at_s: float
    task_id: str = ""
    finished: bool = False


class FakeWecom(Misbehaviour):
    """See `farwatch.testing.bridges.Fake`. `clock`: for its windows and limits; `frames`: everything that came, in order.

    `silent`: pings are not answered. `fragment`: what it says comes in pieces of so many bytes; 0: whole.
    """

    def __init__(self, *, bot_id: str = "aib-farwatch-test", secret: str = "wecom-secret-0123456789", clock: Clock | None = None) -> None:
        super().__init__()
        self.bot_id = bot_id
        self.secret = secret
        self.user = "zhangsan"
        self.group = "wrGroupOne"
        self.chat = Address(self.user)
        self.url = ""
        self.requests = 0
        self.logins = 0
        self.pings = 0
        self.silent = False
        self.fragment = 0
        self.refuse_logins = 0
        self.frames: list[Frame] = []
        self.refusals: list[str] = []
        self._clock = clock or SystemClock()
        self._current: ServerConnection | None = None
        self._opened = {self.user, self.group}  # chats in which somebody has written to the bot
        self._seen: dict[str, Seen] = {}
        self._cards: dict[str, str] = {}  # task id -> chat
        self._callbacks: dict[str, _Callback] = {}
        self._uploads: dict[str, _Upload] = {}
        self._media: dict[str, tuple[str, bytes]] = {}
        self._sent_at: dict[str, deque[float]] = {}
        self._count: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["FakeWecom"]:
        """Listen on a free loopback port."""
        async with serve(
            self._connection, "127.0.0.1", 0, ping_interval=None, max_size=8 << 20, close_timeout=1, logger=_SILENT,
        ) as server:  # fmt: skip
            self.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            yield self

    # -- what tests do

    def seen(self) -> list[Seen]:
        """See `farwatch.testing.bridges.Fake`."""
        return list(self._seen.values())

    async def write(self, text: str, *, user: str = "", group: str = "", msgid: str = "", **more: Any) -> str:
        """A person writes to the bot; returns the message's id. `more`: fields of the body instead of the usual ones."""
        chat = group or user or self.user
        self._opened.add(chat)
        msgid = msgid or self._id("msg")
        body = {**self._body(msgid, user, group), "msgtype": "text", "text": {"content": text}, **more}
        await self._call_back("aibot_msg_callback", body, _Callback("message", chat, self._now_s()))
        return msgid

    async def press(self, message_id: str, data: str, *, user: str = "", group: str = "") -> None:
        """A person presses a button of a card."""
        pressed = {"card_type": "button_interaction", "event_key": data, "task_id": message_id}
        event = {"eventtype": "template_card_event", "template_card_event": pressed}
        body = {**self._body(self._id("event"), user, group), "msgtype": "event", "event": event}
        await self._call_back("aibot_event_callback", body, _Callback("card", group or user or self.user, self._now_s(), message_id))

    async def enter(self) -> None:
        """A person opens the chat for the first time this day."""
        body = {**self._body(self._id("event"), "", ""), "msgtype": "event", "event": {"eventtype": "enter_chat"}}
        await self._call_back("aibot_event_callback", body, _Callback("enter", self.user, self._now_s()))

    async def evict(self) -> None:
        """Another program connects as this bot."""
        if self._current is not None:
            await self._throw_out(self._current)

    async def cut(self) -> None:
        """The connection breaks without a word."""
        if self._current is not None:
            self._current.transport.abort()

    async def push(self, raw: Frame | str | bytes) -> None:
        """Say anything at all, well-formed or not."""
        assert self._current is not None, "no bot is connected"
        text = json.dumps(raw, ensure_ascii=False) if isinstance(raw, dict) else raw
        if self.fragment and isinstance(text, str):
            await self._current.send([text[at : at + self.fragment] for at in range(0, len(text), self.fragment)])
        else:
            await self._current.send(text)

    # -- what the service does

    def _now_s(self) -> float:
        return self._clock.mono_us() / 1e6

    def _id(self, what: str) -> str:
        self._count[what] += 1
        return f"{what}-{self._count[what]}"

    def _body(self, msgid: str, user: str, group: str) -> Frame:
        body: Frame = {"msgid": msgid, "aibotid": self.bot_id, "create_time": self._clock.wall_us() // 1_000_000}
        body |= {"chatid": group, "chattype": "group"} if group else {"chattype": "single"}
        return {**body, "from": {"userid": user or self.user}}

    async def _call_back(self, cmd: str, body: Frame, callback: _Callback) -> None:
        req_id = self._id("req")
        self._callbacks[req_id] = callback
        await self.push({"cmd": cmd, "headers": {"req_id": req_id}, "body": body})

    async def _throw_out(self, socket: ServerConnection) -> None:
        event = {"msgid": self._id("event"), "create_time": 1, "aibotid": self.bot_id, "msgtype": "event",
                 "event": {"eventtype": "disconnected_event"}}  # fmt: skip
        with contextlib.suppress(ConnectionClosed):
            await socket.send(json.dumps({"cmd": "aibot_event_callback", "headers": {"req_id": self._id("req")}, "body": event}))
        await socket.close()

    async def _connection(self, socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for raw in socket:
                frame = json.loads(raw)
                self.frames.append(frame)
                req_id = (frame.get("headers") or {}).get("req_id")
                if not isinstance(req_id, str) or not req_id:
                    await socket.close(1008, "no req_id")
                    return
                if frame.get("cmd") == "aibot_subscribe":
                    await self._login(socket, frame, req_id)
                elif socket is not self._current:
                    await self._answer(socket, req_id, 846600, "not subscribed")
                    await socket.close()
                elif frame.get("cmd") == "ping":
                    await self._ping(socket, req_id)
                else:
                    await self._request(socket, frame, req_id)
        if self._current is socket:
            self._current = None

    async def _answer(self, socket: ServerConnection, req_id: str, code: int = 0, words: str = "ok", body: Frame | None = None) -> None:
        answer = {"headers": {"req_id": req_id}, "errcode": code, "errmsg": words} | ({} if body is None else {"body": body})
        await socket.send(json.dumps(answer))

    async def _login(self, socket: ServerConnection, frame: Frame, req_id: str) -> None:
        self.logins += 1
        good = frame.get("body") == {"bot_id": self.bot_id, "secret": self.secret}
        if not good or self.refuse_logins > 0:
            self.refuse_logins = max(0, self.refuse_logins - 1)
            await self._answer(socket, req_id, 40001, "invalid credential, secret not match bot")
            await socket.close()
        elif self._current is socket:
            await self._answer(socket, req_id, 40058, "already subscribed")
        else:
            old, self._current = self._current, socket
            await self._answer(socket, req_id)
            if old is not None:
                await self._throw_out(old)

    async def _ping(self, socket: ServerConnection, req_id: str) -> None:
        self.pings += 1
        if self.silent:
            return
        trouble = self.take() if self._menu and self._menu[0][0] == "revoked" else None
        await self._answer(socket, req_id, *((40001, "invalid credential") if trouble else (0, "ok")))

    async def _request(self, socket: ServerConnection, frame: Frame, req_id: str) -> None:
        self.requests += 1
        what, facts = self.take() or ("", {})
        refusal = {
            "busy": (45009, "api freq out of limit"), "error": (-1, "system busy"), "revoked": (40001, "invalid credential"),
            "gone": (93006, "invalid chatid"),
        }.get(what)  # fmt: skip
        if refusal is not None:
            await self._answer(socket, req_id, *refusal)
            return
        if what == "garbage":
            await socket.send(json.dumps({"headers": {"req_id": req_id}, "hello": "world"}))
            return
        if what == "hang":
            await asyncio.sleep(facts.get("seconds", 1.0))
        try:
            body = self._take(str(frame.get("cmd")), frame.get("body"), req_id)
        except Refused as refused:
            self.refusals.append(refused.words)
            await self._answer(socket, req_id, refused.code, refused.words)
            return
        if what == "cut":
            socket.transport.abort()
            return
        await self._answer(socket, req_id, body=body)

    def _take(self, cmd: str, body: Any, req_id: str) -> Frame | None:
        """Accept a request, or raise `Refused`."""
        if not isinstance(body, dict):
            raise Refused(40058, "no body")
        if cmd == "aibot_send_msg":
            self._send(body)
            return None
        if cmd == "aibot_respond_msg":
            self._respond(body, self._callback(req_id, "message", 360.0))
            return None
        if cmd == "aibot_respond_update_msg":
            self._update(body, self._callback(req_id, "card", 5.0))
            return None
        if cmd == "aibot_respond_welcome_msg":
            callback = self._callback(req_id, "enter", 5.0)
            self._show(callback.chat, self._id("welcome"), text=str((body.get("text") or {}).get("content")))
            return None
        if cmd.startswith("aibot_upload_media_"):
            return self._upload(cmd.rpartition("_")[2], body)
        raise Refused(40058, f"invalid cmd {cmd}")

    def _callback(self, req_id: str, kind: str, within_s: float) -> _Callback:
        found = self._callbacks.get(req_id)
        if found is None or found.kind != kind:
            raise Refused(846605, "invalid req_id for this command")
        if found.finished or self._now_s() - found.at_s > within_s:
            raise Refused(846608, "expired")
        return found

    def _send(self, body: Frame) -> None:
        chat, kind = body.get("chatid"), body.get("msgtype")
        if kind not in ("markdown", "template_card", "image", "file", "voice", "video"):
            raise Refused(40008, f"invalid message type {kind}")
        if chat not in self._opened:
            raise Refused(93006, "invalid chatid: nobody has written there")
        self._limit(str(chat))
        what = body.get(kind)
        if not isinstance(what, dict):
            raise Refused(40058, f"no {kind}")
        if kind == "markdown":
            self._show(str(chat), self._id("markdown"), text=shown(_checked(what.get("content"))))
        elif kind == "template_card":
            self._check_card(what)
            if not _TASK_ID.fullmatch(str(what.get("task_id"))) or what["task_id"] in self._cards:
                raise Refused(40058, "task_id is malformed or was here before")
            self._cards[what["task_id"]] = str(chat)
            self._show_card(what)
        else:
            found = self._media.get(str(what.get("media_id")))
            if found is None or found[0] != kind:
                raise Refused(40007, "invalid media_id")
            where = "pictures" if kind == "image" else "files"
            self._show(str(chat), self._id(kind), "", **{where: (found[1],)})

    def _respond(self, body: Frame, callback: _Callback) -> None:
        stream = body.get("stream")
        if body.get("msgtype") != "stream" or not isinstance(stream, dict) or not stream.get("id"):
            raise Refused(40008, "only streams are taken here")
        self._limit(callback.chat)
        callback.finished = bool(stream.get("finish"))
        self._show(callback.chat, f"stream-{stream['id']}", text=shown(_checked(stream.get("content"))))

    def _update(self, body: Frame, callback: _Callback) -> None:
        card = body.get("template_card")
        if body.get("response_type") != "update_template_card" or not isinstance(card, dict):
            raise Refused(40058, "invalid response_type")
        if card.get("task_id") != callback.task_id:
            raise Refused(40058, "task_id is not that of the pressed card")
        self._check_card(card)
        callback.finished = True
        self._show_card(card, edits=self._seen[callback.task_id].edits + 1)

    def _check_card(self, card: Frame) -> None:
        buttons = card.get("button_list")
        if card.get("card_type") != "button_interaction" or not str((card.get("main_title") or {}).get("title") or ""):
            raise Refused(40058, "invalid card")
        if not isinstance(buttons, list) or not 1 <= len(buttons) <= 6:
            raise Refused(40058, "button_list holds 1 to 6")
        for one in buttons:
            if not one.get("text") or not 1 <= len(str(one.get("key", "")).encode()) <= 1024:
                raise Refused(40058, "invalid button")

    def _show_card(self, card: Frame, edits: int = 0) -> None:
        text = "\n".join(filter(None, (card["main_title"]["title"], card.get("sub_title_text", ""))))
        buttons = tuple(str(one["text"]) for one in card["button_list"])
        self._show(self._cards[card["task_id"]], card["task_id"], text=text, buttons=buttons, edits=edits)

    def _show(self, chat: str, message_id: str, text: str = "", **more: Any) -> None:
        self._seen[message_id] = Seen(chat, message_id, text, **more)

    def _limit(self, chat: str) -> None:
        """30 a minute and 1,000 an hour for each chat."""
        now, sent = self._now_s(), self._sent_at.setdefault(chat, deque())
        while sent and now - sent[0] > 3_600:
            sent.popleft()
        if len(sent) >= 1_000 or sum(now - at <= 60 for at in sent) >= 30:
            raise Refused(45009, "api freq out of limit")
        sent.append(now)

    def _upload(self, step: str, body: Frame) -> Frame | None:
        if step == "init":
            size, chunks = int(body.get("total_size", 0)), int(body.get("total_chunks", 0))
            if body.get("type") not in ("image", "file", "voice", "video") or not body.get("filename") or size < 5:
                raise Refused(40058, "invalid upload")
            if chunks != ceil(size / CHUNK_BYTES) or chunks > CHUNKS_MAX or not re.fullmatch("[0-9a-f]{32}", str(body.get("md5"))):
                raise Refused(40058, "total_chunks or md5 cannot be right")
            upload_id = self._id("upload")
            self._uploads[upload_id] = _Upload(body["type"], size, chunks, body["md5"])
            return {"upload_id": upload_id}
        upload = self._uploads.get(str(body.get("upload_id")))
        if upload is None:
            raise Refused(40058, "invalid upload_id")
        if step == "chunk":
            piece = base64.b64decode(str(body.get("base64_data")), validate=True)
            if not 0 <= int(body.get("chunk_index", -1)) < upload.chunks or not 1 <= len(piece) <= CHUNK_BYTES:
                raise Refused(40058, "invalid chunk")
            upload.parts[int(body["chunk_index"])] = piece
            return None
        whole = b"".join(upload.parts[index] for index in sorted(upload.parts))
        if len(upload.parts) != upload.chunks or len(whole) != upload.size:
            raise Refused(40058, "chunks are missing")
        if hashlib.md5(whole, usedforsecurity=False).hexdigest() != upload.md5:
            raise Refused(40058, "md5 does not match")
        media_id = self._id("media")
        self._media[media_id] = (upload.kind, whole)
        return {"type": upload.kind, "media_id": media_id, "created_at": "1380000000"}


def _checked(content: object) -> str:
    if not isinstance(content, str) or not content.strip():
        raise Refused(44004, "empty content")
    if len(content.encode("utf-8")) > TEXT_MAX_BYTES:
        raise Refused(45002, "content size out of limit")
    return content


_INLINE = re.compile(
    r"\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?P<ticks>`+)(?P<code>(?:(?!(?P=ticks)).)+?)(?P=ticks)(?!`)"
    r"|!?\[(?P<words>[^\]\n]*)\]\((?P<target>[^)\n]*)\)"
    r"|(?P<tag><[@/!a-zA-Z][^>\n]*>)"
    r"|(?P<strong>\*\*|__|~~)(?P<loud>(?!\s)(?:\\.|[^\\\n])+?(?<!\s))(?P=strong)"
    r"|(?P<em>(?<!\w)[*_]|\*)(?P<soft>(?![\s*_])(?:\\.|[^\\*_\n])+?(?<!\s))(?P=em)"
    r"|(?P<entity>&#?\w+;)"
)


def shown(markdown: str) -> str:
    """What people see of Markdown: marks are gone, of links the words are left, of tags and mentions nothing."""
    lines: list[str] = []
    fence = ""
    for line in markdown.split("\n"):
        ticks = re.match(r"`{3,}", line)
        if fence:
            if line.strip() == fence:
                fence = ""
            else:
                lines.append(line)
        elif ticks and "`" not in line[ticks.end() :]:
            fence = ticks[0]
        else:
            lines.append(_inline(re.sub(r"^[ \t]*(#{1,6} |>+ ?|[-+*] )", "", line)))
    return "\n".join(lines)


def _inline(text: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        if found["escaped"] is not None:
            return found["escaped"]
        if found["code"] is not None:
            code = found["code"]
            return code[1:-1] if code.startswith(" ") and code.endswith(" ") and code.strip() else code
        if found["words"] is not None:
            return found["words"]
        if found["loud"] is not None or found["soft"] is not None:
            return _inline(found["loud"] or found["soft"])
        return ""

    return _INLINE.sub(replaced, text)
