"""E-mail against aiosmtpd, a real mail server."""

import asyncio
import base64
import contextlib
import datetime
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from farwatch.bridges import outward, registry
from farwatch.bridges.base import Address, Attachment, Message, Outcome, Part, Setup, plain
from farwatch.bridges.services.mail import KIND, MailBridge
from farwatch.clock import SystemClock
from farwatch.errors import BridgeError
from farwatch.testing.bridges import PNG, BridgeContract, Seen
from farwatch.testing.chat.web import Misbehaviour
from tests.bridges.certificates import certificate, serving_context
from tests.bridges.memory import KeptMemory

ME, THEM = "runs@example.org", "me@example.com"
PASSWORD = "correct horse battery staple"


class Server(Misbehaviour):
    """aiosmtpd, with what a test wants it to reply."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.secret = PASSWORD
        self.chat = Address(THEM)
        self.requests = 0
        self.mails: list[EmailMessage] = []
        self.logins: list[tuple[bytes, bool]] = []  # who, and whether encrypted
        self.port = 0
        self._options = options
        self._what: tuple[str, dict[str, Any]] = ("", {})
        self._open: set[asyncio.Transport] = set()

    @contextlib.asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Server"]:
        loop = asyncio.get_running_loop()
        options = {"auth_require_tls": False, "authenticator": self._authenticate, "hostname": "mail.test", **self._options}
        server = await loop.create_server(lambda: SMTP(self, loop=loop, **options), "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for transport in self._open:
                transport.abort()
            await asyncio.sleep(0)

    def seen(self) -> list[Seen]:
        found = []
        for number, mail in enumerate(self.mails):
            body = mail.get_body(("plain",))
            assert body is not None
            parts = [part for part in mail.walk() if not part.is_multipart() and part.get_content_disposition()]
            contents = {part: bytes(part.get_payload(decode=True)) for part in parts}  # type: ignore[arg-type]
            pictures = tuple(contents[part] for part in parts if part.get_content_maintype() == "image")
            files = tuple(contents[part] for part in parts if part.get_content_maintype() != "image")
            found.append(Seen(str(mail["To"]), str(number), body.get_content().rstrip("\r\n"), pictures, files))
        return found

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, auth: Any) -> AuthResult:
        self.logins.append((auth.login, session.ssl is not None))
        what = self.take()
        self._what = what or ("", {})
        good = auth.password == PASSWORD.encode() and self._what[0] != "revoked"
        return AuthResult(success=good, handled=False)

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        self._open.add(server.transport)
        self.requests += 1
        what, facts = self._what
        if what == "busy":
            return "450 4.2.1 try again later"
        if what == "error":
            return "421 4.3.2 service shutting down"
        if what == "mail":
            return str(facts["reply"])
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        what, facts = self._what
        if what in ("gone", "rcpt"):
            return str(facts.get("reply", "550 5.1.1 no such user"))
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        what, facts = self._what
        if what == "data":
            return str(facts["reply"])
        if what == "garbage":
            return "what?"
        if what == "hang":
            await asyncio.sleep(facts["seconds"])
        assert all(byte < 128 for byte in envelope.original_content)
        mail = message_from_bytes(envelope.original_content, policy=default)
        assert isinstance(mail, EmailMessage) and envelope.rcpt_tos == [mail["To"]] and envelope.mail_from == ME
        self.mails.append(mail)
        if what == "cut":
            server.transport.abort()
        return "250 OK"


def made(**values: str) -> MailBridge:
    return MailBridge(Setup("mail", {"from": ME, "to": THEM, **values}, KeptMemory(), SystemClock()))


@contextlib.asynccontextmanager
async def connected(server: Server | None = None, **values: str) -> AsyncIterator[tuple[MailBridge, Server]]:
    async with (server or Server()).serving() as service:
        given = {"server": f"smtp://127.0.0.1:{service.port}", "user": "runs", "password": PASSWORD, "tls": "none", **values}
        yield made(**given), service


def run(test: Callable[[MailBridge, Server], Awaitable[None]], server: Server | None = None, **values: str) -> None:
    async def whole() -> None:
        async with connected(server, **values) as (bridge, service):
            await test(bridge, service)

    asyncio.run(whole())


class TestContract(BridgeContract):
    slow_s = 0.2

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[MailBridge, Server]]:  # type: ignore[override]
        async with connected() as both:
            yield both


def test_a_mail_is_what_programs_expect() -> None:
    async def test(bridge: MailBridge, server: Server) -> None:
        receipt = await bridge.send(Address(THEM), Message((Part("\nloss 尖峰 "), Part("a<b", "bold"), Part("\n.\nlr 0.1\n"))))
        (mail,) = server.mails

        assert mail["Subject"] == "loss 尖峰 a<b"
        assert (mail["From"], mail["To"], mail["Auto-Submitted"]) == (f"Lab <{ME}>", THEM, "auto-generated")
        assert receipt.message_ids == (mail["Message-ID"],) and mail["Message-ID"].endswith("@example.org>")
        assert abs(mail["Date"].datetime - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=2)
        assert not mail.is_multipart() and mail.get_content().replace("\r\n", "\n") == "\nloss 尖峰 a<b\n.\nlr 0.1\n"

    run(test, **{"from": f"Lab <{ME}>"})


def test_a_picture_is_in_the_page_and_files_beside_it() -> None:
    files = (Attachment("r/points.csv", "text/csv", b"a\r\n1\n", "the points"), Attachment("a.wav", "audio/wav", b"RIFF"))

    async def test(bridge: MailBridge, server: Server) -> None:
        await bridge.send(Address(THEM), Message((Part("<b>", "code"),), picture=Attachment("曲线.png", "image/png", PNG), files=files))
        (mail,) = server.mails
        page = mail.get_body(("html",))
        (picture,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]

        assert page is not None and f'src="cid:{picture["Content-ID"][1:-1]}"' in page.get_content()
        assert "<code>&lt;b&gt;</code>\nthe points" in page.get_content().replace("\r\n", "\n")
        assert (picture.get_content_disposition(), picture.get_filename(), picture.get_content()) == ("inline", "曲线.png", PNG)
        assert [(part.get_filename(), part.get_content()) for part in mail.iter_attachments()] == [
            ("points.csv", b"a\r\n1\n"), ("a.wav", b"RIFF"),
        ]  # fmt: skip

    run(test)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\0"])
def test_no_name_adds_a_header(end: str) -> None:
    async def test(bridge: MailBridge, server: Server) -> None:
        text = f"run x{end}Bcc: spy@example.net{end}{end}body"
        receipt = await bridge.send(Address(THEM), plain(text, reply_to=f"<a@b>{end}Bcc: spy@example.net"))
        (mail,) = server.mails

        assert receipt.outcome is Outcome.SENT
        assert mail["Bcc"] is None and mail["In-Reply-To"] is None
        assert mail["Subject"].startswith("run x") and len(mail.keys()) == 9

    run(test)


@pytest.mark.parametrize(
    "address", ["me@example.com\nBcc: spy@example.net", "me@example.com, spy@example.net", "me", "<me@example.com>", ""]
)
def test_an_address_that_is_none_is_asked_of_nobody(address: str) -> None:
    async def test(bridge: MailBridge, server: Server) -> None:
        assert (await bridge.send(Address(address), plain("x"))).outcome is Outcome.GONE
        assert server.requests == 0

    run(test)


def test_an_answer_stands_below_what_it_answers() -> None:
    async def test(bridge: MailBridge, server: Server) -> None:
        first = await bridge.send(Address(THEM), plain("loss is NaN"))
        await bridge.send(Address(THEM), plain("healed", reply_to=first.message_ids[0]))

        assert server.mails[1]["In-Reply-To"] == server.mails[1]["References"] == first.message_ids[0]

    run(test)


@pytest.mark.parametrize(
    ("where", "reply", "outcome"),
    [
        ("rcpt", "550 5.1.1 no such user", Outcome.GONE), ("rcpt", "553 5.1.3 bad address", Outcome.GONE),
        ("rcpt", "450 4.7.1 greylisted", Outcome.LATER), ("rcpt", "421 4.3.2 closing", Outcome.FAILED),
        ("mail", "530 5.7.0 authentication required", Outcome.REVOKED), ("mail", "550 5.7.1 not your address", Outcome.REFUSED),
        ("mail", "452 4.3.1 too busy", Outcome.LATER), ("data", "552 5.3.4 too big", Outcome.REFUSED),
        ("data", "451 4.3.0 local error", Outcome.LATER),
    ],
)  # fmt: skip
def test_what_a_server_says_is_understood(where: str, reply: str, outcome: Outcome) -> None:
    async def test(bridge: MailBridge, server: Server) -> None:
        server.misbehave(where, reply=reply)
        receipt = await bridge.send(Address(THEM), plain("x"))

        assert (receipt.outcome, receipt.reason) == (outcome, reply)
        assert (receipt.retry_after_s is not None) == (outcome is Outcome.LATER)
        assert server.mails == []

    run(test)


def test_a_password_that_is_no_longer_good_is_shown_until_it_is() -> None:
    async def test(bridge: MailBridge, server: Server) -> None:
        server.misbehave("revoked", 9)  # each way of logging in is tried
        receipt = await bridge.send(Address(THEM), plain("x"))
        after = bridge.condition()
        server.behave()
        await bridge.send(Address(THEM), plain("x"))

        assert receipt.outcome is Outcome.REVOKED and receipt.reason.startswith("535 ")
        assert (after.ok, after.code, bridge.condition().ok) == (False, "revoked", True)

    run(test)


def test_a_server_that_is_not_there_is_no_contact() -> None:
    async def test() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            receipt = await made(server=f"smtp://127.0.0.1:{taken.getsockname()[1]}").send(Address(THEM), plain("x"))

        assert receipt.outcome is Outcome.FAILED and receipt.reason.startswith("no contact")

    asyncio.run(test())


# --- encryption


@pytest.fixture(scope="module")
def vouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls") / "both.pem", "localhost")


def test_the_password_crosses_encrypted_where_the_server_can(vouched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(vouched))

    async def test() -> None:
        async with Server(tls_context=serving_context(vouched), auth_require_tls=True).serving() as server:
            bridge = made(server=f"smtp://localhost:{server.port}", user="runs", password=PASSWORD)
            assert await bridge.check() == "runs@example.org by localhost"
            assert (await bridge.send(Address(THEM), plain("x"))).outcome is Outcome.SENT
            assert server.logins == [(b"runs", True)] * 2
        async with Server().serving(serving_context(vouched)) as server:
            bridge = made(server=f"smtps://localhost:{server.port}", user="runs", password=PASSWORD)
            assert (await bridge.send(Address(THEM), plain("x"))).outcome is Outcome.SENT

    asyncio.run(test())


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_certificate_that_nobody_vouches_for_gets_no_password(vouched: Path, scheme: str) -> None:
    async def test() -> None:
        tls = serving_context(vouched)
        server = Server(tls_context=tls) if scheme == "smtp" else Server()
        async with server.serving(tls if scheme == "smtps" else None):
            bridge = made(server=f"{scheme}://localhost:{server.port}", user="runs", password=PASSWORD)
            receipt = await bridge.send(Address(THEM), plain("x"))

            assert receipt.outcome is Outcome.FAILED and "certificate of localhost is not valid" in receipt.reason
            assert (server.logins, server.mails) == ([], [])

    asyncio.run(test())


def test_a_password_is_not_sent_where_nothing_is_encrypted() -> None:
    async def test(bridge: MailBridge, server: Server) -> None:
        receipt = await bridge.send(Address(THEM), plain("x"))

        assert (receipt.outcome, server.logins) == (Outcome.REFUSED, [])
        assert "offers no encryption" in receipt.reason

    run(test, tls="auto")


# --- addresses


def test_a_name_does_not_lead_into_the_private_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def lookup(host: str, port: int, *more: Any, **others: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def test(bridge: MailBridge, server: Server) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        named = made(server=f"smtp://mail.example:{server.port}", tls="none")
        receipt = await named.send(Address(THEM), plain("x"))
        assert (receipt.outcome, asked) == (Outcome.REFUSED, ["mail.example"])
        assert "private address" in receipt.reason and server.requests == 0

        wished = made(server=f"smtp://mail.example:{server.port}", tls="none", private="yes", user="runs", password=PASSWORD)
        assert (await wished.send(Address(THEM), plain("x"))).outcome is Outcome.SENT

    run(test)


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["127.0.0.2", "127.0.0.1"]  # a name that leads elsewhere the second time

    def lookup(host: str, port: int, *more: Any, **others: Any) -> list[Any]:
        address = answers.pop(0) if host == "mail.example" else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    async def test(bridge: MailBridge, server: Server) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        monkeypatch.setattr("farwatch.bridges.services.mail.is_private", lambda host: host != "127.0.0.2" and outward.is_private(host))
        receipt = await made(server=f"smtp://mail.example:{server.port}", tls="none").send(Address(THEM), plain("x"))

        assert (receipt.outcome, answers) == (Outcome.FAILED, ["127.0.0.1"])  # nobody listens at 127.0.0.2
        assert server.requests == 0

    run(test)


def test_the_password_stands_in_no_log_in_any_form(caplog: pytest.LogCaptureFixture) -> None:
    async def test(bridge: MailBridge, server: Server) -> None:
        coded = base64.b64encode(f"\0runs\0{PASSWORD}".encode()).decode()
        server.misbehave("rcpt", reply=f"550 you said {coded} and {PASSWORD}")
        receipt = await bridge.send(Address(THEM), plain("x"))
        assert receipt.reason == "550 you said ••• and •••"
        assert PASSWORD not in repr(bridge._server)
        ours = [record.getMessage() for record in caplog.records if not record.name.startswith("mail.log")]  # aiosmtpd's own
        assert not any(PASSWORD in line or coded in line for line in ours)

    with caplog.at_level(logging.DEBUG):
        run(test)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"server": "https://mail.example"}, "no address of a mail server"), ({"server": "smtp://me:pw@mail.example"}, "no address"),
        ({"server": "mail.example:x"}, "no address of a mail server"), ({"server": "mail.example", "tls": "off"}, "`tls`"),
        ({"server": "mail.example", "to": "me"}, "no address of a person"), ({"server": "mail.example", "from": "x"}, "no address"),
        ({"server": "mail.example", "user": "u"}, "both"), ({"server": "mail.example", "to": " , "}, "needs `to`"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_right_are_refused(values: dict[str, str], says: str) -> None:
    with pytest.raises(BridgeError, match=says):
        made(**values)


def test_each_address_is_a_chat() -> None:
    assert registry.kind("mail") is KIND
    assert KIND.secrets == {"password"}
    assert KIND.chats({"to": "a@example.org, b/c@example.org"}) == ("a@example.org", "b/c@example.org")
    assert str(Address.parse("b/c@example.org")) == "b/c@example.org"
