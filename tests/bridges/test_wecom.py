"""The WeCom smart bot: what goes out, against a strict fake of its WebSocket, and the fake against the vendor's own client library."""

import contextlib
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest

from farwatch.bridges import registry
from farwatch.bridges.base import (
    Address,
    Attachment,
    Condition,
    Incoming,
    Message,
    Outcome,
    Part,
    Setup,
    plain,
)
from farwatch.bridges.services.wecom import Wecom
from farwatch.bridges.services.wecom_markdown import GUARD
from farwatch.clock import SystemClock
from farwatch.errors import BridgeError
from farwatch.testing.bridges import BridgeContract, until
from farwatch.testing.chat.wecom import FakeWecom
from tests.bridges.clock import MovedClock
from tests.bridges.memory import KeptMemory
from tests.bridges.wecom import ALARM, connected, ignore, made, run


class TestContract(BridgeContract):
    slow_s = 0.3

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[Wecom, FakeWecom]]:  # type: ignore[override]
        async with FakeWecom().serving() as fake:
            yield made(fake), fake

    def letters(self, text: str) -> str:
        return text.replace(GUARD, "")


def test_frames_are_as_documented() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, _):
            await bridge.send(Address("zhangsan"), Message((Part("done", "bold"), Part(" in 3 h"))))

            login, sent = fake.frames
            assert login["cmd"] == "aibot_subscribe"
            assert login["body"] == {"bot_id": fake.bot_id, "secret": fake.secret}
            assert sent["cmd"] == "aibot_send_msg" and sent["headers"]["req_id"]
            assert sent["body"] == {"chatid": "zhangsan", "msgtype": "markdown", "markdown": {"content": "**done** in 3 h"}}

    run(test)


def test_an_answer_goes_to_the_message_that_it_answers() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, heard):
            await fake.write("status", group=fake.group)
            await fake.write("params", group=fake.group)
            await until(lambda: len(heard) == 2)

            answered = await bridge.send(heard[0].address, plain("step 900", reply_to=heard[0].message_id))
            noticed = await bridge.send(heard[0].address, plain("finished"))

            assert (answered.outcome, noticed.outcome) == (Outcome.SENT, Outcome.SENT)
            answer, notice = fake.frames[1:]
            assert (answer["cmd"], answer["headers"]["req_id"]) == ("aibot_respond_msg", "req-1")
            assert answer["body"]["stream"] == {"id": answered.message_ids[0], "finish": True, "content": "step 900"}
            assert notice["cmd"] == "aibot_send_msg"  # in a group a notice is nobody's answer
            assert (heard[0].group, heard[0].mentioned, heard[0].address.chat, heard[0].user) == (True, True, fake.group, fake.user)

    run(test)


def test_in_a_private_chat_the_next_words_are_the_answer() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, heard):
            await fake.write("status")
            await until(lambda: heard)
            await bridge.send(heard[0].address, plain("step 900"))
            await bridge.send(heard[0].address, plain("finished"))

            assert [frame["cmd"] for frame in fake.frames[1:]] == ["aibot_respond_msg", "aibot_send_msg"]

    run(test)


def test_a_message_that_can_no_longer_be_answered_is_pushed_instead() -> None:
    async def test() -> None:
        clock = MovedClock()
        async with connected(fake=FakeWecom(clock=clock)) as (bridge, fake, heard):
            await fake.write("status")
            await until(lambda: heard)
            clock.sleep(361)

            receipt = await bridge.send(heard[0].address, plain("step 900", reply_to=heard[0].message_id))

            assert receipt.outcome is Outcome.SENT
            assert [one.text for one in fake.seen()] == ["step 900"]
            assert fake.refusals == ["expired"]

    run(test)


def test_a_pressed_card_says_who_was_heard_and_keeps_its_buttons() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, heard):
            receipt = await bridge.send(fake.chat, plain("loss spiked\n0.031 → 4.87", buttons=ALARM))
            await fake.press(receipt.message_ids[0], "a1:lower")
            await until(lambda: heard)
            await bridge.acknowledge(heard[0], "zhangsan: lower, accepted")

            card = fake.seen()[0]
            assert card.text == "loss spiked\n0.031 → 4.87\nzhangsan: lower, accepted"
            assert (card.buttons, card.edits) == (("Stop", "Lower"), 1)
            assert heard[0].sent_ms > 1_700_000_000_000

    run(test)


def test_a_card_is_known_after_a_restart() -> None:
    async def test() -> None:
        memory = KeptMemory()
        async with FakeWecom().serving() as fake:
            first = made(fake, memory=memory)
            await first.open(ignore)
            await until(lambda: first.condition().ok)
            receipt = await first.send(fake.chat, plain("crashed", buttons=ALARM))
            await first.close()

            heard: list[Incoming] = []
            second = made(fake, memory=memory)

            async def receive(incoming: Incoming) -> None:
                heard.append(incoming)

            await second.open(receive)
            await until(lambda: second.condition().ok)
            await fake.press(receipt.message_ids[0], "a1:stop")
            await until(lambda: heard)
            await second.acknowledge(heard[0], "stopping")
            await second.close()

            assert fake.seen()[0].text == "crashed\nstopping"

    run(test)


def test_an_alarm_that_is_too_long_for_a_card_is_told_whole_before_it() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, heard):
            text = "resnet-50: loss spiked to 4.87 at step 12,340\n" + "usual band 0.02 to 0.05; not recovered. " * 6
            receipt = await bridge.send(fake.chat, plain(text.strip(), buttons=ALARM))

            words, card = fake.seen()
            assert words.text == text.strip()
            assert card.buttons == ("Stop", "Lower") and card.text.startswith("resnet-50: loss spiked to")
            assert receipt.message_ids[0] == card.message_id
            await fake.press(receipt.message_ids[0], "a1:stop")
            await until(lambda: heard)
            assert heard[0].button == "a1:stop"

    run(test)


def test_a_late_acknowledgement_is_not_sent() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, heard):
            receipt = await bridge.send(fake.chat, plain("x", buttons=ALARM))
            await fake.press(receipt.message_ids[0], "a1:stop")
            await until(lambda: heard)
            heard[0].raw["at_s"] -= 6

            await bridge.acknowledge(heard[0], "stopping")

            assert fake.refusals == [] and fake.seen()[0].edits == 0

    run(test)


def test_files_go_up_in_pieces() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, _):
            content = bytes(range(256)) * 5_000  # 1.28 MB: three pieces
            log = Attachment("../run/train.log", "text/plain", content)
            receipt = await bridge.send(fake.chat, Message((Part("log"),), files=(log,)))

            assert receipt.outcome is Outcome.SENT, receipt
            assert [one.files for one in fake.seen()] == [(), (content,)]
            uploads = [frame for frame in fake.frames if frame["cmd"].startswith("aibot_upload")]
            assert [one["cmd"].rpartition("_")[2] for one in uploads] == ["init", "chunk", "chunk", "chunk", "finish"]
            assert uploads[0]["body"]["filename"] == "train.log"

    run(test)


def test_what_cannot_be_attached_is_told_in_words() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, _):
            picture = Attachment("big.png", "image/png", bytes((10 << 20) + 1))
            receipt = await bridge.send(fake.chat, plain("curve", picture=picture))

            assert [one.text for one in fake.seen()] == ["curve\n(big.png is too large for WeCom: 10.0 of 10 MiB)"]
            assert "big.png" in receipt.reason

    run(test)


def test_a_chat_that_nobody_has_opened_asks_for_a_message() -> None:
    async def test() -> None:
        async with connected() as (bridge, _, _heard):
            receipt = await bridge.send(Address("lisi"), plain("x"))

            assert receipt.outcome is Outcome.ASLEEP
            assert "write to the bot" in receipt.reason

    run(test)


def test_the_service_s_own_limit_is_waited_for() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake, _):
            outcomes = [(await bridge.send(fake.chat, plain(str(n)))).outcome for n in range(31)]

            assert outcomes == [Outcome.SENT] * 30 + [Outcome.LATER]

    run(test)


@pytest.mark.parametrize(
    "values",
    [{}, {"bot_id": "x"}, {"bot_id": "x", "secret": "y", "url": "https://a"}, {"bot_id": "x", "secret": "y", "url": "ws://openws.work.weixin.qq.com"}],
)  # fmt: skip
def test_fields_that_cannot_be_right_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(BridgeError):
        registry.kind("wecom").make(Setup("c", values, KeptMemory(), SystemClock()))


def test_the_kind_tells_how_to_begin() -> None:
    kind = registry.kind("wecom")

    assert kind.secrets == {"secret"} and kind.env("bot_id") == "FARWATCH_WECOM_BOT_ID"
    assert made(FakeWecom(), url="wss://example.invalid").condition() == Condition(False, "connecting", "connecting to WeCom")


def test_the_vendor_s_client_works_against_the_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second hand that read the same document: log-in, a message, a streamed answer, a push, a card and its update."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it names a class of websockets as it was once called
        import aibot
    monkeypatch.setattr("aibot.ws._SSL_CONTEXT", None)

    async def test() -> None:
        async with FakeWecom().serving() as fake:
            client = aibot.WSClient(aibot.WSClientOptions(bot_id=fake.bot_id, secret=fake.secret, ws_url=fake.url, logger=_Quiet()))
            frames: list[Any] = []
            client.on("message.text", frames.append)
            client.on("event.template_card_event", frames.append)
            await client.connect()
            await until(lambda: fake._current is not None)
            await fake.write("hello")
            await until(lambda: frames)
            await client.reply_stream(frames[0], "s1", "wor", False)
            await client.reply_stream(frames[0], "s1", "**world**", True)
            await client.send_message(fake.user, {"msgtype": "markdown", "markdown": {"content": "pushed"}})
            card = {"card_type": "button_interaction", "main_title": {"title": "t"}, "task_id": "t1",
                    "button_list": [{"text": "b", "key": "k"}]}  # fmt: skip
            await client.send_message(fake.user, {"msgtype": "template_card", "template_card": card})
            await fake.press("t1", "k")
            await until(lambda: len(frames) == 2)
            await client.update_template_card(frames[1], {**card, "main_title": {"title": "pressed"}})
            with pytest.raises(RuntimeError, match="40008"):
                await client.send_message(fake.user, {"msgtype": "text", "text": {"content": "x"}})
            client.disconnect()
            await until(lambda: fake._current is None)

            assert [one.text for one in fake.seen()] == ["world", "pushed", "pressed"]

    run(test)


class _Quiet:
    def debug(self, message: str, *args: Any) -> None: ...

    info = warn = error = debug


def test_a_card_that_cannot_be_kept_is_sent_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(value: Any) -> None:
        raise OSError(28, "No space left on device")

    async def test() -> None:
        memory = KeptMemory()
        monkeypatch.setattr(memory, "save", full)
        async with connected(memory=memory) as (bridge, fake, _):
            receipt = await bridge.send(fake.chat, plain("x", buttons=ALARM))

            assert receipt.outcome is Outcome.SENT and fake.seen()[0].buttons == ("Stop", "Lower")

    run(test)
