"""Sampling: which probes run for which watched process, and into which journal their values go."""

import contextlib
import logging
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farwatch.agent.own_journal import OwnJournal
from farwatch.agent.probes.base import Probe
from farwatch.agent.probes.machine import MachineProbe
from farwatch.agent.probes.nvidia import NvidiaProbe
from farwatch.agent.probes.processes import ProcessProbe, ProcessTable
from farwatch.clock import Clock

LOG = logging.getLogger("farwatch.agent")
FIRST_US = 1_000_000  # short runs should show something as well


@dataclass(slots=True)
class _Sampled:
    """One watched process. `prefix`: where its values stand; the first of a rank is `process`, others carry their PID."""

    writer_id: str
    run: str
    rank: int
    pid: int
    prefix: str
    journal: OwnJournal
    probe: ProcessProbe


class Sampler:
    """Writes the metrics of every watched process, and those of the machine once per run.

    *Threads*: one calls `turn` and `close`; `want` and `ended` are shared with another: `want`, the sidecars of all
    processes to sample, is replaced as a whole; `ended` receives ids of system journals that nobody writes any more.
    *Errors*: none get out; a disk without room ends the sampling of that run.
    """

    def __init__(self, journals: Path, clock: Clock, *, sample_s: float) -> None:
        self._journals = journals
        self._clock = clock
        self._every_us = int(sample_s * 1e6)
        self._due_us = 0
        self._watched: dict[str, _Sampled] = {}
        self._machine: list[Probe] | None = None
        self._failed: set[str] = set()
        self.want: dict[str, dict[str, Any]] = {}
        self.ended: deque[str] = deque()

    def _add(self, sidecar: dict[str, Any]) -> None:
        run, rank, pid = str(sidecar["run"]), _whole(sidecar.get("rank")), _whole(sidecar.get("pid"))
        same = any(other.run == run and other.rank == rank for other in self._watched.values())
        prefix = f"process/{pid}" if same else "process"
        try:
            journal = OwnJournal(self._journals, sidecar, self._clock)
        except OSError as error:
            LOG.warning("no system metrics for %s: %s", run, error.strerror)
            self._failed.add(str(sidecar["writer"]))
            return
        sampled = _Sampled(str(sidecar["writer"]), run, rank, pid, prefix, journal, ProcessProbe(pid))
        now_us = self._clock.mono_us()
        sampled.probe.sample(now_us)
        if self._machine is None:
            self._machine = [MachineProbe(str(self._journals)), NvidiaProbe()]
            for probe in self._machine:
                probe.sample(now_us)
        self._watched[sampled.writer_id] = sampled
        self._due_us = min(self._due_us, now_us + FIRST_US) if len(self._watched) > 1 else now_us + FIRST_US

    def _remove(self, writer_id: str) -> None:
        sampled = self._watched.pop(writer_id)
        sampled.journal.close()
        self.ended.append(sampled.journal.writer_id)

    def turn(self) -> None:
        """Follow what is wanted, and take a sample if it is time."""
        want = self.want
        for writer_id in [known for known in self._watched if known not in want]:
            self._remove(writer_id)
        for writer_id, sidecar in want.items():
            if writer_id not in self._watched and writer_id not in self._failed:
                self._add(sidecar)
        now_us = self._clock.mono_us()
        if not self._watched or now_us < self._due_us:
            return
        self._due_us = now_us + self._every_us
        table = ProcessTable()
        machine: dict[str, float] = {}
        for probe in self._machine or ():
            machine |= {f"system/{name}": value for name, value in probe.sample(now_us).items()}
        shown: set[str] = set()
        for sampled in sorted(self._watched.values(), key=lambda s: (s.rank, s.prefix)):
            sampled.probe.table = table
            values = {f"system/{sampled.prefix}/{n}": v for n, v in sampled.probe.sample(now_us).items()}
            if not values:
                continue
            if sampled.run not in shown:
                shown.add(sampled.run)
                values |= machine
            try:
                sampled.journal.log(values)
            except OSError as error:
                LOG.warning("no more system metrics for %s: %s", sampled.run, error.strerror)
                self._failed.add(sampled.writer_id)
                self._remove(sampled.writer_id)

    def close(self) -> None:
        """End all sampling; may be called twice."""
        for writer_id in list(self._watched):
            self._remove(writer_id)
        probes, self._machine = self._machine or [], None
        for probe in probes:
            with contextlib.suppress(OSError):
                probe.close()


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
