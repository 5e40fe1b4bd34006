"""Services: what can be connected, what is, and logging in by a scan. No answer holds a secret."""

import re
from importlib import metadata
from typing import Any

from starlette.responses import Response

from farwatch.bridges import registry
from farwatch.bridges.base import Kind
from farwatch.errors import FarwatchError, UsageError
from farwatch.server.route import Ask, Endpoint
from farwatch.server.shapes import chat as shapes

_REQUIRED = re.compile(r"""\s*([\w.-]+).*;.*\bextra\s*==\s*['"]([\w.-]+)['"]""")


def installed(extra: str) -> bool:
    """Whether what an extra of this package names is installed; so is nothing at all."""
    if not extra:
        return True
    found = [match for line in metadata.requires("farwatch") or () if (match := _REQUIRED.match(line)) and match[2] == extra]
    try:
        return bool(found) and all(metadata.version(match[1]) for match in found)
    except metadata.PackageNotFoundError:
        return False


def kinds() -> list[dict[str, Any]]:
    """All services that can be connected here; one whose package is broken is left out."""
    found = []
    for name in registry.kinds():
        try:
            found.append(_kind(registry.kind(name)))
        except (FarwatchError, ImportError):
            continue
    return found


def _kind(kind: Kind) -> dict[str, Any]:
    return {
        "name": kind.name, "title": kind.title, "experimental": kind.experimental, "needs": kind.needs, "ready": installed(kind.needs),
        "scan": kind.login is not None, "steps": list(kind.steps),
        "fields": [
            {
                "name": one.name, "text": one.text, "secret": one.secret, "required": one.required, "default": one.default,
                "env": kind.env(one.name),
            }
            for one in kind.fields
        ],
    }  # fmt: skip


async def list_channels(ask: Ask) -> Response:
    found = ask.services.office.board.channels()
    if not ask.who.may("admin"):
        found = [{**one, "facts": {key: value for key, value in one["facts"].items() if key != "people"}} for one in found]
    return ask.reply({"channels": found, "kinds": await ask.run(kinds)})


async def connect(ask: Ask) -> Response:
    asked, name = await ask.object(), ask.params["name"]
    kind, values = asked.get("kind"), asked.get("values", {})
    if not isinstance(kind, str) or not isinstance(values, dict) or set(asked) - {"kind", "values"}:
        raise UsageError('a channel is {"kind": "telegram", "values": {field: text}}', hint="GET /channels lists kinds and their fields")
    board, by = ask.services.office.board, ask.who.name
    called = await board.reach(lambda: board.connect(name, kind, values, by))
    shown = next(one for one in board.channels() if one["name"] == name)
    return ask.reply({"called": called, "channel": shown})


async def disconnect(ask: Ask) -> Response:
    board, name, by = ask.services.office.board, ask.params["name"], ask.who.name
    await board.reach(lambda: board.disconnect(name, by))
    return ask.reply({"removed": name})


async def login(ask: Ask) -> Response:
    asked, name, by = await ask.object(), ask.params["name"], ask.who.name
    digits, again = asked.get("digits"), asked.get("again", False)
    if (digits is not None and not isinstance(digits, str)) or not isinstance(again, bool) or set(asked) - {"digits", "again"}:
        raise UsageError('a step of a log-in is {"digits": "1234"}, {"again": true} or {}')
    office = ask.services.office
    return ask.reply(await office.board.reach(lambda: office.logins.step(name, by, digits=digits, again=again)))


ENDPOINTS = (
    Endpoint("GET", "/channels", "read", list_channels, "Services that are connected, and those that can be.", answer=shapes.ChannelList),
    Endpoint(
        "PUT",
        "/channels/{name}",
        "admin",
        connect,
        "Connect a service, or change what it is connected with. The service is asked first.",
        body=shapes.ChannelRequest,
        answer=shapes.Connected,
    ),
    Endpoint(
        "DELETE",
        "/channels/{name}",
        "admin",
        disconnect,
        "Take a service away, with its credentials and chats; whoever was paired there is a stranger again.",
        answer=shapes.RemovedChannel,
    ),
    Endpoint(
        "POST",
        "/channels/{name}/login",
        "admin",
        login,
        "Log in by scanning a code: begin, and ask again for how far it is; answers within 25 s.",
        body=shapes.LoginRequest,
        answer=shapes.LoginState,
    ),
)
