"""The logger and the callback in the real Trainer of Lightning, under both of its names."""

import csv
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.loggers import CSVLogger

import farwatch
from farwatch.errors import UsageError
from farwatch.integrations.lightning import FarwatchCallback, FarwatchLogger
from farwatch.wire.records import Kind
from tests.integrations.logged_run import Logged
from tests.integrations.steered import Person

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*does not have any effect.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed from"),  # of every logger that gives a new fit a folder of its own
]
BATCHES = 10
DATA = torch.utils.data.TensorDataset(torch.randn(4 * BATCHES, 3, generator=torch.Generator().manual_seed(7)))


def new_module(base: Any = lightning.LightningModule, optimizers: int = 1) -> Any:
    class Tiny(base):  # type: ignore[misc]
        """A line through noise."""

        def __init__(self, width: int = 2, rate: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            torch.manual_seed(3)
            self.layers = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 1))
            self.automatic_optimization = optimizers == 1

        def loss(self, batch: Any) -> Any:
            return (self.layers(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean()

        def training_step(self, batch: Any, index: int) -> Any:
            loss = self.loss(batch)
            self.log("loss", loss)
            if optimizers > 1:
                for one in self.optimizers():
                    one.zero_grad()
                    self.manual_backward(self.loss(batch))
                    one.step()
                for one in self.lr_schedulers():
                    one.step()
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", self.loss(batch))

        def configure_optimizers(self) -> Any:
            made = []
            for layer in self.layers[:optimizers] if optimizers > 1 else [self.layers]:
                optimizer = torch.optim.SGD(layer.parameters(), lr=self.hparams.rate)
                plan = torch.optim.lr_scheduler.LambdaLR(optimizer, planned)
                made.append({"optimizer": optimizer, "lr_scheduler": {"scheduler": plan, "interval": "step"}})
            return made if optimizers > 1 else made[0]

    return Tiny()


def planned(step: int) -> float:
    return 1 / (1 + step)


class At(lightning.pytorch.Callback):
    """Does something once, behind the given global step, and looks at the rates of each step."""

    def __init__(self, step: int, act: Callable[[Any], object]) -> None:
        self.step, self.act = step, act
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: Any, *more: Any) -> None:
        if trainer.global_step == self.step:
            self.act(trainer)
        self.rates.append(float(trainer.optimizers[0].param_groups[0]["lr"]))


def trainer(folder: Path, *callbacks: Any, logger: Any, name: Any = lightning.pytorch, **more: Any) -> Any:
    given = {"max_epochs": 2, "log_every_n_steps": 4, "accelerator": "cpu", "devices": 1, **more}
    return name.Trainer(
        default_root_dir=folder, logger=logger, callbacks=list(callbacks), enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, **given,
    )  # fmt: skip


def fit(trainer: Any, module: Any = None, **more: Any) -> Any:
    def loader() -> Any:
        return torch.utils.data.DataLoader(DATA, batch_size=4)

    trainer.fit(module or new_module(), loader(), loader(), **more)
    return trainer


def test_metrics_hyperparameters_and_best_checkpoint_are_recorded(logged: Logged, tmp_path: Path) -> None:
    best = lightning.pytorch.callbacks.ModelCheckpoint(monitor="val_loss", save_top_k=1)
    theirs = CSVLogger(tmp_path / "csv")
    fit(trainer(tmp_path, best, logger=[FarwatchLogger(logged.run), theirs]))
    with open(Path(theirs.log_dir) / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))

    for name in ("loss", "val_loss", "epoch"):
        found = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        assert found and logged.series(name) == ([step for step, _ in found], [value for _, value in found])
    assert dict(logged.run.config) == {"width": 2, "rate": 0.1}
    assert logged.run.summary["best_checkpoint"] == best.best_model_path and best.best_model_path
    assert logged.run.summary["best_score"] == float(best.best_model_score)
    assert Path(logged.run.summary["last_checkpoint"]).parts[-4:-1] == ("farwatch", logged.run.id, "checkpoints")
    assert {body["total_steps"] for body in logged.bodies(Kind.PATCH) if "total_steps" in body} == {2 * BATCHES}


def test_a_module_finds_the_run_as_the_experiment(logged: Logged, tmp_path: Path) -> None:
    logger = FarwatchLogger(logged.run)
    logger.experiment.log({"mine": 3.0}, step=4)
    logger.experiment.notes = "by hand"

    assert logged.series("mine") == ([4], [3.0]) and logged.run.notes == "by hand"


def test_the_other_name_of_lightning_works_as_well(logged: Logged, tmp_path: Path) -> None:
    """Both are installed and the integration is of one of them: Lightning asks no logger or callback what it is."""
    module = new_module(pytorch_lightning.LightningModule)
    made = trainer(tmp_path, logger=FarwatchLogger(logged.run), name=pytorch_lightning)
    fit(made, module)

    assert logged.series("loss")[0] == [3, 7, 11, 15, 19]
    assert set(logged.steer()["knobs"]) == {"lr", "log_every"}
    assert importlib.import_module("farwatch.integrations.lightning").Logger.__module__.startswith("lightning.")


def test_a_person_sets_rate_and_interval_saves_evaluates_and_stops(person: Person, steered: farwatch.Run, tmp_path: Path) -> None:
    asked: dict[str, str] = {}

    def first(trainer: Any) -> None:
        told = person.detail(steered.id)
        assert set(told["steer"]["knobs"]) == {"lr", "log_every"} and set(told["steer"]["commands"]) == {"evaluate"}
        assert sorted(told["steer"]["hooks"]) == ["checkpoint", "stop"]
        asked["lr"] = person.ask(steered.id, "set", name="lr", value="0.03")
        asked["every"] = person.ask(steered.id, "set", name="log_every", value=1)
        asked["save"] = person.ask(steered.id, "checkpoint")
        asked["evaluate"] = person.ask(steered.id, "call", name="evaluate", args={})

    def second(trainer: Any) -> None:
        asked["stop"] = person.ask(steered.id, "stop")

    one, two = At(5, first), At(8, second)
    theirs = CSVLogger(tmp_path / "csv")
    made = fit(trainer(tmp_path, one, two, logger=[FarwatchLogger(steered), theirs], min_epochs=2))
    steered.finish()
    found = {name: person.ended(command) for name, command in asked.items()}

    assert {row["state"] for row in found.values()} == {"applied"}
    plan = [0.1 * planned(n) for n in range(9)]
    factor = 0.03 / plan[6]
    assert (found["lr"]["old"], found["lr"]["new"]) == (pytest.approx(plan[6]), 0.03)
    assert found["lr"]["reason"] == f"LambdaLR: scaled by {factor:.4g}; its schedule goes on"
    assert one.rates == pytest.approx([rate * (1 if n < 6 else factor) for n, rate in enumerate(plan)])
    folder = tmp_path / "farwatch" / steered.id / "checkpoints"
    assert found["save"]["result"] == str(folder / "farwatch-step=6.ckpt") and (folder / "farwatch-step=6.ckpt").exists()
    assert (folder / "farwatch-step=9.ckpt").exists()
    with open(Path(theirs.log_dir) / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["loss"]] == [3, 5, 6, 7, 8]
    assert [int(row["step"]) for row in rows if row["val_loss"]] == [5, 8]
    assert (made.global_step, made.val_check_batch, steered.state) == (9, BATCHES, "stopped")


def test_a_run_goes_on_from_its_checkpoint(person: Person, tmp_path: Path) -> None:
    found: dict[str, str] = {}

    def ask(trainer: Any) -> None:
        assert farwatch.run is not None
        found["run"] = farwatch.run.id
        person.ask(farwatch.run.id, "set", name="lr", value=0.03)

    first = trainer(tmp_path, At(5, ask), logger=FarwatchLogger(), max_epochs=1)
    fit(first)
    path = str(tmp_path / "kept.ckpt")
    first.save_checkpoint(path)
    assert farwatch.run is not None
    farwatch.run.finish()
    looks = At(99, lambda trainer: None)
    fit(trainer(tmp_path, looks, logger=FarwatchLogger()), ckpt_path=path)
    run = farwatch.run
    run.finish()

    assert run.id == found["run"]
    factor = 0.03 / (0.1 * planned(6))
    assert looks.rates == pytest.approx([0.1 * planned(n) * factor for n in range(BATCHES, 2 * BATCHES)])


def test_a_callback_alone_steers_beside_another_logger(logged: Logged, tmp_path: Path) -> None:
    asked: list[str] = []
    at = At(5, lambda trainer: asked.append(logged.ask("stop")))
    made = fit(trainer(tmp_path, at, FarwatchCallback(logged.run, save_on_stop=False), logger=CSVLogger(tmp_path)))

    assert made.global_step == 6 and logged.ended(asked[0])["state"] == "applied"
    assert not logged.names() and not list(tmp_path.rglob("farwatch-step*"))


def test_each_optimizer_has_a_knob(logged: Logged, tmp_path: Path) -> None:
    at = At(6, lambda trainer: logged.ask("set", name="lr/0", value=0.5))  # two optimizers: two global steps a batch
    made = fit(trainer(tmp_path, at, logger=FarwatchLogger(logged.run), max_epochs=1), new_module(optimizers=2))

    assert set(logged.steer()["knobs"]) == {"lr/0", "lr/1", "log_every"}
    assert at.rates[4] == 0.5 and at.rates[5] == pytest.approx(0.5 * planned(5) / planned(4))
    assert float(made.optimizers[1].param_groups[0]["lr"]) == pytest.approx(0.1 * planned(10))


def test_nothing_is_offered_where_that_is_not_wanted(logged: Logged, tmp_path: Path) -> None:
    fit(trainer(tmp_path, logger=FarwatchLogger(logged.run, steer=False), max_steps=2))

    assert logged.steer() == {}
    with pytest.raises(UsageError, match="mode is scale or pin"):
        FarwatchLogger(mode="hold")


def test_what_people_ask_for_after_the_fit_is_refused(logged: Logged, tmp_path: Path) -> None:
    fit(trainer(tmp_path, logger=FarwatchLogger(logged.run), max_steps=2))
    late = logged.ask("checkpoint")
    logged.run.poll()

    assert "the program says nowhere how to save" in logged.ended(late)["reason"]
