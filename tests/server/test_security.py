"""Who gets in: every route against strangers, foreign pages, other names and bombs.

The cases are those of other trackers and notebooks; see the threat table in the project's security notes.
"""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from serving import LIMIT_S, PROXIED, Running, as_stranger, running, until
from writing import Feeder

from farwatch.server.app import ENDPOINTS
from farwatch.server.guard import API
from farwatch.server.openapi import endpoint as openapi_endpoint
from farwatch.server.route import Endpoint
from farwatch.service.access import PUBLIC

ALL = (*ENDPOINTS, openapi_endpoint(ENDPOINTS))
GUARDED = [one for one in ALL if one.scope != PUBLIC]
EXAMPLE = {"writer": "ab" * 16, "name": "x.png", "agent": "a1", "sha256": "cd" * 32, "path": "a/b.yaml"}


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


@pytest.mark.parametrize("endpoint", GUARDED, ids=titled)
def test_no_route_answers_without_proof(server: Running, run: str, endpoint: Endpoint) -> None:
    for headers in (
        PROXIED,
        {**PROXIED, "Authorization": "Bearer "},
        {**PROXIED, "Authorization": "Basic " + server.file["secret"]},
        {"Authorization": "Bearer " + server.file["secret"][:-1] + "x"},
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
            sock.sendall(b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
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
    import hashlib
    import hmac

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

    lines = until(
        lambda: [line for line in server.log.splitlines() if "marker" in line or "forged" in line][-2:],
        "both are logged",
    )

    assert len(lines) == 2 and "%0aGET%20/forged" in lines[0]
    assert "canary-behind-question-mark" not in server.log


def raw(server: Running, data: bytes, *, until_closed: bool = False) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as sock:
        sock.sendall(data)
        got = b""
        while until_closed or b"\r\n\r\n" not in got:
            piece = sock.recv(65536)
            if not piece:
                break
            got += piece
        return got


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


def test_compressed_bombs_cost_neither_memory_nor_time(server: Running, run: str) -> None:
    import zlib

    from farwatch.store import zstd

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


def memory(server: Running) -> int:
    assert server.process is not None
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024  # type: ignore[index]


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
        assert reply.headers["server"] if "server" in reply.headers else True


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
            assert time.monotonic() - began < 1
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
    import hashlib

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
    import hashlib

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
