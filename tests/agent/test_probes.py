import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from written_journals import WrittenJournal

from farwatch.agent.folder import JournalFolder
from farwatch.agent.own_journal import SEGMENT_BYTES, OwnJournal
from farwatch.agent.probes.machine import MachineProbe
from farwatch.agent.probes.nvidia import FAILURES_MAX, NvidiaProbe
from farwatch.agent.probes.processes import ProcessProbe
from farwatch.agent.reader import Reader, records_of
from farwatch.agent.sampler import Sampler
from farwatch.clock import SystemClock
from farwatch.wire.records import Flag, Kind


@pytest.fixture
def busy() -> Iterator["subprocess.Popen[str]"]:
    """A process whose child holds 64 MiB and works without a pause, as a data loader does."""
    child = "x = bytearray(64 << 20); print(flush=True)\nwhile True: pass"
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); sys.stdin.read(); p.kill(); p.wait()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.communicate()


def test_process_counts_with_what_it_started(busy: "subprocess.Popen[str]") -> None:
    probe = ProcessProbe(busy.pid)
    first = probe.sample(time.monotonic_ns() // 1000)
    deadline = time.monotonic() + 10
    second: dict[str, float] = {}
    while second.get("cpu", 0) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)  # lets it use some of its time slice; the loop ends by what is measured
        second = probe.sample(time.monotonic_ns() // 1000)

    assert "cpu" not in first
    assert first["memory_bytes"] > 64 << 20
    assert 5 <= second["cpu"] <= 400


def test_process_that_is_gone_has_no_values() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert ProcessProbe(process.pid).sample(0) == {}


def test_machine_gives_all_its_values(tmp_path: Path) -> None:
    probe = MachineProbe(str(tmp_path))
    probe.sample(1)
    deadline = time.monotonic() + 5
    values: dict[str, float] = {}
    while "cpu" not in values and time.monotonic() < deadline:
        values = probe.sample(time.monotonic_ns() // 1000)

    wanted = {"cpu", "memory_bytes", "memory_percent", "disk/free_bytes", "network/sent_bytes_per_s"}
    assert wanted <= set(values)
    assert 0 <= values["cpu"] <= 100 and 0 < values["memory_percent"] < 100


class FakeNvml:
    """NVML with two GPUs, the second a slice that does not tell its power."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.open = False

    def nvmlInit(self) -> None:
        if self.broken:
            raise self.NVMLError("no driver")
        self.open = True

    def nvmlShutdown(self) -> None:
        self.open = False

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        return number

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:
        self.check()
        return SimpleNamespace(gpu=97)

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:
        self.check()
        return SimpleNamespace(used=1 << 30, total=4 << 30)

    def nvmlDeviceGetPowerUsage(self, device: int) -> int:
        self.check()
        if device == 1:
            raise self.NVMLError("not supported")
        return 350_500

    def nvmlDeviceGetTemperature(self, device: int, sensor: int) -> int:
        self.check()
        return 61

    def check(self) -> None:
        if self.broken:
            raise self.NVMLError("the GPU has fallen off the bus")


def test_gpus_tell_what_they_can() -> None:
    values = NvidiaProbe(FakeNvml()).sample(0)

    each = {
        "utilization": 97.0,
        "memory_bytes": float(1 << 30),
        "memory_percent": 25.0,
        "temperature_c": 61.0,
    }
    first = {f"gpu/0/{name}": value for name, value in each.items()} | {"gpu/0/power_w": 350.5}
    assert values == first | {f"gpu/1/{name}": value for name, value in each.items()}


def test_broken_driver_is_left_alone() -> None:
    nvml = FakeNvml()
    probe = NvidiaProbe(nvml)
    nvml.broken = True

    samples = [probe.sample(0) for _ in range(FAILURES_MAX + 1)]

    assert samples == [{}] * (FAILURES_MAX + 1)
    assert not nvml.open


def test_machine_without_a_driver_has_no_gpus_and_no_error() -> None:
    assert NvidiaProbe(FakeNvml(broken=True)).sample(0) == {}


def test_own_journal_reads_like_any_other(tmp_path: Path) -> None:
    watched = WrittenJournal(tmp_path, rank=3, server="http://x", credential="k")
    journal = OwnJournal(tmp_path, watched.sidecar, SystemClock())
    rows = SEGMENT_BYTES // 48
    for n in range(rows):
        journal.log(
            {"system/cpu": float(n), "system/memory_bytes": 2.0, "system/process/cpu": 3.0}
            | ({} if n % 2 else {"x": 1.0})
        )
    journal.close()

    folder = JournalFolder(journal.path)
    reader = Reader(folder)
    records = []
    while (batch := reader.cut(1 << 20, now_us=0, ended=True)) is not None:
        records += list(records_of(batch))

    told = folder.sidecar
    assert (told["role"], told["rank"], told["run"], told["watches"]) == (
        "system",
        3,
        watched.sidecar["run"],
        watched.writer_id,
    )
    assert len(folder.segments()) > 1 and reader.gaps == 0
    steps = [record for record in records if record.kind == Kind.STEP]
    assert len(steps) == rows
    assert all(record.flags & Flag.STEP_NONE for record in steps)
    assert b"credential" not in records[0].payload


class Clock(SystemClock):
    """Moves as told."""

    now_us = 1_000_000

    def mono_us(self) -> int:
        return self.now_us


def test_second_process_of_one_rank_has_names_of_its_own(tmp_path: Path) -> None:
    clock = Clock()
    sampler = Sampler(tmp_path, clock, sample_s=5)
    told = {"run": "r", "project": "p", "rank": 0}
    sampler.want = {
        "a": {**told, "writer": "a", "pid": os.getpid()},
        "b": {**told, "writer": "b", "pid": os.getppid()},
    }
    for _ in range(4):
        sampler.turn()
        clock.now_us += 5_000_000
        time.sleep(0.05)  # the kernel counts in hundredths of a second: between two looks within one nothing was used
    sampler.want = {"b": sampler.want["b"]}
    sampler.turn()
    ended = list(sampler.ended)
    sampler.close()

    names: dict[str, set[str]] = {}
    for path in tmp_path.iterdir():
        folder = JournalFolder(path)
        reader = Reader(folder)
        while (batch := reader.cut(1 << 20, now_us=0, ended=True)) is not None:
            for record in records_of(batch):
                if record.kind == Kind.SCHEMA:
                    names.setdefault(folder.sidecar["watches"], set()).update(record.body()["keys"])
    assert {"system/cpu", "system/process/cpu", "system/process/memory_bytes"} <= names["a"]
    assert {f"system/process/{os.getppid()}/cpu", f"system/process/{os.getppid()}/memory_bytes"} <= names["b"]
    assert len(ended) == 1
