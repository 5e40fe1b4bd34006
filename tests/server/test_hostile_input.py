"""What hostile requests and files cannot do: odd heads, bombs, slow clients, pages and names in uploads."""

import hashlib
import json
import re
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from serving import LIMIT_S, PROXIED, Running, memory, raw, running
from writing import Feeder

from farwatch.store import zstd
from tests import pace


@pytest.fixture(scope="module")
def run(server: Running) -> str:
    made = server.api("POST", "/runs", {"project": "guarded", "name": "secret-name"})
    assert made.status == 201, made.body
    return str(made.json["id"])


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://127.0.0.1/api/v1/runs HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET http://evil.example/api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET /api/v1/runs HTTP/1.1\r\n\r\n",
        b"GET /api/v1/runs HTTP/1.0\r\n\r\n",
        b"GET /api/v1/../v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET //api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /api%2fv1/%2e%2e/runs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1/?\r\n\r\n",
        b"GET /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nOrigin: null\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_odd_requests_are_refused(server: Running, head: bytes) -> None:
    answer = raw(server, head + b"\r\n\r\n")

    assert answer == b"" or re.match(rb"HTTP/1\.[01] (4\d\d|405)", answer), answer[:100]


def test_a_stranger_is_refused_before_the_body_is_read(server: Running) -> None:
    head = b"POST /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Real-IP: 1.2.3.4\r\nContent-Length: 8000000\r\n\r\n"
    began = time.monotonic()

    assert raw(server, head).startswith(b"HTTP/1.1 401")
    assert time.monotonic() - began < 5


def test_bodies_are_counted(server: Running, run: str) -> None:
    huge = server.api("POST", "/runs", raw=b" " * (9 << 20))
    announced = raw(
        server, b"POST /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n"
    )
    spooled = server.api(
        "PUT", f"/writers/{'ab' * 16}/spool/x?offset=0&size=9000000&sha256={'0' * 64}", raw=b"x" * 9_000_000
    )

    assert (huge.status, huge.code) == (413, "limit")
    assert announced.startswith(b"HTTP/1.1 413")
    assert spooled.status == 413


@pytest.mark.parametrize("size", [9 << 20, 60 << 20])
def test_who_sends_too_much_hears_so(server: Running, run: str, size: int) -> None:
    """The answer comes behind the body: a connection that is closed while its client sends is reset, and the answer with it."""
    before = memory(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(f"POST /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size >> 20):
            connection.sendall(bytes(1 << 20))
        answer = connection.recv(1 << 16)

    assert answer.startswith(b"HTTP/1.1 413")
    assert memory(server) - before < 32 << 20


def test_compressed_bombs_cost_neither_memory_nor_time(server: Running, run: str) -> None:

    writers = server.api("GET", f"/runs/{run}").json
    assert writers["id"] == run
    registered = server.api("POST", "/runs", {"project": "bombs"}).json
    before = memory(server)
    for encoding, bomb in (
        ("deflate", zlib.compress(bytes(300 << 20), 9)),
        ("zstd", zstd.compress(bytes(300 << 20))),
    ):
        reply = server.api(
            "POST",
            f"/writers/{registered['writer']}/batches",
            headers={"Content-Encoding": encoding},
            raw=bomb,
        )
        assert reply.status in (413, 422), reply.body
    assert (
        server.api(
            "POST", f"/writers/{registered['writer']}/batches", headers={"Content-Encoding": "br"}, raw=b"x"
        ).status
        == 415
    )
    assert memory(server) - before < 200 << 20


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000,
        b'{"project": "x", "config": ' + b"[" * 70 + b"]" * 70 + b"}",
        b'{"project": 1}',
        b"[]",
        b"1" * 5_000,
        b"\xff",
        b"{",
    ],
)
def test_bodies_that_are_no_request_are_refused(server: Running, body: bytes) -> None:
    reply = server.api("POST", "/runs", raw=body)

    assert (reply.status, reply.code) == (400, "bad-request")


def test_a_lone_surrogate_breaks_no_list(server: Running) -> None:
    made = server.api(
        "POST",
        "/runs",
        raw=b'{"project": "odd", "name": "a\\ud800b", "tags": ["\\udfff"], "config": {"\\ud800": "\\udead"}}',
    )
    logged = server.api(
        "POST", f"/runs/{made.json['id']}/log", raw=b'{"metrics": {"lo\\udc00ss": 1, "t": "\\ud800"}}'
    )

    assert (made.status, logged.status) == (201, 200)
    listed = server.api("GET", "/runs?project=odd&columns=config.*,summary.*")
    assert listed.status == 200 and listed.body.decode("utf-8")
    assert listed.json["runs"][0]["name"] == "a\ufffdb"
    assert server.api("GET", f"/runs/{made.json['id']}/metrics").status == 200


def test_every_answer_carries_the_policy(server: Running, run: str) -> None:
    for reply in (
        server.ask("GET", "/"),
        server.ask("GET", f"/r/{run}"),
        server.api("GET", "/runs"),
        server.api("GET", "/runs", headers=PROXIED),
        server.api("GET", "/none"),
        server.ask("GET", "/healthz"),
        server.ask("GET", "/", headers={"Host": "evil.example"}),
        server.ask("POST", "/"),
    ):
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; connect-src 'self'; ")
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in reply.headers
        assert "server" not in reply.headers


def test_no_cors_for_anybody(server: Running) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}

    reply = server.api("OPTIONS", "/runs", headers=asked)

    assert reply.status == 403 and not [name for name in reply.headers if name.startswith("access-control")]
    assert server.api("OPTIONS", "/runs").status == 405


def test_errors_have_one_shape_and_no_details(server: Running) -> None:
    for reply in (
        server.api("GET", "/runs/none"),
        server.api("PUT", "/runs"),
        server.api("GET", "/nothing"),
        server.api("POST", "/charts", {"lines": 3}),
    ):
        error = reply.json["error"]
        assert {"code", "message", "hint", "id"} <= set(error)
        assert error["id"] == reply.headers["x-request-id"]
        assert "Traceback" not in reply.body.decode() and str(server.folder) not in reply.body.decode()


def test_500_half_open_requests_keep_nobody_waiting(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--set", "head_s=2") as server:
        halves = []
        try:
            for number in range(500):
                half = socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S)
                half.sendall(
                    b"GET /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * (number % 7)
                )
                halves.append(half)
            began = time.monotonic()
            assert server.api("GET", "/runs").status == 200
            assert time.monotonic() - began < pace.slowness()
            for half in halves[::50]:
                half.settimeout(LIMIT_S)
                assert half.recv(1) == b""
        finally:
            for half in halves:
                half.close()


def test_a_body_that_never_comes_is_given_up(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--set", "body_idle_s=0.5") as server:
        answer = raw(server, b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")

        assert answer.startswith(b"HTTP/1.1 408")


def test_uploaded_files_never_run(server: Running, run: str) -> None:

    registered = server.api("POST", "/runs", {"project": "files"}).json
    page = b"<script>alert(document.cookie)</script>"
    sha256 = hashlib.sha256(page).hexdigest()
    put = f"/writers/{registered['writer']}/spool/page.html?offset=0&size={len(page)}&sha256={sha256}"
    assert server.api("PUT", put, raw=page).json == {"offset": len(page), "done": True}

    for kind in (
        "text/html",
        "image/svg+xml",
        "text/javascript",
        "application/xhtml%2Bxml",
        "none",
        "a%0d%0ab",
    ):
        reply = server.api("GET", f"/blobs/{sha256}?type={kind}&name=a%22%3b.html")
        assert reply.status == 200 and reply.body == page
        policy = reply.headers["content-security-policy"]
        assert (
            policy.startswith("sandbox; default-src 'none'")
            and "allow-scripts" not in policy
            and "allow-same-origin" not in policy
        )
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert (
            "javascript" not in reply.headers["content-type"] and "xhtml" not in reply.headers["content-type"]
        )
    assert server.api("GET", f"/blobs/{sha256}", headers={"Service-Worker": "script"}).status == 403
    assert (
        server.api(
            "GET", f"/blobs/{sha256}", headers={"Sec-Fetch-Dest": "script", "Sec-Fetch-Site": "same-origin"}
        ).status
        == 403
    )
    assert server.stranger("GET", f"/api/v1/blobs/{sha256}").status == 401


def test_blobs_are_found_by_hash_only(server: Running) -> None:
    for path in (
        "/blobs/../server.id",
        "/blobs/%2e%2e%2fserver.id",
        "/blobs/" + "A" * 64,
        "/blobs/x",
        "/blobs/" + "0" * 63,
    ):
        assert server.api("GET", path).status == 400
    assert server.api("GET", "/blobs/" + "0" * 64).status == 404


def test_a_signed_address_shows_one_blob_to_one_session(own_server: Running) -> None:

    feeder = Feeder(own_server, "files")
    feeder.point(
        {"name": "grid", "type": "image", "spool": "a.png", "media_type": "image/png", "size": 3}, step=1
    )
    sha256 = hashlib.sha256(b"png").hexdigest()
    own_server.api("PUT", f"/writers/{feeder.writer}/spool/a.png?offset=0&size=3&sha256={sha256}", raw=b"png")
    sessions = []
    for code in (own_server.once(), own_server.api("POST", "/once").json["code"]):
        opened = own_server.api("POST", "/session", {"once": code}, PROXIED)
        sessions.append(
            {
                **PROXIED,
                "Cookie": opened.headers["set-cookie"].partition(";")[0],
                "X-Farwatch-Key": opened.json["key"],
            }
        )
    (item,) = own_server.api("GET", f"/runs/{feeder.run}/media?name=grid", headers=sessions[0]).json["items"]
    assert item["url"].startswith(f"blobs/{sha256}")
    signature = item["url"].partition("sign=")[2]

    image = {name: value for name, value in sessions[0].items() if name != "X-Farwatch-Key"}
    other = {name: value for name, value in sessions[1].items() if name != "X-Farwatch-Key"}
    assert own_server.api("GET", f"/blobs/{sha256}?sign={signature}", headers=image).body == b"png"
    assert own_server.api("GET", f"/blobs/{sha256}?sign={signature}", headers=other).status == 401
    assert own_server.api("GET", f"/blobs/{sha256}?sign={signature}", headers=PROXIED).status == 401
    assert own_server.api("GET", f"/blobs/{sha256}", headers=image).status == 401
    assert own_server.api("GET", f"/blobs/{'0' * 64}?sign={signature}", headers=image).status == 401
    assert own_server.api("GET", f"/runs?sign={signature}", headers=image).status == 401


def test_the_form_parser_is_not_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "show", "python-multipart"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    source = "".join(
        path.read_text() for path in (Path(__file__).parents[2] / "src/farwatch/server").rglob("*.py")
    )
    assert "request.url" not in source and ".form(" not in source
    assert json.loads("{}") == {}


def test_too_many_charts_at_once_are_told_to_come_again(server: Running, run: str) -> None:
    logged = [{"step": step, "metrics": {"loss": step % 7}} for step in range(3_000)]
    assert server.api("POST", f"/runs/{run}/log", logged).status == 200
    body = json.dumps({"lines": [{"run": run, "name": "loss"}] * 200, "buckets": 2_000}).encode()
    head = (
        b"POST /api/v1/charts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    before = memory(server)
    socks = [socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) for _ in range(150)]

    for sock in socks:
        sock.sendall(head + body)
    heads = [sock.makefile("rb").readline() for sock in socks]
    for sock in socks:
        sock.close()

    assert {line.split()[1] for line in heads} == {b"200", b"429"}
    largest = {"lines": [{"run": run, "name": "loss"}] * 1_000, "buckets": 10_000}
    assert server.api("POST", "/charts", largest).status == 413
    assert server.api("GET", "/runs").status == 200
    assert memory(server) - before < 200 << 20
