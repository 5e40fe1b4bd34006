"""Alarms where things go wrong: what heals before it is told, comes back, is answered twice, is over after a restart."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from farwatch.bridges.base import Caps, Outcome, Receipt
from tests.bridges.alarming import Desk
from tests.bridges.virtual import Scripted, run_virtually

HEAD = "▲ heron #1: train/loss is NaN"
OVER = "✓ heron #1: train/loss is NaN"


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Desk], Coroutine[Any, Any, None]]], None]:
    """Plays a scene at a desk. What would be done in another thread is done at once: time jumps while one is waited for."""

    async def at_once(work: Callable[..., Any], *args: Any, **more: Any) -> Any:
        return work(*args, **more)

    monkeypatch.setattr(asyncio, "to_thread", at_once)

    def played(scene: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            desk = Desk(tmp_path)
            try:
                await scene(desk)
            finally:
                await desk.board.dispatcher.close()
                desk.close()

        run_virtually(main)

    return played


Play = Callable[[Callable[[Desk], Coroutine[Any, Any, None]]], None]


def test_alarm_that_heals_while_its_picture_is_drawn_is_told_as_over_and_without_a_sound(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        desk.drawing.takes_s = 1.5
        heron = desk.run(name="heron")
        desk.fire(heron)
        await asyncio.sleep(1)
        desk.heal(heron)
        await asyncio.sleep(60)
        assert desk.told() == [("send", OVER, False)]

    play(scene)


def test_alarm_does_not_wait_for_a_picture_that_takes_long(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        ann = desk.person("Ann", ("tg", "1"))
        desk.person("Bo", ("wc", "b"))
        desk.people.change_chat(desk.people.chats(person_no=ann)[0].no, {"lang": "zh"}, "ann")
        desk.drawing.takes_s = 60.0  # in each of two languages
        began = asyncio.get_running_loop().time()
        desk.fire(desk.run(name="heron"))
        await asyncio.sleep(10)
        for bridge in desk.bridges.values():
            assert [what for _, what, _, _ in bridge.log] == ["send"]
            assert bridge.log[0][0] - (began - 1_000) <= 2.1

    play(scene)


def test_alarm_that_heals_while_the_service_is_away_arrives_as_over(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        desk.bridges["tg"].script = [Receipt(Outcome.LATER, retry_after_s=300.0)]
        heron = desk.run(name="heron")
        desk.fire(heron)
        await asyncio.sleep(30)
        desk.heal(heron)
        await asyncio.sleep(400)
        assert desk.told() == [("send", HEAD, True), ("send", OVER, False)]
        assert desk.bridges["tg"].messages[-1].buttons == ()

    play(scene)


def test_alarm_that_fails_over_after_it_has_healed_makes_no_sound_there(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"), ("wc", "a"))
        desk.bridges["tg"].script = [Receipt(Outcome.FAILED)] * 100
        heron = desk.run(name="heron")
        desk.fire(heron)
        await asyncio.sleep(5)
        desk.heal(heron)
        await asyncio.sleep(60)
        assert desk.told("wc") == [("send", OVER, False)]

    play(scene)


def test_one_that_comes_back_changes_its_message_and_rings_when_ten_minutes_have_passed(play: Play) -> None:
    """A NaN that heals, is read as recovered at three in the morning, and comes back for good must not stay unheard."""

    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        heron = desk.run(name="heron")
        desk.fire(heron)
        await asyncio.sleep(60)
        desk.heal(heron)
        await asyncio.sleep(60)
        desk.fire(heron)
        await asyncio.sleep(60)
        assert desk.told() == [("send", HEAD, True), ("edit", OVER, False), ("edit", HEAD, False)]
        await asyncio.sleep(500)
        assert desk.told()[3:] == [("send", HEAD, True)]
        assert desk.bridges["tg"].messages[-1].buttons[0][0].label == "■ Stop"
        await asyncio.sleep(4_000)
        assert len(desk.told()) == 4

    play(scene)


def test_one_that_flaps_does_not_ring_each_time(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        heron = desk.run(name="heron")
        for _ in range(60):
            desk.fire(heron)
            await asyncio.sleep(15)
            desk.heal(heron)
            await asyncio.sleep(15)
        rings = [one for one in desk.told() if one[2]]
        assert 2 <= len(rings) <= 4

    play(scene)


def test_snooze_ends_and_it_rings_again_with_its_buttons(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        heron = desk.run(name="heron")
        desk.fire(heron)
        await asyncio.sleep(5)
        assert await desk.press("Ann", "tg", "1", "Snooze 1 h") == "Snooze 1 h"
        await asyncio.sleep(3_500)
        assert [sound for _, _, sound in desk.told()].count(True) == 1
        await asyncio.sleep(200)
        what, head, sound = desk.told()[-1]
        assert (what, head, sound) == ("send", HEAD, True)
        assert len(desk.bridges["tg"].messages[-1].buttons) == 2
        assert "snoozed" not in desk.bridges["tg"].messages[-1].text

    play(scene)


def test_snooze_survives_a_restart_and_ends_in_silence_where_it_has_healed(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        heron, otter = desk.run(name="heron"), desk.run(name="otter")
        desk.fire(heron)
        desk.fire(otter)
        await asyncio.sleep(5)
        for row in desk.register.all_open():
            desk.register.answer(row.no, {"snooze_s": 3_600}, "ann")
        await asyncio.sleep(5)
        desk.heal(otter)
        await asyncio.sleep(5)
        await desk.restart()
        await asyncio.sleep(3_000)
        before = len(desk.told())
        assert [sound for _, _, sound in desk.told()].count(True) == 2
        await asyncio.sleep(1_000)
        assert desk.told()[before:] == [("send", HEAD, True)]

    play(scene)


def test_two_people_at_once_are_one_command(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        desk.person("Bo", ("wc", "b"))
        desk.commands.takes_s = 0.2
        heron = desk.run(name="heron")
        desk.fire(heron)
        await asyncio.sleep(5)
        said = await asyncio.gather(desk.press("Ann", "tg", "1", "lr ÷ 3"), desk.press("Bo", "wc", "b", "■ Stop"))
        await asyncio.sleep(30)
        assert desk.commands.put_ == [("Ann", "set", {"name": "lr", "value": 0.1})]
        assert said[0] == "lr ÷ 3" and "Ann has answered already" in str(said[1])
        assert "✓ Ann: lr ÷ 3 · applied at step 812: 0.3 → 0.1" in desk.bridges["wc"].messages[-1].text
        assert "Ann has answered already: lr ÷ 3 · applied" in str(await desk.press("Bo", "wc", "b", "■ Stop"))

    play(scene)


def test_answer_that_failed_leaves_the_alarm_to_the_next(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        heron = desk.run(name="heron")
        desk.fire(heron)
        await asyncio.sleep(5)

        async def broken(*args: Any, **more: Any) -> Any:
            raise OSError(28, "No space left on device")

        put, desk.commands.put = desk.commands.put, broken  # type: ignore[method-assign]
        with pytest.raises(OSError, match="No space"):
            await desk.press("Ann", "tg", "1", "■ Stop")
        desk.commands.put = put  # type: ignore[method-assign]
        assert await desk.press("Ann", "tg", "1", "■ Stop") == "■ Stop"

    play(scene)


def test_who_answered_is_still_shown_after_a_restart_and_when_it_was_answered_on_the_page(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        heron, otter = desk.run(name="heron"), desk.run(name="otter")
        desk.fire(heron)
        await asyncio.sleep(5)
        await desk.press("Ann", "tg", "1", "lr ÷ 3")
        await asyncio.sleep(30)
        await desk.restart()
        await asyncio.sleep(30)
        assert [sound for _, _, sound in desk.told()].count(True) == 1
        desk.heal(heron)
        await asyncio.sleep(30)
        last = desk.bridges["tg"].messages[-1]
        assert last.text.startswith(OVER) and "✓ Ann: lr ÷ 3 · applied at step 812" in last.text

        row = desk.fire(otter)
        await asyncio.sleep(5)
        desk.register.answer(row.no, {"acknowledge": True}, "cleo")
        await asyncio.sleep(30)
        last = desk.bridges["tg"].messages[-1]
        assert "✓ cleo: seen" in last.text and last.buttons == ()

    play(scene)


def test_alarm_that_a_dead_server_did_not_tell_is_told_after_its_restart_and_one_that_was_is_not(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        heron, otter = desk.run(name="heron"), desk.run(name="otter")
        desk.fire(otter)
        await asyncio.sleep(5)
        desk.bridges["tg"].script = [Receipt(Outcome.FAILED, reason="no contact")] * 3
        desk.fire(heron)
        await asyncio.sleep(3)
        desk.bridges["tg"].script = []
        await desk.restart()
        await asyncio.sleep(60)
        heads = [head for what, head, sound in desk.told() if what == "send" and sound]
        assert heads.count("▲ otter #2: train/loss is NaN") == 1 and heads[-1] == HEAD
        await desk.restart()
        await asyncio.sleep(60)
        assert [head for what, head, sound in desk.told() if what == "send" and sound] == heads

    play(scene)


def test_clock_that_is_set_does_not_make_an_old_button_fresh(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        heron = desk.run(name="heron")
        desk.fire(heron)
        await asyncio.sleep(80)
        desk.clock.jump(7_200)
        assert await desk.press("Ann", "tg", "1", "■ Stop") == "■ Stop"
        otter = desk.run(name="otter")
        desk.fire(otter)
        await asyncio.sleep(100)
        desk.clock.jump(-14_400)
        assert await desk.press("Ann", "tg", "1", "■ Stop") == "Sure?"
        assert [(name, ask.op) for name, ask, _ in desk.asked] == [("Ann", "stop")]
        assert len(desk.commands.put_) == 1

    play(scene)


def test_what_is_confirmed_late_stands_in_the_alarm_too(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        heron = desk.run(name="heron")
        desk.fire(heron)
        await asyncio.sleep(100)
        await desk.press("Ann", "tg", "1", "■ Stop")
        (_, ask, said) = desk.asked[0]
        assert said == HEAD
        await desk.alarms.done(desk.people.persons()[0], ask, {"id": "c9", "state": "pending"})
        await asyncio.sleep(10)
        assert "✓ Ann: ■ Stop · applied at step 812" in desk.bridges["tg"].messages[-1].text

    play(scene)


def test_minimal_chat_shows_neither_names_nor_values_of_an_answer(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        desk.people.change_chat(desk.people.chats()[0].no, {"detail": "minimal"}, "ann")
        heron = desk.run(name="heron")
        desk.fire(heron)
        await asyncio.sleep(5)
        await desk.press("Ann", "tg", "1", "÷ 3")
        await asyncio.sleep(30)
        desk.heal(heron)
        await asyncio.sleep(30)
        assert len(desk.bridges["tg"].messages) >= 3
        for message in desk.bridges["tg"].messages:
            shown = message.text + "".join(one.label for row in message.buttons for one in row)
            assert not any(word in shown for word in ("heron", "loss", "NaN", "lr", "0.3", "0.1", "812", "Ann")), shown
        assert "÷ 3 · applied" in desk.bridges["tg"].messages[-1].text

    play(scene)


def test_chinese_reader_reads_an_answer_in_chinese(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        ann = desk.person("Ann", ("tg", "1"))
        desk.person("Bo", ("wc", "b"))
        desk.people.change_chat(desk.people.chats(person_no=ann)[0].no, {"lang": "zh"}, "ann")
        heron = desk.run(name="heron")
        desk.fire(heron)
        await asyncio.sleep(5)
        await desk.press("Bo", "wc", "b", "■ Stop")
        await asyncio.sleep(30)
        assert "✓ Bo：■ 停止 · 已执行，第 812 步" in desk.bridges["tg"].messages[-1].text

    play(scene)


@pytest.mark.parametrize(("group", "alone"), [("sweep", 1), (None, 3)])
def test_three_hundred_alarms_of_one_sort_are_a_few_messages_and_another_sort_rings(play: Play, group: str | None, alone: int) -> None:
    """A disk fails and a sweep of 300 runs with it: one alarm, and one message that grows."""

    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        runs = [desk.run(name=f"seed{n}", group=group) for n in range(300)]
        for process in runs:
            desk.fire(process)
            await asyncio.sleep(0.5)
        other = desk.run(name="other", group=group)
        desk.fire(other, "stalled", "stalled")
        await asyncio.sleep(30)
        loud = [head for what, head, sound in desk.told() if what == "send" and sound]
        assert len(loud) == alone + 2 and loud[-1].endswith("stalled")
        await asyncio.sleep(700)
        assert len([one for one in desk.told() if one[0] == "send"]) == alone + 2
        last = next(message.text for message in reversed(desk.bridges["tg"].messages) if "more" in message.text)
        assert last.startswith(f"▲ {group or 'digits'}: {300 - alone} more: NaN or infinite\nseed")

    play(scene)


def test_where_nothing_can_be_changed_the_rest_of_a_sweep_is_one_message(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.bridges["tg"].caps = Caps(text_max=4_000)
        desk.person("Ann", ("tg", "1"))
        for n in range(30):
            desk.fire(desk.run(name=f"seed{n}", group="sweep"))
            await asyncio.sleep(5)
        await asyncio.sleep(700)
        assert [head for _, head, _ in desk.told()] == ["▲ seed0 #1: train/loss is NaN", "▲ sweep: 29 more: NaN or infinite"]

    play(scene)


HOSTILE = ["@everyone <!channel> [x](tg://user?id=1)", "研究" * 100, "🦩" * 60, "\u202eevil\nname\t" * 20, "x" * 200]


@pytest.mark.parametrize("name", HOSTILE)
def test_headline_says_what_has_happened_within_sixty_characters_whatever_the_name(play: Play, name: str) -> None:
    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        desk.fire(desk.run(name=name))
        await asyncio.sleep(5)
        (head,) = (head for _, head, _ in desk.told())
        assert head[:60].endswith("train/loss is NaN") and head.startswith("▲ "), head

    play(scene)


def test_person_who_is_removed_is_told_nothing_more(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        ann = desk.person("Ann", ("tg", "1"))
        desk.person("Bo", ("wc", "b"))
        desk.bridges["tg"] = desk.board.bridges["tg"] = Scripted()
        desk.bridges["tg"].script = [Receipt(Outcome.LATER, retry_after_s=60.0)]
        heron = desk.run(name="heron")
        desk.fire(heron)
        await asyncio.sleep(5)
        chats = [chat.no for chat in desk.people.chats(person_no=ann)]
        desk.people.remove_person(ann, "bo")
        for no in chats:
            desk.board.dispatcher.forget(no)
        desk.heal(heron)
        await asyncio.sleep(300)
        assert len(desk.told()) == 1
        assert desk.told("wc")[-1] == ("edit", OVER, False)

    play(scene)


def test_groups_of_one_name_in_two_projects_are_two_groups(play: Play) -> None:
    """A chat of one project must not read of another one's runs because both have a group that is called sweep."""

    async def scene(desk: Desk) -> None:
        desk.person("Ann", ("tg", "1"))
        desk.people.change_chat(desk.people.chats()[0].no, {"projects": ["digits"]}, "ann")
        for n in range(5):
            desk.fire(desk.run(name=f"mine{n}", group="sweep"))
            desk.fire(desk.run(name=f"theirs{n}", group="sweep", project="words"))
        await asyncio.sleep(700)
        texts = [message.text for message in desk.bridges["tg"].messages]
        assert any("4 more" in text for text in texts) and not any("theirs" in text for text in texts), texts

    play(scene)
