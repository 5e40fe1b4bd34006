"""A person's own WeChat against a strict fake of the iLink service, and the fake against an independent client."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from farwatch.bridges import registry
from farwatch.bridges.base import Address, Attachment, Incoming, Message, Outcome, Part, Setup, plain
from farwatch.bridges.services import ilink_media
from farwatch.bridges.services.ilink import Ilink, Timing
from farwatch.bridges.services.ilink_login import Login, LoginState
from farwatch.bridges.services.ilink_wire import Wire
from farwatch.clock import SystemClock
from farwatch.errors import BridgeError
from farwatch.testing.bridges import PNG, BridgeContract, until
from farwatch.testing.chat.ilink import FakeIlink
from tests.bridges.memory import KeptMemory

HOUR_S = 3_600


class MovedClock:
    """The system's, moved by hand."""

    def __init__(self) -> None:
        self.moved_us = 0
        self._real = SystemClock()

    def wall_us(self) -> int:
        return self._real.wall_us() + self.moved_us

    def mono_us(self) -> int:
        return self._real.mono_us() + self.moved_us

    def sleep(self, seconds: float) -> None:
        self.moved_us += int(seconds * 1e6)


class Phone:
    """A fake, a clock, a memory that outlives bridges, and what was heard."""

    def __init__(self, fake: FakeIlink, clock: MovedClock) -> None:
        self.fake = fake
        self.clock = clock
        self.memory = KeptMemory()
        self.heard: list[Incoming] = []
        self.slept: list[float] = []
        self.paused: list[float] = []

    @property
    def setup(self) -> Setup:
        return Setup("wechat", {"url": self.fake.url, "cdn": f"{self.fake.url}/c2c"}, self.memory, self.clock)

    def bridge(self) -> Ilink:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.clock.sleep(seconds)

        async def pause(seconds: float) -> None:
            self.paused.append(seconds)
            await asyncio.sleep(0.01)

        return Ilink(self.setup, Timing(), sleep=sleep, pause=pause)

    async def receive(self, incoming: Incoming) -> None:
        self.heard.append(incoming)

    async def log_in(self) -> LoginState:
        login = Login(self.setup)
        try:
            assert (await login.begin()).startswith("https://")
            while not (state := await login.poll()).done:
                pass
        finally:
            await login.close()
        return state

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Ilink]:
        """A bridge that listens."""
        bridge = self.bridge()
        await bridge.open(self.receive)
        try:
            await until(lambda: bridge.condition().code != "connecting")
            yield bridge
        finally:
            await bridge.close()

    async def wake(self, bridge: Ilink, text: str = "hello") -> None:
        """The person writes, and it is heard."""
        count = len(self.heard)
        await self.fake.write(text)
        await until(lambda: len(self.heard) > count)


@contextlib.asynccontextmanager
async def phone(**more: Any) -> AsyncIterator[Phone]:
    """An account whose code nobody has scanned yet."""
    clock = MovedClock()
    async with FakeIlink(clock=clock, **more).serving() as fake:
        yield Phone(fake, clock)


@contextlib.asynccontextmanager
async def chatting() -> AsyncIterator[tuple[Ilink, Phone]]:
    """A bridge that was written to."""
    async with phone() as it:
        await it.log_in()
        async with it.connected() as bridge:
            await it.wake(bridge)
            yield bridge, it


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(), 30)

    asyncio.run(bounded())


class TestContract(BridgeContract):
    slow_s = 0.3

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[Ilink, FakeIlink]]:  # type: ignore[override]
        async with phone() as it:
            await it.log_in()
            async with it.connected() as first:
                await it.wake(first)
            yield it.bridge(), it.fake


# -- scanning


def test_a_scanned_code_gives_a_session_and_a_restart_asks_for_none() -> None:
    async def test() -> None:
        async with phone() as it:
            state = await it.log_in()

            kept = it.memory.load()
            assert (state.code, state.good) == ("confirmed", True)
            assert (kept["token"], kept["user"], kept["base"]) == (it.fake.secret, it.fake.user, it.fake.url)
            for _ in range(2):
                async with it.connected() as bridge:
                    assert bridge.condition().code == "asleep"  # connected; nobody has written yet
            assert (it.fake.codes, it.fake.presence) == (1, ["start", "stop"] * 2)

    run(test)


def test_states_of_a_code_are_told_one_by_one() -> None:
    async def test() -> None:
        async with phone() as it:
            it.fake.states = ["wait", "scaned", "need_verifycode", "confirmed"]
            login = Login(it.setup)
            await login.begin()
            codes = [(await login.poll()).code for _ in range(3)]
            login.give_digits("1111")
            wrong = await login.poll()
            login.give_digits(" ４８21 ")
            codes += [(await login.poll()).code, (await login.poll()).code]
            await login.close()

            assert codes == ["wait", "scanned", "needs-digits", "scanned", "confirmed"]
            assert (wrong.code, "not the number" in wrong.text) == ("needs-digits", True)

    run(test)


def test_an_expired_code_is_renewed_three_times() -> None:
    async def test() -> None:
        async with phone() as it:
            it.fake.states = ["expired"]
            login = Login(it.setup)
            await login.begin()
            states = [await login.poll() for _ in range(4)]
            await login.close()

            assert [one.link.rpartition("-")[2] for one in states] == ["2", "3", "4", ""]
            assert [one.done for one in states] == [False, False, False, True]
            assert it.memory.load() == {}

    run(test)


def test_a_code_that_nobody_scans_ends_by_the_clock() -> None:
    async def test() -> None:
        async with phone() as it:
            it.fake.states = ["wait"]
            login = Login(it.setup)
            await login.begin()
            it.clock.sleep(301)
            renewed = await login.poll()
            it.clock.sleep(200)
            ended = await login.poll()
            await login.close()

            assert (renewed.code, bool(renewed.link), ended.done, ended.good) == ("expired", True, True, False)

    run(test)


def test_a_redirect_is_followed_within_the_service_only() -> None:
    async def test() -> None:
        async with phone() as it, phone() as other:
            host = other.fake.url.removeprefix("http://")
            it.fake.states = [{"status": "scaned_but_redirect", "redirect_host": host}]
            other.fake.states = ["confirmed"]
            other.fake.codes = 1  # it knows the code
            login = Login(it.setup)
            await login.begin()
            codes = [(await login.poll()).code, (await login.poll()).code]
            await login.close()

            assert codes == ["redirect", "confirmed"]
            assert it.memory.load()["base"] == other.fake.url

            it.fake.states = [{"status": "scaned_but_redirect", "redirect_host": "ilink.evil.example"}]
            again = Login(it.setup)
            await again.begin()
            with pytest.raises(BridgeError, match="foreign host"):
                await again.poll()
            await again.close()

    run(test)


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("https://ilinkai2.weixin.qq.com/", True), ("sh.weixin.qq.com", True), ("https://ilink.example.com", False),
        ("http://ilinkai.weixin.qq.com", False), ("https://u:p@ilinkai.weixin.qq.com", False),
        ("https://weixin.qq.com.evil.example", False),
        ("https://evilweixin.qq.com", False), ("127.0.0.1", False), ("", False),
    ],
)  # fmt: skip
def test_a_token_goes_only_to_the_service(address: str, good: bool) -> None:
    assert (Wire().trusted(address) is not None) is good


def test_blocked_digits_and_an_account_that_is_bound_already_end_the_log_in() -> None:
    async def test() -> None:
        async with phone() as it:
            it.fake.states = ["verify_code_blocked"]
            blocked = await it.log_in()
            it.fake.states = ["binded_redirect"]
            with pytest.raises(BridgeError, match="no session of it is kept"):
                await it.log_in()
            it.memory.save({"token": "old-token", "user": it.fake.user, "quiet_until_ms": 2**60})
            bound = await it.log_in()

            assert (blocked.code, blocked.good) == ("blocked", False)
            assert (bound.code, bound.good) == ("already-bound", True)
            assert (it.memory.load()["token"], it.memory.load().get("quiet_until_ms")) == ("old-token", None)
            assert it.fake.logins[-1] == {"local_token_list": ["old-token"]}

    run(test)


@pytest.mark.parametrize("broken", [{"status": "confirmed"}, {"status": "confirmed", "bot_token": "t", "ilink_user_id": "u", "baseurl": "https://a.example"}])
def test_a_confirmation_that_cannot_be_right_stores_nothing(broken: dict[str, Any]) -> None:
    async def test() -> None:
        async with phone() as it:
            it.fake.states = [broken]
            with pytest.raises(BridgeError):
                await it.log_in()

            assert it.memory.load() == {}

    run(test)


def test_unknown_states_are_waited_through_and_digits_are_digits() -> None:
    async def test() -> None:
        async with phone() as it:
            it.fake.states = ["dancing", {"status": 7}, "confirmed"]
            login = Login(it.setup)
            with pytest.raises(BridgeError, match="begin first"):
                await login.poll()
            await login.begin()
            codes = [(await login.poll()).code for _ in range(3)]
            with pytest.raises(BridgeError, match="no number"):
                login.give_digits("no")
            await login.close()

            assert codes == ["wait", "wait", "confirmed"]

    run(test)


# -- speaking


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


# -- pictures


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


# -- faults


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
            await until(lambda: heard == ["one", "two"])
            await bridge.close()

    run(test)


def test_nobody_at_the_address_is_no_contact() -> None:
    async def test() -> None:
        async with phone() as it:
            await it.log_in()
        async with it.connected() as bridge:
            assert bridge.condition().code == "no-contact"
            await until(lambda: 30 in it.paused)

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
    weilink = pytest.importorskip("weilink")
    protocol = pytest.importorskip("weilink._protocol")

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

    run(test)
