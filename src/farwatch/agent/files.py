"""Sending the files beside journals: in pieces, resumable, on a connection of their own.

A file of a gigabyte must not delay a point, nor the small image behind it: after every piece the smallest file that
waits comes first. The server says how much it has, so nothing is lost if agent, server or network die in between.
"""

import contextlib
import hashlib
import json
import logging
import os
from dataclasses import dataclass, field
from urllib.parse import quote

from farwatch.agent.backoff import DENIED_S, TROUBLE_MAX_S, Backoff
from farwatch.agent.folder import SPOOL
from farwatch.agent.shipper import Connect, Shipment
from farwatch.agent.transport import Transport
from farwatch.clock import Clock
from farwatch.errors import ContactError, DataError, DeniedError, FarwatchError, NotFoundError

PIECE_BYTES = 4 << 20
SMALL_BYTES = 1 << 20
STUCK = 5  # answers without progress before a file rests
LOG = logging.getLogger("farwatch.agent")


@dataclass(slots=True)
class _File:
    """One spool file on its way."""

    name: str
    size: int
    sha256: str | None = None
    offset: int | None = None
    stuck: int = 0
    restarts: int = 0
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(slots=True)
class _Work:
    """The files of one journal: what waits, what arrived, what was refused. `epoch`: of the store that has them."""

    epoch: str
    sent: set[str]
    refused: set[str]
    waiting: dict[str, _File] = field(default_factory=dict)
    fresh: bool = True  # the list on disk belongs to another epoch


class FileSender:
    """Sends spool files to one server.

    *Threads*: one calls `turn`. *Errors*: none get out, see `Shipper`. *Cost*: one piece of at most 4 MiB a turn, plus
    reading each file once for its SHA-256.
    """

    def __init__(self, connect: Connect, clock: Clock) -> None:
        self._connect = connect
        self._clock = clock
        self._transport: Transport | None = None
        self._work: dict[str, _Work] = {}
        self.backoff = Backoff()

    def close(self) -> None:
        """Close the connection; may be called twice."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def turn(self, shipments: tuple[Shipment, ...]) -> bool:
        """Look for files and send one piece, of the smallest file that waits. Returns whether a piece was sent."""
        for gone in set(self._work) - {s.folder.writer_id for s in shipments}:
            del self._work[gone]
        now_us = self._clock.mono_us()
        ready: list[tuple[int, Shipment, _Work, _File]] = []
        for s in shipments:
            if not s.registered or s.complete:
                continue
            work = self._look(s)
            ready += [(f.size, s, work, f) for f in work.waiting.values() if f.backoff.ready(now_us)]
        if not ready or not self.backoff.ready(now_us):
            return False
        _, s, work, file = min(ready, key=lambda entry: (entry[0], entry[3].name))
        try:
            self._send_piece(s, work, file)
        except (FarwatchError, OSError) as error:
            self._trouble(s, work, file, error)
            return False
        finally:
            self._tell(s, work)
        return True

    def _look(self, s: Shipment) -> _Work:
        work = self._work.get(s.folder.writer_id)
        if work is None or work.epoch != s.epoch:
            sent = s.folder.files_sent(s.epoch)
            refused = {name for name in s.folder.aside() if name.startswith("file-")}
            work = _Work(s.epoch, sent, {name[5:] for name in refused}, fresh=not sent)
            self._work[s.folder.writer_id] = work
            s.files_seen = -1
        named = s.reader.named
        count = len(named)
        if s.files_seen != count:
            missing = s.server.get("missing")
            more = [str(name) for name in missing] if s.files_seen < 0 and isinstance(missing, list) else []
            for name in [*named[max(0, s.files_seen) : count], *more]:
                if name not in work.sent and name not in work.refused and name not in work.waiting:
                    self._add(s, work, name)
            self._tell(s, work)
            s.files_seen = count
        return work

    def _add(self, s: Shipment, work: _Work, name: str) -> None:
        try:
            work.waiting[name] = _File(name, s.folder.spool_size(name))
        except FileNotFoundError:
            work.refused.add(name)  # somebody deleted it: the record that names it says so
        except (OSError, DataError) as error:
            told = (
                error
                if isinstance(error, DataError)
                else DataError(f"cannot read `{name}`: {error.strerror}")
            )
            self._refuse(s, work, name, told)

    def _send_piece(self, s: Shipment, work: _Work, file: _File) -> None:
        path = f"/writers/{s.writer_id}/spool/{quote(file.name, safe='')}"
        descriptor = s.folder.open(file.name, SPOOL)
        try:
            size = os.fstat(descriptor).st_size
            if file.sha256 is None or size != file.size:
                file.size, file.sha256 = size, _sha256(descriptor)
            if file.offset is None:
                file.offset = 0
                if size > SMALL_BYTES:
                    file.offset = _number(self._ask("GET", path).get("offset"))
            piece = os.pread(descriptor, PIECE_BYTES, file.offset)
        finally:
            os.close(descriptor)
        query = f"?offset={file.offset}&size={file.size}&sha256={file.sha256}"
        answer = self._ask("PUT", path + query, piece)
        offset = _number(answer.get("offset"))
        if answer.get("done"):
            self._done(s, work, file)
            return
        file.stuck = file.stuck + 1 if offset <= file.offset else 0
        file.offset = offset
        if file.stuck >= STUCK:
            file.offset, file.stuck = None, 0
            raise ContactError(f"the server takes no more of `{file.name}`", status=200)
        file.backoff.succeeded()

    def _done(self, s: Shipment, work: _Work, file: _File) -> None:
        work.waiting.pop(file.name, None)
        work.sent.add(file.name)
        s.folder.add_file_sent(work.epoch, file.name, first=work.fresh)
        work.fresh = False

    def _trouble(self, s: Shipment, work: _Work, file: _File, error: FarwatchError | OSError) -> None:
        now_us = self._clock.mono_us()
        file.offset = None  # ask how much arrived
        if isinstance(error, FileNotFoundError) and not isinstance(error, FarwatchError):
            work.waiting.pop(file.name, None)
            work.refused.add(file.name)
        elif isinstance(error, NotFoundError):
            file.backoff.failed(now_us, error, at_most_s=TROUBLE_MAX_S)
            s.registered = False
        elif isinstance(error, DeniedError) or (
            isinstance(error, ContactError) and "status" not in error.details
        ):
            self.close()
            self.backoff.failed(now_us, error, at_most_s=DENIED_S)
        elif not isinstance(error, FarwatchError) or error.retryable:
            told = error if isinstance(error, FarwatchError) else None
            file.backoff.failed(now_us, told, at_most_s=TROUBLE_MAX_S)
        elif file.restarts < 1:
            file.restarts += 1  # it may have changed while we read it
            file.sha256 = None
            file.backoff.failed(now_us, error)
        else:
            self._refuse(s, work, file.name, error)

    def _refuse(self, s: Shipment, work: _Work, name: str, error: FarwatchError) -> None:
        work.waiting.pop(name, None)
        work.refused.add(name)
        s.set_aside += 1
        LOG.warning("journal %s: the file %s is not sent: %s", s.writer_id, name, error)
        with contextlib.suppress(OSError):
            # The file itself stays in the spool; the mark says why it does not travel.
            s.folder.write_aside(
                "file-" + name, json.dumps({"file": f"{SPOOL}/{name}", "reason": str(error)}).encode()
            )

    def _tell(self, s: Shipment, work: _Work) -> None:
        s.files_bytes = sum(f.size - (f.offset or 0) for f in work.waiting.values())
        s.files_behind = len(work.waiting)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, object]:
        if self._transport is None:
            self._transport = self._connect()
            if self._transport is None:
                raise ContactError("no server yet")
        headers = {"Content-Type": "application/octet-stream"} if body is not None else None
        answer = self._transport.request(method, path, body, headers=headers, timeout_s=120).json()
        self.backoff.succeeded()
        return answer


def _sha256(descriptor: int) -> str:
    digest = hashlib.sha256()
    offset = 0
    while piece := os.pread(descriptor, 1 << 20, offset):
        digest.update(piece)
        offset += len(piece)
    return digest.hexdigest()


def _number(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ContactError("the server did not say how much of a file it has", status=200)
    return value
