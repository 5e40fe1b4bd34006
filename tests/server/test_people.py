"""People and chats over HTTP: a real server and a strict fake of Telegram; who may change them, and whom an alert has reached."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from chatting import (
    Ended,
    Environed,
    Telegram,
    answered,
    connected,
    fresh,
    paired,
    person,
    until,
)
from serving import Running
from writing import Feeder

from farwatch.server.routes import channels, notify, people

ALL = (*channels.ENDPOINTS, *people.ENDPOINTS, *notify.ENDPOINTS)
NAN = float("nan")


def test_code_makes_a_person_once(place: tuple[Running, Telegram]) -> None:
    server, other = place
    offer = answered(server.api("POST", "/people/pair", {"name": "Ann", "scopes": ["read"], "channel": "telegram"}))
    (link,) = offer["links"]
    code = offer["code"].replace("-", "")

    assert link["link"] == f"https://t.me/farwatch_bot?start={code}" and offer["code"] in link["text"] and offer["seconds"] == 600
    other.write(f"/start {code}")
    until(lambda: person(server, "Ann"), "Ann is paired")
    other.write(f"/start {code}", user=7002, name="Ben")
    stranger = until(lambda: answered(server.api("GET", "/people"))["strangers"], "Ben is on the list")[0]

    told = answered(server.api("GET", "/people"))
    assert [(one["name"], one["scopes"]) for one in told["people"]] == [("Ann", ["read"])]
    assert (stranger["user"], stranger["user_name"], stranger["times"]) == ("7002", "Ben", 1)
    assert {one.chat for one in other.seen()} == {"7001"}  # a stranger gets no answer
    answered(server.api("DELETE", "/strangers/telegram/7002"))
    assert answered(server.api("GET", "/people"))["strangers"] == []


def test_guessing_closes_the_door_and_a_new_code_opens_it(place: tuple[Running, Telegram]) -> None:
    server, other = place
    answered(server.api("POST", "/people/pair", {"name": "Ann"}))

    for place_ in range(20):
        other.write("AAAA-AAA" + "23456789ABCDEFGHJKMN"[place_], user=8_000 + place_ // 4, name="Eve")
    until(lambda: answered(server.api("GET", "/people"))["closed"], "pairing is closed")
    paired(server, other, name="Ben", user=7002)

    assert not answered(server.api("GET", "/people"))["closed"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/people/pair", {"scopes": ["admin"]}, 400),
        ("POST", "/people/pair", {"scopes": [["read"]]}, 400),
        ("POST", "/people/pair", {"name": 5}, 400),
        ("POST", "/people/pair", {"person": True}, 400),
        ("POST", "/people/pair", {"person": 99}, 404),
        ("POST", "/people/pair", {"channel": "pigeon"}, 404),
        ("POST", "/people/pair", [], 400),
        ("PATCH", "/people/99", {"name": "x"}, 404),
        ("PATCH", "/people/x", {}, 404),
        ("DELETE", "/people/99", None, 404),
        ("POST", "/chats", {"channel": "telegram"}, 400),
        ("POST", "/chats", {"channel": "pigeon", "address": "1"}, 404),
        ("POST", "/chats", {"channel": "telegram", "address": "1", "person": 99}, 404),
        ("POST", "/chats", {"channel": "telegram", "address": ""}, 400),
        ("PATCH", "/chats/99", {}, 404),
        ("DELETE", "/chats/99", None, 404),
        ("POST", "/chats/99/test", None, 404),
        ("GET", "/deliveries?before=x", None, 400),
    ],
)
def test_wrong_requests_say_what_is_wrong(
    shared: tuple[Running, Telegram], method: str, path: str, body: Any, status: int
) -> None:
    reply = shared[0].api(method, path, body)

    assert reply.status == status, reply.body
    assert reply.json["error"]["message"]


def test_person_and_chat_are_changed_and_removed(place: tuple[Running, Telegram]) -> None:
    server, other = place
    ann = paired(server, other)
    no, chat = ann["no"], ann["chats"][0]
    group = answered(server.api("POST", "/chats", {"channel": "telegram", "address": str(other.fake.group()), "title": "Lab"}))

    quiet = {"from": "23:00", "to": "08:00"}
    changed = answered(server.api("PATCH", f"/people/{no}", {"name": "Anna", "zone": "Europe/Berlin", "quiet": quiet, "lang": "zh"}))
    assert changed["settings"] == {"lang": "zh", "zone": "Europe/Berlin", "quiet": {**quiet, "alarms": True}}
    assert server.api("PATCH", f"/people/{no}", {"zone": "Mars/Base"}).code == "bad-request"
    assert server.api("PATCH", f"/people/{no}", {"chats": [chat, group["no"]]}).code == "bad-request"
    assert answered(server.api("PATCH", f"/chats/{chat}", {"detail": "minimal"}))["settings"] == {"detail": "minimal"}
    assert server.api("PATCH", f"/chats/{chat}", {"detail": "tiny"}).code == "bad-request"

    answered(server.api("DELETE", f"/chats/{group['no']}"))
    answered(server.api("DELETE", f"/people/{no}"))
    told = answered(server.api("GET", "/people"))
    assert (told["people"], told["chats"]) == ([], [])


def test_second_identity_is_the_same_person(place: tuple[Running, Telegram]) -> None:
    server, other = place
    ann = paired(server, other)

    other.write(answered(server.api("POST", "/people/pair", {"person": ann["no"]}))["code"], user=7002, name="Ann at work")
    both = until(lambda: (found := person(server, "Ann")) and len(found["chats"]) == 2 and found, "both are hers")
    swapped = answered(server.api("PATCH", f"/people/{ann['no']}", {"chats": both["chats"][::-1]}))

    assert [one["user_name"] for one in both["identities"]] == ["Ann", "Ann at work"]
    assert swapped["chats"] == both["chats"][::-1]
    assert [one["no"] for one in answered(server.api("GET", "/people"))["chats"]] == both["chats"][::-1]


def test_test_says_what_became_of_it(place: tuple[Running, Telegram]) -> None:
    server, other = place
    chat = paired(server, other)["chats"][0]

    assert answered(server.api("POST", f"/chats/{chat}/test")) == {"outcome": "sent", "reason": ""}
    assert "this is a test" in other.texts()[-1]
    other.fake.block(other.fake.chat)
    refused = answered(server.api("POST", f"/chats/{chat}/test"))

    assert refused["outcome"] == "gone" and refused["reason"]
    last = answered(server.api("GET", "/people"))["chats"][0]["last"]
    assert (last["outcome"], last["about"]) == ("gone", "test")


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Telegram]]:
    """A server on which whoever proves to be its owner may only read, once Ann is paired."""
    folder = tmp_path_factory.mktemp("readers")
    with fresh(folder) as (server, other):
        connected(server, other)
        paired(server, other)
        other.write("let me in", user=700_555_123, name="Eve")
        until(lambda: answered(server.api("GET", "/people"))["strangers"], "Eve has written")
        server.stop()
        scopes = (
            "from farwatch.service.access import Access, Actor\n"
            "Access.owner_actor = lambda self, via: Actor(self.owner, frozenset({'read'}), via, 'reader')"
        )
        limited = Environed(server.folder, before=scopes)
        with contextlib.closing(Ended(limited)):
            limited.start()
            yield limited, other


@pytest.mark.parametrize("endpoint", [one for one in ALL if one.scope != "read"], ids=lambda one: f"{one.method} {one.path}")
def test_who_may_only_read_changes_nothing(readers: tuple[Running, Telegram], endpoint: Any) -> None:
    server, other = readers
    path = endpoint.path.format(name="telegram", no=1, channel="telegram", user="700555123")
    before = other.fake.requests

    reply = server.api(endpoint.method, path, {} if endpoint.body is not None else None)

    assert (reply.status, reply.code) == (403, "forbidden")
    assert f"`{endpoint.scope}`" in reply.json["error"]["message"]
    assert other.fake.requests == before
    told = answered(server.api("GET", "/people"))
    assert (len(told["people"]), len(told["chats"]), len(told["strangers"])) == (1, 1, 1)


def test_who_may_only_read_sees_no_addresses(readers: tuple[Running, Telegram]) -> None:
    server, _ = readers

    told = answered(server.api("GET", "/people"))

    assert told["strangers"][0]["user"] == "•••5123"
    assert told["chats"][0]["address"] == "•••"
    assert answered(server.api("GET", "/channels"))["channels"] and answered(server.api("GET", "/deliveries"))["deliveries"]


def test_routes_ask_for_what_they_do() -> None:
    scopes = {f"{one.method} {one.path}": one.scope for one in ALL}

    assert {name for name, scope in scopes.items() if name.startswith("GET")} == {n for n, s in scopes.items() if s == "read"}
    assert {name for name, scope in scopes.items() if scope == "log"} == {"POST /notify", "POST /notify/uploads", "POST /notify/delete"}
    assert {name for name, scope in scopes.items() if scope == "steer"} == {"PATCH /chats/{no}", "POST /chats/{no}/test"}


def test_alerts_say_whom_they_have_reached(place: tuple[Running, Telegram]) -> None:
    server, other = place
    ann = paired(server, other)
    answered(server.api("PATCH", f"/people/{ann['no']}", {"name": "Ann"}))
    group = other.fake.group("Lab")
    answered(server.api("POST", "/chats", {"channel": "telegram", "address": str(group), "title": "Lab"}))
    other.fake.block(group)
    run = Feeder(server, "told")
    for step in range(20):
        run.log(step, loss=NAN if step > 9 else 1 / (step + 1))

    def row() -> Any:
        listed = answered(server.api("GET", "/alerts?project=told"))["alerts"]
        return listed and len(listed[0]["told"]) == 2 and listed[0]

    found = until(row, "both chats were tried")
    told = {one["who"]: (one["channel"], one["outcome"]) for one in found["told"]}
    assert told == {"Ann": ("telegram", "sent"), "Lab": ("telegram", "gone")}
    assert all(one["at_ms"] >= found["fired_ms"] for one in found["told"])

    answered(server.api("POST", f"/alerts/{found['id']}", {"acknowledge": True}))
    until(lambda: other.seen(other.fake.chat)[-1].edits, "Ann's copy says who looks after it")
    one = until(
        lambda: len((now := answered(server.api("GET", f"/alerts/{found['id']}")))["deliveries"]) > 2 and now, "the change is listed"
    )
    assert one["told"] == found["told"]  # what changes a message later is no news of it
    assert {two["outcome"] for two in one["deliveries"]} == {"sent", "gone"}
    listed = answered(server.api("GET", f"/deliveries?about=alert/{found['id']}"))["deliveries"]
    assert [two["id"] for two in listed] == sorted((two["id"] for two in one["deliveries"]), reverse=True)
    older = answered(server.api("GET", f"/deliveries?before={listed[0]['id']}&limit=1"))["deliveries"]
    assert [two["id"] for two in older] == [listed[0]["id"] - 1]


def test_live_stream_hears_whom_an_alert_has_reached(place: tuple[Running, Telegram]) -> None:
    server, other = place
    paired(server, other)
    run = Feeder(server, "live")
    first = answered(server.api("POST", "/live", {"project": "live", "wait_s": 0}))
    for step in range(20):
        run.log(step, loss=NAN if step > 9 else 1 / (step + 1))

    def heard() -> Any:
        news = answered(server.api("POST", "/live", {"project": "live", "cursor": first["cursor"], "wait_s": 0}))
        return [one["who"] for row in news["alerts"] for one in row["told"]]

    assert set(until(heard, "the alert comes again with whom it has reached")) == {"Ann"}
