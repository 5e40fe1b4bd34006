import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_server import Cut, FakeServer, Reply

from farwatch import settings
from farwatch.agent.transport import HttpTransport
from farwatch.errors import (
    BodyError,
    BusyError,
    ContactError,
    DeniedError,
    ForkError,
    GapError,
    RefusedError,
    UsageError,
)
from farwatch.machine import process_start
from farwatch.servers import Credential, find_server


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        running.writers["ab" * 16] = {"sidecar": {"run": "r"}, "expected": 3, "crc": 4}
        yield running


@pytest.fixture
def transport(server: FakeServer) -> Iterator[HttpTransport]:
    opened = HttpTransport(server.address)
    yield opened
    opened.close()


def test_requests_share_one_connection(server: FakeServer, transport: HttpTransport) -> None:
    for _ in range(3):
        assert transport.request("GET", "/writers/" + "ab" * 16).json()["expected"] == 3

    assert len(server._http.open) == 1


def test_kept_connection_that_was_closed_is_opened_again(
    server: FakeServer, transport: HttpTransport
) -> None:
    transport.request("GET", "/writers/" + "ab" * 16)
    server._http.close_connections()

    again = transport.request("GET", "/writers/" + "ab" * 16)

    assert again.status == 200


def test_request_that_must_not_be_repeated_is_not(server: FakeServer, transport: HttpTransport) -> None:
    transport.request("GET", "/writers/" + "ab" * 16)
    server.fail("/writers", Cut())

    with pytest.raises(ContactError, match="no contact"):
        transport.request("GET", "/writers/" + "ab" * 16, idempotent=False)


@pytest.mark.parametrize(
    ("reply", "kind", "details"),
    [
        (Reply(409, "gap", expected=7, crc=1, epoch="e"), GapError, {"expected": 7}),
        (Reply(409, "fork", expected=7), ForkError, {"expected": 7}),
        (Reply(409, "a code of tomorrow"), RefusedError, {"status": 409}),
        (Reply(422, "bad-body"), BodyError, {}),
        (Reply(429, "busy", retry_after="7"), BusyError, {"retry_after_s": 7.0}),
        (Reply(500, "internal"), ContactError, {"status": 500}),
        (Reply(401, "denied"), DeniedError, {}),
        (Reply(400, "bad-request"), UsageError, {}),
    ],
)
def test_answers_become_our_errors(
    server: FakeServer, transport: HttpTransport, reply: Reply, kind: type, details: dict
) -> None:
    server.fail("/writers", reply)

    with pytest.raises(kind) as caught:
        transport.request("GET", "/writers/" + "ab" * 16)

    assert type(caught.value) is kind
    assert caught.value.details.items() >= details.items()


def answer_once(data: bytes) -> tuple[str, list[bytes], threading.Thread]:
    """A server that answers the first connection with fixed bytes."""
    listener = socket.create_server(("127.0.0.1", 0))
    got: list[bytes] = []

    def serve() -> None:
        with listener:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                got.append(connection.recv(65536))
                connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", got, thread


def ask_once(address: str, **options: object) -> ContactError:
    transport = HttpTransport(address, Credential("tok"))
    with pytest.raises(ContactError) as caught:
        transport.request("GET", "/info", **options)  # type: ignore[arg-type]
    transport.close()
    return caught.value


def test_redirect_is_not_followed() -> None:
    """A token reaches the host that was named and no other."""
    with FakeServer() as other:
        head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {other.address}/api/v1/info\r\nContent-Length: 0\r\n\r\n"
        address, _, thread = answer_once(head.encode())
        error = ask_once(address)
        thread.join()

    assert "redirect" in error.message
    assert other.asked == []


def test_answer_has_a_size_limit() -> None:
    address, _, thread = answer_once(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
    error = ask_once(address, max_bytes=1000)
    thread.join()

    assert "larger than 1000 bytes" in error.message


def test_answer_that_ends_early_is_no_answer() -> None:
    address, _, thread = answer_once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
    error = ask_once(address)
    thread.join()

    assert "no contact" in error.message


def test_foreign_error_page_is_no_refusal() -> None:
    """A proxy's 404 or 502 must not make the agent set journals aside."""
    address, _, thread = answer_once(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\noops")
    error = ask_once(address)
    thread.join()

    assert "no Farwatch server" in error.message


def test_silent_server_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        error = ask_once(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.2)

    assert "no answer in time" in error.message


def test_local_server_proves_itself_before_the_token_leaves() -> None:
    with FakeServer(secret="fw_loc_1") as server:
        server.writers["ab" * 16] = {"sidecar": {"run": "r"}, "expected": 3, "crc": 4}
        transport = HttpTransport(server.address, Credential("fw_loc_1", prove=True))
        answer = transport.request("GET", "/writers/" + "ab" * 16)
        transport.close()

    assert answer.json()["expected"] == 3
    assert server.asked[0] == ("POST", "/api/v1/prove")
    assert server.tokens == [None, "Bearer fw_loc_1"]


def test_stranger_on_the_port_gets_nothing() -> None:
    with FakeServer(secret="fw_loc_1") as server:
        server.impostor = True
        transport = HttpTransport(server.address, Credential("fw_loc_1", prove=True))
        with pytest.raises(ContactError, match="not your Farwatch server"):
            transport.request("POST", "/writers", {"project": "secret project"})
        transport.close()

    assert server.asked == [("POST", "/api/v1/prove")]
    assert server.tokens == [None]
    assert b"secret" not in b"".join(server.bodies)


def test_credential_hides_its_token() -> None:
    assert "tok" not in repr(Credential("tok"))


@pytest.mark.parametrize("address", ["ftp://x", "http://", "http://x:99999", "http://x:y"])
def test_address_that_cannot_be_one_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="no address of a server"):
        HttpTransport(address)


def test_server_is_found_by_setting_then_login_then_own_file(tmp_path: Path) -> None:
    own = {
        "address": "http://127.0.0.1:3279",
        "secret": "s",
        "pid": os.getpid(),
        "pid_start": process_start(os.getpid()),
    }
    stored = {"https://a.example": {"token": "t"}}
    plain = settings.load({"FARWATCH_DIR": str(tmp_path)})

    nothing = find_server(plain)
    write_private(tmp_path / "server.json", own)
    local = find_server(plain)
    write_private(tmp_path / "credentials.json", stored)
    of_one_run = find_server(plain)  # its token came with the environment
    write_private(tmp_path / "credentials.json", {**stored, "default": "https://a.example"})
    login = find_server(plain)
    given = find_server(plain.replace(server="127.0.0.1:3279"))

    assert nothing is None
    assert local == of_one_run == ("http://127.0.0.1:3279", Credential("s", prove=True))
    assert login == ("https://a.example", Credential("t"))
    assert given == ("http://127.0.0.1:3279", Credential("s", prove=True))


def test_file_of_a_server_that_died_is_not_believed(tmp_path: Path) -> None:
    own = {"address": "http://127.0.0.1:3279", "secret": "s", "pid": os.getpid(), "pid_start": 1}
    write_private(tmp_path / "server.json", own)

    assert find_server(settings.load({"FARWATCH_DIR": str(tmp_path)})) is None


def write_private(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value))
    path.chmod(0o600)
