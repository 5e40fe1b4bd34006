"""Who may command from a chat: codes, strangers, scopes, quiet hours; all of it kept over a restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from farwatch.clock import SystemClock
from farwatch.errors import ForbiddenError, NotFoundError, UsageError
from farwatch.service.access import Actor
from farwatch.service.people import CODE_S, People, Person, read_code
from farwatch.store.meta import Meta
from tests.service.conftest import ManualClock

OWNER = Actor("ann", frozenset({"read", "steer", "start", "admin"}), "peer", "owner")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Meta]:
    made = Meta(tmp_path / "meta.db", SystemClock())
    yield made
    made.close()


@pytest.fixture
def people(meta: Meta, clock: ManualClock) -> People:
    return People(meta, clock, owner="ann")


def send(people: People, said: str, user: str = "7", *, group: bool = False, name: str = "Bo") -> Person | None:
    return people.redeem("telegram", user, name, said, address=user, group=group)


def paired(people: People, user: str = "7", *scopes: str) -> Person:
    code, _ = people.offer("Bo", scopes or ("steer",))
    found = send(people, code, user)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("abcd2345", "ABCD2345"), (" ABCD-2345 ", "ABCD2345"), ("/start ABCD2345", "ABCD2345"), ("abcd 2345", "ABCD2345"),
        ("ABCD234", None), ("ABCD23456", None), ("ABCD0OI1", None), ("", None), ("/start", None), ("stop", None), ("ＡＢＣＤ2345", None),
    ],
)  # fmt: skip
def test_code_is_read_as_people_type_it(said: str, code: str | None) -> None:
    assert read_code(said) == code


def test_code_makes_one_person_once_with_the_scopes_it_was_made_for(people: People) -> None:
    code, seconds = people.offer("Bo", ["steer"])
    bo = send(people, code)

    assert bo is not None and (bo.name, sorted(bo.scopes), seconds) == ("Bo", ["read", "steer"], CODE_S)
    assert people.who("telegram", "7") == bo
    assert send(people, code, "8") is None
    assert people.who("telegram", "8") is None
    assert [row.user for row in people.strangers()] == ["8"]


def test_code_dies_after_ten_minutes(people: People, clock: ManualClock) -> None:
    code, _ = people.offer("Bo")
    clock.sleep(CODE_S + 1)

    assert send(people, code) is None


def test_code_counts_nowhere_but_in_private_and_on_its_channel(people: People) -> None:
    code, _ = people.offer("Bo", channel="wecom")

    assert send(people, code) is None
    code, _ = people.offer("Bo")
    assert send(people, code, group=True) is None
    assert send(people, code) is not None


def test_five_wrong_codes_of_one_user_are_enough(people: People) -> None:
    for n in range(5):
        assert send(people, f"BBBBBBB{n + 2}") is None
    code, _ = people.offer("Bo")  # a new code opens the door for everybody
    for n in range(5):
        send(people, f"BBBBBBB{n + 2}", "9")

    assert send(people, code, "9") is None
    assert send(people, code, "7") is not None


def test_twenty_wrong_codes_of_all_close_pairing_for_an_hour(people: People, clock: ManualClock) -> None:
    code, _ = people.offer("Bo")
    for n in range(20):
        send(people, "BBBBBBBB", f"x{n}")

    assert people.closed
    assert send(people, code) is None
    clock.sleep(3_601)
    assert not people.closed


def test_everything_is_there_after_a_restart(people: People, meta: Meta, clock: ManualClock) -> None:
    bo = paired(people)
    people.change_person(bo.no, {"lang": "zh", "zone": "Asia/Shanghai", "quiet": {"from": "23:00", "to": "08:00"}}, OWNER)
    chat = people.chats()[0]
    people.change_chat(chat.no, {"every": {"steps": 10}, "detail": "minimal"}, "ann")

    again = People(meta, clock, owner="ann")

    found = again.who("telegram", "7")
    assert found is not None and found.settings["quiet"] == {"from": "23:00", "to": "08:00", "alarms": True}
    assert again.lang_of(again.chats()[0]) == "zh"
    assert again.chats()[0].settings == {"every": {"steps": 10}, "detail": "minimal"}


def test_who_is_removed_is_a_stranger_again_and_finds_nothing_of_before(people: People) -> None:
    bo = paired(people)
    people.change_chat(people.chats()[0].no, {"events": False}, "ann")
    people.remove_person(bo.no, "ann")

    assert (people.who("telegram", "7"), people.chats(), people.persons()) == (None, [], [])
    with pytest.raises(NotFoundError):
        people.person(bo.no)
    again = paired(people)
    assert again.no != bo.no and people.chats()[0].settings == {}


def test_removing_the_only_chat_of_a_channel_ends_the_identity_there(people: People) -> None:
    bo = paired(people)
    code, _ = people.offer(person_no=bo.no)
    assert people.redeem("wecom", "bo", "Bo", code, address="bo", group=False) is not None
    assert [(chat.channel, chat.place) for chat in people.chats(person_no=bo.no)] == [("telegram", 0), ("wecom", 1)]

    people.remove_chat(people.chats()[0].no, "ann")

    assert people.who("telegram", "7") is None
    assert people.who("wecom", "bo") == people.person(bo.no)


def test_order_of_chats_is_the_order_in_which_they_are_tried(people: People) -> None:
    bo = paired(people)
    code, _ = people.offer(person_no=bo.no)
    people.redeem("wecom", "bo", "Bo", code, address="bo", group=False)
    first, second = people.chats(person_no=bo.no)

    people.change_person(bo.no, {"chats": [second.no, first.no]}, OWNER)

    assert [chat.channel for chat in people.chats(person_no=bo.no)] == ["wecom", "telegram"]
    with pytest.raises(UsageError, match="lists the numbers"):
        people.change_person(bo.no, {"chats": [second.no]}, OWNER)


def test_nobody_gives_a_scope_that_they_have_not(people: People) -> None:
    bo = paired(people)

    with pytest.raises(ForbiddenError, match="only who has a scope can give it: `start`"):
        people.change_person(bo.no, {"scopes": ["start"]}, bo.actor())
    assert people.change_person(bo.no, {"scopes": ["start"]}, OWNER).scopes == {"read", "start"}


@pytest.mark.parametrize(
    "asked",
    [
        {"lang": "fr"}, {"zone": "Mars/Olympus"}, {"zone": "../../etc/passwd"}, {"quiet": {"from": "25:00", "to": "08:00"}},
        {"quiet": {"from": "23:00"}}, {"quiet": "always"}, {"colour": "red"}, {"scopes": ["admin"]}, {"scopes": []}, {"name": ""},
    ],
)  # fmt: skip
def test_what_cannot_be_a_setting_of_a_person_is_refused(people: People, asked: dict[str, object]) -> None:
    bo = paired(people)

    with pytest.raises(UsageError):
        people.change_person(bo.no, asked, OWNER)
    assert people.person(bo.no) == bo


@pytest.mark.parametrize(
    "asked",
    [
        {"detail": "some"}, {"every": {"steps": 0}}, {"every": {"s": 1}}, {"every": {"s": 60, "steps": 5}}, {"every": {"steps": True}},
        {"muted_until_ms": -1}, {"projects": "digits"}, {"watch": ["loss"]}, {"secret": "x"}, {"events": "no"},
    ],
)  # fmt: skip
def test_what_cannot_be_a_setting_of_a_chat_is_refused(people: People, asked: dict[str, object]) -> None:
    paired(people)

    with pytest.raises(UsageError):
        people.change_chat(people.chats()[0].no, asked, "ann")
    assert people.chats()[0].settings == {}


def test_list_of_strangers_is_bounded_and_counts(people: People, clock: ManualClock) -> None:
    for n in range(230):
        send(people, "hello", f"s{n}")
        clock.sleep(1)
    send(people, "hello", "s229")

    listed = people.strangers()
    assert len(listed) == 200
    assert next(row for row in listed if row.user == "s229").times == 2
