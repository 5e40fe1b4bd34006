"""Answers of a full server, through HTTP on loopback: charts, lists, finding, and points into NumPy."""

import json
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from bench.batches import noisy
from bench.bed import BROWSER, Bed, bed
from bench.table import Row
from farwatch.wire.columns import CONTENT_TYPE

LONG = 10_000_000
MANY_RUNS = 10_000
NAMES = 100_000


def measure() -> Iterable[Row]:
    for part in (_long, _hundred, _many_runs, _wide):
        with bed() as there:
            there.start(durability="os")  # it is reading that is measured
            yield from part(there)


def _asked(there: Bed, what: str, path: str, body: object = None, *, ms: float | None, kb: float | None = None) -> Iterator[Row]:
    """One request as a browser makes it: how long, the server's part, how large."""
    method = "GET" if body is None else "POST"
    accept = CONTENT_TYPE if "charts" in path or "columns=" in path else "application/json"
    found = there.measure(method, path, body, encoding=BROWSER, accept=accept)
    plain = there.measure(method, path, body, accept=accept, count=1)
    yield Row(what, found.wall_ms, "ms", ms)
    yield Row("  CPU of the server", found.cpu_ms, "CPU ms")
    yield Row("  sent to a browser", found.size / 1e3, "kB", kb)
    yield Row("  uncompressed", plain.size / 1e3, "kB")


def _one(rng: np.random.Generator, points: int, part: int = 10_000) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first in range(0, points, part):
        steps = np.arange(first, min(points, first + part))
        yield steps, noisy(rng, len(steps))[:, None]


def _long(there: Bed) -> Iterator[Row]:
    rng = np.random.default_rng(3)
    run = there.fill("long", ["loss"], list(_one(rng, LONG)))
    short = there.fill("long", ["loss"], list(_one(rng, 1_000_000)))
    there.stop()
    there.start()
    for text, more in (("", {}), (", 20 % of it", {"lo": 0.37 * LONG, "hi": 0.57 * LONG}), (", by time", {"x": "time"})):
        body = {"lines": [{"run": run, "name": "loss"}], "buckets": 1000, **more}
        yield from _asked(there, f"chart of {LONG:,} points{text}", "/charts", body, ms=20)
    with there.api() as api:
        found = api.run(short)
        assert len(found.series("loss").values) == 1_000_000
        wall, cpu = [], []
        for _ in range(7):
            began, used = time.perf_counter(), time.process_time()
            assert found.series("loss").values.sum()
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
    yield from _floor(there)
    yield Row("1,000,000 points into NumPy through Api", statistics.median(cpu), "CPU s", 0.1)
    yield Row("  by the clock, the server's part included", statistics.median(wall), "s")


def _floor(there: Bed) -> Iterator[Row]:
    path = there.folder / "floor.npy"
    np.save(path, np.zeros((3, 1_000_000)))
    spent = []
    for _ in range(7):
        used = time.process_time()
        assert np.load(path).shape == (3, 1_000_000)
        spent.append(time.process_time() - used)
    yield Row("floor: np.load of 1,000,000 steps, times and values", statistics.median(spent), "CPU s")


def _hundred(there: Bed) -> Iterator[Row]:
    """100 runs with 300 metrics, of which one has 2,000 points."""
    rng = np.random.default_rng(4)
    names = ["loss", *(f"layer{i}/grad_norm" for i in range(299))]
    runs = []
    for _ in range(100):
        sizes, signs = rng.lognormal(-2, 1, (20, 300)), rng.choice((-1, 1), (20, 300))
        told = there.fill("hundred", names, [(np.arange(20), sizes * signs)])
        runs.append(told)
    curves = [there.fill("curves", ["loss"], [(np.arange(2000), noisy(rng, 2000)[:, None])]) for _ in range(100)]
    body = {"lines": [{"run": run, "name": "loss"} for run in curves], "buckets": 250}
    yield from _asked(there, "chart of 100 runs x 2,000 points", "/charts", body, ms=100, kb=200)
    yield from _asked(there, "list of 100 runs with 300 metrics", "/runs?project=hundred&limit=100", ms=50, kb=100)
    query = "/runs?project=hundred&limit=100&columns=summary.*"
    yield from _asked(there, "  the same with all 300 as columns", query, ms=50, kb=100)


def _many_runs(there: Bed) -> Iterator[Row]:
    rng = np.random.default_rng(5)
    began = time.perf_counter()
    for _ in range(MANY_RUNS):
        there.fill("many", ["loss", "val/acc"], [(np.arange(2), rng.normal(size=(2, 2)))])
    yield Row("10,000 runs made, one after another, each", (time.perf_counter() - began) / MANY_RUNS * 1e3, "ms")
    for text, query in (
        ("sorted by a metric", "sort=-summary.val/acc"),
        ("sorted by a metric's best value", "sort=summary.loss.min&columns=summary.loss.min"),
        ("filtered by a metric", "where=summary.loss%20%3E%201"),
        ("newest first", "sort=-created"),
    ):
        began = time.perf_counter()
        first = json.loads(there.ask("GET", f"/runs?project=many&limit=100&{query}")[1])
        cold = time.perf_counter() - began
        assert text.startswith("filtered") or first["total"] == MANY_RUNS
        yield from _asked(there, f"10,000 runs, {text}, 100 shown", f"/runs?project=many&limit=100&{query}", ms=50)
        yield Row("  asked for the first time", cold * 1e3, "ms")


def _wide(there: Bed) -> Iterator[Row]:
    """One run of 100,000 metrics: what its page asks for, and finding one by a regular expression."""
    rng = np.random.default_rng(6)
    names = [f"layer{i // 100}/block{i % 100 // 10}/w{i % 10}" for i in range(NAMES)]
    told = there.fill("wide", names, [(np.arange(i, i + 1), rng.normal(size=(1, NAMES))) for i in range(3)])
    page: Sequence[tuple[str, str, object]] = (
        ("the run", f"/runs/{told}", None),
        ("names and groups", f"/runs/{told}/metrics?limit=1000", None),
        ("a page of charts", "/charts", {"lines": [{"run": told, "name": name} for name in names[:12]]}),
    )
    total = 0.0
    for what, path, body in page:
        found = there.measure("GET" if body is None else "POST", path, body, encoding=BROWSER, count=7)
        total += found.wall_ms
        yield Row(f"a run of 100,000 metrics: {what}", found.wall_ms, "ms")
        yield Row("  sent to a browser", found.size / 1e3, "kB")
    yield Row("a run of 100,000 metrics: its page's data in all", total, "ms", 1000)
    for pattern in ("block3/w7$", "layer99[0-9]/.*w5", "nothing-of-this-name"):
        path = f"/runs/{told}/metrics?limit=100&match={pattern.replace('[', '%5B').replace(']', '%5D')}"
        found = there.measure("GET", path, encoding=BROWSER, count=7)
        yield Row(f"regex among 100,000 names: {pattern}", found.wall_ms, "ms", 100)
    batch = there.measure("GET", f"/runs/{told}/metrics?limit=12", encoding=BROWSER, count=7)
    yield Row("  12 of 100,000 names, listed", batch.wall_ms, "ms")
