"""Sends the messages that programs without a run have left: in order, each once, for a day.

A message is a folder that is deleted when the server has told what became of it. Its name is its id: whoever dies on the way, asking again
sends it once. What is given up stands in `given-up.json`, for `farwatch status`.
"""

import base64
import contextlib
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farwatch.agent.backoff import TROUBLE_MAX_S, Backoff
from farwatch.agent.folder import write_private
from farwatch.agent.transport import Transport
from farwatch.clock import Clock
from farwatch.errors import BusyError, ContactError, DataError, DeniedError, FarwatchError
from farwatch.wire.messages import BODY, FILE_MAX_BYTES, FOLDER

LOG = logging.getLogger("farwatch.agent")
GIVEN_UP = "given-up.json"
GIVE_UP_MS = 24 * 3_600_000
TOLD_MS = 7 * 24 * 3_600_000  # so long `farwatch status` tells of what was given up
TOLD_MAX = 20
WAIT_S = 20.0
ASK_S = 45.0
PAUSE_S = 0.25
UNFINISHED_S = 3_600.0
INLINE_MAX_BYTES = 256 << 10
BODY_MAX_BYTES = 1 << 20
_NAME = re.compile(r"\d{20}-[A-Za-z0-9-]{1,43}")  # the server takes ids of up to 64
_ARRIVED = frozenset({"sent", "unchanged", "unsure", "held"})
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

Connect = Callable[[], Transport | None]


@dataclass(frozen=True, slots=True)
class Kept:
    """Messages on disk. `given_up`: when each was made, ms since 1970, and why it was not sent."""

    waiting: int
    given_up: tuple[tuple[int, str], ...]


@dataclass(slots=True)
class _Way:
    """To one server."""

    transport: Transport | None
    backoff: Backoff


class Messages:
    """Sends what is in one state folder. *Threads*: one, from `look` until nothing waits; `look` and `close` by the agent's."""

    def __init__(self, state: Path, clock: Clock, connect: Callable[[str], Connect], stop: threading.Event) -> None:
        """`connect`: how a server is reached, by its address, empty for this user's own."""
        self._folder = state / FOLDER
        self._clock = clock
        self._connect = connect
        self._stop = stop
        self._ways: dict[str, _Way] = {}
        self._again_us: dict[str, int] = {}  # of those that the server has and still tries: when to ask
        self._thread: threading.Thread | None = None
        self.lasting = False  # whether there is a server to wait for: one was named, or has answered
        self.seen: frozenset[str] = frozenset()

    def waiting(self) -> list[str]:
        """Names of the messages that are not sent, the oldest first."""
        try:
            return sorted(name for name in os.listdir(self._folder) if _NAME.fullmatch(name))
        except OSError:
            return []

    def look(self) -> bool:
        """See that what waits is being sent; returns whether anything waits."""
        names = self.waiting()
        self.seen = frozenset(names)
        if names and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._work, name="messages", daemon=True)
            self._thread.start()
        return bool(names)

    def close(self) -> None:
        """Let go; may be called twice."""
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(1)
            if self._thread.is_alive():
                return  # a question that is being asked is left to itself: it may be asked again
        for way in self._ways.values():
            if way.transport is not None:
                way.transport.close()

    def _work(self) -> None:
        self._sweep()
        while not self._stop.is_set():
            try:
                if not self.turn():
                    return
            except Exception:  # the agent's loop: one odd message must not end all others
                LOG.exception("messages")
            self._stop.wait(PAUSE_S)

    def turn(self) -> bool:
        """Send what can be sent now, each server's in order; returns whether anything is left."""
        for name in self.waiting():
            if self._stop.is_set():
                break
            try:
                told = self._read(name)
            except FileNotFoundError:
                self._delete(name)  # half deleted, or taken by the agent of another namespace
                continue
            except (OSError, ValueError, DataError) as error:
                LOG.warning("message %s cannot be read: %s", name, error)
                self._give_up(name, self._clock.wall_us() // 1000, "it could not be read")
                continue
            server = told["server"] if isinstance(told.get("server"), str) else ""
            self.lasting = self.lasting or bool(server)
            self._send(name, told, server)
        return bool(self.waiting())

    def _sweep(self) -> None:
        """Delete what programs that died on the way have left."""
        for path in self._folder.glob(".*"):
            with contextlib.suppress(OSError):
                if self._clock.wall_us() / 1e6 - path.lstat().st_mtime > UNFINISHED_S:
                    shutil.rmtree(path)

    def _read(self, name: str) -> dict[str, Any]:
        told = json.loads(self._content(name, BODY, BODY_MAX_BYTES))
        if not isinstance(told, dict):
            raise DataError("no JSON object")
        return told

    def _content(self, name: str, part: str, max_bytes: int) -> bytes:
        with os.fdopen(os.open(self._folder / name / part, _READ), "rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise DataError(f"more than {max_bytes} bytes")
        return content

    def _send(self, name: str, told: Mapping[str, Any], server: str) -> None:
        """Try one message, unless its server was just away: then those behind it wait as well."""
        now_us, made_ms = self._clock.mono_us(), int(told.get("made_ms") or 0)
        if self._clock.wall_us() // 1000 - made_ms > GIVE_UP_MS:
            self._give_up(name, made_ms, "no server has taken it within 24 hours")
            return
        way = self._ways.setdefault(server, _Way(None, Backoff()))
        if self._again_us.get(name, 0) > now_us or not way.backoff.ready(now_us):
            return
        try:
            if way.transport is None:
                way.transport = self._connect(server)()
            if way.transport is None:
                way.backoff.failed(now_us)
                return
            answer = way.transport.request("POST", "/notify", self._body(name, told, way.transport), timeout_s=ASK_S).json()
            self.lasting = True
            way.backoff.succeeded()
        except (ContactError, BusyError, DeniedError) as error:
            way.backoff.failed(self._clock.mono_us(), error, at_most_s=TROUBLE_MAX_S if isinstance(error, DeniedError) else 5.0)
            if way.transport is not None:
                way.transport.close()
            way.transport = None  # a local server may come back elsewhere
            return
        except FarwatchError as error:
            self._give_up(name, made_ms, f"the server refuses it: {error.message}")
            return
        self._answered(name, made_ms, answer.get("messages") or [])

    def _body(self, name: str, told: Mapping[str, Any], transport: Transport) -> dict[str, Any]:
        body: dict[str, Any] = {"text": str(told.get("text") or ""), "wait_s": WAIT_S, "id": name}
        if isinstance(told.get("image"), dict):
            body["picture"] = self._attachment(name, "image", told["image"], transport)
        if isinstance(told.get("file"), dict):
            body["files"] = [self._attachment(name, "file", told["file"], transport)]
        return body

    def _attachment(self, name: str, part: str, told: Mapping[str, Any], transport: Transport) -> dict[str, Any]:
        content = self._content(name, part, FILE_MAX_BYTES)
        about = {"name": str(told.get("name") or part), "media_type": told.get("media_type")}
        if len(content) <= INLINE_MAX_BYTES:
            return {**about, "base64": base64.b64encode(content).decode()}
        from urllib.parse import urlencode  # rarely needed

        query = urlencode({key: value for key, value in about.items() if value})
        headers = {"Content-Type": "application/octet-stream"}
        answer = transport.request("POST", f"/notify/uploads?{query}", content, headers=headers, timeout_s=600.0)
        return {**about, "upload": answer.json()["upload"]}

    def _answered(self, name: str, made_ms: int, messages: list[dict[str, Any]]) -> None:
        outcomes = {str(one.get("outcome")) for one in messages}
        if "waiting" in outcomes:
            self._again_us[name] = self._clock.mono_us() + int(TROUBLE_MAX_S * 1e6)
        elif outcomes & _ARRIVED:
            self._delete(name)
        elif not messages:
            self._give_up(name, made_ms, "nobody is connected to be told (farwatch connect)")
        else:
            last = messages[-1]
            self._give_up(name, made_ms, f"{last.get('channel')}: {last.get('outcome')} {last.get('reason') or ''}".strip())

    def _give_up(self, name: str, made_ms: int, reason: str) -> None:
        LOG.warning("message %s is given up: %s", name, reason)
        kept = [*read_given_up(self._folder), (made_ms, reason[:300])][-TOLD_MAX:]
        with contextlib.suppress(OSError):
            write_private(self._folder / GIVEN_UP, json.dumps({"given_up": kept}).encode())
        self._delete(name)

    def _delete(self, name: str) -> None:
        self._again_us.pop(name, None)
        shutil.rmtree(self._folder / name, ignore_errors=True)


def read_given_up(folder: Path) -> list[tuple[int, str]]:
    """When each message that was given up was made, and why; the newest last."""
    try:
        found = json.loads((folder / GIVEN_UP).read_bytes())["given_up"]
        return [(int(made_ms), str(reason)) for made_ms, reason in found]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def messages_at(state: Path, now_ms: int) -> Kept:
    """What is in a state folder."""
    folder = state / FOLDER
    try:
        waiting = sum(bool(_NAME.fullmatch(name)) for name in os.listdir(folder))
    except OSError:
        waiting = 0
    return Kept(waiting, tuple(one for one in read_given_up(folder) if now_ms - one[0] < TOLD_MS))
