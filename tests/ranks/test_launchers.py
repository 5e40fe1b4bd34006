"""Row W18: a launch as people make it, with agent and server."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from farwatch.api import Run
from tests.faults.machine import Machine, free_port, until

TRAINING = """
import os, sys, time
import torch, torch.distributed as dist
import farwatch
dist.init_process_group("gloo")
rank = dist.get_rank()
run = farwatch.init("many", console=False, system=False)
lr = run.knob("lr", 1.0)
one = torch.ones(1)
for step in range(int(sys.argv[1])):
    dist.all_reduce(one)
    time.sleep(float(sys.argv[2]))
    run.log({"loss": 1.0, "rate": lr.value}, step=step)
run.finish()
dist.destroy_process_group()
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as made:
        yield made


def torchrun(machine: Machine, *args: object, **environ: str) -> object:
    script = machine.folder / "train.py"
    script.write_text(TRAINING)
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()), str(script), *map(str, args)]
    source = f"import os, sys; os.execv(sys.executable, [sys.executable, *{words!r}])"
    return machine.train(source, OMP_NUM_THREADS="1", **environ)


def processes(script: Path) -> list[int]:
    """Who runs a script."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(script).encode() in words and b"torch.distributed.run" not in words:
                found.append(int(name))
    return found


def test_stop_from_afar_ends_both_processes_of_a_launch(machine: Machine) -> None:
    """W18: none is left after 10 s; and a knob that was set before changed on both at one step."""
    machine.start_server()
    launcher = torchrun(machine, 100_000, 0.01)

    with machine.api() as api:

        def found() -> Run | None:
            runs = [run for run in api.runs("many") if run.state == "running" and (run.detail["step"] or 0) > 5]
            return runs[0] if runs else None

        run = until(found, 40, (machine.folder / "train0.log").read_text())
        assert len(processes(machine.folder / "train.py")) == 2
        changed = run.set("lr", 0.5).wait(15)
        assert (changed.state, changed.step is not None) == ("applied", True), changed.reason
        stopped = run.stop().wait(15)
        assert stopped.state == "applied", stopped.reason
        until(lambda: not processes(machine.folder / "train.py"), 10)
        assert launcher.wait(20) == 0  # type: ignore[attr-defined]
        until(lambda: api.run(run.id).state == "stopped", 20)

        def first_at(rank: int) -> list[float]:
            rates = api.run(run.id).series("rate", rank=rank)
            return [step for step, rate in zip(rates.steps, rates.values, strict=True) if rate == 0.5][:1]

        until(lambda: first_at(0) and first_at(1), 20)
        assert first_at(0) == first_at(1) == [changed.step + 1]
