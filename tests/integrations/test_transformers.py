"""The callback in the real Trainer of Transformers: what it records, and what people may do with it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

import farwatch
from farwatch.errors import UsageError
from farwatch.integrations.transformers import FarwatchCallback
from farwatch.wire.records import Kind
from tests.integrations.logged_run import Logged
from tests.integrations.steered import Person

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
STEPS = 10  # of one epoch
ONCE = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos"}


class At(TrainerCallback):  # type: ignore[misc]
    """Does something once, at the end of a step, and looks at the rate that each step takes."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self.step, self.act = step, act
        self.rates: list[float] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.rates.append(float(more["optimizer"].param_groups[0]["lr"]))

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step == self.step:
            self.act()


def trainer(folder: Path, *callbacks: Any, **more: Any) -> Trainer:
    torch.manual_seed(7)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
    )
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(0, 16, (4 * STEPS, 8))]
    given: dict[str, Any] = {
        "num_train_epochs": 2, "per_device_train_batch_size": 4, "logging_steps": 4, "eval_strategy": "epoch", "save_strategy": "epoch",
        "learning_rate": 0.1, "warmup_steps": 4, "lr_scheduler_type": "linear", "use_cpu": True, "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip
    args = TrainingArguments(str(folder / "out"), **{**given, **more})
    return Trainer(model, args, train_dataset=rows, eval_dataset=rows[:8], callbacks=list(callbacks))


def planned(step: int) -> float:
    """The rate of a step, from 0, by the warm-up of 4 steps and the decay over the rest."""
    return 0.1 * (step / 4 if step < 4 else (2 * STEPS - step) / (2 * STEPS - 4))


def test_metrics_parameters_and_best_checkpoint_are_recorded(logged: Logged, tmp_path: Path) -> None:
    made = trainer(tmp_path, FarwatchCallback(logged.run), load_best_model_at_end=True, metric_for_best_model="eval_loss")
    made.train()
    logs: list[dict[str, Any]] = made.state.log_history

    for ours, theirs in (
        ("train/loss", "loss"), ("train/grad_norm", "grad_norm"), ("train/learning_rate", "learning_rate"), ("eval/loss", "eval_loss"),
    ):  # fmt: skip
        rows = [row for row in logs if theirs in row]
        assert rows and logged.series(ours) == ([row["step"] for row in rows], [row[theirs] for row in rows])
    assert not logged.names() & {f"train/{name.removeprefix('train_')}" for name in ONCE - {"train_loss"}}
    summary = logged.run.summary
    best = tmp_path / "out" / f"checkpoint-{made.state.best_global_step}"
    assert summary["best_checkpoint"] == made.state.best_model_checkpoint == str(best)
    assert summary["best_metric"] == made.state.best_metric
    assert summary["last_checkpoint"] == str(tmp_path / "out" / "checkpoint-20")
    assert {name: summary[name] for name in ONCE} == {name: logs[-1][name] for name in ONCE}
    assert logged.run.config["args"]["learning_rate"] == 0.1
    assert logged.run.config["model"]["n_embd"] == 8
    assert {body["total_steps"] for body in logged.bodies(Kind.PATCH) if "total_steps" in body} == {2 * STEPS}


def test_the_training_is_the_same_with_and_without(logged: Logged, tmp_path: Path) -> None:
    plain = trainer(tmp_path / "a")
    plain.train()
    watched = trainer(tmp_path / "b", FarwatchCallback(logged.run))
    watched.train()

    for one, other in zip(plain.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_person_sets_rate_and_interval_saves_evaluates_and_stops(person: Person, steered: farwatch.Run, tmp_path: Path) -> None:
    asked: dict[str, str] = {}

    def first() -> None:
        told = person.detail(steered.id)
        assert set(told["steer"]["knobs"]) == {"lr", "log_every"} and set(told["steer"]["commands"]) == {"evaluate"}
        assert sorted(told["steer"]["hooks"]) == ["checkpoint", "stop"] and told["total_steps"] == 2 * STEPS
        asked["lr"] = person.ask(steered.id, "set", name="lr", value="0.03")
        asked["every"] = person.ask(steered.id, "set", name="log_every", value=1)
        asked["save"] = person.ask(steered.id, "checkpoint")
        asked["evaluate"] = person.ask(steered.id, "call", name="evaluate", args={})

    def second() -> None:
        asked["stop"] = person.ask(steered.id, "stop")

    one, two = At(6, first), At(9, second)
    made = trainer(tmp_path, one, two, FarwatchCallback(steered))
    made.train()
    steered.finish()
    found = {name: person.ended(command) for name, command in asked.items()}

    assert {row["state"] for row in found.values()} == {"applied"}
    factor = 0.03 / planned(6)
    assert (found["lr"]["old"], found["lr"]["new"]) == (pytest.approx(planned(6)), 0.03)
    assert found["lr"]["reason"] == f"LambdaLR: scaled by {factor:.4g}; its schedule goes on"
    assert one.rates == pytest.approx([planned(n) * (1 if n < 6 else factor) for n in range(9)])
    for name, step in (("save", 6), ("stop", 9)):
        saved = tmp_path / "out" / f"checkpoint-{step}"
        assert (saved / "optimizer.pt").exists()
        assert found["save"]["result"] == str(tmp_path / "out" / "checkpoint-6"), name
    logs = made.state.log_history
    assert [row["step"] for row in logs if "loss" in row] == [4, 7, 8, 9]
    assert 6 in [row["step"] for row in logs if "eval_loss" in row]
    assert made.state.global_step == 9
    assert steered.state == "stopped"


def test_a_run_goes_on_from_its_checkpoint_with_the_rate_of_the_person(person: Person, tmp_path: Path) -> None:
    """The checkpoint remembers the run; its schedule has been scaled, so the value is not applied twice. (Rule 14.)"""
    found: dict[str, str] = {}

    def ask() -> None:
        assert farwatch.run is not None
        found["run"] = farwatch.run.id
        person.ask(farwatch.run.id, "set", name="lr", value=0.03)

    trainer(tmp_path, At(6, ask), FarwatchCallback(), max_steps=10).train()
    assert farwatch.run is not None
    farwatch.run.finish()
    looks = At(99, lambda: None)
    again = trainer(tmp_path, looks, FarwatchCallback())
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-10"))
    run = farwatch.run
    run.finish()

    assert run.id == found["run"] and again.state.global_step == 2 * STEPS
    # 10 of the first training's 10 steps have brought the rate to 0; what the same state gives without anybody is what is had here.
    plain = At(99, lambda: None)
    trainer(tmp_path, plain).train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-10"))
    assert looks.rates == plain.rates and len(looks.rates) == STEPS


def test_nothing_is_offered_where_that_is_not_wanted(logged: Logged, tmp_path: Path) -> None:
    trainer(tmp_path, FarwatchCallback(logged.run, steer=False), max_steps=2, eval_strategy="no", save_strategy="no").train()

    assert logged.steer() == {}
    with pytest.raises(UsageError, match="mode is scale or pin"):
        FarwatchCallback(mode="hold")


def test_pinned_rate_and_no_evaluation_without_data(logged: Logged, tmp_path: Path) -> None:
    at = At(6, lambda: logged.ask("set", name="lr", value=0.03))
    more = {"eval_strategy": "no", "save_strategy": "no", "logging_strategy": "epoch"}
    trainer(tmp_path, at, FarwatchCallback(logged.run, mode="pin"), **more).train()

    assert at.rates[6:] == [0.03] * 14
    assert set(logged.steer()["knobs"]) == {"lr"} and "commands" not in logged.steer()
    assert not os.path.exists(tmp_path / "out" / "checkpoint-20")
