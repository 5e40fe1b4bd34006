"""Who may be told of runs and command them from a chat: people, their identities, pairing by one-time codes, strangers.

Deny by default. An identity is a service's own immutable id of a user, never a name, and an empty list means nobody. Whoever is not paired
gets no answer, whatever they write, and stands on a list. What a person may do hangs on the person, not on the chat that they write in.
"""

import hashlib
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from farwatch.clock import Clock
from farwatch.errors import ForbiddenError, LimitError, NotFoundError, UsageError
from farwatch.service.access import Actor
from farwatch.service.people_settings import PERSON_SCOPES, checked_chat, checked_person, checked_scopes
from farwatch.service.sidecar import text
from farwatch.store.meta import ChatRow, DeliveryRow, IdentityRow, Meta, PersonRow, PostRow, StrangerRow

__all__ = ["ChatRow", "DeliveryRow", "Meta", "People", "Person", "PostRow", "StrangerRow"]

LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # 31 that nobody confuses: 8 of them are 40 bits
CODE_LENGTH = 8
CODE_S = 600.0
CODES_MAX = 20
TRIES_EACH = 5  # wrong codes of one user
TRIES_ALL = 20  # of all users together within an hour; then pairing closes for the rest of it
TRIES_US = 3_600_000_000
PERSONS_MAX = 1_000
CHATS_MAX = 1_000
STRANGERS_MAX = 200
NAME_MAX = 100


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody. `scopes`: what they may do. `settings`: `lang`, `zone`, `quiet`, as `checked_person` has them."""

    no: int
    name: str
    scopes: frozenset[str]
    settings: Mapping[str, Any]

    def actor(self) -> Actor:
        """The person as one who asks for something."""
        return Actor(self.name, self.scopes, "chat", f"person:{self.no}")

    @property
    def lang(self) -> str:
        """`en` or `zh`."""
        return str(self.settings.get("lang") or "en")


@dataclass(slots=True)
class _Code:
    """A pairing that was offered. `ends_us`: on the monotonic clock."""

    person_no: int | None
    name: str
    scopes: tuple[str, ...]
    ends_us: int
    channel: str | None


class People:
    """All people of a server.

    *Threads*: any. *Cost*: looking up is in memory; a change is a durable write. `on_change`: called after a change of people or chats.
    """

    def __init__(self, meta: Meta, clock: Clock, *, owner: str) -> None:
        self._meta = meta
        self._clock = clock
        self.owner = owner
        self.on_change: Callable[[], None] = lambda: None
        self._lock = threading.RLock()  # over everything below; held for memory operations only
        self._codes: dict[str, _Code] = {}
        self._misses: dict[tuple[str, str], int] = {}
        self._missed_us: deque[int] = deque()
        self._load()

    def _load(self) -> None:
        with self._meta.read() as reads:
            persons, identities, chats = reads.people.persons(), reads.people.identities(), reads.people.chats()
        with self._lock:
            self._persons = {
                row.no: Person(row.no, row.name, frozenset(row.scopes) & set(PERSON_SCOPES), row.settings) for row in persons
            }
            self._identities = {(row.channel, row.user): row for row in identities if row.person_no in self._persons}
            self._chats = {row.no: row for row in chats}
            self._by_address = {(row.channel, row.address): row for row in chats}

    def _changed(self) -> None:
        self._load()
        self.on_change()

    # --- looking

    def person(self, no: int) -> Person:
        """A person by number. Raises `NotFoundError`."""
        with self._lock:
            found = self._persons.get(no)
        if found is None:
            raise NotFoundError(f"no person with the number: `{no}`")
        return found

    def persons(self) -> list[Person]:
        """Everybody."""
        with self._lock:
            return list(self._persons.values())

    def who(self, channel: str, user: str) -> Person | None:
        """The person whom a service calls `user`; None for a stranger."""
        with self._lock:
            identity = self._identities.get((channel, user))
            return None if identity is None else self._persons.get(identity.person_no)

    def identities_of(self, person_no: int) -> list[IdentityRow]:
        """Whom services call this person."""
        with self._lock:
            return [row for row in self._identities.values() if row.person_no == person_no]

    def chats(self, *, channel: str | None = None, person_no: int | None = None) -> list[ChatRow]:
        """Chats in the order in which they are tried."""
        with self._lock:
            return [
                row for row in self._chats.values()
                if (channel is None or row.channel == channel) and (person_no is None or row.person_no == person_no)
            ]  # fmt: skip

    def chat(self, no: int) -> ChatRow:
        """A chat by number. Raises `NotFoundError`."""
        with self._lock:
            found = self._chats.get(no)
        if found is None:
            raise NotFoundError(f"no chat with the number: `{no}`")
        return found

    def chat_at(self, channel: str, address: str) -> ChatRow | None:
        """A chat by its address; None for one that nothing is sent to."""
        with self._lock:
            return self._by_address.get((channel, address))

    def lang_of(self, chat: ChatRow) -> str:
        """The language of a chat: its own, its person's, else English."""
        own = chat.settings.get("lang")
        if own is None and chat.person_no is not None:
            with self._lock:
                person = self._persons.get(chat.person_no)
            own = None if person is None else person.lang
        return str(own or "en")

    # --- pairing

    def offer(
        self, name: str | None = None, scopes: Iterable[str] = ("read", "steer"), *, person_no: int | None = None,
        channel: str | None = None,
    ) -> tuple[str, float]:  # fmt: skip
        """A code that makes whoever sends it to a bot a person with these scopes, or another identity of `person_no`.

        Returns the code and for how many seconds it is good; it is good once. `channel`: the only one where it counts.
        Raises `UsageError` for a name or scopes that cannot be, `NotFoundError`.
        """
        asked = checked_scopes(scopes)
        if person_no is not None:
            asked = tuple(sorted(self.person(person_no).scopes))
        named = text(name, NAME_MAX) or self.owner
        code = "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))
        now_us = self._clock.mono_us()
        with self._lock:
            self._codes = {one: about for one, about in self._codes.items() if about.ends_us > now_us}
            while len(self._codes) >= CODES_MAX:
                del self._codes[next(iter(self._codes))]
            self._codes[_digest(code)] = _Code(person_no, named, asked, now_us + int(CODE_S * 1e6), channel)
            # Whoever makes a code stands at this server: the door that guessing has closed is open again.
            self._missed_us.clear()
            self._misses.clear()
        return code, CODE_S

    def redeem(self, channel: str, user: str, user_name: str, said: str, *, address: str, group: bool, title: str = "") -> Person | None:
        """Take what a stranger has written as a code; None if it is none, after noting the stranger.

        In a group nobody is paired: others read along. A code that was used, or is too old, is none.
        """
        code = read_code(said)
        now_us = self._clock.mono_us()
        taken: _Code | None = None
        if code is not None and not group:
            with self._lock:
                while self._missed_us and self._missed_us[0] < now_us - TRIES_US:
                    self._missed_us.popleft()
                tries = self._misses.get((channel, user), 0)
                if tries < TRIES_EACH and len(self._missed_us) < TRIES_ALL:
                    known = self._codes.get(_digest(code))
                    if known is not None and known.ends_us > now_us and known.channel in (None, channel):
                        taken = self._codes.pop(_digest(code))
                    else:
                        if len(self._misses) > 10_000:
                            self._misses.clear()
                        self._misses[(channel, user)] = tries + 1
                        self._missed_us.append(now_us)
        if taken is None:
            self.note_stranger(channel, user, user_name, address)
            return None
        return self._pair(taken, channel, user, user_name, address, title)

    def bind(self, channel: str, user: str, name: str) -> Person:
        """Make a user of a service who has logged in at this server somebody: the person of this name, or a new one who may do all."""
        known = self.who(channel, user)
        if known is not None:
            return known
        same = next((one for one in self.persons() if one.name == name), None)
        code = _Code(None if same is None else same.no, name, PERSON_SCOPES, 0, channel)
        return self._pair(code, channel, user, name, user, "")

    def _pair(self, code: _Code, channel: str, user: str, user_name: str, address: str, title: str) -> Person:
        now_ms = self._now_ms()
        name = text(user_name, NAME_MAX) or ""

        def write(writes: Any) -> int:
            people = writes.people
            person_no = code.person_no
            if person_no is None:
                person_no = people.put(PersonRow(0, code.name, list(code.scopes), {}, now_ms)).no
            people.put_identity(IdentityRow(channel, user, person_no, name, now_ms))
            people.forget_stranger(channel, user)
            self._put_chat(people, channel, address, person_no, text(title, NAME_MAX) or name, now_ms)
            about = {"channel": channel, "user": user, "scopes": list(code.scopes)}
            writes.add_audit(now_ms, code.name, "person.paired", str(person_no), about)
            return int(person_no)

        person_no = self._meta.write(write)
        self._changed()
        return self.person(person_no)

    def _put_chat(self, people: Any, channel: str, address: str, person_no: int | None, title: str, now_ms: int) -> ChatRow:
        """Make a chat, or bring one back that was removed; whose it was before does not count."""
        known = people.chat_at(channel, address)
        if known is not None:
            settings = known.settings if known.person_no == person_no else {}
            changed = replace(known, person_no=person_no, title=title or known.title, settings=settings, removed_ms=None)
            return people.put(changed)  # type: ignore[no-any-return]
        place = max((row.place for row in self.chats(person_no=person_no)), default=-1) + 1
        return people.put(ChatRow(0, channel, address, person_no, title, place, {}, now_ms))  # type: ignore[no-any-return]

    def note_stranger(self, channel: str, user: str, user_name: str, address: str) -> None:
        """Put somebody who wrote and is nobody here on the list."""
        now_ms = self._now_ms()
        row = StrangerRow(channel, user[:NAME_MAX], text(user_name, NAME_MAX) or "", address[:200], now_ms, now_ms, 1)
        self._meta.write(lambda writes: writes.people.put_stranger(row, STRANGERS_MAX), durable=False)

    def strangers(self) -> list[StrangerRow]:
        """Who wrote and is nobody here, the newest first."""
        with self._meta.read() as reads:
            return reads.people.strangers(STRANGERS_MAX)

    @property
    def closed(self) -> bool:
        """Whether so many wrong codes have come that none counts for now; a new code opens the door again."""
        now_us = self._clock.mono_us()
        with self._lock:
            return sum(when > now_us - TRIES_US for when in self._missed_us) >= TRIES_ALL

    # --- changing

    def add_chat(self, channel: str, address: str, *, person_no: int | None = None, title: str = "", by: str | None = None) -> ChatRow:
        """Make a chat that things are sent to. `by`: who asked for it. Raises `UsageError`, `LimitError`, `NotFoundError`."""
        if person_no is not None:
            self.person(person_no)
        if not address or len(address) > 200:
            raise UsageError("the address of a chat has 1 to 200 characters")
        if len(self.chats()) >= CHATS_MAX:
            raise LimitError(f"{CHATS_MAX} chats are the most")
        known = self.chat_at(channel, address)
        if known is not None and known.person_no == person_no:
            return known
        now_ms = self._now_ms()
        named = text(title, NAME_MAX) or ""

        def write(writes: Any) -> ChatRow:
            if by is not None:
                writes.add_audit(now_ms, by, "chat.added", channel, {"address": address, "person": person_no})
            return self._put_chat(writes.people, channel, address, person_no, named, now_ms)

        row = self._meta.write(write)
        self._changed()
        return self.chat(row.no)

    def change_person(self, no: int, asked: Mapping[str, Any], actor: Actor) -> Person:
        """Change `name`, `scopes`, `lang`, `zone`, `quiet` or the order of `chats` (numbers). Raises `UsageError`, `NotFoundError`,
        `ForbiddenError` for a scope that the asker has not.
        """
        old = self.person(no)
        own = {key: value for key, value in asked.items() if key not in ("name", "scopes", "chats")}
        settings = {key: value for key, value in {**old.settings, **checked_person(own)}.items() if value is not None}
        scopes = tuple(sorted(old.scopes)) if "scopes" not in asked else checked_scopes(asked["scopes"])
        more = set(scopes) - old.scopes - actor.scopes
        if more:
            raise ForbiddenError(f"only who has a scope can give it: `{sorted(more)[0]}`")
        name = old.name if "name" not in asked else text(asked["name"], NAME_MAX)
        if not name:
            raise UsageError(f"a name has 1 to {NAME_MAX} characters")
        order = self._order(no, asked["chats"]) if "chats" in asked else []
        now_ms = self._now_ms()

        def write(writes: Any) -> None:
            known = next((row for row in writes.people.persons() if row.no == no), None)
            if known is None:
                raise NotFoundError(f"no person with the number: `{no}`")
            writes.people.put(replace(known, name=name, scopes=list(scopes), settings=settings))
            for place, row in enumerate(order):
                writes.people.put(replace(row, place=place))
            writes.add_audit(now_ms, actor.name, "person.changed", str(no), {"asked": dict(asked)})

        self._meta.write(write)
        self._changed()
        return self.person(no)

    def _order(self, person_no: int, asked: Any) -> list[ChatRow]:
        mine = {row.no: row for row in self.chats(person_no=person_no)}
        if not isinstance(asked, list) or sorted(map(str, asked)) != sorted(map(str, mine)):
            raise UsageError("`chats` lists the numbers of all chats of this person, in the order in which they are tried")
        return [mine[int(one)] for one in asked]

    def change_chat(self, no: int, asked: Mapping[str, Any], actor_name: str) -> ChatRow:
        """Change settings of a chat; a value of None is the default again. Raises `UsageError`, `NotFoundError`."""
        old = self.chat(no)
        settings = {key: value for key, value in {**old.settings, **checked_chat(asked)}.items() if value is not None}
        now_ms = self._now_ms()

        def write(writes: Any) -> None:
            writes.people.put(replace(old, settings=settings))
            writes.add_audit(now_ms, actor_name, "chat.changed", str(no), {"asked": dict(asked)})

        self._meta.write(write)
        self._changed()
        return self.chat(no)

    def remove_person(self, no: int, actor_name: str) -> None:
        """Make somebody a stranger again, with all their chats. Raises `NotFoundError`."""
        self.person(no)
        now_ms = self._now_ms()

        def write(writes: Any) -> None:
            for row in writes.people.persons():
                if row.no == no:
                    writes.people.put(replace(row, removed_ms=now_ms, settings={}))
            writes.people.forget_identities(no)
            for chat in writes.people.chats():
                if chat.person_no == no:
                    writes.people.put(replace(chat, removed_ms=now_ms, settings={}))
            writes.add_audit(now_ms, actor_name, "person.removed", str(no))

        self._meta.write(write)
        self._changed()

    def remove_chat(self, no: int, actor_name: str) -> None:
        """Send nothing more to a chat; who wrote there in private is a stranger on that channel. Raises `NotFoundError`."""
        row = self.chat(no)
        now_ms = self._now_ms()

        def write(writes: Any) -> None:
            writes.people.put(replace(row, removed_ms=now_ms, settings={}))
            others = [one for one in self.chats(channel=row.channel, person_no=row.person_no) if one.no != no]
            if row.person_no is not None and not others:
                writes.people.forget_identities(row.person_no, row.channel)
            writes.add_audit(now_ms, actor_name, "chat.removed", str(no), {"channel": row.channel})

        self._meta.write(write)
        self._changed()

    def forget_channel(self, channel: str, actor_name: str) -> list[int]:
        """A channel is no more: its chats get nothing, and whoever it knew is a stranger there. Returns the numbers of the chats."""
        chats = self.chats(channel=channel)
        now_ms = self._now_ms()

        def write(writes: Any) -> None:
            for row in chats:
                writes.people.put(replace(row, removed_ms=now_ms, settings={}))
            writes.people.forget_channel(channel)
            writes.add_audit(now_ms, actor_name, "channel.removed", channel)

        self._meta.write(write)
        self._changed()
        return [row.no for row in chats]

    def forget_stranger(self, channel: str, user: str, actor_name: str) -> None:
        """Take somebody off the list of strangers, who comes back on it by writing again."""
        now_ms = self._now_ms()

        def write(writes: Any) -> None:
            writes.people.forget_stranger(channel, user)
            writes.add_audit(now_ms, actor_name, "stranger.removed", channel)

        self._meta.write(write)

    def _now_ms(self) -> int:
        return self._clock.wall_us() // 1000


def read_code(said: str) -> str | None:
    """A pairing code in what somebody wrote: alone, or after `/start`, as a link sends it; in any case, with blanks or hyphens."""
    words = said.strip()
    if words.lower().startswith("/start"):
        words = words[6:]
    letters = "".join(words.split()).replace("-", "").upper()
    return letters if len(letters) == CODE_LENGTH and all(one in LETTERS for one in letters) else None


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()

