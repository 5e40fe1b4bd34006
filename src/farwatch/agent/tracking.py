"""One journal as the agent tracks it: its process, its shipment, and what is done when it has ended."""

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farwatch.agent.folder import ANSWER, DEATH, KILLED, JournalFolder
from farwatch.agent.reader import walk
from farwatch.agent.shipper import Shipment
from farwatch.agent.watcher import NO_GOODBYE, Watched, is_ours, watch
from farwatch.errors import DataError
from farwatch.machine import boot_id
from farwatch.wire.inbox import INBOX
from farwatch.wire.records import Kind, Record
from farwatch.wire.segment import HEADER_SIZE, SegmentHeader, segment_name


@dataclass(slots=True)
class Tracked:
    """A journal, the process that writes it, and its way to a server (None: offline)."""

    folder: JournalFolder
    watched: Watched
    shipment: Shipment | None
    ended: bool = False
    captured: bool = False

    @classmethod
    def of(cls, folder: JournalFolder, *, by_hand: bool = False) -> "Tracked":
        """Begin to track a journal. `by_hand`: offline ones are sent too, and others may write to them elsewhere."""
        watched = watch(folder.sidecar)
        if watched.alive is None and restarted_since(folder.sidecar):
            watched.alive = False
            watched.cause = {"text": f"{NO_GOODBYE}; the machine has started again since"}
        shipment = None if folder.offline and not by_hand else Shipment.of(folder, reopen=by_hand)
        if shipment is not None and folder.has_process:
            shipment.alive = watched.alive
        tracked = cls(folder, watched, shipment)
        if watched.alive is False:
            tracked.end()
        return tracked

    @staticmethod
    def peek(folder: JournalFolder) -> bool | None:
        """Whether the process of a journal lives now; None where nobody here can say."""
        watched = watch(folder.sidecar)
        watched.close()
        return False if watched.alive is None and restarted_since(folder.sidecar) else watched.alive

    def is_of(self, run: str) -> bool:
        """Whether this journal belongs to a run; ranks above 0 learn from the server which that is."""
        return run in (self.folder.sidecar["run"], self.folder.read_note(ANSWER).get("run"))

    def look(self, now_us: int) -> bool:
        """See whether its process still lives; returns whether it has just ended."""
        if self.ended:
            return False
        alive = self.watched.look(now_us)
        if self.shipment is not None and self.shipment.reader.goodbye and alive is not True:
            alive = False  # a process of elsewhere that said goodbye
        if alive is not False:
            return False
        self.end()
        return True

    def end(self) -> None:
        """Its process is gone: remember how, give back the disk that it had reserved, and let the rest be sent."""
        self.ended = True
        self.watched.close()
        (self.folder.path / INBOX).unlink(missing_ok=True)  # nobody will take anything from it
        before = self.folder.read_note(DEATH)
        said = finish_journal(self.folder)
        unsure = said is None or (said.get("assumed") is True and _failed(self.watched.cause))
        cause = self.watched.cause if unsure else None
        killed_by = self.folder.read_note(KILLED).get("by")
        if isinstance(killed_by, str) and self.folder.role == "trainer":
            cause = {**(self.watched.cause or {}), "killed_by": killed_by}  # whatever it said on its way out
        if before.get("cause"):
            cause = before["cause"]  # seen when it happened, by an agent before this one
        elif self.folder.has_process:
            self.folder.write_note(DEATH, {"cause": cause, "told": cause is None})
        s = self.shipment
        if s is None:
            return
        if self.folder.has_process:
            s.alive = False
            s.death = cause
            s.death_told = bool(before.get("told"))
        s.ended = True

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        self.watched.close()
        if self.shipment is not None:
            self.shipment.reader.close()
        self.folder.close()


def restarted_since(sidecar: dict[str, Any]) -> bool:
    """Whether the machine itself has started again since this journal's process did: then it is certainly gone."""
    boot = sidecar.get("boot_id")
    return (
        isinstance(boot, str)
        and boot_id() not in (None, boot)
        and sidecar.get("host") == socket.gethostname()
        and is_ours({**sidecar, "boot_id": boot_id()})
    )


def _failed(cause: dict[str, Any] | None) -> bool:
    """Whether a process is known to have ended otherwise than well."""
    return cause is not None and bool(cause.get("exit_code") or cause.get("signal") or cause.get("oom"))


def finish_journal(folder: JournalFolder) -> dict[str, Any] | None:
    """Cut the last segment of a dead writer behind its last record. Returns what that says if it is its goodbye."""
    segments = folder.segments()
    for number in reversed(segments):
        try:
            descriptor = folder.open_segment(number)
        except (OSError, DataError):
            continue
        with os.fdopen(descriptor, "rb") as file:
            data = file.read()
        try:
            header = SegmentHeader.decode(data)
        except DataError:
            continue
        found = walk(data, HEADER_SIZE, header.seed, 1 << 62, 1 << 62)
        if found.end < len(data) and not any(data[found.end : found.end + 8]):
            _cut(folder.path / segment_name(number), found.end)
        if found.count:
            payload = data[found.last + 8 : found.last + 8 + (int.from_bytes(data[found.last : found.last + 8], "little") >> 32)]
            return _goodbye(payload)
    return None


def _goodbye(payload: bytes) -> dict[str, Any] | None:
    if payload[0] != Kind.GOODBYE:
        return None
    try:
        return Record(0, payload).body()
    except ValueError:
        return {}


def _cut(path: Path, size: int) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)
