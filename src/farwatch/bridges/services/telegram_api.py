"""Requests to Telegram's Bot API, and what its answers mean.

Statuses and descriptions are those of core.telegram.org/bots/api and of the server's source (tdlib/telegram-bot-api): descriptions are
the only place where Telegram says what exactly was wrong.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from farwatch.bridges.base import Outcome, Receipt
from farwatch.bridges.outward import ANSWER_S, Answer, Outward, Unreached, is_private
from farwatch.bridges.services.telegram_text import whole
from farwatch.bridges.services.telegram_update import record
from farwatch.errors import BridgeError

HOME = "https://api.telegram.org"
_TOKEN = re.compile(r"[A-Za-z0-9_:-]+")
_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_GONE = re.compile(
    "chat not found|user not found|message to (edit|delete) not found|MESSAGE_ID_INVALID|message thread not found|TOPIC_(CLOSED|DELETED)"
    "|not enough rights|have no rights|need administrator rights|PEER_ID_INVALID|CHAT_(WRITE_FORBIDDEN|RESTRICTED|SEND_\\w+_FORBIDDEN)"
    "|group is deactivated|bot is not a member",
    re.IGNORECASE,
)

File = tuple[str, bytes, str]  # name, content, media type


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `status`: of HTTP, 0 where none came. `moved_to`: the new id of a group that has become a supergroup."""

    receipt: Receipt
    result: Any = None
    status: int = 0
    said: str = ""
    moved_to: str | None = None

    @property
    def unreadable(self) -> bool:
        """Whether Telegram could not read the markup."""
        return self.status == 400 and "can't parse entities" in self.said

    @property
    def other_kind(self) -> bool:
        """Whether the message to edit has no text, or no caption."""
        return self.status == 400 and "in the message to edit" in self.said


class Api:
    """The requests of one bot. *Threads*: one event loop. *Errors*: none of the service or the network is raised.

    `base`: of Telegram, a relay or a server of one's own. Raises `BridgeError` for an address or a token that cannot be right.
    """

    def __init__(self, token: str, base: str = HOME) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BridgeError("`url` is no http or https address", hint=f"leave it out for {HOME}")
        if parts.scheme == "http" and "." in parts.hostname and not is_private(parts.hostname):
            raise BridgeError("`url` would send the token through the open network", hint="use an https address")
        if not _TOKEN.fullmatch(token):
            raise BridgeError("this is no token of a Telegram bot", hint="@BotFather shows it: digits, a colon, 35 letters")
        self.bot_id = token.partition(":")[0]
        self._address = f"{base.rstrip('/')}/bot{token}"
        self._outward = Outward(base, secrets=(token, token.partition(":")[2]))

    async def close(self) -> None:
        """Close the connections; may be called twice."""
        await self._outward.close()

    async def ask(
        self, method: str, fields: Mapping[str, Any], files: Mapping[str, File] | None = None, answer_s: float = ANSWER_S
    ) -> Reply:
        """One request. `files`: sent as a form, then, by the name of their field."""
        try:
            if files:
                form = {name: whole(value) if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
                parts = {name: (whole(file), content, _type(kind)) for name, (file, content, kind) in files.items()}
                answer = await self._outward.ask("POST", f"{self._address}/{method}", data=form, files=parts, answer_s=answer_s)
            else:
                head = {"Content-Type": "application/json"}
                body = json.dumps(dict(fields)).encode("ascii")
                answer = await self._outward.ask(
                    "POST", f"{self._address}/{method}", content=body, headers=head, answer_s=answer_s
                )
        except Unreached as error:
            return Reply(error.receipt)
        return self._read(answer)

    def _read(self, answer: Answer) -> Reply:
        body = answer.json()
        if body.get("ok") is True and "result" in body and answer.status < 300:
            return Reply(Receipt(Outcome.SENT), body["result"], answer.status)
        said, more = self._outward.clean(str(body.get("description") or "")), record(body.get("parameters"))
        moved = more.get("migrate_to_chat_id")
        return Reply(
            _receipt(answer, said if body.get("ok") is False else "", more), None, answer.status, said,
            str(moved) if isinstance(moved, int) else None,
        )  # fmt: skip


def _receipt(answer: Answer, said: str, more: Mapping[str, Any]) -> Receipt:
    """What a refusal means. `said`: empty where the answer was none of Telegram's."""
    status = answer.status
    if status == 429:
        wait = more.get("retry_after")
        wait_s = float(wait) if isinstance(wait, int | float) else answer.retry_after_s or 5.0
        return Receipt(Outcome.LATER, reason=f"Telegram asks to wait {wait_s:g} s", retry_after_s=wait_s)
    if status >= 500:
        return Receipt(Outcome.FAILED, reason=f"Telegram has trouble: {said or status}", retry_after_s=answer.retry_after_s)
    if status == 413:
        return Receipt(Outcome.REFUSED, reason="too large for Telegram")
    if not said:
        # A success may have been one; a page of somebody's proxy was none.
        outcome = Outcome.UNSURE if status < 300 else Outcome.FAILED
        return Receipt(outcome, reason=f"something answered that is not Telegram (status {status})")
    if status in (401, 404):
        return Receipt(Outcome.REVOKED, reason=f"Telegram does not know this token: {said}")
    if status == 403 or _GONE.search(said):
        return Receipt(Outcome.GONE, reason=said)
    if "message is not modified" in said:
        return Receipt(Outcome.UNCHANGED)
    return Receipt(Outcome.FAILED if status == 409 else Outcome.REFUSED, reason=said)


def _type(media_type: str) -> str:
    return media_type if _TYPE.fullmatch(media_type) else "application/octet-stream"
