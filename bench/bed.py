"""What end-to-end measurements lie on: a real server, real trainers and the agent that they start, in a folder of their own.

CPU seconds are those of processes, from the kernel: on a busy machine they are the figure to plan with.
"""

import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.batches import Batches
from farwatch.api import Api
from farwatch.settings import load
from farwatch.wire.ids import new_run_id, new_writer_id

SOURCE = Path(__file__).parents[1] / "src"
TICKS = os.sysconf("SC_CLK_TCK")
QUIET_S = 1.0
BROWSER = "gzip, deflate, br, zstd"  # what Chromium accepts


def until(condition: Callable[[], Any], limit_s: float = 120, what: str = "") -> Any:
    """Wait for `condition` to be true, and return what it gave."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit_s:g} s: {what or condition}")
        time.sleep(0.02)
    return found


def cpu_s(*pids: int) -> float:
    """CPU seconds that processes have used, to a hundredth."""
    total = 0
    for pid in pids:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(words[11]) + int(words[12])
    return total / TICKS


def rss_mb(pid: int, field: str = "VmRSS") -> float:
    """Memory that a process has in use, MB of 10^6 bytes; `VmHWM`: the most that it ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"no {field} of process {pid}")


def when_quiet(*pids: int, limit_s: float = 120) -> float:
    """Wait until processes use less than 5 % of a core, and return their CPU seconds up to there."""
    end = time.monotonic() + limit_s
    before = cpu_s(*pids)
    while True:
        time.sleep(QUIET_S)
        now = cpu_s(*pids)
        if now - before < 0.05 * QUIET_S:
            return now
        if time.monotonic() > end:
            raise TimeoutError(f"not quiet within {limit_s:g} s")
        before = now


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, asked several times. `wall_ms`, `cpu_ms` (of the server): medians, means of what ticks tell. `size`: bytes sent."""

    wall_ms: float
    cpu_ms: float
    size: int
    body: bytes


class Bed:
    """A state folder with its server; `close` ends what is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(mode=0o700)
        self.server: subprocess.Popen[str] | None = None
        self._trainers: list[subprocess.Popen[str]] = []
        self._connection: http.client.HTTPConnection | None = None
        own = {n: v for n, v in os.environ.items() if not n.startswith(("FARWATCH", "PYTHONPATH"))}
        self.environ = {**own, "PYTHONPATH": str(SOURCE), "FARWATCH_DIR": str(self.state), "FARWATCH_IDLE_EXIT_S": "30"}

    def start(self, **settings: object) -> None:
        """Start the server; returns once it answers."""
        extra = [f"--set={name}={value}" for name, value in settings.items()]
        command = [sys.executable, "-m", "farwatch.server", "--port", "0", "--json", "--dir", str(self.state), *extra]
        with open(self.folder / "server.log", "a", encoding="utf-8") as log:
            self.server = subprocess.Popen(
                command, env=self.environ, stdout=subprocess.PIPE, stderr=log, text=True, cwd=self.folder
            )
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        if not line:
            raise RuntimeError((self.folder / "server.log").read_text())
        self.address = str(json.loads(line)["address"])
        self.once = str(json.loads(line)["url"])

    @property
    def pid(self) -> int:
        assert self.server is not None
        return self.server.pid

    def stop(self) -> float:
        """End the server as a service manager would; what it holds is flushed. Returns all its CPU seconds."""
        server, self.server = self.server, None
        assert server is not None and server.stdout is not None
        self._drop()
        server.terminate()
        _, status, usage = os.wait4(server.pid, 0)
        server.returncode = os.waitstatus_to_exitcode(status)
        server.stdout.close()
        return usage.ru_utime + usage.ru_stime

    def close(self) -> None:
        """End everything."""
        for trainer in self._trainers:
            if trainer.poll() is None:
                trainer.kill()
            trainer.communicate()
        for pid in self.agents():
            os.kill(pid, 9)
        if self.server is not None:
            self.stop()

    def train(self, source: str, *args: object, **environ: str) -> subprocess.Popen[str]:
        """Start a program that logs; its standard input and output are pipes."""
        script = self.folder / f"train{len(self._trainers)}.py"
        script.write_text(source)
        with open(script.with_suffix(".log"), "w", encoding="utf-8") as log:
            trainer = subprocess.Popen(
                [sys.executable, str(script), *map(str, args)],
                env={**self.environ, **environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.folder,
            )
        self._trainers.append(trainer)
        return trainer

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

    def agent(self) -> int:
        """The process id of the agent, once those that came second have left."""
        until(lambda: len(self.agents()) == 1, 30, "one agent")
        return self.agents()[0]

    def api(self) -> Api:
        return Api(settings=load(self.environ))

    # --- HTTP

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One request on the kept connection. `body`: bytes as they are, else JSON. Raises for what is refused."""
        if self._connection is None:
            host, port = self.address.removeprefix("http://").split(":")
            self._connection = http.client.HTTPConnection(host, int(port), timeout=120)
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        secret = json.loads((self.state / "server.json").read_text())["secret"] if not self._secret else self._secret
        self._secret = secret
        self._connection.request(
            method, "/api/v1" + path, data, {"Authorization": f"Bearer {secret}", **(headers or {})}
        )
        answer = self._connection.getresponse()
        received = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {received[:300]!r}")
        return answer.status, received

    _secret = ""

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._secret = ""

    def measure(
        self, method: str, path: str, body: object = None, *, encoding: str = "identity", count: int = 15, accept: str = "*/*"
    ) -> Asked:
        """The same request again and again, after two to warm up."""
        headers = {"Accept-Encoding": encoding, "Accept": accept}
        received = b""
        for _ in range(2):
            _, received = self.ask(method, path, body, headers)
        spent, cpu = [], cpu_s(self.pid)
        for _ in range(count):
            begin = time.perf_counter()
            self.ask(method, path, body, headers)
            spent.append(time.perf_counter() - begin)
        return Asked(statistics.median(spent) * 1e3, (cpu_s(self.pid) - cpu) / count * 1e3, len(received), received)

    def register(self, project: str, **more: object) -> dict[str, Any]:
        """A new writer of a new run. Returns its sidecar."""
        body = {**sidecar(project), **more}
        self.ask("POST", "/writers", body)
        return body

    def send(self, writer_id: str, packed: bytes) -> None:
        """One batch."""
        self.ask("POST", f"/writers/{writer_id}/batches", packed, {"Content-Encoding": "zstd"})

    def fill(self, project: str, names: Sequence[str], columns: Sequence[tuple[np.ndarray, np.ndarray]]) -> str:
        """A finished run from (steps (m,), values (m, k)) parts. Returns its id."""
        told = self.register(project)
        batches = Batches(told["writer"], list(names), told["wall_us"])
        for place, (steps, values) in enumerate(columns, 1):
            times_us = told["wall_us"] + (steps * 10_000).astype(np.int64)
            self.send(told["writer"], batches.packed(steps, times_us, values, end=place == len(columns))[0])
        return str(told["run"])


def sidecar(project: str) -> dict[str, Any]:
    """A writer.json as the SDK leaves it."""
    now_us = time.time_ns() // 1000
    return {
        "format": 1, "wire": 1, "writer": new_writer_id(), "run": new_run_id(), "run_given": False, "resume": "allow", "from_step": None,
        "project": project, "name": None, "group": None, "job_type": None, "parent": None, "notes": None, "tags": [], "mode": "online",
        "server": None, "pid": os.getpid(), "pid_start": 1, "boot_id": "b", "pid_ns": 1, "uid": os.getuid(), "host": "box", "user": "ann",
        "executable": "python", "cwd": "/", "argv": [], "rank": 0, "local_rank": 0, "world_size": 1, "rendezvous": None, "main": True,
        "sibling_of": None, "nth": 0, "wall_us": now_us, "mono_us": 1, "system": False, "console": True, "total_steps": None,
        "source": None, "requirements": "infer", "python": "3.11", "version": "0", "started_ms": now_us // 1000,
    }  # fmt: skip


@contextmanager
def bed() -> Iterator[Bed]:
    """A fresh one, dropped afterwards. `BENCH_DIR` says where the data goes, and should be a real disk."""
    folder = Path(tempfile.mkdtemp(prefix="farwatch-bench-", dir=os.environ.get("BENCH_DIR")))
    made = Bed(folder)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)
