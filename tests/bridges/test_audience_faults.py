"""Who is told, where things go wrong: nights, restarts, chats that show nothing, people who go, steps without end."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farwatch.bridges import compose
from farwatch.bridges.audience import Audience, Telling
from farwatch.bridges.base import Outcome, Receipt, plain
from farwatch.bridges.dispatch import Urgency
from farwatch.bridges.evening import Evening
from farwatch.bridges.reporter import LINES_MAX, Reporter
from farwatch.clock import SystemClock
from farwatch.service.people import People
from farwatch.store.meta import Meta
from tests.bridges.alarming import Kept
from tests.bridges.test_audience import OWNER, Place
from tests.bridges.virtual import run_virtually

NIGHT = {"from": "23:00", "to": "08:00"}


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Meta]:
    made = Meta(tmp_path / "meta.db", SystemClock())
    yield made
    made.close()


def test_minimal_chat_is_told_nothing_more_when_quiet_hours_end(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta, hour=3)
        place.person("Ann", ("tg", "1"), zone="UTC", quiet=NIGHT)
        place.people.change_chat(place.people.chats()[0].no, {"detail": "minimal"}, "ann")
        place.tell("loss of secret-run", Urgency.EVENT)
        await asyncio.sleep(6 * 3_600)
        assert place.bridges["tg"].did("send") == ["While it was quiet (1):\nheld"]

    run_virtually(main)


def test_every_line_that_stands_for_a_notice_knows_the_minimal_form() -> None:
    row = {"state": "finished", "name": "secret", "number": 3, "duration_ms": 60_000, "id": "r", "project": "p"}

    assert compose.ended_line(row, "en", "minimal") == "✓ a run finished after 60 s"
    assert compose.folded_line("secret", [row, row], "en", "minimal") == "✓ 2 finished"
    assert compose.folded_line("sweep", [row, row], "zh", "full") == "sweep: ✓ 2 完成"


def test_message_that_stands_goes_on_changing_in_quiet_hours_and_no_new_one_begins(meta: Meta) -> None:
    """Who looks at three finds the run where it is, not where it was when the night began."""

    async def main() -> None:
        place = Place(meta, hour=22)
        place.person("Ann", ("tg", "1"), zone="UTC", quiet=NIGHT)

        def progress(text: str, key: str, closes: bool = False) -> None:
            place.audience.tell(Telling(Urgency.PROGRESS, key, lambda chat: plain(text, silent=True), key=key, closes=closes))

        progress("10 %", "progress/1")
        await asyncio.sleep(2 * 3_600)
        progress("50 %", "progress/1")
        progress("1 %", "progress/2")
        await asyncio.sleep(600)
        progress("100 %", "progress/1", closes=True)
        await asyncio.sleep(600)
        assert [(what, text) for _, what, text, _ in place.bridges["tg"].log] == [
            ("send", "10 %"), ("edit", "50 %"), ("edit", "100 %"),
        ]  # fmt: skip

    run_virtually(main)


def test_quiet_hours_that_are_taken_back_end_at_once(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta, hour=3)
        ann = place.person("Ann", ("tg", "1"), zone="UTC", quiet=NIGHT)
        place.tell("finished", Urgency.EVENT)
        await asyncio.sleep(60)
        assert place.bridges["tg"].log == []
        place.people.change_person(ann, {"quiet": None}, OWNER)
        await asyncio.sleep(60)
        assert place.bridges["tg"].did("send") == ["While it was quiet (1):\nheld: finished"]

    run_virtually(main)


def test_night_with_ten_thousand_notices_is_one_message_and_little_memory(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta, hour=3)
        place.person("Ann", ("tg", "1"), zone="UTC", quiet=NIGHT)
        for n in range(10_000):
            place.tell(f"run {n}", Urgency.EVENT)
        await asyncio.sleep(60)
        held = place.audience._held[place.people.chats()[0].no]
        assert len(held.first) + len(held.last) <= 20
        await asyncio.sleep(6 * 3_600)
        (text,) = place.bridges["tg"].did("send")
        assert text.startswith("While it was quiet (10000):\nheld: run 0\n") and text.endswith("held: run 9999")
        assert "… +9981" in text

    run_virtually(main)


def test_what_was_held_back_is_told_although_the_server_was_restarted_in_the_night(meta: Meta, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(work: Any, *args: Any) -> Any:
        return work(*args)

    monkeypatch.setattr(asyncio, "to_thread", at_once)

    async def main() -> None:
        place = Place(meta, hour=3)
        memory = Kept()
        place.audience = Audience(place.people, place.board, place.audience._clock, memory)  # type: ignore[arg-type]
        place.person("Ann", ("tg", "1"), zone="UTC", quiet=NIGHT)
        place.tell("finished", Urgency.EVENT)
        await asyncio.sleep(60)
        for task in list(place.board.tasks):
            task.cancel()
        again = Audience(place.people, place.board, place.audience._clock, memory)  # type: ignore[arg-type]
        again.begin()
        await asyncio.sleep(6 * 3_600)
        assert place.bridges["tg"].did("send") == ["While it was quiet (1):\nheld: finished"]
        await asyncio.sleep(1)
        assert memory.value == {}

    run_virtually(main)


@pytest.mark.parametrize("day", ["2026-03-28", "2026-03-29", "2026-10-24", "2026-10-25", "2026-12-31"])
def test_quiet_hours_hold_through_midnight_and_the_change_of_the_clocks(tmp_path: Path, day: str) -> None:
    """From 23:00 to 08:00 as the person's clock shows it, on each evening and morning around the changes of time in Berlin."""
    import zoneinfo

    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    begin = datetime.fromisoformat(day).replace(hour=12, tzinfo=berlin).astimezone(UTC).timestamp()
    clock: Any = SimpleNamespace(now_s=begin)
    clock.wall_us = clock.mono_us = lambda: int(clock.now_s * 1e6)
    meta = Meta(tmp_path / "meta.db", SystemClock())
    people = People(meta, clock, owner="ann")
    board: Any = SimpleNamespace(bridges={}, dispatcher=None)
    audience = Audience(people, board, clock)
    code, _ = people.offer("Ann", ["read"])
    ann = people.redeem("tg", "1", "Ann", code, address="1", group=False)
    assert ann is not None
    ann = people.change_person(ann.no, {"zone": "Europe/Berlin", "quiet": NIGHT}, OWNER)

    for _ in range(24 * 4):
        clock.now_s += 900
        hour = datetime.fromtimestamp(clock.now_s, berlin).hour
        assert audience.quiet(people.chats()[0], ann) == (hour >= 23 or hour < 8, True), hour
    meta.close()


def test_chat_that_is_removed_while_messages_wait_gets_none(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta, hour=3)
        place.person("Ann", ("tg", "1"), zone="UTC", quiet=NIGHT)
        place.bridges["tg"].script = [Receipt(Outcome.LATER, retry_after_s=60.0)]
        place.tell("alarm")
        place.tell("finished", Urgency.EVENT)
        await asyncio.sleep(1)
        chat = place.people.chats()[0]
        place.people.remove_chat(chat.no, "ann")
        place.board.dispatcher.forget(chat.no)
        await asyncio.sleep(8 * 3_600)
        assert len(place.bridges["tg"].log) == 1
        assert place.audience._held == {}

    run_virtually(main)


def test_evening_goes_on_after_a_fault(meta: Meta) -> None:
    async def main() -> None:
        place = Place(meta, hour=20)
        looked = []

        def active() -> list[Any]:
            looked.append(1)
            raise LookupError("gone meanwhile")

        selection: Any = SimpleNamespace(active=active)
        evening = Evening(place.board, place.audience, place.people, selection, place.audience._clock)  # type: ignore[arg-type]
        task = asyncio.get_running_loop().create_task(evening.work())
        await asyncio.sleep(200)
        assert len(looked) == 3
        task.cancel()

    run_virtually(main)


def test_lines_every_step_of_a_run_at_step_ten_to_the_fifteenth_take_no_time() -> None:
    """`every 1 steps`, and a program whose steps are nanoseconds: the newest lines are told, and no list of them all is made."""
    said: list[str] = []
    people = SimpleNamespace(lang_of=lambda chat: "en")
    runs = SimpleNamespace(
        summary=lambda run: {"loss": 1.0}, activity=SimpleNamespace(overlay=lambda run: SimpleNamespace(points=1)),
        store=SimpleNamespace(series=lambda run, names: []), meta=SimpleNamespace(runs_of=lambda project: []),
    )  # fmt: skip
    nothing: Any = None
    reporter = Reporter(nothing, nothing, people, runs, nothing, SystemClock(), lambda row: None, lambda run, rule: False)  # type: ignore[arg-type]
    reporter._say = lambda chat, run, message: said.append(message.text)  # type: ignore[method-assign]
    watch: Any = SimpleNamespace(lines={}, fresh=True)
    run: Any = SimpleNamespace(id="r", attempt=1)
    chat: Any = SimpleNamespace(no=1, settings={})
    row = {"step": 10.0**15, "name": "ns", "number": 1, "main_metric": "loss"}

    reporter._lines_by_step(run, row, watch, chat, 1.0)

    assert len(said[0].splitlines()) == LINES_MAX
