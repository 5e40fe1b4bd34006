"""A WeCom group's webhook on loopback, as strict as its document."""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from farwatch.bridges.base import Address
from farwatch.clock import Clock, SystemClock
from farwatch.testing.bridges import Seen
from farwatch.testing.chat.web import Misbehaviour, Reply, Request, form_parts, serving
from farwatch.testing.chat.wecom import Refused, shown

PATH = "/cgi-bin/webhook"


class FakeWecomWebhook(Misbehaviour):
    """See `farwatch.testing.bridges.Fake`. `bodies`: what came, in order. `clock`: for 20 messages a minute."""

    def __init__(self, *, key: str = "693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa", clock: Clock | None = None) -> None:
        super().__init__()
        self.secret = key
        self.chat = Address("group")
        self.url = ""
        self.requests = 0
        self.bodies: list[dict[str, Any]] = []
        self._clock = clock or SystemClock()
        self._sent_at: deque[float] = deque()
        self._seen: list[Seen] = []
        self._media: dict[str, bytes] = {}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["FakeWecomWebhook"]:
        """Listen on a free loopback port."""
        async with serving(self._handle) as base:
            self.url = f"{base}{PATH}/send?key={self.secret}"
            yield self

    def seen(self) -> list[Seen]:
        """See `farwatch.testing.bridges.Fake`."""
        return list(self._seen)

    async def _handle(self, request: Request) -> Reply:
        self.requests += 1
        what, facts = self.take() or ("", {})
        if what == "busy":
            return _reply({"errcode": 45009, "errmsg": "api freq out of limit, hint: [1700000000_1_abc]"})
        if what == "error":
            return Reply(502, b"<html>bad gateway</html>", {"content-type": "text/html"})
        if what in ("revoked", "gone"):
            return _reply({"errcode": 93000, "errmsg": "invalid webhook url"})
        if what == "garbage":
            return Reply(200, b"<html>log in to the hotel's net</html>", {"content-type": "text/html"})
        if what == "hang":
            await asyncio.sleep(facts.get("seconds", 1.0))
        try:
            answer = self._take(request)
        except Refused as refused:
            answer = {"errcode": refused.code, "errmsg": refused.words}
        return Reply(cut=True) if what == "cut" else _reply(answer)

    def _take(self, request: Request) -> dict[str, Any]:
        if request.method != "POST" or request.query.get("key") != self.secret:
            raise Refused(93000, "invalid webhook url")
        if request.path == f"{PATH}/upload_media":
            return self._upload(request)
        if request.path != f"{PATH}/send" or not request.headers.get("content-type", "").startswith("application/json"):
            raise Refused(40058, "invalid request")
        now = self._clock.mono_us() / 1e6
        while self._sent_at and now - self._sent_at[0] > 60:
            self._sent_at.popleft()
        if len(self._sent_at) >= 20:
            raise Refused(45009, "api freq out of limit")
        body = json.loads(request.body)
        seen = self._shown(body, str(body.get("msgtype")))
        self._sent_at.append(now)
        self.bodies.append(body)
        self._seen.append(seen)
        return {"errcode": 0, "errmsg": "ok"}

    def _shown(self, body: dict[str, Any], kind: str) -> Seen:
        what = body.get(kind)
        if kind not in ("text", "markdown", "image", "file") or not isinstance(what, dict):
            raise Refused(40008, "invalid message type")
        place = str(len(self._seen))
        if kind in ("text", "markdown"):
            content = what.get("content")
            if not isinstance(content, str) or not content.strip():
                raise Refused(44004, "empty content")
            if len(content.encode("utf-8")) > (2_048 if kind == "text" else 4_096):
                raise Refused(40058, f"{kind}.content exceed max length")
            if kind == "text" and "<@" in content:
                content = content.replace("<@", "[somebody is called]")
            return Seen("group", place, shown(content) if kind == "markdown" else content)
        if kind == "file":
            if what.get("media_id") not in self._media:
                raise Refused(40007, "invalid media_id")
            return Seen("group", place, "", files=(self._media[what["media_id"]],))
        try:
            picture = base64.b64decode(str(what.get("base64")), validate=True)
        except binascii.Error:
            raise Refused(301019, "invalid base64") from None
        if len(picture) > 2 << 20:
            raise Refused(40009, "invalid image size")
        md5 = hashlib.md5(picture, usedforsecurity=False).hexdigest()
        if picture[:3] not in (b"\x89PN", b"\xff\xd8\xff") or md5 != what.get("md5"):
            raise Refused(301019, "md5 does not match, or no PNG or JPEG")
        return Seen("group", place, "", pictures=(picture,))

    def _upload(self, request: Request) -> dict[str, Any]:
        try:
            name, _, content = form_parts(request)["media"]
        except (ValueError, KeyError):
            raise Refused(41005, "media data missing") from None
        if request.query.get("type") != "file" or not name or not 5 < len(content) <= 20 << 20:
            raise Refused(40006, "invalid file size")
        media_id = f"media-{len(self._media)}"
        self._media[media_id] = content
        return {"errcode": 0, "errmsg": "ok", "type": "file", "media_id": media_id, "created_at": "1380000000"}


def _reply(answer: dict[str, Any]) -> Reply:
    return Reply(200, json.dumps(answer).encode(), {"content-type": "application/json; charset=UTF-8"})
