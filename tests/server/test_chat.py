"""Channels and people over HTTP: a real server, a strict fake of Telegram, secrets that are found in one file only."""

import contextlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chatting import (
    TOKEN,
    Telegram,
    answered,
    channel,
    connected,
    fresh,
    ilink,
    paired,
    person,
    running,
    telegram,
    until,
)
from serving import SOURCE, Running
from writing import Feeder

from farwatch.server.routes import channels, notify, people

ALL = (*channels.ENDPOINTS, *people.ENDPOINTS, *notify.ENDPOINTS)
NAN = float("nan")
SECOND = "220402086:BBIesRdwUJ2wHXKygTfpTgBt1L6QBMEtbx"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Running, Telegram]]:
    """A server of its own and a fake, connected."""
    with fresh(tmp_path) as (server, other):
        connected(server, other)
        yield server, other


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Telegram]]:
    """One for tests that leave nothing behind."""
    with fresh(tmp_path_factory.mktemp("chat")) as (server, other):
        connected(server, other)
        yield server, other


def holders(folder: Path, word: str) -> set[str]:
    """Files below a folder in which a word stands, as it is or as databases and JSON may write it."""
    forms = {word.encode(), json.dumps(word)[1:-1].encode(), word.encode("utf-16-le")}
    return {path.name for path in folder.rglob("*") if path.is_file() and any(form in path.read_bytes() for form in forms)}


def command(server: Running, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line beside a server."""
    environ = {**os.environ, "FARWATCH_DIR": str(server.folder), "PYTHONPATH": str(SOURCE)}
    done = [sys.executable, "-m", "farwatch.cli", *words]
    return subprocess.run(done, capture_output=True, timeout=60, check=False, env=environ, text=True)


# --- channels


def test_kinds_say_what_a_person_must_give(shared: tuple[Running, Telegram]) -> None:
    kinds = {one["name"]: one for one in answered(shared[0].api("GET", "/channels"))["kinds"]}

    token = next(one for one in kinds["telegram"]["fields"] if one["name"] == "token")
    assert (token["secret"], token["required"], token["env"]) == (True, True, "FARWATCH_TELEGRAM_TOKEN")
    assert kinds["telegram"]["ready"] and kinds["telegram"]["steps"] and not kinds["telegram"]["scan"]
    assert kinds["wechat"]["scan"] and kinds["wechat"]["experimental"]


def test_readiness_is_that_of_the_extra() -> None:
    assert channels.installed("") and channels.installed("wechat")
    assert not channels.installed("no-such-extra")


def test_wrong_token_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    with fresh(tmp_path) as (server, other):
        wrong = TOKEN[:-1] + "x"
        reply = server.api("PUT", "/channels/telegram", {"kind": "telegram", "values": {**other.values, "token": wrong}})

        assert (reply.status, reply.code) == (422, "no-bridge")
        assert wrong not in reply.body.decode()
        assert answered(server.api("GET", "/channels"))["channels"] == []
        assert not (server.folder / "server" / "channels.json").exists()
        assert holders(tmp_path, wrong) == set()


def test_what_is_not_given_again_stays(place: tuple[Running, Telegram]) -> None:
    server, other = place

    answered(server.api("PUT", "/channels/telegram", {"kind": "telegram", "values": {"url": other.fake.url + "/"}}))

    assert channel(server)["values"] == {"token": "•••" + TOKEN[-4:], "url": other.fake.url + "/"}
    until(lambda: channel(server)["ok"], "it listens again")


@pytest.mark.parametrize(
    ("name", "body", "status", "said"),
    [
        ("telegram", {}, 400, "a channel is"),
        ("telegram", {"kind": "telegram", "values": []}, 400, "a channel is"),
        ("telegram", {"kind": "telegram", "token": "x"}, 400, "a channel is"),
        ("telegram", {"kind": "pigeon", "values": {}}, 400, "is a channel of telegram"),
        ("two", {"kind": "pigeon", "values": {}}, 404, "no service of this name"),
        ("two", {"kind": "telegram", "values": {}}, 400, "needs `token`"),
        ("two", {"kind": "telegram", "values": {"token": 5}}, 400, "`token` is a text of one line"),
        ("two", {"kind": "telegram", "values": {"token": "a\nb"}}, 400, "`token` is a text of one line"),
        ("two", {"kind": "telegram", "values": {"token": TOKEN}}, 400, "connected already, as `telegram`"),
        ("two", {"kind": "telegram", "values": {"colour": "red"}}, 400, "no field `colour`"),
        ("Two words", {"kind": "telegram", "values": {}}, 400, "small letters, digits and hyphens"),
        ("..", {"kind": "telegram", "values": {}}, 400, ""),
        ("buttons", {"kind": "telegram", "values": {"token": "1:x"}}, 400, "no channel can be called"),
    ],
)
def test_wrong_channels_say_what_is_wrong(
    shared: tuple[Running, Telegram], name: str, body: dict[str, Any], status: int, said: str
) -> None:
    reply = shared[0].api("PUT", f"/channels/{name.replace(' ', '%20')}", body)

    assert reply.status == status, reply.body
    assert said in reply.json["error"]["message"]


def test_token_is_found_in_one_file_only(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    server = Environed(folder, level="DEBUG")
    with telegram() as other, contextlib.closing(Ended(server)):
        server.start()
        connected(server, other)
        paired(server, other)
        for what in ("error", "busy", "garbage", "cut"):
            other.fake.misbehave(what, **({"retry_after_s": 1} if what == "busy" else {}))
        for _ in range(3):
            answered(server.api("POST", "/notify", {"text": "hello", "wait_s": 30}))
        far = {"token": SECOND, "url": "https://nowhere.invalid"}
        reply = server.api("PUT", "/channels/far", {"kind": "telegram", "values": far})
        assert (reply.status, reply.code) == (422, "no-bridge") and SECOND.encode() not in reply.body
        told = [server.api("GET", path).body for path in ("/channels", "/people", "/deliveries", "/problems", "/info", "/openapi.json")]
        told.append(server.api("PUT", "/channels/telegram", {"kind": "telegram", "values": other.values}).body)
        done = command(server, "doctor", "--json")
        told += [done.stdout.encode(), done.stderr.encode(), server.log.encode()]
        server.stop()

        data = server.folder / "server"
        assert holders(tmp_path, TOKEN) == {"channels.json"} and holders(tmp_path, SECOND) == set()
        assert '"checks"' in done.stdout
        assert not [text[:200] for text in told if TOKEN.encode() in text or TOKEN.partition(":")[2].encode() in text]
        assert stat.S_IMODE((data / "channels.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((data / "channels").stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in (data / "channels").iterdir()} == {0o600}


def test_backup_holds_people_and_no_credential(place: tuple[Running, Telegram], tmp_path: Path) -> None:
    server, other = place
    paired(server, other)

    kept = command(server, "backup", str(tmp_path / "kept"), "--data", str(server.folder / "server"))
    made = command(server, "restore", str(tmp_path / "kept"), "--data", str(tmp_path / "again" / "server"))

    assert (kept.returncode, made.returncode) == (0, 0), kept.stderr + made.stderr
    assert "channels.json" in kept.stderr + kept.stdout and "connected again" in made.stderr + made.stdout
    for folder in (tmp_path / "kept", tmp_path / "again"):
        assert holders(folder, TOKEN) == set()
        assert not list(folder.rglob("channels*"))
    server.stop()
    with running(tmp_path / "again") as restored:
        assert answered(restored.api("GET", "/channels"))["channels"] == []
        assert [one["name"] for one in answered(restored.api("GET", "/people"))["people"]] == ["Ann"]
        connected(restored, other)
        (told,) = answered(restored.api("POST", "/notify", {"text": "hello again", "wait_s": 30}))["messages"]
        assert told["outcome"] == "sent"


def test_channel_is_there_after_a_restart(place: tuple[Running, Telegram]) -> None:
    server, other = place
    paired(server, other)

    server.stop()
    server.start()

    until(lambda: channel(server)["ok"], "it listens again")
    assert channel(server)["lasting"]
    assert answered(server.api("POST", "/notify", {"text": "back", "wait_s": 30}))["messages"][0]["outcome"] == "sent"


def test_channel_that_is_removed_leaves_nobody_known(place: tuple[Running, Telegram]) -> None:
    server, other = place
    chat = paired(server, other)["chats"][0]

    answered(server.api("DELETE", "/channels/telegram"))

    told = answered(server.api("GET", "/people"))
    assert answered(server.api("GET", "/channels"))["channels"] == [] and told["chats"] == []
    assert [(one["name"], one["identities"]) for one in told["people"]] == [("Ann", [])]
    assert holders(server.folder, TOKEN) == set()
    assert not (server.folder / "server" / "channels" / "telegram.json").exists()
    assert server.api("POST", f"/chats/{chat}/test").status == 404
    assert server.api("DELETE", "/channels/telegram").status == 404

    connected(server, other)
    before = len(other.texts())
    other.write("status")
    until(lambda: answered(server.api("GET", "/people"))["strangers"], "Ann is a stranger")
    assert len(other.texts()) == before


def test_channel_of_the_environment_is_changed_there(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    with telegram() as other:
        given = {"FARWATCH_TELEGRAM_TOKEN": TOKEN, "FARWATCH_TELEGRAM_URL": other.fake.url, "FARWATCH_TELEGRAM_CHAT": "7001"}
        server = Environed(folder, environ=given)
        try:
            server.start()
            until(lambda: channel(server)["ok"], "it listens")
            assert not channel(server)["lasting"]
            assert server.api("PUT", "/channels/telegram", {"kind": "telegram", "values": {}}).code == "bad-request"
            assert "environment" in server.api("DELETE", "/channels/telegram").json["error"]["message"]
            (sent,) = answered(server.api("POST", "/notify", {"text": "hi", "to": ["telegram"], "wait_s": 30}))["messages"]
            assert sent["outcome"] == "sent"
        finally:
            server.stop()
        assert holders(tmp_path, TOKEN) == set()


class Environed(Running):
    """A server whose environment connects it, or in which `before` is run first."""

    def __init__(self, folder: Path, *, environ: dict[str, str] | None = None, before: str = "", level: str = "INFO") -> None:
        super().__init__(folder)
        self._environ, self._before, self._level = environ or {}, before, level

    def start(self, *extra: str) -> "Running":
        code = f"import os\nos.environ.update({self._environ!r})\n{self._before}\nfrom farwatch.server.__main__ import main\nmain()"
        options = ["--json", "--port", "0", "--log", self._level, "--dir", str(self.folder)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FARWATCH_")}
        with open(self.folder.parent / (self.folder.name + ".log"), "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, *options], stdout=subprocess.PIPE, stderr=log, text=True, cwd="/",
                env={**environment, "PYTHONPATH": str(SOURCE)},
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log
        self.told = json.loads(line)
        return self


# --- logging in by a scan


def test_login_by_scan_step_by_step(tmp_path: Path) -> None:
    with running(tmp_path / "state") as server, ilink() as wechat:
        wechat.states = ["wait", "need_verifycode", "scaned", "confirmed"]
        answered(server.api("PUT", "/channels/mine", {"kind": "wechat", "values": {"url": wechat.url, "cdn": wechat.url}}))
        assert (channel(server, "mine")["ok"], channel(server, "mine")["code"]) == (False, "scan-again")

        first = answered(server.api("POST", "/channels/mine/login", {}))
        assert first["state"] == "wait" and first["link"].endswith("qr-1") and "takes it away" in first["text"]
        steps = [answered(server.api("POST", "/channels/mine/login", {})) for _ in range(2)]
        assert [one["state"] for one in steps] == ["wait", "needs-digits"]
        assert steps[0]["link"] == first["link"] and steps[1]["link"] is None
        assert server.api("POST", "/channels/mine/login", {"digits": "no"}).code == "no-bridge"
        last = answered(server.api("POST", "/channels/mine/login", {"digits": "4821"}))
        while last["state"] == "scanned":
            last = answered(server.api("POST", "/channels/mine/login", {}))

        assert last["state"] == "confirmed"
        until(lambda: wechat.polls, "the new session is listened to")
        server.stop()
        assert holders(tmp_path, wechat.secret) == {"mine.json"}


def test_login_may_begin_anew_and_leads_nowhere_else(shared: tuple[Running, Telegram]) -> None:
    server, _ = shared

    assert "not connected by a scan" in server.api("POST", "/channels/telegram/login", {}).json["error"]["message"]
    assert server.api("POST", "/channels/nothing/login", {}).status == 404
    for wrong in ({"digits": 4821}, {"again": "yes"}, {"link": "x"}):
        assert server.api("POST", "/channels/wechat/login", wrong).code == "bad-request"


def test_server_ends_while_somebody_waits_for_a_scan(tmp_path: Path) -> None:
    with running(tmp_path / "state") as server, ilink() as wechat:
        wechat.states = [{"status": "wait"}]
        answered(server.api("PUT", "/channels/wechat", {"kind": "wechat", "values": {"url": wechat.url, "cdn": wechat.url}}))
        one, two = (answered(server.api("POST", "/channels/wechat/login", {"again": True})) for _ in range(2))

        assert (one["link"], two["link"]) == ("https://liteapp.weixin.qq.com/q/qr-1", "https://liteapp.weixin.qq.com/q/qr-2")
        assert server.stop() == 0


# --- people


def test_code_makes_a_person_once(place: tuple[Running, Telegram]) -> None:
    server, other = place
    offer = answered(server.api("POST", "/people/pair", {"name": "Ann", "scopes": ["read"], "channel": "telegram"}))
    (link,) = offer["links"]
    code = offer["code"].replace("-", "")

    assert link["link"] == f"https://t.me/farwatch_bot?start={code}" and offer["code"] in link["text"] and offer["seconds"] == 600
    other.write(f"/start {code}")
    until(lambda: person(server, "Ann"), "Ann is paired")
    other.write(f"/start {code}", user=7002, name="Ben")
    stranger = until(lambda: answered(server.api("GET", "/people"))["strangers"], "Ben is on the list")[0]

    told = answered(server.api("GET", "/people"))
    assert [(one["name"], one["scopes"]) for one in told["people"]] == [("Ann", ["read"])]
    assert (stranger["user"], stranger["user_name"], stranger["times"]) == ("7002", "Ben", 1)
    assert {one.chat for one in other.seen()} == {"7001"}  # a stranger gets no answer
    answered(server.api("DELETE", "/strangers/telegram/7002"))
    assert answered(server.api("GET", "/people"))["strangers"] == []


def test_guessing_closes_the_door_and_a_new_code_opens_it(place: tuple[Running, Telegram]) -> None:
    server, other = place
    answered(server.api("POST", "/people/pair", {"name": "Ann"}))

    for place_ in range(20):
        other.write("AAAA-AAA" + "23456789ABCDEFGHJKMN"[place_], user=8_000 + place_ // 4, name="Eve")
    until(lambda: answered(server.api("GET", "/people"))["closed"], "pairing is closed")
    paired(server, other, name="Ben", user=7002)

    assert not answered(server.api("GET", "/people"))["closed"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/people/pair", {"scopes": ["admin"]}, 400),
        ("POST", "/people/pair", {"scopes": [["read"]]}, 400),
        ("POST", "/people/pair", {"name": 5}, 400),
        ("POST", "/people/pair", {"person": True}, 400),
        ("POST", "/people/pair", {"person": 99}, 404),
        ("POST", "/people/pair", {"channel": "pigeon"}, 404),
        ("POST", "/people/pair", [], 400),
        ("PATCH", "/people/99", {"name": "x"}, 404),
        ("PATCH", "/people/x", {}, 404),
        ("DELETE", "/people/99", None, 404),
        ("POST", "/chats", {"channel": "telegram"}, 400),
        ("POST", "/chats", {"channel": "pigeon", "address": "1"}, 404),
        ("POST", "/chats", {"channel": "telegram", "address": "1", "person": 99}, 404),
        ("POST", "/chats", {"channel": "telegram", "address": ""}, 400),
        ("PATCH", "/chats/99", {}, 404),
        ("DELETE", "/chats/99", None, 404),
        ("POST", "/chats/99/test", None, 404),
        ("GET", "/deliveries?before=x", None, 400),
    ],
)
def test_wrong_requests_say_what_is_wrong(
    shared: tuple[Running, Telegram], method: str, path: str, body: Any, status: int
) -> None:
    reply = shared[0].api(method, path, body)

    assert reply.status == status, reply.body
    assert reply.json["error"]["message"]


def test_person_and_chat_are_changed_and_removed(place: tuple[Running, Telegram]) -> None:
    server, other = place
    ann = paired(server, other)
    no, chat = ann["no"], ann["chats"][0]
    group = answered(server.api("POST", "/chats", {"channel": "telegram", "address": str(other.fake.group()), "title": "Lab"}))

    quiet = {"from": "23:00", "to": "08:00"}
    changed = answered(server.api("PATCH", f"/people/{no}", {"name": "Anna", "zone": "Europe/Berlin", "quiet": quiet, "lang": "zh"}))
    assert changed["settings"] == {"lang": "zh", "zone": "Europe/Berlin", "quiet": {**quiet, "alarms": True}}
    assert server.api("PATCH", f"/people/{no}", {"zone": "Mars/Base"}).code == "bad-request"
    assert server.api("PATCH", f"/people/{no}", {"chats": [chat, group["no"]]}).code == "bad-request"
    assert answered(server.api("PATCH", f"/chats/{chat}", {"detail": "minimal"}))["settings"] == {"detail": "minimal"}
    assert server.api("PATCH", f"/chats/{chat}", {"detail": "tiny"}).code == "bad-request"

    answered(server.api("DELETE", f"/chats/{group['no']}"))
    answered(server.api("DELETE", f"/people/{no}"))
    told = answered(server.api("GET", "/people"))
    assert (told["people"], told["chats"]) == ([], [])


def test_second_identity_is_the_same_person(place: tuple[Running, Telegram]) -> None:
    server, other = place
    ann = paired(server, other)

    other.write(answered(server.api("POST", "/people/pair", {"person": ann["no"]}))["code"], user=7002, name="Ann at work")
    both = until(lambda: (found := person(server, "Ann")) and len(found["chats"]) == 2 and found, "both are hers")
    swapped = answered(server.api("PATCH", f"/people/{ann['no']}", {"chats": both["chats"][::-1]}))

    assert [one["user_name"] for one in both["identities"]] == ["Ann", "Ann at work"]
    assert swapped["chats"] == both["chats"][::-1]
    assert [one["no"] for one in answered(server.api("GET", "/people"))["chats"]] == both["chats"][::-1]


def test_test_says_what_became_of_it(place: tuple[Running, Telegram]) -> None:
    server, other = place
    chat = paired(server, other)["chats"][0]

    assert answered(server.api("POST", f"/chats/{chat}/test")) == {"outcome": "sent", "reason": ""}
    assert "this is a test" in other.texts()[-1]
    other.fake.block(other.fake.chat)
    refused = answered(server.api("POST", f"/chats/{chat}/test"))

    assert refused["outcome"] == "gone" and refused["reason"]
    last = answered(server.api("GET", "/people"))["chats"][0]["last"]
    assert (last["outcome"], last["about"]) == ("gone", "test")


# --- who may


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Telegram]]:
    """A server on which whoever proves to be its owner may only read, once Ann is paired."""
    folder = tmp_path_factory.mktemp("readers")
    with fresh(folder) as (server, other):
        connected(server, other)
        paired(server, other)
        other.write("let me in", user=700_555_123, name="Eve")
        until(lambda: answered(server.api("GET", "/people"))["strangers"], "Eve has written")
        server.stop()
        scopes = (
            "from farwatch.service.access import Access, Actor\n"
            "Access.owner_actor = lambda self, via: Actor(self.owner, frozenset({'read'}), via, 'reader')"
        )
        limited = Environed(server.folder, before=scopes)
        with contextlib.closing(Ended(limited)):
            limited.start()
            yield limited, other


class Ended:
    """Ends a server as `contextlib.closing` wants it."""

    def __init__(self, server: Running) -> None:
        self.close = server.stop


@pytest.mark.parametrize("endpoint", [one for one in ALL if one.scope != "read"], ids=lambda one: f"{one.method} {one.path}")
def test_who_may_only_read_changes_nothing(readers: tuple[Running, Telegram], endpoint: Any) -> None:
    server, other = readers
    path = endpoint.path.format(name="telegram", no=1, channel="telegram", user="700555123")
    before = other.fake.requests

    reply = server.api(endpoint.method, path, {} if endpoint.body is not None else None)

    assert (reply.status, reply.code) == (403, "forbidden")
    assert f"`{endpoint.scope}`" in reply.json["error"]["message"]
    assert other.fake.requests == before
    told = answered(server.api("GET", "/people"))
    assert (len(told["people"]), len(told["chats"]), len(told["strangers"])) == (1, 1, 1)


def test_who_may_only_read_sees_no_addresses(readers: tuple[Running, Telegram]) -> None:
    server, _ = readers

    told = answered(server.api("GET", "/people"))

    assert told["strangers"][0]["user"] == "•••5123"
    assert told["chats"][0]["address"] == "•••"
    assert answered(server.api("GET", "/channels"))["channels"] and answered(server.api("GET", "/deliveries"))["deliveries"]


def test_routes_ask_for_what_they_do() -> None:
    scopes = {f"{one.method} {one.path}": one.scope for one in ALL}

    assert {name for name, scope in scopes.items() if name.startswith("GET")} == {n for n, s in scopes.items() if s == "read"}
    assert {name for name, scope in scopes.items() if scope == "log"} == {"POST /notify", "POST /notify/uploads", "POST /notify/delete"}
    assert {name for name, scope in scopes.items() if scope == "steer"} == {"PATCH /chats/{no}", "POST /chats/{no}/test"}


# --- was I told?


def test_alerts_say_whom_they_have_reached(place: tuple[Running, Telegram]) -> None:
    server, other = place
    ann = paired(server, other)
    answered(server.api("PATCH", f"/people/{ann['no']}", {"name": "Ann"}))
    group = other.fake.group("Lab")
    answered(server.api("POST", "/chats", {"channel": "telegram", "address": str(group), "title": "Lab"}))
    other.fake.block(group)
    run = Feeder(server, "told")
    for step in range(20):
        run.log(step, loss=NAN if step > 9 else 1 / (step + 1))

    def row() -> Any:
        listed = answered(server.api("GET", "/alerts?project=told"))["alerts"]
        return listed and len(listed[0]["told"]) == 2 and listed[0]

    found = until(row, "both chats were tried")
    told = {one["who"]: (one["channel"], one["outcome"]) for one in found["told"]}
    assert told == {"Ann": ("telegram", "sent"), "Lab": ("telegram", "gone")}
    assert all(one["at_ms"] >= found["fired_ms"] for one in found["told"])

    answered(server.api("POST", f"/alerts/{found['id']}", {"acknowledge": True}))
    until(lambda: other.seen(other.fake.chat)[-1].edits, "Ann's copy says who looks after it")
    one = until(
        lambda: len((now := answered(server.api("GET", f"/alerts/{found['id']}")))["deliveries"]) > 2 and now, "the change is listed"
    )
    assert one["told"] == found["told"]  # what changes a message later is no news of it
    assert {two["outcome"] for two in one["deliveries"]} == {"sent", "gone"}
    listed = answered(server.api("GET", f"/deliveries?about=alert/{found['id']}"))["deliveries"]
    assert [two["id"] for two in listed] == sorted((two["id"] for two in one["deliveries"]), reverse=True)
    older = answered(server.api("GET", f"/deliveries?before={listed[0]['id']}&limit=1"))["deliveries"]
    assert [two["id"] for two in older] == [listed[0]["id"] - 1]


def test_live_stream_hears_whom_an_alert_has_reached(place: tuple[Running, Telegram]) -> None:
    server, other = place
    paired(server, other)
    run = Feeder(server, "live")
    first = answered(server.api("POST", "/live", {"project": "live", "wait_s": 0}))
    for step in range(20):
        run.log(step, loss=NAN if step > 9 else 1 / (step + 1))

    def heard() -> Any:
        news = answered(server.api("POST", "/live", {"project": "live", "cursor": first["cursor"], "wait_s": 0}))
        return [one["who"] for row in news["alerts"] for one in row["told"]]

    assert set(until(heard, "the alert comes again with whom it has reached")) == {"Ann"}
