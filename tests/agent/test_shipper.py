import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_server import Cut, FakeServer, Reply
from written_journals import WrittenJournal

from farwatch.agent.folder import JournalFolder
from farwatch.agent.shipper import Shipment, Shipper
from farwatch.agent.transport import HttpTransport
from farwatch.errors import ContactError
from farwatch.wire.records import Kind, Record


class HastyClock:
    """Real work, but waits cost nothing: every look moves the clock by a second."""

    def __init__(self) -> None:
        self.now_us = 1_000_000

    def wall_us(self) -> int:
        return self.now_us

    def mono_us(self) -> int:
        self.now_us += 1_000_000
        return self.now_us

    def sleep(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)


class Sender:
    """A shipper with one or more journals, turned by hand."""

    def __init__(self, server: FakeServer, *journals: WrittenJournal, reopen: bool = False) -> None:
        self.shipper = Shipper(lambda: HttpTransport(server.address), HastyClock(), agent_id="a")
        self.shipments = [Shipment.of(JournalFolder(journal.path), reopen=reopen) for journal in journals]
        for shipment in self.shipments:
            self.shipper.add(shipment)

    def ship(self, *, limit: int = 400) -> None:
        for _ in range(limit):
            if not self.shipper.turn() and all(s.caught_up for s in self.shipments):
                return
        raise AssertionError(f"not shipped: {self.shipper.trouble} {self.shipments}")

    def close(self) -> None:
        self.shipper.close()
        for shipment in self.shipments:
            shipment.reader.close()
            shipment.folder.close()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def journal(tmp_path: Path) -> WrittenJournal:
    written = WrittenJournal(tmp_path, capacity=4096, credential="https://x")
    written.steps(300)
    return written


@pytest.fixture
def sender(server: FakeServer, journal: WrittenJournal) -> Iterator[Sender]:
    made = Sender(server, journal)
    made.shipments[0].max_records = 50
    yield made
    made.close()


def test_journal_arrives_complete_and_once(
    server: FakeServer, journal: WrittenJournal, sender: Sender
) -> None:
    sender.ship()
    journal.steps(50, first=300)
    sender.ship()

    assert server.steps(journal.writer_id) == list(range(350))
    answer = JournalFolder(journal.path).answer()
    assert (answer["expected"], answer["number"]) == (352, 1)


FAULTS = {
    "server error": (Reply(500, "internal"), "before"),
    "server error after the commit": (Reply(500, "internal"), "after"),
    "connection cut": (Cut(), "before"),
    "connection cut after the commit": (Cut(), "after"),
    "busy": (Reply(429, "busy", retry_after="1"), "before"),
    "disk full": (Reply(507, "disk-full", retry_after="1"), "before"),
    "shutting down": (Reply(503, "busy"), "before"),
    "forgotten": (Reply(404, "not-found"), "before"),
    "denied": (Reply(401, "denied"), "before"),
    "a gap that is none": (Reply(409, "gap", expected=2, crc=0), "before"),
}


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "a gap that is none"])
@pytest.mark.parametrize("word", ["/writers", "/batches"])
def test_journal_arrives_once_through_faults(
    server: FakeServer, journal: WrittenJournal, sender: Sender, name: str, word: str
) -> None:
    fault, when = FAULTS[name]
    if not (word == "/writers" and name == "forgotten"):
        server.fail(word, fault, when=when, times=3)

    sender.ship()

    assert not server.script
    assert server.steps(journal.writer_id) == list(range(300))
    assert sender.shipments[0].set_aside == 0 and not server.gaps


def test_new_agent_continues_where_the_server_is(
    server: FakeServer, journal: WrittenJournal, sender: Sender
) -> None:
    """An agent that dies between commit and acknowledgement leaves nothing behind that matters."""
    server.fail("/batches", Cut(), when="after")
    sender.shipper.turn()
    sender.close()

    second = Sender(server, journal)
    second.ship()
    second.close()

    assert server.steps(journal.writer_id) == list(range(300))


def test_restored_server_gets_again_what_it_lost(
    server: FakeServer, journal: WrittenJournal, sender: Sender
) -> None:
    sender.ship()
    server.restore(keep=40)
    journal.step(300, 1.0)

    sender.ship()

    assert server.steps(journal.writer_id) == list(range(301))
    assert not server.gaps


def test_restored_server_gets_a_silent_journal_again(
    server: FakeServer, journal: WrittenJournal, sender: Sender
) -> None:
    """A journal that has ended has no next batch by which it would notice the restore."""
    journal.goodbye()
    sender.shipments[0].ended = True
    sender.ship()
    server.restore(keep=40)

    heard = sender.shipper.beat(10)
    sender.ship()

    assert heard
    assert server.steps(journal.writer_id) == list(range(300))


def test_what_a_restored_server_lost_and_nobody_has_is_a_gap(
    server: FakeServer, journal: WrittenJournal, sender: Sender
) -> None:
    sender.ship()
    server.restore(keep=40)
    (journal.path / "000000.fwj").unlink()
    journal.step(300, 1.0)
    kept = next(n for n, (segment, _) in enumerate(journal.offsets) if segment == 1)

    sender.ship()

    assert [(first, count) for _, first, count, _ in server.gaps] == [(40, kept - 40)]
    assert server.steps(journal.writer_id)[-1] == 300


def test_refused_record_is_set_aside_and_blocks_nothing(
    server: FakeServer, journal: WrittenJournal, sender: Sender
) -> None:
    server.refuse = lambda record: "no sevens" if record.kind == Kind.STEP and record.step == 77 else None

    sender.ship()

    assert server.steps(journal.writer_id) == [n for n in range(300) if n != 77]
    assert [(first, count) for _, first, count, _ in server.gaps] == [(79, 1)]
    assert "no sevens" in server.gaps[0][3]
    assert sender.shipments[0].set_aside == 1
    assert JournalFolder(journal.path).aside() == ["000000000079-1.fwb"]


def test_server_that_refuses_everything_is_not_asked_record_by_record(
    server: FakeServer, journal: WrittenJournal, sender: Sender
) -> None:
    server.refuse = lambda record: "never" if record.kind == Kind.STEP else None

    sender.ship()

    assert sender.shipments[0].set_aside == 300
    assert len(server.asked) < 150


def test_batches_shrink_until_the_server_takes_them(server: FakeServer, journal: WrittenJournal) -> None:
    server.max_count = 7
    sender = Sender(server, journal)

    sender.ship()
    sender.close()

    assert server.steps(journal.writer_id) == list(range(300))
    assert sender.shipments[0].set_aside == 0


def test_what_is_behind_is_told_until_nothing_is(server: FakeServer, journal: WrittenJournal, sender: Sender) -> None:
    """A death that is told while records are on their way is told again behind them; then there is no more to tell."""
    shipment = sender.shipments[0]
    shipment.alive, shipment.death, shipment.ended = False, {"signal": 9}, True
    shipment.max_records = 1
    server.refuse = lambda record: "never" if record.step == 299 else None
    sender.shipper.turn()
    sender.shipper.beat(10)
    early = server.beats[-1]["writers"][journal.writer_id]
    owed_early, told_early = sender.shipper.owes, shipment.death_told

    sender.ship()
    shipment.files_seen = len(shipment.reader.named)
    sender.shipper.turn()
    owed = sender.shipper.owes
    sender.shipper.beat(10)
    last = server.beats[-1]["writers"][journal.writer_id]
    sender.shipper.beat(10)

    assert early["records_behind"] > 0 and early["bytes_behind"] > 0
    assert (owed_early, told_early, owed) == (False, False, True)
    assert last == {"records_behind": 0, "bytes_behind": 0, "set_aside": 1, "alive": False, "cause": {"signal": 9}}
    assert server.beats[-1]["writers"] == {} and shipment.dormant and not sender.shipper.owes


def test_file_that_has_come_between_two_looks_is_told_to_the_trainer(server: FakeServer, tmp_path: Path) -> None:
    """It waits for a note that says so; a file may be named, found and sent before the next look at its journal."""
    journal = WrittenJournal(tmp_path)
    journal.steps(5)
    sender = Sender(server, journal)
    (shipment,) = sender.shipments
    sender.ship()
    unknown = shipment.folder.answer()["files_behind"]

    shipment.files_seen = len(shipment.reader.named)  # as the file sender says when all have been sent
    sender.shipper.turn()
    known = shipment.folder.answer()["files_behind"]
    sender.close()

    assert (unknown, known) == (1, 0)


def test_refused_journal_does_not_block_another(server: FakeServer, tmp_path: Path) -> None:
    first, second = (WrittenJournal(tmp_path) for _ in range(2))
    first.steps(5)
    second.steps(5)
    server.fail("/writers", Reply(409, "exists", "there is a run with this id"))
    sender = Sender(server, first, second)

    sender.shipper.turn()
    sender.close()

    assert sorted(len(server.steps(j.writer_id)) for j in (first, second)) == [0, 5]
    assert sender.shipments[0].refused == "there is a run with this id"


def test_twin_of_a_journal_goes_on_under_an_id_of_its_own(server: FakeServer, tmp_path: Path) -> None:
    """After a copy of machine or folder both sides keep all that they log."""
    journal = WrittenJournal(tmp_path / "a")
    journal.steps(10)
    first = Sender(server, journal)
    first.ship()
    shutil.copytree(journal.path, tmp_path / "b" / journal.writer_id)
    twin = WrittenJournal.__new__(WrittenJournal)
    twin.__dict__ = {
        **journal.__dict__,
        "path": tmp_path / "b" / journal.writer_id,
        "offsets": list(journal.offsets),
    }
    second = Sender(server, twin)
    journal.steps(5, first=10)
    twin.steps(7, first=1000)

    first.ship()
    second.ship()
    twin.step(2000, 0.5)
    second.close()
    third = Sender(server, twin)
    third.ship()
    first.close()
    third.close()

    assert server.steps(journal.writer_id) == list(range(15))
    others = [writer for writer in server.writers if writer != journal.writer_id]
    assert len(others) == 1
    assert server.steps(others[0]) == [*range(1000, 1007), 2000]
    assert server.writers[others[0]]["sidecar"]["clone_of"] == journal.writer_id
    assert [Record(0, p).kind for p in server.records[others[0]]][:2] == [Kind.HELLO, Kind.SCHEMA]


def test_no_credential_leaves_with_the_registration(server: FakeServer, sender: Sender) -> None:
    sender.ship()

    assert b"https://x" not in b"".join(server.bodies)


def test_journal_on_shared_storage_is_opened_anew(server: FakeServer, journal: WrittenJournal) -> None:
    sender = Sender(server, journal, reopen=True)
    sender.ship()
    data = journal.file.read_bytes()
    journal.file.unlink()
    journal.file.write_bytes(data)  # another inode, as after a network file system's cache was dropped
    journal.step(300, 1.0)

    sender.ship()
    sender.close()

    assert server.steps(journal.writer_id) == list(range(301))


def test_server_that_is_away_is_not_asked_all_the_time(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path)
    tries = []

    class Frozen(HastyClock):
        def mono_us(self) -> int:
            return self.now_us

    def connect() -> HttpTransport:
        tries.append(1)
        raise ContactError("nobody there")

    shipper = Shipper(connect, Frozen(), agent_id="a")
    shipper.add(Shipment.of(JournalFolder(journal.path)))
    for _ in range(100):
        shipper.turn()

    assert len(tries) == 1


def test_ten_thousand_records_take_a_few_requests(server: FakeServer, tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path, capacity=1 << 20)
    journal.steps(10_000)
    sender = Sender(server, journal)

    started = time.process_time()
    sender.ship()
    sender.close()

    assert len(server.asked) <= 4
    assert time.process_time() - started < 2
