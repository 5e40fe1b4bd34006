"""What readers get: the live stream, compressed charts, the description of the API, and pages."""

import asyncio
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import LIMIT_S, Running, running, until
from writing import Feeder

from farwatch.store import zstd
from farwatch.wire import columns
from farwatch.wire.records import Flag, Kind, encode_json

COLUMNS = {"Accept": columns.CONTENT_TYPE}


def test_live_points_arrive_at_once_with_ten_runs_logging(server: Running) -> None:
    """100 ms from publishing to the answer, beside what logging and asking themselves cost on this machine at this moment."""
    feeders = [Feeder(server, "live") for _ in range(10)]
    series = [{"run": feeder.run, "name": "loss"} for feeder in feeders]
    body = {"project": "live", "runs": [feeder.run for feeder in feeders], "series": series, "wait_s": 10}
    cursor = server.api("POST", "/live", {**body, "cursor": None}).json["cursor"]
    took, plain, seen = [], [], 0
    for step in range(30):
        sent = time.perf_counter()
        feeders[step % 10].log(step, loss=float(step))
        server.api("POST", "/live", {"cursor": None})
        plain.append(time.perf_counter() - sent)
        sent = time.perf_counter()
        feeders[(step + 5) % 10].log(1_000 + step, loss=float(step))
        while seen < 2 * (step + 1):
            answer = server.api("POST", "/live", {**body, "cursor": cursor}).json
            cursor = answer["cursor"]
            seen += sum(len(points["values"]) for points in answer["points"])
        took.append(time.perf_counter() - sent)

    assert seen == 60
    assert sorted(took)[15] < 0.1 + 3 * sorted(plain)[15], (took, plain)


def test_live_rows_names_and_console_lines(server: Running) -> None:
    feeder = Feeder(server, "live2")
    cursor = server.api("POST", "/live", {"cursor": None}).json["cursor"]
    line = encode_json(
        Kind.CONSOLE,
        {"s": "stdout", "n": 0, "lines": ["hello"], "open": False},
        time=1,
        flags=Flag.TIME_GIVEN,
    )
    feeder.send([line, *feeder.step(1, {"fresh": 1.0})])

    answer = server.api(
        "POST",
        "/live",
        {"cursor": cursor, "project": "live2", "runs": [feeder.run], "console": [feeder.run], "wait_s": 5},
    ).json

    assert [row["id"] for row in answer["runs"]] == [feeder.run]
    assert answer["new_metrics"] == {feeder.run: ["fresh"]}
    assert answer["console"][0]["lines"][0]["text"] == "hello"
    assert server.api("GET", f"/runs/{feeder.run}/console").json["lines"][0]["text"] == "hello"


def test_a_reader_that_leaves_gives_its_place_back(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--set", "streams_per_actor=2") as server:
        cursor = server.api("POST", "/live", {"cursor": None}).json["cursor"]
        body = json.dumps({"cursor": cursor, "wait_s": 20}).encode()
        head = (
            f"POST /api/v1/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )

        def status() -> int:
            return server.api("POST", "/live", {"cursor": cursor, "wait_s": 0}).status

        for _ in range(6):
            socks = [socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) for _ in range(2)]
            for sock in socks:
                sock.sendall(head + body)
            until(lambda: status() == 429, "both places are taken")
            assert status() == 429
            for sock in socks:
                sock.close()
            until(lambda: status() == 200, "they are free again")
            assert status() == 200


def test_answers_are_compressed_where_the_client_can_and_it_pays(server: Running) -> None:
    feeder = Feeder(server, "packed")
    for start in (0, 400, 800):
        feeder.send(
            [
                record
                for n in range(start, start + 400)
                for record in feeder.step(n, {"loss": 1.0, "acc": n / 7})
            ]
        )
    body = {"lines": [{"run": feeder.run, "name": name} for name in ("loss", "acc")], "buckets": 100}

    bare = server.api("POST", "/charts", body, COLUMNS)
    packed = server.api("POST", "/charts", body, {**COLUMNS, "Accept-Encoding": "gzip, deflate, br, zstd"})
    small = server.api("GET", "/session", headers={"Accept-Encoding": "zstd"})

    assert "content-encoding" not in bare.headers and "content-encoding" not in small.headers
    assert packed.headers["content-encoding"] == "zstd" and len(packed.body) < len(bare.body)
    assert columns.decode(zstd.decompress(packed.body))[0]["lines"] == columns.decode(bare.body)[0]["lines"]


def test_a_list_has_its_cells_as_bytes_for_who_takes_columns(server: Running) -> None:
    feeder = Feeder(server, "bytes")
    feeder.send([encode_json(Kind.PATCH, {"config": {"model": "cnn"}}), *feeder.step(0, {"loss": -1 / 3, "acc": float("nan")})])
    path = f"/runs?project={feeder.project}&columns=summary.loss,summary.acc,config.model"

    told, exact = server.api("GET", path), server.api("GET", f"{path}&exact=1", headers=COLUMNS)
    small = server.api("GET", path, headers=COLUMNS)

    assert (told.headers["content-type"], small.headers["content-type"]) == ("application/json", columns.CONTENT_TYPE)
    assert told.json["runs"][0]["cells"] == [-0.33333, "NaN", "cnn"]
    meta, arrays = columns.decode(small.body)
    assert meta["runs"][0] | {"duration_ms": 0} == {**told.json["runs"][0], "cells": ["NaN", "cnn"], "duration_ms": 0}
    assert [bytes(arrays[name][1])[0] for name in ("low", "middle", "high")] == [33333 & 255, 33333 >> 8, (-5 + 22) << 2 | 2]
    assert columns.decode(exact.body)[0]["runs"][0]["cells"] == [-1 / 3, "NaN", "cnn"]


def test_a_chart_continues_without_a_hole_in_the_live_stream(server: Running) -> None:
    feeder = Feeder(server, "joined")
    feeder.log(0, loss=0)
    drawn = server.api(
        "POST", "/charts", {"lines": [{"run": feeder.run, "name": "loss"}]}, {"Accept": "application/json"}
    ).json
    feeder.log(1, loss=1)
    feeder.log(2, loss=2)

    cursor = f"{drawn['meta']['epoch']}:{drawn['meta']['seq']}"
    live = server.api(
        "POST", "/live", {"cursor": cursor, "series": [{"run": feeder.run, "name": "loss"}], "wait_s": 5}
    ).json

    assert drawn["arrays"]["pv"] + live["points"][0]["values"] == [0, 1, 2]


def test_the_openapi_document_has_every_route_and_its_permission(server: Running) -> None:
    from farwatch.server.app import ENDPOINTS

    told = server.api("GET", "/openapi.json").json

    listed = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    assert {(one.method, one.path.replace(":path}", "}")) for one in ENDPOINTS} <= listed
    assert all(operation["x-scope"] for methods in told["paths"].values() for operation in methods.values())
    names = [operation["operationId"] for methods in told["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/", "./"),
        ("/p/digits", "../"),
        ("/r/k3f9xq2", "../"),
        ("/r/k3f9xq2/console", "../../"),
        ("/p/digits/", "../../"),
        ("/p/v1.5", "../"),
        ("/p/team%2Fx", "../"),
        ("/r/a/b?x=1", "../../"),
    ],
)
def test_the_page_knows_where_its_root_is(server: Running, path: str, base: str) -> None:
    reply = server.ask("GET", path)

    assert reply.status == 200 and reply.headers["content-type"] == "text/html; charset=utf-8"
    assert f'<base href="{base}"' in reply.body.decode()
    assert reply.headers["cache-control"] == "no-cache"


def test_pages_are_found_in_a_list_and_assets_never_change(tmp_path: Path) -> None:
    from starlette.routing import Match

    from farwatch.server.guard import HEADERS, REQUEST_ID, SEGMENTS
    from farwatch.server.pages import Pages

    (tmp_path / "web/assets").mkdir(parents=True)
    (tmp_path / "web/index.html").write_text('<html><head><base href="./" /></head></html>')
    (tmp_path / "web/assets/main-1a2b.js").write_text("let a=1;" * 500)
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "web/link.txt").symlink_to(tmp_path / "secret.txt")

    class Nobody:
        port = 1

        def by_cookie(self, cookie: str) -> None: ...

        def owner_actor(self, via: str) -> str:
            return via

    class Owner:
        def same_user(self) -> bool:
            return True

    class Services:
        access = Nobody()

    pages = Pages(Services(), tmp_path / "web")  # type: ignore[arg-type]

    def get(*segments: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        scope = {
            "type": "http",
            "method": "GET",
            "raw_path": ("/" + "/".join(segments)).encode(),
            "query_string": b"",
            SEGMENTS: segments,
            HEADERS: {"host": "localhost", **(headers or {})},
            REQUEST_ID: "x",
            "state": {"farwatch.peer": Owner()},
        }
        assert pages.matches(scope)[0] is Match.FULL
        sent: list[dict[str, object]] = []

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        # In a thread of its own: a test of the browser before this one may have left a loop that runs in this one.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: asyncio.run(pages.handle(scope, None, send))).result(30)  # type: ignore[arg-type]
        raw = {name.decode(): value.decode() for name, value in sent[0]["headers"]}  # type: ignore[attr-defined]
        return int(str(sent[0]["status"])), raw, bytes(sent[1]["body"])  # type: ignore[call-overload]

    status, headers, body = get("assets", "main-1a2b.js", headers={"accept-encoding": "gzip"})
    assert (status, headers["cache-control"], headers["content-encoding"]) == (
        200,
        "public, max-age=31536000, immutable",
        "gzip",
    )
    assert headers["content-type"].startswith("text/javascript") and len(body) < 200
    assert get("link.txt")[0] == 404 and get("assets", "none.js")[0] == 404
    assert get("assets", "main-1a2b.js", headers={"service-worker": "script"})[0] == 403
    assert get("r", "abc", "console")[2] == b'<html><head><base href="../../"></head></html>'
    (tmp_path / "web/assets/later.js").write_text("later")
    assert get("assets", "later.js")[2] == b"later"
