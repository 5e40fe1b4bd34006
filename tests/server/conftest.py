"""Servers for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chatting import Telegram, connected, fresh
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


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Running, Telegram]]:
    """A server of its own and a fake of Telegram, connected."""
    with fresh(tmp_path) as (server, other):
        connected(server, other)
        yield server, other


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Telegram]]:
    """One per file for tests that leave nothing behind: a server and a fake of Telegram, connected."""
    with fresh(tmp_path_factory.mktemp("chat")) as (server, other):
        connected(server, other)
        yield server, other
