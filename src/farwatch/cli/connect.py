"""`farwatch connect`: a chat or push service, step by step; or in one line, from a script."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from farwatch.api import Api
from farwatch.api.contact import Contact, quoted
from farwatch.cli.output import clean, emit, emit_json, say, server_options, table
from farwatch.cli.pair import SCOPES, ask_code, greet, identities, show_code, wait_for_person
from farwatch.cli.scan import log_in
from farwatch.clock import Clock, SystemClock
from farwatch.errors import FarwatchError, NotFoundError, UsageError
from farwatch.settings import environment

HELLO_S, LOOK_S = 10.0, 0.2  # before that no link to the bot is known
SECRET_HINT = "leave it out to be asked for it, set {env}, or pipe it: … | farwatch connect {kind} --stdin"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command was called with. `given`: fields by name, none of them secret."""

    kind: dict[str, Any]
    name: str
    given: dict[str, str]
    from_stdin: bool
    may: tuple[str, ...]
    pairs: bool
    waits: bool
    tests: bool
    as_json: bool

    @property
    def person_there(self) -> bool:
        """Whether there is somebody at a terminal who can answer."""
        return not self.from_stdin and sys.stdin is not None and sys.stdin.isatty()


@click.command()
@click.argument("kind", required=False)
@click.argument("values", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--name", metavar="NAME", help="Name of the channel; default: the service's.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read fields as lines FIELD=VALUE, or a secret alone, from standard input.")
@click.option("--may", type=click.Choice(SCOPES), multiple=True, help="What you may from there; default: read and steer.")
@click.option("--no-pair", is_flag=True, help="Make no pairing code.")
@click.option("--no-wait", is_flag=True, help="Print the pairing code and end, instead of waiting until somebody has sent it.")
@click.option("--test", "tests", is_flag=True, help="Send a test at the end without asking.")
@click.option("--remove", metavar="NAME", help="Take the channel NAME away, with its credentials and everybody's accounts there.")
@server_options
def connect(
    kind: str | None, values: tuple[str, ...], name: str | None, from_stdin: bool, may: tuple[str, ...], no_pair: bool, no_wait: bool,
    tests: bool, remove: str | None, as_json: bool, server: str | None,
) -> None:  # fmt: skip
    """Connect the service KIND (telegram, wechat, slack, …): what it needs is asked for; alone: list what there is.

    A secret is asked for without echo, or comes from the environment or from standard input; never from the command line, which
    everybody on a machine can read. The server keeps it, in a file that only its owner can read.
    """
    with Api(server) as api:
        contact = api._contact
        if remove is not None:
            _remove(contact, remove, as_json)
            return
        told = contact.get("/channels")
        if kind is None:
            _list(told, as_json)
            return
        about = next((one for one in told["kinds"] if one["name"] == kind), None)
        if about is None:
            names = ", ".join(one["name"] for one in told["kinds"])
            raise NotFoundError(f"no service of this name: `{clean(kind[:60])}`", hint=f"there are: {names}")
        given = _given(about, values)
        asked = Asked(about, name or kind, given, from_stdin, may, not no_pair, not no_wait, tests, as_json)
        _connect(contact, asked, {one["name"]: one for one in told["channels"]})


def _given(about: Mapping[str, Any], words: tuple[str, ...]) -> dict[str, str]:
    """Fields on the command line. Raises `UsageError` for a secret there, without repeating it."""
    fields = {one["name"]: one for one in about["fields"]}
    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or name not in fields:
            shown = f"`{clean(name[:40])}`" if sign else "a word without `=`"
            raise UsageError(f"{about['title']} has no such field: {shown}", hint=f"it has: {', '.join(fields)}; write FIELD=VALUE")
        if fields[name]["secret"]:
            hint = SECRET_HINT.format(env=fields[name]["env"], kind=about["name"])
            raise UsageError(f"`{name}` is a secret, and everybody on this machine can read a command line", hint=hint)
        found[name] = value
    return found


def _connect(contact: Contact, asked: Asked, channels: Mapping[str, dict[str, Any]]) -> None:
    """All of it: fields, check, scan, pairing, test."""
    about, known = asked.kind, channels.get(asked.name)
    if not about["ready"]:
        raise FarwatchError(f"{about['title']} needs more on the server", hint=f"there: pip install 'farwatch[{about['needs']}]'")
    values = {} if known is not None and not known["lasting"] else _values(asked, known)
    called = ""
    if values or (not about["scan"] and (known is None or known["lasting"])) or (known is None and asked.name != about["name"]):
        called = contact.send("PUT", f"/channels/{quoted(asked.name)}", {"kind": about["name"], "values": values})["called"]
    if about["scan"]:
        log_in(contact, asked.name, ask=asked.person_there)
    channel, told = _opened(contact, asked.name, SystemClock())
    say(f"{clean(about['title'])} is connected" + (f" as {clean(called)}" if called else "") + f", as the channel {asked.name}")
    offer, person = None, _scanned(contact, asked)
    if person is not None:
        greet(person)
    elif channel["two_way"] and asked.pairs:
        before = identities(contact)
        offer = ask_code(contact, name=None, scopes=asked.may, person=None, channel=asked.name)
        show_code(offer)
        if asked.waits:
            person = wait_for_person(contact, before, offer, asked.name, SystemClock())
            greet(person)
    _warn_of_sleep(channel, told)
    tested = _test(contact, asked, person)
    if asked.as_json:
        emit_json({"channel": channel, "called": called, "pairing": offer, "person": person, "tests": tested})
    elif offer is not None and person is None:
        emit(offer["code"])


def _opened(contact: Contact, name: str, clock: Clock) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The channel, once it has said hello to its service (or does not come to it), and all of them."""
    end_us = clock.mono_us() + int(HELLO_S * 1e6)
    while True:
        told: list[dict[str, Any]] = contact.get("/channels")["channels"]
        channel = next((one for one in told if one["name"] == name), None)
        if channel is None:
            raise FarwatchError(f"`{name}` was not connected")
        if channel["code"] != "connecting" or clock.mono_us() > end_us:
            return channel, told
        clock.sleep(LOOK_S)


def _scanned(contact: Contact, asked: Asked) -> dict[str, Any] | None:
    """Who has scanned the code just now: that was as good as a pairing code."""
    if not asked.kind["scan"]:
        return None
    people = contact.get("/people")["people"]
    found = [
        (one["paired_ms"], {**person, "channel": asked.name, "user_name": one["user_name"]})
        for person in people for one in person["identities"] if one["channel"] == asked.name
    ]  # fmt: skip
    return max(found, key=lambda one: one[0])[1] if found else None


# --- what is asked for


def _values(asked: Asked, known: Mapping[str, Any] | None) -> dict[str, str]:
    """The fields: from the command line, standard input, the environment, and then from whoever sits there."""
    fields: list[dict[str, Any]] = asked.kind["fields"]
    environ = environment()
    values = {one["name"]: environ[one["env"]] for one in fields if environ.get(one["env"])}
    values |= asked.given
    if asked.from_stdin:
        values |= _read(fields, values)
    if not asked.kind["scan"] and asked.person_there:
        _say_steps(asked.kind)
        values |= _prompted(asked, values, known)
    kept = known["values"] if known is not None else {}
    missing = [one for one in fields if one["required"] and not values.get(one["name"]) and one["name"] not in kept]
    if missing:
        one = missing[0]
        way = SECRET_HINT.format(env=one["env"], kind=asked.kind["name"]) if one["secret"] else f"write {one['name']}=…"
        raise UsageError(f"{asked.kind['title']} needs `{one['name']}`: {one['text']}", hint=way)
    return values


def _read(fields: list[dict[str, Any]], values: Mapping[str, str]) -> dict[str, str]:
    """Fields from standard input. Raises `UsageError`, which repeats nothing of it."""
    names = {one["name"] for one in fields}
    open_secrets = [one["name"] for one in fields if one["secret"] and not values.get(one["name"])]
    required = [one["name"] for one in fields if one["secret"] and one["required"]]
    found: dict[str, str] = {}
    for line in sys.stdin:
        name, sign, value = line.strip().partition("=")
        if sign and name.strip() in names:
            found[name.strip()] = value.strip()
        elif line.strip():
            alone = [one for one in (required or open_secrets) if one not in found]
            if len(alone) != 1:
                raise UsageError("a line on standard input is no FIELD=VALUE", hint=f"the fields are: {', '.join(sorted(names))}")
            found[alone[0]] = line.strip()
    return found


def _say_steps(about: Mapping[str, Any]) -> None:
    for number, step in enumerate(about["steps"], 1):
        say(f"{number}. {clean(step)}")


def _prompted(asked: Asked, values: Mapping[str, str], known: Mapping[str, Any] | None) -> dict[str, str]:
    """Ask for what is missing: what the service needs, or, where it may need one of several things, each."""
    fields: list[dict[str, Any]] = asked.kind["fields"]
    open_ended = any(one["secret"] and not one["required"] for one in fields)  # several ways, or a log-in that some servers want
    wanted = [one for one in fields if (not one["default"] if open_ended else one["required"])]
    kept = known["values"] if known is not None else {}
    found = {}
    for one in wanted:
        if values.get(one["name"]):
            continue
        optional = not one["required"] or one["name"] in kept
        note = " (Enter: as it is)" if one["name"] in kept else " (Enter: leave out)" if optional else ""
        say(f"{one['name']}: {clean(one['text'])}")
        default = "" if optional else None
        answer: str = click.prompt(f"{one['name']}{note}", default=default, show_default=False, hide_input=one["secret"], err=True)
        if answer.strip():
            found[one["name"]] = answer.strip()
    return found


# --- afterwards


def _warn_of_sleep(channel: Mapping[str, Any], channels: list[dict[str, Any]]) -> None:
    """A service that may speak only after it was spoken to is no way to be told at night."""
    others = [one for one in channels if one["name"] != channel["name"] and one["ok"] and one["push_first"]]
    if not channel["push_first"] and not others:
        title = clean(channel["title"])
        say(f"{title} may be asleep when it matters: connect a second way, such as: farwatch connect telegram")


def _test(contact: Contact, asked: Asked, person: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Send a test to each chat of the channel, if that is wanted."""
    chats = [
        one for one in contact.get("/people")["chats"]
        if one["channel"] == asked.name and (person is None or one["person"] in (None, person["no"]))
    ]  # fmt: skip
    if not chats or not (asked.tests or (asked.person_there and not asked.as_json)):
        return []
    if not asked.tests and not click.confirm("Send a test?", default=True, err=True):
        return []
    done = []
    for one in chats:
        told = contact.send("POST", f"/chats/{one['no']}/test", {})
        done.append({"chat": one["no"], **told})
        reason = f": {clean(told['reason'])}" if told["reason"] else ""
        say(f"test in chat {one['no']}: {clean(told['outcome'])}{reason}")
    return done


def _list(told: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(told)
        return
    rows = [
        (one["name"], one["title"], "ok" if one["ok"] else one["code"], one["text"], "" if one["lasting"] else "environment")
        for one in told["channels"]
    ]
    if rows:
        table(rows, ("channel", "service", "state", "", "from"))
        emit("")
    kinds = [
        (one["name"], one["title"], "" if one["ready"] else f"needs pip install 'farwatch[{one['needs']}]' on the server")
        for one in told["kinds"]
    ]
    table(kinds, ("service", "", ""))
    if not rows:
        say("nothing is connected yet; begin with: farwatch connect telegram")


def _remove(contact: Contact, name: str, as_json: bool) -> None:
    contact.send("DELETE", f"/channels/{quoted(name)}")
    if as_json:
        emit_json({"removed": name})
    else:
        say(f"{clean(name)} is not connected any more")
