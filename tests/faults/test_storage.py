"""Damage, full disks and odd data, from the trainer's call to the reader's answer."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from farwatch.wire import segment
from tests.faults.machine import Machine, until

OFFLINE = 'import farwatch\nrun = farwatch.init("odd", id="it", console=False, system=False, mode="offline")\n'


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB for the server's data."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def journal_of(machine: Machine, role: str | None = None) -> Path:
    """The journal of the only trainer."""
    for folder in (machine.state / "journals").iterdir():
        if json.loads((folder / segment.SIDECAR).read_text()).get("role") == role:
            return folder
    raise AssertionError("no journal")


def test_a_full_disk_of_the_server_loses_nothing(machine: Machine, small_disk: Path) -> None:
    machine.environ["FARWATCH_DATA"] = str(small_disk / "data")
    machine.start_server()
    counting = machine.count("it", pause_s=0.001)
    until(lambda: len(machine.values("it")) > 100)
    hog = small_disk / "hog"
    with contextlib.suppress(OSError), open(hog, "wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    begin = counting.returned
    until(lambda: counting.returned > begin + 1500, 60, "training goes on")
    hog.unlink()
    returned = counting.kill()
    until(lambda: len(machine.values("it")) >= returned, 90, "everything has arrived")

    values = machine.values("it")
    assert values == [float(number) for number in range(len(values))]
    assert len(values) in (returned, returned + 1)


def test_a_flipped_bit_in_a_journal_costs_one_record_and_says_so(machine: Machine) -> None:
    machine.train(OFFLINE + "for i in range(1000): run.log({'value': float(i)}, step=i)\nrun.finish()\n").wait(60)
    path = segment.list_segments(journal_of(machine))[0]
    data = bytearray(path.read_bytes())
    header = segment.SegmentHeader.decode(data)
    found = segment.scan(data, segment.HEADER_SIZE, header.seed, limit=500)
    data[found.end + 30] ^= 4
    path.write_bytes(data)

    machine.start_server()
    done = machine.sync()

    values = machine.values("it")
    with machine.api() as api:
        gaps = api.run("it").detail["gaps"]
    assert len(values) == 999, done.stderr
    assert set(map(float, range(1000))) - set(values) != set()
    assert [gap["count"] for gap in gaps] == [1]


def test_a_damaged_chunk_is_named_and_the_rest_is_served(machine: Machine) -> None:
    machine.start_server(flush_s=0.5, memtable_points=1000)
    machine.train(
        OFFLINE.replace("offline", "online")
        + "run.extend('good', [i / 7 for i in range(20_000)])\n"
        + "run.extend('bad', [i / 3 for i in range(20_000)])\nrun.wait(30)\nrun.finish()\n"
    ).wait(60)
    machine.kill_server(signal.SIGTERM)
    database = machine.state / "server" / "series.db"
    with sqlite3.connect(database) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert "block" in tables, tables
        rowid, blob = connection.execute("SELECT rowid, data FROM block WHERE level = 0 ORDER BY sid DESC LIMIT 1").fetchone()
        connection.execute("UPDATE block SET data = ? WHERE rowid = ?", (blob[:40] + bytes([blob[40] ^ 1]) + blob[41:], rowid))
    connection.close()

    checked = machine.cli("fsck", check=False)
    machine.start_server()

    assert checked.returncode != 0
    assert "bad" in checked.stdout + checked.stderr
    assert machine.values("it", "good") == [i / 7 for i in range(20_000)]
    with machine.api() as api, pytest.raises(Exception, match="damaged"):
        api.run("it").series("bad")


def test_a_hundred_thousand_names_are_found_at_once(machine: Machine) -> None:
    machine.start_server()
    machine.train(
        OFFLINE.replace("offline", "online")
        + "for s in range(3): run.log({f'layer{i}/weight': float(i) for i in range(100_000)}, step=s)\n"
        + "print(run.wait(60))\nrun.finish()\n"
    ).wait(120)
    until(lambda: machine.values("it", "layer99999/weight") == [99999.0] * 3, 60)

    with machine.api() as api:
        run = api.run("it")
        run.metrics(match="layer1.*")
        began = time.perf_counter()
        found = run.metrics(match=r"layer4242\d/")
        spent = time.perf_counter() - began

    names = [metric if isinstance(metric, str) else metric["name"] for metric in found]
    assert sorted(names) == [f"layer4242{i}/weight" for i in range(10)]
    assert spent < 3  # the figure itself, on a machine that does nothing else, is in bench/


STRANGE = [
    "ä/ö 中文 🦉", "'; DROP TABLE run; --", "<script>alert(1)</script>", "a\nb\tc\x1b[31m", "x" * 4096, "../../etc/passwd",
    "%00%2e%2e", "unnamed",
]  # fmt: skip


def test_strange_names_and_texts_come_back_as_they_went(machine: Machine) -> None:
    machine.start_server()
    source = f"""
import farwatch
names = {STRANGE!r}
run = farwatch.init(names[0][:60], id="it", name=names[2], notes=names[1], tags=names[:4], console=False, system=False,
                    config={{f"k{{i}}": name for i, name in enumerate(names)}})
run.log({{name: float(i) for i, name in enumerate(names)}}, step=0)
run.log({{"text/" + name[:100]: name for name in names}}, step=1)
run.wait(30)
run.finish()
"""
    machine.train(source).wait(60)
    until(lambda: machine.values("it", STRANGE[0]) == [0.0], 30)

    with machine.api() as api:
        run = api.run("it")
        assert [machine.values("it", name) for name in STRANGE] == [[float(i)] for i in range(len(STRANGE))]
        assert (run.name, run.notes, sorted(run.tags)) == (STRANGE[2], STRANGE[1], sorted(STRANGE[:4]))
        assert run.config == {f"k{i}": name for i, name in enumerate(STRANGE)}
        (listed,) = api.runs(STRANGE[0][:60])
        assert listed.id == "it"


def test_nan_everywhere_breaks_nothing(machine: Machine) -> None:
    machine.start_server()
    source = OFFLINE.replace("offline", "online") + """
nan = float("nan")
run.config.update({"lr": nan, "deep": [nan, float("inf")]})
run.summary["best"] = nan
for step in range(100): run.log({"a": nan, "b": -float("inf") if step % 2 else nan}, step=step)
run.log({"h": farwatch.Histogram([nan, 1.0, float("inf")]), "t": farwatch.Table([[nan, 1]], columns=["x", "y"])})
print(run.wait(30))
run.finish()
"""
    machine.train(source).wait(60)
    until(lambda: len(machine.values("it", "a")) == 100, 30)

    with machine.api() as api:
        run = api.run("it")
        assert [listed.id for listed in api.runs("odd", sort="-summary.a", columns=["summary.a"])] == ["it"]
        chart = run.chart(["a", "b"])
    assert "Traceback" not in (machine.folder / "server.log").read_text()
    assert set(chart) == {"a", "b"}


def test_a_config_of_50_mb_is_kept_as_a_file_and_said_so(machine: Machine) -> None:
    machine.start_server()
    source = OFFLINE.replace("offline", "online") + """
run.config.update({"lr": 0.5})
run.config.update({"blob": "x" * 50_000_000, "token": "canary-canary"})
print(len(run.config["blob"]))
run.log({"value": 1.0})
print(run.wait(60))
run.finish()
"""
    machine.train(source).wait(120)
    told = (machine.folder / "train0.log").read_text()

    assert until(lambda: machine.values("it") == [1.0], 60)
    assert "is kept as the file config/" in told and "True" in told.splitlines()
    with machine.api() as api:
        run = until(lambda: (found := api.run("it")).state == "finished" and found, 30)
        assert (run.config, run.detail["gaps"], run.detail["lag"]["set_aside"]) == ({"lr": 0.5}, [], 0)
        (path,) = [file.path for file in run.files() if file.path.startswith("config/")]
        kept = json.loads(run.download(path, machine.folder / "got").read_text())
    assert (kept["blob"], "canary" in str(kept["token"])) == ("x" * 50_000_000, False)


def test_a_clock_that_jumps_bends_no_axis(machine: Machine) -> None:
    machine.start_server()
    source = OFFLINE.replace("offline", "online") + """
import time
real = time.time_ns
for step in range(100):
    if step == 50: time.time_ns = lambda: real() - 86_400_000_000_000
    run.log({"value": 1.0})
    time.sleep(0.002)
run.wait(30)
run.finish()
"""
    machine.train(source).wait(60)
    until(lambda: len(machine.values("it")) == 100, 30)

    with machine.api() as api:
        times = api.run("it").series("value").times.tolist()
    assert times == sorted(times)
    assert abs(times[-1] - time.time() * 1000) < 60_000


def test_a_crafted_journal_reads_no_file_of_its_machine(machine: Machine) -> None:
    """A journal names a file outside of its folder, and one through a link: neither reaches the server."""
    canary = machine.folder / "canary.txt"
    canary.write_text("canary-canary")
    machine.train(OFFLINE + "open('f.txt', 'w').write('fine')\nrun.save('f.txt')\nrun.log({'value': 1.0})\nrun.finish()\n").wait(60)
    spool = journal_of(machine) / "spool"
    (kept,) = spool.iterdir()
    kept.unlink()
    kept.symlink_to(canary)
    machine.start_server()

    machine.sync()

    assert machine.values("it") == [1.0]
    held = [path for path in (machine.state / "server").rglob("*") if path.is_file() and b"canary-canary" in path.read_bytes()]
    assert held == []
    assert os.readlink(kept) == str(canary)
