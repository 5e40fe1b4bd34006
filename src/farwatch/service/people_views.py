"""People, their chats and what was sent there, as JSON. No code and no credential is in it."""

from collections.abc import Iterable, Mapping
from typing import Any

from farwatch.service.people import ChatRow, DeliveryRow, Meta, People, Person

ARRIVED = frozenset({"sent", "unchanged"})


class PeopleViews:
    """Shows people. *Threads*: any. *Cost*: one query each."""

    def __init__(self, people: People, meta: Meta) -> None:
        self._people = people
        self._meta = meta

    def all(self, *, whole: bool) -> dict[str, Any]:
        """Everybody, all chats, and strangers. `whole`: with addresses and users as they are, which are ids of people elsewhere."""
        people = self._people
        with self._meta.read() as reads:
            last = reads.people.last_deliveries()
        return {
            "owner": people.owner,
            "people": [self.person(one) for one in people.persons()],
            "chats": [self._chat(row, whole, last.get(row.no)) for row in people.chats()],
            "strangers": [
                {
                    "channel": row.channel, "user_name": row.name, "user": row.user if whole else masked(row.user),
                    "first_ms": row.first_ms, "last_ms": row.last_ms, "times": row.times,
                }
                for row in people.strangers()
            ],
            "closed": people.closed,
        }  # fmt: skip

    def person(self, person: Person) -> dict[str, Any]:
        """One person, with the numbers of their chats in the order in which they are tried."""
        settings = person.settings
        identities = sorted(self._people.identities_of(person.no), key=lambda row: row.paired_ms)
        return {
            "no": person.no, "name": person.name, "scopes": sorted(person.scopes),
            "settings": {"lang": settings.get("lang"), "zone": settings.get("zone"), "quiet": settings.get("quiet")},
            "identities": [{"channel": row.channel, "user_name": row.name, "paired_ms": row.paired_ms} for row in identities],
            "chats": [row.no for row in self._people.chats(person_no=person.no)],
        }  # fmt: skip

    def chat(self, row: ChatRow, *, whole: bool) -> dict[str, Any]:
        """One chat, with the newest delivery there."""
        with self._meta.read() as reads:
            return self._chat(row, whole, reads.people.last_delivery(row.no))

    def _chat(self, row: ChatRow, whole: bool, last: DeliveryRow | None) -> dict[str, Any]:
        return {
            "no": row.no, "channel": row.channel, "address": row.address if whole else masked(row.address), "person": row.person_no,
            "title": row.title, "settings": dict(row.settings), "created_ms": row.created_ms,
            "last": None if last is None else self._delivery(last, {row.no: row}),
        }  # fmt: skip

    def deliveries(self, about: str | None, before: int | None, limit: int) -> list[dict[str, Any]]:
        """What became of notices, the newest first."""
        with self._meta.read() as reads:
            rows = reads.people.deliveries(about=about, before=before, limit=limit)
        chats = self._chats()
        return [self._delivery(row, chats) for row in rows]

    def _delivery(self, row: DeliveryRow, chats: Mapping[int, ChatRow]) -> dict[str, Any]:
        chat = chats.get(row.chat_no)
        return {
            "id": row.no, "at_ms": row.at_ms, "channel": row.channel, "chat": row.chat_no, "title": "" if chat is None else chat.title,
            "kind": row.kind, "about": row.about, "outcome": row.outcome, "reason": row.reason, "tries": row.tries, "took_ms": row.took_ms,
        }  # fmt: skip

    def told(self, abouts: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """Whom each of these has reached: one entry per chat, of the first time that it arrived, or of the last try."""
        wanted = list(abouts)
        if not wanted:
            return {}
        with self._meta.read() as reads:
            rows = reads.people.deliveries_of(wanted)
        best: dict[tuple[str, int], DeliveryRow] = {}
        for row in rows:
            known = best.get((row.about, row.chat_no))
            if known is None or known.outcome not in ARRIVED:  # what changes a message later is no news of it
                best[row.about, row.chat_no] = row
        chats, names = self._chats(), {person.no: person.name for person in self._people.persons()}
        found: dict[str, list[dict[str, Any]]] = {}
        for row in sorted(best.values(), key=lambda row: (row.at_ms, row.no)):
            chat = chats.get(row.chat_no)
            who = "" if chat is None else names.get(chat.person_no or 0) or chat.title
            entry = {"who": who or row.channel, "channel": row.channel, "outcome": row.outcome, "at_ms": row.at_ms}
            found.setdefault(row.about, []).append(entry)
        return found

    def _chats(self) -> dict[int, ChatRow]:
        return {row.no: row for row in self._people.chats()}


def masked(address: str) -> str:
    """The last four characters of an id of somebody."""
    return f"•••{address[-4:]}" if len(address) > 4 else "•••"
