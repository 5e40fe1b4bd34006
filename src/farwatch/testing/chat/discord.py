"""Discord's REST API on loopback, version 10, for messages of a webhook and of a bot: as strict as its documents, with its rate headers."""

import asyncio
import contextlib
import json
import re
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from farwatch.bridges.base import Address
from farwatch.testing.bridges import Seen
from farwatch.testing.chat.web import Misbehaviour, Reply, Request, form_parts, serving

Body = dict[str, Any]
CONTENT_MAX, FILE_MAX_BYTES, FILES_MAX = 2_000, 10 << 20, 10
_PING = {"everyone": re.compile("@(everyone|here)"), "users": re.compile(r"<@!?\d+>"), "roles": re.compile(r"<@&\d+>")}


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `at_s`: on the monotonic clock."""

    method: str
    path: str
    query: dict[str, str]
    fields: Body
    at_s: float = field(default_factory=time.monotonic)


class _Refused(Exception):
    """Raised inside the fake for what Discord refuses."""

    def __init__(self, status: int, code: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.code = code


class FakeDiscord(Misbehaviour):
    """See `farwatch.testing.bridges.Fake`. `webhook`: the address of its webhook. `mentions`: who would have been called by a message.

    `limit`: so many new messages in so many seconds, told in headers. It can also `misbehave("refuse", status=403, code=50013)`.
    """

    def __init__(self, *, token: str = "MTIzNDU2.GhIjKl.aBcDeFgHiJkLmNoP", limit: tuple[int, float] = (1_000, 5.0)) -> None:
        super().__init__()
        self.token = token
        self.hook_token = "Zm9vYmFy-webhook_token_of_68_letters"
        self.secret = token
        self.chat = Address("100000000000000001")
        self.threads = {"200000000000000002"}
        self.url = ""
        self.webhook = ""
        self.requests = 0
        self.calls: list[Call] = []
        self.mentions: list[str] = []
        self.limit = limit
        self._sent_at: deque[float] = deque()
        self._seen: dict[str, Seen] = {}
        self._number = 300000000000000000

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["FakeDiscord"]:
        """Listen on a free loopback port."""
        async with serving(self._handle) as base:
            self.url = f"{base}/api/v10"
            self.webhook = f"{base}/api/webhooks/400000000000000004/{self.hook_token}"
            yield self

    def seen(self) -> list[Seen]:
        """See `farwatch.testing.bridges.Fake`."""
        return list(self._seen.values())

    def asked(self, method: str) -> list[Call]:
        """All requests of a method."""
        return [call for call in self.calls if call.method == method]

    async def _handle(self, request: Request) -> Reply:
        self.requests += request.method != "GET"
        what, facts = self.take() or ("", {})
        if what == "busy":
            wait_s, everywhere = facts.get("retry_after_s", 1), facts.get("everywhere", False)
            return _json({"message": "You are being rate limited.", "retry_after": wait_s, "global": everywhere}, 429)
        if what == "error":
            return Reply(502, b"<html>bad gateway</html>", {"content-type": "text/html"})
        if what == "garbage":
            return Reply(200, b"<html>log in to the hotel's net</html>", {"content-type": "text/html"})
        if what == "revoked":
            return _json({"message": "401: Unauthorized", "code": 0}, 401)
        if what == "gone":
            return _json({"message": "Unknown Channel", "code": 10003}, 404)
        if what == "refuse":
            return _json({"message": facts.get("words", "refused"), "code": facts["code"]}, facts["status"])
        if what == "hang":
            await asyncio.sleep(facts.get("seconds", 1.0))
        try:
            status, answer = self._answer(request)
        except _Refused as refused:
            status, answer = refused.status, {"message": str(refused), "code": refused.code}
        if what == "cut":
            return Reply(cut=True)
        return Reply(204) if status == 204 else _json(answer, status, self._rates())

    def _rates(self) -> dict[str, str]:
        count, per_s = self.limit
        left = max(0, count - len(self._sent_at))
        reset_s = max(0.0, self._sent_at[0] + per_s - time.monotonic()) if self._sent_at else per_s
        return {"x-ratelimit-limit": str(count), "x-ratelimit-remaining": str(left), "x-ratelimit-reset-after": f"{reset_s:.3f}"}

    def _answer(self, request: Request) -> tuple[int, Body]:
        path = re.sub(r"^/api(/v10)?(?=/)", "", request.path)
        if not request.headers.get("user-agent", "").startswith("DiscordBot ("):
            raise _Refused(403, 0, "use a valid User-Agent")
        hook = path.startswith("/webhooks/")
        if hook:
            place = self._hooked(path, request)
        elif request.headers.get("authorization") != f"Bot {self.token}":
            raise _Refused(401, 0, "401: Unauthorized")
        elif path == "/users/@me":
            return 200, {"id": "1", "username": "farwatch", "bot": True}
        else:
            place = self._channel(path)
        if request.method == "GET":
            return 200, {"id": "400000000000000004", "type": 1, "name": "training", "channel_id": self.chat.chat, "token": self.hook_token}
        chat, message_id = place
        if request.method == "DELETE":
            self._find(message_id, chat)
            del self._seen[message_id]
            return 204, {}
        fields, files = _read(request)
        self.calls.append(Call(request.method, path, request.query, fields))
        if request.method == "PATCH":
            return 200, self._change(self._find(message_id, chat), fields, files)
        if request.method != "POST" or message_id:
            raise _Refused(405, 0, "405: Method Not Allowed")
        answer = self._show(chat, fields, files)
        return (200, answer) if not hook or request.query.get("wait") == "true" else (204, {})

    def _hooked(self, path: str, request: Request) -> tuple[str, str]:
        found = re.fullmatch(r"/webhooks/(\d+)/([\w-]+)(?:/messages/(\d+))?", path)
        if found is None or found[1] != "400000000000000004":
            raise _Refused(404, 10015, "Unknown Webhook")
        if found[2] != self.hook_token:
            raise _Refused(401, 50027, "Invalid Webhook Token")
        thread = request.query.get("thread_id")
        if thread is not None and thread not in self.threads:
            raise _Refused(404, 10003, "Unknown Channel")
        return thread or self.chat.chat, found[3] or ""

    def _channel(self, path: str) -> tuple[str, str]:
        found = re.fullmatch(r"/channels/(\d+)/messages(?:/(\d+))?", path)
        if found is None:
            raise _Refused(404, 0, "404: Not Found")
        if found[1] != self.chat.chat and found[1] not in self.threads:
            raise _Refused(404, 10003, "Unknown Channel")
        return found[1], found[2] or ""

    def _find(self, message_id: str, chat: str) -> Seen:
        if message_id not in self._seen or self._seen[message_id].chat != chat:
            raise _Refused(404, 10008, "Unknown Message")
        return self._seen[message_id]

    def _show(self, chat: str, fields: Body, files: dict[int, bytes]) -> Body:
        count, per_s = self.limit
        while self._sent_at and time.monotonic() - self._sent_at[0] > per_s:
            self._sent_at.popleft()
        if len(self._sent_at) >= count:
            raise _Refused(429, 0, "You are being rate limited.")
        content = self._content(fields, files, (1 << 2) | (1 << 12))
        self._sent_at.append(time.monotonic())
        self._number += 1
        pictures, others = _sorted(fields, files)
        silent = bool(int(fields.get("flags", 0)) & (1 << 12))
        self._seen[str(self._number)] = Seen(chat, str(self._number), shown(content), pictures, others, silent=silent)
        return {"id": str(self._number), "channel_id": chat, "content": content, "type": 0}

    def _change(self, old: Seen, fields: Body, files: dict[int, bytes]) -> Body:
        content = self._content(fields, files or {0: b""}, 1 << 2)
        new = replace(old, text=shown(content), edits=old.edits + 1)
        if "attachments" in fields:
            pictures, others = _sorted(fields, files)
            new = replace(new, pictures=pictures, files=others)
        self._seen[old.message_id] = new
        return {"id": old.message_id, "channel_id": old.chat, "content": content, "type": 0}

    def _content(self, fields: Body, files: dict[int, bytes], flags: int) -> str:
        content = fields.get("content") or ""
        if not isinstance(content, str) or len(content) > CONTENT_MAX:
            raise _Refused(400, 50035, "Invalid Form Body: content: Must be 2000 or fewer in length.")
        if not content.strip() and not files:
            raise _Refused(400, 50006, "Cannot send an empty message")
        if int(fields.get("flags", 0)) & ~flags:
            raise _Refused(400, 50035, "Invalid Form Body: flags")
        allowed = fields.get("allowed_mentions")
        kinds = list(_PING) if allowed is None else allowed.get("parse", [])
        self.mentions += [kind for kind in kinds if _PING[kind].search(content)]
        return content


def _read(request: Request) -> tuple[Body, dict[int, bytes]]:
    """The fields and the files of a request. Raises `_Refused`."""
    try:
        if request.headers.get("content-type", "").startswith("application/json"):
            fields = json.loads(request.body)
            files: dict[int, bytes] = {}
        else:
            parts = form_parts(request)
            fields = json.loads(parts.pop("payload_json")[2])
            files = {int(name[6:-1]): content for name, (_, _, content) in parts.items()}
            if sorted(one["id"] for one in fields["attachments"]) != sorted(files) or len(files) > FILES_MAX:
                raise ValueError
    except (ValueError, KeyError, TypeError):
        raise _Refused(400, 50109, "The request body contains invalid JSON.") from None
    if any(len(content) > FILE_MAX_BYTES for content in files.values()):
        raise _Refused(413, 40005, "Request entity too large")
    return fields, files


def _sorted(fields: Body, files: dict[int, bytes]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    names = {one["id"]: str(one["filename"]) for one in fields.get("attachments", [])}
    picture = {place: names[place].endswith((".png", ".jpg", ".gif", ".webp")) for place in files}
    return tuple(files[one] for one in files if picture[one]), tuple(files[one] for one in files if not picture[one])


_INLINE = re.compile(
    r"\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?P<ticks>`+)(?P<code>(?:(?!(?P=ticks)).)+?[^`]?)(?P=ticks)(?!`)"
    r"|(?P<link>https?://[^\s<]*[^<.,:;\"'\]\s])"
    r"|\[(?P<words>[^\]\n]+)\]\((?P<target>[^)\n]+)\)"
    r"|<(?P<tag>(?:@[!&]?|#|a?:\w+:|t:|/|id:)[^>\n]*)>"
    r"|(?P<strong>\*\*|__|~~|\|\|)(?P<loud>(?:\\.|[^\\])+?)(?P=strong)"
    r"|(?P<em>(?<!\w)_|\*)(?P<soft>(?!\s)(?:\\.|[^\\*_])+?)(?P=em)(?!\w)"
    r"|:(?P<emoji>fire|smile|x|a|b|ab|100|1234|\+1|-1|e-mail|non-potable_water):",
    re.DOTALL,
)


def shown(content: str) -> str:
    """What people read: marks are gone, of masked links the words are left, emoji and mentions are pictures."""
    found, place = [], 0
    for block in re.finditer(r"```(?:[a-z0-9_+\-.#]+\n)?\n*(.*?)\n*```\n?", content, re.DOTALL):
        found += [_lines(content[place : block.start()]), block[1]]
        place = block.end()
    return "".join([*found, _lines(content[place:])]).strip()


def _lines(text: str) -> str:
    begun = re.sub(r"^[ \t]*(#{1,3} |-# |>>> |> |[-*+] )", "", text, flags=re.MULTILINE)
    return _INLINE.sub(_replaced, begun)


def _replaced(found: re.Match[str]) -> str:
    if found["code"] is not None:
        code = found["code"]
        return code[1:-1] if code.startswith(" ") and code.endswith(" ") and code.strip() else code
    if found["loud"] is not None or found["soft"] is not None:
        return _INLINE.sub(_replaced, found["loud"] or found["soft"])
    if found["tag"] is not None or found["emoji"] is not None:
        return "[picture]"
    return found["escaped"] or found["link"] or found["words"] or ""


def _json(answer: Body, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(answer).encode(), {"content-type": "application/json", **(headers or {})})
