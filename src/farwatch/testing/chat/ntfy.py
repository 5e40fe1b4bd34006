"""An ntfy server on loopback: publishing by JSON and by PUT, its limits and its error codes."""

import asyncio
import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator
from email.header import decode_header
from typing import Any

from farwatch.bridges.base import Address
from farwatch.testing.bridges import Seen
from farwatch.testing.chat.web import Misbehaviour, Reply, Request, serving

MESSAGE_MAX_BYTES = 4_096


class _Refused(Exception):
    """Raised inside the fake for what ntfy refuses."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


class FakeNtfy(Misbehaviour):
    """See `farwatch.testing.bridges.Fake`. `file_max_bytes`: of an attachment; 0 for a server that takes none.

    It can also `misbehave("refuse", code=42908)`, with any code of ntfy's.
    """

    def __init__(
        self, *, topic: str = "runs-x7Qm29fKd", token: str = "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2", file_max_bytes: int = 15 << 20
    ) -> None:
        super().__init__()
        self.topic = topic
        self.token = token
        self.file_max_bytes = file_max_bytes
        self.secret = token
        self.chat = Address("topic")
        self.url = ""
        self.requests = 0
        self.paths: list[str] = []
        self.published: list[dict[str, Any]] = []
        self._ids = (f"msg{number:09d}" for number in itertools.count(1))
        self._seen: list[Seen] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["FakeNtfy"]:
        """Listen on a free loopback port."""
        async with serving(self._handle) as self.url:
            yield self

    def seen(self) -> list[Seen]:
        """See `farwatch.testing.bridges.Fake`."""
        return list(self._seen)

    async def _handle(self, request: Request) -> Reply:
        self.requests += request.method != "GET"
        self.paths.append(request.path)
        what, facts = self.take() or ("", {})
        if what == "busy":
            head = {"retry-after": str(facts["retry_after_s"])} if "retry_after_s" in facts else {}
            return _error(42901, "limit reached: too many requests, please be nice", head)
        if what == "error":
            return Reply(502, b"<html>bad gateway</html>", {"content-type": "text/html"})
        if what == "garbage":
            return Reply(200, b"<html>log in to the hotel's net</html>", {"content-type": "text/html"})
        if what == "revoked":
            return _error(40101, "unauthorized")
        if what == "gone":
            return _error(40401, "page not found")
        if what == "refuse":
            return _error(facts["code"], facts.get("words", "refused"))
        if what == "hang":
            await asyncio.sleep(facts.get("seconds", 1.0))
        try:
            answer = self._answer(request)
        except _Refused as refused:
            return _error(refused.code, str(refused))
        return Reply(cut=True) if what == "cut" else _json(answer)

    def _answer(self, request: Request) -> dict[str, Any]:
        if request.path == "/v1/health":
            return {"healthy": True}
        given = request.headers.get("authorization")
        if self.token and given != f"Bearer {self.token}":
            raise _Refused(40101, "unauthorized") if given or request.path == "/v1/account" else _Refused(40301, "forbidden")
        if request.path == "/v1/account":
            return {"username": "phil", "role": "user"}
        if request.method == "POST" and request.path == "/":
            return self._by_json(request)
        if request.method in ("PUT", "POST") and re.fullmatch(r"/[-_A-Za-z0-9]{1,64}", request.path):
            return self._by_headers(request)
        raise _Refused(40401, "page not found")

    def _by_json(self, request: Request) -> dict[str, Any]:
        try:
            body = json.loads(request.body)
            topic, text = str(body["topic"]), body.get("message") or "triggered"
        except (ValueError, KeyError, TypeError):
            raise _Refused(40024, "invalid request: request body must be valid JSON") from None
        self._is_topic(topic)
        if len(text.encode()) > MESSAGE_MAX_BYTES:
            return self._publish(body, "You received a file: attachment.txt", files=(text.encode(),))
        return self._publish(body, text.strip())

    def _by_headers(self, request: Request) -> dict[str, Any]:
        self._is_topic(request.path[1:])
        head = {name.removeprefix("x-"): _decoded(value) for name, value in request.headers.items()}
        told: dict[str, Any] = {key: head[key] for key in ("message", "filename", "priority", "title") if key in head}
        text = head.get("message", "").replace("\\n", "\n").strip()
        if "filename" not in head and len(request.body) <= MESSAGE_MAX_BYTES:
            return self._publish(told, request.body.decode().strip() or text or "triggered")
        if not self.file_max_bytes:
            raise _Refused(40014, "invalid request: attachments disallowed")
        if len(request.body) > self.file_max_bytes:
            raise _Refused(41301, "attachment too large, or bandwidth limit reached")
        picture = head.get("filename", "").endswith((".png", ".jpg", ".webp"))
        where = "pictures" if picture else "files"
        return self._publish(told, text or f"You received a file: {head.get('filename')}", **{where: (request.body,)})

    def _is_topic(self, topic: str) -> None:
        if topic != self.topic:
            raise _Refused(40301, "forbidden")

    def _publish(self, told: dict[str, Any], text: str, **more: Any) -> dict[str, Any]:
        priority = int(told.get("priority", 3))
        if not 1 <= priority <= 5:
            raise _Refused(40007, "invalid priority parameter")
        message_id = next(self._ids)
        self.published.append(told)
        self._seen.append(Seen("topic", message_id, text, silent=priority < 3, **more))
        return {"id": message_id, "time": 1_700_000_000, "expires": 1_700_043_200, "event": "message", "topic": self.topic, "message": text}


def _decoded(value: str) -> str:
    """A header as ntfy reads it: encoded words, else the bytes as UTF-8."""
    pieces = decode_header(value)
    return "".join(piece.decode(charset or "utf-8", "replace") if isinstance(piece, bytes) else piece for piece, charset in pieces)


def _error(code: int, words: str, headers: dict[str, str] | None = None) -> Reply:
    answer = {"code": code, "http": code // 100, "error": words, "link": "https://ntfy.sh/docs/publish/"}
    return Reply(code // 100, json.dumps(answer).encode(), {"content-type": "application/json", **(headers or {})})


def _json(answer: dict[str, Any]) -> Reply:
    return Reply(200, json.dumps(answer).encode(), {"content-type": "application/json"})
