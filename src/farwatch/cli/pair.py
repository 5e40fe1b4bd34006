"""`farwatch pair`: who may be told and ask in chats. A code, sent to a bot once, makes its sender somebody here."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from farwatch.api import Api
from farwatch.api.contact import Contact, quoted
from farwatch.cli.output import clean, emit, emit_json, moment, say, server_options, table
from farwatch.cli.qr import draw_qr
from farwatch.clock import Clock, SystemClock
from farwatch.errors import FarwatchError, UsageError

SCOPES = ("read", "steer", "start")
LOOK_S = 1.0


@click.command()
@click.argument("words", nargs=-1, metavar="[NAME]")
@click.option("--may", type=click.Choice(SCOPES), multiple=True, help="What they may; default: read and steer. May be given several times.")
@click.option("--person", type=int, metavar="NO", help="Another account of this person, by their number in the list.")
@click.option("--channel", metavar="NAME", help="The code counts on this channel only.")
@click.option("--wait", is_flag=True, help="Wait until somebody has sent the code; exit with 1 if nobody does.")
@click.option("--list", "listing", is_flag=True, help="List people, their chats, and strangers who have written.")
@click.option("--remove", metavar="NO", help="Make person NO a stranger again; with chat/NO, send nothing more to that chat.")
@click.option("--set", "change", metavar="NO", help="Change person NO, or chat/NO, by words FIELD=VALUE such as quiet=23:00-08:00.")
@server_options
def pair(
    words: tuple[str, ...], may: tuple[str, ...], person: int | None, channel: str | None, wait: bool, listing: bool, remove: str | None,
    change: str | None, as_json: bool, server: str | None,
) -> None:  # fmt: skip
    """Make a code for NAME (default: you), to be sent to the bot in a chat. It is good once, for ten minutes.

    Whoever was paired is told of runs, with `--may steer` stops and changes them, and with `--may start` starts new ones. Fields of a
    person: quiet, zone, lang, name; of a chat: detail (full, minimal), progress (edit, off), alarms, events, projects, lang.
    """
    if sum(map(bool, (listing, remove, change))) > 1 or ((listing or remove) and words) or (
        (listing or remove or change) and (may or person or channel or wait)
    ):
        raise UsageError("--list, --remove and --set stand alone")
    name = " ".join(words) or None
    with Api(server) as api:
        contact = api._contact
        if listing:
            _list(contact.get("/people"), as_json)
        elif remove:
            _remove(contact, remove, as_json)
        elif change:
            _change(contact, change, words, as_json)
        else:
            offer = ask_code(contact, name=name, scopes=may, person=person, channel=channel)
            before = identities(contact) if wait else frozenset()
            show_code(offer)
            if not as_json:
                emit(offer["code"])
            found = wait_for_person(contact, before, offer, channel, SystemClock()) if wait else None
            if as_json:
                emit_json({**offer, "person": found})
            elif found is not None:
                greet(found)


# --- codes, for `farwatch connect` as well


def ask_code(contact: Contact, *, name: str | None, scopes: Sequence[str], person: int | None, channel: str | None) -> dict[str, Any]:
    """A new code, with where it can be sent."""
    body: dict[str, Any] = {"scopes": [*dict.fromkeys(("read", *scopes))]} if scopes else {}
    body |= {key: value for key, value in (("name", name), ("person", person), ("channel", channel)) if value is not None}
    return contact.send("POST", "/people/pair", body)


def show_code(offer: Mapping[str, Any]) -> None:
    """Say where to send a code; draw links that open the chat with it."""
    links = offer["links"]
    if not links:
        say("no two-way service is connected, so that nobody could send the code; connect one with: farwatch connect")
    for one in links:
        say(f"{clean(one['channel'])}: {clean(one['text'])}")
        if one["link"]:
            say(clean(one["link"]))
            if len(links) == 1:
                draw_qr(one["link"])
    say(f"the code {clean(offer['code'])} is good once, for {offer['seconds'] // 60} minutes")


Identity = tuple[int, str, str, int]


def identities(contact: Contact) -> frozenset[Identity]:
    """Who is paired where."""
    return _identities(contact.get("/people"))


def _identities(told: Mapping[str, Any]) -> frozenset[Identity]:
    return frozenset(
        (person["no"], one["channel"], one["user_name"], one["paired_ms"]) for person in told["people"] for one in person["identities"]
    )


def wait_for_person(
    contact: Contact, before: frozenset[Identity], offer: Mapping[str, Any], channel: str | None, clock: Clock
) -> dict[str, Any]:
    """Wait until somebody was paired who was not `before`; returns the person. Raises `FarwatchError` when the code has run out."""
    end_us = clock.mono_us() + int(offer["seconds"] * 1e6)
    while clock.mono_us() < end_us:
        told = contact.get("/people")
        for no, where, user_name, _ in sorted(_identities(told) - before):
            if channel in (None, where):
                found = next(one for one in told["people"] if one["no"] == no)
                return {**found, "channel": where, "user_name": user_name}
        clock.sleep(LOOK_S)
    raise FarwatchError("nobody has sent the code in time", hint="make another one with: farwatch pair --wait")


def greet(person: Mapping[str, Any]) -> None:
    """Say who was paired."""
    known = f", {clean(person['user_name'])}" if person["user_name"] else ""
    say(f"paired: {clean(person['name'])} ({clean(person['channel'])}{known}) may {' and '.join(person['scopes'])}")


# --- the list


def _list(told: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(told)
        return
    people = told["people"]
    names = {person["no"]: person["name"] for person in people}
    if people:
        rows = [(one["no"], one["name"], " ".join(one["scopes"]), _accounts(one), _hours(one)) for one in people]
        table(rows, ("no", "person", "may", "accounts", "quiet"), right=frozenset({0}))
    else:
        say("nobody is paired yet; make a code with: farwatch pair")
    if told["chats"]:
        emit("")
        chats = [
            (one["no"], one["channel"], one["title"] or one["address"], names.get(one["person"], "a group"), _last(one["last"]))
            for one in told["chats"]
        ]
        table(chats, ("chat", "channel", "where", "of", "last"), right=frozenset({0}))
    if told["strangers"]:
        emit("")
        strangers = [(one["channel"], one["user_name"], one["user"], one["times"], moment(one["last_ms"])) for one in told["strangers"]]
        table(strangers, ("channel", "stranger", "id", "wrote", "last"), right=frozenset({3}))
    if told["closed"]:
        say("too many wrong codes have come: no code is taken until you make a new one")


def _accounts(person: Mapping[str, Any]) -> str:
    return ", ".join(f"{one['channel']} {one['user_name']}".strip() for one in person["identities"])


def _hours(person: Mapping[str, Any]) -> str:
    hours = person["settings"].get("quiet")
    return f"{hours['from']}-{hours['to']}" if hours else ""


def _last(delivery: Mapping[str, Any] | None) -> str:
    return "" if delivery is None else f"{delivery['outcome']}, {moment(delivery['at_ms'])}"


def _place(word: str) -> str:
    """The path of a person or a chat, as people write them."""
    kind, slash, number = word.rpartition("/")
    if not (number.isascii() and number.isdigit()) or (slash and kind != "chat"):
        raise UsageError(f"no number of a person or chat: `{clean(word[:60])}`", hint="farwatch pair --list shows them; chat/3 is chat 3")
    return f"/{'chats' if slash else 'people'}/{quoted(number)}"


def _remove(contact: Contact, word: str, as_json: bool) -> None:
    contact.send("DELETE", _place(word))
    if as_json:
        emit_json({"removed": word})
    else:
        say(f"{clean(word)} is removed")


def _change(contact: Contact, word: str, words: Sequence[str], as_json: bool) -> None:
    path, asked = _place(word), {}
    for one in words:
        key, sign, value = one.partition("=")
        if not sign or not key:
            raise UsageError(f"a field is written FIELD=VALUE, not: `{clean(one[:60])}`", hint="such as quiet=23:00-08:00 or lang=zh")
        asked[key] = _value(key, value.strip())
    if not asked:
        raise UsageError("there is nothing to change", hint=f"farwatch pair --set {word} quiet=23:00-08:00")
    told = contact.send("PATCH", path, asked)
    if as_json:
        emit_json(told)
    else:
        say(f"{clean(word)}: " + ", ".join(f"{key} = {clean(value)}" for key, value in sorted(told["settings"].items())))


def _value(key: str, text: str) -> Any:
    """A field as the server takes it; an empty one goes back to the default."""
    if key == "name":
        return text
    if text == "" or (key == "quiet" and text == "off"):
        return None
    if key == "quiet":
        begin, dash, end = text.partition("-")
        if not dash:
            raise UsageError(f"quiet hours are written like 23:00-08:00, not: `{clean(text[:60])}`")
        return {"from": begin.strip(), "to": end.strip()}
    if key == "projects":
        return [one.strip() for one in text.split(",") if one.strip()]
    if key in ("alarms", "events"):
        return {"yes": True, "on": True, "no": False, "off": False}.get(text, text)
    return text
