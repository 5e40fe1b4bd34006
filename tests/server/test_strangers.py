"""Who gets in: every route against strangers, foreign pages and other names.

The cases are those of other trackers and notebooks; see the threat table in the project's security notes.
"""

import hashlib
import hmac
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from serving import LIMIT_S, PROXIED, Running, as_stranger, running, until

from farwatch.server.app import ENDPOINTS
from farwatch.server.guard import API
from farwatch.server.openapi import endpoint as openapi_endpoint
from farwatch.server.route import Endpoint
from farwatch.service.access import PUBLIC

ALL = (*ENDPOINTS, openapi_endpoint(ENDPOINTS))
GUARDED = [one for one in ALL if one.scope != PUBLIC]
EXAMPLE = {
    "writer": "ab" * 16, "name": "x.png", "agent": "a1", "sha256": "cd" * 32, "path": "a/b.yaml", "id": "1", "project": "guarded",
    "command": "c-0000001", "machine": "box", "profile": "train",
    "no": "1", "channel": "telegram", "user": "7001",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(server: Running) -> str:
    made = server.api("POST", "/runs", {"project": "guarded", "name": "secret-name"})
    assert made.status == 201, made.body
    return str(made.json["id"])


def path_of(endpoint: Endpoint, run: str) -> str:
    return API + re.sub(
        r"\{(\w+)(?::path)?\}", lambda match: {**EXAMPLE, "ref": run}[match[1]], endpoint.path
    )


def titled(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


def almost(secret: str) -> str:
    """The secret with another last letter."""
    return secret[:-1] + ("y" if secret.endswith("x") else "x")


@pytest.mark.parametrize("endpoint", GUARDED, ids=titled)
def test_no_route_answers_without_proof(server: Running, run: str, endpoint: Endpoint) -> None:
    for headers in (
        PROXIED,
        {**PROXIED, "Authorization": "Bearer "},
        {**PROXIED, "Authorization": "Basic " + server.file["secret"]},
        {"Authorization": "Bearer " + almost(server.file["secret"])},
        {**PROXIED, "X-Farwatch-Key": "x", "Cookie": f"farwatch-{server.port}=x"},
    ):
        reply = server.ask(endpoint.method, path_of(endpoint, run), headers=headers)
        assert (reply.status, reply.code) == (401, "denied"), headers
        assert b"secret-name" not in reply.body


@pytest.mark.parametrize("endpoint", ALL, ids=titled)
def test_no_route_answers_another_page_or_name(server: Running, run: str, endpoint: Endpoint) -> None:
    for headers in (
        {"Host": "evil.example"},
        {"Host": f"evil.example:{server.port}"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:7000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"},
    ):
        reply = server.ask(endpoint.method, path_of(endpoint, run), headers=headers)
        assert (reply.status, reply.code) == (403, "forbidden"), headers


def test_foreign_pages_have_changed_nothing(server: Running, run: str) -> None:
    for method, path in (
        ("DELETE", f"/runs/{run}"),
        ("PATCH", f"/runs/{run}"),
        ("POST", f"/runs/{run}/finish"),
    ):
        server.api(method, path, {"name": "pwned"}, {"Origin": "http://evil.example"})

    row = server.api("GET", f"/runs/{run}").json

    assert (row["name"], row["deleted_ms"]) == ("secret-name", None)


def test_another_account_of_the_machine_gets_nothing(server: Running, run: str) -> None:
    for path in (
        "/api/v1/runs",
        f"/api/v1/runs/{run}",
        "/api/v1/openapi.json",
        "/api/v1/nothing",
        "/api/v2/runs",
        "/",
        f"/r/{run}",
    ):
        assert server.stranger("GET", path).status == 401, path
    reply = server.stranger("GET", "/api/v1/runs", {"Authorization": f"Bearer {server.file['secret']}"})
    assert reply.status == 200  # they cannot know it, but it is what counts


def test_the_owner_needs_nothing_and_the_secret_works_anywhere(server: Running) -> None:
    assert server.api("GET", "/session").json["actor"]["scopes"] == ["admin", "log", "read", "start", "steer"]
    proxied = server.api(
        "GET", "/session", headers={**PROXIED, "Authorization": f"Bearer {server.file['secret']}"}
    )
    assert proxied.json["via"] == "secret"


def test_who_sends_and_closes_at_once_is_not_taken_for_root(server: Running) -> None:
    """A closed socket stands in the kernel's table with uid 0, which is the server's own when root runs it."""

    def send_and_go() -> int:
        body = b'{"project": "stolen"}'
        for number in range(40):
            sock = socket.create_connection(("127.0.0.1", server.port))
            sock.sendall(
                b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
                + body
            )
            if number % 2:
                sock.shutdown(socket.SHUT_WR)
            sock.close()
        return 40

    seen = server.log.count("POST /api/v1/runs 401")
    if os.geteuid() == 0:
        as_stranger(send_and_go)
    seen = server.log.count("POST /api/v1/runs 401")

    until(
        lambda: os.geteuid() != 0 or server.log.count("POST /api/v1/runs 401") >= max(1, seen),
        "the server has looked at them",
    )

    assert "stolen" not in [project["name"] for project in server.api("GET", "/projects").json["projects"]]


def test_state_folder_and_secret_are_closed_to_others(server: Running) -> None:
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    for path in server.folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    secret = server.file["secret"]
    assert re.fullmatch(r"fw_loc_[0-9a-f]{8}_[\w-]{32}[a-z2-7]{6}", secret)
    data = Path(server.told["data"])
    assert not [path for path in data.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_state_folder_that_is_a_link_or_open_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    command = [
        sys.executable,
        "-m",
        "farwatch.server",
        "--json",
        "--port",
        "0",
        "--dir",
        str(tmp_path / "link"),
    ]

    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 2 and "link" in done.stderr
    assert list((tmp_path / "real").iterdir()) == []
    with running(tmp_path / "real") as started:
        assert stat.S_IMODE(started.folder.stat().st_mode) == 0o700


def test_off_loopback_nothing_starts_without_an_administrator(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "farwatch.server",
        "--json",
        "--port",
        "0",
        "--host",
        "0.0.0.0",
        "--dir",
        str(tmp_path / "s"),
    ]

    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 2 and "administrator" in done.stderr and done.stdout == ""
    assert not (tmp_path / "s" / "server.json").exists()


def test_proof_is_bound_to_nonce_and_port(server: Running) -> None:

    nonce = "0f" * 16
    proof = server.api("POST", "/prove", {"nonce": nonce}, PROXIED).json

    expected = hmac.new(
        server.file["secret"].encode(), f"farwatch-server:{server.port}:{nonce}".encode(), hashlib.sha256
    ).hexdigest()
    assert proof["proof"] == expected and proof["server_id"] == server.file["server_id"]
    for wrong in ("", "0f" * 15, "0F" * 16, "0f" * 17, 7, None, ["0f" * 16], nonce + "\n"):
        assert server.api("POST", "/prove", {"nonce": wrong}).status == 400


def test_a_code_opens_one_session_and_a_cookie_alone_opens_nothing(own_server: Running) -> None:
    opened = own_server.api("POST", "/session", {"once": own_server.once()}, PROXIED)
    again = own_server.api("POST", "/session", {"once": own_server.once()}, PROXIED)

    assert opened.status == 200 and (again.status, again.code) == (401, "denied")
    cookie = opened.headers["set-cookie"]
    assert (
        cookie.startswith(f"farwatch-{own_server.port}=")
        and "HttpOnly" in cookie
        and "samesite=strict" in cookie.lower()
        and "Path=/" in cookie
    )
    pair = cookie.partition(";")[0]
    key = opened.json["key"]
    assert own_server.stranger("GET", "/api/v1/runs", {"Cookie": pair}).status == 401
    assert own_server.stranger("GET", "/api/v1/runs", {"X-Farwatch-Key": key}).status == 401
    assert (
        own_server.stranger("GET", "/api/v1/runs", {"Cookie": pair, "X-Farwatch-Key": key[:-1] + "!"}).status
        == 401
    )
    assert own_server.stranger("GET", "/api/v1/runs", {"Cookie": pair, "X-Farwatch-Key": key}).status == 200
    assert own_server.stranger("GET", "/", {"Cookie": pair}).status == 200

    own_server.stop()
    own_server.start()
    moved = {
        "Cookie": pair.replace(pair.partition("=")[0], f"farwatch-{own_server.port}"),
        "X-Farwatch-Key": key,
    }
    assert own_server.stranger("GET", "/api/v1/session", moved).json["via"] == "session"

    assert own_server.api("DELETE", "/session", headers={**PROXIED, **moved}).status == 200
    assert own_server.stranger("GET", "/api/v1/runs", moved).status == 401


def test_codes_are_made_by_the_owner_and_cannot_be_guessed_for_long(own_server: Running) -> None:
    made = own_server.api("POST", "/once").json
    assert made["url"] == f"{own_server.told['address']}/#once={made['code']}"
    statuses = [own_server.api("POST", "/session", {"once": f"guess-{n}"}).status for n in range(25)]
    assert statuses[:20] == [401] * 20 and statuses[20:] == [429] * 5


def test_only_own_uid_on_a_loopback_name_is_trusted_through_a_proxy(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--url", "https://watch.example.org/farwatch") as server:
        public = {"Host": "watch.example.org"}
        assert server.ask("GET", "/farwatch/api/v1/runs", headers=public).status == 401
        secret = {**public, "Authorization": f"Bearer {server.file['secret']}"}
        assert server.ask("GET", "/farwatch/api/v1/runs", headers=secret).status == 200
        assert (
            server.ask(
                "GET", "/api/v1/runs", headers={**secret, "Origin": "https://watch.example.org"}
            ).status
            == 200
        )
        assert (
            server.ask("GET", "/api/v1/runs", headers={**secret, "Origin": "http://watch.example.org"}).status
            == 403
        )
        assert server.told["url"].startswith("https://watch.example.org/farwatch/#once=")
        assert server.api("GET", "/runs").status == 200


@pytest.mark.parametrize(
    "path", ["/api/v1/runs?token=x", "/api/v1/runs?a=1&api_key=x", "/?token=x", "/api/v1/healthz?Token=y"]
)
def test_secrets_in_addresses_are_refused_and_not_logged(server: Running, path: str) -> None:
    reply = server.ask("GET", path.replace("=x", "=canary-in-query"))

    assert reply.status == 400
    assert "canary-in-query" not in server.log


def test_one_request_makes_one_log_line(server: Running) -> None:
    server.ask("GET", "/api/v1/runs/a%0aGET%20/forged%20200?x=canary-behind-question-mark")
    server.api("GET", "/runs/marker")

    until(lambda: any("marker" in line for line in server.log.splitlines()), "the second is logged")

    lines = [line for line in server.log.splitlines() if "marker" in line or "forged" in line]
    assert len(lines) == 2 and "%0aGET%20/forged" in lines[0]
    assert "canary-behind-question-mark" not in server.log
