"""Ingest as a server does it: batches over one kept connection, until all of it is flushed."""

import time
from collections.abc import Iterable

import numpy as np

from bench.batches import Batches, noisy
from bench.bed import Bed, bed, cpu_s
from bench.table import Row

POINTS = 6_000_000


def measure() -> Iterable[Row]:
    for text, shape, total, goal in (
        ("4 metrics, 10,000 points a batch", (2500, 4), POINTS, 5e5),
        ("1,000 metrics, 10,000 points a batch", (10, 1000), POINTS, 5e5),
        ("4 metrics, 200 points a batch", (50, 4), POINTS // 20, None),
    ):
        with bed() as there:
            yield from _ingest(there, text, shape, total, goal)


def _ingest(there: Bed, text: str, shape: tuple[int, int], total: int, goal: float | None) -> Iterable[Row]:
    m, k = shape
    there.start()
    told = there.register("ingest")
    made = Batches(told["writer"], [f"train/m{i}" for i in range(k)], told["wall_us"])
    rng = np.random.default_rng(0)
    count = total // (m * k)
    at_us = told["wall_us"]
    bodies = []
    for i in range(count):
        times_us = at_us + 1000 * np.cumsum(rng.integers(8, 14, m))
        at_us = int(times_us[-1])
        bodies.append(made.packed(np.arange(i * m, (i + 1) * m), times_us, noisy(rng, m * k).reshape(m, k))[0])
    before, began = cpu_s(there.pid), time.perf_counter()
    for body in bodies:
        there.send(told["writer"], body)
    took = time.perf_counter() - began
    spent = there.stop() - before  # its end flushes
    n = m * k * count
    yield Row(f"ingest through HTTP, flushed, {text}", n / spent, "points a CPU s", goal, at_least=True)
    yield Row("  the same by the clock, acknowledged", n / took, "points/s")
    if m > 1000:
        sizes = {path.name: path.stat().st_size for path in there.state.rglob("*") if path.is_file()}
        log = sum(size for name, size in sizes.items() if name.startswith("log.db"))
        yield Row("  on disk, all that stays, a noisy point", (sum(sizes.values()) - log) / n, "bytes", 9.0)
        yield Row("  room that the log holds and uses again, in all", log / 1e6, "MB")
