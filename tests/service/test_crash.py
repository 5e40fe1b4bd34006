"""What survives a crash: everything that was acknowledged, once."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farwatch.settings import load
from farwatch.store.base import SeriesKey
from farwatch.store.sqlite import open_store
from farwatch.wire.records import Kind
from tests.service.conftest import Inside, ManualClock

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def durable(tmp_path: Path, clock: ManualClock) -> Iterator[Inside]:
    """The same on the store that servers use."""
    settings = load({}).replace(durability="os")
    made = Inside(tmp_path, settings, clock, lambda folder: open_store(folder / "store", settings, clock))
    yield made
    made.close()
    made.store.close()


def values(inside: Inside, run: str, name: str) -> list[float]:
    return inside.store.points(SeriesKey(run, name)).values.tolist()


def reopened(inside: Inside) -> Inside:
    """The same after a kill: opened from a copy of the files as they stand, nothing flushed, nobody told."""
    copy = inside.folder / "copy"
    copy.mkdir()
    for path in [*inside.folder.glob("meta.db*"), inside.folder / "store"]:
        (shutil.copytree if path.is_dir() else shutil.copy)(path, copy / path.name)
    inside.close()
    inside.store.close()
    inside.folder = copy
    inside.open()
    return inside


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    """A server is killed with SIGKILL in a loop of batches; everything acknowledged is in store, table and details."""
    script = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(SOURCE)!r}, {str(SOURCE.parent)!r}]
from tests.service.conftest import Inside, ManualClock
from farwatch.settings import load
from farwatch.store.sqlite import open_store
folder, clock = Path({str(tmp_path)!r}), ManualClock()
settings = load({{}}).replace(durability="os")
inside = Inside(folder, settings, clock, lambda folder: open_store(folder / "store", settings, clock))
process = inside.started(run="mine")
i = 0
while True:
    process.log({{"a": float(i)}}).patch(config={{"last": i}})
    process.add(5, {{"name": "t", "type": "text", "text": str(i)}}, step=i).send()
    print(i, flush=True)
    i += 1
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = 0
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged == 40:
                os.kill(process.pid, signal.SIGKILL)

    clock = ManualClock()
    settings = load({}).replace(durability="os")
    inside = Inside(tmp_path, settings, clock, lambda folder: open_store(folder / "store", settings, clock))

    found = values(inside, "mine", "a")
    detail = inside.runs.detail("mine")
    assert found == list(range(len(found))) and len(found) > acknowledged
    assert detail["config"] == {"last": len(found) - 1}
    assert detail["summary"] == {"a": len(found) - 1}
    assert detail["points"] == len(found)
    items = inside.runs.media("mine", limit=10_000)["items"]
    assert [item["text"] for item in items] == [str(i) for i in range(len(found))]
    inside.close()
    inside.store.close()


def test_replay_applies_what_the_meta_database_lacks_and_nothing_twice(durable: Inside) -> None:
    process = durable.started(run="mine").log({"a": 1.0})
    process.add(Kind.POINT, {"name": "t", "type": "text", "text": "x"}, step=1).patch(
        tags={"add": ["b"]}
    ).send()
    durable.runs.update("mine", {"tags": {"remove": ["b"]}}, "ann")

    inside = reopened(durable)

    assert len(inside.runs.media("mine")["items"]) == 1
    row = inside.runs.row("mine")
    assert (row["points"], row["tags"], row["step"], row["main_last"]) == (1, [], 0, 1)


def test_changes_lost_with_the_meta_database_come_back_from_the_log(durable: Inside) -> None:
    """A power cut may take the last changes of a database that was not synced; the log, which was, has them."""
    process = durable.started(run="mine")
    process.send()
    before = durable.meta.writer(process.id)
    assert before is not None
    process.patch(config={"lr": 1}, notes="n").goodbye("stopped").send()

    def forget(writes: Any) -> None:
        row, run = writes.writer(process.id), writes.run(before.run_no)
        writes.put_writer(replace(row, applied=before.applied, ended_ms=None, ending=None, cause=None))
        writes.put_run(replace(run, notes="", state="running", ended_ms=None))
        writes.put_detail(replace(writes.detail(run.no), config={}))

    durable.meta.write(forget)
    inside = reopened(durable)

    detail = inside.runs.detail("mine")
    assert (detail["config"], detail["notes"], detail["state"]) == ({"lr": 1}, "n", "stopped")


def test_log_is_trimmed_only_up_to_what_the_meta_database_has(durable: Inside) -> None:
    process = durable.started(run="mine").log({"a": 1.0}).patch(notes="n")
    process.send()

    durable.store.flush()  # type: ignore[attr-defined]
    inside = reopened(durable)

    assert inside.meta.start_seq >= 1
    row = inside.runs.row("mine")
    assert (row["points"], row["notes"], row["main_last"]) == (1, "n", 1)


def test_table_that_was_written_once_is_read_back(durable: Inside) -> None:
    process = (
        durable.started(run="mine").log({"a": 1.0, "b": float("inf")}).log({"a": 3.0, "b": float("nan")})
    )
    process.goodbye().send()
    before = durable.runs.list(columns="summary.*,summary.a.mean")

    durable.close()
    durable.store.close()
    durable.open()

    assert durable.runs.list(columns="summary.*,summary.a.mean") == before
