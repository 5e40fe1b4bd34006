"""Channels over HTTP: a real server, a strict fake of Telegram, secrets that are found in one file only."""

import contextlib
import stat
from pathlib import Path
from typing import Any

import pytest
from chatting import (
    TOKEN,
    Ended,
    Environed,
    Telegram,
    answered,
    channel,
    command,
    connected,
    fresh,
    holders,
    ilink,
    paired,
    running,
    telegram,
    until,
)
from serving import Running

from farwatch.server.routes import channels

SECOND = "220402086:BBIesRdwUJ2wHXKygTfpTgBt1L6QBMEtbx"


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
