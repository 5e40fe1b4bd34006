"""What it costs a rank that all ranks can be steered: its looks at the others, and its bell in `log`."""

import gc
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from bench.table import Row

STEP_S = 0.02
STEPS = 400
WARM = 20
CALLS = 4_000
ROUNDS = 20


def measure() -> Iterable[Row]:
    """Two and four ranks on this machine; each also logs into a run of its own, which is what it is compared with."""
    for count in (2, 4):
        told = _launch(count)
        share = statistics.mean(one["share"] for one in told)
        yield Row(f"{count} ranks: looking at each other, share of a 20 ms step", 100 * share, "%", 0.5)
        ratio = statistics.median(one["ratio"] for one in told)
        yield Row(f"{count} ranks: log() with them over log() alone", ratio, "×", 1.1)


def _launch(count: int) -> list[dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        listening.close()
        environ = os.environ | {
            "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            "FARWATCH_DIR": folder, "FARWATCH_AGENT": "0", "FARWATCH_MODE": "offline", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.bench_ranks"], env=environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True,
            )
            for rank in range(count)
        ]  # fmt: skip
        return [json.loads(rank.communicate(timeout=300)[0].splitlines()[-1]) for rank in ranks]


def _be_rank() -> dict[str, float]:
    import torch
    import torch.distributed as dist

    import farwatch

    dist.init_process_group("gloo")
    one = torch.ones(1)
    run = farwatch.init("bench", console=False, system=False)
    bare = farwatch.init("bench", console=False, system=False, ranks=False, reinit="create_new")
    row = {"train/loss": 0.1, "train/acc": 1.0, "grad/norm": 2.5, "lr": 1e-3}
    spent = {True: 0, False: 0}
    began = 0
    for step in range(WARM + STEPS):
        dist.all_reduce(one)
        time.sleep(STEP_S)
        if step == WARM:  # they have met
            spent, began = {True: 0, False: 0}, time.perf_counter_ns()
        for ranked in (True, False) if step % 2 else (False, True):
            log = run.log if ranked else bare.log
            before = time.perf_counter_ns()
            log(row, step=step)
            spent[ranked] += time.perf_counter_ns() - before
    whole = time.perf_counter_ns() - began
    ratios = []
    gc.collect()
    gc.disable()
    step = WARM + STEPS
    for _ in range(ROUNDS):
        took = {}
        for ranked in (True, False):
            log = run.log if ranked else bare.log
            before = time.process_time_ns()
            for at in range(step, step + CALLS):
                log(row, step=at)
            took[ranked] = time.process_time_ns() - before
        step += CALLS
        ratios.append(took[True] / took[False])
        dist.all_reduce(one)
    bare.finish()
    run.finish()
    dist.barrier()
    dist.destroy_process_group()
    return {"share": (spent[True] - spent[False]) / whole, "ratio": statistics.median(ratios)}


if __name__ == "__main__":
    print(json.dumps(_be_rank()))
