"""ntfy, outgoing: push to a phone without an account, by ntfy.sh or a server of one's own.

Whoever knows a topic can read it and write to it, so it is kept like a password and goes in bodies rather than in addresses where that can
be. Nothing that was sent is changed: only servers from 2.16 on can, and older ones would post it anew without a word.
"""

import base64
import re
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
    split,
)
from farwatch.bridges.outward import Answer, Outward, Unreached, by_status, web_address
from farwatch.bridges.services.carried import Carried, attached, carried, whole, with_lines
from farwatch.bridges.services.one_way import OneWay
from farwatch.bridges.services.slices import SLICES_MAX, beginning, lengthy, text_of
from farwatch.errors import BridgeError

HOME = "https://ntfy.sh"
TEXT_MAX_BYTES = 4_096
OPEN_FILE_MAX_BYTES, OWN_FILE_MAX_BYTES = 2_000_000, 15_000_000  # of ntfy.sh, and what other servers begin with
QUIET, USUAL = 2, 3  # priorities: 2 makes neither sound nor vibration
DAY_IS_FULL = frozenset({42905, 42908})  # of messages or attachments: waiting seconds is of no use
CHAT = "topic"
_TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")
_GUARD = "\u200b"  # keeps a backslash and an `n` apart, which in a header are a new line


class NtfyBridge(OneWay):
    """See `farwatch.bridges.base.Bridge`. The address of a message is of no account: a channel is one topic."""

    sent = "what ntfy has shown"

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        private = setup.get("private") == "yes"
        self._base = web_address(setup.get("url", HOME), HOME, private=private)
        self._topic, token = setup.get("topic").strip(), setup.get("token").strip()
        if not _TOPIC.fullmatch(self._topic):
            raise BridgeError("a topic of ntfy has 1 to 64 letters, digits, hyphens and underscores", hint="one that nobody guesses")
        if not re.fullmatch(r"[\w-]*", token, re.ASCII):
            raise BridgeError("this is no access token of ntfy", hint="it begins with tk_: Account, Access tokens")
        self._file_max = OPEN_FILE_MAX_BYTES if self._base == HOME else OWN_FILE_MAX_BYTES
        self.caps = Caps(
            text_max=TEXT_MAX_BYTES, unit="bytes", silent=True, picture_max_bytes=self._file_max, file_max_bytes=self._file_max,
            rates=(Rate(60, 300.0, "channel"),),
        )  # fmt: skip
        self._head = {"Authorization": f"Bearer {token}"} if token else {}
        self._outward = Outward(self._base, secrets=(self._topic, token), private=private)

    async def close(self) -> None:
        await self._outward.close()

    async def check(self) -> str:
        """Whether the server is one of ntfy and takes the token; whether the topic may be written to, only a message tells."""
        receipt, found = await self._request("GET", "/v1/health")
        if receipt.outcome is not Outcome.SENT or found.get("healthy") is not True:
            reason = receipt.reason or "something else answered"
            raise BridgeError(f"no server of ntfy is at `url`: {reason}", hint=f"leave it out for {HOME}")
        if self._head:
            receipt, found = await self._request("GET", "/v1/account")
            if receipt.outcome is not Outcome.SENT:
                raise BridgeError(f"ntfy does not take the token: {receipt.reason}", hint="in ntfy: Account, Access tokens")
            return f"{found.get('username') or 'a user'} of {self._base.partition('://')[2]}"
        return f"a topic of {self._base.partition('://')[2]}"

    async def send(self, to: Address, message: Message) -> Receipt:
        files, lines = await carried(message, self._file_max)
        parts = with_lines(message.parts, [*(one.caption for one in attached(message)), *lines])
        if files and not text_of(parts).strip():
            parts = (Part(files[0].name),)
        if lengthy(parts, TEXT_MAX_BYTES):
            parts = beginning(parts, TEXT_MAX_BYTES * SLICES_MAX)
        texts = [one for one in split(whole(text_of(parts)), TEXT_MAX_BYTES, "bytes") if one.strip()]
        # The picture goes with the last words, which are then the newest notification.
        posts: list[tuple[str, Carried | None]] = [(one, None) for one in texts[:-1]]
        posts += [(texts[-1] if texts else "", files[0] if files else None)]
        posts += [(one.name, one) for one in files[1:]]
        ids: list[str] = []
        for text, file in posts:
            if not text:
                return Receipt(Outcome.REFUSED, reason="there is nothing to say")
            receipt = await self._post(text, file, message.silent or bool(ids))
            if file is not None and receipt.outcome is Outcome.REFUSED:
                lines.append(f"without {file.name}: {receipt.reason}")  # a picture that is no good must not cost the words
                receipt = await self._post(text, None, message.silent or bool(ids))
            if receipt.outcome is not Outcome.SENT:
                # Asking again would repeat what has arrived.
                return Receipt(Outcome.SENT, tuple(ids), f"not all of it: {receipt.reason}") if ids else receipt
            ids += receipt.message_ids
        return Receipt(Outcome.SENT, tuple(ids), "; ".join(lines))

    async def _post(self, text: str, file: Carried | None, silent: bool) -> Receipt:
        priority = QUIET if silent else USUAL
        if file is None:
            body = {"topic": self._topic, "message": text, "priority": priority}
            receipt, found = await self._request("POST", "", json=body)
        else:
            said = re.sub(r"\\(?=n)", f"\\\\{_GUARD}", text).replace("\n", "\\n")
            head = {"X-Message": _header(said), "X-Filename": _header(file.name), "X-Priority": str(priority)}
            receipt, found = await self._request("PUT", f"/{self._topic}", content=file.content, headers=head)
        if receipt.outcome is not Outcome.SENT:
            return receipt
        if not isinstance(found.get("id"), str):
            return Receipt(Outcome.UNSURE, reason="the answer is none of ntfy's")
        return Receipt(Outcome.SENT, (found["id"],))

    async def _request(self, method: str, path: str, **what: Any) -> tuple[Receipt, dict[str, Any]]:
        """One request: what became of it, and ntfy's answer."""
        head = {**self._head, **what.pop("headers", {})}
        try:
            answer = await self._outward.ask(method, f"{self._base}{path or '/'}", headers=head, **what)
        except Unreached as error:
            return error.receipt, {}
        found = answer.json()
        receipt = self._receipt(answer, found)
        self._learn(receipt, "ntfy does not take it any more")
        return receipt, found

    def _receipt(self, answer: Answer, found: dict[str, Any]) -> Receipt:
        if answer.status < 300:
            return Receipt(Outcome.SENT) if found else Receipt(Outcome.UNSURE, reason="the answer is none of ntfy's")
        code, said = found.get("code"), found.get("error")
        reason = self._outward.clean(f"{said} ({code})" if said else f"ntfy answered with status {answer.status}")
        if code in DAY_IS_FULL:
            return Receipt(Outcome.REFUSED, reason=reason)
        if answer.status == 429:
            return Receipt(Outcome.LATER, reason=reason, retry_after_s=answer.retry_after_s or 10.0)
        return by_status(answer, reason, revoked=(401, 403), gone=(404, 410))


def _header(text: str) -> str:
    """A text as a header may hold it: one encoded word (RFC 2047) where it is more than printable ASCII, which ntfy decodes."""
    if text.isascii() and text.isprintable() and "=?" not in text:
        return text.strip()
    return f"=?utf-8?b?{base64.b64encode(text.encode()).decode('ascii')}?="


KIND = Kind(
    name="ntfy",
    title="ntfy",
    fields=(
        Field("topic", "a name that nobody guesses, such as runs-x7Qm29fKd: whoever knows it can read along", secret=True, required=True),
        Field("token", "an access token (tk_…), where the topic is reserved or the server asks for one", secret=True),
        Field("url", "a server of your own", default=HOME),
        Field("private", "`yes` if the name of your server leads to a private address"),
    ),
    make=NtfyBridge,
    steps=(
        "Install the ntfy app on your phone: https://ntfy.sh has the links.",
        "Press +, and subscribe to a topic with a long name that nobody guesses. On ntfy.sh nothing else protects it.",
        "Type the same name here. On a server of your own, make an access token and give it here too.",
    ),
    chats=lambda values: (CHAT,),
)
