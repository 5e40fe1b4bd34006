"""Slack on loopback: the Web API's methods for messages and files, its store, and an incoming webhook; as strict as its documents.

The official client takes it by `base_url=fake.url`.
"""

import asyncio
import contextlib
import html
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

from farwatch.bridges.base import Address
from farwatch.testing.bridges import Seen
from farwatch.testing.chat.web import Misbehaviour, Reply, Request, form_parts, serving

Body = dict[str, Any]
POST_TEXT_MAX, UPDATE_TEXT_MAX, BLOCKS_MAX = 40_000, 4_000, 13_000
_MENTION = re.compile(r"<(!(?:channel|here|everyone|subteam)[^>]*|@[UW]\w+[^>]*)>")


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a method. `at_s`: on the monotonic clock."""

    method: str
    fields: Body
    at_s: float = field(default_factory=time.monotonic)


class _Refused(Exception):
    """Raised inside the fake for what Slack refuses; the message is its `error`."""

    def __init__(self, word: str, **more: Any) -> None:
        super().__init__(word)
        self.more = more


class FakeSlack(Misbehaviour):
    """See `farwatch.testing.bridges.Fake`. `webhook`: the address of its webhook. `mentions`: who would have been called by a message.

    It can also `misbehave("refuse", word="msg_too_long")`, with any word of Slack's.

    `scopes`: of the token. `names`: channels by name, ids as values; the bot is in these and in no others.
    """

    def __init__(self, *, token: str = "xoxb-1111-2222-AbCdEfGh", scopes: tuple[str, ...] = ("chat:write", "files:write")) -> None:
        super().__init__()
        self.token = token
        self.scopes = set(scopes)
        self.names = {"runs": "C0123456789"}
        self.archived: set[str] = set()
        self.secret = token
        self.chat = Address("C0123456789")
        self.url = ""
        self.webhook = ""
        self.hook = "T0000/B0000/XXsecretXXofXXtheXXhook"
        self.requests = 0
        self.calls: list[Call] = []
        self.mentions: list[str] = []
        self._base = ""
        self._number = 0
        self._seen: dict[str, Seen] = {}
        self._uploads: dict[str, tuple[str, int, bytes | None]] = {}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["FakeSlack"]:
        """Listen on a free loopback port."""
        async with serving(self._handle) as base:
            self._base = base
            self.url = f"{base}/api/"
            self.webhook = f"{base}/services/{self.hook}"
            yield self

    def seen(self) -> list[Seen]:
        """See `farwatch.testing.bridges.Fake`."""
        return list(self._seen.values())

    def asked(self, method: str) -> list[Body]:
        """The fields of all requests to a method."""
        return [call.fields for call in self.calls if call.method == method]

    async def _handle(self, request: Request) -> Reply:
        hook = request.path.startswith("/services/")
        method = request.path.removeprefix("/api/")
        self.requests += method != "auth.test"
        what, facts = self.take() or ("", {})
        if what == "busy":
            head = {"retry-after": str(facts.get("retry_after_s", 1))}
            return Reply(429, b"rate_limited", head) if hook else _json({"ok": False, "error": "ratelimited"}, 429, head)
        if what == "error":
            return Reply(503, b"<html>upstream connect error</html>", {"content-type": "text/html"})
        if what == "garbage":
            return Reply(200, b"<html>log in to the hotel's net</html>", {"content-type": "text/html"})
        if what in ("revoked", "gone"):
            if hook:
                return Reply(403, b"invalid_token") if what == "revoked" else Reply(404, b"channel_not_found")
            return _json({"ok": False, "error": "token_revoked" if what == "revoked" else "channel_not_found"})
        if what == "refuse":
            return Reply(400, facts["word"].encode()) if hook else _json({"ok": False, "error": facts["word"]})
        if what == "hang":
            await asyncio.sleep(facts.get("seconds", 1.0))
        reply = self._hooked(request) if hook else self._store(request) if method.startswith("/upload/") else self._called(request, method)
        return Reply(cut=True) if what == "cut" else reply

    # --- the webhook

    def _hooked(self, request: Request) -> Reply:
        if request.path != f"/services/{self.hook}":
            return Reply(404, b"no_service")
        try:
            body = json.loads(request.body)
            assert request.method == "POST" and isinstance(body, dict)
        except (ValueError, AssertionError):
            return Reply(400, b"invalid_payload")
        self.calls.append(Call("webhook", body))
        try:
            self._show(self.chat.chat, self._shown(body, POST_TEXT_MAX))
        except _Refused as refused:
            return Reply(400, str(refused).encode())
        return Reply(200, b"ok")

    # --- methods

    def _called(self, request: Request, method: str) -> Reply:
        kind = request.headers.get("content-type", "")
        form = kind.startswith("application/x-www-form-urlencoded")
        try:
            fields = dict(parse_qsl(request.body.decode())) if form else json.loads(request.body or b"{}")
        except ValueError:
            return _json({"ok": False, "error": "invalid_json"})
        self.calls.append(Call(method, fields))
        try:
            bearer = request.headers.get("authorization", "").removeprefix("Bearer ") or (fields.get("token") if form else "")
            if not bearer:
                raise _Refused("not_authed")
            if bearer != self.token:
                raise _Refused("invalid_auth")
            if not form and not kind.startswith("application/json") and request.body:
                raise _Refused("invalid_post_type")
            answer = getattr(self, f"_{method.replace('.', '_')}", self._unknown)(fields)
        except _Refused as refused:
            return _json({"ok": False, "error": str(refused), **refused.more})
        return _json({"ok": True, **answer})

    def _unknown(self, fields: Body) -> Body:
        raise _Refused("unknown_method")

    def _auth_test(self, fields: Body) -> Body:
        return {"url": "https://lab.slack.com/", "team": "Lab", "user": "farwatch", "team_id": "T0000", "user_id": "U0BOT", "bot_id": "B0"}

    def _chat_postMessage(self, fields: Body) -> Body:
        self._need("chat:write")
        named = str(fields.get("channel", ""))
        channel = self._channel(self.names.get(named.removeprefix("#"), named))
        thread = fields.get("thread_ts")
        if thread is not None and thread not in self._seen:
            raise _Refused("thread_not_found")
        ts = self._show(channel, self._shown(fields, POST_TEXT_MAX))
        return {"channel": channel, "ts": ts, "message": {"type": "message", "ts": ts, "bot_id": "B0", "text": fields.get("text", "")}}

    def _chat_update(self, fields: Body) -> Body:
        self._need("chat:write")
        channel, ts = self._channel(str(fields.get("channel"))), str(fields.get("ts"))
        old = self._seen.get(ts)
        if old is None or old.chat != channel or old.files:
            raise _Refused("message_not_found")
        new = self._shown(fields, UPDATE_TEXT_MAX)
        self._seen[ts] = replace(old, text=new, edits=old.edits + 1)
        return {"channel": channel, "ts": ts, "text": fields.get("text", "")}

    def _chat_delete(self, fields: Body) -> Body:
        self._need("chat:write")
        channel, ts = self._channel(str(fields.get("channel"))), str(fields.get("ts"))
        if ts not in self._seen:
            raise _Refused("message_not_found")
        del self._seen[ts]
        return {"channel": channel, "ts": ts}

    def _files_getUploadURLExternal(self, fields: Body) -> Body:
        self._need("files:write")
        length = fields.get("length")
        if not fields.get("filename") or not str(length).isdecimal() or int(str(length)) < 1:
            raise _Refused("invalid_arguments")
        file_id = f"F{len(self._uploads):09d}"
        self._uploads[file_id] = (str(fields["filename"]), int(str(length)), None)
        return {"upload_url": f"{self._base}/upload/v1/{file_id}", "file_id": file_id}

    def _files_completeUploadExternal(self, fields: Body) -> Body:
        self._need("files:write")
        files = fields.get("files")
        files = json.loads(files) if isinstance(files, str) else files
        if not isinstance(files, list) or not files:
            raise _Refused("invalid_arguments")
        for one in files:
            if self._uploads.get(one.get("id"), ("", 0, None))[2] is None:
                raise _Refused("file_not_found")
        if fields.get("channel_id"):
            channel = self._channel(str(fields["channel_id"]))
            contents = [self._uploads[one["id"]] for one in files]
            pictures = tuple(content or b"" for name, _, content in contents if name.endswith((".png", ".jpg", ".gif", ".webp")))
            others = tuple(content or b"" for name, _, content in contents if not name.endswith((".png", ".jpg", ".gif", ".webp")))
            text = html.unescape(str(fields.get("initial_comment") or ""))
            seen = Seen(channel, ",".join(one["id"] for one in files), text, pictures, others)
            self._seen[seen.message_id] = seen
        return {"files": [{"id": one["id"], "title": one.get("title", "")} for one in files]}

    def _files_delete(self, fields: Body) -> Body:
        self._need("files:write")
        found = next((key for key in self._seen if str(fields.get("file")) in key.split(",")), None)
        if found is None:
            raise _Refused("file_not_found")
        del self._seen[found]
        return {}

    def _store(self, request: Request) -> Reply:
        """The address is the permission; the length must be what was announced."""
        file_id = request.path.rpartition("/")[2]
        if file_id not in self._uploads or "authorization" in request.headers:
            return Reply(404, b"no such upload")
        name, length, _ = self._uploads[file_id]
        multipart = request.headers.get("content-type", "").startswith("multipart/")
        content = next(iter(form_parts(request).values()))[2] if multipart else request.body
        if len(content) != length:
            return Reply(400, b"length does not match")
        self._uploads[file_id] = (name, length, content)
        return Reply(200, f"OK - {length}".encode())

    # --- what is shown

    def _need(self, scope: str) -> None:
        if scope not in self.scopes:
            raise _Refused("missing_scope", needed=scope, provided=",".join(sorted(self.scopes)))

    def _channel(self, channel: str) -> str:
        if channel not in self.names.values():
            raise _Refused("not_in_channel" if re.fullmatch("C[A-Z0-9]{9,}", channel) else "channel_not_found")
        if channel in self.archived:
            raise _Refused("is_archived")
        return channel

    def _show(self, channel: str, text: str) -> str:
        self._number += 1
        ts = f"{1_700_000_000 + self._number}.{self._number:06d}"
        self._seen[ts] = Seen(channel, ts, text)
        return ts

    def _shown(self, fields: Body, limit: int) -> str:
        """What people read of a message. Raises `_Refused`."""
        text, given = str(fields.get("text") or ""), fields.get("blocks")
        given = json.loads(given) if isinstance(given, str) else given
        if not text and not given:
            raise _Refused("no_text")
        if len(text) > limit:
            raise _Refused("msg_too_long")
        self.mentions += _MENTION.findall(text)
        if not given:
            return html.unescape(_MENTION.sub("[somebody is called]", _marked(text) if fields.get("mrkdwn") is not False else text))
        if len(json.dumps(given, ensure_ascii=False)) > BLOCKS_MAX:
            raise _Refused("msg_blocks_too_long")
        if not isinstance(given, list) or len(given) > 50:
            raise _Refused("invalid_blocks")
        return "\n".join(self._block(one) for one in given)

    def _block(self, block: Any) -> str:
        if not isinstance(block, dict) or block.get("type") != "rich_text" or not block.get("elements"):
            raise _Refused("invalid_blocks")
        lines = []
        for one in block["elements"]:
            if one.get("type") not in ("rich_text_section", "rich_text_preformatted", "rich_text_quote") or not one.get("elements"):
                raise _Refused("invalid_blocks")
            lines.append("".join(self._element(piece) for piece in one["elements"]))
        return "\n".join(lines)

    def _element(self, piece: Body) -> str:
        kind, style = piece.get("type"), piece.get("style", {})
        if not isinstance(style, dict) or set(style) - {"bold", "italic", "strike", "code"}:
            raise _Refused("invalid_blocks")
        if kind == "link" and str(piece.get("url", "")).startswith(("http://", "https://")):
            return str(piece.get("text") or piece["url"])
        if kind in ("broadcast", "user", "usergroup"):
            self.mentions.append(kind)
            return "[somebody is called]"
        if kind != "text" or not isinstance(piece.get("text"), str) or not piece["text"]:
            raise _Refused("invalid_blocks")
        return str(piece["text"])


def _marked(text: str) -> str:
    """What Slack's own notation leaves of a text."""
    return re.sub(r"(?<!\w)([*_~`])(?=\S)([^\n]+?)(?<=\S)\1(?!\w)", r"\2", text)


def _json(answer: Body, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(answer).encode(), {"content-type": "application/json; charset=utf-8", **(headers or {})})
