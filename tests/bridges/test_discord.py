"""Discord, by webhook and by bot, against a strict fake."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farwatch.bridges import registry
from farwatch.bridges.base import Address, Attachment, Message, Outcome, Part, Setup, plain
from farwatch.bridges.services.discord import FILE_MAX_BYTES, KIND, DiscordBridge
from farwatch.bridges.services.discord_text import GUARD, rendered, units
from farwatch.bridges.services.slices import slices
from farwatch.clock import SystemClock
from farwatch.errors import BridgeError
from farwatch.testing.bridges import HOSTILE, PNG, BridgeContract
from farwatch.testing.chat.discord import FakeDiscord, shown
from tests.bridges.memory import KeptMemory

THREAD = "200000000000000002"


def made(**values: str) -> DiscordBridge:
    return DiscordBridge(Setup("discord", values, KeptMemory(), SystemClock()))


@contextlib.asynccontextmanager
async def bot(fake: FakeDiscord | None = None) -> AsyncIterator[tuple[DiscordBridge, FakeDiscord]]:
    async with (fake or FakeDiscord()).serving() as service:
        bridge = made(token=service.token, chat=service.chat.chat, url=service.url)
        try:
            yield bridge, service
        finally:
            await bridge.close()


@contextlib.asynccontextmanager
async def hooked(fake: FakeDiscord | None = None, more: str = "") -> AsyncIterator[tuple[DiscordBridge, FakeDiscord]]:
    async with (fake or FakeDiscord()).serving() as service:
        service.secret = service.hook_token
        service.chat = Address(service.chat.chat)
        bridge = made(webhook=service.webhook + more)
        try:
            yield bridge, service
        finally:
            await bridge.close()


def run(test: Callable[[DiscordBridge, FakeDiscord], Awaitable[None]], way: Any = hooked, **values: Any) -> None:
    async def whole() -> None:
        async with way(**values) as (bridge, fake):
            await test(bridge, fake)

    asyncio.run(whole())


class _Contract(BridgeContract):
    slow_s = 0.2

    def letters(self, text: str) -> str:
        return text.replace(GUARD, "")


class TestWebhook(_Contract):
    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[DiscordBridge, FakeDiscord]]:  # type: ignore[override]
        async with hooked() as both:
            yield both


class TestBot(_Contract):
    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[DiscordBridge, FakeDiscord]]:  # type: ignore[override]
        async with bot() as both:
            yield both


def test_a_webhook_alone_gets_one_message_and_edits_of_it() -> None:
    async def test(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        sent = await bridge.send(fake.chat, plain("0 %"))
        for share in (50, 100):
            await bridge.edit(fake.chat, sent.message_ids[0], plain(f"{share} %"))

        assert [(call.method, call.query) for call in fake.calls] == [("POST", {"wait": "true"}), ("PATCH", {}), ("PATCH", {})]
        assert [(one.text, one.edits) for one in fake.seen()] == [("100 %", 2)]

    run(test)


def test_the_body_is_as_documented() -> None:
    async def test(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        await bridge.send(fake.chat, Message((Part("run "), Part("a_b*c[1]", "bold")), silent=True))
        await bridge.send(fake.chat, plain("https://lab.example/a_b_c", preview=True))

        assert [call.fields for call in fake.calls] == [
            {"content": "run **a_b\\*c\\[1\\]**", "allowed_mentions": {"parse": []}, "flags": 4 | 4096},
            {"content": "https://lab.example/a_b_c", "allowed_mentions": {"parse": []}, "flags": 0},
        ]
        assert [one.silent for one in fake.seen()] == [True, False]

    run(test)


@pytest.mark.parametrize("style", ["plain", "bold", "code", "block", "markdown", "html"])
def test_nobody_is_called_by_a_name(style: Any) -> None:
    async def test(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        message = Message((Part(f"<@123456> <@&99> {HOSTILE}", style),))
        sent = await bridge.send(fake.chat, message)
        await bridge.edit(fake.chat, sent.message_ids[0], message)

        assert len(fake.calls) == 2 and fake.mentions == []

    run(test)


LETTERS = [*"ab _*~`|<>[]()#-+.:@\\/1\n&!😀图", "https://x.y/", ":fire:", ":100:"]
TEXTS = st.lists(st.sampled_from(LETTERS), max_size=40).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.sampled_from(["plain", "bold", "html"])), max_size=4))
def test_whatever_a_program_wrote_is_read_as_it_stands(pieces: list[tuple[str, Any]]) -> None:
    parts = [Part(*piece) for piece in pieces]
    read = shown(rendered(parts))

    assert "".join(read.split()) == "".join("".join(text for text, _ in pieces).split())


@pytest.mark.parametrize("text", [":" + "a" * 20_000, ":a" * 10_000, "_" * 20_000, "https://x/" + "*" * 20_000, "x" + " " * 20_000])
def test_no_text_takes_long(text: str) -> None:
    begun = time.process_time()
    rendered([Part(text), Part(text, "bold")])

    assert time.process_time() - begun < 2.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(TEXTS.map(lambda text: text * 9), st.sampled_from(["plain", "bold", "code", "block", "markdown"])), max_size=5))
def test_slices_are_within_the_limit_and_lose_nothing(pieces: list[tuple[str, Any]]) -> None:
    parts = [Part(*piece) for piece in pieces]
    cut = slices(parts, 200, units)

    assert all(units(one) <= 200 for one in cut)
    assert "".join("".join(part.text for one in cut for part in one).split()) == "".join("".join(text for text, _ in pieces).split())


def test_ticks_do_not_end_a_block() -> None:
    text = "a\n```\nb ``` c\n`"
    content = rendered([Part("log"), Part(text, "block"), Part("**end**")])

    assert content.startswith("log\n```\na\n") and content.count("```") == 2
    assert shown(content).replace(GUARD, "") == f"log\n{text}**end**"


def test_a_thread_is_written_into_either_way() -> None:
    async def in_address(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        sent = await bridge.send(Address(fake.chat.chat, THREAD), plain("epoch 1"))
        assert (await bridge.edit(Address(fake.chat.chat, THREAD), sent.message_ids[0], plain("epoch 2"))).outcome is Outcome.SENT
        assert [one.chat for one in fake.seen()] == [THREAD]

    async def in_webhook(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        await bridge.send(Address("webhook"), plain("epoch 1"))
        assert [one.chat for one in fake.seen()] == [THREAD]

    run(in_address)
    run(in_address, bot)
    run(in_webhook, more=f"?thread_id={THREAD}")


def test_pictures_and_files_are_in_the_message_with_the_words() -> None:
    files = (
        Attachment("runs/points.csv", "text/csv", b"step,loss\n1,0.5\n", "the points"),
        Attachment("alarm.wav", "audio/wav", b"RIFF1234WAVE"), Attachment("clip.mp4", "video/mp4", b"\0\0\0\x18ftypmp42"),
    )  # fmt: skip

    async def test(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        sent = await bridge.send(fake.chat, Message((Part("spike"),), picture=Attachment("loss.png", "image/png", PNG), files=files))
        (one,) = fake.seen()
        assert (one.text, one.pictures, one.files) == ("spike\nthe points", (PNG,), tuple(file.read() for file in files))

        await bridge.edit(fake.chat, sent.message_ids[0], plain("healed"))
        assert (fake.seen()[0].text, fake.seen()[0].pictures) == ("healed", (PNG,))  # what stands there stays

        await bridge.edit(fake.chat, sent.message_ids[0], plain("healed", picture=Attachment("new.png", "image/png", PNG + b"2")))
        assert (fake.seen()[0].pictures, fake.seen()[0].files) == ((PNG + b"2",), ())

    run(test)


def test_twelve_files_are_two_messages_and_the_phone_rings_once() -> None:
    async def test(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        files = tuple(Attachment(f"{n}.log", "text/plain", str(n).encode()) for n in range(12))
        sent = await bridge.send(fake.chat, Message((Part("end"),), files=files))

        assert [len(one.files) for one in fake.seen()] == [10, 2]
        assert [one.silent for one in fake.seen()] == [False, True]
        assert len(sent.message_ids) == 2

    run(test)


def test_the_words_of_an_alarm_arrive_where_its_picture_cannot() -> None:
    async def test(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        fake.misbehave("refuse", status=413, code=40005, words="Request entity too large")
        receipt = await bridge.send(fake.chat, plain("loss is NaN", picture=Attachment("loss.png", "image/png", PNG)))

        assert [(one.text, one.pictures) for one in fake.seen()] == [("loss is NaN", ())]
        assert receipt.reason == "without loss.png: Request entity too large (40005)"

    run(test)


def test_a_file_over_the_limit_is_told_beside_the_words() -> None:
    async def test(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        large = Attachment("run/big.bin", "application/octet-stream", bytes(FILE_MAX_BYTES + 514_240))
        receipt = await bridge.send(fake.chat, Message((Part("end"),), files=(large,)))

        assert (fake.seen()[0].text, receipt.reason) == ("end\n(big.bin: 11.0 MB > 10.5 MB)", "(big.bin: 11.0 MB > 10.5 MB)")

    run(test)


def test_where_the_headers_say_stop_nothing_is_asked() -> None:
    async def test(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        first = [await bridge.send(fake.chat, plain(str(n))) for n in range(2)]
        third = await bridge.send(fake.chat, plain("2"))

        assert [one.outcome for one in first] == [Outcome.SENT, Outcome.SENT]
        assert third.outcome is Outcome.LATER and 50 < (third.retry_after_s or 0) <= 60
        assert fake.requests == 2

    run(test, fake=FakeDiscord(limit=(2, 60.0)))


def test_a_wait_is_the_one_in_the_answer_and_a_global_one_is_for_all() -> None:
    async def test(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        fake.misbehave("busy", retry_after_s=0.35)
        fake.misbehave("busy", retry_after_s=64.5, everywhere=True)
        short = await bridge.send(fake.chat, plain("x"))
        long = await bridge.send(fake.chat, plain("x"))
        other = await bridge.delete(Address(fake.chat.chat, THREAD), "1")

        assert (short.retry_after_s, long.retry_after_s) == (0.35, 64.5)
        assert other.outcome is Outcome.LATER and 60 < (other.retry_after_s or 0) <= 64.5
        assert fake.requests == 2

    run(test)


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (404, 10008, Outcome.GONE), (404, 10003, Outcome.GONE), (404, 10015, Outcome.GONE), (403, 50001, Outcome.GONE),
        (403, 50013, Outcome.GONE), (403, 50005, Outcome.GONE), (401, 50027, Outcome.REVOKED), (401, 0, Outcome.REVOKED),
        (400, 50035, Outcome.REFUSED), (413, 40005, Outcome.REFUSED), (500, 0, Outcome.FAILED), (418, 7, Outcome.REFUSED),
    ],
)  # fmt: skip
def test_what_discord_says_is_understood(status: int, code: int, outcome: Outcome) -> None:
    async def test(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        fake.misbehave("refuse", status=status, code=code)
        receipt = await bridge.edit(fake.chat, "300000000000000001", plain("x"))

        assert receipt.outcome is outcome
        assert bridge.condition().ok == (outcome is not Outcome.REVOKED and code != 10015)

    run(test)


def test_a_message_that_somebody_deleted_is_gone() -> None:
    async def test(bridge: DiscordBridge, fake: FakeDiscord) -> None:
        sent = await bridge.send(fake.chat, plain("x"))
        await bridge.delete(fake.chat, sent.message_ids[0])

        assert (await bridge.edit(fake.chat, sent.message_ids[0], plain("y"))).outcome is Outcome.GONE

    run(test)
    run(test, bot)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "needs `webhook`"), ({"token": "a.b.c"}, "needs `chat`"), ({"token": "hello", "chat": "1"}, "no token"),
        ({"token": "a.b.c", "chat": "#runs"}, "no channel"), ({"webhook": "https://example.com/api/webhooks/1/secretsecret"}, "address of"),
        ({"webhook": "https://discord.com/api/webhooks/1"}, "address of"),
        ({"webhook": "http://discord.com/api/webhooks/1/secretsecret"}, "in the clear"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_right_are_refused(values: dict[str, str], says: str) -> None:
    with pytest.raises(BridgeError, match=says) as raised:
        made(**values)
    assert "secretsecret" not in str(raised.value)


def test_where_a_channel_writes_to_without_pairing() -> None:
    assert registry.kind("discord") is KIND
    assert KIND.secrets == {"token", "webhook"}
    assert KIND.chats({"webhook": "https://discord.com/api/webhooks/1/x"}) == ("webhook",)
    assert KIND.chats({"token": "a.b.c", "chat": "17, 18/19"}) == ("17", "18/19")
