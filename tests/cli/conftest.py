"""One server of this checkout with a few runs, and the commands beside it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_server import Server

SOURCE = Path(__file__).parents[2] / "src"

SEED = """
import datetime, sys, farwatch

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)
index = int(sys.argv[1])
rate = (0.1, 0.2)[index]
tags = ["even"] if index == 0 else []
with farwatch.init(project="seed", name=f"run-{index}", config={"opt": {"lr": rate}, "when": WHEN}, tags=tags, system=False) as run:
    for step in range(100):
        run.log({"loss": rate / (step + 1), "=acc": step * rate}, step=step)
    run.log({"odd": float("nan")}, step=0.5)
    print("\\x1b[31mred\\x1b[0m line", index)
"""


def seed(server: Server) -> None:
    """Two finished runs, `run-0` with the number 1 and `run-1` with the number 2."""
    with server.api() as api:
        for index in range(2):
            server.train(SEED, str(index))
            server.ended(api, "seed", index + 1)


def new_server(folder: Path) -> Server:
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return Server(Path(sys.executable), folder, python_path=str(SOURCE))


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two finished runs in the project `seed`."""
    server = new_server(tmp_path_factory.mktemp("cli"))
    server.start()
    seed(server)
    yield server
    server.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Server]:
    """A state folder of its own; its server is not started."""
    server = new_server(tmp_path / "state")
    yield server
    server.close()
