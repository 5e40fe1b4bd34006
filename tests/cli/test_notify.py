"""`farwatch notify`: what arrives, what is printed, and how it ends."""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chat.party import Party
from tests.chat.shell import command


def png() -> bytes:
    """A picture of 2 × 2."""
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(b"\0\xff\0\0\xff\0\0" * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    """A server with Ann paired on Telegram."""
    with Party(tmp_path_factory.mktemp("notify") / "m") as found:
        found.start_server()
        found.pair()
        yield found


def test_text_arrives_and_its_id_takes_it_back(party: Party) -> None:
    done = command(party, "notify", "all", "done", "a_b*c[1]")

    assert (done.returncode, done.stderr) == (0, "")
    assert party.texts()[-1] == "all done a_b*c[1]"
    gone = command(party, "notify", "--delete", *done.stdout.split())
    assert (gone.returncode, gone.stderr) == (0, "")
    assert "all done a_b*c[1]" not in party.texts()


def test_standard_input_is_sent_as_it_is_and_nothing_is_nothing(party: Party) -> None:
    before = len(party.seen())

    empty = [command(party, "notify", "--stdin", stdin=text).returncode for text in ("", "\n")]
    assert (empty, len(party.seen())) == ([0, 0], before)
    assert command(party, "notify", "--stdin", stdin="hi").returncode == 0
    assert party.texts()[-1] == "hi"
    assert command(party, "notify", "--stdin", stdin="两行\n中文\n").returncode == 0
    assert party.texts()[-1] == "两行\n中文"


@pytest.mark.parametrize("style", ["text", "markdown", "html", "mono"])
def test_every_format_takes_what_would_be_markup(party: Party, style: str) -> None:
    done = command(party, "notify", "--format", style, f"{style} a_b*c[1]")

    assert done.returncode == 0, done.stderr
    assert f"{style} a_b*c[1]" in party.texts()[-1]


def test_silent_and_preview_are_passed_on(party: Party) -> None:
    command(party, "notify", "quiet one", "--silent", "--preview")
    loud = command(party, "notify", "loud one")

    assert loud.returncode == 0
    quiet, other = party.telegram.asked("sendMessage")[-2:]
    assert quiet.fields["disable_notification"] is True
    assert not quiet.fields.get("link_preview_options", {}).get("is_disabled", False)
    assert not other.fields.get("disable_notification", False)
    assert other.fields["link_preview_options"]["is_disabled"] is True


def test_picture_and_files_arrive_whole_small_and_large(party: Party, tmp_path: Path) -> None:
    picture, small, large = tmp_path / "curve.png", tmp_path / "table.csv", tmp_path / "model.bin"
    picture.write_bytes(png())
    small.write_bytes(b"a,b\n1,2\n")
    large.write_bytes(bytes(range(256)) * 12_000)  # 3 MB: more than goes into JSON

    done = command(party, "notify", "--image", picture, "--caption", "loss", "--file", small, "--file", large)

    assert done.returncode == 0, done.stderr
    seen = party.seen()[-3:]
    assert [one for each in seen for one in each.pictures] == [png()]
    assert [one for each in seen for one in each.files] == [small.read_bytes(), large.read_bytes()]
    assert any("loss" in each.text for each in seen)


def test_chosen_chats_alone_are_told(party: Party) -> None:
    group = party.telegram.group("Lab")
    with party.api() as api:
        chat = api._contact.send("POST", "/chats", {"channel": "telegram", "address": str(group)})
    before = len(party.seen())

    done = command(party, "notify", "to the lab", "--to", chat["no"], "--json")

    assert done.returncode == 0, done.stderr
    assert [one.text for one in party.seen(group)] == ["to the lab"]
    assert len(party.seen()) == before
    assert [one["chat"] for one in json.loads(done.stdout)["messages"]] == [chat["no"]]


def test_what_arrives_nowhere_is_a_failure_with_its_reason(party: Party) -> None:
    group = party.telegram.group("Gone")
    with party.api() as api:
        chat = api._contact.send("POST", "/chats", {"channel": "telegram", "address": str(group)})
    party.telegram.block(group)

    done = command(party, "notify", "anybody?", "--to", chat["no"])

    assert (done.returncode, done.stdout) == (1, "")
    assert f"telegram, chat {chat['no']}: gone" in done.stderr


def test_refused_deletion_is_a_warning_only(party: Party) -> None:
    sent = command(party, "notify", "stays", "--to", "1")
    party.telegram.misbehave("refuse", method="deleteMessage", description="Bad Request: message can't be deleted for everyone")

    done = command(party, "notify", "--delete", sent.stdout.strip())

    assert (done.returncode, done.stdout) == (0, "")
    assert "warning" in done.stderr and "can't be deleted" in done.stderr
    assert party.texts()[-1] == "stays"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("notify",), "nothing to say"),
        (("notify", "text", "--stdin"), "given"),
        (("notify", "text", "--caption", "c"), "caption"),
        (("notify", "--delete", "nonsense"), "no ID"),
        (("notify", "text", "--to", "no-such-channel"), "no-such-channel"),
    ],
)
def test_wrong_calls_say_what_is_wrong(party: Party, words: tuple[str, ...], part: str) -> None:
    done = command(party, *words)

    assert done.returncode in (1, 2) and done.stdout == ""
    assert part in done.stderr and "Traceback" not in done.stderr


def test_nobody_connected_is_said(tmp_path: Path) -> None:
    with Party(tmp_path / "m") as alone:
        alone.start_server()

        done = command(alone, "notify", "hello?")

    assert done.returncode == 1
    assert "nobody is connected" in done.stderr
