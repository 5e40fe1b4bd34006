"""Apprise itself, sending to a receiver of its JSON."""

import asyncio
import base64
import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from farwatch.bridges import registry
from farwatch.bridges.base import Address, Attachment, Message, Outcome, Part, Setup, plain
from farwatch.bridges.services.apprise import KIND, AppriseBridge
from farwatch.clock import SystemClock
from farwatch.errors import BridgeError
from farwatch.testing.bridges import HOSTILE, PNG, BridgeContract, Seen
from farwatch.testing.chat.web import Misbehaviour, Reply, Request, serving
from tests.bridges.memory import KeptMemory

# One of its many plug-ins imports what Python 3.13 no longer has; none of ours does.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


class Receiver(Misbehaviour):
    """What takes Apprise's JSON, with a password."""

    def __init__(self) -> None:
        super().__init__()
        self.secret = "correct-horse-battery"
        self.chat = Address("apprise")
        self.url = ""
        self.requests = 0
        self._seen: list[Seen] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Receiver"]:
        async with serving(self._handle) as base:
            self.url = f"json://runs:{self.secret}@{base.partition('://')[2]}/take"
            yield self

    def seen(self) -> list[Seen]:
        return list(self._seen)

    async def _handle(self, request: Request) -> Reply:
        self.requests += 1
        what, facts = self.take() or ("", {})
        if what in ("busy", "error", "revoked", "gone", "status"):
            return Reply(facts.get("status") or {"busy": 429, "error": 503, "revoked": 401, "gone": 410}[what])
        if what == "garbage":
            return Reply(200, b"<html>")
        if what == "hang":
            await asyncio.sleep(facts["seconds"])
        given = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        if given != f"runs:{self.secret}":
            return Reply(401)
        body = json.loads(request.body)
        files = [(one["mimetype"], base64.b64decode(one["base64"])) for one in body["attachments"]]
        pictures = tuple(content for kind, content in files if kind.startswith("image/"))
        others = tuple(content for kind, content in files if not kind.startswith("image/"))
        self._seen.append(Seen("apprise", str(self.requests), body["message"], pictures, others))
        return Reply(cut=True) if what == "cut" else Reply(200)


def made(**values: str) -> AppriseBridge:
    return AppriseBridge(Setup("apprise", values, KeptMemory(), SystemClock()))


def run(test: Callable[[AppriseBridge, Receiver], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with Receiver().serving() as receiver:
            await test(made(url=receiver.url), receiver)

    asyncio.run(whole())


class TestContract(BridgeContract):
    slow_s = 0.2
    checks_credentials = False

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[AppriseBridge, Receiver]]:  # type: ignore[override]
        async with Receiver().serving() as receiver:
            yield made(url=receiver.url), receiver


def test_files_arrive_with_the_words() -> None:
    async def test(bridge: AppriseBridge, receiver: Receiver) -> None:
        files = (Attachment("points.csv", "text/csv", b"1,2\n", "the points"), Attachment("a.wav", "audio/wav", b"RIFF"))
        receipt = await bridge.send(receiver.chat, Message((Part("end"),), picture=Attachment("l.png", "image/png", PNG), files=files))
        (one,) = receiver.seen()

        assert (one.text, one.pictures, one.files) == ("end\nthe points", (PNG,), (b"1,2\n", b"RIFF"))
        assert (receipt.outcome, receipt.reason, receipt.message_ids) == (Outcome.SENT, "", ())

    run(test)


def test_words_are_no_markup_to_services_that_know_some() -> None:
    async def test(bridge: AppriseBridge, receiver: Receiver) -> None:
        page = made(url=f"{receiver.url}?format=html")
        await page.send(receiver.chat, plain("<b>x</b> <!channel>"))
        await bridge.send(receiver.chat, plain(HOSTILE))

        assert receiver.seen()[0].text.replace("&nbsp;", " ") == "&lt;b&gt;x&lt;/b&gt; &lt;!channel&gt;"
        assert receiver.seen()[1].text == HOSTILE

    run(test)


def test_several_services_are_all_told_and_the_failing_one_is_named() -> None:
    async def test(bridge: AppriseBridge, receiver: Receiver) -> None:
        async with Receiver().serving() as other:
            both = made(url=f"{receiver.url}?to=a,b , {other.url}")
            other.misbehave("status", status=500)
            receipt = await both.send(receiver.chat, plain("x"))

            assert (len(receiver.seen()), other.requests) == (1, 1)
            assert (receipt.outcome, receipt.reason) == (Outcome.SENT, "JSON answered with status 500")
            assert await both.check() == "JSON, JSON"

    run(test)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (429, Outcome.LATER), (401, Outcome.REVOKED), (403, Outcome.REVOKED), (404, Outcome.GONE), (410, Outcome.GONE),
        (400, Outcome.REFUSED), (500, Outcome.FAILED),
    ],
)  # fmt: skip
def test_what_a_service_answers_is_understood(status: int, outcome: Outcome) -> None:
    async def test(bridge: AppriseBridge, receiver: Receiver) -> None:
        receiver.misbehave("status", status=status)
        receipt = await bridge.send(receiver.chat, plain("x"))

        assert (receipt.outcome, receipt.reason) == (outcome, f"JSON answered with status {status}")
        assert bridge.condition().ok == (outcome not in (Outcome.REVOKED, Outcome.GONE))

    run(test)


def test_no_contact_is_said_as_unsure() -> None:
    async def test(bridge: AppriseBridge, receiver: Receiver) -> None:
        receiver.misbehave("cut")
        receipt = await bridge.send(receiver.chat, plain("x"))

        assert (receipt.outcome, receipt.reason) == (Outcome.UNSURE, "JSON: Apprise does not say why not")

    run(test)


def test_its_log_which_holds_addresses_goes_nowhere() -> None:
    heard: list[logging.LogRecord] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    async def test(bridge: AppriseBridge, receiver: Receiver) -> None:
        receiver.misbehave("error")
        await bridge.send(receiver.chat, plain("x"))
        logging.getLogger("elsewhere").warning("heard")

    listener, root = Listener(), logging.getLogger()
    root.addHandler(listener)
    try:
        run(test)
    finally:
        root.removeHandler(listener)
    assert "elsewhere" in {record.name for record in heard}
    assert "apprise" not in {record.name.partition(".")[0] for record in heard}


@pytest.mark.parametrize(
    ("url", "says"), [("", "needs `url`"), ("nosuch://tok3n@host", "of this kind: nosuch"), ("tok3n", "no scheme"), ("json://", "json")]
)
def test_values_that_cannot_be_right_are_refused(url: str, says: str) -> None:
    with pytest.raises(BridgeError, match=says) as raised:
        made(url=url)
    assert "tok3n" not in str(raised.value)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(BridgeError, match="Apprise is needed") as raised:
        KIND.make(Setup("apprise", {"url": "json://x"}, KeptMemory(), SystemClock()))
    assert raised.value.hint == "pip install 'farwatch[apprise]'"


def test_limits_are_those_of_the_services() -> None:
    assert registry.kind("apprise") is KIND
    assert (KIND.needs, KIND.secrets, KIND.chats({})) == ("apprise", {"url"}, ("apprise",))
    assert made(url="bark://127.0.0.1/key").caps.picture_max_bytes == 0
    assert made(url="json://127.0.0.1, pover://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb").caps.text_max == 1_024
