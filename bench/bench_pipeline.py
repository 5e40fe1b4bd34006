"""From the last call of `log` to the store: how long it takes, and what a step costs all processes together."""

import json
import subprocess
from collections.abc import Iterable
from statistics import median
from typing import Any

from bench.bed import bed, cpu_s, when_quiet
from bench.table import Row

STEPS = 100_000

TRAINER = """
import json, os, sys, time
import farwatch
run = farwatch.init("delivery", id=sys.argv[1])
run.log({"train/loss": 0.5, "train/acc": 0.25, "grad/norm": 2.5, "lr": 1e-3})
assert run.wait(60)
told = sys.__stdout__
print(json.dumps({"ready": True}), file=told, flush=True)
sys.stdin.readline()
import random
random.seed(1)
gauss = random.gauss
rows = [
    {"train/loss": gauss(0.5, 0.1), "train/acc": random.random(), "grad/norm": gauss(2, 1), "lr": 1e-3 * i} for i in range(1000)
]
steps, used, began = int(sys.argv[2]), time.process_time(), time.perf_counter()
for i in range(steps):
    run.log(rows[i % 1000])
logged = time.perf_counter()
used = time.process_time() - used
assert run.wait(120)
print(json.dumps({"s": time.perf_counter() - logged, "loop_s": logged - began, "cpu_s": used}), file=told, flush=True)
sys.stdin.readline()
"""


def measure() -> Iterable[Row]:
    delays, loops, costs, parts = [], [], [], []
    with bed() as there:
        there.start(flush_s=2)
        for turn in range(5):
            trainer = there.train(TRAINER, f"delivery-{turn}", STEPS)
            _answer(trainer)
            agent = there.agent()
            when_quiet(agent, there.pid)
            before = cpu_s(agent), cpu_s(there.pid)
            _go(trainer)
            found = _answer(trainer)
            when_quiet(agent, there.pid)  # the flush as well
            spent = found["cpu_s"], cpu_s(agent) - before[0], cpu_s(there.pid) - before[1]
            trainer.communicate("\n")
            with there.api() as api:
                assert len(api.run(f"delivery-{turn}").series("lr").values) == STEPS + 1
            delays.append(found["s"])
            loops.append(found["loop_s"])
            costs.append(sum(spent))
            parts.append(spent)
    yield Row("100,000 steps of 4 scalars in the store after the last call", median(delays), "s", 2)
    yield Row("  the calls themselves took", median(loops), "s")
    yield Row("CPU of a step of 4 scalars, all processes, flushed", median(costs) / STEPS * 1e6, "CPU µs", 6)
    for place, name in enumerate(("trainer", "agent", "server")):
        yield Row(f"  {name}", median(part[place] for part in parts) / STEPS * 1e6, "CPU µs")


def _answer(trainer: "subprocess.Popen[str]") -> dict[str, Any]:
    assert trainer.stdout is not None
    line = trainer.stdout.readline()
    if not line:
        raise RuntimeError("the trainer ended")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _go(trainer: "subprocess.Popen[str]") -> None:
    assert trainer.stdin is not None
    trainer.stdin.write("\n")
    trainer.stdin.flush()
