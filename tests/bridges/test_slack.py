"""Slack against a strict fake, which the official client reads as well."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from farwatch.bridges import registry
from farwatch.bridges.base import Address, Attachment, Message, Outcome, Part, Setup, plain
from farwatch.bridges.services.slack import KIND, SlackBridge
from farwatch.clock import SystemClock
from farwatch.errors import BridgeError
from farwatch.testing.bridges import HOSTILE, PNG, BridgeContract
from farwatch.testing.chat.slack import FakeSlack
from tests.bridges.memory import KeptMemory


def made(memory: KeptMemory | None = None, **values: str) -> SlackBridge:
    return SlackBridge(Setup("slack", values, memory or KeptMemory(), SystemClock()))


@contextlib.asynccontextmanager
async def connected(
    fake: FakeSlack | None = None, memory: KeptMemory | None = None, **values: str
) -> AsyncIterator[tuple[SlackBridge, FakeSlack]]:
    async with (fake or FakeSlack()).serving() as service:
        bridge = made(memory, **{"token": service.token, "chat": "C0123456789", "url": service.url, **values})
        try:
            yield bridge, service
        finally:
            await bridge.close()


@contextlib.asynccontextmanager
async def hooked() -> AsyncIterator[tuple[SlackBridge, FakeSlack]]:
    async with FakeSlack().serving() as fake:
        fake.secret = fake.hook.rpartition("/")[2]
        bridge = made(webhook=fake.webhook)
        try:
            yield bridge, fake
        finally:
            await bridge.close()


def run(test: Callable[[SlackBridge, FakeSlack], Awaitable[None]], **values: Any) -> None:
    async def whole() -> None:
        async with connected(**values) as (bridge, fake):
            await test(bridge, fake)

    asyncio.run(whole())


class TestBot(BridgeContract):
    slow_s = 0.2

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[SlackBridge, FakeSlack]]:  # type: ignore[override]
        async with connected() as both:
            yield both


class TestWebhook(BridgeContract):
    slow_s = 0.2
    checks_credentials = False

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[SlackBridge, FakeSlack]]:  # type: ignore[override]
        async with hooked() as both:
            yield both


def test_the_request_is_as_documented() -> None:
    async def test(bridge: SlackBridge, fake: FakeSlack) -> None:
        parts = (Part("run "), Part("a_b*c[1]", "bold"), Part(" see https://lab.example/r/ab.\n"), Part("x < 1", "block"), Part("\nend"))
        await bridge.send(Address("C0123456789"), Message(parts))

        assert fake.asked("chat.postMessage") == [
            {
                "channel": "C0123456789", "text": "run a_b*c[1] see https://lab.example/r/ab.\nx &lt; 1\nend", "parse": "none",
                "link_names": False, "unfurl_links": False, "unfurl_media": False,
                "blocks": [{"type": "rich_text", "elements": [
                    {"type": "rich_text_section", "elements": [
                        {"type": "text", "text": "run "},
                        {"type": "text", "text": "a_b*c[1]", "style": {"bold": True}},
                        {"type": "text", "text": " see "},
                        {"type": "link", "url": "https://lab.example/r/ab"},
                        {"type": "text", "text": "."},
                    ]},
                    {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "x < 1"}]},
                    {"type": "rich_text_section", "elements": [{"type": "text", "text": "end"}]},
                ]}],
            }
        ]  # fmt: skip

    run(test)


@pytest.mark.parametrize("style", ["plain", "bold", "code", "block", "markdown", "html"])
def test_nobody_is_called_by_a_name(style: Any) -> None:
    async def test(bridge: SlackBridge, fake: FakeSlack) -> None:
        await bridge.send(fake.chat, Message((Part(f"<!here> <!subteam^S1> {HOSTILE}", style),)))

        assert fake.mentions == []
        assert "<!channel>" in fake.seen()[0].text

    run(test)


def test_links_unfold_only_when_asked() -> None:
    async def test(bridge: SlackBridge, fake: FakeSlack) -> None:
        await bridge.send(fake.chat, plain("https://lab.example", preview=True))

        assert (fake.asked("chat.postMessage")[0]["unfurl_links"], fake.asked("chat.postMessage")[0]["unfurl_media"]) == (True, True)

    run(test)


def test_a_channel_by_name_can_be_edited_after_a_restart() -> None:
    async def test() -> None:
        memory = KeptMemory()
        async with connected(memory=memory, chat="#runs") as (bridge, fake):
            to = Address("#runs")
            sent = await bridge.send(to, plain("10 %"))
            later = made(memory, token=fake.token, chat="#runs", url=fake.url)
            edited = await later.edit(to, sent.message_ids[0], plain("100 %"))
            await later.close()

            assert edited.outcome is Outcome.SENT
            assert [(one.text, one.edits) for one in fake.seen()] == [("100 %", 1)]

    asyncio.run(test())


def test_a_picture_and_files_arrive_whole_below_the_words() -> None:
    files = (
        Attachment("runs/points.csv", "text/csv", b"step,loss\n1,0.5\n", "the points"),
        Attachment("alarm.wav", "audio/wav", b"RIFF1234WAVE"), Attachment("clip.mp4", "video/mp4", b"\0\0\0\x18ftypmp42"),
    )  # fmt: skip

    async def test(bridge: SlackBridge, fake: FakeSlack) -> None:
        message = Message((Part("loss spiked"),), picture=Attachment("loss.png", "image/png", PNG), files=files)
        receipt = await bridge.send(fake.chat, message)
        words, shared = fake.seen()

        assert words.text == "loss spiked\nthe points"
        assert (shared.pictures, shared.files) == ((PNG,), tuple(one.read() for one in files))
        assert len(receipt.message_ids) == 5 and receipt.reason == ""
        for one in receipt.message_ids[:2]:
            assert (await bridge.delete(fake.chat, one)).outcome is Outcome.SENT
        assert fake.seen() == []

    run(test)


def test_the_words_of_an_alarm_arrive_where_its_picture_cannot() -> None:
    async def test(bridge: SlackBridge, fake: FakeSlack) -> None:
        receipt = await bridge.send(fake.chat, plain("loss is NaN", picture=Attachment("loss.png", "image/png", PNG)))

        assert [one.text for one in fake.seen()] == ["loss is NaN"]
        assert receipt.outcome is Outcome.SENT
        assert receipt.reason == "without loss.png: missing_scope: give the app chat:write and files:write, then install it again"

    run(test, fake=FakeSlack(scopes=("chat:write",)))


def test_a_thread_is_written_into() -> None:
    async def test(bridge: SlackBridge, fake: FakeSlack) -> None:
        first = (await bridge.send(fake.chat, plain("run"))).message_ids[0]
        await bridge.send(Address(fake.chat.chat, first), plain("epoch 1"))
        lost = await bridge.send(Address(fake.chat.chat, "1.000"), plain("epoch 1"))

        assert fake.asked("chat.postMessage")[1]["thread_ts"] == first
        assert lost.outcome is Outcome.GONE

    run(test)


def test_a_text_nobody_reads_to_its_end_is_its_beginning_and_a_file() -> None:
    async def test(bridge: SlackBridge, fake: FakeSlack) -> None:
        text = "epoch 1 loss 0.5\n" * 3_000
        await bridge.send(fake.chat, plain(text))
        first, whole = fake.seen()

        assert first.text.endswith("…") and text.startswith(first.text[:-1])
        assert whole.files == (text.encode(),)

    run(test)


def test_emoji_count_twice_and_an_edit_is_shortened() -> None:
    async def test(bridge: SlackBridge, fake: FakeSlack) -> None:
        sent = await bridge.send(fake.chat, plain("😀" * 2_000))
        edited = await bridge.edit(fake.chat, sent.message_ids[0], plain("&" * 1_000 + "😀" * 4_000))

        assert [len(one.text) for one in fake.seen()][1:] == [500]
        assert edited.outcome is Outcome.SENT and fake.seen()[0].text.startswith("&&&")

    run(test)


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("invalid_auth", Outcome.REVOKED), ("token_revoked", Outcome.REVOKED), ("account_inactive", Outcome.REVOKED),
        ("channel_not_found", Outcome.GONE), ("not_in_channel", Outcome.GONE), ("is_archived", Outcome.GONE),
        ("msg_too_long", Outcome.REFUSED), ("ratelimited", Outcome.LATER), ("message_not_found", Outcome.GONE),
        ("cant_update_message", Outcome.GONE), ("internal_error", Outcome.FAILED), ("something_new", Outcome.REFUSED),
    ],
)  # fmt: skip
def test_what_slack_says_is_understood(word: str, outcome: Outcome) -> None:
    async def test(bridge: SlackBridge, fake: FakeSlack) -> None:
        sent = await bridge.send(fake.chat, plain("x"))
        fake.misbehave("refuse", word=word)
        receipt = await bridge.edit(fake.chat, sent.message_ids[0], plain("y"))

        assert receipt.outcome is outcome
        assert (receipt.retry_after_s is not None) == (outcome is Outcome.LATER)
        assert bridge.condition().ok == (outcome is not Outcome.REVOKED)

    run(test)


@pytest.mark.parametrize(
    ("state", "outcome", "word"),
    [("gone", Outcome.GONE, "channel_not_found"), ("revoked", Outcome.REVOKED, "invalid_token"), ("busy", Outcome.LATER, "wait")],
)  # fmt: skip
def test_what_a_webhook_answers_is_understood(state: str, outcome: Outcome, word: str) -> None:
    async def test() -> None:
        async with hooked() as (bridge, fake):
            fake.misbehave(state, retry_after_s=7)
            receipt = await bridge.send(fake.chat, plain("x"))

            assert receipt.outcome is outcome and word in receipt.reason
            assert receipt.retry_after_s == (7 if outcome is Outcome.LATER else None)

    asyncio.run(test())


def test_the_official_client_speaks_to_the_same_fake() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake):
            sent = await bridge.send(fake.chat, plain("of the bridge"))

            def official() -> tuple[str, str, int]:
                client = WebClient(fake.token, base_url=fake.url)
                assert client.auth_test()["user"] == "farwatch"
                client.chat_update(channel=fake.chat.chat, ts=sent.message_ids[0], text="*changed* by the client &amp; kept")
                other = client.chat_postMessage(channel="#runs", text="of the client")
                client.files_upload_v2(channel=fake.chat.chat, content=PNG, filename="loss.png", title="loss")
                try:
                    WebClient("xoxb-other", base_url=fake.url).chat_postMessage(channel="#runs", text="x")
                except SlackApiError as error:
                    word = error.response["error"]
                return other["ts"], word, len(PNG)

            ts, word, _ = await asyncio.to_thread(official)
            edited = await bridge.edit(fake.chat, ts, plain("changed by the bridge"))

            assert word == "invalid_auth"
            assert edited.outcome is Outcome.SENT
            assert [one.text for one in fake.seen()] == ["changed by the client & kept", "changed by the bridge", ""]
            assert fake.seen()[2].pictures == (PNG,)

    asyncio.run(test())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "needs `webhook`"), ({"token": "xoxb-1-2"}, "needs `chat`"), ({"token": "hello", "chat": "C1"}, "no token"),
        ({"token": "xoxb-1-2", "chat": "a b"}, "no channel"), ({"webhook": "https://example.com/services/T/B/x"}, "address of"),
        ({"webhook": "http://hooks.slack.com/services/T/B/x"}, "in the clear"), ({"webhook": "hooks.slack.com/services/T/B/x"}, "no http"),
        ({"token": "xoxb-1-2", "chat": "C1", "url": "ftp://slack.com"}, "no http"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_right_are_refused(values: dict[str, str], says: str) -> None:
    with pytest.raises(BridgeError, match=says) as raised:
        made(**values)
    assert "T/B/x" not in str(raised.value)


def test_where_a_channel_writes_to_without_pairing() -> None:
    assert registry.kind("slack") is KIND
    assert KIND.secrets == {"token", "webhook"}
    assert KIND.chats({"token": "xoxb-1", "chat": "C1, #runs"}) == ("C1", "#runs")
    assert KIND.chats({"webhook": "https://hooks.slack.com/services/T/B/x"}) == ("webhook",)
