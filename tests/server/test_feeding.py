"""Runs fed by requests alone, batches as agents send them, and files."""

import hashlib
import os
import zlib

import numpy as np
import pytest
from serving import Running, chart
from writing import Feeder, sidecar

from farwatch.store import zstd
from farwatch.wire import columns
from farwatch.wire.records import Kind, encode_json

COLUMNS = {"Accept": columns.CONTENT_TYPE}


def test_a_run_made_and_fed_by_requests_alone_is_read_back(server: Running) -> None:
    made = server.api(
        "POST", "/runs", {"project": "plain", "name": "by hand", "config": {"lr": 0.1}, "tags": ["x"]}
    )
    run = made.json["id"]
    first = server.api("POST", f"/runs/{run}/log", {"metrics": {"loss": 0.5, "val": {"acc": 0.1}}})
    many = server.api(
        "POST",
        f"/runs/{run}/log",
        [
            {"step": 5, "metrics": {"loss": "NaN", "note": "hello"}, "time_ms": 1_700_000_000_123.25},
            {"metrics": {"loss": "-Infinity", "at": {"$datetime": "2026-01-01T00:00:00+01:00"}, "on": {"$date": "2026-01-01"}}},
        ],
    )
    done = server.api("POST", f"/runs/{run}/finish", {"state": "failed", "reason": "out of patience"})

    assert (made.status, first.json["next_step"], many.json["next_step"]) == (201, 1, 7)
    assert (done.json["state"], done.json["reason"]) == ("failed", "out of patience")
    assert chart(server, run, "loss")["px"] == [0, 5, 6]
    assert chart(server, run, "loss")["pv"] == [0.5, "NaN", "-Infinity"]
    assert chart(server, run, "val/acc")["pv"] == [0.1]
    detail = server.api("GET", f"/runs/{run}").json
    assert (detail["config"], detail["tags"], detail["name"]) == ({"lr": 0.1}, ["x"], "by hand")
    others = {item["name"]: (item["type"], item["text"]) for item in server.api("GET", f"/runs/{run}/media").json["items"]}
    assert others == {"note": ("text", "hello"), "at": ("datetime", "2026-01-01T00:00:00+01:00"), "on": ("date", "2026-01-01")}
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

    assert (refused.status, refused.code) == (409, "refused")
    assert continued.json["attempt"] == 2
    assert chart(server, run, "loss")["pv"] == [1, 3]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"metrics": 3},
        {"metrics": {"a": [1]}},
        {"metrics": {"a": {"b": []}}},
        {"step": "x", "metrics": {}},
        {"step": "NaN", "metrics": {}},
        [3],
        "x",
        {"metrics": {"a": 1}, "time_ms": "soon"},
    ],
)
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
    sent = [
        feeder.post(bodies[0]),
        feeder.post(zlib.compress(bodies[1]), "deflate"),
        feeder.post(zstd.compress(bodies[2]), "zstd"),
    ]
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
    changed = server.api(
        "PATCH",
        f"/runs/{feeder.run}",
        {"name": "new", "notes": "n", "tags": {"add": ["a", "b"]}, "archived": True},
    )
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
    feeder.send(
        [
            encode_json(
                Kind.FILE,
                {"path": "out/weights.bin", "spool": "w.bin", "size": len(content), "mtime_ms": 5},
                time=1,
            )
        ]
    )
    spool = f"/writers/{feeder.writer}/spool/w.bin"
    query = f"&size={len(content)}&sha256={sha256}"

    assert server.api("PUT", f"{spool}?offset=0{query}", raw=content[:1_000_000]).json == {
        "offset": 1_000_000,
        "done": False,
    }
    assert server.api("GET", spool).json == {"offset": 1_000_000}
    assert server.api("PUT", f"{spool}?offset=2000000{query}", raw=content[2_000_000:]).json == {
        "offset": 1_000_000,
        "done": False,
    }
    assert server.api("PUT", f"{spool}?offset=1000000{query}", raw=content[1_000_000:]).json == {
        "offset": 3_000_000,
        "done": True,
    }

    path = f"/runs/{feeder.run}/files/out/weights.bin"
    whole = server.api("GET", path)
    part = server.api("GET", path, headers={"Range": "bytes=100-199"})
    many = server.api("GET", path, headers={"Range": "bytes=" + ",".join(f"{n}-{n}" for n in range(2_000))})
    beyond = server.api("GET", path, headers={"Range": "bytes=9999999-"})
    head = server.api("HEAD", path)
    known = server.api("GET", path, headers={"If-None-Match": whole.headers["etag"]})
    assert whole.body == content and whole.headers["x-sha256"] == sha256
    assert (
        whole.headers["content-disposition"]
        == "attachment; filename=\"weights.bin\"; filename*=UTF-8''weights.bin"
    )
    assert (part.status, part.body, part.headers["content-range"]) == (
        206,
        content[100:200],
        "bytes 100-199/3000000",
    )
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
    assert (
        server.api(
            "PUT", f"/writers/{'34' * 16}/spool/x?offset=0&size=3&sha256={'0' * 64}", raw=b"abc"
        ).status
        == 404
    )


def test_sidecars_of_every_kind_are_checked(server: Running) -> None:
    bodies: list[object] = [{}, {"writer": "x"}, {**sidecar("p"), "writer": "AB" * 16}, []]
    for wrong in [*bodies, {**sidecar("p"), "rank": "zero"}]:
        assert server.api("POST", "/writers", wrong).status == 400
