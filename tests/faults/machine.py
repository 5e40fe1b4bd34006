"""A small machine for fault campaigns: a state folder, a real server, real trainers, the real agent; all can be killed."""

import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from farwatch.api import Api
from farwatch.errors import NotFoundError
from farwatch.settings import load

SOURCE = Path(__file__).parents[2] / "src"

COUNTING = """
import farwatch, mmap, os, sys, time
told = memoryview(mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 8)).cast("Q")
run = farwatch.init("faults", id=sys.argv[2], console=False, system=False)
pause, count = float(sys.argv[3]), int(sys.argv[4])
for number in range(count):
    run.log({"value": float(number), "twice": 2.0 * number}, step=number)
    told[0] = number + 1
    if pause:
        time.sleep(pause)
run.finish()
"""


def until(condition: Callable[[], Any], limit_s: float = 90, what: str = "") -> Any:
    """Wait for `condition` to be true, and return what it gave."""
    deadline = time.monotonic() + limit_s
    pause_s = 0.02
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit_s} s: {what or condition}")
        time.sleep(pause_s)
        pause_s = min(0.2, pause_s * 1.1)  # what takes long is not to be asked for all the time, which takes the time of others


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Machine:
    """Everything under one folder; `close` ends what is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(mode=0o700, parents=True)
        self.port = free_port()
        self.server: subprocess.Popen[str] | None = None
        self._trainers: list[subprocess.Popen[bytes]] = []
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("FARWATCH", "COV"))},
            "PYTHONPATH": str(SOURCE),
            "FARWATCH_DIR": str(self.state),
            "FARWATCH_IDLE_EXIT_S": "5",
        }

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for trainer in self._trainers:
            trainer.kill()
            trainer.wait()
        self.kill_agents()
        if self.server is not None:
            self.server.kill()
            self._server_gone(30)

    # --- server

    def start_server(self, *, through: str = "server", **settings: object) -> None:
        """Start the server by its module, or as people do (`through="cli"`)."""
        extra = [f"--set={name}={value}" for name, value in settings.items()]
        words = ["farwatch.server"] if through == "server" else ["farwatch.cli", "serve"]
        command = [sys.executable, "-m", *words, "--port", str(self.port), "--json", *extra]
        with open(self.folder / "server.log", "a", encoding="utf-8") as log:
            self.server = subprocess.Popen(command, env=self.environ, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        assert line, (self.folder / "server.log").read_text()
        self.address = json.loads(line)["address"]

    def kill_server(self, number: int = signal.SIGKILL) -> None:
        assert self.server is not None
        self.server.send_signal(number)
        self._server_gone(30)

    def _server_gone(self, limit_s: float) -> None:
        assert self.server is not None
        self.server.wait(timeout=limit_s)
        if self.server.stdout is not None:
            self.server.stdout.close()

    # --- trainers

    def train(self, source: str, *args: object, **environ: str) -> subprocess.Popen[bytes]:
        """Start a program that logs."""
        script = self.folder / f"train{len(self._trainers)}.py"
        script.write_text(textwrap.dedent(source))
        command = [sys.executable, str(script), *map(str, args)]
        with open(script.with_suffix(".log"), "wb") as log:
            trainer = subprocess.Popen(
                command, env={**self.environ, **environ}, stdout=log, stderr=log, cwd=self.folder
            )
        self._trainers.append(trainer)
        return trainer

    def count(self, run_id: str, *, pause_s: float = 0.0, count: int = 1 << 40) -> "Counting":
        """Start a program that counts, and tells after each call how far it has come."""
        counter = self.folder / f"{run_id}.count"
        counter.write_bytes(bytes(mmap.PAGESIZE))
        return Counting(self.train(COUNTING, counter, run_id, pause_s, count), counter)

    # --- agent

    def agents(self) -> list[int]:
        """Process ids of the agents of this state folder."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"farwatch.agent" in words and str(self.state).encode() in words:
                    found.append(int(name))
        return found

    def kill_agents(self) -> int:
        killed = self.agents()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        return len(killed)

    def sync(self) -> subprocess.CompletedProcess[str]:
        """`farwatch sync`: deliver what is left, by hand."""
        return self.cli("sync", check=False)

    def cli(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command of the command line, with `--json`."""
        command = [sys.executable, "-m", "farwatch.cli", *map(str, words), "--json"]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 or not check, done.stderr
        return done

    # --- reading

    def api(self) -> Api:
        return Api(settings=load(self.environ))

    def values(self, run_id: str, name: str = "value") -> list[float]:
        with self.api() as api:
            try:
                return api.run(run_id).series(name).values.tolist()
            except NotFoundError:
                return []


class Counting:
    """A program that counts."""

    def __init__(self, process: subprocess.Popen[bytes], counter: Path) -> None:
        self.process = process
        self._counter = counter

    @property
    def returned(self) -> int:
        """How many of its calls have returned."""
        return int.from_bytes(self._counter.read_bytes()[:8], "little")

    def kill(self) -> int:
        """Kill it. Returns how many calls had returned."""
        self.process.kill()
        self.process.wait()
        return self.returned
