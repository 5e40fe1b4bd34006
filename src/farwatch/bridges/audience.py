"""Who is told of what, where, and whether with a sound.

A person has chats in an order. Something is sent to the first that takes it; an alarm that has not arrived within seconds goes to the
next one as well. What belongs to nobody (a group, a chat that the environment names) gets everything once. In quiet hours and while a chat
is muted nothing but alarms is sent; what else happened is told in one message when they end, and a message that stands there goes on
changing: that makes no sound.
"""

import asyncio
import logging
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from farwatch.bridges.base import Bridge, Memory, Message, Outcome, plain
from farwatch.bridges.dispatch import Dispatcher, Notice, Ticket, Urgency
from farwatch.bridges.switchboard import Switchboard
from farwatch.clock import Clock
from farwatch.errors import FarwatchError
from farwatch.service.people import ChatRow, People, Person
from farwatch.service.people_settings import minute_of

FAILOVER_S = 10.0  # an alarm that has not arrived by then goes to the next chat as well
EVENT_FAILOVER_S = 120.0
RESERVE = 2  # messages of ten that a service with credits keeps for alarms and ends: lines and milestones stop at eight
HELD_FIRST, HELD_LAST = 10, 9  # lines of what was held back that are kept: the rest is counted
RELEASE_S = 20.0

log = logging.getLogger("farwatch.bridges")

Compose = Callable[[ChatRow], Message | None]
Posted = Callable[[ChatRow, Ticket | None, str], None]
Digest = Callable[[str, str], str]  # language and detail -> line


def _nobody_asks(chat: ChatRow, ticket: Ticket | None, why: str) -> None:
    """What becomes of a telling is in the list of deliveries."""


@dataclass(frozen=True, slots=True)
class Telling:
    """Something to be told. `compose`: its words for one chat, None for nothing there; called when its turn comes.

    `project`: of the run that it is about; None for what is about the server. `digest`: a line that stands for it where it was held back.
    `posted`: told of each chat that it goes to, with the ticket, or with None and why it is held back there.
    """

    urgency: Urgency
    about: str
    compose: Compose
    project: str | None = None
    key: str | None = None
    digest: Digest | None = None
    closes: bool = False
    anew: bool = False  # with a sound though a message of its key stands there
    vital: bool = False  # worth one of the last messages that a service allows before the person must write again
    without: int | None = None  # the person who knows already
    posted: Posted = _nobody_asks
    to: tuple[str, ...] = ()  # chats that bars name, besides those of people


@dataclass(slots=True)
class _Held:
    """What was held back in a chat: how many lines, the first ones and the last ones."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        self.count += 1
        if len(self.first) < HELD_FIRST:
            self.first.append(line)
        else:
            self.last = [*self.last[-HELD_LAST + 1 :], line]

    def lines(self) -> list[str]:
        left_out = self.count - len(self.first) - len(self.last)
        return [*self.first, *([f"… +{left_out}"] if left_out > 0 else []), *self.last]


class Audience:
    """Sends tellings to people and groups. *Threads*: the switchboard's loop.

    `beside`: sends progress to chats that belong to no person; `beside_chats`: those. `memory`: what is held back, over a restart.
    """

    def __init__(self, people: People, board: Switchboard, clock: Clock, memory: Memory | None = None) -> None:
        self._people = people
        self._board = board
        self._dispatcher: Dispatcher = board.dispatcher
        self._clock = clock
        self._memory = memory
        self._held: dict[int, _Held] = {}  # by chat
        self._unsaved = False
        self._saving = False
        self.beside: Callable[[Telling], None] = lambda telling: None
        self.beside_chats: Callable[[], list[ChatRow]] = list

    def tell(self, telling: Telling) -> list["asyncio.Task[Any]"]:
        """Send something to everybody who wants it. Never waits; returns what goes on trying the chats of people."""
        trying = []
        for person in self._people.persons():
            chats = [chat for chat in self._people.chats(person_no=person.no) if wants(chat, telling)]
            if chats and "read" in person.scopes and person.no != telling.without:
                trying.append(self._board.task(self._tell(person, chats, telling)))
        for chat in self._people.chats():
            if chat.person_no is None and wants(chat, telling):
                self._send(chat, None, telling)
        if telling.to:
            self.beside(telling)
        return trying

    def say(self, chat: ChatRow, telling: Telling) -> None:
        """Send something to one chat, whatever else is there."""
        person = self._people.person(chat.person_no) if chat.person_no is not None else None
        self._send(chat, person, telling)

    def change(self, key: str, about: str, compose: Compose, *, over: bool = False) -> None:
        """Change a message wherever it stands, without a sound, or waits to be sent; elsewhere nothing is said.

        `over`: where it still waits, nobody needs to hear it any more.
        """
        for chat in self._people.chats():
            bridge = self._bridge(chat)
            stands = bridge is not None and bridge.caps.edit and self._dispatcher.has(chat.no, key)
            if not (stands or self._dispatcher.waits(chat.no, key)) or (message := compose(chat)) is None:
                continue
            if not self._dispatcher.amend(chat.no, key, message, over=over) and stands:
                self._dispatcher.post(chat, Notice(Urgency.EVENT, about, replace(message, silent=True), key=key))

    def reached(self, key: str) -> list[ChatRow]:
        """Chats in which a message of this key stands."""
        return [chat for chat in (*self._people.chats(), *self.beside_chats()) if self._dispatcher.has(chat.no, key)]

    async def _tell(self, person: Person, chats: list[ChatRow], telling: Telling) -> None:
        """Try a person's chats in their order until one has taken it."""
        alarm = telling.urgency is Urgency.ALARM
        standing = [chat for chat in chats if telling.key is not None and self._dispatcher.has(chat.no, telling.key)]
        for place, chat in enumerate(standing or chats):
            last = place == len(standing or chats) - 1
            if place and self._people.chat_at(chat.channel, chat.address) is None:
                continue  # removed while the one before was tried
            ticket = self._send(chat, person, telling)
            if ticket is None:
                return
            if telling.urgency is Urgency.PROGRESS or last:
                return
            try:
                wait_s = FAILOVER_S if alarm else EVENT_FAILOVER_S
                receipt = await asyncio.wait_for(asyncio.shield(ticket.done), wait_s)
            except TimeoutError:
                if not alarm:
                    ticket.cancel()
                continue
            if receipt.arrived or ticket.replaced or (receipt.outcome is Outcome.UNSURE and not alarm):
                return

    def _send(self, chat: ChatRow, person: Person | None, telling: Telling) -> Any:
        """Put it into a chat's queue; None if it is held back."""
        quiet, alarms = self.quiet(chat, person)
        alarm = telling.urgency is Urgency.ALARM
        if quiet and not alarm and not self._makes_no_sound(chat, telling):
            if telling.digest is not None:
                self._hold(chat, telling.digest(self._people.lang_of(chat), str(chat.settings.get("detail") or "full")))
            telling.posted(chat, None, "quiet hours, or muted: told when they end")
            return None
        message = telling.compose(chat)
        if message is None:
            return None
        if quiet and not alarms:
            message = replace(message, silent=True)
        notice = Notice(telling.urgency, telling.about, message, key=telling.key, closes=telling.closes, anew=telling.anew)
        left = credits_left(self._bridge(chat), chat)
        if not (alarm or telling.vital) and left is not None and left <= RESERVE:
            if telling.urgency is Urgency.EVENT:
                self._dispatcher.sleep(chat, notice)
            telling.posted(chat, None, "the last messages that the service allows are kept for alarms")
            return None
        ticket = self._dispatcher.post(chat, notice)
        telling.posted(chat, ticket, "")
        return ticket

    def _makes_no_sound(self, chat: ChatRow, telling: Telling) -> bool:
        """Whether a telling is but a change of a message that stands in a chat."""
        if telling.urgency is not Urgency.PROGRESS or telling.key is None:
            return False
        bridge = self._bridge(chat)
        return bridge is not None and bridge.caps.edit and self._dispatcher.has(chat.no, telling.key)

    def _bridge(self, chat: ChatRow) -> Bridge | None:
        return self._board.bridges.get(chat.channel)

    # --- quiet hours

    def quiet(self, chat: ChatRow, person: Person | None) -> tuple[bool, bool]:
        """Whether nothing but alarms is sent to a chat now, and whether these make a sound."""
        muted = int(chat.settings.get("muted_until_ms") or 0) > self._clock.wall_us() // 1000
        hours = None if person is None else person.settings.get("quiet")
        if hours is not None and self.quiet_left_s(person) > 0:
            return True, bool(hours.get("alarms", True)) and not muted
        return muted, not muted

    def quiet_left_s(self, person: Person | None) -> float:
        """Seconds until the quiet hours of a person end; 0 outside of them."""
        hours = None if person is None else person.settings.get("quiet")
        if person is None or hours is None:
            return 0.0
        begin, end = minute_of(hours.get("from")), minute_of(hours.get("to"))
        if begin is None or end is None or begin == end:
            return 0.0
        now = local_time(self._clock, person)
        minute = now.hour * 60 + now.minute
        inside = begin <= minute < end if begin < end else minute >= begin or minute < end
        if not inside:
            return 0.0
        until = now.replace(hour=end // 60, minute=end % 60, second=0, microsecond=0)
        if until <= now:
            until += timedelta(days=1)
        return max(1.0, (until - now).total_seconds())

    def begin(self) -> None:
        """Go on with what was held back before a restart."""
        try:
            kept = {} if self._memory is None else self._memory.load()
        except FarwatchError as error:
            log.warning("%s", error)
            return
        for no, told in kept.items():
            if no.isdigit() and isinstance(told, dict) and isinstance(told.get("count"), int):
                first, last = ([str(line) for line in told.get(part) or ()] for part in ("first", "last"))
                self._held[int(no)] = _Held(told["count"], first, last)
                self._board.task(self._release(int(no)))

    def _hold(self, chat: ChatRow, line: str) -> None:
        begun = chat.no in self._held
        self._held.setdefault(chat.no, _Held()).add(line)
        if not begun:
            self._board.task(self._release(chat.no))
        self._keep()

    def _keep(self) -> None:
        """Write down what is held back, beside the loop, the newest state last."""
        self._unsaved = True
        if self._memory is not None and not self._saving:
            self._saving = True
            self._board.task(self._save(self._memory))

    async def _save(self, memory: Memory) -> None:
        try:
            while self._unsaved:
                self._unsaved = False
                value = {str(no): {"count": one.count, "first": one.first, "last": one.last} for no, one in self._held.items()}
                await asyncio.to_thread(memory.save, value)
        except OSError as error:  # on a full disk it is told all the same, unless the server ends before
            log.warning("what is held back cannot be kept: %s", error.strerror or type(error).__name__)
        finally:
            self._saving = False

    async def _release(self, chat_no: int) -> None:
        """Tell what was held back, once it is not quiet any more."""
        while True:
            try:
                chat = self._people.chat(chat_no)
                person = self._people.person(chat.person_no) if chat.person_no is not None else None
            except LookupError:  # nobody is there any more
                self._held.pop(chat_no, None)
                self._keep()
                return
            if not self.quiet(chat, person)[0]:
                break
            await asyncio.sleep(RELEASE_S)
        held = self._held.pop(chat_no, _Held())
        self._keep()
        head = f"While it was quiet ({held.count}):" if self._people.lang_of(chat) == "en" else f"安静期间的消息（{held.count}）："
        self._dispatcher.post(chat, Notice(Urgency.EVENT, "digest", plain("\n".join([head, *held.lines()]))))


def credits_left(bridge: Bridge | None, chat: ChatRow) -> int | None:
    """How many messages a service still takes for a person before they must write again; None where it does not count."""
    if bridge is None or bridge.caps.reply_credits is None:
        return None
    known = bridge.condition().facts.get("people", {}).get(chat.address, {})
    return int(known.get("left", 0))


def wants(chat: ChatRow, telling: Telling) -> bool:
    """Whether a chat asked for this sort of thing, of this project."""
    projects = chat.settings.get("projects")
    if projects and telling.project is not None and telling.project not in projects:
        return False
    if telling.urgency is Urgency.EVENT:
        return chat.settings.get("events") is not False
    if telling.urgency is Urgency.PROGRESS:
        return chat.settings.get("progress") != "off"
    return chat.settings.get("alarms") is not False


def local_time(clock: Clock, person: Person | None) -> datetime:
    """Now, where a person is; where they have not said, where the server is."""
    now = datetime.fromtimestamp(clock.wall_us() / 1e6, UTC)
    zone = person.settings.get("zone") if person is not None else None
    return now.astimezone(zoneinfo.ZoneInfo(zone)) if zone else now.astimezone()
