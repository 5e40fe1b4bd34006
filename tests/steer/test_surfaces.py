"""The same commands from the terminal and from Python: each word, what it prints, what it returns, and how it exits. (K2 to K5, B9.)"""

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from farwatch.cli.group import run as run_words
from farwatch.errors import CommandError, ConfirmError
from tests.faults.machine import Machine, until
from tests.steer.conftest import Steered


def typed(run: Steered, *words: str) -> subprocess.CompletedProcess[str]:
    """A command as a person types it, without a terminal."""
    command = [sys.executable, "-m", "farwatch.cli", *words]
    return subprocess.run(command, env=run.machine.environ, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def in_json(run: Steered, *words: str) -> tuple[int, dict[str, Any]]:
    done = typed(run, *words, "--json")
    return done.returncode, json.loads(done.stdout)


def test_every_word_of_the_terminal_is_done_and_answered(run: Steered) -> None:
    run.start()
    name = run.run

    code, told = in_json(run, "set", name, "lr", "0.5")
    assert (code, told["state"], told["old"], told["new"], told["channel"]) == (0, "applied", 0.1, 0.5, "cli")
    plain = typed(run, "set", name, "layers", "7")
    assert (plain.returncode, plain.stdout.split(" at step ")[0], plain.stdout.rstrip()[-5:]) == (0, "set applied", "4 → 7")
    code, knobs = in_json(run, "set", name)
    assert (code, knobs["lr"]["value"], knobs["layers"]["value"], knobs["mode"]["choices"]) == (0, 0.5, 7, ["easy", "hard"])

    code, told = in_json(run, "call", name, "evaluate", "n=11")
    assert (code, told["state"], told["result"]) == (0, "applied", "acc 11")
    assert typed(run, "checkpoint", name).stdout.splitlines()[-1] == "step.pt"

    assert in_json(run, "pause", name)[1]["state"] == "applied"
    until(lambda: run.row()["state"] == "paused")
    assert in_json(run, "unpause", name)[1]["state"] == "applied"
    until(lambda: run.row()["state"] == "running")

    code, told = in_json(run, "stop", name)
    assert (code, told["state"]) == (0, "applied")
    assert run.process is not None and run.process.wait(20) == 0
    assert run.notes() == ["evaluate 11", "save"]
    until(lambda: run.row()["state"] == "stopped")
    late = typed(run, "pause", name)
    assert (late.returncode, late.stdout) == (1, "")
    assert "has ended (stopped): nothing can be asked of it" in late.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("set", "lr", "abc"), "lr is a number, not: `abc`"),
        (("set", "lr", "1 2"), "lr is a number, not: `1 2`"),
        (("set", "lr", "7"), "lr is from 1e-06 to 1, not: `7`"),
        (("set", "rl", "0.1"), "no knob is called `rl`"),
        (("set", "lr", "0.001"), "confirm with --yes"),
        (("call", "evaluate", "m=1"), "evaluate has no argument `m`"),
        (("call", "evaluate", "7"), "an argument is written NAME=VALUE"),
        (("kill",), "confirm with --yes"),
    ],
)
def test_what_a_terminal_gets_wrong_is_an_error_that_says_what(
    shared_run: Steered, words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in shared_run.machine.environ.items():
        monkeypatch.setenv(name, value)

    code = run_words([words[0], shared_run.run, *words[1:]])

    out, errors = capsys.readouterr()
    assert (code, out) == (1 if "confirm" in told else 2, "")
    assert told in errors
    assert shared_run.row()["steer"]["knobs"]["lr"]["value"] == 0.1


@pytest.fixture(scope="module")
def shared_run(shared: Any) -> Any:
    made = Steered(shared, "surfaces").start()
    yield made
    made.kill()


def test_kill_of_the_terminal_ends_it_and_says_who(run: Steered) -> None:
    run.start()

    code, told = in_json(run, "kill", run.run, "--yes")

    assert (code, told["state"]) == (0, "applied")
    assert run.process is not None and run.process.wait(10) < 0
    until(lambda: run.row()["state"] == "stopped")
    assert run.row()["reason"] == f"killed by {told['actor']}"


def test_a_terminal_does_not_wait_longer_than_it_is_told(run: Steered) -> None:
    run.start("silent")
    began = time.monotonic()

    done = typed(run, "pause", run.run, "--timeout", "0.5")
    at_once = typed(run, "unpause", run.run, "--no-wait")

    assert time.monotonic() - began < 20
    assert (done.returncode, done.stdout, at_once.returncode) == (0, "", 0)
    assert "on its way: it has not come to a safe point yet" in done.stderr


def test_every_word_of_python_is_done_and_answered(run: Steered) -> None:
    run.start()
    with run.machine.api() as api:
        found = api.run(run.run)
        knob = found.set("lr", 0.5).wait(10)
        answer = found.call("evaluate", n=12).wait(10)
        saved = found.checkpoint().wait(10)
        broken = found.call("broken").wait(10)
        paused = found.pause().wait(10)
        until(lambda: api.run(run.run).state == "paused")
        unpaused = found.unpause().wait(10)
        with pytest.raises(ConfirmError, match="factor of 100"):
            found.set("lr", 0.005)
        with pytest.raises(CommandError, match="lr is from"):
            found.set("lr", 2)
        stopped = found.stop().wait(10)

    assert [one.state for one in (knob, answer, saved, paused, unpaused, stopped)] == ["applied"] * 6
    assert (answer.result, saved.result, knob.step is not None) == ("acc 12", "step.pt", True)
    assert (broken.state, broken.reason) == ("refused", "broken raised RuntimeError: no <b>data</b>")
    assert run.process is not None and run.process.wait(20) == 0


def test_every_knob_is_listed_with_its_value_and_the_one_that_is_on_its_way(run: Steered) -> None:
    """K4, from the terminal and from Python."""
    run.start("silent")
    asked = run.ask("set", args={"name": "layers", "value": 8})
    later = run.ask("set", args={"name": "layers", "value": 9})

    code, told = in_json(run, "set", run.run)
    plain = typed(run, "set", run.run).stdout.splitlines()
    with run.machine.api() as api:
        knobs = api.run(run.run).knobs

    assert code == 0 and {name: (knob["value"], knob["pending"]) for name, knob in told.items()} == {
        "lr": (0.1, None), "layers": (4, 9), "mode": ("easy", None),
    }  # fmt: skip
    assert [line.split() for line in plain if line.startswith(("knob", "layers"))] == [
        ["knob", "value", "pending", "type", "takes"], ["layers", "4", "9", "int", "any", "to", "any"],
    ]  # fmt: skip
    assert (knobs["layers"].value, knobs["layers"].pending, knobs["lr"].pending) == (4, 9, None)
    assert {run.get(one)["state"] for one in (asked, later)} <= {"pending", "superseded"}


def test_command_to_a_server_that_is_down_is_not_taken_for_asked(machine: Machine) -> None:
    machine.kill_server()

    done = typed(Steered(machine, "nobody-there"), "stop", "nobody-there")

    assert (done.returncode, done.stdout) == (1, "")
    assert "server" in done.stderr and "Traceback" not in done.stderr
