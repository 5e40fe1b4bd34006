"""True states: how a run ended is told apart, silence is not death, and a restart of the server changes nothing."""

import os
import signal
import threading
import time

import pytest

from farwatch.errors import NotFoundError
from tests import pace
from tests.faults.machine import Machine, until
from tests.faults.proxy import Proxy
from tests.faults.test_network import through

BEGIN = """
import farwatch, os, signal, sys, time
run = farwatch.init("states", id="it", console=False, system=False)
run.log({"a": 1.0})
run.wait(20)
"""


def state_of(machine: Machine, run_id: str = "it") -> tuple[str, str]:
    with machine.api() as api:
        try:
            run = api.run(run_id)
        except NotFoundError:
            return "not there yet", ""
        return run.state, run.reason


def become(machine: Machine, state: str, limit_s: float, run_id: str = "it") -> str:
    """Wait for a state; returns its reason."""
    until(lambda: state_of(machine, run_id)[0] == state, limit_s, f"{run_id} is {state}")
    return state_of(machine, run_id)[1]


@pytest.mark.parametrize(
    ("ending", "state", "reason"),
    [
        ("run.finish()", "finished", ""),
        ("raise ValueError('bad batch')", "failed", "ValueError: bad batch"),
        ("sys.exit(3)", "failed", "exit code 3"),
        ("raise SystemExit(4)", "failed", "exit code 4"),
        ("os._exit(5)", "failed", "5"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "failed", "9"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "failed", "15"),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", "stopped", "interrupted"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "failed", "11"),
    ],
)
def test_every_ending_is_known_within_5_s(machine: Machine, ending: str, state: str, reason: str) -> None:
    machine.start_server()
    trainer = machine.train(BEGIN + ending)
    trainer.wait(timeout=60)

    told = become(machine, state, 5 * pace.slowness())

    # Without exit information from the kernel the agent says what it knows and does not guess.
    assert reason in told or told == "ended without goodbye"


def test_a_silent_machine_is_lost_and_heals(machine: Machine) -> None:
    machine.start_server(lost_s=12)
    counting = machine.count("it", pause_s=0.01)
    until(lambda: len(machine.values("it")) > 10)
    (agent,) = machine.agents()

    os.kill(agent, signal.SIGSTOP)
    become(machine, "lost", 30)
    os.kill(agent, signal.SIGCONT)

    become(machine, "running", 20)
    counting.kill()
    assert become(machine, "failed", 10) in ("killed by signal 9", "ended without goodbye")


def test_a_restart_of_the_server_changes_no_state(machine: Machine) -> None:
    machine.start_server(lost_s=12)
    counting = machine.count("it", pause_s=0.01)
    machine.train("import farwatch\nfarwatch.init('states', id='done', console=False, system=False).finish()").wait(60)
    until(lambda: len(machine.values("it")) > 10)
    become(machine, "finished", 10, "done")

    machine.kill_server()
    time.sleep(4)
    machine.start_server(lost_s=12)
    seen = set()
    end = time.monotonic() + 4
    while time.monotonic() < end:
        seen.add(state_of(machine)[0])
        time.sleep(0.05)

    assert seen == {"running"}
    assert state_of(machine, "done")[0] == "finished"
    counting.kill()


def test_the_end_of_a_forked_worker_decides_nothing(machine: Machine) -> None:
    machine.start_server()
    machine.train(
        BEGIN
        + """
if os.fork() == 0:
    run.log({"worker": 1.0})
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
run.log({"a": 2.0})
print("worker gone", flush=True)
time.sleep(5)
run.finish()
"""
    )
    until(lambda: "worker gone" in (machine.folder / "train0.log").read_text(), 30)
    seen = set()
    end = time.monotonic() + 3
    while time.monotonic() < end:
        seen.add(state_of(machine)[0])
        time.sleep(0.05)

    assert seen == {"running"}
    assert machine.values("it", "worker") == [1.0]
    become(machine, "finished", 20)


def test_two_ranks_and_one_dies(machine: Machine) -> None:
    """Rank 1 dies: its points are there, rank 0 goes on, the run is one."""
    machine.start_server()
    source = """
import farwatch, os, signal, sys, time
rank = int(sys.argv[1])
run = farwatch.init("ranks", id="two" if rank == 0 else None, ranks=(rank, 2), console=False, system=False)
for step in range(300):
    run.log({"loss": float(step + 1000 * rank)}, step=step)
    if rank == 1 and step == 150: os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.005)
run.finish()
"""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511", "FARWATCH_RUN_ID": "two"}
    first = machine.train(source, 0, **shared)
    second = machine.train(source, 1, **shared)
    first.wait(60)
    second.wait(60)
    become(machine, "finished", 20, "two")

    with machine.api() as api:
        assert [run.id for run in api.runs("ranks")] == ["two"]
        run = api.run("two")
        zero = run.series("loss", rank=0).values.tolist()
        one = until(lambda: len(found := run.series("loss", rank=1).values.tolist()) == 151 and found, 10)
    assert zero == [float(step) for step in range(300)]
    assert one == [1000.0 + step for step in range(151)]


def test_a_resumed_run_continues_behind_its_last_step(machine: Machine) -> None:
    """L9: the second start with an id appends to the same run, as another attempt."""
    machine.start_server()
    source = """
import farwatch
run = farwatch.init("resume", id="again", console=False, system=False)
for _ in range(50): run.log({"a": 1.0})
run.finish()
"""
    machine.train(source).wait(60)
    become(machine, "finished", 10, "again")
    machine.train(source).wait(60)
    until(lambda: len(machine.values("again", "a")) == 100, 20)

    with machine.api() as api:
        assert api.run("again").series("a").steps.tolist() == [float(step) for step in range(100)]


def test_must_and_never_are_answered_by_the_server(machine: Machine) -> None:
    machine.start_server()
    machine.train("import farwatch\nfarwatch.init('r', id='there', console=False, system=False).finish()").wait(60)
    become(machine, "finished", 10, "there")
    source = """
import farwatch, sys
try:
    run = farwatch.init("r", id=sys.argv[1], resume=sys.argv[2], console=False, system=False)
    print("started", run.attempt)
    run.finish()
except farwatch.FarwatchError as error:
    print("refused:", error)
"""
    texts = []
    for number, words in enumerate((("there", "never"), ("nowhere", "must"), ("there", "must"), ("fresh", "never")), 1):
        machine.train(source, *words).wait(60)
        texts.append((machine.folder / f"train{number}.log").read_text())

    assert ["refused:" in text for text in texts] == [True, True, False, False], texts
    assert "started 2" in texts[2]


def test_a_server_started_later_gets_what_was_logged_before(machine: Machine) -> None:
    """The order of `farwatch serve` and `python train.py` does not matter, also when the agent has left meanwhile."""
    machine.train("import farwatch\nrun = farwatch.init('r', id='it', console=False)\nrun.log({'value': 1.0})\n").wait(60)
    machine.kill_agents()

    machine.start_server(through="cli")

    assert until(lambda: machine.values("it"), 20) == [1.0]


@pytest.mark.parametrize(
    ("ending", "state"), [("run.finish()", "finished"), ("os.kill(os.getpid(), signal.SIGKILL)", "failed")]
)
def test_nothing_is_on_its_way_once_the_last_file_has_come(machine: Machine, ending: str, state: str) -> None:
    """A program that ends while its file is being sent: its end is told when the file is there, and so is that nothing is behind."""
    machine.start_server()
    arrives = threading.Event()
    proxy = Proxy(machine.port, lambda head: "ok" if b"/spool/" not in head or arrives.wait(60) else "500")
    try:
        trainer = machine.train(BEGIN + "run.save(__file__)\n" + ending, **through(machine, proxy))
        trainer.wait(timeout=60)
        become(machine, "finishing", 30)
        until(lambda: lag_of(machine)["files"], 30, "the server knows of a file that is on its way")
        arrives.set()
        become(machine, state, 30)
        assert until(lambda: not any(lag_of(machine).values()), 30, "nothing is on its way")
    finally:
        arrives.set()
        proxy.close()


def lag_of(machine: Machine) -> dict[str, int]:
    with machine.api() as api:
        return dict(api.run("it").detail["lag"])
