"""Who is told, where, and with which sound: routes that fail over, quiet hours, muted chats, groups, folding."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farwatch.bridges.audience import Audience, Telling
from farwatch.bridges.base import Caps, Condition, Outcome, Receipt, plain
from farwatch.bridges.dispatch import Dispatcher, Urgency
from farwatch.bridges.evening import Evening
from farwatch.bridges.folding import Folding
from farwatch.clock import SystemClock
from farwatch.service.access import Actor
from farwatch.service.people import People
from farwatch.store.meta import Meta
from tests.bridges.virtual import Scripted, run_virtually

OWNER = Actor("owner", frozenset({"read", "steer", "start", "admin"}), "peer", "owner")


class At:
    """A clock that shows a time of day, UTC, and goes on with the loop."""

    def __init__(self, hour: int) -> None:
        self.began_s = datetime(2026, 11, 30, hour, 0, tzinfo=UTC).timestamp()

    def wall_us(self) -> int:
        return int((self.began_s + asyncio.get_running_loop().time() - 1_000) * 1e6)

    def mono_us(self) -> int:
        return int(asyncio.get_running_loop().time() * 1e6)

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps in the loop")


@dataclass
class Board:
    """What an audience uses of a switchboard."""

    bridges: dict[str, Scripted]
    dispatcher: Dispatcher
    tasks: set[Any] = field(default_factory=set)

    def task(self, work: Any) -> Any:
        made = asyncio.get_running_loop().create_task(work)
        self.tasks.add(made)
        return made


class Place:
    """People with chats, bridges that do as told, and an audience."""

    def __init__(self, meta: Meta, hour: int = 12) -> None:
        clock = At(hour)
        self.people = People(meta, clock, owner="ann")
        self.bridges = {"tg": Scripted(), "wc": Scripted(Caps(text_max=4_000, two_way=True, push_first=False))}
        self.board = Board(self.bridges, Dispatcher(self.bridges, meta, clock))
        self.audience = Audience(self.people, self.board, clock)  # type: ignore[arg-type]

    def person(self, name: str, *chats: tuple[str, str], **settings: Any) -> int:
        """Somebody, paired in each of these chats."""
        no = None
        for channel, address in chats:
            code, _ = self.people.offer(name, ["steer"], person_no=no)
            found = self.people.redeem(channel, address, name, code, address=address, group=False)
            assert found is not None
            no = found.no
        assert no is not None
        if settings:
            self.people.change_person(no, settings, OWNER)
        return no

    def tell(self, text: str, urgency: Urgency = Urgency.ALARM, **more: Any) -> None:
        def line(lang: str, detail: str) -> str:
            return f"held: {text}" if detail == "full" else "held"

        self.audience.tell(Telling(urgency, "alert/1", lambda chat: plain(text), digest=line, **more))


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Meta]:
    made = Meta(tmp_path / "meta.db", SystemClock())
    yield made
    made.close()


def test_alarm_goes_to_the_first_chat_and_to_the_next_only_if_that_fails(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta)
        place.person("Ann", ("wc", "a"), ("tg", "1"))
        place.tell("first")
        await asyncio.sleep(60)
        assert (place.bridges["wc"].did("send"), place.bridges["tg"].did("send")) == (["first"], [])
        place.bridges["wc"].script = [Receipt(Outcome.ASLEEP, reason="no credits left")]
        place.tell("second")
        await asyncio.sleep(60)
        assert place.bridges["tg"].did("send") == ["second"]

    run_virtually(main)


def test_alarm_on_a_service_that_is_away_reaches_the_next_within_seconds(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta)
        place.person("Ann", ("tg", "1"), ("wc", "a"))
        place.bridges["tg"].script = [Receipt(Outcome.FAILED)] * 1_000
        place.tell("NaN")
        await asyncio.sleep(11)
        assert place.bridges["wc"].did("send") == ["NaN"]
        assert place.bridges["wc"].log[0][0] <= 10.1

    run_virtually(main)


def test_event_waits_longer_before_it_takes_another_way_and_is_not_doubled(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta)
        place.person("Ann", ("tg", "1"), ("wc", "a"))
        place.bridges["tg"].script = [Receipt(Outcome.FAILED)] * 4
        place.tell("finished", Urgency.EVENT)
        await asyncio.sleep(600)
        assert place.bridges["tg"].did("send").count("finished") == 5
        assert place.bridges["wc"].did("send") == []

    run_virtually(main)


def test_quiet_hours_hold_back_all_but_alarms_and_tell_the_rest_when_they_end(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta, hour=3)
        place.person("Ann", ("tg", "1"), zone="UTC", quiet={"from": "23:00", "to": "08:00"})
        place.tell("finished", Urgency.EVENT)
        place.tell("alarm")
        await asyncio.sleep(60)
        assert place.bridges["tg"].did("send") == ["alarm"]
        assert not place.bridges["tg"].messages[0].silent
        await asyncio.sleep(5 * 3_600)
        assert place.bridges["tg"].did("send") == ["alarm", "While it was quiet (1):\nheld: finished"]
        when = place.bridges["tg"].log[-1][0]
        assert 5 * 3_600 <= when <= 5 * 3_600 + 30

    run_virtually(main)


def test_quiet_hours_without_alarms_take_their_sound(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta, hour=23)
        place.person("Ann", ("tg", "1"), zone="UTC", quiet={"from": "22:30", "to": "07:00", "alarms": False})
        place.tell("alarm")
        await asyncio.sleep(1)
        assert place.bridges["tg"].messages[0].silent

    run_virtually(main)


def test_muted_chat_gets_alarms_without_a_sound_and_nothing_else(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta)
        place.person("Ann", ("tg", "1"))
        chat = place.people.chats()[0]
        place.people.change_chat(chat.no, {"muted_until_ms": place.audience._clock.wall_us() // 1000 + 3_600_000}, "ann")
        place.tell("progress", Urgency.PROGRESS)
        place.tell("alarm")
        await asyncio.sleep(60)
        assert [message.silent for message in place.bridges["tg"].messages] == [True]

    run_virtually(main)


def test_group_and_every_person_are_told_once_and_who_knows_already_is_not(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta)
        ann = place.person("Ann", ("tg", "1"), ("wc", "a"))
        place.person("Bo", ("tg", "2"))
        place.people.add_chat("tg", "-100", title="Lab")
        place.tell("news", Urgency.EVENT, without=ann)
        await asyncio.sleep(300)
        assert sorted(chat for _, _, _, chat in place.bridges["tg"].log) == ["-100", "2"]
        assert place.bridges["wc"].log == []

    run_virtually(main)


def test_chat_of_one_project_hears_nothing_of_others(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta)
        place.person("Ann", ("tg", "1"))
        place.people.change_chat(place.people.chats()[0].no, {"projects": ["digits"]}, "ann")
        place.tell("other", project="words")
        place.tell("mine", project="digits")
        await asyncio.sleep(60)
        assert place.bridges["tg"].did("send") == ["mine"]

    run_virtually(main)


def test_three_hundred_ends_of_a_sweep_are_two_messages(meta: Meta) -> None:
    async def main() -> None:
        folded: list[tuple[str, int]] = []
        folding: Folding[str, Any] = Folding(lambda group, rows: folded.append((group, len(rows))))
        loop = asyncio.get_running_loop()
        told = 0
        for n in range(300):
            told += folding.take("sweep", True, {"id": n}, loop)
            await asyncio.sleep(0.1)
        assert told == 1
        await asyncio.sleep(700)
        assert folded == [("sweep", 299)]

    run_virtually(main)


def test_runs_without_a_group_are_told_one_by_one_until_there_are_many(meta: Meta) -> None:
    async def main() -> None:
        folded: list[int] = []
        folding: Folding[str, Any] = Folding(lambda group, rows: folded.append(len(rows)))
        loop = asyncio.get_running_loop()
        told = [folding.take("digits", False, {"id": n}, loop) for n in range(5)]
        assert told == [True, True, True, False, False]
        await asyncio.sleep(1_300)
        assert folded == [2]
        assert folding.take("digits", False, {"id": 9}, loop)

    run_virtually(main)


class Dear(Scripted):
    """A service that counts: so many messages until the person writes."""

    def __init__(self, left: int, until_ms: int = 0) -> None:
        super().__init__(Caps(text_max=4_000, two_way=True, push_first=False, reply_credits=10, reply_window_s=86_400.0))
        self.left, self.until_ms = left, until_ms

    def condition(self) -> Condition:
        return Condition(True, facts={"people": {"a": {"left": self.left, "safe_until_ms": self.until_ms}}})


def test_last_messages_of_a_service_that_counts_are_kept_for_alarms_and_ends(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta)
        place.bridges["wc"] = place.board.bridges["wc"] = Dear(2)
        place.person("Ann", ("wc", "a"))
        place.tell("a line", Urgency.EVENT)
        place.tell("finished", Urgency.EVENT, vital=True)
        place.tell("NaN")
        await asyncio.sleep(60)
        assert sorted(place.bridges["wc"].did("send")) == ["NaN", "finished"]

    run_virtually(main)


@pytest.mark.parametrize(("hours_left", "active", "asked"), [(6, True, 1), (12, True, 0), (6, False, 0)])
def test_chat_that_would_sleep_before_the_morning_asks_once_in_the_evening(meta: Meta, hours_left: int, active: bool, asked: int) -> None:
    async def main() -> None:
        place = Place(meta, hour=20)
        now_ms = place.audience._clock.wall_us() // 1000
        place.bridges["wc"] = place.board.bridges["wc"] = Dear(8, now_ms + hours_left * 3_600_000)
        place.person("Ann", ("wc", "a"), zone="UTC")
        run = SimpleNamespace(final=not active)
        selection: Any = SimpleNamespace(active=lambda: [run])
        evening = Evening(place.board, place.audience, place.people, selection, place.audience._clock)  # type: ignore[arg-type]
        task = asyncio.get_running_loop().create_task(evening.work())
        await asyncio.sleep(50 * 60)
        assert place.bridges["wc"].log == []
        await asyncio.sleep(4 * 3_600)
        assert len(place.bridges["wc"].log) == asked
        task.cancel()

    run_virtually(main)
