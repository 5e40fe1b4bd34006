"""Backup under load, restore, fsck, damage that stays where it is, and full disks."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from farwatch.clock import SystemClock
from farwatch.errors import DataError, UsageError
from farwatch.settings import Settings, load
from farwatch.store.base import Ack, SeriesKey, Writer
from farwatch.store.blobs import FolderBlobs
from farwatch.store.sqlite import SqliteStore, backup, fsck, restore
from farwatch.testing.journal import WALL_US, Journal, incoming
from farwatch.testing.store import Feed, same_bits


def settings(**values: object) -> Settings:
    return load({}).replace(**{"flush_s": 3600.0, **values})


def open_store(folder: Path, **values: object) -> SqliteStore:
    return SqliteStore(folder, settings(**values), SystemClock())


# --- backup


def test_backups_under_load_are_whole_and_continue(tmp_path: Path) -> None:
    """Whatever moment a backup catches: a prefix of what was sent, and the mark says which."""
    writer = Writer("ab" * 16, "run", 0, 1, WALL_US)
    journal = Journal(writer)
    for i in range(3000):
        journal.step({"a": float(i)}, i)
    known = {0: (["a"], "f")}
    stop = threading.Event()
    trouble: list[object] = []
    with open_store(tmp_path / "data", memtable_points=400) as store:
        store.register(writer)
        first = journal.batch(0, 11)
        store.append([incoming(first, writer)])

        def send() -> None:
            at, step = 11, 0
            while not stop.is_set() and at < 3001:
                end = min(3001, at + 5 + step % 9)
                (answer,) = store.append([incoming(journal.batch(at, end), writer, known)])
                if not isinstance(answer, Ack):
                    trouble.append(answer)
                    return
                at, step = end, step + 1

        thread = threading.Thread(target=send)
        thread.start()
        for i in range(12):
            backup(store if i % 2 else tmp_path / "data", tmp_path / f"b{i}")
        stop.set()
        thread.join(60)
    assert not trouble

    for i in range(12):
        restore(tmp_path / f"b{i}", tmp_path / f"r{i}")
        with open_store(tmp_path / f"r{i}") as again:
            expected = again.writer(writer.writer_id)[1].expected  # type: ignore[index]
            assert again.points(SeriesKey("run", "a")).values.tolist() == [
                float(n) for n in range(expected - 1)
            ]
            end = min(3001, expected + 50)
            if end > expected:
                (answer,) = again.append([incoming(journal.batch(expected, end), writer, known)])
                assert isinstance(answer, Ack) and answer.new
            assert len(again.points(SeriesKey("run", "a")).steps) == end - 1
        assert fsck(tmp_path / f"r{i}").problems == []


def test_a_restore_has_a_new_epoch_and_everything_beside_the_series(tmp_path: Path) -> None:
    with open_store(tmp_path / "data") as store:
        feed = Feed(store)
        feed.log(["a"], range(5000), np.arange(5000.0)[:, None])
        store.flush()
        sha256 = FolderBlobs(tmp_path / "data" / "blobs").put(b"picture")
        with closing(sqlite3.connect(tmp_path / "data" / "meta.db")) as meta:
            meta.execute("PRAGMA journal_mode=WAL")
            meta.execute("CREATE TABLE project (name)")
            meta.execute("INSERT INTO project VALUES ('mine')")
            meta.commit()
            manifest = backup(store, tmp_path / "backup")
        epoch = store.epoch

    new = restore(tmp_path / "backup", tmp_path / "new")

    assert (manifest["seq"], manifest["blobs"], manifest["epoch"]) == (1, 1, epoch)
    assert new != epoch
    with open_store(tmp_path / "new") as again:
        assert again.epoch == new
        assert again.points(feed.key("a")).values.tolist() == list(range(5000))
    with FolderBlobs(tmp_path / "new" / "blobs").open(sha256) as file:
        assert file.read() == b"picture"
    with closing(sqlite3.connect(tmp_path / "new" / "meta.db")) as meta:
        assert meta.execute("SELECT name FROM project").fetchall() == [("mine",)]


def test_backup_and_restore_refuse_folders_with_contents_and_incomplete_backups(tmp_path: Path) -> None:
    open_store(tmp_path / "data").close()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    with pytest.raises(UsageError, match="not empty"):
        backup(tmp_path / "data", tmp_path / "taken")
    with pytest.raises(UsageError, match="no data"):
        backup(tmp_path / "nowhere", tmp_path / "backup")
    backup(tmp_path / "data", tmp_path / "backup")
    with pytest.raises(UsageError, match="not empty"):
        restore(tmp_path / "backup", tmp_path / "taken")
    (tmp_path / "backup" / "backup.json").unlink()
    with pytest.raises(UsageError, match="not a complete backup"):
        restore(tmp_path / "backup", tmp_path / "new")


# --- damage


def damage(folder: Path, sql: str, *arguments: object) -> None:
    """Flip bytes in the middle of one blob: `sql` selects table rows as (rowid, data)."""
    table = sql.split("FROM ")[1].split()[0]
    with closing(sqlite3.connect(folder / "series.db")) as connection:
        rowid, data = connection.execute(sql, arguments).fetchone()
        broken = bytearray(data)
        broken[len(broken) // 2] ^= 0x55
        connection.execute(f"UPDATE {table} SET data = ? WHERE rowid = ?", (bytes(broken), rowid))
        connection.commit()


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A store of two long series, the first of which has a damaged chunk: the third."""
    values = np.random.default_rng(0).normal(size=(100_000, 2))
    with open_store(tmp_path) as store:
        Feed(store).log(["a", "b"], np.arange(100_000), values)
    damage(tmp_path, "SELECT rowid, data FROM block WHERE level = 0 AND no = 2 ORDER BY sid LIMIT 1")
    return tmp_path, values


def test_a_damaged_chunk_hurts_only_its_own_points(damaged: tuple[Path, np.ndarray]) -> None:
    folder, values = damaged
    a, b = SeriesKey("run", "a"), SeriesKey("run", "b")
    with open_store(folder) as store:
        with pytest.raises(DataError, match=r"`a` of run run.*points 8192 to 12287"):
            store.points(a)
        assert same_bits(store.points(a, lo=0, hi=8191).values, values[:8192, 0])
        assert same_bits(store.points(a, lo=12288).values, values[12288:, 0])
        assert same_bits(store.points(b).values, values[:, 1])

        whole, other = store.chart([a, b], buckets=100)  # the pyramid above the chunk is whole
        assert (whole.count.sum(), other.count.sum()) == (100_000, 100_000)
        near, other = store.chart([a, b], lo=8000, hi=13_000, buckets=10_000)
        assert (near.count.sum(), other.count.sum()) == (5001 - 4096, 5001)
        assert store.series("run")[0].count == 100_000
        assert any("`a`" in where for where in store.damage)
        feed = Feed(store, number=2)
        feed.log(["a"], [200_000], np.ones((1, 1)))
        store.flush()


def test_a_damaged_pyramid_is_read_from_below(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=150_000)
    with open_store(tmp_path) as store:
        Feed(store).log(["a"], np.arange(150_000), values[:, None])
    damage(tmp_path, "SELECT rowid, data FROM block WHERE level = 1 AND no = 0")
    with open_store(tmp_path) as store:
        (found,) = store.chart([SeriesKey("run", "a")], buckets=300)

        assert (int(found.count.sum()), found.max.max(), found.min.min()) == (
            150_000,
            values.max(),
            values.min(),
        )
        assert len(store.points(SeriesKey("run", "a")).steps) == 150_000
    report = fsck(tmp_path)
    assert [key.name for key in report.series] == ["a"]


def test_fsck_names_what_is_damaged_and_counts_the_rest(damaged: tuple[Path, np.ndarray]) -> None:
    folder, _ = damaged

    report = fsck(folder)

    assert report.series == [SeriesKey("run", "a")]
    assert len(report.problems) == 1 and "points 8192" in report.problems[0]
    assert (report.runs, report.points, report.ok) == (1, 200_000, False)


def test_fsck_finds_damage_in_segments_logs_files_and_pages(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        feed = Feed(store)
        feed.log(["a", "b"], range(50), np.random.default_rng(0).normal(size=(50, 2)))
        store.flush()
        sha256 = FolderBlobs(tmp_path / "blobs").put(b"picture")
        assert fsck(tmp_path).problems == []
    damage(tmp_path, "SELECT rowid, data FROM page LIMIT 1")
    (tmp_path / "blobs" / sha256[:2] / sha256).write_bytes(b"other")

    report = fsck(tmp_path)

    assert {key.name for key in report.series} == {"a", "b"}
    assert any("page 0 of segment" in problem for problem in report.problems)
    assert any(sha256 in problem for problem in report.problems)
    with open_store(tmp_path) as store:
        with pytest.raises(DataError, match="damaged"):
            store.points(SeriesKey("run", "a"))
        assert len(store.chart([SeriesKey("run", "a")])[0].count) == 0


def test_a_damaged_batch_in_the_log_is_named_and_the_others_are_taken_in(tmp_path: Path) -> None:
    writer = Writer("ab" * 16, "run", 0, 1, WALL_US)
    journal = Journal(writer)
    for i in range(20):
        journal.step({"a": float(i)}, i)
    known = {0: (["a"], "f")}
    with open_store(tmp_path) as store:
        store.register(writer)
        store.append([incoming(journal.batch(0, 11), writer), incoming(journal.batch(11, 21), writer, known)])
        backup(store, tmp_path / "backup")  # as a crash would leave it: nothing flushed
    restore(tmp_path / "backup", tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "new" / "log.db")) as log:
        log.execute("UPDATE log SET data = substr(data, 1, 90) WHERE seq = 1")
        log.commit()

    with open_store(tmp_path / "new") as again:
        assert again.points(SeriesKey("run", "a")).values.tolist() == [float(i) for i in range(10, 20)]
        assert "log 1" in again.damage


def test_a_run_with_damaged_names_hurts_no_other(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        Feed(store, "bad", number=1).log(["a"], [1], np.ones((1, 1)))
        store.flush()
        Feed(store, "good", number=2).log(["a"], [1], np.ones((1, 1)))
    damage(tmp_path, "SELECT rowid, data FROM names ORDER BY run LIMIT 1")

    with open_store(tmp_path) as store:
        bad, good = Feed(store, "bad", number=3), Feed(store, "good", number=4)
        first, second = store.append([feed.batch(["a"], [2], np.ones((1, 1))) for feed in (bad, good)])

        assert isinstance(first, DataError) and "names of a run" in str(first)
        assert isinstance(second, Ack) and second.new
        assert len(store.points(good.key("a")).steps) == 2
        with pytest.raises(DataError, match="`bad`"):
            store.series("bad")
    assert any("`bad`" in problem for problem in fsck(tmp_path).problems)


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    (tmp_path / "series.db").write_bytes(b"not a database, not at all" * 200)

    with pytest.raises(DataError, match=r"series\.db"):
        open_store(tmp_path)
    assert not fsck(tmp_path).ok


# --- full disks

FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from farwatch.clock import SystemClock
from farwatch.errors import DiskFullError
from farwatch.settings import load
from farwatch.store.base import Ack
from farwatch.store.sqlite import SqliteStore, fsck
from farwatch.testing.store import Feed

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

folder = Path(sys.argv[1])
settings = load({}).replace(flush_s=3600.0, memtable_points=int(sys.argv[2]))
store = SqliteStore(folder, settings, SystemClock())
feed = Feed(store)
rng = np.random.default_rng(0)
sent = 0
def log():
    global sent
    batch = feed.batch(["a"], np.arange(sent, sent + 500), np.arange(sent, sent + 500.0)[:, None])
    object.__setattr__(batch, "packed", rng.bytes(8000))
    (answer,) = store.append([batch])
    assert isinstance(answer, Ack), answer
    sent += 500
log()
limit(200_000)
refused = 0
for _ in range(200):
    try:
        log()
    except DiskFullError as error:
        refused += 1
        if refused == 3:
            break
print("refused", refused, "readable", len(store.points(feed.key("a")).steps) == sent)
limit(resource.RLIM_INFINITY)
for _ in range(50):
    for attempt in range(100):
        try:
            log()
            break
        except DiskFullError:
            with store._shelf.changed:
                store._shelf.changed.wait(0.1)
store.flush()
print("goes on", store.points(feed.key("a")).values.tolist() == list(range(sent)))
store.close()
print("whole", fsck(folder).problems)
"""


@pytest.mark.parametrize("memtable_points", [10**6, 2_000])
def test_a_full_disk_refuses_batches_and_the_store_goes_on_when_there_is_space(
    tmp_path: Path, memtable_points: int
) -> None:
    """A file size limit in a child stands for the full disk: of the log, or first of the series."""
    command = [sys.executable, "-c", FULL, str(tmp_path), str(memtable_points)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)

    assert done.stdout.splitlines() == ["refused 3 readable True", "goes on True", "whole []"], done.stderr
