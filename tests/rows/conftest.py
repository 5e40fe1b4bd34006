"""Machines for the promises of the feature table: one of a test's own, and one that a module's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine that a test may break."""
    with Machine(tmp_path / "machine") as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with a server that works; a test takes a project and run ids of its own."""
    with Machine(tmp_path_factory.mktemp("shared") / "machine") as made:
        made.start_server()
        yield made
