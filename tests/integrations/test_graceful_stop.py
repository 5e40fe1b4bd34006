"""A program in plain PyTorch has saved before it ends, whoever stops it. (W6.)"""

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from e2e_server import Server, wait_until

from farwatch.errors import FarwatchError
from tests.integrations.steered import Person

PROGRAM = """
import os, sys, time
import torch
import farwatch
from farwatch.integrations.torch import checkpoint, lr_knob

torch.manual_seed(7)
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
run = farwatch.init("w6", console=False, system=False)
lr_knob(run, optimizer, scheduler)
at = 0

@run.on("stop")
def save():
    torch.save({"model": model.state_dict(), "at": at}, sys.argv[1])

@run.on("checkpoint")
def keep():
    return checkpoint(run, model, optimizer, step=at)

os.write(1, (run.id + "\\n").encode())
while True:
    at += 1
    optimizer.zero_grad()
    loss = model(torch.ones(4, 3)).square().mean()
    loss.backward()
    optimizer.step()
    scheduler.step()
    run.log({"loss": loss.detach(), "lr": optimizer.param_groups[0]["lr"]}, step=at)
    time.sleep(0.005)  # a step of a larger model
"""


def test_a_person_sets_the_rate_saves_and_stops_and_the_stop_has_saved(server: Server, person: Person, tmp_path: Path) -> None:
    """Old and new value, the step, what the scheduler does; what cannot be is refused and changes nothing. (B8, K5, W6.)"""
    process, run_id, saved = start(server, tmp_path)
    rate = person.ended(person.ask(run_id, "set", name="lr", value="0.01"))
    for name, value, words in (("lr", "abc", "number"), ("lr", "1 2", "number"), ("rl", "0.1", "lr")):
        with pytest.raises(FarwatchError, match=words):
            person.ask(run_id, "set", name=name, value=value)
    kept = person.ended(person.ask(run_id, "checkpoint"))
    stop = person.ended(person.ask(run_id, "stop"))
    _, errors = process.communicate(timeout=60)
    told = ended(person, run_id)
    with server.api() as api:
        series = api.run(run_id).series("lr")
        files = [file.path for file in api.run(run_id).files()]

    assert (rate["state"], rate["old"], rate["new"]) == ("applied", 0.1, 0.01)
    assert rate["reason"] == "LambdaLR: scaled by 0.1; its schedule goes on"
    before, after = (series.values[where] for where in (series.steps <= rate["step"], series.steps > rate["step"]))
    assert set(before.tolist()) == {0.1} and set(after.tolist()) == {0.01}
    assert kept["result"] == f"checkpoints/step-{int(kept['step']):06d}.pt" and kept["result"] in files
    assert (stop["state"], process.returncode) == ("applied", 0), errors
    assert (told["state"], told["reason"]) == ("stopped", f"stopped by {stop['actor']} ({stop['channel']})")
    assert torch.load(saved, weights_only=True)["at"] == stop["step"] == told["step"]  # nothing was trained behind it


def test_sigterm_lets_the_program_save_before_it_ends(server: Server, person: Person, tmp_path: Path) -> None:
    process, run_id, saved = start(server, tmp_path)
    wait_until(lambda: person.detail(run_id)["step"], "the training is under way")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    told = ended(person, run_id)
    state: dict[str, Any] = torch.load(saved, weights_only=True)

    assert process.returncode == 0, errors
    assert (told["state"], told["reason"]) == ("stopped", "stopped by SIGTERM")
    assert set(state["model"]) == {"weight", "bias"} and state["at"] == told["step"]


def start(server: Server, folder: Path) -> tuple[subprocess.Popen[str], str, Path]:
    saved = folder / "saved.pt"
    process = server.training(PROGRAM, str(saved))
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    assert run_id, process.communicate()[1]
    return process, run_id, saved


def ended(person: Person, run_id: str) -> dict[str, Any]:
    """The run, once the server has all of it."""
    found: dict[str, Any] = {}

    def final() -> bool:
        found.update(person.detail(run_id))
        return found["state"] == "stopped" and not any(found["lag"].values())

    wait_until(final, f"{run_id} has ended")
    return found
