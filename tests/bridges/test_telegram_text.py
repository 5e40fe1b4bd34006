"""Telegram: styles, markup and lengths of what goes out."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from farwatch.bridges.base import (
    Address,
    Attachment,
    Button,
    Message,
    Outcome,
    Part,
    plain,
)  # fmt: skip
from farwatch.bridges.services.telegram import TelegramBridge
from farwatch.bridges.services.telegram_text import notation, pieces, styled, units
from farwatch.testing.bridges import PNG
from farwatch.testing.chat.telegram import FakeTelegram
from farwatch.testing.chat.telegram_markup import read
from tests.bridges.telegram import run

HARD = "a_b*c[1]"


def test_names_of_runs_are_never_read_as_markup() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        text = "@everyone <!channel> [x](tg://user?id=1) <b>b</b> *c* `d`"
        await bridge.send(fake.chat, Message((Part("Run "), Part(text, "bold"), Part(" failed"))))
        fields = fake.asked("sendMessage")[0].fields
        assert fields["text"] == f"Run {text} failed"
        assert fields["entities"] == [{"type": "bold", "offset": 4, "length": len(text)}]
        assert "parse_mode" not in fields

    run(test)


def test_styles_lie_right_behind_emoji() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        await bridge.send(fake.chat, Message((Part("😀😀 "), Part("loss", "code"))))
        assert fake.asked("sendMessage")[0].fields["entities"] == [{"type": "code", "offset": 5, "length": 4}]

    run(test)


def test_ten_thousand_characters_are_three_messages_that_join_to_the_original() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        text = ("0123456789 " * 1000)[:10_000]
        receipt = await bridge.send(fake.chat, plain(text))
        sent = [call.fields["text"] for call in fake.asked("sendMessage")]
        assert (len(sent), "".join(sent), max(map(units, sent)) <= 4096) == (3, text, True)
        assert receipt.message_ids == tuple(one.message_id for one in fake.seen())
        assert [one.silent for one in fake.seen()] == [False, True, True]  # the phone rings once

    run(test)


def test_text_of_emoji_is_split_by_the_units_that_telegram_counts() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        receipt = await bridge.send(fake.chat, plain("😀" * 4000))
        assert receipt.outcome is Outcome.SENT
        assert [len(one.text) for one in fake.seen()] == [2048, 1952]

    run(test)


def test_block_of_code_goes_whole_into_the_next_message() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        log = "\n".join(f"line {n}" for n in range(200))
        await bridge.send(fake.chat, Message((Part("x" * 3500), Part(log, "block"))))
        assert [one.text for one in fake.seen()] == ["x" * 3500, log]
        entity = fake.asked("sendMessage")[1].fields["entities"]
        assert entity == [{"type": "pre", "offset": 0, "length": len(log)}]

    run(test)


def test_block_longer_than_a_message_is_a_block_in_each() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        log = "\n".join(f"line {n}" for n in range(1000))
        await bridge.send(fake.chat, Message((Part("log"), Part(log, "block"))))
        calls = fake.asked("sendMessage")
        assert len(calls) == 3
        assert all([mark["type"] for mark in call.fields["entities"]] == ["pre"] for call in calls)
        assert "".join(call.fields["text"] for call in calls) == f"log\n{log}"

    run(test)


def test_text_for_more_than_ten_messages_is_its_beginning_and_a_file() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        text = "epoch 1 loss 0.5\n" * 5000
        receipt = await bridge.send(fake.chat, plain(text))
        first, whole = fake.seen()
        assert receipt.outcome is Outcome.SENT
        assert first.text.endswith("…") and text.startswith(first.text[:-1])
        assert whole.files == (text.encode(),)

    run(test)


def test_hard_characters_are_accepted_in_every_style() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        for style in ("plain", "bold", "code", "block", "markdown", "html"):
            receipt = await bridge.send(fake.chat, Message((Part(HARD, style),)))  # type: ignore[arg-type]
            assert receipt.outcome is Outcome.SENT
        assert [one.text for one in fake.seen()] == [HARD] * 6

    run(test)


def test_markup_of_a_person_is_kept_and_the_rest_escaped() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        await bridge.send(fake.chat, Message((Part("*best*", "markdown"), Part(" run_1.2!"), Part("x`y", "code"))))
        await bridge.send(fake.chat, Message((Part("<i>best</i>", "html"), Part(" a<b & c"), Part("<x>", "block"))))
        assert [one.text for one in fake.seen()] == ["best run_1.2!x`y", "best a<b & c\n<x>"]
        assert [call.fields["parse_mode"] for call in fake.asked("sendMessage")] == ["MarkdownV2", "HTML"]

    run(test)


def test_markup_that_telegram_cannot_read_is_sent_as_it_stands() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        receipt = await bridge.send(fake.chat, Message((Part("<b>open", "html"), Part(" tag"))))
        assert (receipt.outcome, [one.text for one in fake.seen()]) == (Outcome.SENT, ["<b>open tag"])
        assert [call.status for call in fake.asked("sendMessage")] == [400, 200]
        edited = await bridge.edit(fake.chat, receipt.message_ids[0], Message((Part("50 % (half", "markdown"),)))
        assert (edited.outcome, fake.seen()[0].text) == (Outcome.SENT, "50 % (half")

    run(test)


@given(st.text(max_size=60), st.sampled_from(("markdown", "html")), st.sampled_from(("plain", "bold", "code", "block")))
@settings(max_examples=150, deadline=None)
def test_what_is_escaped_reads_as_it_was(text: str, own: Any, style: Any) -> None:
    made = notation((Part("<b>x</b>" if own == "html" else "*x*", own), Part("|"), Part(text, style), Part("|")))
    assert made is not None
    shown, _ = read(made.text, made.parse_mode, None)
    expected, _ = read("x|" + text + "|", "", None)
    assert "".join(shown.split()) == "".join(expected.split())


@given(
    st.lists(st.tuples(st.text(max_size=40), st.sampled_from(("plain", "bold", "code", "block"))), max_size=6),
    st.integers(8, 50),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_pieces_fit_and_carry_their_styles(parts: list[tuple[str, Any]], limit: int) -> None:
    whole = styled(Part(text, style) for text, style in parts)
    cut = pieces(whole, limit)
    assert all(units(one.text) <= limit for one in cut)
    assert "".join("".join(one.text for one in cut).split()) == "".join(whole.text.split())
    for one in cut:
        read(one.text, "", one.fields("text").get("entities"))  # the fake refuses offsets that are wrong


def test_edit_longer_than_a_message_is_shortened() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        sent = await bridge.send(fake.chat, plain("x"))
        assert (await bridge.edit(fake.chat, sent.message_ids[0], plain("😀" * 3000))).outcome is Outcome.SENT
        assert fake.seen()[0].text == "😀" * 2047 + "…"

    run(test)


def test_half_a_character_is_replaced() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram) -> None:
        odd = Attachment("n\udcff.png", "image/png\r\nx: y", PNG, "c\udcff")
        message = Message((Part("file \udcff"),), odd, buttons=((Button("b\udcff", "x"),),))
        assert (await bridge.send(fake.chat, message)).outcome is Outcome.SENT
        assert (await bridge.send(fake.chat, plain("file \ud83d"))).outcome is Outcome.SENT
        assert [one.text for one in fake.seen()] == ["file \ufffd\nc\ufffd", "file \ufffd"]
        assert (await bridge.send(Address("12\udcff"), plain("x", picture=odd))).outcome is Outcome.GONE

    run(test)
