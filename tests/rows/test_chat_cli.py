"""Rows C5, C8, C10 and C11: from code and shell to a phone, with real processes and a fake of Telegram."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chat.party import Party
from tests.chat.shell import command
from tests.faults.machine import until

HELLO = "import farwatch\nfarwatch.notify('hello')"


def messages(party: Party) -> list[str]:
    """What waits to be sent."""
    folder = party.state / "messages"
    return sorted(name for name in os.listdir(folder) if name[0].isdigit()) if folder.is_dir() else []


def sent(party: Party) -> list[str]:
    """All texts that were sent anew, in order."""
    return [str(call.fields["text"]) for call in party.telegram.asked("sendMessage") if call.status == 200]


def test_free_message_arrives_once_and_the_program_ends_well(tmp_path: Path) -> None:
    """C5: a plain call `notify("hello")` yields one message with that text, and exit code 0."""
    with Party(tmp_path / "m") as party:
        party.start_server()
        party.pair()
        before = len(sent(party))

        began = time.monotonic()
        program = party.train(HELLO)
        assert program.wait(60) == 0
        until(lambda: sent(party)[before:] == ["hello"], what="hello")
        assert time.monotonic() - began < 30
        until(lambda: not messages(party), what="the message is gone from disk")
        assert sent(party)[before:] == ["hello"]


def test_messages_survive_every_death_and_come_in_order(tmp_path: Path) -> None:
    """No server yet, then one; agents and the server are killed on the way: each message once, in order, with its file."""
    with Party(tmp_path / "m") as party:
        party.start_server()
        party.pair()
        party.kill_server()
        before = len(sent(party))
        (party.folder / "big.bin").write_bytes(b"\x07" * 400_000)
        source = "import farwatch\nfor n in range(5): farwatch.notify(f'message {n}')\nfarwatch.notify('with a file', file='big.bin')"
        assert party.train(source).wait(60) == 0
        until(lambda: party.agents(), what="an agent")
        party.kill_agents()
        assert len(messages(party)) == 6

        waiting = command(party, "status")
        assert "6 messages wait for a server" in waiting.stderr, waiting.stderr
        party.start_server(through="cli")  # which starts an agent for what waits
        until(lambda: len(sent(party)) > before, 60, "the first")
        party.kill_agents()
        party.kill_server()
        party.start_server(through="cli")
        until(lambda: not messages(party), 90, "all are sent")

        got = [text for text in sent(party)[before:] if text.startswith("message")]
        assert got == [f"message {n}" for n in range(5)], got
        assert [one.files[0] for one in party.seen() if one.files] == [b"\x07" * 400_000]
        assert json.loads(command(party, "status", "--json").stdout)["messages"] == {"waiting": 0, "given_up": []}


def test_what_cannot_be_sent_is_given_up_and_said(tmp_path: Path) -> None:
    """Nobody to tell, and a message of the day before yesterday: a line in `farwatch status`."""
    with Party(tmp_path / "m") as party:
        party.start_server()
        assert party.train(HELLO).wait(60) == 0
        until(lambda: "nobody is connected" in command(party, "status").stderr, 60, "why not")
        party.pair()
        old = party.state / "messages" / "00000000000000000001-1-0-abcdef01"
        old.mkdir(mode=0o700)
        body = {"text": "stale", "made_ms": int(time.time() * 1000) - 25 * 3_600_000, "server": None}
        (old / "message.json").write_text(json.dumps(body))
        before = len(sent(party))

        assert party.train(HELLO).wait(60) == 0

        until(lambda: sent(party)[before:] == ["hello"], 60, "the fresh one")
        assert "within 24 hours" in command(party, "status").stderr


def test_message_asked_for_twice_is_sent_once_also_over_a_restart(tmp_path: Path) -> None:
    """Whoever has heard no answer asks again with the same id."""
    with Party(tmp_path / "m") as party:
        party.start_server()
        party.pair()
        before = len(sent(party))
        body = {"text": "once", "id": "a-message-of-mine-17", "wait_s": 20}

        with party.api() as api:
            first = [api._contact.send("POST", "/notify", body)["messages"] for _ in range(3)]
        assert [[one["outcome"] for one in told] for told in first] == [["sent"]] * 3
        party.kill_server(signal.SIGTERM)
        party.start_server()
        with party.api() as api:
            again = api._contact.send("POST", "/notify", body)["messages"]
            other = api._contact.send("POST", "/notify", {**body, "id": "another-of-mine-18"})["messages"]

        assert [one["outcome"] for one in (*again, *other)] == ["sent", "sent"]
        assert sent(party)[before:] == ["once", "once"], "the second one is another message"


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with Party(tmp_path_factory.mktemp("row") / "m") as party:
        party.start_server()
        party.pair()
        yield party


def test_long_text_is_split_and_taken_back(paired: Party) -> None:
    """C8: 10 000 characters become 3 messages of at most 4096 that join to the original; deletes by the printed IDs."""
    text = "".join(f"line {number:04} of a long story\n" for number in range(345))[:10_000]
    before, asked = len(paired.seen()), len(sent(paired))

    done = command(paired, "notify", "--stdin", stdin=text)

    assert done.returncode == 0, done.stderr
    pieces = sent(paired)[asked:]
    assert (len(pieces), max(map(len, pieces)) <= 4096, len(paired.seen())) == (3, True, before + 3)
    assert "".join(pieces) == text.rstrip("\n")
    assert command(paired, "notify", "--delete", done.stdout).returncode == 0
    assert len(paired.seen()) == before
    assert len([call for call in paired.telegram.asked("deleteMessage") if call.status == 200]) >= 3


def test_shell_tells_what_it_reads_and_what_it_wraps(paired: Party) -> None:
    """C11: stdin is sent, an empty one is not; a command that exits 3 sends its name, duration and code, and itself exits 3."""
    before = len(paired.seen())
    pipe = "printf hi | {farwatch} notify --stdin && printf '' | {farwatch} notify --stdin"
    farwatch = f"{sys.executable} -m farwatch.cli"
    done = subprocess.run(["/bin/sh", "-c", pipe.format(farwatch=farwatch)], env=paired.environ, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert paired.texts()[before:] == ["hi"]

    wrapped = command(paired, "run", "--name", "night-job", "--", "/bin/sh", "-c", "sleep 1.2; exit 3")

    assert wrapped.returncode == 3
    told = paired.message_with("exit code 3", 60)
    assert "night-job" in told.text, told.text
    assert "after 1 s" in told.text, told.text
    assert not told.silent


def test_wrapped_command_that_is_killed_says_by_what(paired: Party) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "farwatch.cli", "run", "--name", "short-lived", "--", "sleep", "60"], env=paired.environ,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with paired.api() as api:
        until(lambda: [run for run in api.runs() if run.name == "short-lived"], 60, "the run")
    process.send_signal(signal.SIGTERM)

    assert process.wait(60) == 128 + signal.SIGTERM
    told = paired.message_with("short-lived #", 60)
    until(lambda: "SIGTERM" in paired.message_with("short-lived #").text, 60, f"the signal; last was {told.text!r}")
