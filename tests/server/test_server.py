"""One server from start to stop: files, feeding, uploads, pages, and what survives a kill."""

import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from serving import LIMIT_S, SOURCE, Running, running, until
from writing import Feeder, sidecar

from farwatch.store import zstd
from farwatch.wire import columns
from farwatch.wire.records import Flag, Kind, encode_json

COLUMNS = {"Accept": columns.CONTENT_TYPE}


def chart(server: Running, run: str, name: str, **more: object) -> dict[str, list[float]]:
    reply = server.api("POST", "/charts", {"lines": [{"run": run, "name": name}], **more}, {"Accept": "application/json"})
    assert reply.status == 200, reply.body
    arrays: dict[str, list[float]] = reply.json["arrays"]
    return arrays


def test_a_run_made_and_fed_by_requests_alone_is_read_back(server: Running) -> None:
    made = server.api("POST", "/runs", {"project": "plain", "name": "by hand", "config": {"lr": 0.1}, "tags": ["x"]})
    run = made.json["id"]
    first = server.api("POST", f"/runs/{run}/log", {"metrics": {"loss": 0.5, "val": {"acc": 0.1}}})
    many = server.api(
        "POST", f"/runs/{run}/log",
        [{"step": 5, "metrics": {"loss": "NaN", "note": "hello"}, "time_ms": 1_700_000_000_123.25}, {"metrics": {"loss": "-Infinity"}}],
    )  # fmt: skip
    done = server.api("POST", f"/runs/{run}/finish", {"state": "failed", "reason": "out of patience"})

    assert (made.status, first.json["next_step"], many.json["next_step"]) == (201, 1, 7)
    assert (done.json["state"], done.json["reason"]) == ("failed", "out of patience")
    assert chart(server, run, "loss")["px"] == [0, 5, 6]
    assert chart(server, run, "loss")["pv"] == [0.5, "NaN", "-Infinity"]
    assert chart(server, run, "val/acc")["pv"] == [0.1]
    detail = server.api("GET", f"/runs/{run}").json
    assert (detail["config"], detail["tags"], detail["name"]) == ({"lr": 0.1}, ["x"], "by hand")
    assert server.api("GET", f"/runs/{run}/media").json["items"][0]["text"] == "hello"
    exact = server.api("POST", "/series", {"lines": [{"run": run, "name": "loss"}]}, COLUMNS).body
    meta, arrays = columns.decode(exact)
    assert np.frombuffer(arrays["times"][1], "<i8")[1] == 1_700_000_000_123_250
    assert meta["lines"][0]["length"] == 3


def test_a_run_that_has_ended_takes_no_more_until_it_is_continued(server: Running) -> None:
    run = server.api("POST", "/runs", {"project": "plain", "id": "again-1"}).json["id"]
    server.api("POST", f"/runs/{run}/log", {"metrics": {"loss": 1}})
    server.api("POST", f"/runs/{run}/finish", {})

    refused = server.api("POST", f"/runs/{run}/log", {"metrics": {"loss": 2}})
    continued = server.api("POST", "/runs", {"project": "plain", "id": "again-1"})
    server.api("POST", f"/runs/{run}/log", {"metrics": {"loss": 3}})

    assert (refused.status, refused.code) == (409, "conflict")
    assert continued.json["attempt"] == 2
    assert chart(server, run, "loss")["pv"] == [1, 3]


@pytest.mark.parametrize(
    "body",
    [{}, {"metrics": 3}, {"metrics": {"a": [1]}}, {"metrics": {"a": {"b": []}}}, {"step": "x", "metrics": {}}, {"step": "NaN", "metrics": {}},
     [3], "x", {"metrics": {"a": 1}, "time_ms": "soon"}],
)  # fmt: skip
def test_entries_that_cannot_be_logged_are_refused_whole(server: Running, body: object) -> None:
    run = server.api("POST", "/runs", {"project": "plain"}).json["id"]

    reply = server.api("POST", f"/runs/{run}/log", body)

    assert (reply.status, reply.code) == (400, "bad-request")
    assert server.api("GET", f"/runs/{run}").json["points"] == 0


def test_a_writer_registers_sends_and_is_told_how_far_it_is(server: Running) -> None:
    feeder = Feeder(server, "wire")
    again = server.api("POST", "/writers", feeder.sidecar).json

    assert again["expected"] == 1 and again["run"] == feeder.run
    ack = feeder.log(0, loss=0.25)
    assert ack["expected"] == feeder.expected and ack["crc"] == feeder.crc and ack["set_aside"] is False
    assert server.api("GET", f"/writers/{feeder.writer}").json["expected"] == feeder.expected
    assert chart(server, str(feeder.run), "loss")["pv"] == [0.25]


def test_batches_in_every_encoding_come_once_and_in_order(server: Running) -> None:
    feeder = Feeder(server, "wire")
    bodies = [feeder.batch(feeder.step(n, {"loss": float(n)})) for n in range(4)]
    expected = feeder.server.api("GET", f"/writers/{feeder.writer}").json["expected"]

    gap = feeder.post(bodies[1])
    sent = [feeder.post(bodies[0]), feeder.post(zlib.compress(bodies[1]), "deflate"), feeder.post(zstd.compress(bodies[2]), "zstd")]
    again = feeder.post(bodies[0])
    damaged = feeder.post(bodies[3][:-1])
    foreign = server.api("POST", f"/writers/{'12' * 16}/batches", raw=bodies[3])

    assert (gap.status, gap.code, gap.json["expected"]) == (409, "gap", expected)
    assert {"crc", "epoch"} <= set(gap.json)
    assert [reply.status for reply in [*sent, again]] == [200] * 4
    assert damaged.status == 422 and foreign.status in (404, 422)
    assert chart(server, str(feeder.run), "loss")["pv"] == [0, 1, 2]


def test_a_server_that_is_too_old_for_a_batch_says_so_for_good(server: Running) -> None:
    feeder = Feeder(server, "wire")

    reply = feeder.post(b"FWB1" + b"\x09\x00" + bytes(60))

    assert reply.status == 422 and "version" in reply.json["error"]["message"]


def test_live_points_arrive_within_100_ms_with_ten_runs_logging(server: Running) -> None:
    feeders = [Feeder(server, "live") for _ in range(10)]
    series = [{"run": feeder.run, "name": "loss"} for feeder in feeders]
    body = {"project": "live", "runs": [feeder.run for feeder in feeders], "series": series, "wait_s": 10}
    cursor = server.api("POST", "/live", {**body, "cursor": None}).json["cursor"]
    took, seen = [], 0
    for step in range(20):
        feeder = feeders[step % 10]
        sent = time.perf_counter()
        feeder.log(step, loss=float(step))
        while seen <= step:
            answer = server.api("POST", "/live", {**body, "cursor": cursor}).json
            cursor = answer["cursor"]
            seen += sum(len(points["values"]) for points in answer["points"])
        took.append(time.perf_counter() - sent)
        others = [one for one in feeders if one is not feeder]
        assert len(others) == 9

    assert seen == 20
    assert sorted(took)[-2] < 0.3, took  # a wait of at most 50 ms for others is part of it
    assert sorted(took)[10] < 0.1, took


def test_live_rows_names_and_console_lines(server: Running) -> None:
    feeder = Feeder(server, "live2")
    cursor = server.api("POST", "/live", {"cursor": None}).json["cursor"]
    line = encode_json(Kind.CONSOLE, {"s": "stdout", "n": 0, "lines": ["hello"], "open": False}, time=1, flags=Flag.TIME_GIVEN)
    feeder.send([line, *feeder.step(1, {"fresh": 1.0})])

    answer = server.api("POST", "/live", {"cursor": cursor, "project": "live2", "runs": [feeder.run], "console": [feeder.run], "wait_s": 5}).json

    assert [row["id"] for row in answer["runs"]] == [feeder.run]
    assert answer["new_metrics"] == {feeder.run: ["fresh"]}
    assert answer["console"][0]["lines"][0]["text"] == "hello"
    assert server.api("GET", f"/runs/{feeder.run}/console").json["lines"][0]["text"] == "hello"


def test_a_reader_that_leaves_gives_its_place_back(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--set", "streams_per_actor=2") as server:
        cursor = server.api("POST", "/live", {"cursor": None}).json["cursor"]
        body = json.dumps({"cursor": cursor, "wait_s": 20}).encode()
        head = f"POST /api/v1/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        for _ in range(6):
            socks = [socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) for _ in range(2)]
            for sock in socks:
                sock.sendall(head + body)
            until(lambda: server.api("POST", "/live", {"cursor": cursor, "wait_s": 0}).status == 429, "both places are taken")
            for sock in socks:
                sock.close()
            until(lambda: server.api("POST", "/live", {"cursor": cursor, "wait_s": 0}).status == 200, "they are free again")


def test_deleting_and_bringing_back_reaches_lists_and_readers(server: Running) -> None:
    feeder = Feeder(server, "gone")
    feeder.log(1, loss=1)
    cursor = server.api("POST", "/live", {"cursor": None}).json["cursor"]

    assert server.api("DELETE", f"/runs/{feeder.run}").status == 200
    live = server.api("POST", "/live", {"cursor": cursor, "runs": [feeder.run], "wait_s": 5}).json
    listed = server.api("GET", "/runs?project=gone").json["total"]
    assert server.api("POST", f"/runs/{feeder.run}/undelete").status == 200

    assert live["removed"] == [feeder.run] and listed == 0
    assert server.api("GET", "/runs?project=gone").json["total"] == 1


def test_patches_are_checked(server: Running) -> None:
    feeder = Feeder(server, "patched")
    changed = server.api("PATCH", f"/runs/{feeder.run}", {"name": "new", "notes": "n", "tags": {"add": ["a", "b"]}, "archived": True})
    shown = server.api("PATCH", f"/runs/{feeder.run}", {"tags": {"remove": ["a"]}, "archived": False}).json

    assert changed.status == 200 and (shown["name"], shown["notes"], shown["tags"]) == ("new", "n", ["b"])
    for wrong in ({"state": "finished"}, {"name": 3}, {"tags": ["a"]}, {"archived": 1}):
        assert server.api("PATCH", f"/runs/{feeder.run}", wrong).status == 400


def test_runs_are_found_by_id_short_id_and_number(server: Running) -> None:
    feeder = Feeder(server, "team digits")
    row = server.api("GET", f"/runs/{feeder.run}").json

    assert server.api("GET", f"/runs/{row['short']}").json["id"] == row["id"]
    assert server.api("GET", "/runs/team%20digits%231").json["id"] == row["id"]
    missing = server.api("GET", "/runs/team%20digits%2399")
    assert (missing.status, missing.code) == (404, "not-found")


def test_a_file_comes_in_chunks_and_goes_out_in_ranges(server: Running) -> None:
    feeder = Feeder(server, "files")
    content = os.urandom(3_000_000)
    sha256 = hashlib.sha256(content).hexdigest()
    feeder.send([encode_json(Kind.FILE, {"path": "out/weights.bin", "spool": "w.bin", "size": len(content), "mtime_ms": 5}, time=1)])
    spool = f"/writers/{feeder.writer}/spool/w.bin"
    query = f"&size={len(content)}&sha256={sha256}"

    assert server.api("PUT", f"{spool}?offset=0{query}", raw=content[:1_000_000]).json == {"offset": 1_000_000, "done": False}
    assert server.api("GET", spool).json == {"offset": 1_000_000}
    assert server.api("PUT", f"{spool}?offset=2000000{query}", raw=content[2_000_000:]).json == {"offset": 1_000_000, "done": False}
    assert server.api("PUT", f"{spool}?offset=1000000{query}", raw=content[1_000_000:]).json == {"offset": 3_000_000, "done": True}

    path = f"/runs/{feeder.run}/files/out/weights.bin"
    whole = server.api("GET", path)
    part = server.api("GET", path, headers={"Range": "bytes=100-199"})
    many = server.api("GET", path, headers={"Range": "bytes=" + ",".join(f"{n}-{n}" for n in range(2_000))})
    beyond = server.api("GET", path, headers={"Range": "bytes=9999999-"})
    head = server.api("HEAD", path)
    known = server.api("GET", path, headers={"If-None-Match": whole.headers["etag"]})
    assert whole.body == content and whole.headers["x-sha256"] == sha256
    assert whole.headers["content-disposition"] == "attachment; filename=\"weights.bin\"; filename*=UTF-8''weights.bin"
    assert (part.status, part.body, part.headers["content-range"]) == (206, content[100:200], "bytes 100-199/3000000")
    assert many.status == 200 and many.body == content
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */3000000")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "3000000")
    assert (known.status, known.body) == (304, b"")
    assert server.api("GET", f"/runs/{feeder.run}/files").json["files"][0]["sha256"] == sha256
    assert server.api("DELETE", path).status == 200
    assert server.api("GET", path).status == 404


def test_a_file_with_another_hash_is_not_kept(server: Running) -> None:
    feeder = Feeder(server, "files")
    put = f"/writers/{feeder.writer}/spool/x?offset=0&size=3&sha256={'0' * 64}"

    assert server.api("PUT", put, raw=b"abc").status == 422
    assert server.api("GET", f"/writers/{feeder.writer}/spool/x").json == {"offset": 0}
    assert server.api("PUT", f"/writers/{'34' * 16}/spool/x?offset=0&size=3&sha256={'0' * 64}", raw=b"abc").status == 404


def test_answers_are_compressed_where_the_client_can_and_it_pays(server: Running) -> None:
    feeder = Feeder(server, "packed")
    for start in (0, 400, 800):
        feeder.send([record for n in range(start, start + 400) for record in feeder.step(n, {"loss": 1.0, "acc": n / 7})])
    body = {"lines": [{"run": feeder.run, "name": name} for name in ("loss", "acc")], "buckets": 100}

    bare = server.api("POST", "/charts", body, COLUMNS)
    packed = server.api("POST", "/charts", body, {**COLUMNS, "Accept-Encoding": "gzip, deflate, br, zstd"})
    small = server.api("GET", "/session", headers={"Accept-Encoding": "zstd"})

    assert "content-encoding" not in bare.headers and "content-encoding" not in small.headers
    assert packed.headers["content-encoding"] == "zstd" and len(packed.body) < len(bare.body)
    assert columns.decode(zstd.decompress(packed.body))[0]["lines"] == columns.decode(bare.body)[0]["lines"]


def test_a_chart_continues_without_a_hole_in_the_live_stream(server: Running) -> None:
    feeder = Feeder(server, "joined")
    feeder.log(0, loss=0)
    drawn = server.api("POST", "/charts", {"lines": [{"run": feeder.run, "name": "loss"}]}, {"Accept": "application/json"}).json
    feeder.log(1, loss=1)
    feeder.log(2, loss=2)

    cursor = f"{drawn['meta']['epoch']}:{drawn['meta']['seq']}"
    live = server.api("POST", "/live", {"cursor": cursor, "series": [{"run": feeder.run, "name": "loss"}], "wait_s": 5}).json

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
    [("/", "./"), ("/p/digits", "../"), ("/r/k3f9xq2", "../"), ("/r/k3f9xq2/console", "../../"), ("/p/digits/", "../../"), ("/p/v1.5", "../"),
     ("/p/team%2Fx", "../"), ("/r/a/b?x=1", "../../")],
)  # fmt: skip
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
            "type": "http", "method": "GET", "raw_path": ("/" + "/".join(segments)).encode(), "query_string": b"", SEGMENTS: segments,
            HEADERS: {"host": "localhost", **(headers or {})}, REQUEST_ID: "x", "state": {"farwatch.peer": Owner()},
        }  # fmt: skip
        assert pages.matches(scope)[0] is Match.FULL
        sent: list[dict[str, object]] = []

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        import asyncio

        asyncio.run(pages.handle(scope, None, send))  # type: ignore[arg-type]
        raw = {name.decode(): value.decode() for name, value in sent[0]["headers"]}  # type: ignore[attr-defined]
        return int(str(sent[0]["status"])), raw, bytes(sent[1]["body"])  # type: ignore[arg-type]

    status, headers, body = get("assets", "main-1a2b.js", headers={"accept-encoding": "gzip"})
    assert (status, headers["cache-control"], headers["content-encoding"]) == (200, "public, max-age=31536000, immutable", "gzip")
    assert headers["content-type"].startswith("text/javascript") and len(body) < 200
    assert get("link.txt")[0] == 404 and get("assets", "none.js")[0] == 404
    assert get("assets", "main-1a2b.js", headers={"service-worker": "script"})[0] == 403
    assert get("r", "abc", "console")[2] == b'<html><head><base href="../../"></head></html>'
    (tmp_path / "web/assets/later.js").write_text("later")
    assert get("assets", "later.js")[2] == b"later"


def test_what_was_acknowledged_survives_a_kill(own_server: Running) -> None:
    feeder = Feeder(own_server, "durable")
    for step in range(50):
        feeder.log(step, loss=step / 3)
    made = own_server.api("POST", "/runs", {"project": "durable"}).json["id"]
    own_server.api("POST", f"/runs/{made}/log", {"metrics": {"x": 1}})

    own_server.kill()
    own_server.start()

    assert chart(own_server, str(feeder.run), "loss")["pv"] == [step / 3 for step in range(50)]
    assert own_server.api("GET", f"/writers/{feeder.writer}").json["expected"] == feeder.expected
    assert own_server.api("POST", f"/runs/{made}/log", {"metrics": {"x": 2}}).json["next_step"] == 2
    assert chart(own_server, made, "x")["pv"] == [1, 2]


def test_sigterm_answers_what_waits_and_leaves_nothing_behind(own_server: Running) -> None:
    feeder = Feeder(own_server, "closing")
    cursor = own_server.api("POST", "/live", {"cursor": None}).json["cursor"]
    body = json.dumps({"cursor": cursor, "wait_s": 25}).encode()
    sock = socket.create_connection(("127.0.0.1", own_server.port), timeout=LIMIT_S)
    sock.sendall(f"POST /api/v1/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    feeder.log(1, loss=1)
    began = time.monotonic()

    assert own_server.stop() == 0

    assert time.monotonic() - began < 10
    assert sock.recv(100).startswith(b"HTTP/1.1 200")
    sock.close()
    assert not (own_server.folder / "server.json").exists()
    own_server.start()
    assert chart(own_server, str(feeder.run), "loss")["pv"] == [1]


def test_the_server_file_says_where_the_server_is(own_server: Running) -> None:
    told = own_server.file

    assert stat.S_IMODE((own_server.folder / "server.json").stat().st_mode) == 0o600
    assert told["address"] == own_server.told["address"] and told["port"] == own_server.port and told["host"] == "127.0.0.1"
    assert own_server.process is not None and told["pid"] == own_server.process.pid
    assert {"pid_start", "server_id", "secret", "started_ms", "version", "data"} <= set(told)


def test_a_second_server_of_the_same_user_is_refused_and_one_that_died_is_not_in_the_way(own_server: Running) -> None:
    command = [sys.executable, "-P", "-m", "farwatch.server", "--json", "--port", "0", "--dir", str(own_server.folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}

    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    other_dir = [*command[:-1], str(own_server.folder) + "-2", "--data", own_server.told["data"]]
    same_data = subprocess.run(other_dir, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    assert second.returncode == 2 and own_server.told["address"] in second.stderr
    assert same_data.returncode == 2 and "another server uses" in same_data.stderr
    own_server.kill()
    assert (own_server.folder / "server.json").exists()
    own_server.start()
    assert own_server.api("GET", "/runs").status == 200


def test_a_taken_port_is_named_and_the_next_one_used(tmp_path: Path) -> None:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    with running(tmp_path / "state", "--port", str(port)) as server:
        assert port < server.port < port + 20
        assert f"port {port} is taken by pid {os.getpid()}" in server.told["notice"]
    taken.close()


def test_an_idle_server_costs_next_to_nothing(own_server: Running) -> None:
    assert own_server.process is not None
    own_server.api("POST", "/live", {"cursor": None})

    def cpu() -> float:
        fields = Path(f"/proc/{own_server.process.pid}/stat").read_text().rpartition(")")[2].split()  # type: ignore[union-attr]
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    until(lambda: own_server.api("GET", "/session").status == 200, "it has started")
    began, before = time.monotonic(), cpu()
    cursor = own_server.api("POST", "/live", {"cursor": None}).json["cursor"]
    own_server.api("POST", "/live", {"cursor": cursor, "wait_s": 3, "project": "*"})

    assert (cpu() - before) / (time.monotonic() - began) < 0.05


def test_an_interrupt_ends_the_server_quietly(own_server: Running) -> None:
    assert own_server.process is not None
    own_server.process.send_signal(signal.SIGINT)

    assert own_server.process.wait(LIMIT_S) == 0
    assert "Traceback" not in own_server.log


def test_sidecars_of_every_kind_are_checked(server: Running) -> None:
    for wrong in ({}, {"writer": "x"}, {**sidecar("p"), "writer": "AB" * 16}, [], {**sidecar("p"), "rank": "zero"}):
        assert server.api("POST", "/writers", wrong).status == 400
