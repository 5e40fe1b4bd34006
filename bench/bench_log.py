"""What a call of `log` costs the training thread, beside a floor that tracks nothing: a JSON line with flush."""

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.table import Row

CALLS = 100_000
_now = time.perf_counter_ns


def measure() -> Iterable[Row]:
    """Every condition in the same process, one run each, so that the ratios hold."""
    os.environ["FARWATCH_AGENT"] = "0"
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        rows = list(_floor(Path(folder)))
        rows += _calls(Path(folder))
        rows += _wide(Path(folder))
        rows += _foreign(Path(folder))
        rows += _device(Path(folder))
        rows += _step(Path(folder))
    rows += _start()
    return rows


def _time(call: Callable[[int], Any], count: int) -> tuple[float, float]:
    """Median and 99th percentile of `call`, µs, what it costs to look at the clock taken off."""
    spent = [0] * count
    gc.collect()
    for i in range(count):
        begin = _now()
        call(i)
        spent[i] = _now() - begin
    clock = statistics.median(-(_now() - _now()) for _ in range(1000))
    spent.sort()
    return (spent[count // 2] - clock) / 1000, (spent[count * 99 // 100] - clock) / 1000


def _time_log(log: Callable[..., None], data: list[dict[str, float]]) -> tuple[float, float]:
    """The same for `log(row, step=i)` alone, without a call around it."""
    spent = [0] * len(data)
    gc.collect()
    for i, row in enumerate(data):
        begin = _now()
        log(row, step=i)
        spent[i] = _now() - begin
    clock = statistics.median(-(_now() - _now()) for _ in range(1000))
    spent.sort()
    return (spent[len(data) // 2] - clock) / 1000, (spent[len(data) * 99 // 100] - clock) / 1000


def _row(i: int) -> dict[str, float]:
    return {"train/loss": i * 0.1, "train/acc": 1.0, "grad/norm": 2.5, "lr": 1e-3}


def _floor(folder: Path) -> Iterable[Row]:
    with open(folder / "floor.jsonl", "w", encoding="utf-8") as file:

        def write(i: int) -> None:
            file.write(json.dumps({"step": i, "time": time.time(), **_row(i)}) + "\n")
            file.flush()

        p50, p99 = _time(write, 20_000)
    yield Row("floor: a JSON line with flush, 4 floats, p50", p50, "µs")
    yield Row("floor: a JSON line with flush, 4 floats, p99", p99, "µs")


def _calls(folder: Path) -> Iterable[Row]:
    import farwatch

    def both(name: str, run: Any) -> Iterable[Row]:
        # The dictionary is made outside: it is the program's, not ours.
        data = [_row(i) for i in range(CALLS)]
        p50, p99 = _time_log(run.log, data)
        yield Row(f"log() of 4 floats{name}, p50", p50, "µs", 2)
        yield Row(f"log() of 4 floats{name}, p99", p99, "µs", 10)

    run = farwatch.init("bench", dir=folder, console=False)
    run.log(_row(0))
    yield from both("", run)
    yield from _busy(both, run)
    run.finish()
    dead = farwatch.init("bench", dir=folder, console=False, server="http://127.0.0.1:9")
    yield from both(", dead server and agent", dead)
    dead.finish()
    os.environ["FARWATCH_JOURNAL_MAX_BYTES"] = str(256 << 10)
    full = farwatch.init("bench", dir=folder, console=False)
    del os.environ["FARWATCH_JOURNAL_MAX_BYTES"]
    for i in range(10_000):
        full.log(_row(i))
    yield from both(", disk full", full)
    full.finish()


def _busy(both: Callable[[str, Any], Iterable[Row]], run: Any) -> Iterable[Row]:
    """A pure Python thread that never lets go of the GIL by itself; the switch interval is not charged to calls that
    did not ask for it, so the p99 is the figure to look at."""
    stop = False

    def spin() -> None:
        x = 0
        while not stop:
            x += 1

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield from both(", beside a busy thread", run)
    finally:
        stop = True
        thread.join()


def _wide(folder: Path) -> Iterable[Row]:
    import farwatch

    run = farwatch.init("bench", dir=folder, console=False)
    for width, goal in ((1000, 60.0), (10_000, 1000.0)):
        names = [sys.intern(f"layer{i}/weight") for i in range(width)]
        data = [dict.fromkeys(names, i * 0.1) for i in range(20)]
        run.log(data[0])
        p50, _ = _time(lambda i, data=data: run.log(data[i % 20], step=i), 300)
        yield Row(f"log() of {width:,} floats, p50", p50, "µs", goal)
    run.finish()


def _foreign(folder: Path) -> Iterable[Row]:
    import numpy as np

    import farwatch

    run = farwatch.init("bench", dir=folder, console=False)
    arrays = {name: np.float32(0.5) for name in _row(0)}
    run.log(arrays)
    p50, _ = _time(lambda i: run.log(arrays, step=i), 20_000)
    yield Row("log() of 4 NumPy scalars, p50", p50, "µs")
    try:
        import torch
    except ImportError:
        return
    tensors = {name: torch.tensor(0.5) for name in _row(0)}
    run.log(tensors)
    p50, _ = _time(lambda i: run.log(tensors, step=i), 20_000)
    yield Row("log() of 4 CPU tensors, p50", p50, "µs")
    run.finish()


def _device(folder: Path) -> Iterable[Row]:
    """Values that a GPU still computes; nothing where there is none. A step here is 200 small products, queued ahead of the GPU."""
    try:
        import torch
    except ImportError:
        return
    if not torch.cuda.is_available():
        return
    import farwatch

    run = farwatch.init("bench", dir=folder, console=False)
    left = torch.randn(512, 512, device="cuda")

    def step() -> dict[str, Any]:
        found = left
        for _ in range(200):
            found = (left @ found).clamp_(-1, 1)
        return {name: found.mean() + k for k, name in enumerate(_row(0))}

    def steps(log: Callable[[dict[str, Any]], Any]) -> float:
        torch.cuda.synchronize()
        begin = _now()
        for _ in range(100):
            log(step())
        torch.cuda.synchronize()
        return (_now() - begin) / 1e6 / 100

    spent, drained = [], 0
    for i in range(300):
        values = step()
        queued = torch.cuda.Event()
        queued.record()
        busy = not queued.query()
        begin = _now()
        run.log(values, step=i)
        spent.append((_now() - begin) / 1000)
        drained += busy and queued.query()
    yield Row(f"log() of 4 scalars on a {torch.cuda.get_device_name()}, p50", statistics.median(spent[50:]), "µs", 20)
    yield Row("  calls that found the device's queue full and left it empty, of 300", drained, "calls", 0)
    turns = [(steps(lambda _: None), steps(run.log), steps(lambda row: [value.item() for value in row.values()])) for _ in range(7)]
    bare, logged, read = (min(turn[place] for turn in turns) for place in range(3))
    yield Row("  a step that logs them, against one that does not", logged / bare, "×", 1.01)
    yield Row("  a step that reads them with .item()", read / bare, "×")
    run.finish()


def _step(folder: Path) -> Iterable[Row]:
    """A step of 1 ms of arithmetic with and without `log`, in turns; the ratio of the medians."""
    import farwatch

    run = farwatch.init("bench", dir=folder, console=False)

    def work() -> None:
        end = _now() + 1_000_000
        while _now() < end:
            pass

    with_, without = [], []
    for i in range(3000):
        begin = _now()
        work()
        if i % 2:
            run.log(_row(i))
            with_.append(_now() - begin)
        else:
            _row(i)
            without.append(_now() - begin)
    run.finish()
    ratio = statistics.median(with_) / statistics.median(without)
    yield Row("a 1 ms step that logs 4 scalars, against one that does not", ratio, "×", 1.01)


def _start() -> Iterable[Row]:
    source = str(Path(__file__).parents[1] / "src")

    def run(script: str) -> float:
        environ = {**os.environ, "PYTHONPATH": source, "FARWATCH_AGENT": "0"}
        times = []
        for _ in range(11):
            begin = _now()
            subprocess.run([sys.executable, "-c", script], check=True, env=environ)
            times.append((_now() - begin) / 1e6)
        return statistics.median(times)

    bare = run("pass")
    yield Row("import farwatch, over a bare interpreter", run("import farwatch") - bare, "ms", 60)
    with tempfile.TemporaryDirectory() as folder:
        script = (
            "import time, farwatch\nbegin = time.perf_counter()\n"
            f"run = farwatch.init('bench', dir={folder!r})\nrun.log({{'a': 1.0}})\n"
            "print((time.perf_counter() - begin) * 1000)\nimport os; os._exit(0)"
        )
        environ = {**os.environ, "PYTHONPATH": source}
        command = [sys.executable, "-c", script]
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        took = [float(subprocess.run(command, check=True, env=environ, **quiet).stdout) for _ in range(7)]
    yield Row("init() to the end of the first log()", statistics.median(took), "ms", 30)
