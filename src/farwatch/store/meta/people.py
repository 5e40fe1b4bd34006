"""People, their chats, and what was sent there: rows, reading and changing. Used through `Reads` and `Writes` by their connection."""

import dataclasses
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from farwatch.store.meta import tables
from farwatch.store.meta.rows import Row

POSTS_KEPT_MS = 30 * 86_400_000
DELIVERIES_KEPT_MS = 90 * 86_400_000


@dataclass(frozen=True, slots=True)
class PersonRow(Row):
    """Somebody who may be told of runs, and ask what `scopes` allow. `no` is 0 before it is stored."""

    table = tables.person
    in_json = frozenset({"scopes", "settings"})

    no: int
    name: str
    scopes: list[str]
    settings: dict[str, Any]
    created_ms: int
    removed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class IdentityRow(Row):
    """A user of a service who is this person."""

    table = tables.identity

    channel: str
    user: str
    person_no: int
    name: str
    paired_ms: int


@dataclass(frozen=True, slots=True)
class ChatRow(Row):
    """A conversation to which things are sent. `person_no`: None for a group, and for what the environment names."""

    table = tables.chat
    in_json = frozenset({"settings"})

    no: int
    channel: str
    address: str
    person_no: int | None
    title: str
    place: int
    settings: dict[str, Any]
    created_ms: int
    removed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class StrangerRow(Row):
    """Somebody who wrote and is nobody here."""

    table = tables.stranger

    channel: str
    user: str
    name: str
    address: str
    first_ms: int
    last_ms: int
    times: int


@dataclass(frozen=True, slots=True)
class PostRow(Row):
    """Messages in a chat, and what they are about."""

    table = tables.post
    in_json = frozenset({"message_ids"})

    no: int
    chat_no: int
    about: str
    message_ids: list[str]
    sent_ms: int


@dataclass(frozen=True, slots=True)
class DeliveryRow(Row):
    """What became of one notice in one chat. `took_ms`: from the notice to the service's answer."""

    table = tables.delivery

    no: int
    at_ms: int
    channel: str
    chat_no: int
    kind: str
    about: str
    outcome: str
    reason: str
    tries: int
    took_ms: int


class PeopleReads:
    """Reading. Lives as long as the connection's transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def persons(self) -> list[PersonRow]:
        """Everybody who is not removed, in order of their numbers."""
        table = tables.person
        query = select(table).where(table.c.removed_ms.is_(None)).order_by(table.c.no)
        return [PersonRow.read(row) for row in self._connection.execute(query)]

    def identities(self) -> list[IdentityRow]:
        """All users of services who are somebody here."""
        return [IdentityRow.read(row) for row in self._connection.execute(select(tables.identity))]

    def chats(self) -> list[ChatRow]:
        """All chats that are not removed, in the order in which they are tried."""
        table = tables.chat
        query = select(table).where(table.c.removed_ms.is_(None)).order_by(table.c.place, table.c.no)
        return [ChatRow.read(row) for row in self._connection.execute(query)]

    def chat_at(self, channel: str, address: str) -> ChatRow | None:
        """A chat by its address, also one that was removed."""
        table = tables.chat
        found = self._connection.execute(select(table).where(table.c.channel == channel, table.c.address == address)).first()
        return None if found is None else ChatRow.read(found)

    def strangers(self, limit: int = 100) -> list[StrangerRow]:
        """Who wrote and is nobody here, the newest first."""
        table = tables.stranger
        query = select(table).order_by(table.c.last_ms.desc(), table.c.first_ms.desc()).limit(limit)
        return [StrangerRow.read(row) for row in self._connection.execute(query)]

    def posts(self, about: str, chat_no: int | None = None) -> list[PostRow]:
        """Messages about something, oldest first."""
        table = tables.post
        where = [table.c.about == about, *([] if chat_no is None else [table.c.chat_no == chat_no])]
        return [PostRow.read(row) for row in self._connection.execute(select(table).where(*where).order_by(table.c.no))]

    def post_of_message(self, chat_no: int, message_id: str) -> PostRow | None:
        """What a message in a chat is about; None for one that is not ours, or too old."""
        table = tables.post
        query = select(table).where(table.c.chat_no == chat_no).order_by(table.c.no.desc()).limit(2_000)
        return next((post for row in self._connection.execute(query) if message_id in (post := PostRow.read(row)).message_ids), None)

    def deliveries(self, *, about: str | None = None, before: int | None = None, limit: int = 100) -> list[DeliveryRow]:
        """What became of notices, the newest first."""
        table = tables.delivery
        where = [*([] if about is None else [table.c.about == about]), *([] if before is None else [table.c.no < before])]
        query = select(table).where(*where).order_by(table.c.no.desc()).limit(limit)
        return [DeliveryRow.read(row) for row in self._connection.execute(query)]

    def deliveries_of(self, abouts: Collection[str]) -> list[DeliveryRow]:
        """What became of notices about any of these, the oldest first."""
        table = tables.delivery
        query = select(table).where(table.c.about.in_(abouts)).order_by(table.c.no)
        return [DeliveryRow.read(row) for row in self._connection.execute(query)]

    def last_delivery(self, chat_no: int) -> DeliveryRow | None:
        """The newest delivery of a chat."""
        table = tables.delivery
        newest = select(func.max(table.c.no)).where(table.c.chat_no == chat_no).scalar_subquery()
        found = self._connection.execute(select(table).where(table.c.no == newest)).first()
        return None if found is None else DeliveryRow.read(found)

    def last_deliveries(self) -> dict[int, DeliveryRow]:
        """The newest delivery of each chat."""
        table = tables.delivery
        newest = select(func.max(table.c.no)).group_by(table.c.chat_no)
        found = [DeliveryRow.read(row) for row in self._connection.execute(select(table).where(table.c.no.in_(newest)))]
        return {row.chat_no: row for row in found}


class PeopleWrites(PeopleReads):
    """Changing. Lives as long as the transaction."""

    def put(self, row: PersonRow | ChatRow | PostRow | DeliveryRow) -> Any:
        """Store a new row, whose number is 0, or a changed one; returns it with its number."""
        columns = row.columns()
        del columns["no"]
        if row.no:
            self._connection.execute(update(row.table).where(row.table.c.no == row.no).values(columns))
            return row
        no = self._connection.execute(insert(row.table).values(columns)).inserted_primary_key[0]  # type: ignore[index]
        return dataclasses.replace(row, no=no)

    def put_identity(self, row: IdentityRow) -> None:
        """Store who a user of a service is; somebody else's before is theirs no more."""
        table = tables.identity
        self._connection.execute(delete(table).where(table.c.channel == row.channel, table.c.user == row.user))
        self._connection.execute(insert(table).values(row.columns()))

    def put_stranger(self, row: StrangerRow, most: int) -> None:
        """Note that a stranger wrote; of more than `most` the oldest is forgotten."""
        table = tables.stranger
        mine = and_(table.c.channel == row.channel, table.c.user == row.user)
        known = self._connection.execute(select(table).where(mine)).first()
        if known is not None:
            again = {"last_ms": row.last_ms, "times": table.c.times + 1, "name": row.name, "address": row.address}
            self._connection.execute(update(table).where(mine).values(again))
            return
        self._connection.execute(insert(table).values(row.columns()))
        kept = select(table.c.channel, table.c.user).order_by(table.c.last_ms.desc()).limit(-1).offset(most)
        for channel, user in self._connection.execute(kept).all():
            self._connection.execute(delete(table).where(table.c.channel == channel, table.c.user == user))

    def forget_stranger(self, channel: str, user: str) -> None:
        """Take one off the list."""
        table = tables.stranger
        self._connection.execute(delete(table).where(table.c.channel == channel, table.c.user == user))

    def forget_identities(self, person_no: int, channel: str | None = None) -> None:
        """Make the users of services who were this person strangers again."""
        table = tables.identity
        where = [table.c.person_no == person_no, *([] if channel is None else [table.c.channel == channel])]
        self._connection.execute(delete(table).where(*where))

    def forget_channel(self, channel: str) -> None:
        """Forget all users of a service that is connected no more, strangers included."""
        for table in (tables.identity, tables.stranger):
            self._connection.execute(delete(table).where(table.c.channel == channel))

    def forget_posts(self, about: str, chat_no: int) -> None:
        """Forget messages about something in a chat, which have been taken back."""
        table = tables.post
        self._connection.execute(delete(table).where(table.c.about == about, table.c.chat_no == chat_no))

    def forget_old(self, now_ms: int) -> None:
        """Drop what nobody will ask for any more."""
        post, delivery = tables.post, tables.delivery
        self._connection.execute(delete(post).where(post.c.sent_ms < now_ms - POSTS_KEPT_MS))
        self._connection.execute(delete(delivery).where(delivery.c.at_ms < now_ms - DELIVERIES_KEPT_MS))

    def put_deliveries(self, rows: Iterable[DeliveryRow]) -> None:
        """Store several at once."""
        listed = [{name: value for name, value in row.columns().items() if name != "no"} for row in rows]
        if listed:
            self._connection.execute(insert(tables.delivery), listed)
