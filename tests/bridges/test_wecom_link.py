"""The WeCom smart bot's connection: how it is made and kept, and what is heard over it."""

import asyncio
import json
import logging
from typing import Any

import pytest

from farwatch.bridges.base import (
    Incoming,
    Outcome,
    plain,
)
from farwatch.bridges.services.wecom_link import Timing
from farwatch.errors import BridgeError
from farwatch.testing.bridges import until
from farwatch.testing.chat.wecom import FakeWecom
from tests.bridges.wecom import connected, ignore, made, run


def test_who_was_thrown_out_stays_away() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, _):
            await fake.evict()
            await until(lambda: bridge.condition().code == "taken-over")
            await asyncio.sleep(0.2)  # many times the pause after which it would connect again

            receipt = await bridge.send(fake.chat, plain("x"))

            assert fake.logins == 1
            assert receipt.outcome is Outcome.REVOKED and "another program" in receipt.reason

    run(test)


def test_two_copies_do_not_fight() -> None:
    async def test() -> None:
        async with FakeWecom().serving() as fake:
            first, second = made(fake), made(fake)
            await first.open(ignore)
            await until(lambda: first.condition().ok)
            await second.open(ignore)
            await until(lambda: second.condition().ok and first.condition().code == "taken-over")
            await asyncio.sleep(0.2)

            assert fake.logins == 2 and second.condition().ok
            await first.close()
            await second.close()

    run(test)


def test_a_connection_whose_pings_are_not_answered_is_made_anew() -> None:
    async def test() -> None:
        timing = Timing(ping_s=0.02, ack_s=0.1, first_s=0.01, most_s=0.05)
        async with connected(timing) as (bridge, fake, _):
            fake.silent = True
            await until(lambda: not bridge.condition().ok)
            fake.silent = False
            await until(lambda: bridge.condition().ok)

            assert fake.logins == 2
            pings = [frame for frame in fake.frames if frame["cmd"] == "ping"]
            assert pings and all("body" not in frame for frame in pings)

    run(test)


def test_after_a_break_it_connects_again_and_a_send_waits_for_it() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, heard):
            await fake.cut()
            await until(lambda: not bridge.condition().ok)
            receipt = await bridge.send(fake.chat, plain("after"))
            await fake.write("status")
            await until(lambda: heard)

            assert receipt.outcome is Outcome.SENT and fake.logins == 2

    run(test)


def test_pauses_grow_while_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        pauses: list[float] = []
        real = asyncio.sleep

        async def noted(seconds: float, *more: Any) -> None:
            pauses.append(seconds)
            await real(0)

        async with FakeWecom().serving() as fake:
            bridge = made(fake, Timing(first_s=1, most_s=8))
        monkeypatch.setattr("farwatch.bridges.services.wecom_link.random.uniform", lambda low, high: high)
        monkeypatch.setattr("farwatch.bridges.services.wecom_link.asyncio.sleep", noted)
        await bridge.open(ignore)
        while len(pauses) < 6:
            await real(0.001)
        await bridge.close()

        assert pauses[:6] == [1, 2, 4, 8, 8, 8]
        assert bridge.condition().code == "no-contact"

    run(test)


def test_a_wrong_secret_is_told_and_tried_seldom() -> None:
    async def test() -> None:
        async with FakeWecom().serving() as fake:
            bridge = made(fake, Timing(first_s=0.01, refused_s=60), secret="another-secret")
            await bridge.open(ignore)
            await until(lambda: bridge.condition().code == "revoked")
            await asyncio.sleep(0.1)
            receipt = await bridge.send(fake.chat, plain("x"))
            await bridge.close()

            assert fake.logins == 1
            assert receipt.outcome is Outcome.REVOKED
            with pytest.raises(BridgeError, match="does not take this bot"):
                await made(fake, secret="another-secret").check()

    run(test)


def test_a_check_without_a_connection_makes_one() -> None:
    async def test() -> None:
        async with FakeWecom().serving() as fake:
            assert fake.bot_id in await made(fake).check()
            assert fake.logins == 1
        with pytest.raises(BridgeError, match="no contact"):
            await made(fake).check()

    run(test)


def test_what_is_no_frame_or_unknown_isignored() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, heard):
            for raw in (
                "<html>", "[1]", "null", '{"cmd": 3}', '{"headers": "x"}', b"\xff\xfe", "[" * 100_000,
                {"cmd": "aibot_new_thing", "headers": {"req_id": "n"}, "body": {"a": 1}},
                {"cmd": "aibot_msg_callback", "headers": {"req_id": "n"}, "body": "text"},
                {"cmd": "aibot_msg_callback", "headers": None, "body": {"msgid": "m", "from": "zhangsan", "msgtype": "text"}},
                {"cmd": "aibot_event_callback", "headers": {"req_id": "n"}, "body": {"event": {"eventtype": "feedback_event"}}},
            ):  # fmt: skip
                await fake.push(raw)
            await fake.write("", msgtype="location", location={})
            await fake.enter()
            await fake.write("status")
            await until(lambda: heard)

            assert [one.text for one in heard] == ["status"]
            assert (await bridge.send(fake.chat, plain("x"))).outcome is Outcome.SENT
            assert fake.logins == 1 and fake.requests == 1  # nobody was welcomed

    run(test)


def test_frames_in_fragments_and_duplicates_are_heard_once() -> None:
    async def test() -> None:
        async with connected() as (_, fake, heard):
            fake.fragment = 7
            await fake.write("停止 😀", msgid="same")
            await fake.write("停止 😀", msgid="same")
            await fake.write("next")
            await until(lambda: len(heard) == 2)

            assert [one.text for one in heard] == ["停止 😀", "next"]

    run(test)


def test_words_among_pictures_and_spoken_words_are_heard() -> None:
    async def test() -> None:
        async with connected() as (_, fake, heard):
            items = [{"msgtype": "text", "text": {"content": "@bot 降 3"}}, {"msgtype": "image", "image": {"url": "x"}}]
            await fake.write("", msgtype="mixed", mixed={"msg_item": items})
            await fake.write("", msgtype="voice", voice={"content": "状态"})
            await until(lambda: len(heard) == 2)

            assert [one.text for one in heard] == ["@bot 降 3", "状态"]

    run(test)


def test_a_listener_that_fails_does_not_end_the_listening() -> None:
    async def test() -> None:
        async with FakeWecom().serving() as fake:
            heard: list[str] = []

            async def receive(incoming: Incoming) -> None:
                heard.append(incoming.text)
                if incoming.text == "bad":
                    raise RuntimeError("a fault of ours")

            bridge = made(fake)
            await bridge.open(receive)
            await until(lambda: bridge.condition().ok)
            await fake.write("bad")
            await fake.write("good")
            await until(lambda: len(heard) == 2)
            await bridge.close()

            assert heard == ["bad", "good"]

    run(test)


def test_a_listener_may_answer_while_it_listens() -> None:
    async def test() -> None:
        async with FakeWecom().serving() as fake:
            bridge = made(fake)
            receipts: list[Outcome] = []

            async def receive(incoming: Incoming) -> None:
                receipt = await bridge.send(incoming.address, plain("yes", reply_to=incoming.message_id))
                receipts.append(receipt.outcome)

            await bridge.open(receive)
            await until(lambda: bridge.condition().ok)
            await fake.write("there?")
            await until(lambda: receipts)
            await bridge.close()

            assert receipts == [Outcome.SENT]

    run(test)


def test_the_secret_is_in_no_log_even_of_the_library(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, _):
            for trouble in ("busy", "error", "garbage", "cut"):
                fake.misbehave(trouble)
                await bridge.send(fake.chat, plain("x"))
            fake.refuse_logins = 1
            await fake.cut()
            await until(lambda: fake.logins >= 3)

    logging.getLogger("websockets").setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        run(test)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    assert not [record for record in caplog.records if "456789" in record.getMessage()]  # the library shows the ends of long frames


def test_a_service_with_a_fault_at_the_log_in_is_tried_again_soon() -> None:
    async def test() -> None:
        async with FakeWecom().serving() as fake:
            answers = iter([{"errcode": -1, "errmsg": "system busy"}, {"hello": 1}])
            real = fake._login

            async def login(socket: Any, frame: Any, req_id: str) -> None:
                answer = next(answers, None)
                if answer is None:
                    await real(socket, frame, req_id)
                else:
                    await socket.send(json.dumps({"headers": {"req_id": req_id}, **answer}))

            fake._login = login  # type: ignore[method-assign]
            bridge = made(fake, Timing(first_s=0.01, most_s=0.02, refused_s=60))
            await bridge.open(ignore)
            await until(lambda: bridge.condition().ok)
            await bridge.close()

            assert next(answers, None) is None and fake.logins == 1

    run(test)
