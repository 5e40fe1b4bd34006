"""The journal of `farwatch run`: the console of its program, and how it ended. A thread of its own reads and writes.

The program is never held up for it: what cannot be taken in at once is counted, and a line in its place says so.
"""

import codecs
import contextlib
import itertools
import json
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from farwatch.agent.folder import CHILD, KILLED
from farwatch.runner.ends import End
from farwatch.sdk.joining import JOINED
from farwatch.sdk.lines import Chunk, Screen
from farwatch.sdk.start import RunPlace
from farwatch.sdk.writer import Writer
from farwatch.wire.records import Kind, encode_json

WAITING_MAX = 8 << 20  # bytes of output that may wait to be read
TURN_S = 0.1  # how often a line that is being rewritten is recorded
AGENT_SILENCE_S = 3.0  # it gives a sign of life each second
CARE_S = 10.0  # how often we look whether an agent lives


class Keeper:
    """Keeps what a program writes. *Threads*: `take` by one, the rest by the same one. *Errors*: none get out."""

    def __init__(self, writer: Writer, place: RunPlace) -> None:
        self._writer = writer
        self._place = place
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._missed = 0
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._closing = False
        numbers = itertools.count()
        self._screens = {name: Screen(numbers.__next__) for name in ("stdout", "stderr")}
        self._decoders = {
            name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")
        }
        self._thread = threading.Thread(target=self._work, name="console", daemon=True)

    @property
    def folder(self) -> Path:
        """The journal's folder."""
        return self._writer.journal.folder

    def started(self, pid: int, pid_start: int | None) -> None:
        """The program runs: note which process it is, and begin to keep its console."""
        told = {"pid": pid, "pid_start": pid_start, "session": pid}
        with contextlib.suppress(OSError):
            fresh = self.folder / (CHILD + ".new")
            fresh.write_text(json.dumps(told))
            os.replace(fresh, self.folder / CHILD)
        self._thread.start()

    def take(self, stream: str, data: bytes) -> None:
        """Take a copy of what the program has written to a stream. Never waits."""
        with self._lock:
            if self._bytes + len(data) > WAITING_MAX:
                self._missed += len(data)
                return
            self._waiting.append((stream, data))
            self._bytes += len(data)
        self._some.set()

    def killed_by(self) -> str | None:
        """Who had the program killed by a command, as the agent has noted it."""
        try:
            told = json.loads((self.folder / KILLED).read_bytes())
            return str(told["by"])[:200]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def close(self, end: End) -> None:
        """Write the last lines and the goodbye."""
        self._closing = True
        self._some.set()
        if self._thread.is_alive():
            self._thread.join(30)
        body: dict[str, Any] = {"state": str(end.state), "reason": end.reason, **end.facts}
        if (self.folder / JOINED).exists():
            body["joined"] = True  # the server waits for that journal as well
        with contextlib.suppress(OSError, ValueError):
            self._append(Kind.GOODBYE, body, vital=True)
            self._writer.journal.close()
        self._place.ensure_agent(AGENT_SILENCE_S)  # nobody comes after us who would

    def delivered(self) -> bool:
        """Whether the server has everything."""
        return self._writer.delivered(self._writer.journal.number)

    # --- the thread

    def _work(self) -> None:
        care = time.monotonic() + CARE_S
        while True:
            busy = self._some.wait(TURN_S if any(s.rewrites for s in self._screens.values()) else CARE_S)
            self._some.clear()
            try:
                self._turn()
                if time.monotonic() > care:
                    care = time.monotonic() + CARE_S
                    self._place.ensure_agent()
            except Exception:  # a border: the console of a program must not end it
                continue
            if self._closing and not self._waiting:
                with contextlib.suppress(Exception):
                    self._last()
                return
            if busy:
                time.sleep(0.01)  # programs write in bursts: one record for what comes together

    def _turn(self) -> None:
        now = time.monotonic()
        while self._waiting:
            with self._lock:
                stream, data = self._waiting.popleft()
                self._bytes -= len(data)
                missed, self._missed = (self._missed, 0) if not self._waiting else (0, self._missed)
            screen = self._screens[stream]
            self._send(stream, screen.feed(self._decoders[stream].decode(data)))
            if missed:
                self._send(stream, screen.feed(f"\n[{missed} bytes came too fast and are not kept here]\n"))
        for stream, screen in self._screens.items():
            if screen.rewrites:
                self._send(stream, screen.open_chunks(now, TURN_S))

    def _last(self) -> None:
        for stream, screen in self._screens.items():
            self._send(stream, screen.feed(self._decoders[stream].decode(b"", final=True)) + screen.close())

    def _send(self, stream: str, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self._append(Kind.CONSOLE, {"s": stream, "n": chunk.first, "lines": chunk.lines, "open": chunk.open})

    def _append(self, kind: Kind, body: dict[str, Any], *, vital: bool = False) -> None:
        self._writer.journal.append(
            encode_json(kind, body, time=time.monotonic_ns() // 1000), vital=vital
        )
