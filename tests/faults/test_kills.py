"""Kill anything at any moment: every point whose call had returned is in the store, once, in order."""

import random
from pathlib import Path

import pytest

from tests.faults.machine import Machine, until


def check_trial(machine: Machine, seed: int) -> None:
    """One run through a random sequence of deaths; then everything is brought up again and compared."""
    chance = random.Random(seed)
    machine.start_server(flush_s=1, memtable_points=2000)
    run_id = f"trial-{seed}"
    counting = machine.count(run_id, pause_s=chance.choice((0.0, 0.0005, 0.01)))
    until(lambda: counting.returned > chance.randrange(1, 200), what="first points")
    for _ in range(chance.randrange(1, 5)):
        victim = chance.choice(("agent", "server", "both"))
        begin = counting.returned
        until(lambda begin=begin: counting.returned > begin + chance.randrange(1, 50), what="more points")
        if victim in ("agent", "both"):
            machine.kill_agents()
        if victim in ("server", "both"):
            machine.kill_server()
            machine.start_server(flush_s=1, memtable_points=2000)
    returned = counting.kill()
    if chance.random() < 0.5:
        machine.kill_server()
        machine.start_server(flush_s=1, memtable_points=2000)
    done = machine.sync()

    assert done.returncode == 0, done.stderr
    values = machine.values(run_id)
    assert values == [float(number) for number in range(len(values))], f"seed {seed}"
    assert returned <= len(values) <= returned + 1, f"seed {seed}"
    assert machine.values(run_id, "twice") == [2 * value for value in values]


@pytest.mark.parametrize("seed", range(10))
def test_random_deaths_lose_and_double_nothing(machine: Machine, seed: int) -> None:
    check_trial(machine, seed)


@pytest.mark.nightly
def test_100_trials_of_random_deaths(tmp_path: Path) -> None:
    for seed in range(1000, 1100):
        with Machine(tmp_path / str(seed)) as machine:
            check_trial(machine, seed)
