"""Shipping the journals of one server: batches in order, acknowledged, never lost, never doubled.

The agent has no state of its own that matters: the trainer numbered the records, the server says which one it expects,
and the reader goes there. Everything here is one thread's; files travel on another connection
(`farwatch.agent.files`), so that they never delay a point.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from farwatch.agent.backoff import DENIED_S, REFUSED_S, TROUBLE_MAX_S, Backoff
from farwatch.agent.clone import ClonedReader
from farwatch.agent.folder import ANSWER, DEATH, JournalFolder
from farwatch.agent.packing import pack
from farwatch.agent.reader import Reader
from farwatch.agent.transport import Transport
from farwatch.clock import Clock
from farwatch.errors import (
    ContactError,
    DataError,
    DeniedError,
    FarwatchError,
    ForkError,
    GapError,
    NotFoundError,
)
from farwatch.wire.batch import FLAG_GAP, Batch

Connect = Callable[[], Transport | None]
"""Opens a way to the server, looking up its address and token anew; None while there is no server."""

MAX_BYTES = 1 << 20
PER_TURN = 4  # batches of one journal before the next one has its turn
NOTE_US = 250_000
ASIDE_ONE_BY_ONE = (
    8  # after so many refusals in a row whole batches are set aside: the server refuses everything
)
BLOCKED_S = 60.0
LOG = logging.getLogger("farwatch.agent")


@dataclass(slots=True)
class Shipment:
    """One journal on its way. Written by the shipper's thread; others read single fields, and set `ended` and `death`.

    `files_seen`: of how many named files the file sender knows.
    `ended`: its process writes no more. `death`: how it died, to be told to the server. `complete`: all that was
    written is acknowledged, files included. `refused`: why the server takes nothing of it. `told`: what the server was told last
    of what is behind; None: it may hold anything.
    """

    folder: JournalFolder
    reader: Reader | ClonedReader
    ended: bool = False
    death: dict[str, Any] | None = None
    alive: bool | None = None
    registered: bool = False
    server: dict[str, Any] = field(default_factory=dict)
    epoch: str = ""
    server_id: object = None
    acknowledged: int = 0
    caught_up: bool = False
    complete: bool = False
    death_told: bool = False
    refused: str | None = None
    refused_hint: str | None = None
    set_aside: int = 0
    files_behind: int = 0
    files_bytes: int = 0
    files_seen: int = -1
    backoff: Backoff = field(default_factory=Backoff)
    max_records: int = 1 << 30
    refusals: int = 0
    gap_mark: tuple[int, int] | None = None
    pending: Batch | None = None
    told: tuple[int, int, int] | None = None
    noted: tuple[int, int, bool] | None = None
    noted_us: int = 0

    @property
    def files_known(self) -> bool:
        """Whether every file that a record names has been looked at; `files_behind` says what waits of them."""
        return self.files_seen >= len(self.reader.named)

    @property
    def writer_id(self) -> str:
        """Under which id the server knows it."""
        return self.reader.writer_id if isinstance(self.reader, ClonedReader) else self.folder.writer_id

    @classmethod
    def of(cls, folder: JournalFolder, *, reopen: bool = False) -> "Shipment":
        """A journal that has not been offered yet."""
        aside = sum(int(name.split("-")[1].split(".")[0]) for name in folder.aside() if name.endswith(".fwb"))
        reader = ClonedReader.find(folder) or Reader(folder, reopen)
        noted = folder.answer()
        shipment = cls(folder, reader, set_aside=aside, acknowledged=_whole(noted.get("expected")))
        if noted.get("complete") and folder.read_note(DEATH).get("told", True):
            # Nothing to do, unless the same server turns out to have been restored.
            shipment.complete = shipment.ended = shipment.registered = shipment.caught_up = True
            shipment.epoch, shipment.server_id = str(noted.get("epoch")), noted.get("server_id")
            shipment.told = shipment.behind
        return shipment

    @property
    def behind(self) -> tuple[int, int, int]:
        """Records and bytes that are still to be sent, and records that the server has refused."""
        records = self.pending.count if self.pending is not None else int(not self.caught_up)
        return records, (0 if self.caught_up else self.reader.behind_bytes()) + self.files_bytes, self.set_aside

    @property
    def dormant(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.complete and self.registered and (self.death is None or self.death_told) and not self.owes

    @property
    def owes(self) -> bool:
        """Whether it is complete, and the server may still believe that something is behind: nothing else would correct that."""
        return self.complete and self.registered and self._has_life and self.told != self.behind

    @property
    def beats(self) -> bool:
        """Whether the server is told how it fares. Of a process of elsewhere nothing is known: its records are its signs of life."""
        return self.registered and not self.dormant and self._has_life

    @property
    def _has_life(self) -> bool:
        return self.folder.has_process and (self.alive is not None or self.death is not None)


class Shipper:
    """Ships journals to one server.

    *Threads*: one calls `turn` and `beat`; `add` and `remove` may be called by another. *Errors*: none get out: the
    network's become waits, the server's become what it asked for, a journal's own concern that journal only.
    """

    def __init__(
        self, connect: Connect, clock: Clock, *, agent_id: str, host: str = "", version: str = ""
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._agent_id = agent_id
        self._about = {"host": host, "version": version}
        self._transport: Transport | None = None
        self._shipments: tuple[Shipment, ...] = ()
        self.backoff = Backoff()
        self.trouble: str | None = None
        self.contact_us: int | None = None
        self.reached = False
        self.server_id: object = None

    @property
    def shipments(self) -> tuple[Shipment, ...]:
        """The journals, runs before what belongs to them."""
        return self._shipments

    @property
    def owes(self) -> bool:
        """Whether a beat is due at once: the server may believe that something is behind which has arrived since."""
        return any(s.owes for s in self._shipments)

    def add(self, shipment: Shipment) -> None:
        """Take over a journal."""
        self._shipments = tuple(sorted((*self._shipments, shipment), key=_order))

    def remove(self, shipment: Shipment) -> None:
        """Let go of a journal."""
        self._shipments = tuple(other for other in self._shipments if other is not shipment)
        shipment.reader.close()

    def close(self) -> None:
        """Close the connection; may be called twice."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def finish(self) -> None:
        """Leave what is known of every journal beside it, and close."""
        for shipment in self._shipments:
            self._note(shipment, at_once=True)
        self.close()

    def turn(self) -> bool:
        """Look at every journal once and send what is there. Returns whether anything was sent."""
        sent = False
        for shipment in self._shipments:
            now_us = self._clock.mono_us()
            if not self.backoff.ready(now_us):
                return sent
            if (shipment.complete and shipment.registered) or not shipment.backoff.ready(now_us):
                continue
            try:
                sent = self._ship(shipment) or sent
            except FarwatchError as error:
                self._trouble(shipment, error)
            except OSError as error:
                LOG.warning("journal %s: %s", shipment.folder.writer_id, error.strerror)
                shipment.backoff.failed(now_us, at_most_s=TROUBLE_MAX_S)
            self._note(shipment)
        return sent

    def beat(self, next_s: float) -> bool:
        """Tell the server who lives, who died and how much waits. Returns whether it heard."""
        speakers = [(s, s.behind) for s in self._shipments if s.beats]
        told = {s.writer_id: _life_of(s, behind) for s, behind in speakers}
        # Without anything to tell it still asks for the epoch, once there is a contact: a restore needs journals again.
        if not (told or self.reached) or not self.backoff.ready(self._clock.mono_us()):
            return not told
        # While something is behind, its end is to be told again: the server waits for the rest before it judges.
        dead = [s for s, behind in speakers if s.death is not None and not any(behind[:2])]
        body = {"writers": told, "next_s": next_s, **self._about}
        try:
            answer = self._ask("POST", f"/agents/{self._agent_id}/beat", body, timeout_s=10)
        except FarwatchError as error:
            self._no_contact(error)
            return False
        for shipment, behind in speakers:
            shipment.told = behind
        for shipment in dead:
            shipment.death_told = True
            shipment.folder.write_note(DEATH, {"cause": shipment.death, "told": True})
        for shipment in self._shipments:
            known = (answer.get("writers") or {}).get(shipment.writer_id)
            expected = known.get("expected") if isinstance(known, dict) else None
            if shipment.registered and isinstance(expected, int) and expected < shipment.acknowledged:
                shipment.registered = False  # the next turn asks for its mark and offers again from there
        self._saw_epoch(answer.get("epoch"))
        return True

    # --- one journal

    def _ship(self, s: Shipment) -> bool:
        if not s.registered and not self._register(s):
            return False
        sent = False
        for _ in range(PER_TURN):
            # Read before cutting: an end that is noticed in between leaves one more look.
            ended = s.ended
            if s.pending is None:
                s.pending = s.reader.cut(
                    MAX_BYTES, now_us=self._clock.mono_us(), ended=ended, max_records=s.max_records
                )
            if s.pending is None:
                if s.alive and not ended and not s.reader.reached:
                    # The writer lives and every record it ever wrote is here: only a twin can have sent more.
                    raise ForkError("the server has more records of this writer than it wrote")
                s.caught_up = True
                s.complete = ended and s.files_known and not s.files_behind
                if s.complete:
                    s.reader.close()
                return sent
            s.caught_up = s.complete = False
            self._send(s, s.pending)
            sent = True
        return sent

    def _register(self, s: Shipment) -> bool:
        body = {name: value for name, value in s.folder.sidecar.items() if name != "credential"}
        body["agent"] = self._agent_id  # by which commands for this writer will go
        if s.writer_id != s.folder.writer_id:
            body |= {"writer": s.writer_id, "clone_of": s.folder.writer_id}
        try:
            answer = self._ask("POST", "/writers", body)
        except FarwatchError as error:
            if error.retryable or isinstance(error, DeniedError):
                raise
            s.refused, s.refused_hint = error.message, error.hint
            LOG.warning("journal %s was refused: %s", s.folder.writer_id, error)
            self._note(s, at_once=True)
            s.backoff.until_us = self._clock.mono_us() + int(REFUSED_S * 1e6)
            return False
        s.refused = None
        s.registered = True
        s.server = answer
        s.epoch = str(answer.get("epoch", ""))
        s.server_id = self.server_id
        s.complete = False
        s.told = None
        s.pending = None
        s.files_seen = -1
        self._seek(s, answer)
        self._saw_epoch(s.epoch)
        self._note(s, at_once=True)
        return True

    def _seek(self, s: Shipment, mark: dict[str, Any]) -> None:
        expected, crc = mark.get("expected"), mark.get("crc")
        if not isinstance(expected, int) or not isinstance(crc, int):
            raise ContactError("the server did not say which record it expects", status=200)
        s.pending = None
        s.reader.seek(expected, crc)
        if s.reader.reached:
            s.acknowledged = expected

    def _send(self, s: Shipment, batch: Batch) -> None:
        data, encoding = pack(batch.encode())
        headers = {"Content-Type": "application/x-farwatch-batch", "Content-Encoding": encoding}
        try:
            answer = self._ask("POST", f"/writers/{s.writer_id}/batches", data, headers=headers)
        except (GapError, ForkError, NotFoundError, DeniedError):
            raise
        except FarwatchError as error:
            if error.retryable:
                raise
            self._refused(s, batch, error)
            return
        s.backoff.succeeded()
        s.pending = None
        s.gap_mark = None
        if not batch.flags & FLAG_GAP:
            s.refusals = 0
        s.max_records = min(s.max_records * 2, 1 << 30)
        s.acknowledged = batch.first + batch.count
        epoch = str(answer.get("epoch", s.epoch))
        if answer.get("expected") != s.acknowledged or epoch != s.epoch:
            s.registered = False  # restored, or ahead of us: ask where it stands

    def _refused(self, s: Shipment, batch: Batch, error: FarwatchError) -> None:
        """Find the record that is refused for good, keep it aside, and tell the server that it will not come."""
        if batch.flags & FLAG_GAP:
            raise ContactError(f"the server refuses a gap: {error.message}", status=422) from error
        if batch.count > 1 and s.refusals < ASIDE_ONE_BY_ONE:
            s.max_records = batch.count // 2
            s.pending = None
            s.reader.seek(batch.first, batch.crc_before)
            return
        name = f"{batch.first:012d}-{batch.count}.fwb"
        s.folder.write_aside(name, batch.encode())
        reason = {"first": batch.first, "count": batch.count, "code": error.code, "reason": str(error)}
        s.folder.write_aside(name + ".json", json.dumps(reason).encode())
        LOG.warning(
            "journal %s: %d records from %d set aside: %s", s.writer_id, batch.count, batch.first, error
        )
        s.refusals += 1
        s.set_aside += batch.count
        told = f"refused and set aside: {error.message}".encode()[:1000]
        s.pending = Batch(
            batch.writer_id, batch.first, batch.count, batch.crc_before, batch.crc_after, told, FLAG_GAP
        )

    # --- trouble

    def _trouble(self, s: Shipment, error: FarwatchError) -> None:
        now_us = self._clock.mono_us()
        if isinstance(error, GapError):
            mark = (int(error.details.get("expected", -1)), int(error.details.get("crc", -1)))  # type: ignore[call-overload]
            if mark == s.gap_mark or mark[0] < 0 or mark[1] < 0:
                s.registered = False
                s.backoff.failed(now_us, error, at_most_s=TROUBLE_MAX_S)
            s.gap_mark = mark
            if mark[0] >= 0 and mark[1] >= 0 and s.registered:
                try:
                    self._seek(s, {"expected": mark[0], "crc": mark[1]})
                except ForkError as fork:
                    self._fork(s, fork)
        elif isinstance(error, ForkError):
            self._fork(s, error)
        elif isinstance(error, NotFoundError):
            s.registered = False
            s.backoff.failed(now_us, error, at_most_s=TROUBLE_MAX_S)
        elif isinstance(error, DataError):
            LOG.warning("journal %s: %s", s.folder.writer_id, error)
            s.refused = str(error)
            s.backoff.until_us = now_us + int(BLOCKED_S * 1e6)
        elif "status" in error.details and not isinstance(error, DeniedError):
            s.backoff.failed(now_us, error, at_most_s=TROUBLE_MAX_S)
            self.trouble = str(error)
        else:
            self._no_contact(error)

    def _fork(self, s: Shipment, error: ForkError) -> None:
        """Two copies send under one id: go on as a writer of our own."""
        LOG.warning("journal %s: %s; going on under a new writer id", s.writer_id, error)
        s.reader.close()
        known = s.reader.start if isinstance(s.reader, ClonedReader) else s.acknowledged
        s.reader = ClonedReader.make(s.folder, known)
        s.registered = False
        s.pending = None
        s.acknowledged = 0
        s.backoff.failed(self._clock.mono_us())

    def _saw_epoch(self, epoch: object) -> None:
        """After a restore every journal is offered again, those that were complete too."""
        if not isinstance(epoch, str):
            return
        for s in self._shipments:
            if s.registered and s.epoch != epoch and s.server_id in (None, self.server_id):
                s.registered = False

    def _no_contact(self, error: FarwatchError) -> None:
        """Nobody there, or we may not: drop the connection, so that address and token are looked up again."""
        if self.trouble != str(error):
            LOG.info("%s", error)
        self.trouble = str(error)
        self.close()
        now_us = self._clock.mono_us()
        if isinstance(error, DeniedError):
            self.backoff.failed(now_us, error, at_most_s=DENIED_S)
        else:
            self.backoff.failed(now_us, error)

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any],
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> dict[str, Any]:
        if self._transport is None:
            self._transport = self._connect()
            if self._transport is None:
                raise ContactError("no server yet")
            self.server_id = self._transport.request("GET", "/info").json().get("server_id")
        answer = self._transport.request(method, path, body, headers=headers, timeout_s=timeout_s).json()
        self.backoff.succeeded()
        self.trouble = None
        self.reached = True
        self.contact_us = self._clock.mono_us()
        return answer

    # --- what is told

    def _note(self, s: Shipment, *, at_once: bool = False) -> None:
        """Tell the trainer, who may be waiting, and `farwatch status`: at most every 0.25 s while it goes on."""
        if (not s.registered and s.refused is None) or (not s.server and s.complete):
            return
        files_behind = s.files_behind if s.files_known else max(1, s.files_behind)
        noted = (s.acknowledged, files_behind, s.complete)
        now_us = self._clock.mono_us()
        if noted == s.noted and not at_once:
            return
        if not at_once and not s.complete and now_us - s.noted_us < NOTE_US:
            return
        s.noted, s.noted_us = noted, now_us
        kept = ("run", "name", "project", "number", "short", "url", "attempt", "rank", "epoch")
        note: dict[str, Any] = {name: s.server.get(name) for name in kept}
        note |= {
            "server_id": s.server_id,
            "address": self._transport.address if self._transport is not None else None,
            "expected": s.reader.journal_number(s.acknowledged),
            "files_behind": files_behind,
            "complete": s.complete,
            "set_aside": s.set_aside,
            "contact_ms": self._clock.wall_us() // 1000,
        }
        if s.refused is not None:
            note["error"] = {"message": s.refused, "hint": s.refused_hint}
        s.folder.write_note(ANSWER, note)


def _life_of(s: Shipment, behind: tuple[int, int, int]) -> dict[str, Any]:
    life: dict[str, Any] = {"records_behind": behind[0], "bytes_behind": behind[1]}
    if s.alive is not None:
        life["alive"] = s.alive
    if s.death is not None:
        life |= {"alive": False, "cause": s.death}
    if behind[2]:
        life["set_aside"] = behind[2]
    return life


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _order(s: Shipment) -> tuple[bool, bool, int]:
    sidecar = s.folder.sidecar
    rank = sidecar.get("rank")
    return not s.folder.has_process, not sidecar.get("main", True), rank if isinstance(rank, int) else 0
