"""A server that has seen everything once, asked everything, and what it answered."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from chatting import ilink, telegram
from serving import Reply, Running, until
from writing import Feeder, sidecar

import farwatch
from farwatch.wire.batch import FLAG_GAP, Batch
from farwatch.wire.records import Flag, Kind, encode_json

NAN = float("nan")
JSON = {"Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Heard:
    """One request and its answer."""

    body: Any
    reply: Reply


@dataclass
class Speaker:
    """Asks a server by the paths of its document, and keeps what it hears under (method, path)."""

    server: Running
    heard: dict[tuple[str, str], list[Heard]] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        ask: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        raw: bytes | None = None,
    ) -> Any:
        """The answer's JSON. What stands in braces is filled from `ask`, the rest of it goes behind the question mark."""
        rest = dict(ask or {})
        address = path
        for name in [name for name in rest if f"{{{name}}}" in path]:
            address = address.replace(f"{{{name}}}", quote(str(rest.pop(name)), safe=""))
        address += "?" + urlencode(rest) if rest else ""
        whole = address if path in ("/healthz", "/readyz") else "/api/v1" + address
        reply = self.server.ask(method, whole, body, headers, raw=raw)
        assert reply.status < 300, (method, address, reply.body)
        self.heard.setdefault((method, path), []).append(Heard(body, reply))
        return reply.json


def change(kind: Kind, body: dict[str, Any]) -> bytes:
    """A record of anything but numbers."""
    return encode_json(kind, body, time=time.time_ns() // 1000, flags=Flag.TIME_GIVEN)


def busy_run(server: Running) -> Feeder:
    """A run with two attempts, two ranks, every type of media, a gap, and an end."""
    first = Feeder(server, "spoken", more={"tags": ["a"], "total_steps": 9, "host": "box"})
    for step in range(5):
        first.log(step, loss=1 / (step + 1), never=NAN, acc=float("inf") if step == 3 else 0.5)
    first.send([change(Kind.PATCH, PATCH), change(Kind.PATCH, {"capture": {"in_notebook": False}})])
    line = {"s": "stdout", "n": 0, "lines": ["hello", "world"], "open": False}
    first.send([change(Kind.CONSOLE, line), change(Kind.METER, METER)])
    spool(first, "notes", b"hello")
    first.send([change(Kind.FILE, {"path": "a/notes.txt", "spool": "notes", "size": 5, "mtime_ms": 1, "media_type": "text/plain"})])
    first.send([change(Kind.FILE, {"path": "late.bin", "spool": "late", "size": 5, "mtime_ms": 1})])
    media(first)
    lose(first)
    first.send([change(Kind.GOODBYE, {"state": "preempted", "reason": "no", "meter": METER})])
    second = Feeder(server, "spoken", first.run, {"rank": 0, "world_size": 2, "from_step": 3})
    other = Feeder(server, "spoken", first.run, {"rank": 1, "world_size": 2, "main": False})
    for step in range(3, 6):
        second.log(step, loss=2.0, acc=0.25)
        other.log(step, loss=3.0, speed=1.0)
    second.send([change(Kind.PATCH, {"progress": {"n": 3, "total": None}})])
    return second


METER = {"calls": 5, "total_ns": 100, "worst_ns": 50, "dropped": 0, "wall_ns": 1_000}
PATCH = {
    "config": {"lr": 0.1, "betas": [0.9, 0.99], "deep": {"er": None, "on": True, "none": "NaN"}},
    "summary": {"best": 3, "word": "good", "list": [1]},
    "tags": {"add": ["b"], "remove": []},
    "notes": "noted",
    "define": [
        {"match": "acc", "x": "step", "summary": "max", "goal": "max", "unit": "%"},
        {"match": "loss*", "goal": "min"},
    ],
    "capture": {"git": {"commit": "abc", "dirty": True}, "packages": {"numpy": "2"}},
}


def media(feeder: Feeder) -> None:
    """One of each type, as the SDK makes it."""
    pixels = [[[step, 0, 0] for step in range(4)] for _ in range(4)]
    made = [
        farwatch.Image(pixels, caption="red"),
        farwatch.Histogram([1.0, 2.0, NAN]),
        farwatch.Histogram(counts=[1, 2], edges=[0, 1, float("inf")]),
        farwatch.Table([{"a": 1, "b": "x"}, {"a": NAN, "b": None}]),
        farwatch.Audio([0.0, 0.5, -0.5] * 100, rate=8_000),
        farwatch.Video([pixels, pixels], fps=2),
        farwatch.Html("<p>hello"),
    ]
    for place, one in enumerate(made):
        rendered = one.render()
        body = {"name": f"media/{place}", **rendered.body}
        if rendered.content is not None:
            content = rendered.content if isinstance(rendered.content, bytes) else rendered.content.read_bytes()
            spool(feeder, f"m{place}", content)
            body |= {"spool": f"m{place}", "size": len(content), "media_type": rendered.media_type}
        feeder.point(body, place)
    feeder.point({"name": "words", "type": "text", "text": "hello", "index": 1}, 2)
    feeder.point({"name": "large", "type": "integer", "text": str(2**70)}, 2)
    feeder.point({"name": "away", "type": "image", "spool": "never", "size": 3, "media_type": "image/png"}, 2)


def spool(feeder: Feeder, name: str, content: bytes) -> None:
    asked = urlencode({"offset": 0, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    reply = feeder.server.api("PUT", f"/writers/{feeder.writer}/spool/{name}?{asked}", raw=content)
    assert reply.status == 200, reply.body


def lose(feeder: Feeder) -> None:
    """Two records that an agent could not read any more."""
    batch = Batch(feeder.writer, feeder.expected, 2, feeder.crc, feeder.crc, b"a damaged page", FLAG_GAP)
    reply = feeder.post(batch.encode())
    assert reply.status == 200, reply.body
    feeder.expected += 2


def ask_everything(speaker: Speaker) -> None:
    """Ask for all that a server can be asked in JSON, each in the ways that change the answer."""
    run = busy_run(speaker.server)
    _ask_of_the_server(speaker)
    _ask_of_runs(speaker, run)
    _ask_of_numbers(speaker, run)
    _feed(speaker, run)
    _steer(speaker, run)
    _launch(speaker)
    _alert(speaker)
    _chat(speaker)
    _change(speaker, run)


def _ask_of_the_server(speaker: Speaker) -> None:
    for path in ("/healthz", "/readyz", "/info", "/problems", "/session", "/openapi.json", "/projects"):
        speaker.ask("GET", path)
    speaker.ask("POST", "/prove", body={"nonce": "0" * 32})
    code = speaker.ask("POST", "/once")["code"]
    key = speaker.ask("POST", "/session", body={"once": code})["key"]
    cookie = speaker.heard["POST", "/session"][-1].reply.headers["set-cookie"].partition(";")[0]
    signed = {"Cookie": cookie, "X-Farwatch-Key": key}
    speaker.ask("GET", "/session", headers=signed)
    speaker.ask("DELETE", "/session", headers=signed)


def _ask_of_runs(speaker: Speaker, run: Feeder) -> None:
    asked = {"project": "spoken", "columns": "config.*,summary.*,name,created", "sort": "-summary.acc"}
    for more in ({}, {"exact": 1, "limit": 1}, {"where": "summary.loss < 9", "archived": 1}):
        speaker.ask("GET", "/runs", {**asked, **more})
    speaker.ask("GET", "/columns", {"project": "spoken"})
    for path in ("", "/costs", "/metrics", "/console", "/media", "/files"):
        speaker.ask("GET", "/runs/{ref}" + path, {"ref": run.run})
    failed = Feeder(speaker.server, "spoken")
    failed.send([change(Kind.GOODBYE, {"state": "failed", "reason": "no", "traceback": "Traceback"})])
    speaker.ask("GET", "/runs/{ref}", {"ref": failed.run})
    speaker.ask("GET", "/runs/{ref}/metrics", {"ref": "spoken#1", "match": "o", "limit": 1})
    speaker.ask("GET", "/runs/{ref}/console", {"ref": run.run, "tail": 1, "q": "hell"})
    speaker.ask("GET", "/writers/{writer}", {"writer": run.writer})


def _ask_of_numbers(speaker: Speaker, run: Feeder) -> None:
    names = ("loss", "acc", "never", "none of these")
    lines = [{"run": run.run, "name": name, "attempt": "all"} for name in names]
    for more in ({}, {"x": "time"}, {"x": "acc"}, {"buckets": 2}, {"ranks": "mean"}, {"lo": 1, "hi": None}):
        speaker.ask("POST", "/charts", body={"lines": lines, **more}, headers=JSON)
    speaker.ask("POST", "/charts", body={"lines": lines * 6, "buckets": 2}, headers=JSON)
    for asked in ({"lines": lines, "lo": 1, "hi": None}, {"project": "spoken", "name": "loss", "where": None}):
        speaker.ask("POST", "/series", body=asked, headers=JSON)
    began = speaker.ask("POST", "/live", body={"cursor": None})
    other = Feeder(speaker.server, "spoken")
    other.send([change(Kind.CONSOLE, {"s": "stderr", "n": 0, "lines": ["live"], "open": True})])
    other.log(1, fresh=NAN)
    other.point({"name": "words", "type": "text", "text": "hello"}, 1)
    asked = {
        "cursor": began["cursor"],
        "project": "spoken",
        "runs": [other.run],
        "series": [{"run": other.run, "name": "fresh"}],
        "console": [other.run],
        "wait_s": 5,
    }
    speaker.ask("POST", "/live", body=asked)


def _feed(speaker: Speaker, run: Feeder) -> None:
    body = {"project": "fed", "name": "by hand", "config": {"lr": 1}, "tags": ["x"], "notes": None}
    made = speaker.ask("POST", "/runs", body=body)
    ref = {"ref": made["id"]}
    speaker.ask("POST", "/runs/{ref}/log", ref, {"metrics": {"a": 1, "b": {"c": "NaN", "d": "text"}}})
    speaker.ask("POST", "/runs/{ref}/log", ref, [{"step": 0.5, "metrics": {"a": 2}, "time_ms": 1_000}])
    speaker.ask("POST", "/runs/{ref}/finish", ref, {"state": "failed", "reason": "by hand"})
    told = sidecar("spoken")
    writer = speaker.ask("POST", "/writers", body=told)
    assert writer["expected"] == 0
    name = {"writer": told["writer"], "name": "part"}
    chunk = {"offset": 0, "size": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
    speaker.ask("PUT", "/writers/{writer}/spool/{name}", {**name, **chunk}, raw=b"ab")
    speaker.ask("GET", "/writers/{writer}/spool/{name}", name)
    payload = run.batch(run.step(9, {"loss": 0.5}))
    speaker.ask("POST", "/writers/{writer}/batches", {"writer": run.writer}, raw=payload)
    dead = {"alive": False, "cause": {"signal": 9, "text": "killed"}, "records_behind": 1}
    beats = {"writers": {run.writer: {"alive": True}, told["writer"]: dead}, "next_s": 10, "host": "box", "version": "1"}
    speaker.ask("POST", "/agents/{agent}/beat", {"agent": "one"}, beats)


STEER = {
    "knobs": {
        "lr": {"type": "float", "value": 0.1, "default": 0.1, "min": 0, "max": 1, "choices": None, "log": False},
        "mode": {"type": "str", "value": "a", "default": "a", "min": None, "max": None, "choices": ["a", "b"], "log": False, "by": "Ann"},
    },
    "commands": {"evaluate": {"doc": "", "args": [{"name": "n", "type": "int", "required": False, "default": 3, "choices": None}]}},
    "hooks": ["stop"],
}


def _steer(speaker: Speaker, run: Feeder) -> None:
    ref = {"ref": run.run}
    beat = {"writers": {run.writer: {"alive": True}}, "next_s": 10, "host": "box", "version": "1"}
    speaker.ask("POST", "/agents/{agent}/beat", {"agent": "one"}, beat)
    run.send([change(Kind.PATCH, {"steer": STEER})])
    speaker.ask("GET", "/runs/{ref}", ref)
    asked = {"op": "set", "args": {"name": "lr", "value": "0.2"}, "channel": "page", "expires_s": 60}
    wish = speaker.ask("POST", "/runs/{ref}/commands", ref, asked)
    speaker.ask("POST", "/runs/{ref}/commands", ref, {"op": "call", "args": {"name": "evaluate", "args": {"n": 5}}, "text": "go"})
    order = speaker.ask("POST", "/agents/{agent}/commands", {"agent": "one"}, {"wait_s": 0})["commands"][0]
    assert order["id"] == wish["id"]
    speaker.ask("POST", "/agents/{agent}/commands", {"agent": "one"}, {"wait_s": 0, "delivered": [{"id": wish["id"]}]})
    ended = {"command": wish["id"], "seq": 1, "op": "set", "event": "ended", "state": "applied", "old": 0.1, "new": 0.2}
    run.send([change(Kind.EVENT, ended)])
    speaker.ask("GET", "/commands/{command}", {"command": wish["id"], "wait_s": 5})
    speaker.ask("GET", "/runs/{ref}/commands", ref)


PROFILES = {
    "host": "box",
    "user": "ann",
    "profiles": {
        "train": {
            "title": "Train", "description": "digits", "folder": "~/digits", "command": ["python", "train.py", "{lr}", "{mode}"],
            "environment": ["OMP_NUM_THREADS"], "at_once": 1,
            "parameters": {
                "lr": {"type": "float", "min": 0, "max": 1, "default": 0.1, "description": "rate"},
                "mode": {"type": "str", "choices": ["a", "b"], "pattern": "[ab]"},
            },
        }
    },
}  # fmt: skip


def _launch(speaker: Speaker) -> None:
    speaker.ask("POST", "/agents/{agent}/commands", {"agent": "two"}, {"wait_s": 0, "profiles": PROFILES})
    speaker.ask("GET", "/launch/profiles")
    where = {"machine": "two", "profile": "train"}
    asked = {"parameters": {"mode": "a", "lr": "0.2"}, "confirm": True, "channel": "page", "text": "go", "id": "start-0001"}
    speaker.ask("POST", "/launch/{machine}/{profile}", where, asked)
    runner = Feeder(speaker.server, "spoken", more={"role": "runner", "agent": "two"})
    speaker.ask("POST", "/runs/{ref}/restart", {"ref": runner.run}, {"confirm": True, "channel": "page"})
    runner.send([change(Kind.EVENT, {"notify": {"text": "half way"}})])
    speaker.ask("GET", "/runs/{ref}/messages", {"ref": runner.run})


def _alert(speaker: Speaker) -> None:
    """A loss that becomes no number, what people say to that, and rules of all three scopes."""
    run = Feeder(speaker.server, "alarming")
    for step in range(20):
        run.log(step, loss=NAN if step > 9 else 1 / (step + 1), grad=float(step == 10))
    ref, project = {"ref": run.run}, {"project": "alarming"}
    until(lambda: speaker.ask("GET", "/alerts", {**project, "limit": 5})["alerts"], "an alert of the NaN")
    number = speaker.ask("GET", "/runs/{ref}/alerts", ref)["alerts"][0]["id"]
    speaker.ask("GET", "/alerts/{id}", {"id": number})
    for said in ({"acknowledge": True}, {"snooze_s": 60}, {"resolve": True}):
        speaker.ask("POST", "/alerts/{id}", {"id": number}, said)
    wanted = {"rules": {"nan": {"then": {"op": "stop", "args": {}, "unless_answered_s": 60}}}}
    for path, ask in (("/rules", {}), ("/projects/{project}/rules", project), ("/runs/{ref}/rules", ref)):
        speaker.ask("GET", path, ask)
        speaker.ask("PUT", path, ask, wanted)
        speaker.ask("PUT", path, ask, {"rules": {"nan": None}})


def _chat(speaker: Speaker) -> None:
    """Telegram with two people, a message there and back, an alert that is told, and a code of WeChat to scan."""
    with telegram() as other, ilink() as wechat:
        speaker.ask("PUT", "/channels/{name}", {"name": "telegram"}, {"kind": "telegram", "values": other.values})
        until(lambda: speaker.ask("GET", "/channels")["channels"][0]["ok"], "Telegram listens")
        for asked in ({"name": "Ann", "scopes": ["read", "steer", "start"], "channel": "telegram"}, {"person": 1}):
            code = speaker.ask("POST", "/people/pair", {}, asked)["code"]
            other.write(code, user=7001 if "name" in asked else 7002)
            until(lambda who=1 + ("person" in asked): len(other.texts()) >= who, "somebody is greeted")
        other.write("let me in", user=7003, name="Eve")
        until(lambda: speaker.ask("GET", "/people")["strangers"], "a stranger has written")
        told = {"name": "Ann", "lang": "en", "zone": "Europe/Berlin", "quiet": {"from": "23:00", "to": "23:01"}, "scopes": ["read"]}
        chats = speaker.ask("PATCH", "/people/{no}", {"no": 1}, told)["chats"]
        speaker.ask("PATCH", "/people/{no}", {"no": 1}, {"quiet": None, "chats": chats[::-1]})
        settings = {"lang": "zh", "detail": "full", "progress": "off", "every": {"s": 600}, "projects": ["chatty"], "watch": []}
        speaker.ask("PATCH", "/chats/{no}", {"no": chats[0]}, {**settings, "alarms": None, "events": None, "muted_until_ms": None})
        speaker.ask("POST", "/chats/{no}/test", {"no": chats[0]})
        group = str(other.fake.group())
        made = speaker.ask("POST", "/chats", {}, {"channel": "telegram", "address": group, "title": "Lab", "person": None})
        upload = speaker.ask("POST", "/notify/uploads", {"name": "a.txt"}, raw=b"words")["upload"]
        file, note = {"upload": upload, "caption": "c"}, {"name": "b.txt", "media_type": "text/plain", "base64": "aGVsbG8="}
        message = {"text": "*hi*", "format": "markdown", "silent": True, "preview": True, "files": [file, note], "to": ["telegram", 1]}
        sent = speaker.ask("POST", "/notify", {}, {**message, "wait_s": 30, "picture": None})["messages"]
        wanted = [{"chat": one["chat"], "ids": one["ids"]} for one in sent if one["ids"]]
        speaker.ask("POST", "/notify/delete", {}, {"messages": wanted})
        run = Feeder(speaker.server, "chatty")
        for step in range(20):
            run.log(step, loss=NAN if step > 9 else 1 / (step + 1))
        until(lambda: any(row["told"] for row in speaker.ask("GET", "/alerts", {"project": "chatty"})["alerts"]), "an alert is told")
        number = speaker.ask("GET", "/runs/{ref}/alerts", {"ref": run.run})["alerts"][0]["id"]
        assert speaker.ask("GET", "/alerts/{id}", {"id": number})["deliveries"]
        speaker.ask("GET", "/deliveries", {"limit": 5, "about": f"alert/{number}"})
        speaker.ask("DELETE", "/strangers/{channel}/{user}", {"channel": "telegram", "user": 7003})
        speaker.ask("DELETE", "/chats/{no}", {"no": made["no"]})
        speaker.ask("DELETE", "/people/{no}", {"no": 1})
        speaker.ask("DELETE", "/channels/{name}", {"name": "telegram"})
        values = {"url": wechat.url, "cdn": wechat.url}
        speaker.ask("PUT", "/channels/{name}", {"name": "wechat"}, {"kind": "wechat", "values": values})
        for asked in ({"again": True}, {"digits": "4821"}):
            speaker.ask("POST", "/channels/{name}/login", {"name": "wechat"}, asked)
        speaker.ask("DELETE", "/channels/{name}", {"name": "wechat"})


def _change(speaker: Speaker, run: Feeder) -> None:
    ref = {"ref": run.run}
    body = {"name": "new", "notes": "", "tags": {"add": ["c"], "remove": ["a"]}, "archived": False}
    speaker.ask("PATCH", "/runs/{ref}", ref, body)
    speaker.ask("DELETE", "/runs/{ref}/files/{path}", {**ref, "path": "a/notes.txt"})
    speaker.ask("DELETE", "/runs/{ref}/metrics", {**ref, "name": "never"})
    speaker.ask("DELETE", "/runs/{ref}", ref)
    speaker.ask("POST", "/runs/{ref}/undelete", ref)
