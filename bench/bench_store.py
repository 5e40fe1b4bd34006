"""What the store costs: ingest, bytes on disk, charts, reading.

CPU seconds count the whole process, the flusher and compression included; on a busy machine they are the figure to plan
with. Ingest covers everything behind HTTP: unpack, decode, log with fsync, memtable, chunks and pyramid.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from bench.batches import Batches, noisy, times
from bench.table import Row
from farwatch.settings import load
from farwatch.store.base import Ack, Incoming, SeriesKey, Writer
from farwatch.store.decode import decode_batch, unpack
from farwatch.store.sqlite import SqliteStore, open_store
from farwatch.testing.journal import WALL_US
from farwatch.wire.batch import Batch

LONG = 10_000_000


class Sender(Batches):
    """Packed batches, and what ingest makes of them before the store sees them."""

    def __init__(self, store: SqliteStore, run: str, names: list[str], number: int) -> None:
        super().__init__(f"{number:032x}", names)
        self.store = store
        self.writer = Writer(self.writer_id, run, 0, 1, WALL_US)
        store.register(self.writer)

    def incoming(self, packed: bytes) -> Incoming:
        batch = Batch.decode(unpack(packed, "zstd", 1 << 30))
        found = self.store.writer(self.writer.writer_id)
        assert found is not None
        decoded = decode_batch(batch, self.writer, found[2])
        return Incoming(
            batch.writer_id,
            batch.first,
            batch.count,
            batch.crc_before,
            batch.crc_after,
            packed,
            "zstd",
            decoded,
        )


@contextmanager
def fresh_store(folder: Path) -> Iterator[SqliteStore]:
    """An empty store, whose data is dropped afterwards."""
    place = Path(tempfile.mkdtemp(dir=folder))
    with open_store(place, load({})) as store:
        yield store
    shutil.rmtree(place)


def cpu_ms(call: Callable[[], object], times_: int = 7) -> float:
    """Median CPU milliseconds."""
    found = []
    for _ in range(times_):
        started = time.process_time()
        call()
        found.append(time.process_time() - started)
    return statistics.median(found) * 1e3


def ingest(
    store: SqliteStore, shape: tuple[int, int], batches: int, group: int
) -> tuple[float, float, float]:
    """Send `batches` of (m, k) points, `group` to a commit. Points per CPU second, per second, and ms per commit."""
    m, k = shape
    rng = np.random.default_rng(0)
    names = [f"metric/{i}" for i in range(k)]
    senders = [Sender(store, f"run{i}", names, i + 1) for i in range(group)]
    bodies = []
    for i in range(batches):
        at = times(rng, m) + i * m * 10_000
        bodies.append(
            [s.packed(np.arange(i * m, (i + 1) * m), at, noisy(rng, m * k).reshape(m, k))[0] for s in senders]
        )
    waits = []
    cpu, wall = time.process_time(), time.perf_counter()
    for body in bodies:
        batch = [sender.incoming(packed) for sender, packed in zip(senders, body, strict=True)]
        started = time.perf_counter()
        answers = store.append(batch)
        waits.append(time.perf_counter() - started)
        assert all(isinstance(answer, Ack) for answer in answers), answers
    store.flush()
    n = m * k * batches * group
    return n / (time.process_time() - cpu), n / (time.perf_counter() - wall), statistics.median(waits) * 1e3


def measure_ingest(folder: Path) -> Iterator[Row]:
    for text, shape, batches, group in (
        ("4 metrics, 100 points a commit", (25, 4), 3000, 1),
        ("4 metrics, 10,000 points a commit", (2500, 4), 300, 1),
        ("4 metrics, 16 batches of 100 a commit", (25, 4), 1000, 16),
        ("1 step of 10,000 metrics a commit", (1, 10_000), 300, 1),
    ):
        with fresh_store(folder) as store:
            per_cpu, per_s, wait = ingest(store, shape, batches, group)
        goal = 1e6 if shape != (25, 4) else None
        yield Row(f"store ingest, {text}", per_cpu, "points a CPU s", goal, at_least=True)
        yield Row("  the same by the clock", per_s, "points/s")
        yield Row("  one commit", wait, "ms")


def fill(store: SqliteStore, run: str, values: np.ndarray, number: int) -> SeriesKey:
    rng = np.random.default_rng(1)
    sender = Sender(store, run, ["loss"], number)
    at, n = times(rng, len(values)), len(values)
    for i in range(0, n, 10_000):
        part = slice(i, min(n, i + 10_000))
        packed, _ = sender.packed(np.arange(part.start, part.stop), at[part], values[part, None])
        store.append([sender.incoming(packed)])
    store.flush()
    return SeriesKey(run, "loss")


def measure_bytes(folder: Path) -> Iterator[Row]:
    rng = np.random.default_rng(2)
    n = 2_000_000
    for text, values, goal in (
        ("noisy float64", noisy(rng, n), 9.0),
        ("normal float64", rng.normal(size=n), 9.0),
        ("born as float32", rng.normal(size=n).astype(np.float32).astype(np.float64), 6.0),
        ("4 decimals", np.round(noisy(rng, n), 4), None),
    ):
        with fresh_store(folder) as store:
            fill(store, "run", values, 1)
            size = os.path.getsize(store.folder / "series.db") / n
        yield Row(f"store size, {text}", size, "bytes a point", goal)


def measure_long(folder: Path, n: int) -> Iterator[Row]:
    with fresh_store(folder) as store:
        key = fill(store, "run", noisy(np.random.default_rng(3), n), 1)
        for text, lo, hi in (
            ("all", None, None),
            ("20 %", 0.37 * n, 0.57 * n),
            ("1 %", 0.37 * n, 0.38 * n),
            ("last 1,000", n - 1000, None),
        ):
            for buckets in (250, 1000):
                spent = cpu_ms(partial(store.chart, [key], lo=lo, hi=hi, buckets=buckets))
                yield Row(f"store chart of {n:,} points, {text}, {buckets} buckets", spent, "CPU ms", 20.0)
        spent = cpu_ms(partial(store.points, key, lo=0, hi=999_999), 3)
        yield Row("store, 1,000,000 points read", spent, "CPU ms", 100.0)


def measure_many(folder: Path) -> Iterator[Row]:
    with fresh_store(folder) as store:
        rng = np.random.default_rng(4)
        names = ["loss", *(f"m{i}" for i in range(9))]
        for i in range(100):
            sender = Sender(store, f"run{i}", names, i + 1)
            packed, _ = sender.packed(np.arange(2000), times(rng, 2000), rng.normal(size=(2000, 10)))
            store.append([sender.incoming(packed)])
        chart = partial(store.chart, [SeriesKey(f"run{i}", "loss") for i in range(100)], buckets=250)
        yield Row("store chart of 100 runs x 2,000 points, in memory, first", cpu_ms(chart, 1), "CPU ms")
        yield Row("store chart of 100 runs x 2,000 points, in memory", cpu_ms(chart), "CPU ms", 100.0)
        store.flush()
        yield Row("  the same from disk, first", cpu_ms(chart, 1), "CPU ms")
        yield Row("  the same from disk, again", cpu_ms(chart), "CPU ms", 100.0)


def measure_wide(folder: Path) -> Iterator[Row]:
    with fresh_store(folder) as store:
        rng = np.random.default_rng(5)
        names = [f"layer{i // 100}/w{i % 100}" for i in range(100_000)]
        sender = Sender(store, "run", names, 1)
        bodies = [
            sender.packed(np.array([i]), times(rng, 1), rng.normal(size=(1, 100_000)))[0] for i in range(30)
        ]
        started = time.process_time()
        for body in bodies:
            store.append([sender.incoming(body)])
        store.flush()
        rate = 3e6 / (time.process_time() - started)
        yield Row("store ingest, 30 steps of 100,000 metrics", rate, "points a CPU s", 1e6, at_least=True)
        keys = [SeriesKey("run", name) for name in names[:: len(names) // 50]]
        yield Row(
            "store chart of 50 of 100,000 series, first", cpu_ms(partial(store.chart, keys), 1), "CPU ms"
        )
        yield Row("store, 100,000 series described", cpu_ms(partial(store.series, "run"), 3), "CPU ms")


def measure() -> Iterable[Row]:
    """All of it; `BENCH_DIR` says where the data goes, and should be a real disk."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        yield from measure_ingest(folder)
        yield from measure_bytes(folder)
        yield from measure_long(folder, LONG)
        yield from measure_many(folder)
        yield from measure_wide(folder)
