"""A receiver of signed webhooks on loopback, as strict as Standard Webhooks asks: it takes nothing unsigned, stale, changed or repeated."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from farwatch.bridges.base import Address
from farwatch.testing.bridges import Seen
from farwatch.testing.chat.web import Misbehaviour, Reply, Request, serving

TOLERANCE_S = 300


class FakeWebhook(Misbehaviour):
    """See `farwatch.testing.bridges.Fake`. `arrived`: every request, also those that were not taken. `repeated`: ids that came again.

    It can also `misbehave("status", status=302, headers={…})`.
    """

    def __init__(self, *, key: bytes = b"0123456789abcdef0123456789abcdef") -> None:
        super().__init__()
        self.key = key
        self.secret = f"whsec_{base64.b64encode(key).decode('ascii')}"
        self.chat = Address("webhook")
        self.url = ""
        self.requests = 0
        self.arrived: list[Request] = []
        self.repeated: list[str] = []
        self._taken: dict[str, Seen] = {}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["FakeWebhook"]:
        """Listen on a free loopback port."""
        async with serving(self._handle) as base:
            self.url = f"{base}/hook/of-our-own"
            yield self

    def seen(self) -> list[Seen]:
        """See `farwatch.testing.bridges.Fake`."""
        return list(self._taken.values())

    async def _handle(self, request: Request) -> Reply:
        self.requests += 1
        self.arrived.append(request)
        what, facts = self.take() or ("", {})
        if what == "busy":
            return Reply(429, b"", {"retry-after": str(facts.get("retry_after_s", 1))})
        if what in ("error", "revoked", "gone"):
            return Reply({"error": 503, "revoked": 401, "gone": 410}[what])
        if what == "status":
            return Reply(facts["status"], b"", facts.get("headers", {}))
        if what == "garbage":
            return Reply(200, b"<html>log in to the hotel's net</html>", {"content-type": "text/html"})
        if what == "hang":
            await asyncio.sleep(facts.get("seconds", 1.0))
        status = self._take_in(request)
        return Reply(cut=True) if what == "cut" else Reply(status)

    def _take_in(self, request: Request) -> int:
        head = request.headers
        message_id, stamp = head.get("webhook-id", ""), head.get("webhook-timestamp", "")
        signed = f"{message_id}.{stamp}.".encode() + request.body
        mine = "v1," + base64.b64encode(hmac.new(self.key, signed, hashlib.sha256).digest()).decode("ascii")
        if mine not in head.get("webhook-signature", "").split(" "):
            return 401
        if not stamp.isdecimal() or abs(time.time() - int(stamp)) > TOLERANCE_S or request.method != "POST":
            return 400
        if message_id in self._taken:
            self.repeated.append(message_id)
            return 200
        try:
            self._taken[message_id] = _shown(json.loads(request.body), message_id)
        except (ValueError, KeyError, TypeError):
            return 422
        return 204


def _shown(body: dict[str, Any], message_id: str) -> Seen:
    if body["type"] != "message" or body["id"] != message_id or body["text"] != "".join(part["text"] for part in body["parts"]):
        raise ValueError
    pictures = (base64.b64decode(body["picture"]["base64"]),) if "picture" in body else ()
    files = tuple(base64.b64decode(one["base64"]) for one in body.get("files", []))
    return Seen("webhook", message_id, body["text"], pictures, files, silent=body["silent"])
