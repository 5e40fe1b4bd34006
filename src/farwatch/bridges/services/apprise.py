"""The services that Apprise knows, one way: text, and pictures and files where the service takes them.

Apprise gives no ids back, so nothing can be changed, and says only whether it worked; why not stands in its log alone. That log holds whole
addresses with their keys, so it is read here for the status of an answer and goes nowhere else. Apprise connects by itself: that a name
leads to a private address is not seen here.
"""

import asyncio
import logging
import mimetypes
import re
from contextvars import ContextVar
from typing import Any

from farwatch.bridges.base import (
    Address,
    Caps,
    Condition,
    Field,
    Kind,
    Message,
    Outcome,
    Receipt,
    Setup,
    split,
)
from farwatch.bridges.outward import needs
from farwatch.bridges.services.carried import Carried, attached, carried, whole, with_lines
from farwatch.bridges.services.one_way import OneWay
from farwatch.bridges.services.slices import SLICES_MAX, beginning, text_of
from farwatch.errors import BridgeError

EXAMPLE = "json://example.org/path; https://github.com/caronc/apprise/wiki lists all"
FILE_MAX_BYTES = 10_000_000
TEXT_MAX = 32_768
BUSY_S = 30.0
CHAT = "apprise"
_BETWEEN = re.compile(r",\s*(?=[A-Za-z][A-Za-z0-9+]*://)")  # addresses may hold commas themselves
_STATUS = re.compile(r"\berror=(\d{3})\b")


_heard: ContextVar[list[str] | None] = ContextVar("farwatch_apprise_log", default=None)  # Apprise's own threads have it too


class _Log(logging.Handler):
    """What Apprise writes while we wait for it."""

    def emit(self, record: logging.LogRecord) -> None:
        lines = _heard.get()
        if lines is not None:
            lines.append(record.getMessage())


_log = _Log(logging.WARNING)


class AppriseBridge(OneWay):
    """See `farwatch.bridges.base.Bridge`. The address of a message is of no account: a channel goes to all of its services."""

    sent = "what Apprise has sent"

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        try:
            import apprise
        except ImportError:
            raise needs("Apprise", "apprise", "the services it knows") from None
        logger = logging.getLogger("apprise")
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        if _log not in logger.handlers:
            logger.addHandler(_log)
        asset = apprise.AppriseAsset(app_id="Farwatch", app_desc="Farwatch", async_mode=False)
        self._services: list[tuple[Any, Any]] = []  # what sends, and what Apprise knows of the service
        for url in filter(None, (one.strip() for one in _BETWEEN.split(setup.get("url")))):
            sender = apprise.Apprise(asset=asset)
            if not sender.add(url):
                scheme = url.partition("://")[0] if re.match(r"[A-Za-z0-9+]{1,20}://", url) else "no scheme"
                raise BridgeError(f"Apprise does not take an address of this kind: {scheme}", hint=f"it looks like {EXAMPLE}")
            self._services.append((sender, sender[0]))
        if not self._services:
            raise BridgeError("Apprise needs `url`", hint=f"it looks like {EXAMPLE}")
        carries = FILE_MAX_BYTES if any(known.attachment_support for _, known in self._services) else 0
        text_max = min([TEXT_MAX, *(known.body_maxlen for _, known in self._services if known.body_maxlen > 0)])
        self.caps = Caps(text_max=text_max, picture_max_bytes=carries, file_max_bytes=carries)
        self._apprise = apprise

    async def check(self) -> str:
        """What the services are; only a message tells whether they take one."""
        return ", ".join(_name(known) for _, known in self._services)

    async def send(self, to: Address, message: Message) -> Receipt:
        files, lines = await carried(message, FILE_MAX_BYTES)
        parts = with_lines(message.parts, [*(one.caption for one in attached(message)), *lines])
        text = whole(text_of(beginning(parts, self.caps.text_max * SLICES_MAX)))
        pieces = [one for one in split(text, self.caps.text_max) if one.strip()]
        if files and not pieces:
            pieces = [", ".join(one.name for one in files)]
        if not pieces:
            return Receipt(Outcome.REFUSED, reason="there is nothing to say")
        told = await asyncio.gather(
            *(asyncio.to_thread(self._tell, sender, known, pieces, files) for sender, known in self._services)
        )
        failed = [one for one in told if one.outcome is not Outcome.SENT]
        revoked = next((one for one in failed if one.outcome in (Outcome.REVOKED, Outcome.GONE)), None)
        self._condition = Condition(True) if revoked is None else Condition(False, "revoked", f"not taken any more: {revoked.reason}")
        reasons = "; ".join([*lines, *(one.reason for one in told if one.reason)])
        if len(failed) < len(told):  # asking again would repeat what has arrived
            return Receipt(Outcome.SENT, reason=reasons)
        return Receipt(failed[0].outcome, reason=reasons, retry_after_s=failed[0].retry_after_s)

    def _tell(self, sender: Any, known: Any, pieces: list[str], files: list[Carried]) -> Receipt:
        """Tell one service, in a thread and a context of its own; the files go with the last piece."""
        name = _name(known)
        for place, piece in enumerate(pieces):
            attach = self._attachment(files) if files and known.attachment_support and place == len(pieces) - 1 else None
            lines: list[str] = []
            _heard.set(lines)
            try:
                done = sender.notify(body=piece, body_format=self._apprise.NotifyFormat.TEXT, attach=attach)
            except Exception as error:  # of a plug-in; its words may hold the address
                return Receipt(Outcome.FAILED, reason=f"{name}: {type(error).__name__}")
            if not done:
                receipt = _failure(name, "\n".join(lines))
                return Receipt(Outcome.SENT, reason=f"not all of it: {receipt.reason}") if place else receipt
        missing = ", ".join(one.name for one in files if not one.picture) if not known.attachment_support else ""
        return Receipt(Outcome.SENT, reason=f"{name}: without {missing}" if missing else "")

    def _attachment(self, files: list[Carried]) -> Any:
        from apprise.attachment.memory import AttachMemory

        found = self._apprise.AppriseAttachment()
        known = mimetypes.types_map.values()  # it refuses all others, such as audio/wav
        for one in files:
            kind = one.media_type if one.media_type in known else None
            found.add(AttachMemory(content=one.content, name=one.name, mimetype=kind))
        return found


def _name(known: Any) -> str:
    return str(known.service_name)


def _failure(name: str, lines: str) -> Receipt:
    """What Apprise's log says of a failure; without a status nobody knows whether it arrived."""
    found = _STATUS.search(lines)
    if found is None:
        return Receipt(Outcome.UNSURE, reason=f"{name}: Apprise does not say why not")
    status = int(found[1])
    reason = f"{name} answered with status {status}"
    if status == 429:
        return Receipt(Outcome.LATER, reason=reason, retry_after_s=BUSY_S)
    if status in (401, 403):
        return Receipt(Outcome.REVOKED, reason=reason)
    if status in (404, 410):
        return Receipt(Outcome.GONE, reason=reason)
    return Receipt(Outcome.FAILED if status >= 500 else Outcome.REFUSED, reason=reason)


KIND = Kind(
    name="apprise",
    title="Apprise",
    fields=(
        Field("url", f"the service's address as Apprise writes it, several separated by commas: {EXAMPLE}", secret=True, required=True),
    ),
    make=AppriseBridge,
    steps=(
        "Install the extra: pip install 'farwatch[apprise]'.",
        "Find your service at https://github.com/caronc/apprise/wiki, and write its address as shown there.",
    ),
    needs="apprise",
    chats=lambda values: (CHAT,),
)
