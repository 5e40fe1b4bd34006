"""The journal: what has been committed is there, whatever happens to the process, and nothing else is."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from farwatch.sdk.journal import FIRST_SEGMENT, SPILL_BYTES, Journal
from farwatch.wire import segment
from farwatch.wire.ids import new_writer_id
from farwatch.wire.records import Kind, encode_json

COMMITTER = """
import sys, time
from pathlib import Path
from farwatch.sdk.journal import Journal
journal = Journal(Path(sys.argv[1]), sys.argv[2], max_bytes=1 << 30, clock_ns=time.monotonic_ns)
pad = b"x" * int(sys.argv[3])
out = open(sys.argv[4], "r+b", buffering=0)
import mmap
told = memoryview(mmap.mmap(out.fileno(), 8)).cast("Q")
number = 0
with journal.lock:
    journal.busy = True
    while True:
        journal.commit(b"%020d" % number + pad)
        number += 1
        told[0] = number
"""


def make(folder: Path, **kwargs: int) -> Journal:
    return Journal(
        folder, new_writer_id(), max_bytes=kwargs.get("max_bytes", 1 << 30), clock_ns=time.monotonic_ns
    )


def payloads(folder: Path) -> list[bytes]:
    return [record.payload for record in segment.read_journal(folder)]


def test_records_come_back_in_order_across_segments(tmp_path: Path) -> None:
    journal = make(tmp_path)
    written = [bytes([number % 251]) * (1 + number * 37 % 3000) for number in range(500)]

    for payload in written:
        journal.append(payload)
    journal.close()

    assert payloads(tmp_path) == written
    assert len(segment.list_segments(tmp_path)) > 3
    records = list(segment.read_journal(tmp_path))
    assert [record.number for record in records] == list(range(500))


def test_finished_segments_are_cut_to_size(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.append(b"one")
    assert segment.list_segments(tmp_path)[0].stat().st_size == FIRST_SEGMENT

    journal.close()

    assert segment.list_segments(tmp_path)[0].stat().st_size == segment.HEADER_SIZE + 16


def test_a_commit_is_readable_at_once_by_another_process(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.append(b"now")

    script = (
        "import sys; from farwatch.wire import segment; from pathlib import Path\n"
        "print([r.payload for r in segment.read_journal(Path(sys.argv[1]))])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "[b'now']"


def kill_while_committing(folder: Path, seed: int, pad: int) -> tuple[int, int]:
    """Kill a process that does nothing but commit. Returns (commits that had returned, records that a reader finds)."""
    folder.mkdir()
    counter = folder / "returned"
    counter.write_bytes(bytes(8))
    child = subprocess.Popen(
        [sys.executable, "-c", COMMITTER, str(folder), new_writer_id(), str(pad), str(counter)]
    )
    deadline = time.monotonic() + 30
    while not any(counter.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.001)
    pause = random.Random(seed).uniform(0, 0.02)
    end = time.monotonic() + pause
    while time.monotonic() < end:
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    returned = int.from_bytes(counter.read_bytes(), "little")
    found = payloads(folder)
    assert [int(payload[:20]) for payload in found] == list(range(len(found)))
    return returned, len(found)


@pytest.mark.parametrize("seed", range(50))
def test_kill_9_in_a_loop_that_only_commits_loses_nothing(tmp_path: Path, seed: int) -> None:
    returned, found = kill_while_committing(tmp_path / "journal", seed, pad=(0, 44, 900)[seed % 3])

    assert returned > 0
    assert returned <= found <= returned + 1


@pytest.mark.nightly
def test_kill_9_2500_times(tmp_path: Path) -> None:
    for seed in range(2500):
        returned, found = kill_while_committing(tmp_path / str(seed), seed, pad=(0, 44, 900)[seed % 3])
        assert returned <= found <= returned + 1, f"seed {seed}"


class Interrupt(Exception):
    pass


def test_exceptions_thrown_into_commit_lose_nothing(tmp_path: Path) -> None:
    """A signal handler that raises, 300 times at random points: what returned is there once, in order."""
    journal = make(tmp_path)
    returned: list[int] = []
    thrown = 0
    numbers = iter(range(10**9))
    armed = True

    def throw(*_: object) -> None:
        if armed:
            raise Interrupt

    previous = signal.signal(signal.SIGALRM, throw)
    try:
        while thrown < 300:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.002))
                while True:
                    number = next(numbers)
                    journal.append(b"%d" % number + b"-" * (number % 300))
                    returned.append(number)
            except Interrupt:
                thrown += 1
        armed = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    journal.append(b"999999999999")
    returned.append(999999999999)
    journal.close()

    found = [int(payload.rstrip(b"-")) for payload in payloads(tmp_path)]
    assert sorted(set(returned) - set(found)) == []
    assert len(found) == len(set(found))
    assert not journal.busy


def test_calls_from_signals_finalizers_and_threads_lose_nothing(tmp_path: Path) -> None:
    journal = make(tmp_path)
    written: list[bytes] = []

    def log(text: bytes) -> None:
        written.append(text)
        journal.append(text)

    class Finalizer:
        def __init__(self, number: int) -> None:
            self.number = number
            self.me = self  # a cycle: the collector runs __del__ wherever it strikes

        def __del__(self) -> None:
            log(b"finalizer %d" % self.number)

    ticks = iter(range(10**9))
    previous = signal.signal(signal.SIGALRM, lambda *_: log(b"signal %d" % next(ticks)))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    other = threading.Thread(target=lambda: [log(b"thread %d" % number) for number in range(20_000)])
    try:
        other.start()
        for number in range(20_000):
            log(b"main %d" % number)
            Finalizer(number)
        other.join()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    import gc

    gc.collect()
    journal.close()

    found = payloads(tmp_path)
    assert len(found) == len(written)
    assert set(found) == set(written)
    assert next(ticks) > 10


def test_a_huge_record_goes_to_a_file_of_its_own(tmp_path: Path) -> None:
    journal = make(tmp_path)
    payload = os.urandom(SPILL_BYTES + 1)

    journal.append(payload)
    journal.append(b"after")
    journal.close()

    first, second = segment.read_journal(tmp_path)
    assert first.kind == Kind.SPILL
    assert (tmp_path / "spill" / first.body()["name"]).read_bytes() == payload
    assert second.payload == b"after"


def test_the_disk_cap_stops_growth_and_keeps_room_for_goodbye(tmp_path: Path) -> None:
    journal = make(tmp_path, max_bytes=256 << 10)
    for _ in range(2000):
        journal.append(b"x" * 1000)

    journal.append(encode_json(Kind.GOODBYE, {"state": "finished"}), vital=True)
    journal.close()

    assert journal.dropped > 1500
    assert journal.full == "the journal has reached its disk cap"
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 256 << 10
    found = list(segment.read_journal(tmp_path))
    assert found[-1].kind == Kind.GOODBYE
    assert len(found) == 2001 - journal.dropped


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 400 KiB; needs root, as CI has."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_drops_with_a_count_and_heals(small_disk: Path) -> None:
    journal = make(small_disk)
    hog = small_disk / "hog"
    hog.write_bytes(bytes(300 << 10))
    while journal.full is None:
        journal.append(b"x" * 1000)
    assert journal.full == "the disk is full"
    kept = journal.number
    hog.unlink()  # somebody makes room

    deadline = time.monotonic() + 10
    while journal.number == kept and time.monotonic() < deadline:
        journal.append(b"y" * 1000)
        time.sleep(0.05)
    journal.append(encode_json(Kind.GOODBYE, {"state": "finished"}), vital=True)
    journal.close()

    found = list(segment.read_journal(small_disk))
    assert journal.dropped > 0
    assert [record.payload[:1] for record in found[kept:-1]] == [b"y"] * (len(found) - kept - 1) != []
    assert found[-1].kind == Kind.GOODBYE


def test_goodbye_fits_on_a_full_disk(small_disk: Path) -> None:
    journal = make(small_disk)
    (small_disk / "hog").write_bytes(bytes(300 << 10))
    while journal.full is None:
        journal.append(b"x" * 1000)

    journal.append(encode_json(Kind.GOODBYE, {"state": "failed", "reason": "no space"}), vital=True)
    journal.close()

    assert list(segment.read_journal(small_disk))[-1].kind == Kind.GOODBYE


def test_a_fork_writes_nothing_into_its_parents_journal(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.append(b"parent")

    child = os.fork()
    if child == 0:
        journal.forked()
        journal.append(b"child")
        os._exit(0)
    os.waitpid(child, 0)
    journal.append(b"parent again")
    journal.close()

    assert payloads(tmp_path) == [b"parent", b"parent again"]


def test_damage_is_seen_and_nothing_behind_it_is_believed(tmp_path: Path) -> None:
    journal = make(tmp_path)
    for number in range(10):
        journal.append(b"%032d" % number)
    journal.close()
    path = segment.list_segments(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[segment.HEADER_SIZE + 5 * 40 + 20] ^= 1
    path.write_bytes(data)

    header = segment.SegmentHeader.decode(data)
    found = segment.scan(data, segment.HEADER_SIZE, header.seed)

    assert (found.count, found.damaged) == (5, True)


def test_a_commit_interrupted_before_a_rotation_is_not_written_over(tmp_path: Path) -> None:
    """An exception struck between the commit word and the position; the next record opens a new segment."""
    journal = make(tmp_path)
    before = journal.at
    journal.append(b"committed, position not moved")
    journal.at = before

    journal.append(b"x" * FIRST_SEGMENT)
    journal.close()

    assert payloads(tmp_path) == [b"committed, position not moved", b"x" * FIRST_SEGMENT]
    assert [record.number for record in segment.read_journal(tmp_path)] == [0, 1]
