"""What the rules cost: CPU of a server with a thousand live runs, each of which sends one batch a second with four metrics."""

import math
import random
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bench.table import Row
from farwatch.service.alerts import Engine, Register, RuleBook
from farwatch.service.runs import Runs
from farwatch.settings import load
from farwatch.store.base import Decoded, Points, Writer
from farwatch.store.memory import MemoryStore
from farwatch.store.meta import Meta
from farwatch.wire.ids import new_run_id, new_writer_id

SECONDS = 120
WARM = 40
NAMES = ["train/loss", "train/acc", "lr", "grad_norm"]


class Clock:
    """Moves when told."""

    now_us = 1_800_000_000_000_000

    def wall_us(self) -> int:
        return self.now_us

    def mono_us(self) -> int:
        return self.now_us

    def sleep(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)


def measure() -> Iterable[Row]:
    yield Row("rules on 1,000 live runs, a step a second", 100 * share(1_000, 1), "% of a core", 5.0)
    yield Row("  twenty steps a second", 100 * share(1_000, 20), "% of a core")


def share(count: int, points: int) -> float:
    """The share of a core that the rules take; `points`: steps of each run a second."""
    clock, settings, noise = Clock(), load({}), random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        meta = Meta(Path(folder) / "meta.db", clock)
        runs = Runs(meta, MemoryStore(), settings, clock)
        engine = Engine(runs, RuleBook(meta), Register(meta, clock), settings, clock)
        engine._main = lambda run_no: (NAMES[0], False)  # nothing is stored here, so nobody can say
        writers = []
        for number in range(count):
            run, writer = new_run_id(), new_writer_id()
            told = {
                "format": 1, "wire": 1, "writer": writer, "run": run, "resume": "allow", "project": "p", "rank": 0, "main": True, "nth": 1,
                "wall_us": clock.now_us, "started_ms": clock.now_us // 1000, "host": f"h{number}", "user": "ann", "argv": [],
                "boot_id": "b", "pid_ns": 1, "pid": number, "world_size": 1, "run_given": False, "tags": [], "python": "3.11",
            }  # fmt: skip
            runs.register(told, "ann")
            writers.append(Writer(writer, run))
        spent = 0.0
        for second in range(SECONDS):
            clock.sleep(1.0)
            steps = np.repeat(np.arange(second * points, (second + 1) * points, dtype=float), len(NAMES))
            index = np.tile(np.arange(len(NAMES), dtype=np.int32), points)
            times = np.full(len(steps), clock.now_us, np.int64)
            level = 0.3 + math.exp(-second / 30)
            for writer in writers:
                values = np.array([level * (1 + 0.05 * noise.gauss(0, 1)) for _ in range(len(steps))])
                engine.publish(second, writer, Decoded(NAMES, "ffff", index, Points(steps, times, values), []))
            began = time.thread_time()
            engine.turn()
            if second >= WARM:
                spent += time.thread_time() - began
        meta.close()
    return spent / (SECONDS - WARM)
