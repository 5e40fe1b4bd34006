"""A web address of one's own: each message as JSON, signed in the way of Standard Webhooks, so that a receiver knows who sent it.

The same message has the same `webhook-id` however often it is tried: a receiver that remembers ids does nothing twice.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from farwatch.bridges.base import (
    Address,
    Caps,
    Field,
    Kind,
    Message,
    Outcome,
    Part,
    Receipt,
    Setup,
)
from farwatch.bridges.outward import Answer, Outward, Unreached, by_status, web_address
from farwatch.bridges.services.carried import Carried, carried, whole, with_lines
from farwatch.bridges.services.one_way import OneWay
from farwatch.bridges.services.slices import SLICES_MAX, beginning, slices, text_of
from farwatch.errors import BridgeError

EXAMPLE = "https://example.org/farwatch"
TEXT_MAX = 20_000
FILE_MAX_BYTES = 2_000_000  # in base64 a third more, and many servers take no more than 10 MB
SECRET_MIN_BYTES = 16
WAITING_MAX = 64  # messages that may be tried again
CHAT = "webhook"


class WebhookBridge(OneWay):
    """See `farwatch.bridges.base.Bridge`. The address of a message is of no account: a channel is one web address."""

    sent = "what a webhook was told"
    caps = Caps(text_max=TEXT_MAX, silent=True, picture_max_bytes=FILE_MAX_BYTES, file_max_bytes=FILE_MAX_BYTES)

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        private = setup.get("private") == "yes"
        web_address(setup.get("url"), EXAMPLE, private=private)
        self._url = setup.get("url").strip()  # as it is: to many servers a slash at the end makes another address
        self._key = _key(setup.get("secret"))
        self._outward = Outward(self._url, secrets=(self._url, setup.get("secret")), private=private)
        self._clock = setup.clock
        self._waiting: OrderedDict[int, tuple[Message, str, int]] = OrderedDict()  # identity -> message, id, first sent

    async def close(self) -> None:
        await self._outward.close()

    async def check(self) -> str:
        """Whether the address may be connected to; only a message tells whether somebody listens."""
        try:
            await self._outward.admits(self._url)
        except Unreached as error:
            hint = "if it is meant, set `private` to yes" if error.receipt.outcome is Outcome.REFUSED else ""
            raise BridgeError(f"the address cannot be used: {error.receipt.reason}", hint=hint) from None
        return "a signed webhook" if self._key else "a webhook without a secret"

    async def send(self, to: Address, message: Message) -> Receipt:
        message_id, sent_ms = self._named(message)
        pictures, lines = await carried(Message((), picture=message.picture), FILE_MAX_BYTES)
        files, more = await carried(Message((), files=message.files), FILE_MAX_BYTES)
        lines += more
        parts = with_lines(message.parts, lines)
        cut = slices(beginning(parts, TEXT_MAX * SLICES_MAX), TEXT_MAX, _units) or ([()] if pictures or files else [])
        ids: list[str] = []
        for place, one in enumerate(cut):
            piece_id = message_id if len(cut) == 1 else f"{message_id}_{place + 1}"
            body: dict[str, Any] = {
                "type": "message", "id": piece_id, "sent_ms": sent_ms, "text": whole(text_of(one)), "parts": [_part(part) for part in one],
                "silent": message.silent,
            }  # fmt: skip
            if place == len(cut) - 1:
                body |= {"picture": _file(pictures[0])} if pictures else {}
                body |= {"files": [_file(file) for file in files]} if files else {}
            receipt = await self._post(piece_id, body)
            if receipt.outcome is not Outcome.SENT:
                if ids:  # asking again would repeat what has arrived
                    self._waiting.pop(id(message), None)
                    return Receipt(Outcome.SENT, tuple(ids), f"not all of it: {receipt.reason}")
                return receipt
            ids.append(piece_id)
        self._waiting.pop(id(message), None)
        reason = "; ".join(lines)
        return Receipt(Outcome.SENT, tuple(ids), reason) if ids else Receipt(Outcome.REFUSED, reason=reason or "there is nothing to say")

    def _named(self, message: Message) -> tuple[str, int]:
        """The id and the time of a message: those of the first try. The message is kept, so that its identity is nobody else's."""
        kept = self._waiting.get(id(message))
        if kept is None:
            kept = (message, f"msg_{secrets.token_urlsafe(18)}", self._clock.wall_us() // 1000)
            self._waiting[id(message)] = kept
            if len(self._waiting) > WAITING_MAX:
                self._waiting.popitem(last=False)
        return kept[1], kept[2]

    async def _post(self, message_id: str, body: dict[str, Any]) -> Receipt:
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        stamp = str(self._clock.wall_us() // 1_000_000)
        head = {"Content-Type": "application/json", "webhook-id": message_id, "webhook-timestamp": stamp}
        if self._key:
            head["webhook-signature"] = f"v1,{signature(self._key, message_id, stamp, content)}"
        try:
            answer = await self._outward.ask("POST", self._url, content=content, headers=head, max_bytes=1 << 20)
        except Unreached as error:
            return error.receipt
        receipt = self._receipt(answer)
        self._learn(receipt, "nobody takes it there any more", frozenset({Outcome.REVOKED, Outcome.GONE}))
        return receipt

    def _receipt(self, answer: Answer) -> Receipt:
        if 200 <= answer.status < 300:
            return Receipt(Outcome.SENT)
        if 300 <= answer.status < 400:
            return Receipt(Outcome.REFUSED, reason=f"the address leads elsewhere (status {answer.status}): give the one it leads to")
        if answer.status in (408, 425):
            return Receipt(Outcome.FAILED, reason=f"status {answer.status}", retry_after_s=answer.retry_after_s)
        return by_status(answer, f"status {answer.status}", revoked=(401, 403), gone=(410,))


def signature(key: bytes, message_id: str, stamp: str, content: bytes) -> str:
    """What Standard Webhooks signs, as base64."""
    signed = f"{message_id}.{stamp}.".encode() + content
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode("ascii")


def _key(secret: str) -> bytes:
    """The key of a secret: `whsec_` and base64, or any other text as it is; empty without one. Raises `BridgeError`."""
    hint = "such as whsec_ and 32 random bytes in base64"
    if not secret:
        return b""
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret[6:], validate=True)
        except binascii.Error:
            raise BridgeError("what follows `whsec_` in the secret is no base64", hint=hint) from None
    if len(key) < SECRET_MIN_BYTES:
        raise BridgeError(f"the secret is too short: at least {SECRET_MIN_BYTES} bytes", hint=hint)
    return key


def _part(part: Part) -> dict[str, str]:
    return {"text": whole(part.text), "style": part.style}


def _file(file: Carried) -> dict[str, str]:
    content = base64.b64encode(file.content).decode("ascii")
    return {"name": file.name, "media_type": file.media_type, "caption": whole(file.caption), "base64": content}


def _units(parts: Sequence[Part]) -> int:
    text = text_of(parts)
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


KIND = Kind(
    name="webhook",
    title="Webhook",
    fields=(
        Field("url", "where to post to; it may hold a key, and is kept like one", secret=True, required=True),
        Field("secret", "signs what is sent: whsec_… or any text of 16 letters or more, known to the receiver too", secret=True),
        Field("private", "`yes` if the address leads into a private network"),
    ),
    make=WebhookBridge,
    steps=(
        "Have something that takes a POST of JSON at an https address.",
        "Make a secret, give it here and to the receiver, and check the signature there: docs/webhook.md shows how.",
    ),
    chats=lambda values: (CHAT,),
)
