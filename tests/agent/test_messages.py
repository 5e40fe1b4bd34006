"""Sending what programs without a run have left: order, once, for a day; against a server that fails as told."""

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from farwatch.agent.messages import Kept, Messages, messages_at
from farwatch.agent.transport import Answer
from farwatch.errors import ContactError, UsageError
from tests.service.conftest import ManualClock


class Server:
    """Answers `POST /notify` with what stands in `outcomes`, in turn, then `sent`; an error is raised after it was asked."""

    address = "http://127.0.0.1:1"

    def __init__(self) -> None:
        self.outcomes: list[str | Exception | None] = []
        self.asked: list[dict[str, Any]] = []
        self.uploads: list[bytes] = []

    def request(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        if path.startswith("/notify/uploads"):
            self.uploads.append(bytes(body))
            return Answer(200, {}, json.dumps({"upload": f"u{len(self.uploads)}"}).encode())
        assert (method, path) == ("POST", "/notify")
        self.asked.append(dict(body))
        outcome = self.outcomes.pop(0) if self.outcomes else "sent"
        if isinstance(outcome, Exception):
            raise outcome
        messages = [] if outcome is None else [{"chat": 1, "channel": "telegram", "outcome": outcome, "reason": "because", "ids": []}]
        return Answer(200, {}, json.dumps({"messages": messages}).encode())

    def close(self) -> None:
        """Nothing is open."""

    @property
    def texts(self) -> list[str]:
        return [one["text"] for one in self.asked]


class Place:
    """A state folder, and the agent's part that looks after it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.clock = ManualClock()
        self.servers: dict[str, Server | None] = {"": Server()}
        self.messages = Messages(state, self.clock, lambda server: lambda: self.servers[server], threading.Event())

    @property
    def server(self) -> Server:
        found = self.servers[""]
        assert found is not None
        return found

    def leave(self, number: int, text: str, *, server: str | None = None, more: Mapping[str, Any] | None = None, **files: bytes) -> Path:
        folder = self.state / "messages" / f"{number:020d}-7-0-abcdef01"
        folder.mkdir(mode=0o700, parents=True)
        told = {"text": text, "made_ms": self.clock.wall_us() // 1000, "server": server, **(more or {})}
        for name, content in files.items():
            (folder / name).write_bytes(content)
        (folder / "message.json").write_text(json.dumps(told))
        return folder

    def turns(self, count: int, seconds: float = 10.0) -> None:
        for _ in range(count):
            self.messages.turn()
            self.clock.sleep(seconds)

    def kept(self) -> Kept:
        return messages_at(self.state, self.clock.wall_us() // 1000)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_messages_go_in_order_and_are_deleted(place: Place) -> None:
    for number in (3, 1, 2):
        place.leave(number, f"message {number}")

    left = place.messages.turn()

    assert (left, place.server.texts, place.kept()) == (False, ["message 1", "message 2", "message 3"], Kept(0, ()))


def test_lost_answer_is_asked_for_again_with_the_same_id_and_nothing_overtakes(place: Place) -> None:
    place.server.outcomes = [ContactError("the connection broke"), ContactError("again")]
    first, second = place.leave(1, "first"), place.leave(2, "second")

    place.turns(4)

    assert place.server.texts == ["first", "first", "first", "second"]
    assert [one["id"] for one in place.server.asked] == [first.name] * 3 + [second.name]


def test_message_that_the_server_still_tries_is_kept_and_asked_about(place: Place) -> None:
    place.server.outcomes = ["waiting", "sent", "waiting", "sent"]
    place.leave(1, "slow")
    place.leave(2, "quick")

    assert place.messages.turn()
    assert (place.server.texts, place.kept().waiting) == (["slow", "quick"], 1)
    place.turns(1, 10.0)
    assert len(place.server.asked) == 2, "not at once"
    place.turns(8)

    assert (place.server.texts[2:], place.kept().waiting) == (["slow", "slow"], 0)
    assert len({one["id"] for one in place.server.asked if one["text"] == "slow"}) == 1


def test_server_that_comes_within_a_day_gets_them_and_a_later_one_a_note(place: Place) -> None:
    later = place.servers[""]
    place.servers[""] = None
    place.leave(1, "old")
    place.turns(3, 23 * 3_600.0)  # the third look is after two days
    assert place.kept().waiting == 0
    ((_, reason),) = place.kept().given_up
    assert "24 hours" in reason

    place.leave(2, "fresh")
    place.turns(2, 10_000.0)
    assert place.kept().waiting == 1
    place.servers[""] = later
    place.turns(2)

    assert (place.kept().waiting, place.server.texts) == (0, ["fresh"])


@pytest.mark.parametrize(
    ("outcome", "part"), [("gone", "gone because"), ("failed", "failed because"), (None, "nobody is connected"), (UsageError("no"), "no")]
)
def test_what_will_never_arrive_is_given_up_with_its_reason(place: Place, outcome: str | Exception | None, part: str) -> None:
    place.server.outcomes = [outcome]
    place.leave(1, "lost")
    place.leave(2, "next")

    place.messages.turn()

    assert place.server.texts == ["lost", "next"]
    ((made_ms, reason),) = place.kept().given_up
    assert part in reason and made_ms == place.clock.wall_us() // 1000
    assert oct(os.stat(place.state / "messages" / "given-up.json").st_mode & 0o777) == "0o600"


def test_server_that_is_away_does_not_hold_up_another(place: Place) -> None:
    place.servers["http://elsewhere"] = None
    place.leave(1, "to elsewhere", server="http://elsewhere")
    place.leave(2, "to mine")

    assert place.messages.turn()

    assert place.server.texts == ["to mine"]
    assert place.messages.lasting, "a server was named: it is waited for"


def test_attachments_go_with_it_large_ones_by_themselves(place: Place) -> None:
    named = {"image": {"name": "p.png", "media_type": "image/png"}, "file": {"name": "big.bin", "media_type": None}}
    place.leave(1, "with both", more=named, image=b"\x89PNG", file=b"x" * 300_000)

    place.messages.turn()

    (asked,) = place.server.asked
    assert asked["picture"] == {"name": "p.png", "media_type": "image/png", "base64": "iVBORw=="}
    assert asked["files"] == [{"name": "big.bin", "media_type": None, "upload": "u1"}]
    assert place.server.uploads == [b"x" * 300_000]


def test_spoilt_and_foreign_folders_hold_up_nothing(place: Place, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(json.dumps({"text": "what a link leads to", "made_ms": 0}))
    linked = place.leave(1, "linked")
    (linked / "message.json").unlink()
    (linked / "message.json").symlink_to(secret)
    (place.leave(2, "no JSON") / "message.json").write_text("{")
    (place.leave(3, "half deleted") / "message.json").unlink()
    (place.state / "messages" / ".00000000000000000009-7-0-abcdef01").mkdir()  # being made
    (place.state / "messages" / "notes").mkdir()
    place.leave(4, "good")

    place.messages.turn()

    assert (place.server.texts, place.kept().waiting, len(place.kept().given_up)) == (["good"], 0, 2)
