import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_server import FakeServer, Reply
from test_files import add_file
from written_journals import WrittenJournal

from farwatch import settings
from farwatch.agent.sync import clear, journals_at, status, sync
from farwatch.errors import ContactError, NotFoundError
from farwatch.machine import boot_id, pid_namespace
from farwatch.settings import Settings


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(token="tok") as running:
        yield running


@pytest.fixture
def given(tmp_path: Path, server: FakeServer) -> Settings:
    return settings.load(
        {"FARWATCH_DIR": str(tmp_path), "FARWATCH_SERVER": server.address, "FARWATCH_TOKEN": "tok"}
    )


def offline(tmp_path: Path, **changes: object) -> WrittenJournal:
    """A journal of a process of another machine."""
    return WrittenJournal(
        tmp_path / "journals", mode="offline", boot_id="elsewhere", pid_ns=1, host="node7", **changes
    )


def test_offline_run_is_sent_whole_and_a_second_sync_changes_nothing(
    tmp_path: Path, server: FakeServer, given: Settings
) -> None:
    journal = offline(tmp_path)
    journal.steps(500)
    add_file(journal, "00000000.png", b"p" * 100)
    journal.goodbye()

    first = sync(tmp_path, given)
    held = list(server.records[journal.writer_id])
    second = sync(tmp_path, given)

    assert (first.journals, first.complete, first.set_aside, first.refused) == (1, 1, 0, {})
    assert server.steps(journal.writer_id) == list(range(500))
    assert server.records[journal.writer_id] == held
    assert list(server.done) == [(journal.writer_id, "00000000.png")]
    assert second.complete == 1


def test_sync_while_the_run_still_writes_ends_complete(
    tmp_path: Path, server: FakeServer, given: Settings
) -> None:
    journal = offline(tmp_path, capacity=4096)
    seen = []
    for part in range(6):
        journal.steps(40, first=40 * part)
        sync(tmp_path, given)
        seen.append(len(server.steps(journal.writer_id)))
    journal.goodbye()
    sync(tmp_path, given)

    assert seen == [40, 80, 120, 160, 200, 240]
    assert server.steps(journal.writer_id) == list(range(240))


def test_watched_folder_is_followed_until_stopped(
    tmp_path: Path, server: FakeServer, given: Settings
) -> None:
    """A login node follows a folder to which nodes without a network write."""
    journals = [offline(tmp_path)]
    stop = threading.Event()
    rounds = 0

    def each(_: object) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 20:
            journals.append(offline(tmp_path))
        if rounds <= 60:
            journals[-1].step(rounds, 1.0)
        if rounds == 60:
            for journal in journals:
                journal.goodbye()
        if rounds > 60 and all(len(server.records[j.writer_id]) == j.number for j in journals):
            stop.set()
        assert rounds < 2000

    sync(tmp_path / "journals", given, watch=True, poll_s=0.001, stop=stop, progress=each)

    steps = [step for journal in journals for step in server.steps(journal.writer_id)]
    assert steps == list(range(1, 61))


def test_sync_says_where_a_dead_run_ended(tmp_path: Path, server: FakeServer, given: Settings) -> None:
    journal = offline(tmp_path)
    journal.steps(3)
    (journal.path / "death.json").write_text(
        json.dumps({"cause": {"signal": 9, "text": "killed by SIGKILL"}})
    )
    # Its process belongs to this machine, and is gone.
    told = json.loads((journal.path / "writer.json").read_text())
    told |= {"boot_id": boot_id(), "pid_ns": pid_namespace(), "pid": 1, "pid_start": 1}
    (journal.path / "writer.json").write_text(json.dumps(told))

    sync(tmp_path, given)

    life = server.beats[-1]["writers"][journal.writer_id]
    assert (life["alive"], life["cause"]["signal"]) == (False, 9)


def test_sync_without_a_server_says_so_and_keeps_everything(tmp_path: Path) -> None:
    journal = offline(tmp_path)
    journal.steps(3)

    class Hasty:
        now_us = 0

        def wall_us(self) -> int:
            return self.now_us

        def mono_us(self) -> int:
            self.now_us += 200_000
            return self.now_us

        def sleep(self, seconds: float) -> None:
            self.now_us += int(seconds * 1e6)

    with pytest.raises(ContactError, match="no server is known"):
        sync(tmp_path, settings.load({"FARWATCH_DIR": str(tmp_path)}), clock=Hasty())

    assert [entry.records_unsent for entry in status(tmp_path)] == [5]


def test_refused_run_is_reported_and_blocks_no_other(
    tmp_path: Path, server: FakeServer, given: Settings
) -> None:
    one, other = offline(tmp_path), offline(tmp_path)
    for journal in (one, other):
        journal.steps(5)
        journal.goodbye()
    server.fail("/writers", Reply(409, "exists", "there is a run with this id"))

    told = sync(tmp_path, given)

    assert list(told.refused.values()) == ["there is a run with this id"]
    assert sorted(len(server.steps(j.writer_id)) for j in (one, other)) == [0, 5]


def test_status_counts_what_is_not_sent(tmp_path: Path, server: FakeServer, given: Settings) -> None:
    journal = offline(tmp_path, capacity=4096)
    journal.steps(200)
    before = status(tmp_path)[0]
    sync(tmp_path, given)
    journal.steps(50, first=200)
    add_file(journal, "00000000.png", b"p")
    after = status(tmp_path)[0]

    assert (before.records, before.records_unsent, before.contact_ms) == (202, 202, None)
    assert before.bytes_unsent > 200 * 40
    assert (after.records, after.records_unsent, after.files_unsent) == (253, 51, 1)
    assert 51 * 40 < after.bytes_unsent < before.bytes_unsent
    assert after.url == server.address + "/r/abc"


def test_clear_removes_only_what_is_fully_sent(tmp_path: Path, server: FakeServer, given: Settings) -> None:
    sent, unsent, alive = offline(tmp_path), offline(tmp_path), offline(tmp_path)
    for journal in (sent, unsent):
        journal.steps(5)
        journal.goodbye()
    alive.steps(5)
    sync(sent.path, given)
    sync(alive.path, given)

    cleared = clear(tmp_path)

    assert [entry.writer_id for entry in cleared] == [sent.writer_id]
    assert sorted(path.name for path in journals_at(tmp_path)) == sorted([unsent.writer_id, alive.writer_id])


def test_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such folder: `missing`"):
        journals_at(tmp_path / "missing")


def test_journal_of_somebody_else_is_left_alone(tmp_path: Path, server: FakeServer, given: Settings) -> None:
    real = offline(tmp_path / "elsewhere")
    (tmp_path / "journals").mkdir()
    (tmp_path / "journals" / real.writer_id).symlink_to(real.path)

    told = sync(tmp_path, given)

    assert list(told.left_alone) == [real.writer_id]
    assert server.writers == {}
