"""Commands that come too early, too late, or to a program that does not look: each is told as what it is."""

import json
import time
from pathlib import Path

from farwatch.service.access import Actor
from farwatch.service.steer import Steer
from farwatch.settings import load
from farwatch.store.memory import MemoryStore
from tests.faults.machine import Machine, until
from tests.service.conftest import Inside, ManualClock
from tests.steer.conftest import Steered, http_ask

QUIET_BEAT_S = 25  # an agent beats every 10 s


def test_command_before_the_first_step_waits_for_it(run: Steered) -> None:
    run.start("late")

    wish = run.end(run.ask("set", args={"name": "lr", "value": 0.2}))

    assert (wish["state"], wish["new"]) == ("applied", 0.2)


def test_command_to_a_trainer_that_is_down_says_that_it_has_ended(run: Steered) -> None:
    run.start()
    run.kill()
    until(lambda: run.row()["state"] == "failed", 60, "its end")

    status, body = run.post("stop")

    assert (status, body["error"]["code"]) == (409, "run-ended")


def test_program_that_never_logs_lets_it_expire_and_says_why(run: Steered) -> None:
    run.start("silent")

    wish = run.end(run.ask("set", args={"name": "lr", "value": 0.2}, expires_s=1), QUIET_BEAT_S)

    assert (wish["state"], wish["reason"], wish["started_ms"]) == ("expired", "the run came to no safe point in time", None)
    assert wish["delivered_ms"] is not None


def test_hook_that_hangs_stays_pending_with_its_beginning_and_nobody_kills_it(run: Steered) -> None:
    """Its command has long expired: what has begun does not expire."""
    run.start()
    call = run.ask("call", args={"name": "slow", "args": {"s": 4.0}}, expires_s=1)
    until(lambda: run.get(call)["started_ms"], what="begun")
    behind = run.ask("call", args={"name": "evaluate"}, expires_s=1)
    time.sleep(2.5)

    hanging = run.get(call)

    assert (hanging["state"], hanging["ended_ms"]) == ("pending", None)
    assert run.process is not None and run.process.poll() is None
    assert run.end(call)["state"] == "applied"
    assert run.end(behind, QUIET_BEAT_S)["state"] == "expired"
    assert run.notes() == ["slow", "slow done"]


def test_knob_set_at_the_terminal_is_answered_with_what_it_was(run: Steered) -> None:
    run.start()

    done = run.machine.cli("set", run.run, "lr", "0.05")

    told = json.loads(done.stdout)
    assert (told["state"], told["old"], told["new"], told["channel"]) == ("applied", 0.1, 0.05, "cli")


def test_fork_of_a_run_that_is_steered_takes_nothing(run: Steered) -> None:
    source = """
import farwatch, multiprocessing, sys, time
run = farwatch.init("steer", id=sys.argv[1], console=False, system=False)
lr = run.knob("lr", 0.1)
run.on("checkpoint")(lambda: "saved")
def work():
    while True:
        run.poll()
        run.should_stop
        time.sleep(0.001)
worker = multiprocessing.get_context("fork").Process(target=work, daemon=True)
worker.start()
for step in range(1 << 40):
    run.log({"lr": lr.value}, step=step)
    time.sleep(0.005)
"""
    run.process = run.machine.train(source, run.run)
    until(lambda: run.row().get("steer", {}).get("hooks"), what="declared")

    ends = [run.end(run.ask("checkpoint"))["result"] for _ in range(5)]
    stop = run.end(run.ask("stop"))

    assert ends == ["saved"] * 5 and stop["state"] == "applied"
    assert run.process.wait(timeout=20) == 0


def test_what_a_run_without_server_did_arrives_with_it(tmp_path: Path) -> None:
    """A signal's stop is in the journal, and in the history once somebody syncs."""
    with Machine(tmp_path / "machine") as machine:
        run = Steered(machine, "offline")
        run.start("signals", wait=False, FARWATCH_MODE="offline")
        until(lambda: list(machine.state.glob("journals/*/writer.json")), what="it runs")
        assert run.process is not None
        time.sleep(0.5)
        run.process.terminate()
        assert run.process.wait(timeout=20) == 0
        machine.start_server()
        assert machine.sync().returncode == 0

        listed = until(lambda: http_ask(machine, "GET", "/runs/offline/commands")[1].get("commands"), what="its history")

        assert [(one["op"], one["actor"], one["state"]) for one in listed] == [("stop", "SIGTERM", "applied")]


def test_sync_by_hand_takes_no_run_from_its_agent(run: Steered) -> None:
    """Somebody syncs what an agent ships already: commands still go by the agent, and at once."""
    run.start()
    assert run.machine.sync().returncode == 0

    told = run.end(run.ask("set", args={"name": "lr", "value": 0.2}), 8)

    assert (told["state"], told["new"]) == ("applied", 0.2)


def test_server_clock_that_is_set_changes_no_expiry(tmp_path: Path) -> None:
    """A command lives as long as it was given, whatever the server's clock is set to."""
    class Set(ManualClock):
        set_us = 0

        def wall_us(self) -> int:
            return super().wall_us() + self.set_us

    clock = Set()
    inside = Inside(tmp_path, load({}), clock, lambda folder: MemoryStore())
    steer = Steer(inside.meta, inside.runs, inside.settings, clock)
    process = inside.started()
    process.send()
    inside.beat(process)
    actor = Actor("Ann", frozenset({"steer"}), "peer", "ann")

    def state(command: str) -> str:
        steer.tick()
        return str(steer.get(command)["state"])

    early = steer.submit(process.run, {"op": "pause", "expires_s": 60}, actor)["id"]
    clock.set_us = 86_400_000_000
    forward = state(early)
    left_ms = steer.orders("agent-1")[0]["expires_in_ms"]
    clock.set_us = -86_400_000_000
    clock.advance(61)
    late = steer.submit(process.run, {"op": "stop", "expires_s": 60}, actor)["id"]
    offered = [one["id"] for one in steer.orders("agent-1")]

    assert (forward, left_ms) == ("pending", 60_000)
    assert offered == [late]
    clock.advance(5)
    inside.beat(process)
    clock.advance(1)
    assert (state(early), state(late)) == ("expired", "pending")
    inside.close()


def test_kill_reaches_machines_that_become_known_while_it_waits(tmp_path: Path) -> None:
    """A run may be killed the moment it appears: before it is known which agent its commands go by, or that it has other nodes."""
    clock = ManualClock()
    inside = Inside(tmp_path, load({}), clock, lambda folder: MemoryStore())
    steer = Steer(inside.meta, inside.runs, inside.settings, clock)
    process = inside.started()
    process.send()
    kill = steer.submit(process.run, {"op": "kill", "confirm": True}, Actor("Ann", frozenset({"steer"}), "peer", "ann"))["id"]

    early = steer.orders("agent-2")
    steer.hear("agent-2", {"ended": [{"id": kill, "state": "applied"}]})
    untouched = steer.get(kill)["state"]
    steer.arrived(process.id, "agent-2")
    offered = [one["id"] for one in steer.orders("agent-2")]
    steer.hear("agent-2", {"ended": [{"id": kill, "state": "applied"}]})

    assert (early, untouched, offered) == ([], "pending", [kill])
    assert steer.get(kill)["state"] == "applied"
