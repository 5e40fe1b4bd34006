"""Real server processes on loopback ports, and clients that say exactly what a test wants said."""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"
LIMIT_S = 30.0
STRANGER_UID = 48_213
PROXIED = {"X-Forwarded-For": "203.0.113.7"}  # a proxy of our own uid speaks for somebody we do not know


@dataclass
class Reply:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


@dataclass
class Running:
    """A server process of its own state folder."""

    folder: Path
    extra: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None
    told: dict[str, Any] = field(default_factory=dict)

    def start(self, *extra: str) -> "Running":
        command = [
            sys.executable,
            "-P",
            "-m",
            "farwatch.server",
            "--json",
            "--port",
            "0",
            "--log",
            "INFO",
            "--dir",
            str(self.folder),
            *self.extra,
            *extra,
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FARWATCH_")}
        environment["PYTHONPATH"] = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
        with open(self.folder.parent / (self.folder.name + ".log"), "a") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True, cwd="/"
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log
        self.told = json.loads(line)
        return self

    @property
    def log(self) -> str:
        return (self.folder.parent / (self.folder.name + ".log")).read_text()

    @property
    def port(self) -> int:
        return int(self.told["address"].rpartition(":")[2])

    @property
    def file(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.folder / "server.json").read_text())
        return told

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        raw: bytes | None = None,
    ) -> Reply:
        """One request on a connection of its own. `body` goes as JSON, `raw` as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        try:
            data = raw if raw is not None else None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(
                answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
            )
        finally:
            connection.close()

    def api(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Reply:
        return self.ask(method, "/api/v1" + path, body, headers, **more)

    def stranger(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """As `ask`, by another account of this machine where the tests may become one, else through a proxy that lends its uid."""
        if os.geteuid() != 0:
            return self.ask(method, path, headers={**PROXIED, **(headers or {})})
        status, answered, body = as_stranger(lambda: self._said(method, path, dict(headers or {})))
        return Reply(status, answered, body.encode("latin-1"))

    def _said(self, method: str, path: str, headers: dict[str, str]) -> list[Any]:
        reply = self.ask(method, path, headers=headers)
        return [reply.status, reply.headers, reply.body.decode("latin-1")]

    def once(self) -> str:
        return str(self.told["url"].rpartition("#once=")[2])

    def stop(self) -> int:
        """End the server as a service manager would; may be called twice."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.terminate()
        try:
            return process.wait(LIMIT_S)
        finally:
            if process.stdout is not None:
                process.stdout.close()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(LIMIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None


def as_stranger(work: Callable[[], Any]) -> Any:
    """The JSON result of `work`, done by a child of this process as an account that is not the server's; only root can.

    A fork and not a new program: an interpreter in root's home could not be started by that account.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(STRANGER_UID)
            os.setuid(STRANGER_UID)
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        said = told.read()
    os.waitpid(child, 0)
    assert said, "the child failed"
    return json.loads(said)


def until(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """Poll until a condition gives something true, and return that."""
    deadline = time.monotonic() + limit_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def running(folder: Path, *extra: str) -> Iterator[Running]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = Running(folder, extra)
    try:
        yield server.start()
    finally:
        server.stop()


def raw(server: Running, data: bytes, *, until_closed: bool = False) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as sock:
        sock.sendall(data)
        got = b""
        while until_closed or b"\r\n\r\n" not in got:
            piece = sock.recv(65536)
            if not piece:
                break
            got += piece
        return got


def memory(server: Running) -> int:
    assert server.process is not None
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024  # type: ignore[index]


def chart(server: Running, run: str, name: str, **more: object) -> dict[str, list[float]]:
    reply = server.api(
        "POST", "/charts", {"lines": [{"run": run, "name": name}], **more}, {"Accept": "application/json"}
    )
    assert reply.status == 200, reply.body
    arrays: dict[str, list[float]] = reply.json["arrays"]
    return arrays
