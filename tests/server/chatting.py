"""A server of its own process, connected to a fake of Telegram that runs beside the test."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from serving import SOURCE, Reply, Running, running, until

from farwatch.bridges.base import Address
from farwatch.testing.bridges import Seen
from farwatch.testing.chat.ilink import FakeIlink
from farwatch.testing.chat.telegram import FakeTelegram

T = TypeVar("T")
TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


class Loop:
    """An event loop in a thread, for fakes."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fakes", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Telegram:
    """The fake, and what people do there."""

    def __init__(self, loop: Loop, **fake: Any) -> None:
        self._loop = loop
        self.fake = FakeTelegram(token=TOKEN, **fake)
        loop.run(self.fake.__aenter__())

    @property
    def values(self) -> dict[str, str]:
        """What connects a server to it."""
        return {"token": TOKEN, "url": self.fake.url}

    def write(self, text: str, **more: Any) -> str:
        return self._loop.run(self.fake.write(text, **more))

    def seen(self, chat: Address | None = None) -> list[Seen]:
        return self.fake.seen(chat)

    def texts(self, chat: Address | None = None) -> list[str]:
        return [one.text for one in self.seen(chat)]

    def close(self) -> None:
        self._loop.run(self.fake.__aexit__(None, None, None))


@contextlib.contextmanager
def telegram(**fake: Any) -> Iterator[Telegram]:
    loop = Loop()
    made = Telegram(loop, **fake)
    try:
        yield made
    finally:
        made.close()
        loop.close()


@contextlib.contextmanager
def ilink() -> Iterator[FakeIlink]:
    """A fake of WeChat's personal service."""
    loop, fake = Loop(), FakeIlink()
    serving = fake.serving()
    loop.run(serving.__aenter__())
    try:
        yield fake
    finally:
        loop.run(serving.__aexit__(None, None, None))
        loop.close()


def connected(server: Running, other: Telegram, name: str = "telegram") -> None:
    """Connect a server, and wait until it listens."""
    reply = server.api("PUT", f"/channels/{name}", {"kind": "telegram", "values": other.values})
    assert reply.status == 200, reply.body
    until(lambda: channel(server, name)["ok"], "the channel listens")


def channel(server: Running, name: str = "telegram") -> dict[str, Any]:
    """A channel as it is listed."""
    listed = server.api("GET", "/channels").json["channels"]
    return next(one for one in listed if one["name"] == name)  # type: ignore[no-any-return]


def paired(server: Running, other: Telegram, *, user: int = 7001, name: str = "Ann", **asked: Any) -> dict[str, Any]:
    """Make a user of Telegram somebody here, by a code; returns the person."""
    code = server.api("POST", "/people/pair", {"name": name, **asked}).json["code"]
    other.write(code, user=user, name=name)
    return until(lambda: person(server, name), f"{name} is paired")  # type: ignore[no-any-return]


def person(server: Running, name: str) -> dict[str, Any] | None:
    listed = server.api("GET", "/people").json["people"]
    return next((one for one in listed if one["name"] == name), None)


@contextlib.contextmanager
def fresh(folder: Path) -> Iterator[tuple[Running, Telegram]]:
    """A server and a fake, not connected."""
    with running(folder / "state") as server, telegram() as other:
        yield server, other


def answered(reply: Reply) -> Any:
    """The answer of a request that went well."""
    assert reply.status < 300, reply.body
    return reply.json


class Environed(Running):
    """A server whose environment connects it, or in which `before` is run first."""

    def __init__(self, folder: Path, *, environ: dict[str, str] | None = None, before: str = "", level: str = "INFO") -> None:
        super().__init__(folder)
        self._environ, self._before, self._level = environ or {}, before, level

    def start(self, *extra: str) -> "Running":
        code = f"import os\nos.environ.update({self._environ!r})\n{self._before}\nfrom farwatch.server.__main__ import main\nmain()"
        options = ["--json", "--port", "0", "--log", self._level, "--dir", str(self.folder)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FARWATCH_")}
        with open(self.folder.parent / (self.folder.name + ".log"), "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, *options], stdout=subprocess.PIPE, stderr=log, text=True, cwd="/",
                env={**environment, "PYTHONPATH": str(SOURCE)},
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log
        self.told = json.loads(line)
        return self


class Ended:
    """Ends a server as `contextlib.closing` wants it."""

    def __init__(self, server: Running) -> None:
        self.close = server.stop


def holders(folder: Path, word: str) -> set[str]:
    """Files below a folder in which a word stands, as it is or as databases and JSON may write it."""
    forms = {word.encode(), json.dumps(word)[1:-1].encode(), word.encode("utf-16-le")}
    return {path.name for path in folder.rglob("*") if path.is_file() and any(form in path.read_bytes() for form in forms)}


def command(server: Running, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line beside a server."""
    environ = {**os.environ, "FARWATCH_DIR": str(server.folder), "PYTHONPATH": str(SOURCE)}
    done = [sys.executable, "-m", "farwatch.cli", *words]
    return subprocess.run(done, capture_output=True, timeout=60, check=False, env=environ, text=True)


__all__ = [
    "TOKEN", "Ended", "Environed", "Telegram", "answered", "channel", "command", "connected", "fresh", "holders", "ilink", "paired",
    "person", "running", "telegram", "until",
]  # fmt: skip
