"""A WeCom group's webhook (消息推送): one way, into one group, 20 messages a minute.

Words go as `text`, in which nothing is markup; only a person's own Markdown goes as `markdown`. Nothing that was sent can be changed.
"""

import asyncio
import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

from farwatch.bridges.base import (
    Address,
    Attachment,
    Caps,
    Condition,
    Field,
    Kind,
    Message,
    Outcome,
    Part,
    Rate,
    Receipt,
    Setup,
    split,
)
from farwatch.bridges.outward import Answer, Outward, Unreached, by_status, is_private
from farwatch.bridges.services.one_way import OneWay
from farwatch.bridges.services.wecom_files import file_name, is_picture, sendable
from farwatch.bridges.services.wecom_markdown import GUARD, pieces
from farwatch.errors import BridgeError

BASE = "https://qyapi.weixin.qq.com"
PATH = "/cgi-bin/webhook"
TEXT_MAX_BYTES, MARKDOWN_MAX_BYTES = 2_048, 4_096
PICTURE_MAX_BYTES = 2 << 20
FILE_MAX_BYTES = 20 << 20


class WecomWebhook(OneWay):
    """See `farwatch.bridges.base.Bridge`. The address of a message is of no account: a webhook is one group's."""

    sent = "what a webhook has sent"
    caps = Caps(
        text_max=TEXT_MAX_BYTES, unit="bytes", groups=True, picture_max_bytes=PICTURE_MAX_BYTES, file_max_bytes=FILE_MAX_BYTES,
        rates=(Rate(20, 60.0, "channel"),),
    )  # fmt: skip

    def __init__(self, setup: Setup) -> None:
        super().__init__(Condition(True, "ok", "a webhook is heard from only when something is sent"))
        self._base, self._key = _where(setup)
        self._outward = Outward(self._base, secrets=(self._key,))

    async def close(self) -> None:
        await self._outward.close()

    async def check(self) -> str:
        """Whether the address is one; only a message would tell whether its key is good."""
        return "WeCom group webhook"

    async def send(self, to: Address, message: Message) -> Receipt:
        attachments, left_out = sendable(message, PICTURE_MAX_BYTES, FILE_MAX_BYTES)
        beside = [one.caption for one in attachments if one.caption] + [f"({words})" for words in left_out]
        said = [*message.parts, *(Part(f"\n{words}") for words in beside)]
        bodies: list[dict[str, object]] = []
        if any(part.style == "markdown" for part in said):
            bodies += [{"msgtype": "markdown", "markdown": {"content": one}} for one in pieces(said, MARKDOWN_MAX_BYTES)]
        else:
            text = "".join(part.text for part in said).replace("<@", f"<{GUARD}@")  # which would be a mention
            bodies += [{"msgtype": "text", "text": {"content": one}} for one in split(text, TEXT_MAX_BYTES, "bytes") if one.strip()]
        sent = 0
        failed = None if bodies or attachments else Receipt(Outcome.REFUSED, reason="there is nothing to say")
        for body in bodies:
            if failed is None:
                failed = await self._post(body)
                sent += failed is None
        for one in attachments:
            if failed is None:
                failed = await self._attach(one)
                sent += failed is None
        if failed is not None:
            # Where a part has arrived, the rest is not worth saying that part again.
            return Receipt(Outcome.SENT, reason=f"not all of it: {failed.reason}") if sent else failed
        return Receipt(Outcome.SENT, reason="; ".join(left_out))

    async def _post(self, body: dict[str, object]) -> Receipt | None:
        """Send one message; None when it was sent."""
        try:
            answer = await self._outward.ask("POST", f"{self._base}{PATH}/send", params={"key": self._key}, json=body)
        except Unreached as error:
            return error.receipt
        return self._failure(answer)

    async def _attach(self, one: Attachment) -> Receipt | None:
        try:
            content = await asyncio.to_thread(one.read)
        except OSError as error:
            return Receipt(Outcome.REFUSED, reason=f"{one.name}: {error.strerror}")
        if is_picture(one):
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            return await self._post({"msgtype": "image", "image": {"base64": base64.b64encode(content).decode("ascii"), "md5": md5}})
        name = file_name(one)
        try:
            answer = await self._outward.ask(
                "POST", f"{self._base}{PATH}/upload_media", params={"key": self._key, "type": "file"},
                files={"media": (name, content, "application/octet-stream")},
            )  # fmt: skip
        except Unreached as error:
            return Receipt(error.receipt.outcome, reason=f"{name}: {error.receipt.reason}")
        return self._failure(answer) or await self._post({"msgtype": "file", "file": {"media_id": answer.json().get("media_id")}})

    def _failure(self, answer: Answer) -> Receipt | None:
        """What an answer means; None for success."""
        found = answer.json()
        code = found.get("errcode")
        if answer.status != 200:
            return by_status(answer, f"WeCom answered with status {answer.status}")
        if not isinstance(code, int):
            return Receipt(Outcome.UNSURE, reason="the answer is none of WeCom's")
        reason = self._outward.clean(f"{found.get('errmsg') or 'no reason given'} ({code})")
        if code == 0:
            self._condition = Condition(True)
            return None
        if code == 45009:
            return Receipt(Outcome.LATER, reason=reason, retry_after_s=60.0)
        if code == 93000:
            self._condition = Condition(False, "revoked", f"the webhook is no longer valid, or its group is gone: {reason}")
            return Receipt(Outcome.REVOKED, reason=reason)
        return Receipt(Outcome.FAILED if code in (-1, 6000) else Outcome.REFUSED, reason=reason)


def _where(setup: Setup) -> tuple[str, str]:
    """The service's base address and the key, from either field. Raises `BridgeError`."""
    hint = "in the group: Group settings, Message push (消息推送), copy the webhook's address"
    url, key = setup.get("url"), setup.get("key")
    if not url:
        if not key:
            raise BridgeError("a WeCom webhook needs its address, or the key in it", hint=hint)
        return BASE, key
    parts = urlsplit(url)
    key = key or parse_qs(parts.query).get("key", [""])[0]
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_private(parts.hostname or ""))
    if not secure or parts.path != f"{PATH}/send" or not key:
        raise BridgeError(f"the address of a WeCom webhook is {BASE}{PATH}/send?key=…", hint=hint)
    return f"{parts.scheme}://{parts.netloc}", key


KIND = Kind(
    name="wecom-webhook",
    title="WeCom group webhook 企业微信消息推送",
    fields=(
        Field("url", "the webhook's address, as WeCom shows it", secret=True),
        Field("key", "or only the key at its end", secret=True),
    ),
    make=WecomWebhook,
    chats=lambda values: ("group",),
    steps=(
        "In the group, open Group settings, Message push (消息推送), add one.",
        "Copy its address. Whoever has it can write into the group.",
    ),
)
