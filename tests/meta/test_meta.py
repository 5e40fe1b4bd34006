"""The meta database: one writer, visible commits, durable ones, migrations."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from farwatch.clock import SystemClock
from farwatch.errors import DataError
from farwatch.store.meta import Meta, RunRow, migrations
from farwatch.store.meta.tables import tables
from farwatch.wire.ids import new_run_id

SOURCE = Path(__file__).parents[2] / "src"


def run_row(run: str = "", project: str = "p", **more: Any) -> RunRow:
    made = RunRow(
        0, run or new_run_id(), "short", project, 0, "name", "running", "", None, "", 1, 1, 1, None, 1, "", "", "", 1, None, None, None, [],
        "", False, None, False, None, None, None, 0, 0, 1, None, None, None, "sdk",
    )  # fmt: skip
    return replace(made, **more)


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Meta]:
    made = Meta(tmp_path / "meta.db", SystemClock())
    yield made
    made.close()


def test_change_is_visible_to_readers_once_write_has_returned(meta: Meta) -> None:
    row = meta.write(
        lambda writes: writes.add_run(run_row("r1", tags=["a"], progress={"n": 1, "total": None}))
    )

    with meta.read() as reads:
        assert list(reads.all_runs()) == [row]
    assert meta.run(row.no) == meta.run_by_id("r1") == row
    assert (row.number, row.tags, row.progress) == (1, ["a"], {"n": 1, "total": None})


def test_change_that_fails_half_way_leaves_nothing_and_hurts_no_other(meta: Meta) -> None:
    started, go = threading.Event(), threading.Event()

    def hold(writes: Any) -> None:
        started.set()
        go.wait(10)

    def broken(writes: Any) -> None:
        writes.add_run(run_row("bad"))
        writes.set_setting("k", "bad")
        raise ValueError("half way")

    first = meta.enqueue(hold)
    started.wait(10)
    failing = meta.enqueue(broken)  # these three wait together and share a commit
    good = meta.enqueue(lambda writes: writes.add_run(run_row("good")))
    go.set()

    assert first.result(10) is None
    assert isinstance(failing.exception(10), ValueError)
    assert good.result(10).number == 1
    assert (meta.run_by_id("bad"), meta.setting("k")) == (None, None)
    with meta.read() as reads:
        assert [row.id for row in reads.all_runs()] == ["good"]


def test_changes_of_one_commit_see_each_other(meta: Meta) -> None:
    row = meta.write(lambda writes: writes.add_run(run_row()))
    gate = threading.Event()
    blocked = meta.enqueue(lambda writes: gate.wait(10))

    def add_tag(tag: str) -> Any:
        def change(writes: Any) -> None:
            now = writes.run(row.no)
            writes.put_run(replace(now, tags=[*now.tags, tag]))

        return change

    waiting = [meta.enqueue(add_tag(str(i))) for i in range(20)]
    gate.set()
    for future in [blocked, *waiting]:
        future.result(10)

    assert meta.run(row.no).tags == [str(i) for i in range(20)]  # type: ignore[union-attr]


def test_readers_cannot_write(meta: Meta) -> None:
    with meta.read() as reads, pytest.raises(Exception, match="readonly"):
        reads._connection.execute(text("DELETE FROM run"))


def test_settings_are_kept_across_a_restart(tmp_path: Path) -> None:
    first = Meta(tmp_path / "meta.db", SystemClock())
    first.setting("a/b", {"x": [1, None, "é"]})
    first.close()
    first.close()

    second = Meta(tmp_path / "meta.db", SystemClock())

    assert second.setting("a/b") == {"x": [1, None, "é"]}
    assert second.setting("absent") is None
    second.close()
    with pytest.raises(DataError):
        second.setting("a/b")


def test_many_threads_write_and_read_at_once(meta: Meta) -> None:
    def work() -> None:
        for _ in range(20):
            row = meta.write(lambda writes: writes.add_run(run_row()), durable=False)
            assert meta.run_by_id(row.id) == row
            with meta.read() as reads:
                assert any(found.id == row.id for found in reads.all_runs())

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(row.number for row in meta.runs_of("p")) == list(range(1, 121))


def test_durable_change_syncs_the_log_once(tmp_path: Path) -> None:
    """A power cut keeps what a durable change has written, and everything before it; the others cost no sync."""
    script = f"""
import sys, sqlite3
sys.path.insert(0, {str(SOURCE)!r})
from farwatch.clock import SystemClock
from farwatch.store.meta import Meta
meta = Meta({str(tmp_path / "meta.db")!r}, SystemClock())
told = []
meta.write(lambda writes: writes._connection.connection.dbapi_connection.set_trace_callback(told.append))
level = lambda durable: meta.write(lambda writes: writes._connection.exec_driver_sql("PRAGMA synchronous").scalar(), durable=durable)
print(level(False), level(True), level(False))
meta.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == ["1", "2", "1"]  # NORMAL, FULL


def test_files_are_as_the_hazards_ask(tmp_path: Path, meta: Meta) -> None:
    with sqlite3.connect(tmp_path / "meta.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    connection.close()


def test_tables_can_be_made_by_postgres() -> None:
    """The statements at least compile there; SQLite alone is run here."""
    for table in tables.sorted_tables:
        assert (
            str(CreateTable(table).compile(dialect=postgresql.dialect())).strip().startswith("CREATE TABLE")
        )


# --- migrations


def columns_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    connection = sqlite3.connect(path)
    try:
        names = [
            row[0]
            for row in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
        ]
        return {name: sorted(connection.execute(f"PRAGMA table_info({name})").fetchall()) for name in names}
    finally:
        connection.close()


def dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "meta.db"
    Meta(path, SystemClock()).close()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO schema_version VALUES (99, 1)")
    connection.commit()
    connection.close()
    before = dump(path)

    with pytest.raises(DataError) as refused:
        Meta(path, SystemClock())

    assert "99" in str(refused.value) and refused.value.hint
    assert dump(path) == before


def test_foreign_database_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "meta.db")
    connection.execute("CREATE TABLE run (x)")
    connection.close()

    with pytest.raises(DataError):
        Meta(tmp_path / "meta.db", SystemClock())


def test_steps_run_once_each_in_order_after_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "meta.db"
    meta = Meta(path, SystemClock())
    meta.write(lambda writes: writes.add_run(run_row("kept")))
    meta.close()
    now = migrations.VERSION
    steps = {
        now + 1: lambda connection: connection.execute(text("ALTER TABLE run ADD COLUMN extra TEXT")),
        now + 2: lambda connection: connection.execute(text("UPDATE run SET extra = id")),
    }
    engine = create_engine(f"sqlite:///{path}")

    migrations.migrate(engine, SystemClock(), steps=steps)
    migrations.migrate(engine, SystemClock(), steps=steps)

    with engine.connect() as connection:
        assert connection.execute(text("SELECT extra FROM run")).scalars().all() == ["kept"]
        assert connection.execute(
            text("SELECT version FROM schema_version ORDER BY version")
        ).scalars().all() == [now, now + 1, now + 2]
    engine.dispose()
    copy = tmp_path / f"meta.db.before-{now + 1}"
    assert "extra" not in [column[1] for column in columns_of(copy)["run"]]
    assert not (tmp_path / f"meta.db.before-{now + 2}").exists()


def test_step_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    path = tmp_path / "meta.db"
    Meta(path, SystemClock()).close()

    def broken(connection: Any) -> None:
        connection.execute(text("UPDATE schema_version SET at_ms = 0"))
        raise RuntimeError("no")

    engine = create_engine(f"sqlite:///{path}")
    with pytest.raises(RuntimeError):
        migrations.migrate(engine, SystemClock(), steps={migrations.VERSION + 1: broken})
    engine.dispose()

    Meta(path, SystemClock()).close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT version FROM schema_version WHERE at_ms > 0").fetchall() == [(migrations.VERSION,)]
    connection.close()


def test_first_version_migrated_is_the_same_as_a_fresh_database(tmp_path: Path) -> None:
    """`version-1.sql` is the first version as it was released; it is never edited."""
    old = sqlite3.connect(tmp_path / "old.db")
    old.executescript((Path(__file__).parent / "version-1.sql").read_text())
    old.close()
    Meta(tmp_path / "old.db", SystemClock()).close()
    Meta(tmp_path / "new.db", SystemClock()).close()

    assert columns_of(tmp_path / "old.db") == columns_of(tmp_path / "new.db")
