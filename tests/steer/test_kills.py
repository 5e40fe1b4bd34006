"""Whoever is killed, in the middle of whatever: nothing is done twice, and what is told is true."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.machine import Machine, until
from tests.steer.conftest import Steered, http_ask


def start_agent(machine: Machine) -> None:
    """Start the agent, as a trainer does that misses it."""
    until(lambda: not machine.agents(), what="the agent is gone")
    command = [sys.executable, "-m", "farwatch.agent", "--state", str(machine.state)]
    with open(machine.folder / "agent.log", "ab") as log:
        machine._trainers.append(subprocess.Popen(command, env=machine.environ, stdout=log, stderr=log))


def test_trainer_killed_inside_a_command_is_interrupted_and_never_repeated(run: Steered) -> None:
    """Asked for at step 900, killed in it, resumed from 800: not repeated."""
    run.start()
    call = run.ask("call", args={"name": "slow"})
    until(lambda: run.notes() == ["slow"], what="it has begun")
    run.kill()

    ended = run.end(call, 60)
    run.start(attempt=2)
    probe = run.end(run.ask("call", args={"name": "evaluate"}))

    assert (ended["state"], ended["reason"]) == ("interrupted", "outcome unknown: the process ended while it was being done")
    assert ended["started_ms"] is not None
    assert probe["state"] == "applied" and run.notes() == ["slow", "evaluate 3"]


def test_agent_killed_after_the_inbox_and_before_its_report_delivers_nothing_twice(machine: Machine) -> None:
    run = Steered(machine, "twice").start()
    ids = []
    for n in range(12):
        ids.append(run.ask("call", args={"name": "evaluate", "args": {"n": n}}))
        if n % 4 == 1:
            machine.kill_agents()
            start_agent(machine)

    ends = [run.end(one) for one in ids]

    assert [one["state"] for one in ends] == ["applied"] * 12
    assert sorted(run.notes()) == sorted(f"evaluate {n}" for n in range(12))
    run.kill()


def test_agents_of_two_state_folders_take_only_their_own_commands(machine: Machine) -> None:
    """Two folders of one user on one machine, one server: each trainer hears what was asked of it."""
    secret = json.loads((machine.state / "server.json").read_text())["secret"]
    with Machine(machine.folder / "second") as second:
        other = {"FARWATCH_DIR": str(second.state), "FARWATCH_SERVER": machine.address, "FARWATCH_TOKEN": secret}
        runs = [Steered(machine, "here").start(), Steered(machine, "there").start(**other)]
        assert len(machine.agents()) == len(second.agents()) == 1

        asked = [(run, n, run.ask("call", args={"name": "evaluate", "args": {"n": n}})) for n in range(20) for run in runs]
        ends = [run.end(one)["result"] for run, _, one in asked]
        killed = [run.end(run.ask("kill", confirm=True))["state"] for run in runs]  # which an agent answers by itself

        assert ends == [f"acc {n}" for _, n, _ in asked]
        assert killed == ["applied", "applied"]


def test_server_killed_between_accepting_and_delivering_keeps_its_word(machine: Machine) -> None:
    run = Steered(machine, "accepted").start()
    for pid in machine.agents():
        os.kill(pid, signal.SIGSTOP)
    call = run.ask("call", args={"name": "evaluate"})
    machine.kill_server()
    machine.start_server()
    for pid in machine.agents():
        os.kill(pid, signal.SIGCONT)

    assert run.end(call)["result"] == "acc 3"
    assert run.notes() == ["evaluate 3"]
    run.kill()


def test_command_asked_while_the_agent_is_down_is_done_when_it_is_back(machine: Machine) -> None:
    run = Steered(machine, "agentless").start()
    machine.kill_agents()
    wish = run.ask("set", args={"name": "lr", "value": 0.5})
    pending = run.get(wish)
    start_agent(machine)

    assert (pending["state"], pending["delivered_ms"]) == ("pending", None)
    assert run.end(wish)["new"] == 0.5
    run.kill()


def test_pause_survives_agent_and_server(machine: Machine) -> None:
    run = Steered(machine, "held").start()
    assert run.end(run.ask("pause"))["state"] == "applied"
    until(lambda: run.row().get("state") == "paused", what="paused")
    machine.kill_agents()
    machine.kill_server()
    machine.start_server()
    start_agent(machine)

    before = until(lambda: run.row().get("state") == "paused" and run.row(), what="still paused")
    time.sleep(0.5)
    assert run.row()["points"] == before["points"]
    assert run.end(run.ask("unpause"))["state"] == "applied"
    until(lambda: run.row().get("state") == "running", what="running")
    run.kill()


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_knob_that_people_set_is_kept_by_the_next_attempt(machine: Machine, where: str, tmp_path: Path) -> None:
    """On another machine the state folder is empty, and the server asks for the value."""
    run = Steered(machine, f"kept-{where}").start()
    assert run.end(run.ask("set", args={"name": "lr", "value": 0.25}))["state"] == "applied"
    run.kill()
    until(lambda: run.row().get("state") == "failed", 60, "its end")
    environ = {}
    if where == "elsewhere":
        machine.kill_agents()
        secret = json.loads((machine.state / "server.json").read_text())["secret"]
        environ = {"FARWATCH_DIR": str(tmp_path / "other"), "FARWATCH_SERVER": machine.address, "FARWATCH_TOKEN": secret}
    run.start("late", wait=False, **environ)
    if where == "elsewhere":
        until(lambda: run.row().get("attempt") == 2, what="the next attempt")

    until(lambda: run.row().get("steer", {}).get("knobs", {}).get("lr", {}).get("value") == 0.25 and run.row()["attempt"] == 2, what="0.25")

    def kept() -> list[str]:
        _, listed, _ = http_ask(machine, "GET", f"/runs/{run.run}/commands")
        return [one["id"] for one in listed["commands"] if one["channel"] == "resume"]

    (asked,) = until(kept, what="the server has asked for it as well")  # a moment after the attempt has begun
    assert run.end(asked)["new"] == 0.25
    assert kept() == [asked]
    run.kill()


def test_wish_whose_process_dies_before_its_safe_point_is_answered(run: Steered) -> None:
    run.start("silent")
    wish = run.ask("set", args={"name": "lr", "value": 0.5})
    until(lambda: run.get(wish)["delivered_ms"], what="delivered")
    run.kill()

    ended = run.end(wish, 60)
    assert (ended["state"], ended["reason"]) == ("refused", "the process ended before it came to a safe point")


def test_stop_by_sigterm_stands_in_the_history(run: Steered) -> None:
    run.start("signals")
    assert run.process is not None
    run.process.send_signal(signal.SIGTERM)

    assert run.process.wait(timeout=20) == 0
    stop = until(lambda: next((c for c in http_ask(run.machine, "GET", f"/runs/{run.run}/commands")[1]["commands"]), None), what="history")
    assert (stop["op"], stop["actor"], stop["channel"], run.end(stop["id"])["state"]) == ("stop", "SIGTERM", "signal", "applied")
    until(lambda: run.row().get("reason") == "stopped by SIGTERM", what="why it ended")
    assert run.notes() == ["stop"]


def test_server_restored_from_a_backup_in_mid_command_learns_how_it_went_and_repeats_nothing(machine: Machine) -> None:
    run = Steered(machine, "restored").start()
    slow = run.ask("call", args={"name": "slow", "args": {"s": 4}})
    until(lambda: "slow" in run.notes())
    waiting = run.ask("set", args={"name": "lr", "value": 0.3})
    machine.cli("backup", machine.folder / "backup")
    assert run.get(slow)["state"] == run.get(waiting)["state"] == "pending"
    run.end(slow)
    run.end(waiting)
    later = run.ask("call", args={"name": "evaluate", "args": {"n": 77}})
    run.end(later)
    machine.kill_server()
    shutil.rmtree(machine.state / "server")
    machine.cli("restore", machine.folder / "backup", "--data", machine.state / "server")
    machine.start_server()

    ends = [run.end(one) for one in (slow, waiting)]
    until(lambda: http_ask(machine, "GET", f"/commands/{later}")[0] == 200, what="what was asked after the backup")
    fresh = run.end(run.ask("set", args={"name": "lr", "value": 0.25}))

    assert [one["state"] for one in (*ends, run.end(later), fresh)] == ["applied"] * 4
    assert (ends[1]["old"], ends[1]["new"], fresh["old"]) == (0.1, 0.3, 0.3)
    assert run.notes() == ["slow", "slow done", "evaluate 77"]
