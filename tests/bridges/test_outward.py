"""What every bridge over HTTP relies on: a name leads where it was checked to lead, and nowhere else."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from farwatch.bridges import outward
from farwatch.bridges.base import Outcome
from farwatch.bridges.outward import Outward, Unreached, masked, web_address
from farwatch.errors import BridgeError
from farwatch.testing.chat.web import Reply, Request, serving
from tests.bridges.certificates import certificate, serving_context


class Names:
    """What names lead to, in turn; the last answer stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = 0
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: Any, port: Any, *more: Any, **others: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        address = name
        if name == "hook.example":
            self.asked += 1
            address = self.addresses[0] if len(self.addresses) == 1 else self.addresses.pop(0)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, int(port or 0)))]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "::1", "fd00::1", "::ffff:127.0.0.1"]
)
def test_a_name_that_leads_inside_is_not_connected_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        arrived: list[Request] = []

        async def handle(request: Request) -> Reply:
            arrived.append(request)
            return Reply()

        async with serving(handle) as base:
            names = Names(monkeypatch, address)
            client = Outward("https://hook.example")
            with pytest.raises(Unreached) as raised:
                await client.ask("POST", f"http://hook.example:{base.rpartition(':')[2]}/")
            await client.close()

        assert raised.value.receipt.outcome is Outcome.REFUSED and "private address" in raised.value.receipt.reason
        assert (names.asked, arrived) == (1, [])

    asyncio.run(test())


def test_a_name_that_leads_elsewhere_after_the_check_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        arrived: list[Request] = []

        async def handle(request: Request) -> Reply:
            arrived.append(request)
            return Reply()

        async with serving(handle) as base:
            port = int(base.rpartition(":")[2])
            public: list[str] = []

            async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                public.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(b"HTTP/1.1 204 x\r\nconnection: close\r\n\r\n")
                writer.close()

            server = await asyncio.start_server(taken, "127.0.0.2", port)
            names = Names(monkeypatch, "127.0.0.2", "127.0.0.1")
            monkeypatch.setattr(outward, "is_private", lambda host: host == "127.0.0.1")  # so that 127.0.0.2 is a public one
            client = Outward("https://hook.example")
            answer = await client.ask("POST", f"http://hook.example:{port}/x")
            await client.close()
            server.close()

        assert (answer.status, names.asked, arrived) == (204, 1, [])
        assert f"host: hook.example:{port}" in public[0].lower()

    asyncio.run(test())


@pytest.mark.parametrize("host", ["hook.example", "other.example"])
def test_the_certificate_is_that_of_the_name_though_the_address_is_connected_to(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = certificate(tmp_path / "both.pem", host)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    async def test() -> None:
        async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 204 x\r\nconnection: close\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(taken, "127.0.0.2", 0, ssl=serving_context(path))
        Names(monkeypatch, "127.0.0.2")
        monkeypatch.setattr(outward, "is_private", lambda host: host == "127.0.0.1")
        client = Outward("https://hook.example")
        try:
            answer = await client.ask("POST", f"https://hook.example:{server.sockets[0].getsockname()[1]}/x")
            assert (answer.status, host) == (204, "hook.example")
        except Unreached as error:
            assert host == "other.example" and "ertificate" in error.receipt.reason
        finally:
            await client.close()
            server.close()

    asyncio.run(test())


def test_a_redirect_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        paths: list[str] = []

        async def handle(request: Request) -> Reply:
            paths.append(request.path)
            return Reply(302, b"", {"location": "/inside"})

        async with serving(handle) as base:
            client = Outward(base)
            answer = await client.ask("GET", f"{base}/outside")
            await client.close()

        assert (answer.status, paths) == (302, ["/outside"])

    asyncio.run(test())


@pytest.mark.parametrize(
    "given", ["", "hook.example", "ftp://hook.example", "https://", "https://me:secret@hook.example", "http://hook.example", "http://[::1", "https://a:x"]
)
def test_an_address_that_cannot_be_right_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(BridgeError) as raised:
        web_address(given, "https://example.org")
    assert "hook.example" not in f"{raised.value} {raised.value.hint}" and "secret" not in str(raised.value)


def test_plain_http_is_for_private_addresses() -> None:
    assert web_address(" http://10.0.0.7:8080/hook/ ", "x") == "http://10.0.0.7:8080/hook"
    assert web_address("http://localhost:1/x", "x") == "http://localhost:1/x"
    assert web_address("http://nas.lan/x", "x", private=True) == "http://nas.lan/x"
    assert web_address("https://hook.example/x?key=1", "x") == "https://hook.example/x?key=1"


def test_secrets_are_masked_whole_whatever_their_order() -> None:
    assert masked("a token-1234 and\na token", ["token", "token-1234", ""]) == "a ••• and a •••"
