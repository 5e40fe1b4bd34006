"""WeChat's iLink bot service on loopback, with its picture store: written from Tencent's own client, and as strict as that needs.

It keeps the service's books: ten messages after each one of the person, within 24 hours, and no third one within a second.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import json
import re
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from farwatch.bridges.base import Address
from farwatch.clock import Clock, SystemClock
from farwatch.testing.bridges import Seen
from farwatch.testing.chat.web import Misbehaviour, Reply, Request, serving

Body = dict[str, Any]
CREDITS, WINDOW_S, BLOCKED_S = 10, 24 * 3600, 3600
_FIRST_ID = 2**63 + 1_234_567  # message ids are uint64: too large for a JavaScript number


class _Refused(Exception):
    """Raised inside the fake for what the service refuses."""

    def __init__(self, ret: int, words: str = "", status: int = 200, why: str = "") -> None:
        super().__init__(words)
        self.ret = ret
        self.words = words
        self.status = status
        self.why = why or words


class FakeIlink(Misbehaviour):
    """See `farwatch.testing.bridges.Fake`. `strict=False` lets in older clients: a code by GET, more headers than needed, no `bot_agent`.

    `states`: what is answered about a code, in turn, then its last for ever: names of states, or whole answers. `refusals`: why something
    was refused, in words that the service itself does not say. `hold_s`: how long a poll is held.
    """

    def __init__(self, *, token: str = "ilink-token-0123456789abcdef", clock: Clock | None = None, strict: bool = True) -> None:
        super().__init__()
        self.secret = token
        self.user = "o9cq80_tester@im.wechat"
        self.bot = "b0c1@im.bot"
        self.chat = Address(self.user)
        self.url = ""
        self.requests = 0
        self.strict = strict
        self.hold_s = 0.3
        self.states: list[str | Body] = ["wait", "scaned", "confirmed"]
        self.codes = 0
        self.logins: list[Body] = []
        self.polls = 0
        self.presence: list[str] = []
        self.refusals: list[str] = []
        self.sent: list[Body] = []
        self.digits = "4821"
        self.upload_full_url = True
        self.store_fails = 0
        self.poll_answers: list[Body | bytes] = []  # given instead of the next polls' own
        self._clock = clock or SystemClock()
        self._live = {token}
        self._uins: set[str] = set()
        self._client_ids: set[str] = set()
        self._inbox: list[Body] = []
        self._news = asyncio.Event()
        self._contexts: dict[str, list[Any]] = {}  # context token -> [wall seconds, messages left]
        self._times: deque[float] = deque()
        self._blocked_until_s = 0.0
        self._uploads: dict[str, Body] = {}
        self._pictures: dict[str, Body] = {}
        self._seen: list[Seen] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["FakeIlink"]:
        """Listen on a free loopback port."""
        async with serving(self._handle) as base:
            self.url = base
            yield self

    # -- what tests do

    def seen(self) -> list[Seen]:
        """See `farwatch.testing.bridges.Fake`."""
        return list(self._seen)

    async def write(self, text: str, *, user: str = "", **more: Any) -> str:
        """A person writes; returns the message's id. `more`: fields instead of the usual ones."""
        context = f"context-{len(self._contexts)}-{'x' * 40}"
        self._contexts[context] = [self._wall_s(), CREDITS]
        number = _FIRST_ID + len(self._inbox)
        message = {
            "message_id": number, "seq": len(self._inbox), "from_user_id": user or self.user, "to_user_id": self.bot,
            "create_time_ms": int(self._wall_s() * 1000), "message_type": 1, "message_state": 2, "context_token": context,
            "item_list": [{"type": 1, "text_item": {"text": text}}],
        }  # fmt: skip
        self.push({**message, **more})
        return str(number)

    def push(self, message: Any) -> None:
        """Put anything at all among the messages."""
        self._inbox.append(message)
        self._news.set()

    def end_session(self) -> None:
        """From now on the token is stale, as when another program was bound."""
        self._live.clear()

    # -- what the service does

    def _wall_s(self) -> float:
        return self._clock.wall_us() / 1e6

    async def _handle(self, request: Request) -> Reply:
        path = request.path.removeprefix("/ilink/bot/")
        try:
            if request.path == "/c2c/upload":
                return self._store(request)
            if path == "get_qrcode_status":
                return _reply(await self._status(request))
            if path == "get_bot_qrcode":
                return _reply(self._qr(request))
            body = self._post(request)
            if path == "sendmessage":
                return await self._sendmessage(body)
            if path == "getupdates":
                return await self._updates(body)
            if path == "getuploadurl":
                return _reply(self._upload_place(body))
            if path == "getconfig":
                if self._menu and self._menu[0][0] == "revoked":
                    raise _Refused(-14, "session timeout")
                return _reply({"ret": 0, "typing_ticket": base64.b64encode(b"ticket").decode()})
            if path in ("msg/notifystart", "msg/notifystop"):
                self.presence.append(path.rpartition("notify")[2])
                return _reply({"ret": 0})
            raise _Refused(-1, "no such method", 404)
        except _Refused as refused:
            self.refusals.append(refused.why)
            answer: Body = {"ret": refused.ret, "errmsg": refused.words}
            return _reply(answer | ({"errcode": -14} if refused.ret == -14 else {}), refused.status)

    def _headers(self, request: Request, *, posted: bool, token: bool) -> None:
        """Refuse a request whose headers are not those of Tencent's client."""
        headers = request.headers
        if headers.get("ilink-app-id") != "bot" or not re.fullmatch(r"\d{1,8}", headers.get("ilink-app-clientversion", "")):
            raise _Refused(-1, "invalid app", 400)
        if not posted:
            if self.strict and ("authorization" in headers or "x-wechat-uin" in headers):
                raise _Refused(-1, "a GET carries no session", 400)
            return
        if headers.get("content-type") != "application/json" or headers.get("authorizationtype") != "ilink_bot_token":
            raise _Refused(-1, "invalid content or authorization type", 400)
        uin = headers.get("x-wechat-uin", "")
        try:
            number = base64.b64decode(uin, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            raise _Refused(-1, "X-WECHAT-UIN is no base64", 400) from None
        if not re.fullmatch(r"\d{1,10}", number) or int(number) >= 2**32 or uin in self._uins:
            raise _Refused(-1, "X-WECHAT-UIN is the decimal text of a new uint32", 400)
        self._uins.add(uin)
        if token and headers.get("authorization", "").removeprefix("Bearer ") not in self._live:
            raise _Refused(-14, "session timeout")
        if not token and "authorization" in headers:
            raise _Refused(-1, "a log-in carries no token", 400)

    def _post(self, request: Request, *, token: bool = True) -> Body:
        if request.method != "POST":
            raise _Refused(-1, "method not allowed", 405)
        self._headers(request, posted=True, token=token)
        body = json.loads(request.body)
        info = body.get("base_info")
        if not isinstance(info, dict) or not info.get("channel_version"):
            raise _Refused(-1, "no base_info", 400)
        agent = info.get("bot_agent", "")
        if self.strict and not (isinstance(agent, str) and agent and agent.isascii() and len(agent) <= 256):
            raise _Refused(-1, "no bot_agent", 400)
        return dict(body)

    def _qr(self, request: Request) -> Body:
        if request.query.get("bot_type") != "3":
            raise _Refused(-1, "invalid bot_type", 400)
        if request.method == "POST" or self.strict:
            held = self._post(request, token=False).get("local_token_list")
            if not isinstance(held, list) or len(held) > 10:
                raise _Refused(-1, "local_token_list", 400)
            self.logins.append({"local_token_list": held})
        self.codes += 1
        return {"ret": 0, "qrcode": f"qr-{self.codes}", "qrcode_img_content": f"https://liteapp.weixin.qq.com/q/qr-{self.codes}"}

    async def _status(self, request: Request) -> Body:
        self._headers(request, posted=False, token=False)
        if request.query.get("qrcode") != f"qr-{self.codes}":
            return {"ret": 0, "status": "expired"}
        state = self.states[0]
        if isinstance(state, dict):
            answer = state
        elif state == "need_verifycode" and request.query.get("verify_code") == self.digits:
            self.states.pop(0)
            return {"ret": 0, "status": "scaned"}
        elif state == "need_verifycode":
            return {"ret": 0, "status": state}
        elif state == "confirmed":
            self._live = {self.secret}
            answer = {"bot_token": self.secret, "ilink_bot_id": self.bot, "ilink_user_id": self.user, "baseurl": self.url, "status": state}
        else:
            answer = {"status": state}
        if len(self.states) > 1:
            self.states.pop(0)
        return {"ret": 0, **answer}

    async def _updates(self, body: Body) -> Reply:
        self.polls += 1
        if self.poll_answers:
            raw = self.poll_answers.pop(0)
            return Reply(200, raw, {"content-type": "text/html"}) if isinstance(raw, bytes) else _reply(raw)
        cursor = body.get("get_updates_buf")
        if not isinstance(cursor, str):
            raise _Refused(-1, "get_updates_buf is a text")
        try:
            place = int(base64.b64decode(cursor.encode(), validate=True)) if cursor else 0
        except ValueError:
            raise _Refused(-1, "invalid get_updates_buf") from None
        if place >= len(self._inbox):
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self.hold_s)
        fresh = self._inbox[place:]
        buffer = base64.b64encode(str(place + len(fresh)).encode()).decode()
        return _reply({"ret": 0, "msgs": fresh, "get_updates_buf": buffer, "longpolling_timeout_ms": 35_000})

    async def _sendmessage(self, body: Body) -> Reply:
        self.requests += 1
        what, facts = self.take() or ("", {})
        if what == "busy":
            raise _Refused(-2, "rate limited")
        if what == "asleep":
            raise _Refused(-2, facts.get("errmsg", ""))
        if what == "revoked":
            raise _Refused(-14, "session timeout")
        if what == "gone":
            raise _Refused(-2, "")
        if what == "error":
            return Reply(500, b"oops")
        if what == "garbage":
            return Reply(200, b"<html>log in to the hotel's net</html>", {"content-type": "text/html"})
        if what == "hang":
            await asyncio.sleep(facts.get("seconds", 1.0))
        number = self._say(body.get("msg"))
        return Reply(cut=True) if what == "cut" else _reply({"ret": 0, "message_id": number})

    def _say(self, message: Any) -> int:
        if not isinstance(message, dict) or message.get("from_user_id") != "" or message.get("to_user_id") != self.user:
            raise _Refused(-1, "invalid msg")
        if (message.get("message_type"), message.get("message_state")) != (2, 2):
            raise _Refused(-1, "invalid message_type")
        client_id = message.get("client_id")
        if not client_id or client_id in self._client_ids:
            raise _Refused(-1, "client_id is missing or was here before")
        items = message.get("item_list")
        if not isinstance(items, list) or len(items) != 1:
            raise _Refused(-1, "one item a request")
        shown = self._shown(items[0])
        now = self._wall_s()
        context = self._contexts.get(str(message.get("context_token")))
        if context is None or now - context[0] > WINDOW_S:
            raise _Refused(-2, why="no such context, or it is more than 24 hours old")
        if now < self._blocked_until_s:
            raise _Refused(-2, "rate limited", why="blocked after a burst")
        self._times.append(now)
        while now - self._times[0] > 1:
            self._times.popleft()
        if len(self._times) >= 3:
            self._blocked_until_s = now + BLOCKED_S
            raise _Refused(-2, "rate limited", why="three within a second")
        if context[1] <= 0:
            raise _Refused(-2, why="no credits left")
        context[1] -= 1
        self._client_ids.add(client_id)
        self.sent.append(message)
        number = _FIRST_ID + 1_000_000 + len(self.sent)
        self._seen.append(Seen(self.user, str(number), **shown))
        return number

    def _shown(self, item: Any) -> Body:
        text = (item.get("text_item") or {}).get("text") if isinstance(item, dict) else None
        if isinstance(text, str) and item.get("type") == 1:
            if not text.strip() or len(text.encode("utf-8")) > 16_384:
                raise _Refused(-2, why="the text is empty or too long")
            return {"text": text}
        image = item.get("image_item") if isinstance(item, dict) and item.get("type") == 2 else None
        if not isinstance(image, dict) or not isinstance(image.get("media"), dict):
            raise _Refused(-1, "invalid item")
        media = image["media"]
        stored = self._pictures.get(str(media.get("encrypt_query_param")))
        if stored is None or media.get("encrypt_type") != 1 or image.get("mid_size") != stored["filesize"]:
            raise _Refused(-2, "prepare failed", why="no such picture in the store")
        if media.get("aes_key") != base64.b64encode(stored["aeskey"].encode()).decode():
            raise _Refused(-2, "prepare failed", why="aes_key is not the base64 of the key's hex text")
        return {"text": "", "pictures": (stored["content"],)}

    def _upload_place(self, body: Body) -> Body:
        size, filesize = body.get("rawsize"), body.get("filesize")
        hexes = [str(body.get(name)) for name in ("filekey", "rawfilemd5", "aeskey")]
        if not all(re.fullmatch("[0-9a-f]{32}", one) for one in hexes):
            raise _Refused(-1, "filekey, rawfilemd5 and aeskey are 32 hex digits")
        if not isinstance(size, int) or size < 1 or filesize != -(-(size + 1) // 16) * 16:
            raise _Refused(-1, "filesize is not that of the ciphertext")
        if body.get("media_type") != 1 or body.get("to_user_id") != self.user or body.get("no_need_thumb") is not True:
            raise _Refused(-1, "invalid upload")
        self._uploads[hexes[0]] = body
        if self.upload_full_url:
            return {"ret": 0, "upload_full_url": f"{self.url}/c2c/upload?encrypted_query_param=up-{hexes[0]}&filekey={hexes[0]}"}
        return {"ret": 0, "upload_param": f"up-{hexes[0]}"}

    def _store(self, request: Request) -> Reply:
        if self.store_fails > 0:
            self.store_fails -= 1
            return Reply(503, b"")
        filekey = request.query.get("filekey", "")
        wanted = self._uploads.get(filekey)
        if wanted is None or request.query.get("encrypted_query_param") != f"up-{filekey}" or request.method != "POST":
            return Reply(403, b"", {"x-error-message": "no such upload"})
        if request.headers.get("content-type") != "application/octet-stream" or len(request.body) != wanted["filesize"]:
            return Reply(400, b"", {"x-error-message": "not what was announced"})
        decryptor = Cipher(algorithms.AES(bytes.fromhex(wanted["aeskey"])), modes.ECB()).decryptor()
        padded = decryptor.update(request.body) + decryptor.finalize()
        content = padded[: -padded[-1]]
        good = 1 <= padded[-1] <= 16 and padded.endswith(bytes([padded[-1]]) * padded[-1]) and len(content) == wanted["rawsize"]
        if not good or hashlib.md5(content, usedforsecurity=False).hexdigest() != wanted["rawfilemd5"]:
            return Reply(400, b"", {"x-error-message": "cannot be decrypted"})
        self._pictures[f"down-{filekey}"] = {**wanted, "content": content}
        return Reply(200, b"", {"x-encrypted-param": f"down-{filekey}"})


def _reply(answer: Body, status: int = 200) -> Reply:
    return Reply(status, json.dumps(answer).encode(), {"content-type": "application/json"})
