"""Telegram: what people write, and the long poll that hears it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from farwatch.bridges.base import Address, Button, Incoming, plain
from farwatch.bridges.services.telegram import TelegramBridge
from farwatch.testing.bridges import until
from farwatch.testing.chat.telegram import FakeTelegram
from tests.bridges.memory import KeptMemory
from tests.bridges.telegram import MovedClock, Pauses, bridge_for, closing, collect, with_fake

HOUR_S = 3600


def hearing(test: Callable[[TelegramBridge, FakeTelegram, list[Incoming]], Awaitable[None]]) -> None:
    """Run one test with a bridge that listens."""

    async def whole() -> None:
        async with FakeTelegram() as fake:
            async with closing(bridge_for(fake)) as bridge:
                heard: list[Incoming] = []
                await bridge.open(collect(heard))
                await until(lambda: bridge.condition().ok)
                await asyncio.wait_for(test(bridge, fake, heard), 60)

    asyncio.run(whole())


def test_message_says_who_where_and_when() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram, heard: list[Incoming]) -> None:
        group = fake.group("Vision \u202elab", topics=(5,))
        date = int(time.time()) - 23 * HOUR_S
        ours = await bridge.send(Address(group.chat, "5"), plain("alarm"))
        written = await fake.write(
            "stop", user=42, name="Eve\u202e\n", username="eve", chat=Address(group.chat, "5"), reply_to=ours.message_ids[0], date=date
        )
        await until(lambda: heard)
        one = heard[0]
        assert (one.channel, one.address, one.message_id) == ("telegram", Address(group.chat, "5"), written)
        assert (one.user, one.user_name, one.title) == ("42", "Eve @eve", "Vision lab")
        assert (one.text, one.reply_to, one.sent_ms) == ("stop", ours.message_ids[0], date * 1000)
        assert (one.group, one.mentioned, one.trusted, one.button) == (True, True, True, None)

    hearing(test)


def test_words_below_a_picture_are_heard() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram, heard: list[Incoming]) -> None:
        await fake.write("status", photo=True)
        await until(lambda: heard)
        assert heard[0].text == "status"

    hearing(test)


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("😀😀 @Farwatch_Bot stop", True), ("/stop@farwatch_bot", True), ("stop", False), ("/stop", False), ("stop @farwatch_bot_2", False),
    ],
)  # fmt: skip
def test_mention_is_told_in_a_group(text: str, mentioned: bool) -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram, heard: list[Incoming]) -> None:
        await fake.write(text, chat=fake.group())
        await until(lambda: heard)
        assert (heard[0].text, heard[0].mentioned) == (text, mentioned)

    hearing(test)


def test_command_to_another_bot_is_not_ours() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram, heard: list[Incoming]) -> None:
        group = fake.group()
        await fake.write("/stop@another_bot", chat=group)
        await fake.write("status", chat=group)
        await until(lambda: heard)
        assert [one.text for one in heard] == ["status"]

    hearing(test)


@pytest.mark.parametrize("doubt", ["forwarded", "anonymous", "via_bot", "bot"])
def test_what_is_not_a_persons_own_word_is_not_trusted(doubt: str) -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram, heard: list[Incoming]) -> None:
        group = fake.group()
        more: dict[str, Any] = {doubt: True}
        await fake.write("stop", chat=group, **more)
        await fake.write("stop", chat=group)
        await until(lambda: len(heard) == 2)
        assert [one.trusted for one in heard] == [False, True]

    hearing(test)


def test_edited_messages_and_posts_of_channels_are_not_heard() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram, heard: list[Incoming]) -> None:
        first = await fake.write("status")
        await fake.write("stop", edited=first)
        await fake.write("stop", chat=fake.group(kind="channel"))
        await fake.push({"edited_message": {"text": "stop"}, "channel_post": {"text": "stop"}})
        await fake.write("runs")
        await until(lambda: len(heard) == 2)
        assert [one.text for one in heard] == ["status", "runs"]

    hearing(test)


def test_press_is_timed_by_our_clock_and_belongs_to_its_message() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram, heard: list[Incoming]) -> None:
        group = fake.group()
        sent = await bridge.send(group, plain("alarm", buttons=((Button("Stop", "a1:stop"),),)))
        await fake.press(sent.message_ids[0], "a1:stop", user=42, name="Bo", chat=group)
        await until(lambda: heard)
        one = heard[0]
        assert (one.button, one.message_id, one.user, one.address) == ("a1:stop", sent.message_ids[0], "42", group)
        assert abs(one.sent_ms - time.time() * 1000) < 60_000
        assert (one.text, one.trusted, one.group) == ("", True, True)

    hearing(test)


def test_strange_updates_are_nothing_and_the_next_one_is_heard() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram, heard: list[Incoming]) -> None:
        chat, sender = {"id": 7001, "type": "private"}, {"id": 7001, "is_bot": False, "first_name": "Ann"}
        whole = {"message_id": 1, "from": sender, "chat": chat, "date": 1, "text": "x"}
        strange_ones: list[dict[str, Any]] = [
            {"message": None}, {"message": []}, {"message": {}}, {"message": {**whole, "text": 5}}, {"message": {**whole, "date": "now"}},
            {"message": {**whole, "from": None}}, {"message": {**whole, "chat": {"id": "7001", "type": "private"}}},
            {"message": {**whole, "text": None, "sticker": {}}}, {"callback_query": "x"}, {"callback_query": {"id": "1", "from": sender}},
            {"callback_query": {"id": "1", "from": sender, "message": whole}}, {"poll": {}}, {"something_new": 1}, {},
        ]  # fmt: skip
        for strange in strange_ones:
            await fake.push(strange)
        odd = [None, 5, {"type": "mention", "offset": -1, "length": 10**9}, {"type": [], "offset": "x"}]
        await fake.push({"message": {**whole, "entities": odd, "reply_to_message": 3, "text": "status"}})
        await until(lambda: heard)
        assert [one.text for one in heard] == ["status"]

    hearing(test)


def test_fault_of_who_listens_does_not_cost_the_next_message(caplog: pytest.LogCaptureFixture) -> None:
    async def test(fake: FakeTelegram) -> None:
        heard: list[str] = []

        async def receive(incoming: Incoming) -> None:
            heard.append(incoming.text)
            if incoming.text == "bad":
                raise RuntimeError("not ours")

        async with closing(bridge_for(fake)) as bridge:
            await bridge.open(receive)
            for text in ("bad", "good"):
                await fake.write(text)
            await until(lambda: heard == ["bad", "good"])

    with_fake(test)
    assert "could not be handled" in caplog.text


class WornMemory(KeptMemory):
    """Cannot be written as often as there are errors."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)

    def save(self, value: Mapping[str, Any]) -> None:
        if self.errors:
            raise self.errors.pop()
        super().save(value)


def test_full_disk_does_not_keep_a_person_from_being_heard() -> None:
    async def test(fake: FakeTelegram) -> None:
        heard: list[Incoming] = []
        async with closing(bridge_for(fake, WornMemory(OSError(28, "No space left on device")))) as bridge:
            await bridge.open(collect(heard))
            await fake.write("stop")
            await fake.write("status")
            await until(lambda: len(heard) == 2)
        assert [one.text for one in heard] == ["stop", "status"]

    with_fake(test)


def test_fault_of_ours_does_not_end_listening(caplog: pytest.LogCaptureFixture) -> None:
    async def test(fake: FakeTelegram) -> None:
        heard: list[Incoming] = []
        pauses = Pauses()
        async with closing(bridge_for(fake, WornMemory(TypeError(fake.token)), pause=pauses)) as bridge:
            await bridge.open(collect(heard))
            await fake.write("lost")
            await until(lambda: pauses.seconds)
            await fake.write("status")
            await until(lambda: [one.text for one in heard] == ["status"])
        assert "TypeError while listening" in caplog.text and fake.token not in caplog.text

    with_fake(test)


def test_words_are_offered_in_both_languages() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram, heard: list[Incoming]) -> None:
        assert set(fake.commands) == {"", "zh"}
        assert [one["command"] for one in fake.commands[""]] == [one["command"] for one in fake.commands["zh"]]
        assert {"status", "stop"} <= {one["command"] for one in fake.commands[""]}
        assert not fake.commands["zh"][0]["description"].isascii()

    hearing(test)


def test_condition_has_the_name_for_a_link() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram, heard: list[Incoming]) -> None:
        found = bridge.condition()
        assert (found.ok, found.text) == (True, "Farwatch (@farwatch_bot)")
        assert found.facts == {"username": "farwatch_bot", "link": "https://t.me/farwatch_bot"}

    hearing(test)


def test_closing_does_not_wait_for_the_poll() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram, heard: list[Incoming]) -> None:
        await until(lambda: fake.polling)
        _, waiting = await asyncio.wait([asyncio.create_task(bridge.close())], timeout=5)
        assert not waiting

    hearing(test)


def test_restart_goes_on_where_it_was_and_repeats_no_command() -> None:
    async def test(fake: FakeTelegram) -> None:
        memory = KeptMemory()
        heard: list[str] = []
        stopped = asyncio.Event()

        async def receive(incoming: Incoming) -> None:
            heard.append(incoming.text)
            stopped.set()
            await asyncio.Event().wait()  # killed while it works on a command

        async with closing(bridge_for(fake, memory)) as bridge:
            await bridge.open(receive)
            await fake.write("stop")
            await asyncio.wait_for(stopped.wait(), 10)
        await fake.write("status")
        later: list[Incoming] = []
        async with closing(bridge_for(fake, memory)) as anew:
            await anew.open(collect(later))
            await until(lambda: later)
        assert (heard, [one.text for one in later]) == (["stop"], ["status"])

    with_fake(test)


def test_what_another_bot_had_read_says_nothing_of_ours() -> None:
    async def test(fake: FakeTelegram) -> None:
        memory = KeptMemory()
        heard: list[Incoming] = []
        memory.save({"bot": "999", "offset": 999_999_999, "seen_ms": time.time_ns() // 10**6})
        async with closing(bridge_for(fake, memory)) as bridge:
            await bridge.open(collect(heard))
            await fake.write("status")
            await until(lambda: heard)
        assert [one.text for one in heard] == ["status"]

    with_fake(test)


def test_updates_numbered_anew_after_a_silent_week_are_heard() -> None:
    async def test(fake: FakeTelegram) -> None:
        heard: list[Incoming] = []
        clock = MovedClock()
        async with closing(bridge_for(fake, clock=clock)) as bridge:
            await bridge.open(collect(heard))
            await fake.write("before")
            await until(lambda: heard and fake.polling)
            clock.sleep(8 * 24 * HOUR_S)
            person = {"id": 7001, "is_bot": False, "first_name": "Ann"}
            message = {"message_id": 1, "from": person, "chat": {"id": 7001, "type": "private"}, "date": 1, "text": "after"}
            await fake.push({"update_id": 17, "message": message})
            await until(lambda: len(heard) == 2)
        assert [one.text for one in heard] == ["before", "after"]

    with_fake(test)


def test_update_that_comes_twice_is_handled_once() -> None:
    async def test(bridge: TelegramBridge, fake: FakeTelegram, heard: list[Incoming]) -> None:
        await fake.write("stop")
        await until(lambda: heard)
        number = int(heard[0].key)
        await fake.push({**heard[0].raw, "update_id": number - 1})
        await fake.push({**heard[0].raw, "update_id": number})
        await fake.write("status")
        await until(lambda: len(heard) >= 2)
        assert [one.text for one in heard] == ["stop", "status"]

    hearing(test)


def test_commands_wait_for_a_day_and_no_longer() -> None:
    async def test(fake: FakeTelegram) -> None:
        heard: list[Incoming] = []
        now = int(time.time())
        await fake.write("too old", date=now - 25 * HOUR_S)
        await fake.write("old", date=now - 23 * HOUR_S)
        async with closing(bridge_for(fake)) as bridge:
            await bridge.open(collect(heard))
            await until(lambda: heard)
        assert [(one.text, one.sent_ms) for one in heard] == [("old", (now - 23 * HOUR_S) * 1000)]

    with_fake(test)


def test_webhook_of_an_earlier_program_is_removed_and_what_waits_is_heard() -> None:
    async def test(fake: FakeTelegram) -> None:
        fake.webhook = "https://old.test/hook"
        await fake.write("status")
        heard: list[Incoming] = []
        async with closing(bridge_for(fake, pause=Pauses())) as bridge:
            await bridge.open(collect(heard))
            await until(lambda: heard)
        assert fake.webhook == ""

    with_fake(test)


def test_second_program_with_the_same_token_is_named_and_not_fought() -> None:
    async def test(fake: FakeTelegram) -> None:
        clock, pauses = MovedClock(), Pauses(held=True)
        async with closing(bridge_for(fake, pause=pauses, clock=clock)) as first, closing(bridge_for(fake)) as second:
            await first.open(collect([]))
            await until(lambda: first.condition().ok and fake.polling)
            await second.open(collect([]))
            await until(lambda: pauses.seconds)
            assert pauses.seconds == [60.0]
            assert (first.condition().ok, first.condition().code) == (False, "taken-over")
            assert "second Farwatch server" in first.condition().text
            await second.close()
            pauses.go.set()
            polls = fake.polls
            await until(lambda: fake.polls > polls)
            assert first.condition().code == "taken-over"  # one quiet poll proves nothing
            clock.sleep(200)
            await until(lambda: first.condition().ok)

    with_fake(test)


def test_revoked_token_is_told_and_asked_for_seldom() -> None:
    async def test(fake: FakeTelegram) -> None:
        pauses = Pauses(held=True)
        async with closing(bridge_for(fake, pause=pauses, token="110201543:old")) as bridge:
            await bridge.open(collect([]))
            await until(lambda: pauses.seconds)
            assert (pauses.seconds, bridge.condition().code) == ([300.0], "revoked")

    with_fake(test)


def test_pauses_grow_with_failures_and_end_with_them() -> None:
    async def test(fake: FakeTelegram) -> None:
        pauses = Pauses()
        heard: list[Incoming] = []
        async with closing(bridge_for(fake, pause=pauses)) as bridge:
            await bridge.open(collect(heard))
            await until(lambda: bridge.condition().ok and fake.polling)
            for trouble in ("error", "garbage", "cut", "error", "error", "error", "error", "error"):
                fake.misbehave(trouble, method="getUpdates")
            fake.misbehave("busy", method="getUpdates", retry_after_s=222)
            await fake.write("wake up")  # what was asked for before is answered as it should be
            await until(lambda: len(pauses.seconds) == 9)
            await fake.write("status")
            await until(lambda: [one.text for one in heard][-1:] == ["status"])
            await until(lambda: bridge.condition().ok)
            fake.misbehave("error", method="getUpdates")
            await fake.write("wake up")
            await until(lambda: len(pauses.seconds) == 10)
        grown, asked, again = pauses.seconds[:8], pauses.seconds[8], pauses.seconds[9]
        assert all(2 ** (n + 1) / 2 <= wait <= min(60, 2 ** (n + 1)) for n, wait in enumerate(grown[:5]))
        assert all(30 <= wait <= 60 for wait in grown[5:])
        assert asked == 222.0
        assert again <= 2.0  # not where the old row of failures ended

    with_fake(test)


def test_no_contact_is_told_and_ends_when_there_is_some() -> None:
    async def test(fake: FakeTelegram) -> None:
        fake.misbehave("error", 3, method="getMe")
        pauses = Pauses(held=True)
        async with closing(bridge_for(fake, pause=pauses)) as bridge:
            assert bridge.condition().code == "connecting"
            await bridge.open(collect([]))
            await until(lambda: pauses.seconds)
            assert (bridge.condition().code, bridge.condition().text) == ("no-contact", "Telegram has trouble: Bad Gateway")
            pauses.go.set()
            await until(lambda: bridge.condition().ok)

    with_fake(test)


def test_token_stands_in_no_log_or_condition_while_listening_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def test(fake: FakeTelegram) -> None:
        said = []
        elsewhere = ("http://127.0.0.1:9", "http://no-such-name.localhost:9")
        for token, url in ((fake.token, fake.url), (fake.token + "x", fake.url), *((fake.token, one) for one in elsewhere)):
            for trouble in ("error", "garbage", "cut", "conflict", "revoked"):
                fake.misbehave(trouble, method="getUpdates")
            fake.misbehave("cut", method="getMe")
            pauses = Pauses()
            async with closing(bridge_for(fake, pause=pauses, token=token, url=url)) as bridge:
                await bridge.open(collect([]))
                await until(lambda: len(pauses.seconds) >= 2)  # noqa: B023
                said.append(bridge.condition().text)
            fake.behave()
        text = caplog.text + "".join(said)
        assert fake.token not in text and fake.token.partition(":")[2] not in text

    with caplog.at_level(logging.DEBUG):
        with_fake(test)
