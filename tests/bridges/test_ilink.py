"""A person's own WeChat: what goes out, against a strict fake of the iLink service, and the fake against an independent client."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import weilink
from weilink import _protocol as protocol

from farwatch.bridges import registry
from farwatch.bridges.base import Attachment, Message, Outcome, Part, Setup, plain
from farwatch.bridges.services import ilink_media
from farwatch.bridges.services.ilink import Ilink
from farwatch.clock import SystemClock
from farwatch.errors import BridgeError
from farwatch.testing.bridges import PNG, BridgeContract, until
from farwatch.testing.chat.ilink import FakeIlink
from tests.bridges.ilink import HOUR_S, chatting, phone, run
from tests.bridges.memory import KeptMemory


class TestContract(BridgeContract):
    slow_s = 0.3

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[Ilink, FakeIlink]]:  # type: ignore[override]
        async with phone() as it:
            await it.log_in()
            async with it.connected() as first:
                await it.wake(first)
            yield it.bridge(), it.fake


def test_a_message_is_as_documented_and_carries_the_conversation_s_token() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            receipt = await bridge.send(it.heard[0].address, plain("step 900"))

            (sent,) = it.fake.sent
            assert sent == {
                "from_user_id": "", "to_user_id": it.fake.user, "client_id": sent["client_id"], "message_type": 2, "message_state": 2,
                "context_token": it.memory.load()["people"][it.fake.user]["context"],
                "item_list": [{"type": 1, "text_item": {"text": "step 900"}}],
            }  # fmt: skip
            assert int(receipt.message_ids[0]) > 2**63 and int(it.heard[0].message_id) > 2**63
            assert it.fake.refusals == []

    run(test)


def test_ten_are_said_and_then_the_person_has_to_write() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            outcomes = [(await bridge.send(it.fake.chat, plain(str(n)))).outcome for n in range(11)]
            asked = it.fake.requests
            condition = bridge.condition()
            await it.wake(bridge)
            after = await bridge.send(it.fake.chat, plain("again"))

            assert outcomes == [Outcome.SENT] * 10 + [Outcome.ASLEEP]
            assert asked == 10  # the eleventh was not tried
            assert (condition.ok, condition.code, "write any message" in condition.text) == (False, "asleep", True)
            assert after.outcome is Outcome.SENT and bridge.credits(it.fake.chat)[0] == 9
            assert it.fake.refusals == []

    run(test)


def test_two_things_are_never_said_within_three_seconds() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            await asyncio.gather(*(bridge.send(it.fake.chat, plain(str(n))) for n in range(4)))

            assert len(it.slept) == 3 and all(2.5 < seconds <= 3 for seconds in it.slept)
            assert [one.text for one in it.fake.seen()] == ["0", "1", "2", "3"]

    run(test)


def test_the_window_closes_after_a_day() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            _, until_ms = bridge.credits(it.fake.chat)
            facts = bridge.condition().facts["people"][it.fake.user]
            it.clock.sleep(24 * HOUR_S + 1)
            receipt = await bridge.send(it.fake.chat, plain("good morning"))

            assert facts == {"left": 10, "until_ms": until_ms, "safe_until_ms": until_ms - 13 * HOUR_S * 1000}
            assert (receipt.outcome, it.fake.requests, "24 hours" in receipt.reason) == (Outcome.ASLEEP, 0, True)
            assert bridge.credits(it.fake.chat)[0] == 0

    run(test)


@pytest.mark.parametrize("words", ["", "rate limited", "prepare failed"])
def test_a_refusal_without_a_reason_is_not_argued_with(words: str) -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            it.fake.misbehave("asleep", errmsg=words)
            first = await bridge.send(it.fake.chat, plain("x"))
            second = await bridge.send(it.fake.chat, plain("x"))
            asked = it.fake.requests
            await it.wake(bridge)
            third = await bridge.send(it.fake.chat, plain("x"))

            assert (first.outcome, second.outcome, third.outcome) == (Outcome.ASLEEP, Outcome.ASLEEP, Outcome.SENT)
            assert asked == 1 and "write any message" in first.reason

    run(test)


def test_a_throttled_bot_rests_for_an_hour() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            it.fake.misbehave("busy")
            await bridge.send(it.fake.chat, plain("x"))
            it.clock.sleep(HOUR_S - 5)
            early = await bridge.send(it.fake.chat, plain("x"))
            it.clock.sleep(10)
            late = await bridge.send(it.fake.chat, plain("x"))

            assert (early.outcome, late.outcome) == (Outcome.ASLEEP, Outcome.SENT)

    run(test)


def test_credits_and_place_survive_a_restart() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            for n in range(3):
                await bridge.send(it.fake.chat, plain(str(n)))
            await bridge.close()
            await it.fake.write("while away")
            left = it.memory.load()["people"][it.fake.user]["left"]
            async with it.connected() as second:
                await until(lambda: len(it.heard) == 2)
                await second.send(it.fake.chat, plain("back"))

                assert left == 7
                assert [one.text for one in it.heard] == ["hello", "while away"]
                assert second.credits(it.fake.chat)[0] == 9

    run(test)


def test_an_answer_that_never_came_counts() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            it.fake.misbehave("cut")
            unsure = await bridge.send(it.fake.chat, plain("x"))
            it.fake.misbehave("error")
            failed = await bridge.send(it.fake.chat, plain("y"))

            assert (unsure.outcome, failed.outcome) == (Outcome.UNSURE, Outcome.FAILED)
            assert bridge.credits(it.fake.chat)[0] == 9

    run(test)


def test_what_does_not_fit_into_the_credits_is_said_to_be_missing() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            for n in range(8):
                await bridge.send(it.fake.chat, plain(str(n)))
            receipt = await bridge.send(it.fake.chat, plain("y" * 11_000))

            assert len(it.fake.seen()) == 10 and all(len(one.text) <= 4_000 for one in it.fake.seen())
            assert receipt.outcome is Outcome.SENT and "1 of 3 pieces" in receipt.reason

    run(test)


@pytest.mark.parametrize("full_url", [True, False])
def test_a_picture_is_encrypted_and_named_by_the_store(full_url: bool) -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            it.fake.upload_full_url = full_url
            it.fake.store_fails = 2
            content = PNG + bytes(range(256)) * 9
            receipt = await bridge.send(it.fake.chat, plain("curve", picture=Attachment("loss.png", "image/png", content)))

            assert [(one.text, one.pictures) for one in it.fake.seen()] == [("curve", ()), ("", (content,))]
            assert (len(receipt.message_ids), bridge.credits(it.fake.chat)[0]) == (2, 8)

    run(test)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 4_096])
def test_a_ciphertext_is_as_long_as_announced(size: int) -> None:
    cipher = ilink_media.encrypted(bytes(size), bytes(16))

    assert len(cipher) == ilink_media.cipher_size(size) == -(-(size + 1) // 16) * 16


def test_without_the_cipher_there_are_words_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilink_media, "available", lambda: False)

    async def test() -> None:
        async with chatting() as (bridge, it):
            receipt = await bridge.send(it.fake.chat, plain("curve", picture=Attachment("loss.png", "image/png", PNG)))

            assert [one.text for one in it.fake.seen()] == ["curve\n(loss.png is not shown here)"]
            assert "farwatch[wechat]" in receipt.reason

    run(test)


def test_a_store_that_is_down_costs_the_picture_alone() -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            it.fake.store_fails = 3
            log = Attachment("train.log", "text/plain", b"step")
            picture = Attachment("loss.png", "image/png", PNG)
            receipt = await bridge.send(it.fake.chat, Message((Part("end"),), picture=picture, files=(log,)))

            assert [one.text for one in it.fake.seen()] == ["end\n(loss.png is not shown here)\n(train.log is not shown here)"]
            assert "503" in receipt.reason and "pictures only" in receipt.reason

    run(test)


def test_a_picture_goes_to_no_foreign_store(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            monkeypatch.setattr(it.fake, "_upload_place", lambda body: {"upload_full_url": "https://store.evil.example/up"})
            receipt = await bridge.send(it.fake.chat, plain("curve", picture=Attachment("loss.png", "image/png", PNG)))

            assert "store.evil.example" in receipt.reason and it.fake.seen()[0].text.startswith("curve")

    run(test)


def test_the_token_is_in_no_log_and_no_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with chatting() as (bridge, it):
            receipts = []
            for trouble in ("error", "cut", "garbage", "asleep"):
                it.fake.misbehave(trouble, errmsg=f"bad token {it.fake.secret}")
                receipts.append(await bridge.send(it.fake.chat, plain("x")))
            it.fake.end_session()
            it.fake.push("news")
            await until(lambda: bridge.condition().code == "scan-again")
            assert not [one for one in receipts if it.fake.secret in one.reason]

    with caplog.at_level(logging.DEBUG):
        run(test)
    assert not [record for record in caplog.records if "ilink-token" in record.getMessage()]


def test_the_kind_says_that_it_is_an_experiment() -> None:
    kind = registry.kind("wechat")

    assert kind.experimental and kind.needs == "wechat" and not kind.secrets
    bridge = kind.make(Setup("w", {}, KeptMemory(), SystemClock()))
    assert (bridge.caps.push_first, bridge.caps.reply_credits, bridge.caps.reply_window_s) == (False, 10, 24 * HOUR_S)
    with pytest.raises(BridgeError):
        kind.make(Setup("w", {"url": "http://ilinkai.weixin.qq.com"}, KeptMemory(), SystemClock()))


def test_an_independent_client_works_against_the_fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A second hand that read the same source: a scan, a message, an answer, a picture, and the eleventh message."""

    async def test() -> None:
        async with phone(strict=False) as it:
            for name in ("get_qr_code", "poll_qr_status"):
                monkeypatch.setattr(getattr(protocol, name), "__defaults__", (it.fake.url,))
            client = weilink.WeiLink(base_path=tmp_path)
            await asyncio.to_thread(client.login)
            await it.fake.write("你好")
            (message,) = await asyncio.to_thread(client.recv, 2.0)
            assert (message.text, message.from_user) == ("你好", it.fake.user)
            assert await asyncio.to_thread(client.send, message.from_user, "hi")
            it.clock.sleep(3)
            assert await asyncio.to_thread(lambda: client.send(message.from_user, image=PNG))
            for n in range(8):
                it.clock.sleep(3)
                assert await asyncio.to_thread(client.send, message.from_user, str(n))
            monkeypatch.setattr(protocol, "CONTEXT_TOKEN_QUOTA", 99)  # its own books
            it.clock.sleep(3)
            assert not await asyncio.to_thread(client.send, message.from_user, "eleventh")
            client.close()

            assert [one.pictures for one in it.fake.seen()[:2]] == [(), (PNG,)]
            assert it.fake.refusals == ["no credits left"]

    run(test)
