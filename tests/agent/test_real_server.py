"""The agent with the real server: real runs, real deaths, a server that goes away and comes back."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_agent import AgentProcess, wait_for

from farwatch import settings
from farwatch.agent.sync import sync
from farwatch.agent.transport import HttpTransport
from farwatch.errors import ContactError, NotFoundError
from farwatch.servers import local_server

TRAINER = """
import farwatch, sys
run = farwatch.init(project="digits", console=False)
print(run._writer.sidecar["run"], flush=True)
step = 0
for line in sys.stdin:
    for _ in range(int(line)):
        run.log({"loss": 1 / (step + 1)}, step=step)
        step += 1
    print(step, flush=True)
run.finish()
"""


class Server:
    """`farwatch serve` of one state folder, which can be ended and started again."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        code = (
            "from farwatch import settings; from farwatch.server.serve import serve; serve(settings.load())"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment(self.state) | {"FARWATCH_PORT": "0"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: local_server(self.state) is not None and self.answers())

    def answers(self) -> bool:
        try:
            return bool(self.ask("/info"))
        except OSError:
            return False

    def ask(self, path: str) -> dict[str, Any]:
        found = local_server(self.state)
        assert found is not None
        transport = HttpTransport(*found)
        try:
            return transport.request("GET", path).json()
        finally:
            transport.close()

    def points(self, run: str) -> int:
        try:
            told = self.ask(f"/runs/{run}/metrics?match=loss")
        except (NotFoundError, ContactError):
            return 0
        found = [metric for metric in told["metrics"] if metric["name"] == "loss"]
        return int(found[0]["count"]) if found else 0

    def end(self, number: int = signal.SIGTERM) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            process.wait(20)


def environment(state: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"FARWATCH_DIR": str(state), "PYTHONPATH": os.pathsep.join(sys.path)}


class Trainer:
    """A process that logs as many steps as it is told."""

    def __init__(self, state: Path, **more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINER],
            env=environment(state) | {"FARWATCH_AGENT": "0"} | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.run = self.process.stdout.readline().split()[-1]

    def log(self, count: int) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def end(self) -> None:
        """Let it finish its run."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def server(state: Path) -> Iterator[Server]:
    made = Server(state)
    made.start()
    yield made
    made.end()


@pytest.fixture
def agent(state: Path) -> Iterator[AgentProcess]:
    made = AgentProcess(state)
    yield made
    made.close()


@pytest.fixture
def train(state: Path) -> Iterator[Callable[..., Trainer]]:
    trainers: list[Trainer] = []

    def start(**more: str) -> Trainer:
        trainers.append(Trainer(state, **more))
        return trainers[-1]

    yield start
    for trainer in trainers:
        trainer.close()


Train = Callable[..., Trainer]


def test_server_that_was_away_misses_nothing(server: Server, agent: AgentProcess, train: Train) -> None:
    trainer = train()
    agent.start()
    trainer.log(100)
    wait_for(lambda: server.points(trainer.run) == 100)
    server.end(signal.SIGKILL)
    trainer.log(100)
    server.start()
    trainer.log(100)

    wait_for(lambda: server.points(trainer.run) >= 300)

    assert server.points(trainer.run) == 300


def test_killed_run_is_failed_with_its_reason(server: Server, agent: AgentProcess, train: Train) -> None:
    trainer = train()
    agent.start()
    trainer.log(10)
    wait_for(lambda: server.points(trainer.run) == 10)

    trainer.close()
    wait_for(lambda: server.ask(f"/runs/{trainer.run}")["state"] == "failed", timeout_s=5)

    assert "killed" in server.ask(f"/runs/{trainer.run}")["reason"]


def test_offline_run_is_one_run_after_two_syncs(server: Server, state: Path, train: Train) -> None:
    trainer = train(FARWATCH_MODE="offline")
    trainer.log(50)
    given = settings.load({"FARWATCH_DIR": str(state)})
    first = sync(state, given)
    trainer.log(50)
    trainer.end()

    second = sync(state, given)
    third = sync(state, given)

    assert (first.refused, second.refused, third.refused) == ({}, {}, {})
    assert [row["id"] for row in server.ask("/runs?project=digits")["runs"]] == [trainer.run]
    assert server.points(trainer.run) == 100
    assert server.ask(f"/runs/{trainer.run}")["state"] == "finished"
    assert json.loads((next((state / "journals").iterdir()) / "agent.json").read_text())["complete"]
