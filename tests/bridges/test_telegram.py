"""Telegram: what goes out, and what becomes of every answer. What comes in is in `test_telegram_hears`."""

import contextlib
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farwatch.bridges.base import (
    Address,
    Attachment,
    Button,
    Incoming,
    Message,
    Outcome,
    Part,
    Setup,
    plain,
)  # fmt: skip
from farwatch.bridges.registry import kind
from farwatch.bridges.services.telegram import KIND, TelegramBridge
from farwatch.errors import BridgeError
from farwatch.testing.bridges import PNG, BridgeContract, until
from farwatch.testing.chat.telegram import FakeTelegram
from tests.bridges.memory import KeptMemory
from tests.bridges.telegram import MovedClock, bridge_for, closing, collect, run


class TestContract(BridgeContract):
    slow_s = 0.3

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[TelegramBridge, FakeTelegram]]:  # type: ignore[override]
        async with FakeTelegram() as fake:
            yield bridge_for(fake), fake

    def letters(self, text: str) -> str:
        return re.sub("[\u2028-\u202e]", "", text)  # Telegram takes out what turns the direction of writing


def test_silent_quiet_links_topic_and_answer_are_asked_for() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        forum = fake.group(topics=(5,))
        first = await bridge.send(Address(forum.chat, "5"), plain("see http://x.test", silent=True))
        await bridge.send(Address(forum.chat, "5"), plain("y", preview=True, reply_to=first.message_ids[0]))
        quiet, loud = (call.fields for call in fake.asked("sendMessage"))
        assert (quiet["message_thread_id"], quiet["disable_notification"]) == (5, True)
        assert quiet["link_preview_options"] == {"is_disabled": True}
        assert "link_preview_options" not in loud and "disable_notification" not in loud
        assert loud["reply_parameters"]["message_id"] == int(first.message_ids[0])

    run(test)


def test_answer_to_a_deleted_message_is_sent_all_the_same() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        assert (await bridge.send(fake.chat, plain("x", reply_to="99999"))).outcome is Outcome.SENT

    run(test)


def test_general_topic_of_a_forum_is_not_named() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        forum = fake.group(topics=(5,))
        assert (await bridge.send(Address(forum.chat, "1"), plain("x"))).outcome is Outcome.SENT
        assert (await bridge.send(Address(forum.chat, "6"), plain("x"))).outcome is Outcome.GONE

    run(test)


def test_each_kind_of_file_arrives_whole_with_its_caption(tmp_path: Path) -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        table = tmp_path / "t.csv"
        table.write_bytes(b"a,b\r\n1,2\r\n\r")
        files = (
            Attachment("p.png", "image/png", PNG, "a picture"), Attachment("t.csv", "text/csv", table, "a table"),
            Attachment("s.wav", "audio/wav", b"RIFF\0\n\r\xff--", "a sound"), Attachment("v.mp4", "video/mp4", bytes(range(256)), "a film"),
        )  # fmt: skip
        receipt = await bridge.send(fake.chat, Message((Part("four"),), files=files))
        assert len(receipt.message_ids) == 5
        calls = [next(iter(call.files.items())) for call in fake.calls if call.files]
        assert [call.method for call in fake.calls if call.files] == ["sendPhoto", "sendDocument", "sendAudio", "sendVideo"]
        assert [(field, one[0], one[2]) for field, one in calls] == [
            ("photo", "p.png", PNG), ("document", "t.csv", b"a,b\r\n1,2\r\n\r"), ("audio", "s.wav", b"RIFF\0\n\r\xff--"),
            ("video", "v.mp4", bytes(range(256))),
        ]  # fmt: skip
        assert [one.text for one in fake.seen()] == ["four", "a picture", "a table", "a sound", "a film"]

    run(test)


def test_single_file_carries_the_text() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        receipt = await bridge.send(fake.chat, plain("the log", files=(Attachment("l.txt", "text/plain", b"x"),)))
        assert [(one.text, one.files) for one in fake.seen()] == [("the log", (b"x",))]
        assert (await bridge.edit(fake.chat, receipt.message_ids[0], plain("a log"))).outcome is Outcome.SENT
        assert fake.seen()[0].text == "a log"

    run(test)


def test_text_too_long_for_a_caption_comes_before_the_picture_and_is_what_an_edit_changes() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        picture, buttons = Attachment("c.png", "image/png", PNG), ((Button("Stop", "s"),),)
        receipt = await bridge.send(fake.chat, plain("x" * 1025, picture=picture, buttons=buttons))
        text, shown = fake.seen()
        assert (text.pictures, text.buttons, shown.pictures, shown.text) == ((), ("Stop",), (PNG,), "")
        changed = await bridge.edit(fake.chat, receipt.message_ids[0], plain("y" * 1025, picture=picture))
        assert (changed.outcome, fake.seen()[0].text, fake.seen()[0].buttons) == (Outcome.SENT, "y" * 1025, ())

    run(test)


def test_chart_is_replaced_in_place_and_only_when_it_is_another() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        def chart(text: str, content: bytes) -> Message:
            return plain(text, picture=Attachment("c.png", "image/png", content))

        sent = await bridge.send(fake.chat, chart("10 %", PNG))
        for message in (chart("20 %", PNG), chart("30 %", PNG + b"2"), chart("30 %", PNG + b"2"), plain("40 %")):
            assert (await bridge.edit(fake.chat, sent.message_ids[0], message)).arrived
        assert [call.method for call in fake.calls if call.method.startswith("edit")] == [
            "editMessageCaption", "editMessageMedia", "editMessageCaption", "editMessageCaption",
        ]  # fmt: skip
        assert [(one.text, one.pictures) for one in fake.seen()] == [("40 %", (PNG + b"2",))]

    run(test)


def test_message_from_before_a_restart_is_edited_whatever_it_holds() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        text = (await bridge.send(fake.chat, plain("text"))).message_ids[0]
        picture = (await bridge.send(fake.chat, plain("x", picture=Attachment("c.png", "image/png", PNG)))).message_ids[0]
        other = (await bridge.send(fake.chat, plain("y"))).message_ids[0]
        async with closing(bridge_for(fake)) as anew:
            assert (await anew.edit(fake.chat, text, plain("text 2"))).outcome is Outcome.SENT
            assert (await anew.edit(fake.chat, picture, plain("x 2"))).outcome is Outcome.SENT
            shown = plain("y 2", picture=Attachment("c.png", "image/png", PNG))
            assert (await anew.edit(fake.chat, other, shown)).outcome is Outcome.SENT
        assert [(one.text, one.pictures) for one in fake.seen()] == [("text 2", ()), ("x 2", (PNG,)), ("y 2", (PNG,))]

    run(test)


def test_edit_that_changes_nothing_and_edit_of_nothing_are_told_apart() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        sent = await bridge.send(fake.chat, plain("50 %", buttons=((Button("Stop", "s"),),)))
        same = plain("50 %", buttons=((Button("Stop", "s"),),))
        assert (await bridge.edit(fake.chat, sent.message_ids[0], same)).outcome is Outcome.UNCHANGED
        await bridge.delete(fake.chat, sent.message_ids[0])
        assert (await bridge.edit(fake.chat, sent.message_ids[0], same)).outcome is Outcome.GONE
        assert (await bridge.edit(fake.chat, "x", same)).outcome is Outcome.REFUSED

    run(test)


def test_picture_that_is_none_or_has_odd_sides_goes_as_a_document() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        wide = PNG[:16] + struct.pack(">II", 9000, 40) + PNG[24:]
        for content in (wide, b"no picture"):
            receipt = await bridge.send(fake.chat, plain("alarm", picture=Attachment("c.png", "image/png", content)))
            assert receipt.outcome is Outcome.SENT
            assert (fake.seen()[-1].text, fake.seen()[-1].files) == ("alarm", (content,))

    run(test)


def test_picture_over_ten_megabytes_goes_as_a_document() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        large = PNG + bytes(10_000_000)
        await bridge.send(fake.chat, plain("alarm", picture=Attachment("c.png", "image/png", large)))
        assert [call.method for call in fake.calls if call.files] == ["sendDocument"]
        assert fake.seen()[0].files == (large,)

    run(test)


def test_picture_that_telegram_refuses_does_not_cost_the_words() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        fake.misbehave("refuse", 1, method="sendPhoto", description="Bad Request: wrong type of the web page content")
        receipt = await bridge.send(fake.chat, plain("loss is NaN", picture=Attachment("c.png", "image/png", PNG)))
        assert (receipt.outcome, [one.text for one in fake.seen()]) == (Outcome.SENT, ["loss is NaN"])
        assert "c.png was not sent" in receipt.reason

    run(test)


def test_file_that_is_too_large_or_gone_is_named_to_those_who_read(tmp_path: Path) -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        with (tmp_path / "model.pt").open("wb") as file:
            file.truncate(51_234_567)  # takes no room
        for name, said in (("model.pt", "model.pt: 51.2 MB > 50 MB"), ("none.txt", "none.txt: No such file or directory")):
            file_ = Attachment(name, "application/octet-stream", tmp_path / name)
            receipt = await bridge.send(fake.chat, plain("done", files=(file_,)))
            assert (receipt.outcome, receipt.reason, fake.seen()[-1].text) == (Outcome.SENT, said, f"done\n{said}")

    run(test)


def test_failure_after_a_part_has_arrived_is_not_a_reason_to_send_it_again() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        fake.misbehave("busy", method="sendPhoto", retry_after_s=9)
        receipt = await bridge.send(fake.chat, plain("x" * 2000, picture=Attachment("c.png", "image/png", PNG)))
        assert (receipt.outcome, len(receipt.message_ids)) == (Outcome.SENT, 1)
        assert "only a part was sent" in receipt.reason

    run(test)


def test_button_that_telegram_would_refuse_is_left_out() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        rows = ((Button("Stop", "s" * 64), Button("Long", "s" * 65)), (Button("", "x"),))
        assert (await bridge.send(fake.chat, plain("x", buttons=rows))).outcome is Outcome.SENT
        assert fake.seen()[0].buttons == ("Stop",)

    run(test)


def test_nothing_to_say_is_refused_without_a_request() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        assert (await bridge.send(fake.chat, plain(" \n"))).outcome is Outcome.REFUSED
        assert fake.requests == 0

    run(test)


def test_group_that_became_a_supergroup_is_found_again_and_stays_one_chat() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        memory = KeptMemory()
        heard: list[Incoming] = []
        async with closing(bridge_for(fake, memory)) as bridge_:
            old = fake.group(kind="group")
            new = await fake.migrate(old)
            assert (await bridge_.send(old, plain("alarm"))).outcome is Outcome.SENT
            assert (fake.requests, [one.chat for one in fake.seen()]) == (2, [new.chat])
        async with closing(bridge_for(fake, memory)) as anew:
            await anew.open(collect(heard))
            await anew.send(old, plain("again"))
            assert fake.requests == 3
            await fake.write("stop", chat=new)
            await until(lambda: heard)
        assert heard[0].address == old

    run(test)


@pytest.mark.parametrize(
    ("status", "description", "outcome"),
    [
        (400, "Bad Request: chat not found", Outcome.GONE),
        (400, "Bad Request: message thread not found", Outcome.GONE),
        (400, "Bad Request: not enough rights to send text messages to the chat", Outcome.GONE),
        (400, "Bad Request: TOPIC_CLOSED", Outcome.GONE),
        (403, "Forbidden: bot was blocked by the user", Outcome.GONE),
        (403, "Forbidden: bot was kicked from the supergroup chat", Outcome.GONE),
        (403, "Forbidden: user is deactivated", Outcome.GONE),
        (400, "Bad Request: message is too long", Outcome.REFUSED),
        (401, "Unauthorized", Outcome.REVOKED),
        (404, "Not Found", Outcome.REVOKED),
        (413, "Request Entity Too Large", Outcome.REFUSED),
        (500, "Internal Server Error", Outcome.FAILED),
        (502, "Bad Gateway", Outcome.FAILED),
    ],
)
def test_refusal_is_understood(status: int, description: str, outcome: Outcome) -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        fake.misbehave("refuse", status=status, description=description)
        receipt = await bridge.send(fake.chat, plain("x"))
        assert (receipt.outcome, fake.requests) == (outcome, 1)

    run(test)


def test_relay_that_repeats_the_token_does_not_get_it_into_a_reason() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        fake.misbehave("refuse", 2, description=f"Bad Request: no such path: /bot{fake.token}/x")
        receipt = await bridge.send(fake.chat, plain("x"))
        assert receipt.reason == "Bad Request: no such path: /bot•••/x"
        with pytest.raises(BridgeError) as error:
            await bridge.check()
        assert fake.token.partition(":")[2] not in str(error.value)

    run(test)


def test_blocked_bot_and_unknown_chat_are_gone() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        assert (await bridge.send(Address("12345"), plain("x"))).outcome is Outcome.GONE
        fake.block(fake.chat)
        assert (await bridge.send(fake.chat, plain("x"))).outcome is Outcome.GONE

    run(test)


def test_flood_limit_names_the_seconds_and_a_reader_who_waits_gets_all() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        fake.flood, fake.clock = True, (clock := MovedClock())
        group = fake.group()
        outcomes = []
        for n in range(22):
            receipt = await bridge.send(group, plain(str(n)))
            outcomes.append(receipt.outcome)
            clock.sleep(receipt.retry_after_s or 1.0)
        assert outcomes.count(Outcome.LATER) == 1 and outcomes[20] is Outcome.LATER
        assert receipt.outcome is Outcome.SENT
        again = await bridge.send(group, plain("x"))
        assert (again.outcome, (await bridge.send(group, plain("x"))).retry_after_s) == (Outcome.SENT, 1.0)

    run(test)


def test_press_is_answered_once_in_at_most_two_hundred_characters() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        heard: list[Incoming] = []
        await bridge.open(collect(heard))
        sent = await bridge.send(fake.chat, plain("x", buttons=((Button("Stop", "s"),),)))
        query = await fake.press(sent.message_ids[0], "s")
        await until(lambda: heard)
        await bridge.acknowledge(heard[0], "y" * 300)
        assert fake.answers[query] == "y" * 199 + "…"
        await bridge.acknowledge(heard[0], "too late")  # refused, and that is no harm
        assert fake.calls[-1].status == 400

    run(test)


def test_check_names_the_bot_or_says_what_is_wrong() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        assert await bridge.check() == "Farwatch (@farwatch_bot)"
        async with closing(bridge_for(fake, token="110201543:wrong-one")) as wrong:
            with pytest.raises(BridgeError, match="does not know this token"):
                await wrong.check()
        async with closing(bridge_for(fake, url="http://127.0.0.1:9")) as nobody:
            with pytest.raises(BridgeError, match="cannot be asked: no contact"):
                await nobody.check()

    run(test)


@pytest.mark.parametrize(
    "values",
    [
        {"token": "has space"}, {"token": "a/../b"}, {"url": "ftp://x"}, {"url": "http://api.telegram.org"}, {"chat": "12, my chat"},
    ],
)  # fmt: skip
def test_fields_that_cannot_be_right_are_refused_at_once(values: dict[str, str]) -> None:
    given_ = {"token": "1:secret-part", **values}
    with pytest.raises(BridgeError) as error:
        KIND.make(Setup("t", given_, KeptMemory(), MovedClock()))
    assert given_["token"] not in str(error.value)


def test_kind_is_registered_and_says_what_is_secret() -> None:
    found = kind("telegram")
    assert (found.secrets, found.env("token")) == ({"token"}, "FARWATCH_TELEGRAM_TOKEN")
    assert found.steps and [one.name for one in found.fields if one.required] == ["token"]
