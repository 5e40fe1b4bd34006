"""Queues in front of the services: what is urgent goes first, what is newest wins, and nobody is asked faster than they allow.

Each chat has three classes. *Alarms* are tried until they have arrived or an hour has passed. *Events* likewise, behind alarms, but one
that may have arrived is not sent twice. *Progress* is one message that is changed: while it waits, a newer state takes the place of an
older one, and the last state always goes out. A dead or slow service holds up its own chats and nothing else.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from farwatch.bridges.base import Address, Bridge, Message, Outcome, Receipt
from farwatch.bridges.pace import Pace
from farwatch.clock import Clock
from farwatch.service.people import ChatRow, DeliveryRow, Meta, PostRow

log = logging.getLogger("farwatch.bridges")

QUEUED_MAX = 1_000  # notices that wait in one chat; the oldest event is told as dropped
KEEP_TRYING_S = 3_600.0
BACKOFF_S = (1.0, 2.0, 5.0, 15.0, 60.0)
JITTER = 0.2
REQUEST_S = 120.0  # a bridge that does not come back is a fault of ours
PROGRESS_S = 15.0  # an alarm waits behind an edit that is on its way, and not for longer
CLOSED_S = 600.0  # so long no progress is tried where a service has said that it goes nowhere
CLOSING = frozenset({Outcome.GONE, Outcome.REVOKED, Outcome.ASLEEP})
ASLEEP_MAX, ASLEEP_S = 20, 86_400.0  # what waits until somebody writes again, and for how long
KEYS_KEPT = 5_000  # whose messages are known without asking the database


class Urgency(StrEnum):
    """The classes of a chat's queue, the first ones first."""

    ALARM = "alarm"
    EVENT = "event"
    PROGRESS = "progress"


@dataclass(frozen=True, slots=True)
class Notice:
    """One message on its way to a chat.

    `about`: what it belongs to, such as `alert/12`; deliveries and messages are found by it. `key`: changes the message in this chat that
    had the same key before, where the service can; one that still waits is replaced. `closes`: the last one of its key. `deletes`: takes
    the message of this key back. `anew`: says it in a message of its own, which is the one of this key from then on: an edit makes no
    sound. `keep_s`: how long it is worth sending.
    """

    urgency: Urgency
    about: str
    message: Message
    key: str | None = None
    closes: bool = False
    deletes: bool = False
    anew: bool = False
    ahead: bool = False  # of other events: somebody waits for this answer
    keep_s: float = KEEP_TRYING_S


@dataclass(slots=True)
class Ticket:
    """A notice in a queue. `done`: its last receipt, once nothing more will happen to it."""

    notice: Notice
    chat: ChatRow
    since_s: float
    done: "asyncio.Future[Receipt]"
    tries: int = 0
    not_before_s: float = 0.0
    last: Receipt | None = None
    replaced: bool = False  # by a newer state, which goes its own way

    def cancel(self) -> None:
        """Do not send it, if it has not gone out yet."""
        if not self.done.done():
            self.done.set_result(self.last or Receipt(Outcome.FAILED, reason="taken back before it was sent"))


@dataclass(slots=True)
class _Box:
    """What waits for one chat."""

    alarms: deque[Ticket] = field(default_factory=deque)
    events: deque[Ticket] = field(default_factory=deque)
    progress: dict[str, Ticket] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    worker: "asyncio.Task[None] | None" = None
    edited_s: dict[str, float] = field(default_factory=dict)
    failures: int = 0  # without an answer in between, whatever was to be sent
    asleep: deque[tuple[float, Notice]] = field(default_factory=lambda: deque(maxlen=ASLEEP_MAX))  # since when, what
    closed_until_s: float = 0.0  # no progress until then: the person has blocked us, the token is revoked, nothing may be said

    def empty(self) -> bool:
        return not (self.alarms or self.events or self.progress)

    def tickets(self) -> tuple[Ticket, ...]:
        return (*self.alarms, *self.events, *self.progress.values())


class Dispatcher:
    """Sends notices by the bridges of a server.

    *Threads*: one event loop. *Ordering*: within a chat alarms, then events, each in the order in which they came. *Cost*: a notice that
    waits is memory only. `on_receipt`: told of every last receipt.
    """

    def __init__(self, bridges: Mapping[str, Bridge], meta: Meta, clock: Clock) -> None:
        self._bridges = bridges
        self._meta = meta
        self._clock = clock
        self._boxes: dict[int, _Box] = {}
        self._paces: dict[str, Pace] = {}
        self._posts: dict[tuple[int, str], tuple[str, ...]] = {}  # chat and key -> ids of the messages
        self._closed = False
        self.on_receipt: Callable[[Ticket, Receipt], None] = lambda ticket, receipt: None

    # --- for callers

    def post(self, chat: ChatRow, notice: Notice) -> Ticket:
        """Put a notice into a chat's queue. Never waits, never raises."""
        loop = asyncio.get_running_loop()
        ticket = Ticket(notice, chat, loop.time(), loop.create_future())
        box = self._boxes.setdefault(chat.no, _Box())
        if notice.key is not None:
            self._replace(box, notice.key)
        if notice.urgency is Urgency.PROGRESS:
            if loop.time() < box.closed_until_s:
                ticket.cancel()
                return ticket
            box.progress[notice.key or notice.about] = ticket
        else:
            queue = box.alarms if notice.urgency is Urgency.ALARM else box.events
            if notice.ahead:
                queue.insert(next((place for place, one in enumerate(queue) if not one.notice.ahead and not one.tries), len(queue)), ticket)
            else:
                queue.append(ticket)
            while len(queue) > QUEUED_MAX:
                self._end(queue.popleft(), Receipt(Outcome.FAILED, reason=f"dropped: {QUEUED_MAX} notices wait in this chat"))
        box.wake.set()
        if box.worker is None or box.worker.done():
            box.worker = loop.create_task(self._work(chat.no, box), name=f"farwatch-chat-{chat.no}")
        return ticket

    def has(self, chat_no: int, key: str) -> bool:
        """Whether a message of this key stands in a chat."""
        return bool(self._ids(chat_no, key))

    def waits(self, chat_no: int, key: str) -> bool:
        """Whether something of this key is in a chat's queue, on its way, or waits for the person's next word."""
        box = self._boxes.get(chat_no)
        if box is None:
            return False
        return any(ticket.notice.key == key for ticket in box.tickets()) or any(notice.key == key for _, notice in box.asleep)

    def amend(self, chat_no: int, key: str, message: Message, *, over: bool) -> bool:
        """Let what waits under a key, or is on its way, say this instead, in its place and with its sound; False if nothing does.

        `over`: it needs nobody any more, and makes no sound.
        """
        box = self._boxes.get(chat_no)
        if box is None:
            return False
        for place, (since_s, notice) in enumerate(box.asleep):
            if notice.key == key:
                box.asleep[place] = (since_s, replace(notice, message=message))
        found = [ticket for ticket in box.tickets() if ticket.notice.key == key and not ticket.done.done()]
        for ticket in found:
            silent = over or ticket.notice.message.silent
            ticket.notice = replace(ticket.notice, message=replace(message, silent=silent))
        return bool(found)

    def sleep(self, chat: ChatRow, notice: Notice) -> None:
        """Keep a notice until somebody writes in a chat whose service takes none before that."""
        self._boxes.setdefault(chat.no, _Box()).asleep.append((asyncio.get_running_loop().time(), notice))

    def heard(self, chat: ChatRow) -> None:
        """Somebody has written in a chat: what was closed is open, and what has waited for that is told, behind the answer."""
        box = self._boxes.get(chat.no)
        if box is None:
            return
        box.closed_until_s = 0.0
        waited = [notice for since_s, notice in box.asleep if asyncio.get_running_loop().time() - since_s < ASLEEP_S]
        box.asleep.clear()
        for notice in waited:
            self.post(chat, replace(notice, urgency=Urgency.EVENT))

    def forget(self, chat_no: int) -> None:
        """Drop what waits for a chat that was removed."""
        box = self._boxes.pop(chat_no, None)
        if box is not None and box.worker is not None:
            box.worker.cancel()

    def reset(self, channel: str) -> None:
        """A channel has been connected anew: its limits and the waits of its chats begin anew."""
        self._paces.pop(channel, None)
        for box in self._boxes.values():
            box.closed_until_s = 0.0
            for ticket in box.tickets():
                if ticket.chat.channel == channel:
                    ticket.not_before_s = 0.0
            box.wake.set()

    async def drain(self, limit_s: float) -> None:
        """Wait until everything that can go has gone, at most so long."""
        end = asyncio.get_running_loop().time() + limit_s
        while any(not box.empty() for box in self._boxes.values()) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Stop sending; may be called twice."""
        self._closed = True
        workers = [box.worker for box in self._boxes.values() if box.worker is not None]
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    # --- the queue of one chat

    def _replace(self, box: _Box, key: str) -> None:
        """Take out what waits under a key: only its newest state is worth sending."""
        old = box.progress.pop(key, None)
        for queue in (box.alarms, box.events):
            for ticket in list(queue):
                if ticket.notice.key == key and not ticket.tries:
                    queue.remove(ticket)
                    old = ticket
        if old is not None:
            old.replaced = True
            old.cancel()

    def _next(self, box: _Box, now_s: float) -> tuple[Ticket | None, float]:
        """The ticket whose turn it is, and how long to wait for it; None and how long to sleep if there is none."""
        soonest = 3_600.0
        for urgency, tickets in (
            (Urgency.ALARM, list(box.alarms)), (Urgency.EVENT, list(box.events)), (Urgency.PROGRESS, list(box.progress.values())),
        ):  # fmt: skip
            for ticket in tickets:
                if ticket.done.done():
                    self._take_out(box, ticket)
                    continue
                wait_s = max(ticket.not_before_s - now_s, self._wait_s(box, ticket, urgency, now_s))
                if wait_s <= 0:
                    return ticket, 0.0
                soonest = min(soonest, wait_s)
                if urgency is not Urgency.PROGRESS and ticket.not_before_s <= now_s:
                    break  # it waits for the service, and those behind it wait with it
        return None, soonest

    def _wait_s(self, box: _Box, ticket: Ticket, urgency: Urgency, now_s: float) -> float:
        chat = ticket.chat
        bridge = self._bridges.get(chat.channel)
        if bridge is None:
            return 0.0
        wait_s = self._pace(chat.channel, bridge).wait_s(
            chat.address, now_s, group=_is_group(chat, bridge), spare=urgency is Urgency.PROGRESS and not ticket.notice.closes
        )
        key = ticket.notice.key
        if key is not None and key in box.edited_s and bridge.caps.edit and urgency is Urgency.PROGRESS:
            every_s = bridge.caps.edit_every_s * (3 if _is_group(chat, bridge) else 1)
            wait_s = max(wait_s, box.edited_s[key] + every_s - now_s)
        return wait_s

    async def _work(self, chat_no: int, box: _Box) -> None:
        loop = asyncio.get_running_loop()
        while not self._closed:
            box.wake.clear()
            ticket, sleep_s = self._next(box, loop.time())
            if ticket is None:
                if box.empty():
                    return
                try:
                    await asyncio.wait_for(box.wake.wait(), max(0.001, sleep_s))
                except TimeoutError:
                    pass
                continue
            try:
                await self._go(box, ticket)
            except Exception as error:  # a fault of ours must not end a chat's queue
                log.exception("a notice could not be sent")
                self._take_out(box, ticket)
                self._end(ticket, Receipt(Outcome.REFUSED, reason=f"a fault of Farwatch: {type(error).__name__}"))

    # --- one request

    async def _go(self, box: _Box, ticket: Ticket) -> None:
        loop = asyncio.get_running_loop()
        notice, chat = ticket.notice, ticket.chat
        bridge = self._bridges.get(chat.channel)
        if loop.time() - ticket.since_s > notice.keep_s:
            self._take_out(box, ticket)
            self._end(ticket, ticket.last or Receipt(Outcome.FAILED, reason="too old to be worth sending"))
            return
        if bridge is None:
            self._take_out(box, ticket)
            self._end(ticket, Receipt(Outcome.REVOKED, reason=f"{chat.channel} is not connected"))
            return
        if notice.urgency is Urgency.PROGRESS:
            self._take_out(box, ticket)  # a newer state may come while this one is on its way
        ids = self._ids(chat.no, notice.key) if notice.key is not None and not notice.anew else ()
        ticket.tries += 1
        self._pace(chat.channel, bridge).took(chat.address, loop.time(), group=_is_group(chat, bridge))
        receipt = await self._request(bridge, ticket, ids)
        ticket.last = receipt
        if notice.key is not None:
            box.edited_s[notice.key] = loop.time()
            if len(box.edited_s) > KEYS_KEPT:
                del box.edited_s[next(iter(box.edited_s))]
        if receipt.arrived:
            box.failures, box.closed_until_s = 0, 0.0
            self._arrived(ticket, receipt, ids)
            self._take_out(box, ticket)
            self._end(ticket, receipt)
            if ticket.notice is not notice and bridge.caps.edit:  # it was amended while it was on its way
                newer = replace(ticket.notice.message, silent=True)
                self.post(chat, replace(ticket.notice, urgency=Urgency.EVENT, message=newer, anew=False))
        elif ids and receipt.outcome in (Outcome.GONE, Outcome.REFUSED) and not notice.deletes:
            self._forget_post(chat.no, notice.key or "")  # somebody deleted it, or it is too old to be changed: say it anew
            if receipt.outcome is Outcome.GONE or notice.urgency is not Urgency.PROGRESS:
                self._again(box, ticket, 0.0)
            else:
                self._end(ticket, receipt)
        else:
            self._not_arrived(box, ticket, receipt, bridge)

    async def _request(self, bridge: Bridge, ticket: Ticket, ids: tuple[str, ...]) -> Receipt:
        to, notice = Address.parse(ticket.chat.address), ticket.notice
        limit_s = PROGRESS_S if notice.urgency is Urgency.PROGRESS and ids else REQUEST_S
        try:
            async with asyncio.timeout(limit_s):
                if notice.deletes:
                    if not ids:
                        return Receipt(Outcome.UNCHANGED)
                    receipts = [await bridge.delete(to, one) for one in ids]
                    return next((one for one in receipts if not one.arrived), receipts[0])
                if ids and bridge.caps.edit:
                    return await bridge.edit(to, ids[0], notice.message)
                return await bridge.send(to, notice.message)
        except TimeoutError:
            return Receipt(Outcome.UNSURE, reason=f"no answer within {limit_s:g} s")

    def _not_arrived(self, box: _Box, ticket: Ticket, receipt: Receipt, bridge: Bridge) -> None:
        loop = asyncio.get_running_loop()
        outcome, urgency = receipt.outcome, ticket.notice.urgency
        box.failures = box.failures + 1 if outcome in (Outcome.FAILED, Outcome.UNSURE) else 0
        pause_s = BACKOFF_S[min(max(box.failures - 1, 0), len(BACKOFF_S) - 1)] * random.uniform(1 - JITTER, 1 + JITTER)
        if outcome is Outcome.LATER:
            wait_s = receipt.retry_after_s or pause_s
            self._pace(ticket.chat.channel, bridge).hold(ticket.chat.address, loop.time() + wait_s)
            self._again(box, ticket, wait_s)
        elif outcome is Outcome.FAILED:
            wait_s = max(pause_s, receipt.retry_after_s or 0.0)
            self._pace(ticket.chat.channel, bridge).hold(ticket.chat.address, loop.time() + wait_s)
            self._again(box, ticket, wait_s)
        elif outcome is Outcome.UNSURE and (urgency is Urgency.PROGRESS or (urgency is Urgency.ALARM and ticket.tries == 1)):
            self._again(box, ticket, pause_s)  # an alarm rather twice than never; an edit twice is once
        else:
            if outcome in CLOSING:
                box.closed_until_s = loop.time() + CLOSED_S
            if outcome is Outcome.ASLEEP and urgency is not Urgency.PROGRESS and not ticket.notice.ahead:
                self.sleep(ticket.chat, ticket.notice)
            self._take_out(box, ticket)
            self._end(ticket, receipt)

    def _again(self, box: _Box, ticket: Ticket, wait_s: float) -> None:
        """Leave it where it is, or put progress back unless a newer state has come."""
        ticket.not_before_s = asyncio.get_running_loop().time() + wait_s
        notice = ticket.notice
        if notice.urgency is Urgency.PROGRESS:
            key = notice.key or notice.about
            if key in box.progress:
                ticket.cancel()
            else:
                box.progress[key] = ticket

    def _take_out(self, box: _Box, ticket: Ticket) -> None:
        for queue in (box.alarms, box.events):
            if ticket in queue:
                queue.remove(ticket)
        key = ticket.notice.key or ticket.notice.about
        if box.progress.get(key) is ticket:
            del box.progress[key]

    # --- what is kept

    def _end(self, ticket: Ticket, receipt: Receipt) -> None:
        if ticket.done.done():
            return
        ticket.done.set_result(receipt)
        notice, chat = ticket.notice, ticket.chat
        if notice.urgency is not Urgency.PROGRESS or not receipt.arrived or notice.closes:
            took_ms = int((asyncio.get_running_loop().time() - ticket.since_s) * 1000)
            row = DeliveryRow(
                0, self._clock.wall_us() // 1000, chat.channel, chat.no, notice.urgency, notice.about, receipt.outcome, receipt.reason,
                ticket.tries, took_ms,
            )  # fmt: skip
            self._meta.enqueue(lambda writes: writes.people.put(row), durable=False)
        self.on_receipt(ticket, receipt)

    def _arrived(self, ticket: Ticket, receipt: Receipt, ids: tuple[str, ...]) -> None:
        notice, chat = ticket.notice, ticket.chat
        if notice.deletes:
            self._forget_post(chat.no, notice.key or "")
            return
        if not receipt.message_ids or receipt.message_ids == ids or (ids and receipt.message_ids[0] == ids[0]):
            return
        if notice.key is not None:
            self._keep_ids(chat.no, notice.key, receipt.message_ids)
        row = PostRow(0, chat.no, notice.key or notice.about, list(receipt.message_ids), self._clock.wall_us() // 1000)
        self._meta.enqueue(lambda writes: writes.people.put(row), durable=False)

    def _ids(self, chat_no: int, key: str) -> tuple[str, ...]:
        """The messages of a key in a chat, also those of before a restart."""
        known = self._posts.get((chat_no, key))
        if known is None:
            try:
                with self._meta.read() as reads:
                    rows = reads.people.posts(key, chat_no)
            except Exception:  # a message too many is better than an alarm that nobody hears
                log.exception("the database does not say which message stands in a chat")
                return ()
            known = tuple(rows[-1].message_ids) if rows else ()
            self._keep_ids(chat_no, key, known)
        return known

    def _keep_ids(self, chat_no: int, key: str, ids: tuple[str, ...]) -> None:
        self._posts[(chat_no, key)] = ids
        if len(self._posts) > KEYS_KEPT:
            del self._posts[next(iter(self._posts))]

    def _forget_post(self, chat_no: int, key: str) -> None:
        self._keep_ids(chat_no, key, ())
        self._meta.enqueue(lambda writes: writes.people.forget_posts(key, chat_no), durable=False)

    def _pace(self, channel: str, bridge: Bridge) -> Pace:
        pace = self._paces.get(channel)
        if pace is None:
            pace = self._paces[channel] = Pace(bridge.caps.rates)
        return pace


def _is_group(chat: ChatRow, bridge: Bridge) -> bool:
    """Whether others read along, as far as is known: what belongs to nobody and cannot be told by its address is taken for a group."""
    return chat.person_no is None and chat.address.startswith(bridge.caps.group_prefix)
