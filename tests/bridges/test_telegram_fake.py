"""The fake of Telegram beside python-telegram-bot: what that takes from the fake, it takes from the real service."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, LinkPreviewOptions
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, RetryAfter

from farwatch.bridges.base import Outcome, plain
from farwatch.testing.bridges import PNG, until
from farwatch.testing.chat.telegram import FakeTelegram
from tests.bridges.telegram import MovedClock, bridge_for, closing, with_fake


def second_client(test: Callable[[Bot, FakeTelegram], Awaitable[None]]) -> None:
    async def whole(fake: FakeTelegram) -> None:
        async with Bot(fake.token, base_url=f"{fake.url}/bot") as bot:
            await test(bot, fake)

    with_fake(whole)


def test_another_client_sends_edits_and_shows_pictures_by_the_fake() -> None:
    async def test(bot: Bot, fake: FakeTelegram) -> None:
        assert (await bot.get_me()).username == "farwatch_bot"
        keys = InlineKeyboardMarkup([[InlineKeyboardButton("Stop", callback_data="s")]])
        quiet = LinkPreviewOptions(is_disabled=True)
        sent = await bot.send_message(7001, "<b>10</b> %", parse_mode="HTML", reply_markup=keys, link_preview_options=quiet)
        assert (sent.text, sent.entities[0].type, sent.reply_markup) == ("10 %", "bold", keys)
        edited = await bot.edit_message_text("20 %", 7001, sent.message_id)
        assert getattr(edited, "text", "") == "20 %"
        photo = await bot.send_photo(7001, PNG, caption="curve")
        assert (photo.caption, photo.photo[0].width) == ("curve", 1)
        document = await bot.send_document(7001, b"log", filename="l.txt")
        assert document.document and document.document.file_name == "l.txt"
        assert [(one.text, one.edits) for one in fake.seen()] == [("20 %", 1), ("curve", 0), ("", 0)]
        assert fake.seen()[1].pictures == (PNG,) and fake.seen()[2].files == (b"log",)

    second_client(test)


def test_another_client_meets_the_refusals_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "1")  # its coming type, without a warning

    async def test(bot: Bot, fake: FakeTelegram) -> None:
        fake.flood, fake.clock = True, MovedClock()
        sent = await bot.send_message(7001, "x")
        with pytest.raises(RetryAfter) as flood:
            await bot.send_message(7001, "y")
        assert flood.value.retry_after == timedelta(seconds=1)
        fake.flood = False
        for wrong, words in (
            (lambda: bot.send_message(7001, "a_b*c[1]", parse_mode="MarkdownV2"), "Can't parse entities"),
            (lambda: bot.send_message(7001, "<b>", parse_mode="HTML"), "Can't parse entities"),
            (lambda: bot.send_message(7001, "x" * 4097), "Message is too long"),
            (lambda: bot.send_message(7001, " "), "Message text is empty"),
            (lambda: bot.send_message(1, "x"), "Chat not found"),
            (lambda: bot.send_photo(7001, PNG, caption="x" * 1025), "Message caption is too long"),
            (lambda: bot.send_photo(7001, b"no picture"), "Image_process_failed"),
            (lambda: bot.edit_message_text("x", 7001, sent.message_id), "Message is not modified"),
            (lambda: bot.edit_message_text("x", 7001, 5), "Message to edit not found"),
            (lambda: bot.edit_message_caption(7001, sent.message_id, caption="x"), "There is no caption in the message to edit"),
            (lambda: bot.delete_message(7001, 5), "Message to delete not found"),
            (lambda: bot.set_my_commands([("Stop", "x")]), "Bot_command_invalid"),
        ):
            with pytest.raises(BadRequest, match=words):
                await wrong()
        fake.block(fake.chat)
        with pytest.raises(Forbidden):
            await bot.send_message(7001, "x")
        with pytest.raises(InvalidToken):
            async with Bot("110201543:another", base_url=f"{fake.url}/bot"):
                raise AssertionError("let in")

    second_client(test)


def test_another_client_polls_the_fake() -> None:
    async def test(bot: Bot, fake: FakeTelegram) -> None:
        await fake.write("/status")
        first, = await bot.get_updates(timeout=5)
        assert first.message and first.message.text == "/status" and first.message.entities[0].type == "bot_command"
        assert [one.update_id for one in await bot.get_updates(timeout=5)] == [first.update_id]  # not yet confirmed
        held = asyncio.create_task(bot.get_updates(offset=first.update_id + 1, timeout=20))
        await until(lambda: fake.polls == 3)
        sent = await bot.send_message(7001, "x", reply_markup=InlineKeyboardMarkup([[InlineKeyboardButton("Stop", callback_data="s")]]))
        query = await fake.press(str(sent.message_id), "s")
        pressed, = await asyncio.wait_for(held, 10)
        assert pressed.callback_query and (pressed.callback_query.id, pressed.callback_query.data) == (query, "s")
        await bot.answer_callback_query(query, "stopping")
        assert fake.answers[query] == "stopping"
        waiting = asyncio.create_task(bot.get_updates(offset=pressed.update_id + 1, timeout=20))
        await until(lambda: fake.polls == 4)
        async with Bot(fake.token, base_url=f"{fake.url}/bot") as second:
            assert await second.get_updates(offset=pressed.update_id + 1, timeout=0) == ()
        with pytest.raises(Conflict):
            await waiting
        await bot.set_webhook("https://x.test")
        with pytest.raises(Conflict):
            await bot.get_updates(timeout=0)

    second_client(test)


def test_press_of_a_button_that_is_not_there_is_a_fault_of_the_test() -> None:
    async def test(fake: FakeTelegram) -> None:
        async with closing(bridge_for(fake)) as bridge:
            sent = await bridge.send(fake.chat, plain("x"))
            assert sent.outcome is Outcome.SENT
            with pytest.raises(ValueError, match="has no button"):
                await fake.press(sent.message_ids[0], "s")

    with_fake(test)
