"""A server that is away, slow, wrong, or cut off after it has committed: nothing missing, nothing twice."""

import json
import random
import shutil
import time

import pytest

from tests import pace
from tests.faults.machine import Machine, until
from tests.faults.proxy import FAULTS, Proxy

LOOP = """
import farwatch, sys, time
run = farwatch.init("network", id=sys.argv[1], console=False, system=False)
began = time.monotonic()
for step in range(int(sys.argv[2])):
    run.log({"value": float(step)}, step=step)
    if len(sys.argv) > 3: time.sleep(float(sys.argv[3]))
print(time.monotonic() - began, flush=True)
run.finish(timeout_s=60)
"""


def secret(machine: Machine) -> str:
    return json.loads((machine.state / "server.json").read_text())["secret"]


def through(machine: Machine, proxy: Proxy) -> dict[str, str]:
    return {"FARWATCH_SERVER": f"http://127.0.0.1:{proxy.port}", "FARWATCH_TOKEN": secret(machine)}


@pytest.mark.parametrize("seed", range(3))
def test_every_fault_of_a_network_at_random(machine: Machine, seed: int) -> None:
    machine.start_server()
    chance = random.Random(seed)
    proxy = Proxy(machine.port, lambda head: chance.choice(FAULTS) if b"/batches" in head else "ok")
    try:
        trainer = machine.train(LOOP, f"net-{seed}", 3000, 0.001, **through(machine, proxy))
        trainer.wait(timeout=120)
        values = until(
            lambda: (found := machine.values(f"net-{seed}")) and len(found) >= 3000 and found, 60, "all points"
        )
    finally:
        proxy.close()

    assert trainer.returncode == 0
    assert values == [float(step) for step in range(3000)]
    assert sum(count > 0 for count in proxy.counts.values()) >= 4, proxy.counts


def test_a_slow_server_slows_nothing(machine: Machine) -> None:
    """O1: 10,000 calls add under 1 s while the server answers with 200 ms delay."""
    machine.start_server()
    proxy = Proxy(machine.port, lambda head: "slow")
    try:
        trainer = machine.train(LOOP, "slow", 10_000, **through(machine, proxy))
        trainer.wait(timeout=120)
        until(lambda: len(machine.values("slow")) == 10_000, 60)
    finally:
        proxy.close()

    spent = float((machine.folder / "train0.log").read_text().splitlines()[1])
    assert spent < pace.slowness()


def test_a_server_that_comes_back_gets_what_it_missed(machine: Machine) -> None:
    """O5: the server is gone in mid-run and comes back; W1: the training does not notice."""
    machine.start_server()
    counting = machine.count("away", pause_s=0.002, count=3000)
    until(lambda: counting.returned > 300)
    machine.kill_server()
    before = counting.returned
    time.sleep(3)
    assert counting.returned > before + 500
    machine.start_server()
    counting.process.wait(timeout=60)

    values = until(lambda: (found := machine.values("away")) and len(found) == 3000 and found, 60)
    assert values == [float(step) for step in range(3000)]


def test_the_end_names_the_command_when_nobody_listens(machine: Machine) -> None:
    """O6: `finish(timeout_s=5)` returns within 7 s and says how to deliver the rest."""
    trainer = machine.train(
        """
        import farwatch, time
        run = farwatch.init("away", console=False, system=False, server="http://127.0.0.1:9", mode="online")
        run.log({"a": 1.0})
        began = time.monotonic()
        run.finish(timeout_s=5)
        print(time.monotonic() - began)
        """
    )
    trainer.wait(timeout=60)

    text = (machine.folder / "train0.log").read_text()
    assert "farwatch sync" in text
    assert 4 < float(text.splitlines()[-1]) < 7


def test_an_offline_run_opens_no_connection_and_is_delivered_once(machine: Machine) -> None:
    """O3, W14: an offline run continued with its id and synced twice is one run with continued steps."""
    machine.start_server()
    source = """
        import farwatch
        with farwatch.init("off", id="off-1", mode="offline", console=False, system=False) as run:
            for _ in range(100): run.log({"value": 1.5})
    """
    machine.train(source).wait(timeout=60)
    with machine.api() as api:
        assert len(api.runs("off")) == 0
    first = machine.sync()
    machine.train(source).wait(timeout=60)
    second = machine.sync()
    third = machine.sync()

    assert (first.returncode, second.returncode, third.returncode) == (0, 0, 0), first.stderr + second.stderr
    with machine.api() as api:
        (run,) = api.runs("off")
        steps = [step for attempt in (1, 2) for step in run.series("value", attempt=attempt).steps.tolist()]
    assert steps == [float(step) for step in range(200)]


def test_a_restored_server_is_told_again(machine: Machine) -> None:
    """Backed up while it works, lost, restored: the machine that logged sends what the backup has not, once."""
    machine.start_server()
    counting = machine.count("restored", pause_s=0.002)
    until(lambda: counting.returned > 200)
    backup = machine.folder / "backup"
    machine.cli("backup", backup)
    begin = counting.returned
    until(lambda: len(machine.values("restored")) > begin + 300)
    machine.kill_server()
    shutil.rmtree(machine.state / "server")
    machine.cli("restore", backup, "--data", machine.state / "server")
    machine.start_server()
    until(lambda: len(machine.values("restored")) > begin + 600)
    returned = counting.kill()
    machine.sync()

    values = machine.values("restored")
    assert values == [float(number) for number in range(len(values))]
    assert returned <= len(values) <= returned + 1
