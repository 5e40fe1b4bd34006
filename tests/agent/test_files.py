import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_server import Cut, FakeServer, Reply
from test_shipper import HastyClock
from written_journals import WrittenJournal

from farwatch.agent import files
from farwatch.agent.files import FileSender
from farwatch.agent.folder import JournalFolder
from farwatch.agent.shipper import Shipment, Shipper
from farwatch.agent.transport import HttpTransport
from farwatch.wire.records import Kind, encode_json


class Both:
    """Shipper and file sender of some journals, turned by hand in one thread."""

    def __init__(self, server: FakeServer, *journals: WrittenJournal) -> None:
        clock = HastyClock()
        self.shipper = Shipper(lambda: HttpTransport(server.address), clock, agent_id="a")
        self.files = FileSender(lambda: HttpTransport(server.address), clock)
        self.shipments = [Shipment.of(JournalFolder(journal.path)) for journal in journals]
        for shipment in self.shipments:
            shipment.ended = True
            self.shipper.add(shipment)

    def turn(self) -> bool:
        sent = self.shipper.turn()
        return self.files.turn(self.shipper.shipments) or sent

    def ship(self, limit: int = 300) -> None:
        for _ in range(limit):
            self.turn()
            if all(s.complete for s in self.shipments):
                return
        raise AssertionError(f"not complete: {self.shipments}")

    def close(self) -> None:
        self.shipper.close()
        self.files.close()
        for shipment in self.shipments:
            shipment.reader.close()
            shipment.folder.close()


def add_file(journal: WrittenJournal, name: str, data: bytes) -> None:
    journal.spool(name, data)
    journal.add(encode_json(Kind.FILE, {"path": name, "spool": name, "size": len(data), "mtime_ms": 0}))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def journal(tmp_path: Path) -> WrittenJournal:
    return WrittenJournal(tmp_path)


@pytest.fixture
def both(server: FakeServer, journal: WrittenJournal) -> Iterator[Both]:
    made = Both(server, journal)
    yield made
    made.close()


def held(server: FakeServer, journal: WrittenJournal) -> dict[str, bytes]:
    return {
        name: bytes(server.files[writer, name]) for writer, name in server.done if writer == journal.writer_id
    }


def test_files_that_records_name_arrive(server: FakeServer, journal: WrittenJournal, both: Both) -> None:
    add_file(journal, "00000000.png", b"p" * 1000)
    add_file(journal, "00000001", b"")
    journal.spool("00000002", b"half of a copy that is still being written")

    both.ship()

    assert held(server, journal) == {"00000000.png": b"p" * 1000, "00000001": b""}


def test_large_file_goes_in_pieces_and_small_ones_pass_it(
    server: FakeServer, journal: WrittenJournal, both: Both
) -> None:
    big = bytes(range(256)) * (1 << 12) * 9  # 9 MiB: three pieces
    add_file(journal, "big", big)
    both.turn()
    both.turn()
    add_file(journal, "small", b"s")

    both.ship()

    order = [path.rsplit("/", 1)[1] for method, path in server.asked if method == "PUT"]
    assert order.index("small") < len(order) - 1
    assert held(server, journal) == {"big": big, "small": b"s"}


@pytest.mark.parametrize(
    ("fault", "when"),
    [
        (Cut(), "before"),
        (Cut(), "after"),
        (Reply(500, "internal"), "after"),
        (Reply(429, "busy", retry_after="1"), "before"),
        (Reply(507, "disk-full"), "before"),
        (Reply(422, "bad-body"), "before"),
    ],
)
def test_file_arrives_through_faults(
    server: FakeServer, journal: WrittenJournal, both: Both, fault: Exception, when: str
) -> None:
    big = bytes(range(256)) * (1 << 12) * 9
    add_file(journal, "big", big)
    both.turn()
    server.fail("/spool/", fault, when=when)

    both.ship()

    assert not server.script
    assert held(server, journal) == {"big": big}


def test_new_agent_continues_a_file_where_the_server_is(
    server: FakeServer, journal: WrittenJournal, both: Both
) -> None:
    big = bytes(range(256)) * (1 << 12) * 9
    add_file(journal, "big", big)
    add_file(journal, "small", b"s")
    while sum(method == "PUT" for method, _ in server.asked) < 3:
        both.turn()
    both.close()

    second = Both(server, journal)
    second.ship()
    second.close()

    assert held(server, journal) == {"big": big, "small": b"s"}
    puts = [path.rsplit("/", 1)[1] for method, path in server.asked if method == "PUT"]
    assert sorted(puts) == ["big", "big", "big", "small"]


def test_restored_server_gets_files_again(server: FakeServer, journal: WrittenJournal, both: Both) -> None:
    add_file(journal, "a", b"aa")
    both.ship()
    server.restore(keep=1)

    both.shipper.beat(10)
    both.ship()

    assert held(server, journal) == {"a": b"aa"}


def test_file_refused_for_good_blocks_nothing(
    server: FakeServer, journal: WrittenJournal, both: Both
) -> None:
    add_file(journal, "a", b"a")
    add_file(journal, "bb", b"bb")
    both.shipper.turn()
    server.fail("/spool/a", Reply(413, "limit", "too large"), times=2)

    both.ship()

    assert held(server, journal) == {"bb": b"bb"}
    assert both.shipments[0].set_aside == 1
    assert (journal.path / "spool" / "a").read_bytes() == b"a"


@pytest.mark.parametrize("name", ["link", "missing"])
def test_no_file_outside_the_spool_is_sent(
    server: FakeServer, journal: WrittenJournal, both: Both, tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret").write_bytes(b"canary")
    add_file(journal, "00", b"fine")
    (journal.path / "spool" / "link").symlink_to(tmp_path / "secret")
    for named in (name, "../../secret", str(tmp_path / "secret")):
        journal.add(encode_json(Kind.FILE, {"path": "x", "spool": named, "size": 6, "mtime_ms": 0}))

    both.ship()

    assert held(server, journal) == {"00": b"fine"}
    assert b"canary" not in b"".join(server.bodies)


def test_points_arrive_while_a_file_hangs(server: FakeServer, journal: WrittenJournal, both: Both) -> None:
    """Files have a connection and a thread of their own: a slow upload holds up no point."""
    add_file(journal, "big", b"b" * (2 * files.PIECE_BYTES))
    both.shipper.turn()
    let_go = threading.Event()
    server.slow_files = lambda: let_go.wait(20)
    uploading = threading.Thread(target=lambda: both.files.turn(both.shipper.shipments))
    uploading.start()

    journal.steps(100)
    both.shipper.turn()
    arrived = server.steps(journal.writer_id)
    still_uploading = uploading.is_alive()
    let_go.set()
    uploading.join()

    assert arrived == list(range(100))
    assert still_uploading
