"""Killed servers: what was acknowledged is there, once, bit by bit; what was not may be."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from farwatch.clock import SystemClock
from farwatch.settings import load
from farwatch.store.base import SeriesKey
from farwatch.store.sqlite import SqliteStore, fsck

WRITERS = 4

CHILD = """
import os, sys, threading
from pathlib import Path
from farwatch.clock import SystemClock
from farwatch.settings import load
from farwatch.store.base import Ack, Writer
from farwatch.store.sqlite import SqliteStore
from farwatch.testing.journal import WALL_US, Journal, incoming

folder, durability = Path(sys.argv[1]), sys.argv[2]
settings = load({}).replace(memtable_points=1500, flush_s=3600.0, durability=durability)
store = SqliteStore(folder, settings, SystemClock())

def send(number):
    writer = Writer(f"{number:032x}", f"run{number % 2}", number, 1, WALL_US)
    journal = Journal(writer)
    for i in range(4000):
        journal.step({"a": i + number / 8, "b": float(-i)}, i, time=i * 1000)
    at = store.register(writer).expected
    schemas = store.writer(writer.writer_id)[2]
    while at < len(journal.payloads):
        batch = journal.batch(at, min(len(journal.payloads), at + 7 + number))
        (answer,) = store.append([incoming(batch, writer, schemas)])
        assert isinstance(answer, Ack), answer
        schemas = store.writer(writer.writer_id)[2]
        at = answer.mark.expected
        os.write(1, f"{number} {at}\\n".encode())

threads = [threading.Thread(target=send, args=(i,)) for i in range(int(sys.argv[3]))]
for thread in threads: thread.start()
for thread in threads: thread.join()
os.write(1, b"done\\n")
sys.stdin.read()
"""


def run_and_kill(folder: Path, durability: str, after_lines: int, marks: dict[int, int]) -> bool:
    """Run a server until it has acknowledged so many batches, then kill it. Returns whether it had sent everything."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), durability, str(WRITERS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None and child.stdin is not None
    done = False
    with child:
        for count, line in enumerate(child.stdout):
            if line == "done\n":
                done = True
                break
            number, expected = map(int, line.split())
            marks[number] = max(marks.get(number, 0), expected)
            if count == after_lines:
                break
        os.kill(child.pid, signal.SIGKILL)
        for line in child.stdout:  # what it had acknowledged before it died counts too
            if line.endswith("\n") and line != "done\n":
                number, expected = map(int, line.split())
                marks[number] = max(marks.get(number, 0), expected)
        child.stdin.close()
        child.wait(30)
    return done


def lost_or_doubled(folder: Path, marks: dict[int, int]) -> list[str]:
    """What is not as it was acknowledged: `marks` has for each writer how many records were."""
    wrong: list[str] = []
    settings = load({}).replace(flush_s=3600.0)
    with SqliteStore(folder, settings, SystemClock()) as store:
        for number in range(WRITERS):
            known = store.writer(f"{number:032x}")
            expected = known[1].expected if known else 0
            if expected < marks.get(number, 0):
                wrong.append(f"writer {number}: {expected} records of {marks[number]} acknowledged ones")
            steps = max(0, expected - 1)  # record 0 is the schema
            for name, value in (("a", lambda i, n=number: i + n / 8), ("b", lambda i: float(-i))):
                key = SeriesKey(f"run{number % 2}", name, number)
                points = store.points(key)
                (chart,) = store.chart([key], buckets=20)
                found = {
                    "steps": points.steps.tolist() == list(range(steps)),
                    "values": points.values.tolist() == [value(i) for i in range(steps)],
                    "chart": int(chart.count.sum()) == steps,
                    "list": [i.count for i in store.series(key.run, [name]) if i.key == key] == [steps] * bool(steps),
                }
                wrong += [f"writer {number}, series {name}: {part}" for part, right in found.items() if not right]
    return wrong + [str(problem) for problem in fsck(folder).problems]


@pytest.mark.parametrize("durability", ["disk", "os"])
def test_nothing_acknowledged_is_lost_or_doubled_by_kill_9(tmp_path: Path, durability: str) -> None:
    marks: dict[int, int] = {}
    for after in (3, 150, 400):
        run_and_kill(tmp_path, durability, after, marks)

    assert marks
    assert lost_or_doubled(tmp_path, marks) == []


@pytest.mark.nightly
def test_nothing_acknowledged_is_lost_or_doubled_by_many_kills(tmp_path: Path) -> None:
    for seed in range(20):
        marks: dict[int, int] = {}
        folder = tmp_path / str(seed)
        for after in (seed * 13 + 1, seed * 31 + 50, seed * 57 % 400 + 9, 3000):
            if run_and_kill(folder, "disk", after, marks):
                break
            assert lost_or_doubled(folder, marks) == []
        assert lost_or_doubled(folder, marks) == []
