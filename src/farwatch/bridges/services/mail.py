"""E-mail by SMTP: the route that everybody has. Plain text, and below it, in HTML, the picture.

Mail programs show HTML in their own ways, so a person's own `markdown` or `html` is sent as it stands.
"""

import asyncio
import html
import re
from datetime import UTC, datetime
from email.headerregistry import Address as MailAddress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid, parseaddr

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
    shorten,
    split,
)
from farwatch.bridges.outward import is_private, resolved
from farwatch.bridges.services.carried import Carried, attached, carried, whole, with_lines
from farwatch.bridges.services.mail_smtp import EXAMPLE, Server, deliver
from farwatch.bridges.services.one_way import OneWay
from farwatch.bridges.services.slices import text_of
from farwatch.errors import BridgeError

TEXT_MAX = 100_000
FILE_MAX_BYTES, TOGETHER_MAX_BYTES = 10_000_000, 17_000_000  # many servers take 25 MB, of which a third is encoding
SUBJECT_MAX = 150
POLICY = SMTP.clone(cte_type="7bit")  # every server takes that
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_ID = re.compile(r"<[^<>\s]+@[^<>\s]+>")


class MailBridge(OneWay):
    """See `farwatch.bridges.base.Bridge`. A chat is one person's address; a message's id is its `Message-ID`."""

    sent = "a mail that was sent"
    caps = Caps(
        text_max=TEXT_MAX, picture_max_bytes=FILE_MAX_BYTES, file_max_bytes=FILE_MAX_BYTES, rates=(Rate(20, 60.0, "channel"),),
    )  # fmt: skip

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        name, sender = parseaddr(setup.get("from") or setup.get("user"))
        self._server = Server.of(setup.get("server"), setup.get("user"), setup.get("password"), setup.get("tls", "auto"))
        for one in (sender, *setup.many("to")):
            if not _ADDRESS.fullmatch(one):
                raise BridgeError(f"this is no address of a person: `{one[:60]}`", hint="`from` and `to` look like me@example.org")
        if not setup.many("to"):
            raise BridgeError("e-mail needs `to`: who is told", hint="addresses, separated by commas")
        self._from = MailAddress(_CONTROL.sub(" ", name), addr_spec=sender)
        self._private = setup.get("private") == "yes" or is_private(self._server.host)
        self._clock = setup.clock

    async def check(self) -> str:
        receipt = await self._hand(None, "")
        if receipt.outcome is not Outcome.SENT:
            raise BridgeError(f"the mail server does not take us: {receipt.reason}", hint=f"`server` looks like {EXAMPLE}")
        return f"{self._from.addr_spec} by {self._server.host}"

    async def send(self, to: Address, message: Message) -> Receipt:
        address = str(to)
        if not _ADDRESS.fullmatch(address):
            return Receipt(Outcome.GONE, reason="this is no address of a person")
        files, lines = await carried(message, FILE_MAX_BYTES)
        fitting, used = list[Carried](), 0
        for one in files:
            used += len(one.content)
            if used <= TOGETHER_MAX_BYTES:
                fitting.append(one)
            else:
                used -= len(one.content)
                lines.append(f"({one.name}: {len(one.content) / 1e6:,.1f} MB)")
        parts = with_lines(message.parts, [*(one.caption for one in attached(message)), *lines])
        text = _CONTROL.sub(" ", whole(text_of(parts)).replace("\r\n", "\n").replace("\r", "\n"))
        pieces = [one for one in split(text, TEXT_MAX) if one.strip()] or ([fitting[0].name] if fitting else [])
        ids: list[str] = []
        for place, piece in enumerate(pieces):
            last = place == len(pieces) - 1
            said = parts if len(pieces) == 1 else (Part(piece),)
            mail = self._mail(address, piece, said, fitting if last else [], (ids or [message.reply_to or ""])[0])
            receipt = await self._hand(mail, address)
            if receipt.outcome is not Outcome.SENT:
                # Asking again would repeat what has arrived.
                return Receipt(Outcome.SENT, tuple(ids), f"not all of it: {receipt.reason}") if ids else receipt
            ids += receipt.message_ids
        reason = "; ".join(lines)
        return Receipt(Outcome.SENT, tuple(ids), reason) if ids else Receipt(Outcome.REFUSED, reason=reason or "there is nothing to say")

    def _mail(self, to: str, text: str, parts: tuple[Part, ...], files: list[Carried], answers: str) -> EmailMessage:
        """One mail. A subject is one line whatever the text is, so no name can add a header."""
        mail = EmailMessage(POLICY)
        first = next((line for line in text.splitlines() if line.strip()), "")
        mail["Subject"] = shorten(" ".join(_CONTROL.sub(" ", first).split()), SUBJECT_MAX)
        mail["From"] = self._from
        mail["To"] = MailAddress(addr_spec=to)
        mail["Date"] = format_datetime(datetime.fromtimestamp(self._clock.wall_us() / 1e6, UTC))
        mail["Message-ID"] = make_msgid(domain=self._from.domain)
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence note answers
        if _ID.fullmatch(answers):
            mail["In-Reply-To"] = mail["References"] = answers
        mail.set_content(text)
        shown = [one for one in files if one.picture]
        if shown:
            ids = [make_msgid(domain=self._from.domain) for _ in shown]
            mail.add_alternative(_page(parts, ids), subtype="html")
            page = mail.get_payload()[1]  # type: ignore[index]
            for one, content_id in zip(shown, ids, strict=True):
                top, sub = one.media_type.split("/")
                page.add_related(one.content, top, sub, cid=content_id, filename=one.name, disposition="inline")  # type: ignore[union-attr]
        for one in files:
            if not one.picture:
                top, sub = one.media_type.split("/")
                if top in ("text", "message", "multipart"):  # as bytes, whatever is in it
                    top, sub = "application", "octet-stream"
                mail.add_attachment(one.content, top, sub, filename=one.name)
        return mail

    async def _hand(self, mail: EmailMessage | None, to: str) -> Receipt:
        """Hand in one mail, or none to see whether the server would take it."""
        server, pinned = self._server, self._server.host
        if not self._private:
            addresses = await resolved(server.host, server.port)
            if any(is_private(one) for one in addresses):
                return Receipt(Outcome.REFUSED, reason=f"`{server.host}` leads to a private address")
            if not addresses:
                return Receipt(Outcome.FAILED, reason=f"no contact: the name `{server.host}` is not known here")
            pinned = addresses[0]
        receipt = await asyncio.to_thread(deliver, server, pinned, mail, self._from.addr_spec, to)
        self._learn(receipt, "the mail server does not take us any more")
        return receipt


def _page(parts: tuple[Part, ...], ids: list[str]) -> str:
    """The same words in HTML, and the pictures below."""
    tags = {"bold": "b", "code": "code", "block": "pre"}
    words = []
    for part in parts:
        text = html.escape(_CONTROL.sub(" ", whole(part.text)))
        tag = tags.get(part.style)
        words.append(f"<{tag}>{text}</{tag}>" if tag else text)
    pictures = "".join(f'<p><img src="cid:{one[1:-1]}" style="max-width:100%"></p>' for one in ids)
    return f'<!doctype html><html><body><div style="white-space:pre-wrap">{"".join(words)}</div>{pictures}</body></html>\n'


KIND = Kind(
    name="mail",
    title="E-mail",
    fields=(
        Field("server", f"where mail is handed in: {EXAMPLE}", required=True),
        Field("to", "who is told: addresses, separated by commas", required=True),
        Field("user", "your name at the mail server, most often your address"),
        Field("password", "its password; with two-step log-in, one made for this application", secret=True),
        Field("from", "the sender, where it is not `user`"),
        Field("tls", "`none` for a server that cannot encrypt", default="auto"),
        Field("private", "`yes` if the server's name leads to a private address"),
    ),
    make=MailBridge,
    steps=(
        "Look up the outgoing mail server of your provider: its name, and port 465 (smtps) or 587 (smtp).",
        "If you log in with two steps, make an application password at your provider.",
    ),
    chats=lambda values: tuple(word for one in values.get("to", "").split(",") if (word := one.strip())),
)
