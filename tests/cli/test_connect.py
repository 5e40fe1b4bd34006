"""`farwatch connect` and `farwatch pair`: from nothing to somebody who is told, by hand and from a script."""

import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farwatch.testing.chat.ilink import FakeIlink
from farwatch.testing.chat.slack import FakeSlack
from tests.chat.party import Party
from tests.chat.shell import begin, command
from tests.faults.machine import until

CODE = re.compile(r"[A-Z2-9]{4}-[A-Z2-9]{4}")


@contextmanager
def unconnected(folder: Path) -> Iterator[Party]:
    with Party(folder) as found:
        for name in ("FARWATCH_TELEGRAM_TOKEN", "FARWATCH_TELEGRAM_URL"):
            del found.environ[name]
        found.start_server()
        yield found


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    """A server that is connected to nothing, and a Telegram that would take it."""
    with unconnected(tmp_path / "m") as found:
        yield found


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    """The same, for tests that connect nothing."""
    with unconnected(tmp_path_factory.mktemp("connect") / "m") as found:
        yield found


def url(party: Party) -> str:
    return f"url={party.telegram.url}"


def code_in(log: Path) -> str:
    found = until(lambda: CODE.search(log.read_text()), what="a code")
    return str(found[0])


def test_script_connects_pairs_and_tests_without_a_terminal(party: Party, tmp_path: Path) -> None:
    """C10: the token is checked, a code is shown, only who sends it is bound, and is greeted."""
    log = tmp_path / "connect.log"
    waiting = begin(party, "connect", "telegram", url(party), "--test", "--json", log=log, FARWATCH_TELEGRAM_TOKEN=party.telegram.token)
    code = code_in(log)
    party.write("ABCD-EFGH", user=666)
    party.write(f"the code is {code}", user=667)
    party.write(code)

    out, _ = waiting.communicate(timeout=60)

    assert waiting.returncode == 0, log.read_text()
    told = json.loads(out)
    assert told["called"] == "Farwatch (@farwatch_bot)"
    assert (told["person"]["user_name"], told["person"]["scopes"]) == ("Ann", ["read", "steer"])
    assert [one["outcome"] for one in told["tests"]] == ["sent"]
    assert "paired: " in log.read_text() and "https://t.me/farwatch_bot?start=" in log.read_text()
    assert len(party.texts()) == 2, "a greeting and a test"
    everything = out.decode() + log.read_text()
    assert party.telegram.token not in everything and "\x1b" not in everything
    listed = command(party, "pair", "--list")
    people, strangers = listed.stdout.split("stranger")
    assert "Ann" in people and "666" in strangers and "667" in strangers


def test_token_from_a_pipe_and_a_code_for_later(party: Party) -> None:
    done = command(party, "connect", "telegram", url(party), "--stdin", "--no-wait", stdin=party.telegram.token + "\n")

    assert done.returncode == 0, done.stderr
    party.write(done.stdout.strip())
    assert until(lambda: party.texts(), what="a greeting")
    shown = command(party, "connect")
    assert re.search(r"^telegram +Telegram +ok", shown.stdout, re.MULTILINE), shown.stdout
    assert "experimental" in shown.stdout and "slack" in shown.stdout
    assert party.telegram.token not in shown.stdout + shown.stderr + done.stdout + done.stderr


def test_secrets_on_the_command_line_are_refused_and_not_repeated(idle: Party) -> None:
    done = command(idle, "connect", "telegram", f"token={idle.telegram.token}", url(idle))

    assert done.returncode == 2
    assert "FARWATCH_TELEGRAM_TOKEN" in done.stderr and "--stdin" in done.stderr
    assert idle.telegram.token not in done.stderr
    assert idle.telegram.calls == []


def test_wrong_token_connects_nothing(idle: Party) -> None:
    done = command(idle, "connect", "telegram", url(idle), "--stdin", "--no-wait", stdin="999:AAwrongwrongwrongwrong\n")

    assert done.returncode == 1 and done.stdout == ""
    assert "wrongwrong" not in done.stderr
    assert json.loads(command(idle, "connect", "--json").stdout)["channels"] == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("connect", "carrier-pigeon"), "carrier-pigeon"),
        (("connect", "telegram", "colour=red"), "colour"),
        (("connect", "telegram", "red"), "FIELD=VALUE"),
        (("connect", "telegram"), "@BotFather"),
        (("connect", "--remove", "nothing"), "nothing"),
        (("pair", "--list", "Ann"), "alone"),
        (("pair", "--remove", "Ann"), "chat/3"),
        (("pair", "--set", "1"), "nothing to change"),
        (("pair", "--set", "1", "quiet=always"), "23:00-08:00"),
    ],
)
def test_wrong_calls_say_what_is_wrong(idle: Party, words: tuple[str, ...], part: str) -> None:
    done = command(idle, *words)

    assert done.returncode in (1, 2) and done.stdout == ""
    assert part in done.stderr and "Traceback" not in done.stderr


def test_people_are_paired_listed_and_removed(party: Party, tmp_path: Path) -> None:
    command(party, "connect", "telegram", url(party), "--stdin", "--no-pair", stdin=party.telegram.token)
    log = tmp_path / "pair.log"
    waiting = begin(party, "pair", "Bo", "--may", "start", "--wait", "--json", log=log)
    party.write(code_in(log), user=7002)
    out, _ = waiting.communicate(timeout=60)
    person = json.loads(out)["person"]
    assert (person["name"], person["scopes"]) == ("Bo", ["read", "start"])

    chat = person["chats"][0]
    changed = command(party, "pair", "--set", person["no"], "quiet=23:00-08:00", "zone=Europe/Berlin", "lang=zh", "--json")
    assert json.loads(changed.stdout)["settings"] == {
        "quiet": {"from": "23:00", "to": "08:00", "alarms": True}, "zone": "Europe/Berlin", "lang": "zh",
    }  # fmt: skip
    assert command(party, "pair", "--set", f"chat/{chat}", "detail=minimal", "events=no").returncode == 0
    assert "23:00-08:00" in command(party, "pair", "--list").stdout
    told = json.loads(command(party, "pair", "--list", "--json").stdout)
    assert [one["settings"] for one in told["chats"]] == [{"detail": "minimal", "events": False}]
    wrong = command(party, "pair", "--set", f"chat/{chat}", "detail=everything")
    assert (wrong.returncode, "detail is full or minimal" in wrong.stderr) == (2, True)

    removed = command(party, "pair", "--remove", person["no"])

    assert removed.returncode == 0, removed.stderr
    assert json.loads(command(party, "pair", "--list", "--json").stdout)["people"] == []
    assert command(party, "connect", "--remove", "telegram").returncode == 0
    assert json.loads(command(party, "connect", "--json").stdout)["channels"] == []


class Terminal:
    """A command in a terminal of 100 columns, with somebody in front of it."""

    def __init__(self, party: Party, *words: str, **environ: str) -> None:
        self._ours, theirs = pty.openpty()
        given = {**party.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "50", "PYTHONIOENCODING": "utf-8", **environ}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "farwatch.cli", *words], env=given, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.text = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def shows(self, part: str) -> str:
        """Everything up to here, once this is on the screen."""
        until(lambda: self._read() or part in self.text, what=f"{part!r} in {self.text!r}")
        return self.text

    def types(self, line: str) -> None:
        os.write(self._ours, line.encode() + b"\n")

    def ends(self) -> int:
        until(lambda: self._read() or self.process.poll() is not None, what=f"an end of {self.text!r}")
        self._read()
        return self.process.wait()

    def _read(self) -> None:
        while select.select([self._ours], [], [], 0)[0]:
            try:
                self.text += os.read(self._ours, 65536).decode("utf-8", "replace")
            except OSError:  # the other side has gone
                return


def test_person_at_a_terminal_is_led_step_by_step(party: Party) -> None:
    with Terminal(party, "connect", "telegram", url(party)) as screen:
        screen.shows("@BotFather")
        screen.shows("token: ")
        screen.types(party.telegram.token)
        shown = screen.shows("is good once")
        assert "▀" in shown and "\x1b[38;5;16;48;5;231m" in shown, "a code to scan"
        party.write("/start " + str(CODE.search(shown.split("?start=")[0])[0]))  # type: ignore[index]
        screen.shows("Send a test?")
        screen.types("y")
        assert screen.ends() == 0
        assert "sent" in screen.text.split("Send a test?")[1]
        assert party.telegram.token not in screen.text


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_plain_terminals_get_the_link_as_text(party: Party, environ: dict[str, str]) -> None:
    more = {"FARWATCH_TELEGRAM_TOKEN": party.telegram.token, **environ}
    with Terminal(party, "connect", "telegram", url(party), "--no-wait", **more) as screen:
        shown = screen.shows("is good once")

    assert "https://t.me/farwatch_bot?start=" in shown
    assert not any(letter in shown for letter in "▀▄█\x1b")


def test_one_way_service_is_connected_from_a_pipe_and_tested(party: Party) -> None:
    fake = FakeSlack()
    serving = fake.serving()
    party.on_loop(serving.__aenter__())
    try:
        unclear = command(party, "connect", "slack", "--stdin", stdin=fake.webhook)
        assert (unclear.returncode, fake.hook in unclear.stderr) == (2, False), "the address, or a token?"

        done = command(party, "connect", "slack", "--name", "lab", "--stdin", "--test", "--json", stdin=f"webhook={fake.webhook}\n")

        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["channel"]["name"], told["pairing"], [one["outcome"] for one in told["tests"]]) == ("lab", None, ["sent"])
        assert len(fake.seen()) == 1
        assert fake.hook not in done.stdout + done.stderr
    finally:
        party.on_loop(serving.__aexit__(None, None, None))


def test_wechat_is_connected_by_a_scan(party: Party) -> None:
    """The code is drawn, renewed when it expires; the number of the phone is asked for; a second way is asked for."""
    fake = FakeIlink()
    fake.states = ["expired", "wait", "scaned", "need_verifycode", "confirmed"]
    serving = fake.serving()
    party.on_loop(serving.__aenter__())
    try:
        with Terminal(party, "connect", "wechat", f"url={fake.url}") as screen:
            screen.shows("one bot program at a time")
            screen.shows("scan the new one")
            first, second = screen.text.split("https://liteapp.weixin.qq.com/q/qr-1")[0], screen.shows("qr-2").split("qr-1")[1]
            assert "▀" in first and "▀" in second, "a code, and a new one when it had expired"
            screen.shows("Number")
            screen.types("４８２１")
            screen.shows("connected; write the bot any message")
            screen.shows("connect a second way")
            screen.shows("paired: ")
            screen.shows("Send a test?")
            screen.types("n")
            assert screen.ends() == 0
            assert fake.secret not in screen.text and "is good once" not in screen.text
        assert fake.codes == 2
    finally:
        party.on_loop(serving.__aexit__(None, None, None))
