"""The helpers for PyTorch loops on real models and optimizers."""

from pathlib import Path

import pytest
import torch

from farwatch.errors import UsageError
from farwatch.integrations.torch import checkpoint, learning_rates, log_optimizer, norms, summary
from farwatch.wire.records import Kind
from tests.integrations.logged_run import Logged


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(7)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int, logged: Logged) -> None:
    x = torch.randn(8, 3)
    for step in range(steps):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        logged.run.log({"loss": loss}, step=step)


def test_ten_points_per_parameter_in_a_thousand_steps(logged: Logged, model: torch.nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with norms(model, logged.run, every=100):
        train(model, optimizer, 1000, logged)

    expected = {
        f"{kind}/{name}"
        for kind in ("grad", "weight")
        for name in ("0/weight", "0/bias", "2/weight", "2/bias")
    }
    assert logged.names() == {*expected, "grad_norm", "weight_norm", "loss"}
    for name in expected:
        assert logged.series(name)[0] == list(range(0, 1000, 100))
    assert logged.series("loss")[0] == list(range(1000))


def test_norms_are_the_norms_at_that_step(logged: Logged, model: torch.nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = norms(model, every=1)
    model(torch.ones(2, 3)).sum().backward()
    grads = [parameter.grad.norm().item() for parameter in model.parameters() if parameter.grad is not None]
    weight = model[0].weight.norm().item()
    optimizer.step()
    handle.remove()
    handle.remove()
    optimizer.step()

    assert logged.series("grad/0/weight")[1] == pytest.approx([grads[0]])
    assert logged.series("weight/0/weight")[1] == pytest.approx([weight])
    assert logged.series("grad_norm")[1] == pytest.approx([sum(grad**2 for grad in grads) ** 0.5])


def test_frozen_sparse_half_and_foreign_parameters(logged: Logged, model: torch.nn.Module) -> None:
    mixed = torch.nn.ModuleDict(
        {"table": torch.nn.Embedding(9, 4, sparse=True), "low": torch.nn.Linear(4, 1)}
    )
    mixed["low"].bfloat16()
    mixed["low"].bias.requires_grad_(False)
    optimizer = torch.optim.SGD(mixed.parameters(), lr=0.1)
    foreign = torch.optim.SGD(model.parameters(), lr=0.1)

    with norms(mixed, every=1):
        mixed["low"](mixed["table"](torch.tensor([1, 1])).bfloat16()).sum().backward()
        model(torch.ones(1, 3)).sum().backward()
        foreign.step()
        optimizer.step()

    table = mixed["table"].weight.grad.coalesce().values().norm().item()
    assert logged.series("grad/table/weight")[1] == pytest.approx([table])
    assert "grad/low/bias" not in logged.names() and "weight/low/bias" in logged.names()
    assert not any(name.startswith("grad/0") for name in logged.names())


def test_compiled_model_gives_the_same_names_and_points(logged: Logged, model: torch.nn.Module) -> None:
    compiled = torch.compile(model, backend="eager")
    optimizer = torch.optim.SGD(compiled.parameters(), lr=0.01)

    with norms(compiled, logged.run, every=5):
        train(compiled, optimizer, 10, logged)

    assert logged.series("grad/0/weight")[0] == [0, 5]
    assert len(logged.series("loss")[0]) == 10


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "x"])
def test_wrong_frequency_is_refused(model: torch.nn.Module, every: int) -> None:
    with pytest.raises(ValueError, match="every must be a positive integer"):
        norms(model, every=every)


def test_optimizer_becomes_config(logged: Logged, model: torch.nn.Module) -> None:
    log_optimizer(torch.optim.AdamW(model.parameters(), lr=3e-4))
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters(), "lr": 0.2}]
    several = torch.optim.SGD(groups, momentum=0.9)
    log_optimizer(several, logged.run, name="second")

    config = logged.run.config
    assert config["optimizer"]["class"] == "AdamW" and config["optimizer"]["lr"] == 3e-4
    assert config["optimizer"]["parameters"] == 21 and config["optimizer"]["betas"] == [0.9, 0.999]
    assert [group["lr"] for group in config["second"]["groups"]] == [0.1, 0.2]
    assert learning_rates(several) == {"lr/0": 0.1, "lr/1": 0.2}
    assert learning_rates(torch.optim.SGD(model.parameters(), lr=0.5)) == {"lr": 0.5}


def test_summary_lists_layers_and_counts(logged: Logged, model: torch.nn.Module) -> None:
    model[0].weight.requires_grad_(False)

    text = summary(model)

    assert "21 parameters, 9 trained" in text and "4x3" in text and "ReLU" in text
    assert logged.texts()["model/summary"] == text
    assert logged.run.config["model"]["parameters"] == 21
    assert "0 parameters" in summary(torch.nn.LazyLinear(3), logged.run)


def test_checkpoint_can_be_loaded_and_continued(logged: Logged, model: torch.nn.Module) -> None:
    optimizer = torch.optim.Adam(model.parameters())
    train(model, optimizer, 3, logged)

    name = checkpoint(logged.run, model, optimizer, step=3, epoch=1)
    again = checkpoint(None, torch.compile(model, backend="eager"), name="last.pt")

    kept = {body["path"]: body for body in logged.bodies(Kind.FILE)}
    assert name == "checkpoints/step-000003.pt" and again == "last.pt" and set(kept) == {name, again}
    state = torch.load(Path(logged.folder, "spool", kept[name]["spool"]), weights_only=True)
    assert state["step"] == 3 and state["epoch"] == 1
    fresh = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    fresh.load_state_dict(state["model"])
    torch.optim.Adam(fresh.parameters()).load_state_dict(state["optimizer"])
    assert torch.equal(fresh[0].weight, model[0].weight)
    last = torch.load(Path(logged.folder, "spool", kept[again]["spool"]), weights_only=True)
    assert set(last["model"]) == set(model.state_dict())


def test_without_a_run_the_caller_is_told(model: torch.nn.Module) -> None:
    with pytest.raises(UsageError, match="no run is open"):
        checkpoint(None, model, step=1)
    with pytest.raises(UsageError, match="no run is open"):
        log_optimizer(torch.optim.SGD(model.parameters()))
    assert "21 parameters" in summary(model)
