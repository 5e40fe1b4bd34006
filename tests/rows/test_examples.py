"""Rows I2, X2: the examples as people start them, against a real server."""

import shutil
import subprocess
import sys
from pathlib import Path

import torch

from farwatch.api import Run
from tests.faults.machine import Machine, free_port, until
from tests.rows.program import ended, points

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT_S = 150


def example(machine: Machine, name: str, *words: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a copy of an example, as one that a user has downloaded into a folder."""
    shutil.copy(EXAMPLES / name, machine.folder / name)
    done = subprocess.run(
        [sys.executable, *launcher, name, *words],
        env=machine.environ | {"OMP_NUM_THREADS": "1"},
        cwd=machine.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    return done


def only_run(machine: Machine, project: str) -> Run:
    with machine.api() as api:
        (run,) = api.runs(project)
        return ended(api, run.id, limit_s=60)


def id_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("farwatch:")]


def test_plain_pytorch_example_logs_and_leaves_a_loadable_checkpoint(machine: Machine, tmp_path: Path) -> None:
    """I2: points of every batch and epoch, one ID line, and a checkpoint that a model takes."""
    machine.start_server()

    done = example(machine, "pytorch_plain.py", "--epochs", "2", "--batch-size", "128")

    run = only_run(machine, "digits-torch")
    with machine.api() as api:
        assert [line.endswith(f"→ {machine.address}/r/{run.detail['short']}") for line in id_lines(done)] == [True]
        run = api.run(run.id)
        steps, _, losses = points(run, "train/loss")
        assert steps == [float(step) for step in range(22)]
        assert losses[-1] < losses[0]
        assert [len(points(run, name)[0]) for name in ("train/grad_norm", "lr", "epoch")] == [22, 22, 24]
        assert points(run, "val/accuracy")[0] == [11.0, 22.0]
        assert (run.config["epochs"], run.config["batch_size"], run.detail["total_steps"]) == (2, 128, 22)
        assert [line.text.split(":")[0] for line in run.console() if line.text.startswith("epoch")] == ["epoch 0", "epoch 1"]
        until(lambda: [file for file in api.run(run.id).files() if file.path == "digits.pt" and file.sha256], 30)
        state = torch.load(api.run(run.id).download("digits.pt", tmp_path / "got.pt"), weights_only=True)
    expected = torch.load(machine.folder / "digits.pt", weights_only=True)
    assert state["epoch"] == 2
    assert all(torch.equal(state["model"][name], value) for name, value in expected["model"].items())
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(),
        torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(512, 10),
    )  # fmt: skip
    model.load_state_dict(state["model"])


def test_two_processes_of_the_ddp_example_are_one_run_with_one_line(machine: Machine) -> None:
    """X2: a launch of 2 processes yields one run, one start notice and one ID line; both ranks' points are there."""
    machine.start_server()
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()))

    done = example(machine, "pytorch_ddp.py", "--epochs", "1", launcher=launcher)

    run = only_run(machine, "digits-ddp")
    assert [line.endswith(f"→ {machine.address}/r/{run.detail['short']}") for line in id_lines(done)] == [True]
    assert run.detail["world_size"] == 2
    with machine.api() as api:
        run = api.run(run.id)
        until(lambda: len(points(api.run(run.id), "train/loss", rank=1)[0]) == 29, 30)
        losses = [points(run, "train/loss", rank=rank) for rank in (0, 1)]
        assert [steps for steps, _, _ in losses] == [[float(step) for step in range(29)]] * 2
        assert losses[0][2] != losses[1][2]
        assert run.config["lr"] == 0.01
