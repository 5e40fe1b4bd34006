"""A person's own WeChat: what is heard, and what becomes of the session, whatever the service answers."""

from typing import Any

import pytest

from farwatch.bridges.base import Address, Incoming, Outcome, plain
from farwatch.errors import BridgeError
from farwatch.testing.bridges import until
from tests.bridges.ilink import HOUR_S, chatting, phone, run


def test_only_the_person_who_scanned_is_talked_with() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            await it.fake.write("stop", user="stranger@im.wechat")
            await it.fake.write("stop", group_id="g1")
            await it.fake.write("stop", message_type=2)
            await it.wake(bridge, "status")
            receipt = await bridge.send(Address("stranger@im.wechat"), plain("x"))

            assert [one.text for one in it.heard] == ["hello", "status"]
            assert (receipt.outcome, it.fake.requests) == (Outcome.REFUSED, 0)
            assert list(it.memory.load()["people"]) == [it.fake.user]

    run(test)


def test_an_ended_session_asks_for_a_scan_and_rests_for_an_hour() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            it.fake.end_session()
            it.fake.push("news")  # ends the poll that is held
            await until(lambda: bridge.condition().code == "scan-again")
            polls = it.fake.polls
            receipt = await bridge.send(it.fake.chat, plain("x"))
            await until(lambda: len(it.paused) > 5)

            assert (receipt.outcome, "scan the code again" in receipt.reason) == (Outcome.REVOKED, True)
            assert (it.fake.polls, it.fake.requests) == (polls, 0)
            with pytest.raises(BridgeError, match="scan"):
                await bridge.check()

            await it.log_in()  # elsewhere, with the same memory
            await until(lambda: bridge.condition().code == "asleep")
            await it.wake(bridge)
            assert (await bridge.send(it.fake.chat, plain("back"))).outcome is Outcome.SENT

    run(test)


def test_after_the_hour_it_is_tried_once_more() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            it.fake.misbehave("revoked")
            await bridge.send(it.fake.chat, plain("x"))
            assert bridge.condition().code == "scan-again"
            await until(lambda: 5.0 in it.paused)
            it.clock.sleep(HOUR_S + 1)
            await until(lambda: bridge.condition().ok)

            assert it.fake.presence.count("start") == 2

    run(test)


def test_without_a_session_it_waits_for_one() -> None:
    async def test() -> None:
        async with phone() as it, it.connected() as bridge:
            assert bridge.condition().code == "scan-again"
            with pytest.raises(BridgeError, match="nobody has scanned"):
                await bridge.check()
            assert (await bridge.send(it.fake.chat, plain("x"))).outcome is Outcome.REVOKED
            await it.log_in()
            await it.wake(bridge)
            assert "WeChat bot" in await bridge.check()

    run(test)


def test_polls_that_are_broken_are_waited_out_and_unknown_things_ignored() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            it.paused.clear()
            it.fake.poll_answers = [b"<html>", b"{", {"ret": -1}, {"ret": 0, "msgs": "x", "get_updates_buf": 7}, {"msgs": [None, [], {}]}]
            await until(lambda: not it.fake.poll_answers)
            for odd in (
                None, "text", {"message_type": 9}, {"message_type": 1, "from_user_id": it.fake.user, "item_list": [{"type": 77}, None, 3]},
                {"message_type": 1, "from_user_id": it.fake.user, "item_list": {"a": 1}, "create_time_ms": "soon", "context_token": 5},
            ):  # fmt: skip
                it.fake.push(odd)
            await it.wake(bridge, "status")

            assert [one.text for one in it.heard] == ["hello", "status"]
            assert it.paused == [2, 2, 30]

    run(test)


def test_duplicates_are_heard_once_and_spoken_words_too() -> None:
    async def test() -> None:
        async with chatting() as (_, it):
            await it.fake.write("停止", message_id=7)
            await it.fake.write("停止", message_id=7)
            await it.fake.write("", item_list=[{"type": 3, "voice_item": {"text": "状态"}}])
            await until(lambda: len(it.heard) == 3)

            assert [(one.text, one.key) for one in it.heard[1:2]] == [("停止", "7")]
            assert it.heard[2].text == "状态"

    run(test)


def test_a_message_of_yesterday_does_not_open_the_window_of_today() -> None:
    async def test() -> None:
        async with phone() as it:
            await it.log_in()
            async with it.connected() as bridge:
                old_ms = (it.clock.wall_us() // 1000) - 23 * HOUR_S * 1000
                await it.fake.write("old", create_time_ms=old_ms)
                await until(lambda: it.heard)

                assert (it.heard[0].sent_ms, bridge.credits(it.fake.chat)) == (old_ms, (10, old_ms + 24 * HOUR_S * 1000))
                await it.wake(bridge, "new")
                await bridge.send(it.fake.chat, plain("x"))
                after = bridge.credits(it.fake.chat)
                await it.fake.write("older still", create_time_ms=old_ms - 1)
                await until(lambda: len(it.heard) == 3)
                assert bridge.credits(it.fake.chat) == after

    run(test)


def test_a_listener_that_fails_does_not_end_the_listening() -> None:
    async def test() -> None:
        async with phone() as it:
            await it.log_in()
            heard: list[str] = []

            async def receive(incoming: Incoming) -> None:
                heard.append(incoming.text)
                raise RuntimeError("a fault of ours")

            bridge = it.bridge()
            await bridge.open(receive)
            await it.fake.write("one")
            await until(lambda: heard == ["one"])
            await it.fake.write("two")
            await until(lambda: len(heard) == 2)
            await bridge.close()

            assert heard == ["one", "two"]

    run(test)


def test_nobody_at_the_address_is_no_contact() -> None:
    async def test() -> None:
        async with phone() as it:
            await it.log_in()
        async with it.connected() as bridge:
            assert bridge.condition().code == "no-contact"
            await until(lambda: 30 in it.paused)

    run(test)


def test_a_disk_that_is_full_ends_neither_hearing_nor_speaking(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):

            def full(value: Any) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(it.memory, "save", full)
            await it.wake(bridge, "status")
            assert (await bridge.send(it.fake.chat, plain("x"))).outcome is Outcome.SENT
            await it.wake(bridge, "again")

    run(test)


def test_an_answer_of_a_new_shape_is_waited_out() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            it.memory.save({**it.memory.load(), "made_ms": 1, "held_ms": "soon"})  # no number: a fault within a poll
            await until(lambda: 30 in it.paused)
            it.memory.save({**it.memory.load(), "made_ms": 2, "held_ms": 0})
            await it.wake(bridge, "status")

            assert [one.text for one in it.heard] == ["hello", "status"]

    run(test)
