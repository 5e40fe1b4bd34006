"""Signed webhooks against a strict receiver, and the receiver that the documentation shows."""

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from farwatch.bridges import registry
from farwatch.bridges.base import Attachment, Message, Outcome, Part, Setup, plain
from farwatch.bridges.services.webhook import KIND, WebhookBridge
from farwatch.clock import SystemClock
from farwatch.errors import BridgeError
from farwatch.testing.bridges import PNG, BridgeContract
from farwatch.testing.chat.webhook import FakeWebhook
from tests.bridges.memory import KeptMemory

PAGE = Path(__file__).parents[2] / "docs" / "webhook.md"
ANY_TEXT = "any text of some length"


def made(**values: str) -> WebhookBridge:
    return WebhookBridge(Setup("webhook", values, KeptMemory(), SystemClock()))


@contextlib.asynccontextmanager
async def connected(**values: str) -> AsyncIterator[tuple[WebhookBridge, FakeWebhook]]:
    async with FakeWebhook().serving() as fake:
        bridge = made(**{"url": fake.url, "secret": fake.secret, **values})
        try:
            yield bridge, fake
        finally:
            await bridge.close()


def run(test: Callable[[WebhookBridge, FakeWebhook], Awaitable[None]], **values: str) -> None:
    async def whole() -> None:
        async with connected(**values) as (bridge, fake):
            await test(bridge, fake)

    asyncio.run(whole())


class TestContract(BridgeContract):
    slow_s = 0.2
    checks_credentials = False

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[WebhookBridge, FakeWebhook]]:  # type: ignore[override]
        async with connected() as both:
            yield both


def test_the_body_is_as_documented() -> None:
    async def test(bridge: WebhookBridge, fake: FakeWebhook) -> None:
        files = (Attachment("r/points.csv", "text/csv", b"1,2\n", "the points"),)
        picture = Attachment("loss.png", "image/png", PNG)
        await bridge.send(fake.chat, Message((Part("loss", "code"), Part(" 尖峰")), picture=picture, files=files, silent=True))
        body = json.loads(fake.arrived[0].body)
        example = json.loads(re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[0])

        assert body.keys() == {*example, "files"}
        assert body["text"] == "loss 尖峰" and body["silent"] is True
        assert body["parts"] == [{"text": "loss", "style": "code"}, {"text": " 尖峰", "style": "plain"}]
        assert body["picture"].keys() == example["picture"].keys()
        assert body["files"] == [
            {"name": "points.csv", "media_type": "text/csv", "caption": "the points", "base64": base64.b64encode(b"1,2\n").decode()}
        ]
        assert (fake.seen()[0].pictures, body["id"]) == ((PNG,), fake.arrived[0].headers["webhook-id"])

    run(test)


@pytest.mark.parametrize("secret", [FakeWebhook().secret, ANY_TEXT])
def test_the_documented_check_takes_what_is_sent_and_nothing_else(secret: str) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    names: dict[str, Callable[[str, dict[str, str], bytes], bool]] = {}
    exec(program, names)
    verified = names["verified"]

    async def test(bridge: WebhookBridge, fake: FakeWebhook) -> None:
        await bridge.send(fake.chat, plain("loss is NaN"))
        (one,) = fake.arrived

        assert verified(secret, one.headers, one.body)
        assert not verified(secret, one.headers, one.body.replace(b"NaN", b"0.1"))
        assert not verified(f"{secret}A===" if secret == ANY_TEXT else "another secret", one.headers, one.body)
        assert not verified(secret, {**one.headers, "webhook-id": "msg_other"}, one.body)
        stale = str(int(one.headers["webhook-timestamp"]) - 301)
        assert not verified(secret, {**one.headers, "webhook-timestamp": stale}, one.body)

    run(test, secret=secret)


def test_a_message_that_is_tried_again_has_the_same_id_and_another_one_its_own() -> None:
    async def test(bridge: WebhookBridge, fake: FakeWebhook) -> None:
        message, twin = plain("loss is NaN"), plain("loss is NaN")
        fake.misbehave("cut")
        first = await bridge.send(fake.chat, message)
        fake.misbehave("error")
        await bridge.send(fake.chat, message)
        third = await bridge.send(fake.chat, message)
        other = await bridge.send(fake.chat, twin)

        sent = [(one.headers["webhook-id"], json.loads(one.body)["sent_ms"]) for one in fake.arrived]
        assert (first.outcome, third.outcome) == (Outcome.UNSURE, Outcome.SENT)
        assert sent[0] == sent[1] == sent[2] and sent[3][0] != sent[0][0]
        assert fake.repeated == [sent[0][0]]  # taken the first time, though nobody heard
        assert [one.message_id for one in fake.seen()] == [*third.message_ids, *other.message_ids]

    run(test)


def test_only_so_many_messages_wait_for_another_try() -> None:
    async def test(bridge: WebhookBridge, fake: FakeWebhook) -> None:
        fake.misbehave("error", 100)
        for n in range(100):
            await bridge.send(fake.chat, plain(str(n)))

        assert len(bridge._waiting) == 64

    run(test)


@pytest.mark.parametrize(
    ("status", "headers", "outcome", "ok"),
    [
        (204, {}, Outcome.SENT, True), (202, {}, Outcome.SENT, True), (410, {}, Outcome.GONE, False), (401, {}, Outcome.REVOKED, False),
        (429, {"retry-after": "7"}, Outcome.LATER, True), (500, {}, Outcome.FAILED, True), (408, {}, Outcome.FAILED, True),
        (404, {}, Outcome.REFUSED, True), (413, {}, Outcome.REFUSED, True),
    ],
)  # fmt: skip
def test_what_a_receiver_answers_is_understood(status: int, headers: dict[str, str], outcome: Outcome, ok: bool) -> None:
    async def test(bridge: WebhookBridge, fake: FakeWebhook) -> None:
        fake.misbehave("status", status=status, headers=headers)
        receipt = await bridge.send(fake.chat, plain("x"))

        assert (receipt.outcome, bridge.condition().ok) == (outcome, ok)
        assert receipt.retry_after_s == (7 if outcome is Outcome.LATER else None)

    run(test)


def test_nothing_is_followed_elsewhere() -> None:
    async def test(bridge: WebhookBridge, fake: FakeWebhook) -> None:
        async with FakeWebhook().serving() as other:
            fake.misbehave("status", status=307, headers={"location": other.url})
            receipt = await bridge.send(fake.chat, plain("x"))

            assert receipt.outcome is Outcome.REFUSED and "leads elsewhere" in receipt.reason
            assert (other.requests, fake.requests) == (0, 1)
            assert other.url not in receipt.reason

    run(test)


def test_without_a_secret_nothing_is_signed() -> None:
    async def test(bridge: WebhookBridge, fake: FakeWebhook) -> None:
        await bridge.send(fake.chat, plain("x"))

        assert "webhook-signature" not in fake.arrived[0].headers
        assert await bridge.check() == "a webhook without a secret"

    run(test, secret="")


def test_a_slash_at_the_end_of_the_address_is_kept() -> None:
    async def test() -> None:
        async with FakeWebhook().serving() as fake:
            bridge = made(url=f"{fake.url}/?key=k", secret=fake.secret)
            await bridge.send(fake.chat, plain("x"))
            await bridge.close()

            assert (fake.arrived[0].path, fake.arrived[0].query) == ("/hook/of-our-own/", {"key": "k"})

    asyncio.run(test())


def test_a_name_that_leads_inside_is_told_at_once() -> None:
    async def test() -> None:
        bridge = made(url="https://localhost.example.invalid/hook", secret=ANY_TEXT)
        with pytest.raises(BridgeError, match="cannot be used"):
            await bridge.check()
        await bridge.close()

    asyncio.run(test())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "no http"), ({"url": "ftp://example.org/x"}, "no http"), ({"url": "http://example.org/of-our-own"}, "in the clear"),
        ({"url": "https://example.org/x", "secret": "short"}, "too short"),
        ({"url": "https://example.org/x", "secret": "whsec_!!!!"}, "no base64"),
        ({"url": "https://example.org/x", "secret": "whsec_aGVsbG8="}, "too short"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_right_are_refused(values: dict[str, str], says: str) -> None:
    with pytest.raises(BridgeError, match=says) as raised:
        made(**values)
    assert "of-our-own" not in str(raised.value) and "aGVsbG8=" not in str(raised.value)


def test_a_private_network_is_reached_where_the_person_says_so() -> None:
    assert registry.kind("webhook") is KIND
    assert (KIND.secrets, KIND.chats({})) == ({"url", "secret"}, ("webhook",))
    made(url="http://nas.lan:8123/api/webhook/x", private="yes")
    made(url="http://192.168.1.7/hook")
