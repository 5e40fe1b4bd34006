"""A simulation of birth and leaving: no journal is ever left without an agent, whatever the order of the steps.

The trainer creates its journal before it starts an agent; an agent that finds the lock taken leaves; a leaving agent looks
again after it has unlocked. Thousands of random interleavings of these steps; the variant without the second look must
fail, else the simulation proves nothing.
"""

import random
from collections.abc import Generator

import pytest

Steps = Generator[None, None, None]


class Machine:
    """What all see: the journals, the lock, and who serves what."""

    def __init__(self) -> None:
        self.journals: set[int] = set()
        self.locked = False
        self.served: set[int] = set()
        self.starting: list[Steps] = []


def trainer(machine: Machine, number: int, *, looks_again: bool) -> Steps:
    machine.journals.add(number)
    yield
    machine.starting.append(agent(machine, looks_again=looks_again))
    yield


def agent(machine: Machine, *, looks_again: bool) -> Steps:
    yield  # the interpreter starts
    if machine.locked:
        return
    machine.locked = True
    while True:
        seen: set[int] = set()
        for _ in range(2):  # it is idle for some rounds
            yield
            seen |= machine.journals
            machine.served |= machine.journals
        yield  # it cleans up: threads, connections
        machine.locked = False
        yield
        if not looks_again or not (machine.journals - seen):
            return
        yield
        if machine.locked:
            return
        machine.locked = True


def play(seed: int, *, looks_again: bool) -> Machine:
    dice = random.Random(seed)
    machine = Machine()
    running: list[Steps] = [agent(machine, looks_again=looks_again)]
    for number in range(dice.randint(1, 3)):
        for _ in range(dice.randint(0, 12)):
            step(running, dice)
        running.append(trainer(machine, number, looks_again=looks_again))
    while running or machine.starting:
        running += machine.starting
        machine.starting.clear()
        step(running, dice)
    return machine


def step(running: list[Steps], dice: random.Random) -> None:
    if not running:
        return
    chosen = dice.choice(running)
    try:
        next(chosen)
    except StopIteration:
        running.remove(chosen)


@pytest.mark.parametrize("block", range(4))
def test_no_journal_is_orphaned_by_a_leaving_agent(block: int) -> None:
    for seed in range(block * 1000, block * 1000 + 1000):
        machine = play(seed, looks_again=True)

        assert machine.served == machine.journals, seed


def test_leaving_without_a_second_look_orphans_some() -> None:
    """The simulation can fail: this is the bug that the second look prevents."""
    machines = [play(seed, looks_again=False) for seed in range(2000)]

    assert any(machine.served != machine.journals for machine in machines)
