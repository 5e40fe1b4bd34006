"""What Farwatch takes besides time: memory and idle CPU of the trainer, the agent and the server; bytes of the journal."""

import json
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator

from bench.bed import Bed, bed, cpu_s, rss_mb, when_quiet
from bench.table import Row
from farwatch.wire.records import Kind
from farwatch.wire.segment import SUFFIX, WORD, padded, read_journal

IDLE_S = 20.0
STEPS = 100_000

TRAINER = """
import json, os, sys, time
kind, steps = sys.argv[1], int(sys.argv[2])
if kind == "with":
    import farwatch
    run = farwatch.init("memory", id=sys.argv[3])
    log = run.log
else:
    def log(row):
        pass
values = {"train/loss": 0.5, "train/acc": 0.25, "grad/norm": 2.5, "lr": 1e-3}
for i in range(steps):
    log({name: value * i for name, value in values.items()})
def of(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field)) * 1024 / 1e6
if kind == "with":
    assert run.wait(60)
print(json.dumps({"all": of("VmRSS"), "own": of("RssAnon"), "file": of("RssFile") + of("RssShmem")}), file=sys.__stdout__, flush=True)
sys.stdin.readline()
"""


def measure() -> Iterable[Row]:
    with bed() as there:
        there.start()
        time.sleep(1)
        yield Row("server's memory, just started", rss_mb(there.pid), "MB", 150)
        yield from _memory(there)
        yield from _idle(there)
        yield from _journal(there)


def _memory(there: Bed) -> Iterator[Row]:
    found: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    for turn in range(3):
        for kind, rows in found.items():
            trainer = there.train(TRAINER, kind, STEPS, f"memory-{turn}")
            rows.append(_answer(trainer))
            if turn < 2 or kind == "without":
                trainer.communicate("\n")

    def median(kind: str, field: str) -> float:
        return statistics.median(row[field] for row in found[kind])

    yield Row("trainer's memory that Farwatch adds, 100,000 steps", median("with", "own") - median("without", "own"), "MB", 10)
    shared = median("with", "file") - median("without", "file")
    yield Row("  pages of files: modules, and the journal's segment in use", shared, "MB")


def _answer(trainer: "subprocess.Popen[str]") -> dict[str, float]:
    assert trainer.stdout is not None
    line = trainer.stdout.readline()
    if not line:
        raise RuntimeError("the trainer ended")
    answer: dict[str, float] = json.loads(line)
    return answer


def _idle(there: Bed) -> Iterator[Row]:
    """The last trainer is alive and logs nothing; the agent still samples the machine."""
    agent = there.agent()
    when_quiet(agent, there.pid)
    before = cpu_s(agent), cpu_s(there.pid)
    began = time.monotonic()
    time.sleep(IDLE_S)
    took = time.monotonic() - began
    yield Row("agent's memory, one silent run", rss_mb(agent), "MB", 60)
    yield Row("  the most that it had", rss_mb(agent, "VmHWM"), "MB", 60)
    yield Row("agent's CPU, one silent run, probes included", (cpu_s(agent) - before[0]) / took * 100, "% of a core")
    yield Row("server's memory, after 4 runs, idle", rss_mb(there.pid), "MB", 150)
    yield Row("server's CPU, one silent run", (cpu_s(there.pid) - before[1]) / took * 100, "% of a core")


def _journal(there: Bed) -> Iterator[Row]:
    for folder in sorted((there.state / "journals").iterdir()):
        told = json.loads((folder / "writer.json").read_text())
        if told.get("run") == "memory-0" and told.get("role") != "system":
            steps = [record.payload for record in read_journal(folder) if record.kind == Kind.STEP]
            assert len(steps) == STEPS
            size = sum(WORD.size + padded(len(payload)) for payload in steps)
            whole = sum(path.stat().st_size for path in folder.glob(f"*{SUFFIX}"))
            yield Row("journal, a step of 4 metrics", size / (4 * STEPS), "bytes a value", 16)
            yield Row("  with what stands around the steps", whole / (4 * STEPS), "bytes a value")
            return
    raise RuntimeError("no journal of memory-0")
