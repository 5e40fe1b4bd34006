"""Servers for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server per file; a test makes runs of its own."""
    with running(tmp_path_factory.mktemp("server") / "state") as started:
        yield started


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Running]:
    """A server that a test may stop, kill and start again."""
    with running(tmp_path / "state") as started:
        yield started
