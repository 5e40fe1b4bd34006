"""Shipping by hand: offline runs, folders copied from elsewhere, and a folder on shared storage that nodes still write to.

The same code as the agent's: reader, shipper and file sender, in the caller's thread. Syncing twice, or beside an agent,
changes nothing: the server knows what it has. `status` and `clear` read folders and open no connection.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farwatch.agent.files import FileSender
from farwatch.agent.folder import SPOOL, JournalFolder, find_journals
from farwatch.agent.loop import connector
from farwatch.agent.reader import walk
from farwatch.agent.retry import offer_again
from farwatch.agent.shipper import Shipment, Shipper
from farwatch.agent.tracking import Tracked
from farwatch.agent.transport import HttpTransport, Transport
from farwatch.clock import Clock, SystemClock
from farwatch.errors import ContactError, DataError, NotFoundError
from farwatch.machine import agent_key
from farwatch.servers import find_server
from farwatch.settings import Settings
from farwatch.wire.commands import BY_HAND
from farwatch.wire.ids import is_writer_id
from farwatch.wire.segment import HEADER_SIZE, SegmentHeader

GIVE_UP_S = 10.0
POLL_S = 1.0
BEAT_US = 10_000_000


@dataclass(frozen=True, slots=True)
class WriterStatus:
    """One journal on disk. `expected`: records that the server has; `alive`: None where nobody here can say."""

    writer_id: str
    run: str
    project: str
    name: str | None
    role: str
    rank: int
    mode: str
    alive: bool | None
    records: int
    records_unsent: int
    bytes_unsent: int
    files_unsent: int
    set_aside: int
    refused: str | None
    complete: bool
    contact_ms: int | None
    address: str | None
    url: str | None
    path: Path


@dataclass(slots=True)
class Progress:
    """How far a sync is. `records`, `files_behind`, `bytes_behind`: over all journals; `refused`: reason per writer."""

    journals: int = 0
    complete: int = 0
    records: int = 0
    files_behind: int = 0
    bytes_behind: int = 0
    set_aside: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    left_alone: dict[str, str] = field(default_factory=dict)
    trouble: str | None = None


def journals_at(folder: Path) -> list[Path]:
    """The journals that a path means: a state folder, a folder of journals, or one journal.

    Raises `NotFoundError` if it is none of these.
    """
    if is_writer_id(folder.name) and (folder / "writer.json").exists():
        return [folder]
    for place in (folder / "journals", folder):
        if found := find_journals(place):
            return [path for path in found if (path / "writer.json").exists()]
    if not folder.is_dir():
        raise NotFoundError(
            f"no such folder: `{folder.name}`", hint="name a state folder, as FARWATCH_DIR does"
        )
    return []


def retry(folder: Path) -> int:
    """Put what a server has refused for good on its way again, for the next `sync`; returns how many records and files."""
    offered = 0
    for path in journals_at(folder):
        try:
            journal = JournalFolder(path)
        except (OSError, DataError):
            continue
        try:
            offered += offer_again(journal)
        finally:
            journal.close()
    return offered


def sync(
    folder: Path,
    settings: Settings,
    *,
    watch: bool = False,
    poll_s: float = POLL_S,
    stop: threading.Event | None = None,
    progress: Callable[[Progress], None] | None = None,
    clock: Clock | None = None,
) -> Progress:
    """Send everything in `folder`; with `watch`, go on with what is added until `stop` is set.

    The server is the one of `settings`, else the one that a journal names, else this user's own. Returns how far it came;
    what was refused or left alone stands in it. Raises `ContactError` if no server answers for 10 s, and none was
    found, unless `watch`.
    """
    work = _Sync(folder, settings, clock or SystemClock(), stop or threading.Event(), always=watch)
    try:
        while True:
            sent = work.turn()
            told = work.progress()
            if progress is not None:
                progress(told)
            if work.stopped() or (not watch and work.done()):
                return told
            if not sent:
                work.wait(poll_s if watch else 0.05)
    finally:
        work.close()


class _Sync:
    def __init__(
        self, folder: Path, settings: Settings, clock: Clock, stop: threading.Event, *, always: bool
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._stop = stop
        self._always = always
        self._lanes: dict[str, tuple[Shipper, FileSender]] = {}
        self._tracked: dict[str, Tracked] = {}
        self._left_alone: dict[str, str] = {}
        self._contact_us = clock.mono_us()
        self._beat_us = 0

    def turn(self) -> bool:
        self._scan()
        now_us = self._clock.mono_us()
        for tracked in self._tracked.values():
            if tracked.shipment is not None and tracked.shipment.reader.goodbye:
                tracked.shipment.ended = True
            tracked.look(now_us)
        sent = False
        for shipper, files in self._lanes.values():
            sent = shipper.turn() or sent
            sent = files.turn(shipper.shipments) or sent
            self._contact_us = max(self._contact_us, shipper.contact_us or 0)
        due = any((s.death is not None and not s.death_told and s.complete) or s.owes for s in self._shipments())
        if due or (self._always and now_us - self._beat_us > BEAT_US):
            self._beat_us = now_us
            for shipper, _ in self._lanes.values():
                shipper.beat(BEAT_US / 1e6)
        silent_s = (self._clock.mono_us() - self._contact_us) / 1e6
        if not self._always and not sent and silent_s > GIVE_UP_S and not self.done():
            trouble = next((shipper.trouble for shipper, _ in self._lanes.values() if shipper.trouble), None)
            raise ContactError(
                trouble or "the server did not answer",
                hint="everything is kept; sync again when the server is back",
            )
        return sent

    def done(self) -> bool:
        """Whether everything that can be sent is there."""
        return all(_settled(s) for s in self._shipments())

    def stopped(self) -> bool:
        return self._stop.is_set()

    def wait(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def progress(self) -> Progress:
        shipments = self._shipments()
        return Progress(
            journals=len(shipments),
            complete=sum(_settled(s) for s in shipments),
            records=sum(s.acknowledged for s in shipments),
            files_behind=sum(s.files_behind for s in shipments),
            bytes_behind=sum(s.files_bytes for s in shipments),
            set_aside=sum(s.set_aside for s in shipments),
            refused={s.writer_id: s.refused for s in shipments if s.refused is not None},
            left_alone=dict(self._left_alone),
            trouble=next((shipper.trouble for shipper, _ in self._lanes.values() if shipper.trouble), None),
        )

    def close(self) -> None:
        for shipper, files in self._lanes.values():
            shipper.finish()
            files.close()
        for tracked in self._tracked.values():
            tracked.close()

    def _shipments(self) -> list[Shipment]:
        return [tracked.shipment for tracked in self._tracked.values() if tracked.shipment is not None]

    def _scan(self) -> None:
        for path in journals_at(self._folder):
            if path.name in self._tracked or path.name in self._left_alone:
                continue
            try:
                folder = JournalFolder(path)
            except FileNotFoundError:
                continue
            except (DataError, OSError) as error:
                self._left_alone[path.name] = str(error)
                continue
            # A folder on shared storage shows what others wrote only when a file is opened anew.
            tracked = Tracked.of(folder, by_hand=True)
            self._tracked[path.name] = tracked
            if tracked.shipment is not None:
                self._lane_of(folder)[0].add(tracked.shipment)

    def _lane_of(self, folder: JournalFolder) -> tuple[Shipper, FileSender]:
        named = "" if self._settings.server else str(folder.sidecar.get("server") or "")
        lane = self._lanes.get(named)
        if lane is None:
            connect = connector(self._settings, named, named) if named else self._connect
            lane = self._lanes[named] = (
                Shipper(connect, self._clock, agent_id=agent_key() + BY_HAND),
                FileSender(connect, self._clock),
            )
        return lane

    def _connect(self) -> Transport | None:
        found = find_server(self._settings)
        if found is None:
            raise ContactError(
                "no server is known here", hint="start one with `farwatch serve`, or `farwatch login` to one"
            )
        return HttpTransport(*found)


def _settled(s: Shipment) -> bool:
    """Whether nothing more can be done for a journal now."""
    if s.refused is not None:
        return True
    if s.ended or s.reader.goodbye:
        return s.dormant
    return s.registered and s.caught_up and s.files_known and not s.files_behind


def status(folder: Path) -> list[WriterStatus]:
    """Every journal of a folder with what is not yet sent, newest run first. Journals that cannot be read are left out."""
    found: list[tuple[int, WriterStatus]] = []
    for path in journals_at(folder):
        try:
            journal = JournalFolder(path)
        except (OSError, DataError):
            continue
        try:
            started = journal.sidecar.get("started_ms")
            found.append((started if isinstance(started, int) else 0, _status_of(journal)))
        finally:
            journal.close()
    return [entry for _, entry in sorted(found, key=lambda pair: -pair[0])]


def clear(folder: Path) -> list[WriterStatus]:
    """Delete the journals that are fully sent and whose process has ended; returns them. All others stay."""
    cleared: list[WriterStatus] = []
    for found in status(folder):
        if (
            found.complete
            and found.alive is not True
            and not (found.records_unsent or found.files_unsent or found.set_aside)
        ):
            JournalFolder(found.path).remove()
            cleared.append(found)
    return cleared


def _status_of(journal: JournalFolder) -> WriterStatus:
    told, answer = journal.sidecar, journal.answer()
    tracked = Tracked.peek(journal)
    records, unsent_bytes = _count(journal, _int(answer.get("expected")))
    unsent = max(0, records - _int(answer.get("expected"))) if answer.get("epoch") else records
    error = answer.get("error")
    files = len(set(_spool_names(journal)) - journal.files_sent(str(answer.get("epoch"))))
    return WriterStatus(
        writer_id=journal.writer_id,
        run=str(answer.get("run") or told["run"]),
        project=str(told["project"]),
        name=answer.get("name") or told.get("name"),
        role=journal.role,
        rank=_int(told.get("rank")),
        mode=str(told.get("mode") or "online"),
        alive=tracked,
        records=records,
        records_unsent=unsent,
        bytes_unsent=unsent_bytes if unsent else 0,
        files_unsent=files if not answer.get("complete") else 0,
        set_aside=_int(answer.get("set_aside")),
        refused=str(error.get("message")) if isinstance(error, dict) else None,
        complete=bool(answer.get("complete")) and not unsent,
        contact_ms=answer.get("contact_ms"),
        address=answer.get("address") or told.get("server"),
        url=answer.get("url"),
        path=journal.path,
    )


def _count(journal: JournalFolder, expected: int) -> tuple[int, int]:
    """Records in a journal, and bytes of those from `expected` on, by its headers and its last segment."""
    records = bytes_unsent = 0
    for number in journal.segments():
        try:
            data = journal.read(f"{number:06d}.fwj", 1 << 31)
            header = SegmentHeader.decode(data)
        except (OSError, DataError):
            continue
        found = walk(data, HEADER_SIZE, header.seed, 1 << 62, 1 << 62)
        records = max(records, header.first_record + found.count)
        new = min(found.count, header.first_record + found.count - expected)
        if new > 0:
            bytes_unsent += (found.end - HEADER_SIZE) * new // max(1, found.count)
    return records, bytes_unsent


def _spool_names(journal: JournalFolder) -> list[str]:
    folder = journal.path / SPOOL
    try:
        return [] if folder.is_symlink() else [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _int(value: Any) -> int:
    return value if isinstance(value, int) else 0
