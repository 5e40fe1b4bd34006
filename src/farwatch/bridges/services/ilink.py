"""A person's own WeChat by the iLink bot service (ClawBot): experimental, and for answers rather than for alarms.

The bot may say ten things after each message of the person, within 24 hours (about 11 are safe), never two within 3 s; then it has to be
written to again. Private chat with the one person who scanned the code; no buttons, no edits. What is left is kept over a restart.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from farwatch.bridges.base import (
    Address,
    Attachment,
    Caps,
    Condition,
    Field,
    Incoming,
    Kind,
    Message,
    Outcome,
    Rate,
    Receipt,
    Receive,
    Setup,
    split,
)
from farwatch.bridges.outward import Unreached, is_private
from farwatch.bridges.services import ilink_media
from farwatch.bridges.services.ilink_login import Login
from farwatch.bridges.services.ilink_wire import ASLEEP, BASE, CDN, EXPIRED, Wire, refusal
from farwatch.errors import BridgeError

TEXT_MAX = 4_000
PICTURE_MAX_BYTES = 10 << 20
CREDITS = 10
WINDOW_S = 24 * 3600.0
SAFE_WINDOW_S = 11 * 3600.0  # later it is mostly refused, whatever is promised
REMEMBERED = 500
WRITE = "write any message to the bot in WeChat"
SCAN = "scan the code again: farwatch connect wechat"
_CONNECTING = Condition(False, "connecting", "connecting to WeChat")
_LOG = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `gap_s`: between two things said; `look_s`: how often it is looked whether somebody has scanned a code."""

    gap_s: float = 3.0
    held_s: float = 35.0
    error_s: float = 2.0
    errors_s: float = 30.0  # after three in a row
    expired_s: float = 3600.0
    throttled_s: float = 3600.0
    look_s: float = 5.0


class Ilink:
    """See `farwatch.bridges.base.Bridge`. The session comes from `ilink_login.Login`; one that is made meanwhile is taken over.

    `sleep` waits between sends, `pause` between polls.
    """

    caps = Caps(
        text_max=TEXT_MAX, two_way=True, push_first=False, picture_max_bytes=PICTURE_MAX_BYTES, rates=(Rate(1, 3.0, "channel"),),
        reply_credits=CREDITS, reply_window_s=WINDOW_S, experimental=True,
    )  # fmt: skip

    def __init__(
        self, setup: Setup, timing: Timing | None = None, *, sleep: Sleep = asyncio.sleep, pause: Sleep = asyncio.sleep
    ) -> None:
        url = urlsplit(setup.get("url", BASE))
        if not url.hostname or (url.scheme != "https" and not (url.scheme == "http" and is_private(url.hostname))):
            raise BridgeError("the address of the iLink service begins with https://")
        self._setup = setup
        self._timing = timing or Timing()
        self._sleep, self._pause = sleep, pause
        self._kept: dict[str, Any] = setup.memory.load()
        self._wire = Wire(setup.get("url", BASE), setup.get("cdn", CDN))
        self._wire.hide(self._token)
        self._sending = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._receive: Receive | None = None
        self._known: OrderedDict[str, None] = OrderedDict()
        self._contact: Condition | None = _CONNECTING

    async def open(self, receive: Receive) -> None:
        self._receive = receive
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="ilink-listen")

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is None:
            await self._wire.close()
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self._contact is None:
            with contextlib.suppress(Unreached, TimeoutError):
                await asyncio.wait_for(self._ask("msg/notifystop", {}), 2.0)
        await self._wire.close()

    async def check(self) -> str:
        self._adopt()
        if not self._token:
            raise BridgeError("nobody has scanned the code yet", hint=SCAN)
        try:
            answer = await self._ask("getconfig", {"ilink_user_id": self._user, "context_token": self._person.get("context", "")})
        except Unreached as error:
            raise BridgeError(error.receipt.reason) from None
        code = refusal(answer)
        if code == EXPIRED:
            self._expire()
            raise BridgeError("WeChat has ended the session", hint=SCAN)
        if code not in (0, ASLEEP):  # that nothing may be said now does not make the session a bad one
            raise BridgeError(f"WeChat does not take the session: {self._wire.words(answer)}", hint=SCAN)
        return f"WeChat bot {self._kept.get('bot') or ''}".strip()

    def credits(self, address: Address) -> tuple[int, int]:
        """How many things may still be said there, and until when (ms since 1970); (0, 0) where nobody has written yet."""
        person = self._person
        if address.chat != self._user or not person.get("context"):
            return 0, 0
        until_ms = int(person["at_ms"] + WINDOW_S * 1000)
        return (int(person["left"]) if self._now_ms() < until_ms else 0), until_ms

    def condition(self) -> Condition:
        """`facts["people"][user]`: `left`, `until_ms` (promised) and `safe_until_ms` (seen to hold)."""
        if not self._token or self._quiet_ms > self._now_ms():
            return Condition(False, "scan-again", SCAN)
        if self._contact is not None:
            return self._contact
        left, until_ms = self.credits(Address(self._user))
        safe_ms = int(until_ms - (WINDOW_S - SAFE_WINDOW_S) * 1000) if until_ms else 0
        facts = {"people": {self._user: {"left": left, "until_ms": until_ms, "safe_until_ms": safe_ms}}}
        asleep = self._asleep()
        if asleep is not None:
            return Condition(False, "asleep", asleep, facts)
        return Condition(True, "ok", f"{left} of {CREDITS} messages are left until WeChat wants one of yours", facts)

    async def send(self, to: Address, message: Message) -> Receipt:
        async with self._sending:
            refused = self._refused(to)
            if refused is not None:
                return refused
            items, left_out = await self._items(message)
            if not items:
                return Receipt(Outcome.REFUSED, reason="there is nothing to say")
            ids: list[str] = []
            for item in items:
                if self._person["left"] <= 0:
                    left_out.append(f"{len(items) - len(ids)} of {len(items)} pieces did not fit into what may be said; {WRITE}")
                    break
                failed = await self._say(item, ids)
                if failed is not None and not ids:
                    return failed
                if failed is not None:  # a part has arrived: the rest is not worth saying that part again
                    left_out.append(f"not all of it: {failed.reason}")
                    break
            return Receipt(Outcome.SENT, tuple(ids), reason="; ".join(left_out))

    async def edit(self, to: Address, message_id: str, message: Message) -> Receipt:
        return Receipt(Outcome.REFUSED, reason="what was said in WeChat cannot be changed")

    async def delete(self, to: Address, message_id: str) -> Receipt:
        return Receipt(Outcome.REFUSED, reason="what was said in WeChat cannot be taken back")

    async def acknowledge(self, incoming: Incoming, text: str = "") -> None:
        """Nobody presses anything here."""

    # -- what is kept

    @property
    def _token(self) -> str:
        return str(self._kept.get("token") or "")

    @property
    def _user(self) -> str:
        return str(self._kept.get("user") or "")

    @property
    def _person(self) -> dict[str, Any]:
        """`context` (the token of the conversation), `at_ms`, `left`, `throttled_ms` of the one person."""
        people: dict[str, dict[str, Any]] = self._kept.setdefault("people", {})
        return people.setdefault(self._user, {"context": "", "at_ms": 0, "left": 0})

    @property
    def _quiet_ms(self) -> int:
        return int(self._kept.get("quiet_until_ms") or 0)

    def _now_ms(self) -> int:
        return self._setup.clock.wall_us() // 1000

    def _save(self) -> None:
        """Keep the state, unless somebody has logged in anew meanwhile. On a full disk it lives on without being kept."""
        try:
            if _session(self._setup.memory.load()) == _session(self._kept):
                self._setup.memory.save(self._kept)
        except OSError as error:
            _LOG.error("what WeChat allows is not kept: %s", error.strerror)

    def _adopt(self) -> None:
        """Take over a session that was made meanwhile."""
        try:
            stored = self._setup.memory.load()
        except OSError:
            return
        if _session(stored) != _session(self._kept):
            self._kept = stored
            self._wire.hide(self._token)

    def _expire(self) -> None:
        self._contact = _CONNECTING
        self._kept["quiet_until_ms"] = self._now_ms() + int(self._timing.expired_s * 1000)
        self._save()

    async def _ask(self, path: str, body: dict[str, Any], answer_s: float = 15.0) -> dict[str, Any]:
        return await self._wire.post(path, body, token=self._token, base=str(self._kept.get("base") or ""), answer_s=answer_s)

    # -- out

    def _asleep(self) -> str | None:
        """Why nothing may be said now; None where something may."""
        person = self._person
        left, until_ms = self.credits(Address(self._user))
        if not person.get("context"):
            return f"nobody has written yet: {WRITE}"
        if self._now_ms() >= until_ms:
            return f"the last message is more than 24 hours old: {WRITE}"
        if left <= 0:
            return f"all that may be said without an answer is said: {WRITE}"
        if int(person.get("throttled_ms") or 0) > self._now_ms():
            return f"WeChat wants a rest of about an hour; to end it, {WRITE}"
        return None

    def _refused(self, to: Address) -> Receipt | None:
        if not self._token or self._quiet_ms > self._now_ms():
            return Receipt(Outcome.REVOKED, reason=SCAN)
        if to.chat != self._user:
            return Receipt(Outcome.REFUSED, reason="this bot talks only with the person who scanned its code")
        asleep = self._asleep()
        return None if asleep is None else Receipt(Outcome.ASLEEP, reason=asleep)

    async def _items(self, message: Message) -> tuple[list[dict[str, Any]], list[str]]:
        """What is said, one item a request, and what is left out in words. A picture is put into the store first, which costs no credit."""
        left_out: list[str] = []
        picture: dict[str, Any] | None = None
        words = [message.text]
        for one in ([message.picture] if message.picture is not None else []) + list(message.files):
            words += [one.caption] if one.caption else []
            item, why = (None, "one picture is all that a message takes") if picture is not None else await self._stored(one)
            if item is None:
                left_out.append(f"{one.name}: {why}")
                words.append(f"({one.name} is not shown here)")
            else:
                picture = item
        text = "\n".join(word for word in words if word)
        items = [{"type": 1, "text_item": {"text": piece}} for piece in split(text, TEXT_MAX) if piece.strip()]
        return items + ([{"type": 2, "image_item": picture}] if picture is not None else []), left_out

    async def _stored(self, one: Attachment) -> tuple[dict[str, Any] | None, str]:
        """A picture in the store, or why it is not there."""
        if one.kind != "picture":
            return None, "WeChat's bot takes pictures only"
        if not ilink_media.available():
            return None, ilink_media.MISSING
        try:
            content = await asyncio.to_thread(one.read) if one.size() <= PICTURE_MAX_BYTES else b""
        except OSError as error:
            return None, str(error.strerror)
        if not content:
            return None, f"larger than {PICTURE_MAX_BYTES >> 20} MiB, or empty"
        try:
            return await ilink_media.put(self._wire, self._ask, self._user, content), ""
        except Unreached as error:
            return None, error.receipt.reason

    async def _say(self, item: dict[str, Any], ids: list[str]) -> Receipt | None:
        """Say one thing; None when it was said. Refusals are never tried again here: three of them cost an hour."""
        waited_s = (self._now_ms() - int(self._kept.get("said_ms") or 0)) / 1000
        if 0 <= waited_s < self._timing.gap_s:
            await self._sleep(self._timing.gap_s - waited_s)
        person = self._person
        client_id = f"farwatch-{uuid.uuid4().hex}"
        said = {
            "from_user_id": "", "to_user_id": self._user, "client_id": client_id, "message_type": 2, "message_state": 2,
            "context_token": person["context"], "item_list": [item],
        }  # fmt: skip
        self._kept["said_ms"] = self._now_ms()
        try:
            answer = await self._ask("sendmessage", {"msg": said})
        except Unreached as error:
            if error.receipt.outcome is Outcome.UNSURE:
                person["left"] -= 1  # it may have been counted
                self._save()
            return error.receipt
        code = refusal(answer)
        if code == 0:
            person["left"] -= 1
            ids.append(str(answer.get("message_id") or client_id))
        elif code == EXPIRED:
            self._expire()
            return Receipt(Outcome.REVOKED, reason=SCAN)
        elif code == ASLEEP:
            words = self._wire.words(answer)
            if answer.get("errmsg"):
                person["throttled_ms"] = self._now_ms() + int(self._timing.throttled_s * 1000)
            else:
                person["left"] = 0
            self._save()
            return Receipt(Outcome.ASLEEP, reason=f"WeChat takes nothing more now ({words}): {WRITE}")
        self._save()
        return None if code == 0 else Receipt(Outcome.FAILED, reason=self._wire.words(answer))

    # -- in

    async def _listen(self) -> None:
        """Ask for messages, for ever. A listener of ours that fails, and what WeChat may add, must not end it."""
        failures = 0
        greeted = ""
        while True:
            self._adopt()
            if not self._token or self._quiet_ms > self._now_ms():
                greeted = ""
                await self._pause(self._timing.look_s)
                continue
            try:
                if greeted != self._token:
                    code = refusal(await self._ask("msg/notifystart", {}))
                    greeted = self._token
                else:
                    code = await self._poll()
            except Unreached as error:
                self._contact = Condition(False, "no-contact", f"no contact with WeChat: {error.receipt.reason}")
                code = None
            except Exception as error:  # the border to a service that changes: it must be heard again
                _LOG.error("an answer of WeChat was not understood: %s", type(error).__name__)
                code = None
            if code == EXPIRED:
                self._expire()
            elif code == 0:
                failures = 0
                if self._quiet_ms <= self._now_ms():  # or a send was told meanwhile that the session has ended
                    self._contact = None
            else:
                if code is not None:
                    self._contact = Condition(False, "no-contact", f"WeChat does not answer as it should ({code})")
                failures += 1
                await self._pause(self._timing.errors_s if failures >= 3 else self._timing.error_s)

    async def _poll(self) -> int:
        """Ask once, hand on what came, and remember up to where. Returns the code of a refusal. Raises `Unreached`."""
        held_s = max(1.0, min(120.0, float(self._kept.get("held_ms") or 0) / 1000 or self._timing.held_s))
        try:
            answer = await self._ask("getupdates", {"get_updates_buf": str(self._kept.get("cursor") or "")}, answer_s=held_s + 10)
        except Unreached as error:
            if error.receipt.outcome is Outcome.UNSURE and error.receipt.reason.startswith("no answer"):
                return 0  # nothing came while it was held
            raise
        code = refusal(answer)
        if code:
            return code
        messages = answer.get("msgs")
        for one in messages if isinstance(messages, list) else []:
            incoming = self._understood(one) if isinstance(one, dict) else None
            if incoming is not None and self._receive is not None:
                try:
                    await self._receive(incoming)
                except Exception as error:  # the border to whoever listens: the next message must be heard
                    _LOG.error("a message from WeChat was not understood: %s", type(error).__name__)
        changed = {}
        if isinstance(answer.get("get_updates_buf"), str) and answer["get_updates_buf"]:
            changed["cursor"] = answer["get_updates_buf"]
        if isinstance(answer.get("longpolling_timeout_ms"), int):
            changed["held_ms"] = answer["longpolling_timeout_ms"]
        if any(self._kept.get(name) != value for name, value in changed.items()):
            self._kept |= changed
            self._save()
        return 0

    def _understood(self, message: dict[str, Any]) -> Incoming | None:
        """What a message says; None for others than the person who scanned, for what was here before, and for what has no words."""
        user = message.get("from_user_id")
        if message.get("message_type") != 1 or user != self._user or not user or message.get("group_id"):
            return None
        sent = message.get("create_time_ms")
        sent_ms = sent if isinstance(sent, int) and 0 < sent <= self._now_ms() + 60_000 else self._now_ms()
        key = str(message.get("message_id") or f"{sent_ms}-{message.get('seq')}")
        if key in self._known:
            return None
        self._known[key] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        context = message.get("context_token")
        if isinstance(context, str) and context and sent_ms >= int(self._person["at_ms"]):
            self._person.update(context=context, at_ms=sent_ms, left=CREDITS, throttled_ms=0)
            self._save()
        text = _text(message.get("item_list"))
        if not text:
            return None
        return Incoming(
            channel=self._setup.channel, address=Address(user), message_id=key, key=key, user=user, user_name=user.partition("@")[0],
            sent_ms=sent_ms, text=text,
        )  # fmt: skip


def _session(kept: dict[str, Any]) -> tuple[Any, Any]:
    return kept.get("token"), kept.get("made_ms")


def _text(items: Any) -> str:
    """The words of a message: typed, or said and written down by the service."""
    words = []
    for item in items if isinstance(items, list) else []:
        for kind in ("text_item", "voice_item"):
            found = item.get(kind) if isinstance(item, dict) else None
            if isinstance(found, dict) and isinstance(found.get("text"), str):
                words.append(found["text"])
    return "\n".join(word for word in words if word.strip()).strip()


KIND = Kind(
    name="wechat",
    title="WeChat 微信 (experimental)",
    fields=(
        Field("url", "the address of the iLink service", default=BASE),
        Field("cdn", "the address of its picture store", default=CDN),
    ),
    make=Ilink,
    steps=(
        "In WeChat, open Me, Settings, Plugins (插件), and turn on ClawBot.",
        "Scan the code that is shown here, confirm, and write the bot any message.",
        "Connect a second service too: after ten messages or a day without one of yours, WeChat lets the bot say nothing.",
    ),
    experimental=True,
    needs="wechat",
    login=Login,
)
