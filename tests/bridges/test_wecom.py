"""The WeCom smart bot against a strict fake of its WebSocket, and the fake against the vendor's own client library."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from farwatch.bridges import registry
from farwatch.bridges.base import (
    Address,
    Attachment,
    Button,
    Condition,
    Incoming,
    Message,
    Outcome,
    Part,
    Setup,
    plain,
)
from farwatch.bridges.services.wecom import Wecom
from farwatch.bridges.services.wecom_link import Timing
from farwatch.bridges.services.wecom_markdown import GUARD, pieces, rendered
from farwatch.clock import SystemClock
from farwatch.errors import BridgeError
from farwatch.testing.bridges import HOSTILE, BridgeContract, until
from farwatch.testing.chat.wecom import FakeWecom, shown
from tests.bridges.memory import KeptMemory

QUICK = Timing(ping_s=30, ack_s=2, patience_s=2, first_s=0.01, most_s=0.05, refused_s=0.05)
ALARM = ((Button("Stop", "a1:stop"), Button("Lower", "a1:lower")),)


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


def made(fake: FakeWecom, timing: Timing = QUICK, memory: KeptMemory | None = None, **values: str) -> Wecom:
    fields = {"bot_id": fake.bot_id, "secret": fake.secret, "url": fake.url, **values}
    return Wecom(Setup("wecom", fields, memory or KeptMemory(), SystemClock()), timing)


@contextlib.asynccontextmanager
async def connected(
    timing: Timing = QUICK, memory: KeptMemory | None = None, fake: FakeWecom | None = None
) -> AsyncIterator[tuple[Wecom, FakeWecom, list[Incoming]]]:
    """A bridge that listens, its service, and what it heard."""
    heard: list[Incoming] = []

    async def receive(incoming: Incoming) -> None:
        heard.append(incoming)

    async with (fake or FakeWecom()).serving() as service:
        bridge = made(service, timing, memory)
        await bridge.open(receive)
        try:
            await until(lambda: bridge.condition().ok)
            yield bridge, service, heard
        finally:
            await bridge.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(), 30)

    asyncio.run(bounded())


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
            await first.open(_ignore)
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
            await first.open(_ignore)
            await until(lambda: first.condition().ok)
            await second.open(_ignore)
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
        await bridge.open(_ignore)
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
            await bridge.open(_ignore)
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


def test_what_is_no_frame_or_unknown_is_ignored() -> None:
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


@pytest.mark.parametrize("style", ["plain", "bold", "code", "block"])
@pytest.mark.parametrize(
    "text",
    [
        HOSTILE, "train/loss_total_", "_a_ __b__ a_b", "# head\n> quote\n- list\n+ x\n1. one\n2) two\n| a |\n=", "`` ` ```", "a\\*b\\",
        "![x](http://a) <@all> <https://a>", "&lt;b&gt;", "~~gone~~", "**a** *b*", "    four spaces", "a\n\nb", "C:\\runs\\new",
        "1.5e-3 * 2 [s]",
    ],
)  # fmt: skip
def test_markdown_shows_every_letter(style: Any, text: str) -> None:
    assert shown(rendered([Part(text, style)])).replace(GUARD, "") == text


def test_a_mention_is_none_even_where_backslashes_are_not_read() -> None:
    assert "<@" not in rendered([Part("<@all> <@zhangsan>")])


def test_a_person_s_own_markdown_stays_markdown() -> None:
    assert shown(rendered([Part("**[x](http://a)** `c`", "markdown")])) == "x c"


def test_markdown_is_cut_within_the_limit_and_each_piece_stands_alone() -> None:
    parts = [Part("head\n", "bold"), Part("".join(f"line {n} *_`\n" for n in range(300)), "block"), Part("尾" * 900)]

    found = pieces(parts, 1_000)

    assert all(len(one.encode()) <= 1_000 for one in found) and len(found) > 5
    assert "".join("".join(map(shown, found)).split()) == "".join("".join(part.text for part in parts).split())
    assert pieces([Part("😀" * 3)], 4) == ["😀"] * 3
    assert pieces([Part(" \n")], 100) == []


async def _ignore(incoming: Incoming) -> None:
    pass


def test_the_vendor_s_client_works_against_the_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second hand that read the same document: log-in, a message, a streamed answer, a push, a card and its update."""
    aibot = pytest.importorskip("aibot")
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
            await bridge.open(_ignore)
            await until(lambda: bridge.condition().ok)
            await bridge.close()

    run(test)


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
