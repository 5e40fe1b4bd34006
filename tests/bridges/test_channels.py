"""Secrets of services: one file that only we can read, and the environment."""

import json
import os
import stat
from pathlib import Path

import pytest

from farwatch.bridges.channels import ChannelFile, checked, from_environment
from farwatch.clock import SystemClock
from farwatch.errors import NotFoundError, UsageError

TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


@pytest.fixture
def file(tmp_path: Path) -> ChannelFile:
    return ChannelFile(tmp_path / "data", SystemClock())


def test_what_is_kept_comes_back_and_only_we_can_read_it(file: ChannelFile, tmp_path: Path) -> None:
    file.put(checked("telegram", "telegram", {"token": TOKEN}))
    file.memory("telegram").save({"offset": 7})

    found = file.load()["telegram"]
    assert (found.kind, dict(found.values), found.lasting) == ("telegram", {"token": TOKEN}, True)
    assert file.memory("telegram").load() == {"offset": 7}
    modes = {path.relative_to(tmp_path): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        Path("data"): 0o700, Path("data/channels.json"): 0o600, Path("data/channels"): 0o700, Path("data/channels/telegram.json"): 0o600,
    }  # fmt: skip
    assert TOKEN not in repr(found)


def test_file_that_others_can_read_is_refused(file: ChannelFile, tmp_path: Path) -> None:
    file.put(checked("telegram", "telegram", {"token": TOKEN}))
    (tmp_path / "data" / "channels.json").chmod(0o644)

    with pytest.raises(UsageError, match="can be read by others"):
        file.load()


def test_link_instead_of_the_file_is_refused(file: ChannelFile, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps({"channels": {}}))
    (tmp_path / "data").mkdir(mode=0o700)
    os.symlink(elsewhere, tmp_path / "data" / "channels.json")

    with pytest.raises(UsageError, match="cannot read"):
        file.load()


def test_forgotten_channel_leaves_nothing(file: ChannelFile, tmp_path: Path) -> None:
    file.put(checked("telegram", "telegram", {"token": TOKEN}))
    file.memory("telegram").save({"offset": 7})
    file.remove("telegram")

    assert not any(TOKEN in path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert file.memory("telegram").load() == {}
    with pytest.raises(NotFoundError):
        file.remove("telegram")


@pytest.mark.parametrize(
    ("name", "values", "part"),
    [
        ("Tele gram", {"token": TOKEN}, "small letters"), ("../x", {"token": TOKEN}, "small letters"), ("telegram", {}, "needs `token`"),
        ("telegram", {"token": TOKEN, "colour": "red"}, "no field `colour`"), ("telegram", {"token": "a\nb"}, "one line"),
        ("telegram", {"token": 5}, "one line"), ("telegram", {"token": "x" * 5_000}, "one line"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_channel_is_refused_by_name(name: str, values: dict[str, object], part: str) -> None:
    with pytest.raises(UsageError, match=part) as caught:
        checked(name, "telegram", values)
    assert TOKEN not in str(caught.value)


def test_unknown_service_lists_those_there_are() -> None:
    with pytest.raises(NotFoundError, match="telegram, wecom"):
        checked("x", "icq", {})


def test_environment_connects_what_it_names_and_says_what_is_lacking() -> None:
    found, lacking = from_environment({"FARWATCH_TELEGRAM_TOKEN": TOKEN, "FARWATCH_TELEGRAM_CHAT": "7, 8/2", "FARWATCH_WECOM_BOT_ID": "b"})

    assert list(found) == ["telegram"]
    assert (dict(found["telegram"].values), found["telegram"].lasting) == ({"token": TOKEN, "chat": "7, 8/2"}, False)
    assert lacking == ["WeCom smart bot is not connected: FARWATCH_WECOM_SECRET is not set"] or "FARWATCH_WECOM_SECRET" in lacking[0]
