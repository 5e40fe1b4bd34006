"""A farwatch server as a user runs it, and the programs that speak to it."""

import contextlib
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from farwatch.api import Api, Run
from farwatch.settings import load
from farwatch.wire.states import FINAL

LIMIT_S = 120.0  # of whatever nothing is promised about; all tests share two cores


def wait_until(condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Poll until a condition holds. Fails the test with `what` after `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    pause_s = 0.02
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s: {what}"
        time.sleep(pause_s)
        pause_s = min(0.2, pause_s * 1.1)  # what takes long is not to be asked for all the time, which takes the time of others


DRIVER = """
import json, logging, os, sys
import farwatch

run = farwatch.init(**json.loads(sys.argv[1]))
os.write(1, (run.id + "\\n").encode())
for line in sys.stdin:
    order = json.loads(line)
    if "log" in order:
        run.log(order["log"], step=order["step"])
    elif "print" in order:
        print(order["print"], flush=True)
    elif "complain" in order:
        print(order["complain"], file=sys.stderr, flush=True)
    elif "warn" in order:
        logging.warning(order["warn"])
    os.write(1, b"done\\n")  # past sys.stdout, which is captured
run.finish()
"""


class Driven:
    """A training process that waits for orders on its standard input."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.run_id = self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        return line

    def do(self, **order: object) -> None:
        """Give one order and wait until it is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        while self._answer() != "done":
            pass  # what the program prints passes through as well

    def log(self, step: float, **values: float) -> None:
        self.do(log=values, step=step)

    def end(self) -> None:
        """Let the program come to its end."""
        if self.process.poll() is None:
            _, errors = self.process.communicate(timeout=LIMIT_S)
            assert self.process.returncode == 0, errors


@dataclass
class Server:
    """A server of its own state folder, and the programs that speak to it."""

    python: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    python_path: str = ""  # only where the package is not installed: tests that use the checkout

    @property
    def environment(self) -> dict[str, str]:
        """What trainers and commands are given: no settings of the person who runs the tests, no source tree."""
        own = {
            n: v
            for n, v in os.environ.items()
            if not n.startswith(("FARWATCH_", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"))
        }
        path = {"PYTHONPATH": self.python_path} if self.python_path else {}
        return {
            **own,
            **path,
            "FARWATCH_DIR": str(self.folder),
        }

    def start(self, port: int = 0) -> None:
        """Start the server and wait until it answers."""
        log = open(self.folder / "server.log", "ab")  # noqa: SIM115  # belongs to the process
        command = [str(self.python), "-m", "farwatch.cli", "serve", "--no-open", "--port", str(port)]
        self.process = subprocess.Popen(
            command, env=self.environment, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        log.close()
        wait_until(self._answers, f"the server answers; its log: {self.folder / 'server.log'}")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        with contextlib.suppress(OSError), self.api() as api:
            api.info()
            return True
        return False

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """End the server and wait for it; may be called twice."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(by)
            process.wait(LIMIT_S)

    @property
    def address(self) -> str:
        told: dict[str, str] = json.loads((self.folder / "server.json").read_text())
        return told["address"]

    def api(self) -> Api:
        return Api(settings=load({"FARWATCH_DIR": str(self.folder)}))

    def train(
        self, script: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a training script to its end. Fails the test if it fails."""
        process = self.training(script, *arguments, environment=environment)
        output, errors = process.communicate(timeout=LIMIT_S * 2)
        assert process.returncode == 0, errors
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def training(
        self, script: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a training script; whoever starts it waits for it, or the fixture ends it."""
        path = self.folder / f"train-{uuid.uuid4().hex[:8]}.py"
        path.write_text(script, encoding="utf-8")
        process = subprocess.Popen(
            [str(self.python), str(path), *arguments], env={**self.environment, **(environment or {})}, cwd=self.folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def ended(self, api: Api, project: str, count: int = 1) -> list[Run]:
        """The runs of a project, oldest first, once `count` of them have ended: a trainer does not wait for the server."""
        found: list[Run] = []

        def all_ended() -> bool:
            found[:] = api.runs(project, sort="created")
            return len(found) == count and all(run.state in FINAL for run in found)

        wait_until(all_ended, f"{count} runs of {project} have ended")
        return found

    @contextlib.contextmanager
    def driven(self, project: str, **more: Any) -> Iterator["Driven"]:
        """A trainer that does what it is told, one thing at a time; ended at the end of the block."""
        driver = Driven(self.training(DRIVER, json.dumps({"project": project, "system": False, **more})))
        try:
            with self.api() as api:
                wait_until(
                    lambda: any(run.id == driver.run_id for run in api.runs(project)),
                    "the run is on the server",
                )
            yield driver
            driver.end()
        finally:
            if driver.process.poll() is None:
                driver.process.kill()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `farwatch …` without a terminal."""
        return subprocess.run(
            [str(self.python), "-m", "farwatch.cli", *arguments], env=self.environment, cwd=self.folder, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S * 2, check=False,
        )  # fmt: skip

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.stop()
        self._end_agent()

    def _end_agent(self) -> None:
        """End this folder's agent, which would go on trying to reach a server that is gone."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "farwatch.agent" in words and str(self.folder) in words:
                    process.terminate()
                    process.wait(LIMIT_S)
