"""ntfy against a strict fake."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from farwatch.bridges import registry
from farwatch.bridges.base import Attachment, Message, Outcome, Part, Setup, plain
from farwatch.bridges.services.ntfy import KIND, NtfyBridge
from farwatch.clock import SystemClock
from farwatch.errors import BridgeError
from farwatch.testing.bridges import PNG, BridgeContract
from farwatch.testing.chat.ntfy import FakeNtfy
from tests.bridges.memory import KeptMemory

CURVE = Attachment("loss 曲线.png", "image/png", PNG)


def made(**values: str) -> NtfyBridge:
    return NtfyBridge(Setup("ntfy", values, KeptMemory(), SystemClock()))


@contextlib.asynccontextmanager
async def connected(fake: FakeNtfy | None = None) -> AsyncIterator[tuple[NtfyBridge, FakeNtfy]]:
    async with (fake or FakeNtfy()).serving() as service:
        bridge = made(topic=service.topic, url=service.url, **({"token": service.token} if service.token else {}))
        try:
            yield bridge, service
        finally:
            await bridge.close()


def run(test: Callable[[NtfyBridge, FakeNtfy], Awaitable[None]], fake: FakeNtfy | None = None) -> None:
    async def whole() -> None:
        async with connected(fake) as (bridge, service):
            await test(bridge, service)

    asyncio.run(whole())


class TestContract(BridgeContract):
    slow_s = 0.2

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[NtfyBridge, FakeNtfy]]:  # type: ignore[override]
        async with connected() as both:
            yield both


def test_the_body_is_as_documented_and_the_topic_in_no_address() -> None:
    async def test(bridge: NtfyBridge, fake: FakeNtfy) -> None:
        await bridge.send(fake.chat, Message((Part("run "), Part("a_b*c[1]", "code")), silent=True))
        await bridge.send(fake.chat, plain("loss is NaN"))

        assert fake.published == [
            {"topic": fake.topic, "message": "run a_b*c[1]", "priority": 2}, {"topic": fake.topic, "message": "loss is NaN", "priority": 3},
        ]  # fmt: skip
        assert [one.silent for one in fake.seen()] == [True, False]
        assert fake.paths == ["/", "/"]

    run(test)


@pytest.mark.parametrize(
    "text", ["two\nlines", "尖峰 😀\r\nX-Priority: 5", r"C:\new\nets", "=?utf-8?b?eA==?= x", " padded ", "a" * 4_000 + "尖" * 30]
)
def test_words_of_a_picture_are_read_as_they_stand(text: str) -> None:
    async def test(bridge: NtfyBridge, fake: FakeNtfy) -> None:
        receipt = await bridge.send(fake.chat, plain(text, picture=CURVE))

        (one,) = fake.seen()
        assert receipt.outcome is Outcome.SENT and (one.pictures, one.silent) == ((PNG,), False)
        assert one.text.replace("\u200b", "").replace("\r", "") == text.strip().replace("\r", "")
        assert fake.published[0]["filename"] == "loss 曲线.png"

    run(test)


def test_each_file_is_a_notification_and_the_phone_rings_once() -> None:
    async def test(bridge: NtfyBridge, fake: FakeNtfy) -> None:
        files = (Attachment("points.csv", "text/csv", b"1,2\n", "the points"), Attachment("a.wav", "audio/wav", b"RIFF"))
        receipt = await bridge.send(fake.chat, Message((Part("end"),), picture=CURVE, files=files))

        assert [(one.text, one.silent) for one in fake.seen()] == [("end\nthe points", False), ("points.csv", True), ("a.wav", True)]
        assert [one.files for one in fake.seen()] == [(), (b"1,2\n",), (b"RIFF",)]
        assert len(receipt.message_ids) == 3

    run(test)


@pytest.mark.parametrize("limit", [0, 10])
def test_the_words_of_an_alarm_arrive_where_its_picture_cannot(limit: int) -> None:
    async def test(bridge: NtfyBridge, fake: FakeNtfy) -> None:
        receipt = await bridge.send(fake.chat, plain("loss is NaN", picture=CURVE))

        assert [(one.text, one.pictures) for one in fake.seen()] == [("loss is NaN", ())]
        assert receipt.outcome is Outcome.SENT and receipt.reason.startswith("without loss 曲线.png: ")

    run(test, FakeNtfy(file_max_bytes=limit))


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (40101, Outcome.REVOKED), (40301, Outcome.REVOKED), (40401, Outcome.GONE), (42901, Outcome.LATER), (42908, Outcome.REFUSED),
        (40009, Outcome.REFUSED), (50001, Outcome.FAILED),
    ],
)  # fmt: skip
def test_what_ntfy_says_is_understood(code: int, outcome: Outcome) -> None:
    async def test(bridge: NtfyBridge, fake: FakeNtfy) -> None:
        fake.misbehave("refuse", code=code, words=f"because of {fake.topic}")
        receipt = await bridge.send(fake.chat, plain("x"))

        assert (receipt.outcome, receipt.reason) == (outcome, f"because of ••• ({code})")
        assert bridge.condition().ok == (outcome is not Outcome.REVOKED)

    run(test)


def test_a_wrong_token_is_told_before_anything_is_sent() -> None:
    async def test() -> None:
        async with FakeNtfy().serving() as fake:
            bridge = made(topic=fake.topic, url=fake.url, token="tk_wrong")
            with pytest.raises(BridgeError, match="does not take the token"):
                await bridge.check()
            await bridge.close()

    asyncio.run(test())


def test_an_open_topic_needs_no_token() -> None:
    async def test(bridge: NtfyBridge, fake: FakeNtfy) -> None:
        assert (await bridge.check()).startswith("a topic of 127.0.0.1:")
        assert (await bridge.send(fake.chat, plain("x"))).outcome is Outcome.SENT

    run(test, FakeNtfy(token=""))


def test_the_topic_stands_in_no_log_and_no_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def test(bridge: NtfyBridge, fake: FakeNtfy) -> None:
        for trouble in ("busy", "error", "cut", "garbage", "revoked", "gone"):
            fake.misbehave(trouble)
            assert fake.topic not in (await bridge.send(fake.chat, plain("x", picture=CURVE))).reason
        unreached = made(topic=fake.topic, url="http://127.0.0.1:9")
        assert (await unreached.send(fake.chat, plain("x"))).outcome is Outcome.FAILED
        await unreached.close()
        assert not any(fake.topic in record.getMessage() for record in caplog.records)

    with caplog.at_level(logging.DEBUG):
        run(test)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"topic": "a b"}, "1 to 64"), ({"topic": "t" * 65}, "1 to 64"), ({"topic": "t", "url": "http://ntfy.example"}, "in the clear"),
        ({"topic": "t", "url": "https://me:pw@ntfy.example"}, "no user name"), ({"topic": "t", "token": "a\nb"}, "no access token"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_right_are_refused(values: dict[str, str], says: str) -> None:
    with pytest.raises(BridgeError, match=says):
        made(**values)


def test_limits_are_those_of_the_server() -> None:
    assert registry.kind("ntfy") is KIND
    assert KIND.secrets == {"topic", "token"}
    assert KIND.chats({"topic": "runs-x7Qm29fKd"}) == ("topic",)
    assert made(topic="t").caps.picture_max_bytes == 2_000_000
    assert made(topic="t", url="http://10.0.0.2").caps.picture_max_bytes == 15_000_000
    assert not made(topic="t").caps.edit
    made(topic="t", url="http://ntfy.lan", private="yes")
