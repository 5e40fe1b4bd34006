"""A run in this process, for integrations that log into it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")  # before anybody imports Keras
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched

from e2e_server import Server

import farwatch
from tests.integrations.logged_run import Logged
from tests.integrations.steered import Person

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Logged]:
    """An open run in a state folder of its own, without an agent."""
    monkeypatch.setenv("FARWATCH_AGENT", "0")
    monkeypatch.setenv("FARWATCH_STRICT", "1")
    run = farwatch.init(project="p", dir=tmp_path / "state", mode="offline", console=False, system=False)
    yield Logged(run, tmp_path / "state")
    run.finish()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of this checkout, with an agent."""
    folder = tmp_path_factory.mktemp("integrations")
    folder.chmod(0o700)
    made = Server(Path(sys.executable), folder, python_path=str(SOURCE))
    made.start()
    yield made
    made.close()


@pytest.fixture
def person(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    """Somebody at the server of the runs that this process makes."""
    monkeypatch.setenv("FARWATCH_DIR", str(server.folder))
    monkeypatch.setenv("FARWATCH_STRICT", "1")
    made = Person(server)
    yield made
    made.close()


@pytest.fixture
def steered(person: Person) -> Iterator[farwatch.Run]:
    """A run of this process, on the server."""
    run = farwatch.init(project="p", console=False, system=False)
    yield run
    run.finish()
