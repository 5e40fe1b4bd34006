"""A WeCom group's webhook against a strict fake."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farwatch.bridges import registry
from farwatch.bridges.base import Attachment, Message, Outcome, Part, Setup, plain
from farwatch.bridges.services.wecom_markdown import GUARD
from farwatch.bridges.services.wecom_webhook import WecomWebhook
from farwatch.clock import SystemClock
from farwatch.errors import BridgeError
from farwatch.testing.bridges import PNG, BridgeContract
from farwatch.testing.chat.wecom_webhook import FakeWecomWebhook
from tests.bridges.memory import KeptMemory


def made(**values: str) -> WecomWebhook:
    return WecomWebhook(Setup("group", values, KeptMemory(), SystemClock()))


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[WecomWebhook, FakeWecomWebhook]]:
    async with FakeWecomWebhook().serving() as fake:
        bridge = made(url=fake.url)
        yield bridge, fake
        await bridge.close()


class TestContract(BridgeContract):
    slow_s = 0.2
    checks_credentials = False

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[WecomWebhook, FakeWecomWebhook]]:  # type: ignore[override]
        async with connected() as both:
            yield both

    def letters(self, text: str) -> str:
        return text.replace(GUARD, "")


def test_the_body_is_as_documented() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake):
            await bridge.send(fake.chat, Message((Part("run ", "bold"), Part("a_b*c[1]", "code"))))
            await bridge.send(fake.chat, Message((Part("**own** ", "markdown"), Part("a*b*"))))

            assert fake.bodies == [
                {"msgtype": "text", "text": {"content": "run a_b*c[1]"}},
                {"msgtype": "markdown", "markdown": {"content": "**own** a\\*b\\*"}},
            ]
            assert [one.text for one in fake.seen()] == ["run a_b*c[1]", "own a*b*"]

    asyncio.run(test())


def test_a_name_calls_nobody() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake):
            await bridge.send(fake.chat, plain("run <@all> <@zhangsan>"))

            assert fake.seen()[0].text.replace(GUARD, "") == "run <@all> <@zhangsan>"

    asyncio.run(test())


def test_a_file_is_uploaded_and_a_large_picture_told_in_words() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake):
            log = Attachment("run/train 日志.log", "text/plain", b"step 1\n" * 3, caption="the log")
            large = Attachment("big.png", "image/png", PNG + bytes(2 << 20))
            receipt = await bridge.send(fake.chat, Message((Part("end"),), picture=large, files=(log,)))

            assert [one.text for one in fake.seen()] == ["end\nthe log\n(big.png is too large for WeCom: 2.0 of 2 MiB)", ""]
            assert fake.seen()[1].files == (b"step 1\n" * 3,)
            assert receipt.outcome is Outcome.SENT and "big.png" in receipt.reason

    asyncio.run(test())


def test_the_twenty_first_message_of_a_minute_waits() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake):
            outcomes = [(await bridge.send(fake.chat, plain(str(n)))) for n in range(21)]

            assert [one.outcome for one in outcomes] == [Outcome.SENT] * 20 + [Outcome.LATER]
            assert outcomes[-1].retry_after_s == 60

    asyncio.run(test())


def test_a_part_that_fails_after_another_arrived_is_not_said_again() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake):
            for n in range(19):
                await bridge.send(fake.chat, plain(str(n)))
            receipt = await bridge.send(fake.chat, plain("x" * 3_000))

            assert receipt.outcome is Outcome.SENT and receipt.reason.startswith("not all of it: api freq out of limit")

    asyncio.run(test())


def test_a_removed_webhook_is_shown_as_such_until_it_works_again() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake):
            fake.misbehave("revoked")
            revoked = await bridge.send(fake.chat, plain("x"))
            after = bridge.condition()
            await bridge.send(fake.chat, plain("x"))

            assert revoked.outcome is Outcome.REVOKED
            assert (after.ok, after.code) == (False, "revoked")
            assert bridge.condition().ok

    asyncio.run(test())


def test_a_file_that_is_gone_is_told() -> None:
    async def test() -> None:
        async with connected() as (bridge, fake):
            receipt = await bridge.send(fake.chat, Message((), files=(Attachment("a.log", "text/plain", Path("/nowhere/a.log")),)))

            assert (receipt.outcome, fake.seen()[0].text) == (Outcome.SENT, "\n(a.log is gone)")

    asyncio.run(test())


@pytest.mark.parametrize(
    "values",
    [
        {}, {"url": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send"}, {"url": "http://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k"},
        {"url": "https://qyapi.weixin.qq.com/other?key=k"},
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_right_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(BridgeError, match="webhook"):
        made(**values)


def test_the_key_alone_is_enough() -> None:
    kind = registry.kind("wecom-webhook")

    assert kind.secrets == {"url", "key"}
    assert kind.make(Setup("c", {"key": "k"}, KeptMemory(), SystemClock())).condition().ok
