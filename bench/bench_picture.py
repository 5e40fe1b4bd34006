"""What a chart for a chat costs, in a process that does nothing else: time, memory with all imports, bytes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable

from bench.bed import SOURCE
from bench.table import Row

DRAW = """
import json, sys, time
import numpy as np
from farwatch.bridges.picture import Line, Mark, chart_png

def most():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6

points, turns, lang, names = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
steps = np.arange(float(points))
lines = [Line(name, steps, np.empty(points)) for name in names]
for k, line in enumerate(lines):  # in parts, so that making them takes no more memory than they do
    for at in range(0, points, 10_000):
        part = steps[at : at + 10_000]
        line.values[at : at + 10_000] = np.exp(-5 * part / points) + 0.1 * k + 0.03 * np.sin(part * 12.9898)
mark = Mark(points / 2, "command", "lr 1e-3")
before, times, cpu = most(), [], []
for turn in range(turns):
    began, spent = time.perf_counter(), time.thread_time()
    png = chart_png(lines, title=names[0], subtitle="calm-heron", band=(0.0, 0.05, 0.2), marks=[mark], lang=lang)
    times.append((time.perf_counter() - began) * 1e3)
    cpu.append((time.thread_time() - spent) * 1e3)
print(json.dumps({"first": times[0], "median": sorted(times)[len(times) // 2], "cpu": sorted(cpu)[len(cpu) // 2],
                  "rss": most(), "grown": most() - before, "bytes": len(png) / 1e3}))
"""


def measure() -> Iterable[Row]:
    told = _draw(5_000, 25, "en", "train/loss", "val/loss")
    yield Row("a chart for a chat, 2 x 5,000 points at 1000 x 600, median", told["median"], "ms", 60)
    yield Row("  of a core", told["cpu"], "ms")
    yield Row("  the first one", told["first"], "ms")
    yield Row("  the most memory of its process, imports and all", told["rss"], "MB", 60)
    yield Row("  bytes of the PNG", told["bytes"], "kB", 60)
    told = _draw(5_000, 9, "zh", "训练/损失", "验证/损失")
    yield Row("  with Chinese names, where there is a font, memory", told["rss"], "MB")
    told = _draw(5_000_000, 5, "en", "train/loss", "val/loss")
    yield Row("a chart of 2 x 5,000,000 points, median", told["median"], "ms")
    yield Row("  memory beyond the points themselves", told["grown"], "MB", 40)


def _draw(points: int, turns: int, lang: str, *names: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", DRAW, str(points), str(turns), lang, json.dumps(names)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    answer: dict[str, float] = json.loads(done.stdout)
    return answer
