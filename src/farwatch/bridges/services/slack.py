"""Slack, outgoing: with a bot's token messages that edit themselves, pictures and files; with an incoming webhook text alone.

Nothing is written in Slack's notation (see `slack_text`), and links unfold only where a message asks for it.
"""

import re
from collections.abc import Mapping
from typing import Any

from farwatch.bridges.base import (
    Address,
    Caps,
    Field,
    Kind,
    Message,
    Outcome,
    Part,
    Rate,
    Receipt,
    Setup,
    chats_named,
)
from farwatch.bridges.outward import Answer, Outward, Unreached, by_status, is_private, web_address
from farwatch.bridges.services.carried import Carried, attached, carried, file_name, with_lines
from farwatch.bridges.services.one_way import OneWay
from farwatch.bridges.services.slack_text import blocks, fallback, units
from farwatch.bridges.services.slices import SLICES_MAX, beginning, lengthy, slices, text_of
from farwatch.errors import BridgeError

HOME = "https://slack.com/api"
TEXT_MAX = 3_000  # of rich text; longer ones have been refused as `msg_blocks_too_long`
FILE_MAX_BYTES = 50_000_000  # Slack takes more; we hold a file in memory
BUSY_S = 30.0  # where Slack does not say how long
WEBHOOK_CHAT = "webhook"
CHAT_HINT = "a channel's id such as C0123456789, or its name such as #runs"
WEBHOOK_CAPS = Caps(text_max=TEXT_MAX, groups=True, rates=(Rate(1, 1.0, "channel"),))
BOT_CAPS = Caps(
    text_max=TEXT_MAX, edit=True, edit_every_s=2.0, delete=True, groups=True, picture_max_bytes=FILE_MAX_BYTES,
    file_max_bytes=FILE_MAX_BYTES, rates=(Rate(1, 1.0, "chat"),),
)  # fmt: skip
_TOKEN = re.compile(r"xox[a-z]-[A-Za-z0-9-]+|xox[a-z]\.[A-Za-z0-9.-]+")
_CHAT = re.compile(r"[#@]?[\w.-]+(/\d+\.\d+)?")
_ID = re.compile(r"[CGD][A-Z0-9]{6,}")
_POST, _FILE = re.compile(r"\d+\.\d+"), re.compile(r"F[A-Z0-9]+")
_OUTCOMES = {
    Outcome.REVOKED: "invalid_auth not_authed token_revoked token_expired account_inactive org_login_required missing_scope no_permission "
    "not_allowed_token_type access_denied ekm_access_denied team_access_not_granted invalid_token no_service no_active_hooks no_team",
    Outcome.GONE: "channel_not_found not_in_channel is_archived channel_is_archived message_not_found cant_update_message "
    "edit_window_closed cant_delete_message thread_not_found user_not_found is_inactive restricted_action "
    "restricted_action_read_only_channel file_not_found file_deleted action_prohibited "
    "posting_to_general_channel_denied cannot_dm_bot messages_tab_disabled",
    Outcome.LATER: "ratelimited rate_limited message_limit_exceeded",
    Outcome.FAILED: "internal_error fatal_error service_unavailable request_timeout team_added_to_org rollup_error",
}
_MEANING = {word: outcome for outcome, words in _OUTCOMES.items() for word in words.split()}
_ADVICE = {
    "not_in_channel": "write /invite and the bot's name in the channel",
    "channel_not_found": "the channel's id is at the end of its details; a private channel must invite the bot first",
    "missing_scope": "give the app chat:write and files:write, then install it again",
    "invalid_auth": "copy the Bot User OAuth Token anew",
}


class SlackBridge(OneWay):
    """See `farwatch.bridges.base.Bridge`. A topic is the `ts` of the message that a thread hangs on.

    The ids of a message are its `ts`, then those of its files; `delete` takes either.
    """

    sent = "what a Slack webhook has sent"

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        token, webhook = setup.get("token").strip(), setup.get("webhook").strip()
        if not token:
            self._api = self._webhook = _webhook(webhook)
        else:
            if not _TOKEN.fullmatch(token):
                raise BridgeError("this is no token of a Slack bot", hint="it begins with xoxb-: OAuth & Permissions, Bot User OAuth Token")
            if not setup.many("chat"):
                raise BridgeError("a Slack bot needs `chat`: where it writes to", hint=CHAT_HINT)
            for chat in setup.many("chat"):
                if not _CHAT.fullmatch(chat):
                    raise BridgeError(f"this is no channel of Slack: `{chat[:60]}`", hint=CHAT_HINT)
            self._api, self._webhook = web_address(setup.get("url", HOME), HOME), ""
        self.caps = WEBHOOK_CAPS if self._webhook else BOT_CAPS
        self._auth = {"Authorization": f"Bearer {token}"}
        self._outward = Outward(self._api, secrets=(token, self._webhook, self._webhook.rpartition("/")[2]))
        self._memory = setup.memory
        ids = setup.memory.load().get("ids")
        self._ids: dict[str, str] = dict(ids) if isinstance(ids, dict) else {}  # name of a channel, or a person -> what edits need

    async def close(self) -> None:
        await self._outward.close()

    async def check(self) -> str:
        if self._webhook:
            return "a Slack webhook"  # only a message would tell whether it is good
        receipt, body = await self._ask("auth.test", {})
        if receipt.outcome is not Outcome.SENT:
            raise BridgeError(f"Slack does not take it: {receipt.reason}", hint="OAuth & Permissions, Bot User OAuth Token (xoxb-…)")
        return f"@{body.get('user')} in {body.get('team')}"

    async def send(self, to: Address, message: Message) -> Receipt:
        parts, files, lines = message.parts, list[Carried](), list[str]()
        if self._webhook:
            lines = [f"({file_name(one)})" for one in message.files]  # a picture only shows what the words say
        else:
            files, lines = await carried(message, FILE_MAX_BYTES)
        parts = with_lines(parts, [*(one.caption for one in attached(message)), *lines])
        if files and not text_of(parts).strip():
            parts = (Part(", ".join(one.name for one in files)),)
        if lengthy(parts, TEXT_MAX):
            if not self._webhook:
                files.append(Carried("message.txt", "text/plain", text_of(parts).encode("utf-8", "replace"), "", False))
            parts = beginning(parts, TEXT_MAX if files else SLICES_MAX * TEXT_MAX)
        said = slices(parts, TEXT_MAX, units)
        if not said:
            return Receipt(Outcome.REFUSED, reason="there is nothing to say")
        ids: list[str] = []
        for place, one in enumerate(said):
            receipt = await self._post(to, one, message.preview)
            if receipt.outcome is not Outcome.SENT:
                # Asking again would repeat what has arrived.
                return Receipt(Outcome.SENT, tuple(ids), f"not all of it: {receipt.reason}") if place else receipt
            ids += receipt.message_ids
        if files:
            shared = await self._share(to, files)
            ids += shared.message_ids
            if shared.outcome is not Outcome.SENT:
                lines.append(f"without {', '.join(one.name for one in files)}: {shared.reason}")
        return Receipt(Outcome.SENT, tuple(ids), "; ".join(lines))

    async def edit(self, to: Address, message_id: str, message: Message) -> Receipt:
        if self._webhook:
            return await super().edit(to, message_id, message)
        if not _POST.fullmatch(message_id):
            return Receipt(Outcome.REFUSED, reason="this is no message of Slack with words")
        parts = beginning(message.parts, TEXT_MAX)
        while units(parts) > TEXT_MAX:  # emoji count twice
            parts = beginning(parts, len(text_of(parts)) * 4 // 5)
        receipt, _ = await self._ask("chat.update", {"channel": self._id(to), "ts": message_id, **_said(parts)})
        return Receipt(Outcome.SENT, (message_id,)) if receipt.outcome is Outcome.SENT else receipt

    async def delete(self, to: Address, message_id: str) -> Receipt:
        if self._webhook:
            return await super().delete(to, message_id)
        if _FILE.fullmatch(message_id):
            return (await self._ask("files.delete", {"file": message_id}))[0]
        return (await self._ask("chat.delete", {"channel": self._id(to), "ts": message_id}))[0]

    def _id(self, to: Address) -> str:
        return self._ids.get(to.chat, to.chat)

    async def _post(self, to: Address, parts: tuple[Part, ...], preview: bool) -> Receipt:
        body = {**_said(parts), "unfurl_links": preview, "unfurl_media": preview}
        if self._webhook:
            return (await self._request(self._webhook, body))[0]
        thread = {"thread_ts": to.topic} if to.topic else {}
        receipt, answer = await self._ask("chat.postMessage", {"channel": to.chat, **body, **thread})
        if receipt.outcome is not Outcome.SENT:
            return receipt
        ts, channel = answer.get("ts"), answer.get("channel")
        if not isinstance(ts, str) or not isinstance(channel, str):
            return Receipt(Outcome.UNSURE, reason="the answer is none of Slack's")
        if channel != to.chat and self._ids.get(to.chat) != channel:
            self._ids[to.chat] = channel
            self._memory.save({"ids": self._ids})
        return Receipt(Outcome.SENT, (ts,))

    async def _share(self, to: Address, files: list[Carried]) -> Receipt:
        """Upload files and show them in one message."""
        uploaded: list[dict[str, str]] = []
        for one in files:
            form = {"filename": one.name, "length": str(len(one.content))}
            receipt, answer = await self._ask("files.getUploadURLExternal", form, form=True)
            if receipt.outcome is not Outcome.SENT:
                return receipt
            url, file_id = str(answer.get("upload_url")), str(answer.get("file_id"))
            try:  # the address is the permission: no token goes there
                stored = await self._outward.ask("POST", url, content=one.content, headers={"Content-Type": "application/octet-stream"})
            except Unreached as error:
                return error.receipt
            if stored.status != 200:
                return by_status(stored, f"Slack's store answered with status {stored.status}")
            uploaded.append({"id": file_id, "title": one.name})
        thread = {"thread_ts": to.topic} if to.topic else {}
        receipt, _ = await self._ask("files.completeUploadExternal", {"files": uploaded, "channel_id": self._id(to), **thread})
        ids = tuple(one["id"] for one in uploaded)
        return Receipt(Outcome.SENT, ids) if receipt.outcome is Outcome.SENT else receipt

    async def _ask(self, method: str, body: Mapping[str, Any], *, form: bool = False) -> tuple[Receipt, Mapping[str, Any]]:
        return await self._request(f"{self._api}/{method}", body, form=form)

    async def _request(self, url: str, body: Mapping[str, Any], *, form: bool = False) -> tuple[Receipt, Mapping[str, Any]]:
        """One request: what became of it, and Slack's answer."""
        try:
            what: dict[str, Any] = {"data": dict(body)} if form else {"json": dict(body)}
            answer = await self._outward.ask("POST", url, headers={} if self._webhook else self._auth, **what)
        except Unreached as error:
            return error.receipt, {}
        found = answer.json()
        receipt = self._receipt(answer, found)
        self._learn(receipt, "Slack does not take it any more")
        return receipt, found

    def _receipt(self, answer: Answer, found: Mapping[str, Any]) -> Receipt:
        if found.get("ok") is True or (self._webhook and answer.status == 200 and answer.body.strip() == b"ok"):
            return Receipt(Outcome.SENT)
        word = str(found.get("error") or "") if not self._webhook else answer.body[:100].decode("utf-8", "replace").strip()
        reason = self._outward.clean(f"{word}: {_ADVICE[word]}" if word in _ADVICE else word) or f"status {answer.status}"
        if answer.status == 429 or _MEANING.get(word) is Outcome.LATER:
            return Receipt(Outcome.LATER, reason="Slack asks to wait", retry_after_s=answer.retry_after_s or BUSY_S)
        if word in _MEANING:
            return Receipt(_MEANING[word], reason=reason)
        if answer.status >= 300:
            said = reason if re.fullmatch(r"\w+", word) else f"Slack answered with status {answer.status}"
            return by_status(answer, said, revoked=(401, 403))
        if not found.get("error"):
            return Receipt(Outcome.UNSURE, reason="the answer is none of Slack's")
        return Receipt(Outcome.REFUSED, reason=reason)


def _said(parts: tuple[Part, ...]) -> dict[str, Any]:
    return {"text": fallback(parts), "blocks": blocks(parts), "parse": "none", "link_names": False}


def _webhook(given: str) -> str:
    """The address of a webhook. Raises `BridgeError`."""
    example, hint = "https://hooks.slack.com/services/T…/B…/…", "Incoming Webhooks in your app's settings, Copy"
    if not given:
        raise BridgeError("Slack needs `webhook`, or `token` and `chat`", hint=hint)
    url = web_address(given, example)
    host = url.partition("://")[2].partition("/")[0].partition(":")[0]
    if "/services/" not in url or not (host.endswith((".slack.com", ".slack-gov.com")) or is_private(host)):
        raise BridgeError(f"the address of a Slack webhook is {example}", hint=hint)
    return url


KIND = Kind(
    name="slack",
    title="Slack",
    fields=(
        Field("webhook", "an incoming webhook's address: text alone, into its channel", secret=True),
        Field("token", "or a bot's token (xoxb-…): also pictures, files and a message that edits itself", secret=True),
        Field("chat", "with a token: where to write, ids such as C0123456789 or names such as #runs, separated by commas"),
        Field("url", "the Web API's address", default=HOME),
    ),
    make=SlackBridge,
    steps=(
        "Open https://api.slack.com/apps, press Create New App, From scratch, and choose your workspace.",
        "For text alone: Incoming Webhooks, switch on, Add New Webhook, choose a channel, and copy the address.",
        "For pictures and messages that edit themselves: OAuth & Permissions, Bot Token Scopes, add chat:write and files:write; Install to "
        "Workspace, and copy the Bot User OAuth Token.",
        "With a token, write /invite and the app's name in the channel; the channel's id is at the end of its details.",
    ),
    chats=lambda values: chats_named(values) if values.get("token") else (WEBHOOK_CHAT,),
)
