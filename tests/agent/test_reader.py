import os
import random
import time
import zlib
from pathlib import Path

import pytest
from written_journals import WrittenJournal

from farwatch.agent.folder import JournalFolder
from farwatch.agent.reader import PATIENCE_US, Reader, records_of
from farwatch.errors import DataError, ForkError
from farwatch.wire.batch import FLAG_GAP, FLAG_SPILL, Batch
from farwatch.wire.records import Kind, encode_json
from farwatch.wire.segment import first_seed, scan


def reader_of(journal: WrittenJournal) -> Reader:
    return Reader(JournalFolder(journal.path))


def read_all(reader: Reader, *, max_bytes: int = 1 << 20, ended: bool = True) -> list[Batch]:
    batches = []
    while (batch := reader.cut(max_bytes, now_us=0, ended=ended)) is not None:
        batches.append(batch)
    return batches


def assert_chained(batches: list[Batch], journal: WrittenJournal, first: int = 0) -> None:
    """Every batch continues the one before it, as the server demands."""
    crc = first_seed(journal.writer_id) if first == 0 or not batches else batches[0].crc_before
    for batch in batches:
        assert (batch.first, batch.crc_before) == (first, crc)
        if not batch.flags:
            found = scan(batch.body, 0, batch.crc_before)
            assert (found.count, found.crc, found.end) == (batch.count, batch.crc_after, len(batch.body))
        first, crc = batch.first + batch.count, batch.crc_after


@pytest.mark.parametrize("max_bytes", [1, 200, 4096, 1 << 20])
def test_reader_gives_every_record_once_over_segments(tmp_path: Path, max_bytes: int) -> None:
    journal = WrittenJournal(tmp_path, capacity=4096)
    journal.steps(500)
    journal.goodbye()

    reader = reader_of(journal)
    batches = read_all(reader, max_bytes=max_bytes)

    assert_chained(batches, journal)
    assert [r.step for b in batches for r in records_of(b) if r.kind == Kind.STEP] == list(range(500))
    assert max(len(b.body) for b in batches) <= max(max_bytes, 400)
    assert reader.goodbye


def test_reader_follows_a_journal_that_grows(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path, capacity=1024)
    reader = reader_of(journal)
    random.seed(7)
    batches = []

    for n in range(300):
        journal.step(n, float(n))
        if random.random() < 0.4:
            batches += read_all(reader, ended=False)
    batches += read_all(reader, ended=False)

    assert_chained(batches, journal)
    assert reader.number == journal.number == 302


def test_reader_reads_a_hundred_thousand_records_in_a_fifth_of_a_second(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path, capacity=4 << 20)
    journal.steps(100_000)
    reader = reader_of(journal)

    started = time.process_time()
    batches = read_all(reader)
    used_s = time.process_time() - started

    assert sum(b.count for b in batches) == 100_002
    assert used_s < 0.2


def test_reader_skips_one_damaged_record_and_says_so(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path)
    journal.steps(10)
    journal.damage(5)

    batches = read_all(reader_of(journal))

    assert_chained(batches, journal)
    assert [(b.first, b.count) for b in batches if b.flags & FLAG_GAP] == [(5, 1)]
    assert sum(b.count for b in batches) == 12


def test_reader_waits_before_it_believes_damage_of_a_living_writer(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path)
    journal.steps(4)
    journal.damage(3)
    reader = reader_of(journal)
    read_all(reader, ended=False)

    early = reader.cut(1 << 20, now_us=1000)
    later = reader.cut(1 << 20, now_us=1000 + PATIENCE_US)

    assert early is None
    assert later is not None and later.flags == FLAG_GAP and later.first == 3


def test_reader_goes_to_the_next_segment_behind_a_damaged_length(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path, capacity=1024)
    journal.steps(60)
    second = next(n for n, (segment, _) in enumerate(journal.offsets) if segment == 1)
    journal.damage(second - 5, at=7, byte=0x20)

    batches = read_all(reader_of(journal))

    assert_chained(batches, journal)
    assert [(b.first, b.count) for b in batches if b.flags & FLAG_GAP] == [(second - 5, 5)]
    assert sum(b.count for b in batches) == 62


def test_reader_ignores_the_torn_tail_of_a_dead_writer(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path)
    journal.steps(5)
    journal.damage(6)

    batches = read_all(reader_of(journal))

    assert_chained(batches, journal)
    assert sum(b.count for b in batches) == 6


def test_reader_survives_a_segment_that_is_shortened_or_gone(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path, capacity=1024)
    journal.steps(100)
    os.truncate(journal.path / "000001.fwj", 300)
    os.unlink(journal.path / "000002.fwj")

    batches = read_all(reader_of(journal))

    assert_chained(batches, journal)
    assert sum(b.count for b in batches) == 102
    assert any(b.flags & FLAG_GAP for b in batches)


@pytest.mark.parametrize("expected", [0, 1, 2, 37, 100, 101, 102])
def test_reader_continues_from_the_mark_of_the_server(tmp_path: Path, expected: int) -> None:
    journal = WrittenJournal(tmp_path, capacity=1024)
    journal.steps(100)
    whole = reader_of(journal)
    crc = first_seed(journal.writer_id)
    while whole.number < expected:
        batch = whole.cut(1, now_us=0)
        assert batch is not None
        crc = batch.crc_after

    reader = reader_of(journal)
    reader.seek(expected, crc)
    batches = read_all(reader)

    assert sum(b.count for b in batches) == 102 - expected
    assert_chained(batches, journal, expected)


def test_reader_offers_a_gap_for_what_was_trimmed(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path, capacity=1024)
    journal.steps(100)
    os.unlink(journal.path / "000000.fwj")
    first = next(n for n, (segment, _) in enumerate(journal.offsets) if segment == 1)

    reader = reader_of(journal)
    reader.seek(3, 12345)
    batches = read_all(reader)

    assert (batches[0].flags, batches[0].first, batches[0].count) == (FLAG_GAP, 3, first - 3)
    assert_chained(batches, journal, 3)


def test_reader_recognises_another_history_of_the_same_writer(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path)
    journal.steps(10)

    reader = reader_of(journal)
    with pytest.raises(ForkError, match="another history"):
        reader.seek(6, 12345)


def test_reader_of_a_stale_copy_notices_the_fork_once_it_gets_there(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path)
    journal.steps(3)
    reader = reader_of(journal)
    reader.seek(9, 12345)
    quiet = reader.cut(1 << 20, now_us=0)
    journal.steps(10, first=3)

    assert quiet is None
    with pytest.raises(ForkError, match="another history"):
        reader.cut(1 << 20, now_us=0)


def test_reader_brings_a_spilled_record_with_its_file(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path)
    payload = encode_json(Kind.POINT, {"name": "t", "type": "text", "text": "x" * 100_000})
    (journal.path / "spill").mkdir()
    (journal.path / "spill" / "000000000002").write_bytes(payload)
    journal.add(
        encode_json(Kind.SPILL, {"name": "000000000002", "size": len(payload), "crc": zlib.crc32(payload)})
    )
    journal.step(1, 0.5)

    batches = read_all(reader_of(journal))

    assert [(b.first, b.count, b.flags) for b in batches] == [(0, 2, 0), (2, 1, FLAG_SPILL), (3, 1, 0)]
    assert next(iter(records_of(batches[1]))).payload == payload


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "link", "missing", ".hidden", "a\0b"])
def test_reader_opens_no_file_outside_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"canary")
    journal = WrittenJournal(tmp_path)
    (journal.path / "spill").mkdir()
    (journal.path / "spill" / "link").symlink_to(tmp_path / "secret")
    journal.add(encode_json(Kind.SPILL, {"name": name, "size": 6, "crc": zlib.crc32(b"canary")}))

    batches = read_all(reader_of(journal))

    assert batches[-1].flags == FLAG_GAP
    assert b"canary" not in b"".join(bytes(b.body) for b in batches)


def test_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path / "real")
    (tmp_path / journal.writer_id).symlink_to(journal.path)

    with pytest.raises(DataError, match="cannot open the folder"):
        JournalFolder(tmp_path / journal.writer_id)


def test_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path)
    if os.geteuid() == 0:
        os.chown(journal.path, 12345, 12345)
    folder = journal.path if os.geteuid() == 0 else Path("/")

    with pytest.raises(DataError, match=r"somebody else|not the name"):
        JournalFolder(folder)


def test_folder_with_the_sidecar_of_another_journal_is_refused(tmp_path: Path) -> None:
    journal = WrittenJournal(tmp_path)
    other = WrittenJournal(tmp_path)
    (journal.path / "writer.json").write_bytes((other.path / "writer.json").read_bytes())

    with pytest.raises(DataError, match="another journal"):
        JournalFolder(journal.path)
