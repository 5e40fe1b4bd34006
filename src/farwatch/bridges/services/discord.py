"""Discord, outgoing: by a channel's webhook, without a bot, or by a bot; either way messages edit themselves and carry pictures and files.

Nobody is called by anything that is sent (`allowed_mentions` is empty), and links unfold only where a message asks for it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from farwatch.bridges.base import (
    Address,
    Caps,
    Condition,
    Field,
    Kind,
    Message,
    Outcome,
    Rate,
    Receipt,
    Setup,
    chats_named,
)
from farwatch.bridges.outward import Answer, Outward, Unreached, is_private, web_address
from farwatch.bridges.services.carried import Carried, attached, carried, with_lines
from farwatch.bridges.services.discord_text import rendered, units
from farwatch.bridges.services.one_way import OneWay
from farwatch.bridges.services.slices import beginning, lengthy, slices, text_of
from farwatch.errors import BridgeError
from farwatch.version import VERSION

HOME = "https://discord.com/api/v10"
AGENT = f"DiscordBot (farwatch, {VERSION})"  # the form that Discord asks of every client
TEXT_MAX = 2_000
FILE_MAX_BYTES = 10 << 20
FILES_MAX, TOGETHER_MAX_BYTES = 10, 20 << 20  # of one message
SUPPRESS_EMBEDS, SUPPRESS_NOTIFICATIONS = 1 << 2, 1 << 12
WEBHOOK_CHAT = "webhook"
_HOOK = re.compile(r"(?P<base>/api(?:/v\d+)?)/webhooks/(?P<path>\d+/(?P<token>[\w-]+))/?")
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")
_ID = re.compile(r"\d{1,20}")
_GONE = frozenset({10003, 10004, 10008, 10015, 50001, 50005, 50007, 50013, 50083, 160005})
_ADVICE = {
    50001: "the bot must be a member of the server and see the channel",
    50013: "the bot needs the right to write here, and to attach files",
    10015: "the webhook was deleted: make a new one",
}


class DiscordBridge(OneWay):
    """See `farwatch.bridges.base.Bridge`. A topic is the id of a thread."""

    caps = Caps(
        text_max=TEXT_MAX, edit=True, edit_every_s=5.0, delete=True, groups=True, silent=True, picture_max_bytes=FILE_MAX_BYTES,
        file_max_bytes=FILE_MAX_BYTES, rates=(Rate(5, 5.0, "chat"),),
    )  # fmt: skip

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        token = setup.get("token").strip().removeprefix("Bot ")
        self._thread = ""
        if token:
            if not _TOKEN.fullmatch(token):
                raise BridgeError("this is no token of a Discord bot", hint="it has three parts with dots between: Bot, Reset Token")
            for chat in setup.many("chat"):
                if not re.fullmatch(r"\d{1,20}(/\d{1,20})?", chat):
                    raise BridgeError(f"this is no channel of Discord: `{chat[:60]}`", hint="its id is a number of 17 digits or more")
            if not setup.many("chat"):
                raise BridgeError("a Discord bot needs `chat`: the ids of channels", hint="Developer Mode on, then Copy Channel ID")
            self._base, self._hook, secret = web_address(setup.get("url", HOME), HOME), "", token
        else:
            self._base, self._hook, secret, self._thread = _webhook(setup.get("webhook").strip())
        self._head = {"User-Agent": AGENT, **({"Authorization": f"Bot {token}"} if token else {})}
        self._outward = Outward(self._base, secrets=(secret,))
        self._clock = setup.clock
        self._held_us: dict[tuple[str, str], int] = {}  # method and chat -> when Discord takes the next one

    async def close(self) -> None:
        await self._outward.close()

    async def check(self) -> str:
        receipt, found = await self._request("GET", f"/webhooks/{self._hook}" if self._hook else "/users/@me", ("GET", ""))
        if receipt.outcome is not Outcome.SENT:
            hint = "channel settings, Integrations, Webhooks, Copy Webhook URL" if self._hook else "your app, Bot, Reset Token"
            raise BridgeError(f"Discord does not take it: {receipt.reason}", hint=hint)
        return f"the webhook {found.get('name')}" if self._hook else f"@{found.get('username')}"

    async def send(self, to: Address, message: Message) -> Receipt:
        files, lines = await carried(message, FILE_MAX_BYTES)
        parts = with_lines(message.parts, [*(one.caption for one in attached(message)), *lines])
        if lengthy(parts, TEXT_MAX):
            files.append(Carried("message.txt", "text/plain", text_of(parts).encode("utf-8", "replace")[:FILE_MAX_BYTES], "", False))
            parts = beginning(parts, TEXT_MAX * 3 // 4)
        contents = [rendered(one) for one in slices(parts, TEXT_MAX, units)]
        groups = _grouped(files)
        posts = [(content, list[Carried]()) for content in contents[:-1]]
        posts += [(contents[-1] if contents else "", groups[0] if groups else [])]
        posts += [("", group) for group in groups[1:]]
        flags = (0 if message.preview else SUPPRESS_EMBEDS) | (SUPPRESS_NOTIFICATIONS if message.silent else 0)
        ids: list[str] = []
        for content, group in posts:
            if not content and not group:
                return Receipt(Outcome.REFUSED, reason="there is nothing to say")
            body = {"content": content, "allowed_mentions": {"parse": []}, "flags": flags}
            if not ids and message.reply_to and _ID.fullmatch(message.reply_to) and not self._hook:
                body["message_reference"] = {"message_id": message.reply_to, "fail_if_not_exists": False}
            receipt = await self._post(to, body, group)
            if receipt.outcome is Outcome.REFUSED and group and content:  # a picture that is no good must not cost the words
                lines.append(f"without {', '.join(one.name for one in group)}: {receipt.reason}")
                receipt = await self._post(to, body, [])
            if receipt.outcome is not Outcome.SENT:
                # Asking again would repeat what has arrived.
                return Receipt(Outcome.SENT, tuple(ids), f"not all of it: {receipt.reason}") if ids else receipt
            ids += receipt.message_ids
            flags |= SUPPRESS_NOTIFICATIONS  # a phone rings once
        return Receipt(Outcome.SENT, tuple(ids), "; ".join(lines))

    async def edit(self, to: Address, message_id: str, message: Message) -> Receipt:
        if not _ID.fullmatch(message_id):
            return Receipt(Outcome.REFUSED, reason="this is no message of Discord")
        files, lines = await carried(message, FILE_MAX_BYTES)  # what the message had is replaced, unless there is nothing new
        parts = with_lines(message.parts, [*(one.caption for one in attached(message)), *lines])
        said = next(iter(slices(parts, TEXT_MAX, units)), ())
        body = {"content": rendered(said), "allowed_mentions": {"parse": []}, "flags": 0 if message.preview else SUPPRESS_EMBEDS}
        groups = _grouped(files)
        path, params = self._messages(to, message_id)
        receipt, _ = await self._request("PATCH", path, ("PATCH", str(to)), body, groups[0] if groups else (), params)
        return Receipt(Outcome.SENT, (message_id,)) if receipt.outcome is Outcome.SENT else receipt

    async def delete(self, to: Address, message_id: str) -> Receipt:
        if not _ID.fullmatch(message_id):
            return Receipt(Outcome.REFUSED, reason="this is no message of Discord")
        path, params = self._messages(to, message_id)
        return (await self._request("DELETE", path, ("DELETE", str(to)), params=params))[0]

    def _messages(self, to: Address, message_id: str = "") -> tuple[str, dict[str, str]]:
        """The path and the query of a conversation, or of one message in it."""
        if not self._hook:  # a thread is a channel of its own
            return f"/channels/{to.topic or to.chat}/messages" + (f"/{message_id}" if message_id else ""), {}
        thread = to.topic or self._thread
        query = {"thread_id": thread} if thread else {}
        if message_id:
            return f"/webhooks/{self._hook}/messages/{message_id}", query
        return f"/webhooks/{self._hook}", {"wait": "true", **query}  # without `wait` nobody learns the message's id

    async def _post(self, to: Address, body: Mapping[str, Any], files: Sequence[Carried]) -> Receipt:
        path, params = self._messages(to)
        receipt, found = await self._request("POST", path, ("POST", str(to)), body, files, params)
        if receipt.outcome is not Outcome.SENT:
            return receipt
        if not isinstance(found.get("id"), str):
            return Receipt(Outcome.UNSURE, reason="the answer is none of Discord's")
        return Receipt(Outcome.SENT, (found["id"],))

    async def _request(
        self, method: str, path: str, bucket: tuple[str, str], body: Mapping[str, Any] | None = None,
        files: Sequence[Carried] = (), params: Mapping[str, str] | None = None,
    ) -> tuple[Receipt, Mapping[str, Any]]:  # fmt: skip
        """One request: what became of it, and Discord's answer."""
        wait_us = max(self._held_us.get(bucket, 0), self._held_us.get(("", ""), 0)) - self._clock.mono_us()
        if wait_us > 0:
            return Receipt(Outcome.LATER, reason="Discord takes no more at the moment", retry_after_s=wait_us / 1e6), {}
        what: dict[str, Any] = {"params": dict(params)} if params else {}
        if files:
            listed = [{"id": place, "filename": one.name} for place, one in enumerate(files)]
            what["data"] = {"payload_json": json.dumps({**(body or {}), "attachments": listed})}
            what["files"] = {f"files[{place}]": (one.name, one.content, one.media_type) for place, one in enumerate(files)}
        elif body is not None:
            what["json"] = dict(body)
        try:
            answer = await self._outward.ask(method, f"{self._base}{path}", headers=self._head, **what)
        except Unreached as error:
            return error.receipt, {}
        found = answer.json()
        receipt = self._receipt(answer, found, bucket)
        if receipt.outcome is Outcome.SENT:
            self._condition = Condition(True)
        elif receipt.outcome is Outcome.REVOKED or found.get("code") == 10015:
            self._condition = Condition(False, "revoked", f"Discord does not take it any more: {receipt.reason}")
        return receipt, found

    def _receipt(self, answer: Answer, found: Mapping[str, Any], bucket: tuple[str, str]) -> Receipt:
        now_us, status = self._clock.mono_us(), answer.status
        if status == 429:
            given = found.get("retry_after")
            wait_s = float(given) if isinstance(given, int | float) else answer.retry_after_s or 60.0
            if found.get("global"):
                self._held_us["", ""] = now_us + int(wait_s * 1e6)
            return Receipt(Outcome.LATER, reason="Discord asks to wait", retry_after_s=max(0.1, wait_s))
        if answer.headers.get("x-ratelimit-remaining") == "0":  # the next one would be refused, and refusals are counted
            try:
                self._held_us[bucket] = now_us + int(float(answer.headers.get("x-ratelimit-reset-after", "0")) * 1e6)
            except ValueError:
                pass
        if status < 300:
            told = bool(found) or status == 204
            return Receipt(Outcome.SENT) if told else Receipt(Outcome.UNSURE, reason="the answer is none of Discord's")
        code = found.get("code")
        if status >= 500 or not isinstance(code, int) or "message" not in found:
            reason = "Discord has trouble" if status >= 500 else "something answered that is not Discord"
            outcome = Outcome.REFUSED if status == 413 else Outcome.FAILED
            return Receipt(outcome, reason=f"{reason}: status {status}", retry_after_s=answer.retry_after_s)
        advice = f": {_ADVICE[code]}" if code in _ADVICE else ""
        reason = self._outward.clean(f"{found['message']} ({code}){advice}")
        if status == 401:
            return Receipt(Outcome.REVOKED, reason=reason)
        return Receipt(Outcome.GONE if code in _GONE else Outcome.REFUSED, reason=reason)


def _grouped(files: list[Carried]) -> list[list[Carried]]:
    """Files as messages take them."""
    groups: list[list[Carried]] = []
    for one in files:
        last = groups[-1] if groups else []
        if not last or len(last) == FILES_MAX or sum(len(other.content) for other in last) + len(one.content) > TOGETHER_MAX_BYTES:
            groups.append([one])
        else:
            last.append(one)
    return groups


def _webhook(given: str) -> tuple[str, str, str, str]:
    """The base address, `id/token`, the token, and the thread of a webhook. Raises `BridgeError`."""
    example, hint = "https://discord.com/api/webhooks/…/…", "channel settings, Integrations, Webhooks, Copy Webhook URL"
    if not given:
        raise BridgeError("Discord needs `webhook`, or `token` and `chat`", hint=hint)
    parts = urlsplit(web_address(given, example))
    host, found = parts.hostname or "", _HOOK.fullmatch(parts.path)
    if found is None or not (host.endswith(("discord.com", "discordapp.com")) or is_private(host)):
        raise BridgeError(f"the address of a Discord webhook is {example}", hint=hint)
    thread = parse_qs(parts.query).get("thread_id", [""])[0]
    return f"{parts.scheme}://{parts.netloc}/api/v10", found["path"], found["token"], thread if _ID.fullmatch(thread) else ""


KIND = Kind(
    name="discord",
    title="Discord",
    fields=(
        Field("webhook", "a channel's webhook address; with ?thread_id=… it writes into that thread", secret=True),
        Field("token", "or a bot's token", secret=True),
        Field("chat", "with a token: ids of channels, separated by commas"),
        Field("url", "the REST API's address", default=HOME),
    ),
    make=DiscordBridge,
    steps=(
        "Open the channel's settings, Integrations, Webhooks, and press New Webhook.",
        "Press Copy Webhook URL and paste it here. Whoever has it can write into the channel.",
        "With a bot instead: https://discord.com/developers/applications, New Application, Bot, Reset Token; then OAuth2, URL Generator, "
        "bot, with Send Messages and Attach Files, and open that address to invite it.",
    ),
    chats=lambda values: chats_named(values) if values.get("token") else (WEBHOOK_CHAT,),
)
