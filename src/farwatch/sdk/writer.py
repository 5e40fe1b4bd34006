"""A writer: this process's folder with its journal, what it says of itself, and what the agent has answered.

`writer.json` is written first, so that whoever finds a journal knows whose it is. The agent answers in `agent.json`
beside it: how far the server has come, and what the server calls the run. Nobody here opens a connection.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any, Protocol

from farwatch.machine import process_start
from farwatch.sdk.inbox import Inbox
from farwatch.sdk.journal import Journal
from farwatch.sdk.spool import Spool
from farwatch.wire.ids import new_writer_id
from farwatch.wire.records import Kind, encode_json
from farwatch.wire.segment import SIDECAR

ANSWER = "agent.json"


class Place(Protocol):
    """What a run needs of the session that made it."""

    strict: bool
    mode: str
    state_dir: Path
    address: str | None
    keep_traceback: bool
    pause_max_s: float
    ranks_wait_s: float
    alone: bool  # its program has other processes, and they are no ranks of this run

    def kept_file(self, sidecar: dict[str, Any]) -> Path | None: ...

    def mask(self, mapping: dict[str, Any]) -> dict[str, Any]: ...

    def ensure_agent(self) -> None: ...

    def finish_wait_s(self) -> float: ...

    def leave(self, run: Any) -> None: ...

    def end_by_exception(self, run: Any, error: BaseException) -> None: ...


class NullJournal:
    """The journal of a disabled run: takes everything, keeps nothing, leaves no file."""

    dropped = 0
    full: str | None = None
    number = 0
    retry_ns = 0
    at = (None, b"", 0, 0, 0, 0)

    def __init__(self) -> None:
        self.lock = RLock()
        self.busy = False
        self.deferred: deque[Callable[[], object]] = deque()

    def hold(self, call: Callable[[], object]) -> None:
        call()

    def drain(self) -> None:
        while self.deferred:
            self.deferred.popleft()()

    def append(self, payload: bytes, *, vital: bool = False) -> None:
        return None

    def commit(self, payload: bytes, vital: bool = False) -> bool:
        return True

    def keep_together(self, length: int) -> None:
        return None

    def close(self) -> None:
        return None

    def forked(self) -> None:
        return None


@dataclass
class Writer:
    """One (process, start) that writes records of a run.

    `sidecar`: the content of `writer.json`. `base_ns`: monotonic time of its start.
    `spool`: None for a disabled run. `inbox`: where commands come, at rank 0.
    """

    sidecar: dict[str, Any]
    journal: Journal
    base_ns: int
    spool: Spool | None
    root: Path | None
    max_bytes: int
    inbox: Inbox | None = None
    _answer: dict[str, Any] = field(default_factory=dict)
    _answer_ns: int = -1

    def answer(self) -> dict[str, Any]:
        """What the agent has written about this writer: `expected`, `run`, `number`, `attempt`, `url`, …; or nothing yet."""
        if self.root is None:
            return {}
        path = self.journal.folder / ANSWER
        try:
            changed = os.stat(path).st_mtime_ns
            if changed != self._answer_ns:
                self._answer = json.loads(path.read_bytes())
                self._answer_ns = changed
        except (OSError, ValueError):
            pass  # not there yet, or being replaced: the next look finds it
        return self._answer

    def delivered(self, records: int) -> bool:
        """Whether the server has `records` records and every file that they name."""
        answer = self.answer()
        return int(answer.get("expected", 0)) >= records and not answer.get("files_behind")

    def sibling(self) -> "Writer":
        """A writer for a fork of this process: same run, a journal of its own."""
        if self.root is None:
            return self
        pid = os.getpid()
        changed = {
            "pid": pid,
            "pid_start": process_start(pid),
            "main": False,
            "sibling_of": self.sidecar["writer"],
        }
        return open_writer(self.root, {**self.sidecar, **changed}, self.max_bytes)


def open_writer(root: Path, sidecar: dict[str, Any], max_bytes: int) -> Writer:
    """Create a journal below `root` and write record 0. Raises `OSError` if there is no room for it."""
    writer_id = new_writer_id()
    base_ns = time.monotonic_ns()
    now_us = time.time_ns() // 1000
    # Records carry readings of the monotonic clock as they are; `wall_us` is what the wall clock showed at its zero.
    times = {"wall_us": now_us - base_ns // 1000, "mono_us": base_ns // 1000, "started_ms": now_us // 1000}
    sidecar = {**sidecar, "writer": writer_id, **times}
    folder = root / writer_id
    folder.mkdir(mode=0o700)
    fresh = folder / (SIDECAR + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(sidecar, file)
    journal = Journal(folder, writer_id, max_bytes=max_bytes, clock_ns=time.monotonic_ns)
    hello = {key: value for key, value in sidecar.items() if key != "credential"}
    journal.append(encode_json(Kind.HELLO, hello), vital=True)
    receives = sidecar["main"] and sidecar["rank"] == 0 and sidecar["sibling_of"] is None
    inbox = Inbox(folder, writer_id) if receives else None
    os.replace(fresh, folder / SIDECAR)  # last: a folder with a sidecar has a journal
    return Writer(sidecar, journal, base_ns, Spool(folder), root, max_bytes, inbox)


def null_writer(sidecar: dict[str, Any]) -> Writer:
    """The writer of a disabled run."""
    journal: Any = NullJournal()
    return Writer({**sidecar, "writer": new_writer_id()}, journal, time.monotonic_ns(), None, None, 0)
