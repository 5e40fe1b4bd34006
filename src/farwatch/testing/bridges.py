"""The contract of `farwatch.bridges.base.Bridge` as tests: subclass `BridgeContract` and give it a bridge and a fake of its service.

A fake listens on loopback, refuses what the real service refuses, and records what arrived. Requests are counted, so that a bridge that
tries again by itself is found out.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from farwatch.bridges.base import Address, Attachment, Bridge, Button, Incoming, Message, Outcome, Part, plain
from farwatch.errors import BridgeError

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f000501017f9a3ba59d0000000049454e44ae426082"
)
HOSTILE = (
    "a_b*c[1] <b>&amp;</b> `x` ~~~ \\ @everyone @here <!channel> <@U1> [x](tg://user?id=1) "
    "\u202eRTL\u202c \u0627\u0644\u0639 😀 ${x} {{y}} \u2066"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One message as people would see it now. `text`: without markup. `edits`: how often it was changed."""

    chat: str
    message_id: str
    text: str
    pictures: tuple[bytes, ...] = ()
    files: tuple[bytes, ...] = ()
    buttons: tuple[str, ...] = ()
    silent: bool = False
    edits: int = 0


class Fake(Protocol):
    """What the contract asks of a fake service. `chat`: an address that the bridge may write to. `secret`: the token it was made with."""

    chat: Address
    secret: str
    requests: int  # sends, edits and deletes so far, refused ones included; not polls and log-ins

    def seen(self) -> list[Seen]:
        """What stands in the chat, oldest first."""
        ...

    def misbehave(self, what: str, times: int = 1, **facts: Any) -> None:
        """Answer the next requests otherwise: `busy` (`retry_after_s`), `error` (5xx), `hang` (`seconds`, then takes it), `cut` (takes it
        and closes), `revoked`, `gone`, `garbage` (a success that is no answer of this service)."""
        ...

    async def write(self, text: str, **more: Any) -> None:
        """A person writes to us (two-way services)."""
        ...


async def until(condition: Callable[[], object], limit_s: float = 10.0) -> None:
    """Wait until something holds; fails if it does not within the limit."""
    end = asyncio.get_running_loop().time() + limit_s
    while not condition():
        assert asyncio.get_running_loop().time() < end, "waited in vain"
        await asyncio.sleep(0.005)


class BridgeContract:
    """What every bridge must do. Give `service`: an async context manager that yields `(bridge, fake)`, the bridge not yet opened.

    Tests are plain functions that run a loop of their own, so that no plug-in is needed.
    """

    slow_s = 1.0  # how long a fake hangs in these tests

    def service(self) -> contextlib.AbstractAsyncContextManager[tuple[Bridge, Any]]:
        """A fresh bridge with a fresh fake."""
        raise NotImplementedError

    def run(self, test: Callable[[Bridge, Any, list[Incoming]], Any]) -> None:
        """Run one test with an opened bridge; `list`: what people wrote."""

        async def whole() -> None:
            async with self.service() as (bridge, fake):
                heard: list[Incoming] = []

                async def receive(incoming: Incoming) -> None:
                    heard.append(incoming)

                await bridge.open(receive)
                try:
                    await until(lambda: bridge.condition().ok)
                    await asyncio.wait_for(test(bridge, fake, heard), 60)
                finally:
                    await bridge.close()
                    await bridge.close()

        asyncio.run(whole())

    def test_says_who_it_is(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            assert (await bridge.check()).strip()

        self.run(test)

    def test_check_names_wrong_credentials_and_never_shows_them(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            fake.misbehave("revoked", 10)
            try:
                await bridge.check()
            except BridgeError as error:
                assert fake.secret not in f"{error!r} {error} {error.__cause__!r} {error.__context__!r}"
            else:
                assert not self.checks_credentials
        self.run(test)

    checks_credentials = True  # False for services that only tell when something is sent

    def test_sends_text_as_it_is(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            receipt = await bridge.send(fake.chat, plain("loss spiked: 0.031 → 4.87 尖峰"))
            assert receipt.outcome is Outcome.SENT, receipt
            assert [one.text for one in fake.seen()] == ["loss spiked: 0.031 → 4.87 尖峰"]

        self.run(test)

    def test_hostile_text_arrives_as_text(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            for style in ("plain", "bold", "code", "block"):
                receipt = await bridge.send(fake.chat, Message((Part(HOSTILE, style),)))  # type: ignore[arg-type]
                assert receipt.outcome is Outcome.SENT, receipt
                assert self.letters(HOSTILE) in self.letters(fake.seen()[-1].text)

        self.run(test)

    def letters(self, text: str) -> str:
        """What must be equal of a text; a service that takes out invisible characters overrides this."""
        return text

    def test_long_text_is_split_and_joins_to_the_original(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            text = "".join(f"{n} " + "x" * (n % 90) + ("\n" if n % 3 else " ") for n in range(2 * bridge.caps.text_max // 50 + 20))
            receipt = await bridge.send(fake.chat, plain(text.strip()))
            assert receipt.outcome is Outcome.SENT, receipt
            pieces = [one.text for one in fake.seen()]
            assert len(pieces) > 1
            assert "".join("".join(pieces).split()) == "".join(text.split())

        self.run(test)

    def test_busy_service_says_when_and_is_asked_once(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            fake.misbehave("busy", retry_after_s=3)
            before = fake.requests
            receipt = await bridge.send(fake.chat, plain("x"))
            assert receipt.outcome in (Outcome.LATER, Outcome.ASLEEP), receipt
            assert fake.requests == before + 1
            assert fake.seen() == []

        self.run(test)

    def test_error_of_the_service_is_told_and_not_tried_again(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            fake.misbehave("error")
            before = fake.requests
            receipt = await bridge.send(fake.chat, plain("x"))
            assert receipt.outcome in (Outcome.FAILED, Outcome.UNSURE), receipt
            assert fake.requests == before + 1

        self.run(test)

    def test_connection_that_breaks_after_the_request_is_unsure(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            fake.misbehave("cut")
            receipt = await bridge.send(fake.chat, plain("once"))
            assert receipt.outcome in (Outcome.UNSURE, Outcome.FAILED), receipt
            assert receipt.outcome is Outcome.UNSURE or fake.seen() == []

        self.run(test)

    def test_slow_service_gets_it_once(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            fake.misbehave("hang", seconds=self.slow_s)
            receipt = await bridge.send(fake.chat, plain("slow"))
            assert receipt.outcome is Outcome.SENT, receipt
            assert [one.text for one in fake.seen()] == ["slow"]

        self.run(test)

    def test_answer_that_is_none_does_not_raise(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            fake.misbehave("garbage")
            receipt = await bridge.send(fake.chat, plain("x"))
            assert isinstance(receipt.outcome, Outcome)
            assert (await bridge.send(fake.chat, plain("y"))).outcome is Outcome.SENT

        self.run(test)

    def test_revoked_credentials_are_told_as_such(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            fake.misbehave("revoked", 10)
            receipt = await bridge.send(fake.chat, plain("x"))
            assert receipt.outcome in (Outcome.REVOKED, Outcome.GONE), receipt
            assert fake.secret not in receipt.reason

        self.run(test)

    def test_token_stands_in_no_log(self, caplog: pytest.LogCaptureFixture) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            for trouble in ("none", "busy", "error", "cut", "garbage", "revoked"):
                if trouble != "none":
                    fake.misbehave(trouble, retry_after_s=1)
                receipt = await bridge.send(fake.chat, plain("x"))
                assert fake.secret not in receipt.reason

        with caplog.at_level(logging.DEBUG):
            secrets: list[str] = []

            async def noted(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
                secrets.append(fake.secret)
                await test(bridge, fake, heard)

            self.run(noted)
        assert secrets and not any(secret in record.getMessage() for record in caplog.records for secret in secrets)

    def test_picture_arrives_with_its_words(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            receipt = await bridge.send(fake.chat, plain("curve", picture=Attachment("loss.png", "image/png", PNG)))
            assert receipt.outcome is Outcome.SENT, receipt
            seen = fake.seen()
            assert "curve" in "".join(one.text for one in seen)
            if bridge.caps.picture_max_bytes:
                assert [picture for one in seen for picture in one.pictures] == [PNG]

        self.run(test)

    def test_file_over_the_limit_is_refused_in_words(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            limit = bridge.caps.file_max_bytes or bridge.caps.picture_max_bytes
            if not 0 < limit < 64 << 20:
                return
            large = Attachment("big.bin", "application/octet-stream", bytes(limit + 1))
            receipt = await bridge.send(fake.chat, Message((Part("log"),), files=(large,)))
            assert "log" in "".join(one.text for one in fake.seen()), receipt
            assert receipt.reason or "big.bin" in "".join(one.text for one in fake.seen())

        self.run(test)

    def test_edit_changes_the_message(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            receipt = await bridge.send(fake.chat, plain("10 %"))
            changed = await bridge.edit(fake.chat, receipt.message_ids[0] if receipt.message_ids else "1", plain("20 %"))
            if not bridge.caps.edit:
                assert changed.outcome is Outcome.REFUSED
                return
            assert changed.outcome is Outcome.SENT, changed
            same = await bridge.edit(fake.chat, receipt.message_ids[0], plain("20 %"))
            assert same.arrived, same
            assert [one.text for one in fake.seen()] == ["20 %"]

        self.run(test)

    def test_delete_takes_it_back(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            receipt = await bridge.send(fake.chat, plain("gone soon"))
            deleted = await bridge.delete(fake.chat, receipt.message_ids[0] if receipt.message_ids else "1")
            if not bridge.caps.delete:
                assert deleted.outcome is Outcome.REFUSED
                return
            assert deleted.outcome is Outcome.SENT, deleted
            assert fake.seen() == []
            again = await bridge.delete(fake.chat, receipt.message_ids[0])
            assert again.outcome in (Outcome.GONE, Outcome.REFUSED, Outcome.SENT)

        self.run(test)

    def test_buttons_come_back_when_pressed(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            if not bridge.caps.buttons:
                return
            rows = ((Button("Stop", "a1:stop"), Button("Pause", "a1:pause")),)
            receipt = await bridge.send(fake.chat, plain("alarm", buttons=rows))
            assert fake.seen()[-1].buttons == ("Stop", "Pause")
            await fake.press(receipt.message_ids[0], "a1:pause")
            await until(lambda: heard)
            assert (heard[0].button, heard[0].message_id) == ("a1:pause", receipt.message_ids[0])
            await bridge.acknowledge(heard[0], "paused")

        self.run(test)

    def test_what_people_write_is_heard_once_and_in_order(self) -> None:
        async def test(bridge: Bridge, fake: Any, heard: list[Incoming]) -> None:
            if not bridge.caps.two_way:
                return
            for text in ("status", "停止", "lr 0.01"):
                await fake.write(text)
            await until(lambda: len(heard) >= 3)
            assert [one.text for one in heard] == ["status", "停止", "lr 0.01"]
            assert len({one.key for one in heard}) == 3
            assert all(one.trusted and one.user and one.sent_ms > 0 for one in heard)

        self.run(test)
