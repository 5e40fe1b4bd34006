import json
import os
from pathlib import Path

from written_journals import WrittenJournal

from farwatch.agent.folder import JournalFolder
from farwatch.agent.retention import trim
from farwatch.agent.tracking import Tracked, finish_journal


def tracked_of(journal: WrittenJournal, *, alive: bool = False, **answer: object) -> Tracked:
    (journal.path / "agent.json").write_text(json.dumps({"epoch": "e", **answer}))
    tracked = Tracked.of(JournalFolder(journal.path))
    tracked.ended = not alive
    return tracked


def gone(tracked: list[Tracked], **limits: int) -> list[str]:
    told = {"now_ms": 100_000_000, "keep_s": 86_400, "keep_bytes": 1 << 40} | limits
    return [entry.folder.writer_id for entry in trim(tracked, **told)]


def test_complete_journals_go_after_their_time_and_unsent_ones_never(tmp_path: Path) -> None:
    old, fresh, unsent = (WrittenJournal(tmp_path) for _ in range(3))
    tracked = [
        tracked_of(old, complete=True, contact_ms=1, expected=2),
        tracked_of(fresh, complete=True, contact_ms=99_000_000, expected=2),
        tracked_of(unsent, complete=False, contact_ms=1, expected=1),
    ]

    assert gone(tracked) == [old.writer_id]
    assert sorted(os.listdir(tmp_path)) == sorted([fresh.writer_id, unsent.writer_id])


def test_oldest_complete_journals_go_first_when_the_cap_is_reached(tmp_path: Path) -> None:
    journals = [WrittenJournal(tmp_path, capacity=1 << 20) for _ in range(3)]
    for journal in journals:
        journal.steps(5000)
    tracked = [
        tracked_of(journal, complete=True, contact_ms=99_000_000 + n, expected=5002)
        for n, journal in enumerate(journals)
    ]
    size = tracked[0].folder.bytes_on_disk()

    assert gone(tracked, keep_bytes=size + size // 2) == [journals[0].writer_id, journals[1].writer_id]


def test_living_journal_loses_acknowledged_segments_only_past_the_cap(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path, capacity=8192)
    journal.steps(1000)
    half = next(n for n, (segment, _) in enumerate(journal.offsets) if segment == 3)
    tracked = tracked_of(journal, alive=True, complete=False, expected=half + 1)
    before = tracked.folder.segments()

    kept = gone([tracked]), tracked.folder.segments()
    past = gone([tracked], keep_bytes=1), tracked.folder.segments()

    assert kept == ([], before)
    assert past == ([], before[3:])


def test_segment_of_a_dead_writer_is_cut_behind_its_last_record(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path, capacity=1 << 20)
    journal.steps(10)

    said = finish_journal(JournalFolder(journal.path))

    assert said is None
    assert journal.file.stat().st_size == journal.offset


def test_goodbye_is_found_in_the_last_segment(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path, capacity=4096)
    journal.steps(200)
    journal.goodbye()

    assert finish_journal(JournalFolder(journal.path)) is not None
