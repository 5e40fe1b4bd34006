"""A machine with a server, an agent and trainers that can be steered and killed, and somebody who asks over HTTP."""

import contextlib
import http.client
import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.machine import Machine, until

LOOP = """
import farwatch, os, pathlib, sys, time
run_id, notes, pause = sys.argv[1], pathlib.Path(sys.argv[2]), float(sys.argv[3])
def note(text):
    with open(notes, "a") as file:
        print(text, file=file, flush=True)
run = farwatch.init("steer", id=run_id, console=False, system=False)
lr = run.knob("lr", 0.1, min=1e-6, max=1.0, log=True)
layers = run.knob("layers", 4)
mode = run.knob("mode", "easy", choices=["easy", "hard"])
@run.command
def evaluate(n: int = 3) -> str:
    note(f"evaluate {n}")
    return f"acc {n}"
@run.command
def slow(s: float = 60.0):
    note("slow")
    time.sleep(s)
    note("slow done")
@run.command
def login(token: str, layers: int = 1) -> str:
    note(f"login with {len(token)} characters, {layers} layers")
@run.command
def broken():
    note("broken")
    raise RuntimeError("no <b>data</b>")
@run.on("checkpoint")
def save():
    note("save")
    return "step.pt"
if "signals" in sys.argv:
    run.on("stop")(lambda: note("stop"))
if "late" in sys.argv:
    time.sleep(1.5)
for step in range(1 << 40):
    if "silent" not in sys.argv:
        run.log({"lr": lr.value, "layers": layers.value}, step=step)
    time.sleep(pause)
"""


class Steered:
    """A run that somebody steers over HTTP."""

    def __init__(self, machine: Machine, run: str) -> None:
        self.machine, self.run = machine, run
        self.notes_file = machine.folder / f"{run}.notes"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: object, pause_s: float = 0.005, wait: bool = True, attempt: int = 1, **environ: str) -> "Steered":
        """Start its program, again perhaps; `wait`: until the server knows it."""
        self.process = self.machine.train(LOOP, self.run, self.notes_file, pause_s, *words, **environ)
        if wait:
            until(lambda: (row := self.row()).get("attempt") == attempt and row["steer"]["hooks"], 60, "it has declared what it can")
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def row(self) -> dict[str, Any]:
        status, body, _ = http_ask(self.machine, "GET", f"/runs/{self.run}")
        return body if status == 200 else {}

    def post(self, op: Any, **more: Any) -> tuple[int, dict[str, Any]]:
        status, body, _ = http_ask(self.machine, "POST", f"/runs/{self.run}/commands", {"op": op, **more})
        return status, body

    def ask(self, op: str, *, args: dict[str, Any] | None = None, **more: Any) -> str:
        """Ask; returns the id. One person may ask for so much a minute, and many tests share one server: wait, as we are told."""
        status, body = until(lambda: (told := self.post(op, args=args or {}, **more))[0] != 429 and told, 70)
        assert status == 202, body
        return str(body["id"])

    def get(self, command: str, wait_s: float = 0.0) -> dict[str, Any]:
        status, body, _ = http_ask(self.machine, "GET", f"/commands/{command}?wait_s={wait_s}")
        assert status == 200, body
        return body

    def end(self, command: str, limit_s: float = 25.0) -> dict[str, Any]:
        """How a command ended."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                row = self.get(command, wait_s=min(5.0, limit_s))
                if row["state"] != "pending":
                    return row
            time.sleep(0.02)
        raise AssertionError(f"pending: {self.get(command)}")

    def notes(self) -> list[str]:
        """What its functions have noted."""
        return self.notes_file.read_text().splitlines() if self.notes_file.exists() else []


def http_ask(machine: Machine, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any], dict[str, str]]:
    """One request as the owner of the server; `body`: bytes as they are, or JSON."""
    secret = json.loads((machine.state / "server.json").read_text())["secret"]
    connection = http.client.HTTPConnection("127.0.0.1", machine.port, timeout=40)
    try:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, f"/api/v1{path}", data, {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        raw = answer.read()
        kind = answer.headers.get("Content-Type", "")
        said = json.loads(raw) if kind == "application/json" and raw else {"raw": raw.decode()}
        return answer.status, said, {name.lower(): value for name, value in answer.headers.items()}
    finally:
        connection.close()


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that nobody kills anything of but trainers."""
    with Machine(tmp_path_factory.mktemp("shared") / "machine") as made:
        made.start_server()
        yield made


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine to break."""
    with Machine(tmp_path / "machine") as made:
        made.start_server()
        yield made


@pytest.fixture
def run(shared: Machine) -> Iterator[Steered]:
    """A run on the machine that lives on."""
    made = Steered(shared, f"run-{secrets.token_hex(4)}")
    yield made
    if made.process is not None:
        made.kill()
