"""CPU and memory of a training process with all that it started: data loaders, compilers, its own children."""

import contextlib
import os
from dataclasses import dataclass

from farwatch.agent.probes.machine import LINUX, PSUTIL

_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    started: int
    cpu_s: float
    memory_bytes: float
    threads: int


class ProcessTable:
    """All processes at one moment, read once for all that are watched."""

    def __init__(self) -> None:
        self._processes = _read_linux() if LINUX else {}
        self._children: dict[int, list[int]] = {}
        for pid, process in self._processes.items():
            self._children.setdefault(process.parent, []).append(pid)

    def tree(self, pid: int) -> dict[int, _Process]:
        """A process and what descends from it; empty if it is gone."""
        if not LINUX:
            return _read_tree(pid)
        found: dict[int, _Process] = {}
        waiting = [pid]
        while waiting:
            at = waiting.pop()
            process = self._processes.get(at)
            if process is not None and at not in found:
                found[at] = process
                waiting += self._children.get(at, [])
        return found


class ProcessProbe:
    """A process tree: `cpu` in percent of one core, so above 100 where several work; `memory_bytes` resident.

    Memory that forked processes share is counted once for each, as `ps` does.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before: dict[tuple[int, int], float] = {}
        self._at_us = 0
        self.table: ProcessTable | None = None  # shared by whoever samples several at one moment

    def sample(self, mono_us: int) -> dict[str, float]:
        tree = (self.table or ProcessTable()).tree(self._pid)
        self.table = None
        if not tree:
            return {}
        now = {(pid, process.started): process.cpu_s for pid, process in tree.items()}
        values = {
            "memory_bytes": sum(process.memory_bytes for process in tree.values()),
            "threads": float(sum(process.threads for process in tree.values())),
        }
        if self._at_us and mono_us > self._at_us:
            used_s = sum(cpu_s - self._before.get(key, 0.0) for key, cpu_s in now.items())
            values["cpu"] = 100 * max(0.0, used_s) / ((mono_us - self._at_us) / 1e6)
        self._before, self._at_us = now, mono_us
        return values

    def close(self) -> None:
        return None


def _read_linux() -> dict[int, _Process]:
    found: dict[int, _Process] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/stat", "rb") as file:
                text = file.read()
            parts = text[text.rindex(b")") + 2 :].split()
            found[int(name)] = _Process(
                int(parts[1]),
                int(parts[19]),
                (int(parts[11]) + int(parts[12])) / _TICK,
                float(int(parts[21]) * _PAGE),
                int(parts[17]),
            )
    return found


def _read_tree(pid: int) -> dict[int, _Process]:
    """The same from psutil, where there is no `/proc`."""
    found: dict[int, _Process] = {}
    if PSUTIL is None:
        return found
    try:
        root = PSUTIL.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except PSUTIL.Error:
        return found
    for process in processes:
        with contextlib.suppress(PSUTIL.Error):
            times, memory = process.cpu_times(), process.memory_info()
            started = int(process.create_time() * 1000)
            found[process.pid] = _Process(
                0, started, times.user + times.system, float(memory.rss), process.num_threads()
            )
    return found
