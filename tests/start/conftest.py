"""Machines with a real server, and terminals to type at."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.machine import Machine
from tests.start.terminal import Terminal


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine of a test's own, without a server."""
    with Machine(tmp_path / "machine") as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with a server that a module's tests share."""
    with Machine(tmp_path_factory.mktemp("shared") / "machine") as made:
        made.start_server(starts_per_hour=1000)
        yield made


@pytest.fixture
def terminal(machine: Machine) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals with a program in them, and closes them."""
    made: list[Terminal] = []

    def begin(*command: str, **environ: str) -> Terminal:
        made.append(Terminal(list(command), {**machine.environ, **environ}, machine.folder))
        return made[-1]

    yield begin
    for one in made:
        one.close()
