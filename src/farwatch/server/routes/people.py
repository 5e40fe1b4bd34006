"""People: who may be told and ask, by which codes they become known, where they are told, and what became of it."""

from typing import Annotated, Any

from starlette.responses import Response

from farwatch.bridges.base import Inviting
from farwatch.errors import ForbiddenError, NotFoundError, UsageError
from farwatch.server.route import Ask, Endpoint
from farwatch.server.shapes import chat as shapes
from farwatch.service.people import CODE_LENGTH, checked_scopes

TEST_TEXT = "Farwatch: this is a test. 这是一条测试消息。"


def _number(ask: Ask, what: str) -> int:
    text = ask.params["no"]
    if not (text.isascii() and text.isdigit() and len(text) < 17):
        raise NotFoundError(f"no {what} with the number: `{text[:40]}`")
    return int(text)


def _whole(ask: Ask) -> bool:
    return ask.who.may("admin")


async def list_people(ask: Ask) -> Response:
    whole = _whole(ask)
    return ask.reply(await ask.run(lambda: ask.services.people_views.all(whole=whole)))


async def pair(ask: Ask) -> Response:
    asked, people, board = await ask.object(), ask.services.people, ask.services.office.board
    name, scopes = asked.get("name"), asked.get("scopes", ["read", "steer"])
    person, channel = asked.get("person"), asked.get("channel")
    if name is not None and not isinstance(name, str):
        raise UsageError("`name` is a text")
    if isinstance(person, bool) or not isinstance(person, int | None):
        raise UsageError("`person` is the number of somebody")
    if not isinstance(channel, str | None):
        raise UsageError("`channel` is the name of a channel")
    if channel is not None:
        board.known(channel)
    more = set(checked_scopes(scopes)) - ask.who.scopes
    if person is None and more:
        raise ForbiddenError(f"only who has a scope can give it: `{min(more)}`")
    code, seconds = people.offer(name, scopes, person_no=person, channel=channel)
    shown = f"{code[: CODE_LENGTH // 2]}-{code[CODE_LENGTH // 2 :]}"
    return ask.reply({"code": shown, "seconds": int(seconds), "links": _links(ask, code, shown, channel)})


def _links(ask: Ask, code: str, shown: str, only: str | None) -> list[dict[str, Any]]:
    """Where a code can be sent."""
    found = []
    board = ask.services.office.board
    for one in board.channels():
        bridge = board.bridges.get(one["name"])
        if not one["two_way"] or only not in (None, one["name"]):
            continue
        link = bridge.invite(code) if isinstance(bridge, Inviting) else None
        way = f"open the link on your phone and press Start, or write {shown}" if link else f"write {shown}"
        found.append({"channel": one["name"], "link": link, "text": f"{way} to the bot in {one['title']}, in private"})
    return found


async def change_person(ask: Ask) -> Response:
    no, asked, services = _number(ask, "person"), await ask.object(), ask.services
    person = await ask.run(services.people.change_person, no, asked, ask.who, pool=services.writers)
    return ask.reply(services.people_views.person(person))


async def remove_person(ask: Ask) -> Response:
    no, services = _number(ask, "person"), ask.services
    chats = services.people.chats(person_no=no)
    await ask.run(services.people.remove_person, no, ask.who.name, pool=services.writers)
    for chat in chats:
        _forget(ask, chat.no)
    return ask.reply({"removed": no})


def _forget(ask: Ask, chat_no: int) -> None:
    board = ask.services.office.board
    board.soon(lambda: board.dispatcher.forget(chat_no))


async def add_chat(ask: Ask) -> Response:
    asked, services = await ask.object(), ask.services
    channel, address, title, person = asked.get("channel"), asked.get("address"), asked.get("title", ""), asked.get("person")
    if not isinstance(channel, str) or not isinstance(address, str) or not isinstance(title, str):
        raise UsageError('a chat is {"channel": name, "address": text, "title": text}')
    if isinstance(person, bool) or not isinstance(person, int | None):
        raise UsageError("`person` is the number of somebody")
    services.office.board.known(channel)
    who = ask.who.name

    def added() -> Any:
        row = services.people.add_chat(channel, address.strip(), person_no=person, title=title, by=who)
        return services.people_views.chat(row, whole=True)

    return ask.reply(await ask.run(added, pool=services.writers))


async def change_chat(ask: Ask) -> Response:
    no, asked, services, whole = _number(ask, "chat"), await ask.object(), ask.services, _whole(ask)
    who = ask.who.name

    def changed() -> Any:
        return services.people_views.chat(services.people.change_chat(no, asked, who), whole=whole)

    return ask.reply(await ask.run(changed, pool=services.writers))


async def remove_chat(ask: Ask) -> Response:
    no, services = _number(ask, "chat"), ask.services
    await ask.run(services.people.remove_chat, no, ask.who.name, pool=services.writers)
    _forget(ask, no)
    return ask.reply({"removed": no})


async def test_chat(ask: Ask) -> Response:
    no, board = _number(ask, "chat"), ask.services.office.board
    return ask.reply(await board.reach(lambda: board.test(no, TEST_TEXT)))


async def remove_stranger(ask: Ask) -> Response:
    channel, user, people = ask.params["channel"], ask.params["user"], ask.services.people
    await ask.run(people.forget_stranger, channel, user, ask.who.name, pool=ask.services.writers)
    return ask.reply({"channel": channel, "removed": user})


async def deliveries(ask: Ask) -> Response:
    about, before = ask.query.get("about") or None, ask.number("before", 0, high=1 << 53)
    limit = ask.number("limit", 100, low=1, high=1_000)
    return ask.reply({"deliveries": await ask.run(ask.services.people_views.deliveries, about, before or None, limit)})


ENDPOINTS = (
    Endpoint("GET", "/people", "read", list_people, "People, their chats, and strangers who wrote.", answer=shapes.PeopleList),
    Endpoint(
        "POST",
        "/people/pair",
        "admin",
        pair,
        "A code that makes whoever sends it to a bot a person with these scopes, once and within ten minutes.",
        body=shapes.PairRequest,
        answer=shapes.PairCode,
    ),
    Endpoint(
        "PATCH",
        "/people/{no}",
        "admin",
        change_person,
        "Change a person: name, scopes, language, zone, quiet hours, the order of their chats.",
        body=shapes.PersonChange,
        answer=shapes.PersonInfo,
    ),
    Endpoint(
        "DELETE", "/people/{no}", "admin", remove_person, "Make somebody a stranger again, with all their chats.", answer=shapes.Removed
    ),
    Endpoint(
        "POST", "/chats", "admin", add_chat, "Write to a chat from now on.", body=shapes.ChatRequest, answer=shapes.ChatInfo
    ),
    Endpoint(
        "PATCH",
        "/chats/{no}",
        "steer",
        change_chat,
        "Change what is sent to a chat, how often, in how much detail.",
        body=shapes.ChatChange,
        answer=shapes.ChatInfo,
    ),
    Endpoint("DELETE", "/chats/{no}", "admin", remove_chat, "Send nothing more to a chat.", answer=shapes.Removed),
    Endpoint(
        "POST", "/chats/{no}/test", "steer", test_chat, "Send a test to a chat, and say what became of it.", answer=shapes.TestResult
    ),
    Endpoint(
        "DELETE",
        "/strangers/{channel}/{user}",
        "admin",
        remove_stranger,
        "Take somebody off the list of strangers.",
        answer=shapes.RemovedStranger,
    ),
    Endpoint(
        "GET",
        "/deliveries",
        "read",
        deliveries,
        "What became of notices, newest first.",
        query={
            "about": Annotated[str, "such as `alert/12`"],
            "before": Annotated[int, "only those with a smaller number: the next page"],
            "limit": Annotated[int, "at most"],
        },
        answer=shapes.DeliveryList,
    ),
)
