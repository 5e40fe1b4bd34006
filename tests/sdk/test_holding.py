"""Holding a run, signals, and the inbox by which all of it comes."""

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import farwatch
from farwatch.agent.outbox import Outbox
from farwatch.wire import inbox as wire
from farwatch.wire.commands import Op, Order

from .asking import Asked

# --- pause


def later(delay_s: float, call: Any) -> threading.Timer:
    timer = threading.Timer(delay_s, call)
    timer.start()
    return timer


def test_pause_holds_the_run_and_others_are_obeyed_meanwhile(asked: Asked) -> None:
    lr = asked.run.knob("lr", 1.0)
    asked.run.on("checkpoint")(lambda: asked.run.state)
    pause = asked.ask("pause")
    told: dict[str, str] = {}

    def go_on() -> None:
        told["set"] = asked.ask("set", name="lr", value=2.0)
        told["save"] = asked.ask("checkpoint")
        told["again"] = asked.ask("pause")
        time.sleep(0.2)
        told["go"] = asked.ask("unpause")

    timer = later(0.2, go_on)
    began = time.monotonic()
    asked.steps(2)
    timer.join()

    assert time.monotonic() - began > 0.35
    assert (lr.value, asked.run.state) == (2.0, "running")
    assert asked.ended(told["save"])["result"] == "paused"
    assert asked.ended(told["again"])["reason"] == "it was paused already"
    assert [asked.ended(one)["state"] for one in (pause, told["set"], told["go"])] == ["applied"] * 3
    assert [e["paused"] for e in asked.events() if "paused" in e] == [True, False]


def test_run_that_another_thread_finishes_is_held_no_longer(asked: Asked) -> None:
    """Nobody could let it go any more: what has ended takes no commands."""
    pause = asked.ask("pause")
    timer = later(0.2, asked.run.finish)
    began = time.monotonic()
    asked.steps(2)
    timer.join()

    assert time.monotonic() - began < 10
    assert (asked.ended(pause)["state"], asked.run.state) == ("applied", "finished")


def test_run_that_a_command_finishes_during_a_pause_is_held_no_longer(asked: Asked) -> None:
    def enough() -> None:
        asked.run.finish("stopped", "enough")

    asked.run.command(enough)
    asked.ask("pause")
    timer = later(0.2, lambda: asked.ask("call", name="enough", args={}))
    began = time.monotonic()
    asked.steps(2)
    timer.join()

    assert time.monotonic() - began < 10
    assert asked.run.state == "stopped"


def test_stop_during_a_pause_ends_both(asked: Asked) -> None:
    asked.ask("pause")
    timer = later(0.2, lambda: asked.ask("stop"))

    with pytest.raises(farwatch.Stopped):
        asked.steps(3)

    timer.join()


def test_pause_and_stop_that_come_together_stop(asked: Asked) -> None:
    asked.ask("pause")
    asked.ask("stop")

    with pytest.raises(farwatch.Stopped):
        asked.steps(3)


def test_pause_ends_by_itself_after_the_longest_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARWATCH_DIR", str(tmp_path))
    monkeypatch.setenv("FARWATCH_AGENT", "0")
    monkeypatch.setenv("FARWATCH_PAUSE_MAX_S", "0.3")
    asked = Asked(tmp_path)
    asked.ask("pause")

    began = time.monotonic()
    asked.steps(2)

    assert 0.25 < time.monotonic() - began < 5
    asked.run.finish()


# --- signals


@pytest.mark.parametrize(("number", "word"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGUSR1, "SIGUSR1")])
def test_signal_stops_at_a_safe_point_where_the_program_asked_for_it(asked: Asked, number: int, word: str) -> None:
    saved: list[int] = []
    asked.run.on("stop")(lambda: saved.append(1))

    signal.raise_signal(number)
    with pytest.raises(farwatch.Stopped, match=f"stopped by {word}"):
        asked.steps(3)

    assert saved == [1]
    assert signal.getsignal(number) is signal.SIG_DFL  # the second one ends the program as ever


def test_usr1_saves_where_the_program_can_and_may_come_again(asked: Asked) -> None:
    saved: list[int] = []
    asked.run.on("checkpoint")(lambda: saved.append(1))
    asked.run.on("stop")(lambda: None)

    for _ in range(2):
        signal.raise_signal(signal.SIGUSR1)
        asked.steps(2)

    assert saved == [1, 1]


def test_usr1_saves_at_the_safe_point_of_another_thread_than_the_one_that_listens(asked: Asked) -> None:
    """A run of a worker thread, whose hooks were registered by the main one."""
    made: list[Asked] = []
    failed: list[BaseException] = []
    ready, sent = threading.Event(), threading.Event()

    def work() -> None:
        made.append(Asked(asked.folder, reinit="create_new"))
        ready.set()
        sent.wait(30)
        try:
            made[0].run.poll()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(30)
    saved: list[int] = []
    made[0].run.on("checkpoint")(lambda: saved.append(1))
    made[0].run.on("stop")(lambda: None)
    signal.raise_signal(signal.SIGUSR1)
    sent.set()
    thread.join(30)
    made[0].run.finish()

    assert (saved, failed) == ([1], [])


def test_signals_go_to_every_open_run_and_back_when_they_end(asked: Asked) -> None:
    other = Asked(asked.folder, reinit="create_new")
    stopped: list[str] = []
    asked.run.on("stop")(lambda: stopped.append("first"))
    other.run.on("stop")(lambda: stopped.append("second"))

    signal.raise_signal(signal.SIGTERM)
    for one in (asked, other):
        with pytest.raises(farwatch.Stopped):
            one.steps(3)
        one.run.finish()

    assert sorted(stopped) == ["first", "second"]
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGUSR1)] == [signal.SIG_DFL] * 2


def test_handler_of_the_program_is_left_alone(asked: Asked) -> None:
    def mine(*_: object) -> None:
        return None

    before = signal.signal(signal.SIGTERM, mine)
    try:
        asked.run.on("stop")(lambda: None)
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_without_a_stop_hook_no_handler_is_installed(asked: Asked) -> None:
    before = signal.getsignal(signal.SIGTERM)

    asked.run.on("checkpoint")(lambda: None)

    assert signal.getsignal(signal.SIGTERM) is before


# --- the inbox


def test_full_inbox_takes_no_more_until_the_trainer_has_taken_some(asked: Asked) -> None:
    asked.run.knob("lr", 1.0)
    for value in range(wire.SLOTS):
        asked.ask("set", name="lr", value=value + 1)
    late = Order("late", 99, Op.SET, {"name": "lr", "value": 0.5}, "Ann", "page", 1 << 60)

    full = asked.outbox.put(late)
    asked.steps(2)
    taken = asked.outbox.put(late)
    asked.steps(2)

    assert (full, taken) == (False, True)
    assert asked.ended("late")["state"] == "applied"


def test_second_agent_writes_no_command_twice(asked: Asked) -> None:
    calls: list[int] = []

    @asked.run.command
    def count() -> None:
        calls.append(1)

    asked.ask("call", name="count")
    again = Outbox(asked.journal, asked.journal.name)
    order = Order("c1", 1, Op.CALL, {"name": "count"}, "Ann", "page", 1 << 60)

    assert again.put(order)
    asked.steps(3)

    assert calls == [1]


@pytest.mark.parametrize("at", [0, 4, 8, 100])
def test_damaged_command_is_not_obeyed(asked: Asked, at: int) -> None:
    lr = asked.run.knob("lr", 1.0)
    asked.ask("set", name="lr", value=2.0)
    path = asked.journal / wire.INBOX
    with open(path, "r+b") as file:
        file.seek(wire.HEADER_SIZE + at)
        byte = file.read(1)
        file.seek(wire.HEADER_SIZE + at)
        file.write(bytes([byte[0] ^ 1]))

    asked.steps(3)

    assert lr.value == 1.0


def test_interventions_stand_in_a_file_of_this_machine(asked: Asked) -> None:
    asked.run.knob("lr", 1.0)
    asked.ask("set", name="lr", value=0.5)
    asked.steps(2)
    asked.ask("set", name="lr", value="no")
    asked.steps(2)

    lines = (asked.folder / "runs" / asked.run.id / "interventions.jsonl").read_text().splitlines()
    assert [(one["op"], one["old"], one["new"], one["actor"]) for one in map(json.loads, lines)] == [("set", 1.0, 0.5, "Ann")]


def test_inbox_goes_with_the_run(asked: Asked) -> None:
    """A sweep of a thousand short runs would leave 32 MB of empty ones."""
    path = asked.journal / wire.INBOX
    before = path.exists()

    asked.run.finish()

    assert (before, path.exists()) == (True, False)
