"""Trainers of frameworks on two ranks: what people ask of rank 0 happens on both after the same step."""

from collections.abc import Callable

import pytest

from farwatch.wire.records import Kind
from tests.faults.machine import until

from .launch import Launch

pytestmark = pytest.mark.nightly  # each rank imports a framework: half a minute beside others

TOLD = """
import json, os, time
rank = int(os.environ["RANK"])
told = open(f"{os.environ['TOLD']}.{rank}", "a", buffering=1)
def tell(**what): told.write(json.dumps(what) + "\\n")
import farwatch, torch
"""

TRANSFORMERS = """
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments
from farwatch.integrations.transformers import FarwatchCallback
class Tell(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **more):
        tell(step=state.global_step, lr=optimizer.param_groups[0]["lr"])
    def on_step_end(self, args, state, control, **more): time.sleep(0.02)
    def on_save(self, args, state, control, **more): tell(saved=state.global_step)
    def on_evaluate(self, args, state, control, **more): tell(evaluated=state.global_step)
model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0))
rows = [{"input_ids": row, "labels": row} for row in torch.randint(0, 16, (64, 8))]
args = TrainingArguments(
    "out", max_steps=100_000, per_device_train_batch_size=4, learning_rate=0.1, lr_scheduler_type="constant", logging_steps=5,
    eval_strategy="steps", eval_steps=90_000, save_strategy="no", use_cpu=True, report_to="none", disable_tqdm=True,
)
trainer = Trainer(model, args, train_dataset=rows, eval_dataset=rows[:8], callbacks=[FarwatchCallback(), Tell()])
trainer.train()
tell(left=trainer.state.global_step)
"""

LIGHTNING = """
import lightning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from farwatch.integrations.lightning import FarwatchLogger
DATA = torch.utils.data.TensorDataset(torch.randn(64, 3))
class Tiny(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
    def training_step(self, batch, index):
        time.sleep(0.02)
        loss = self.layer(batch[0]).square().mean()
        self.log("loss", loss)
        return loss
    def validation_step(self, batch, index): self.log("val_loss", self.layer(batch[0]).square().mean())
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=0.1)
class Tell(Callback):
    def on_train_batch_start(self, trainer, *more):
        tell(step=trainer.global_step, lr=trainer.optimizers[0].param_groups[0]["lr"])
    def on_validation_end(self, trainer, module): tell(evaluated=trainer.global_step)
    def on_save_checkpoint(self, trainer, *more): tell(saved=trainer.global_step)
loader = lambda: torch.utils.data.DataLoader(DATA, batch_size=4)
trainer = lightning.Trainer(
    max_steps=100_000, accelerator="cpu", devices=2, strategy="ddp", logger=FarwatchLogger(), callbacks=[Tell()], log_every_n_steps=5,
    enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, check_val_every_n_epoch=10_000,
)
trainer.fit(Tiny(), loader(), loader())
tell(left=trainer.global_step)
"""


KERAS = """
os.environ["KERAS_BACKEND"] = "torch"
import torch.distributed as dist
dist.init_process_group("gloo")
import keras, numpy
from farwatch.integrations.keras import FarwatchCallback
one = torch.ones(1)
class Tell(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        optimizer = self.model.optimizer
        tell(step=int(optimizer.iterations.value), lr=float(optimizer.learning_rate.value))
        time.sleep(0.02)
        dist.all_reduce(one)
farwatch.init("p", console=False, system=False)
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(0.1), "mse")
rows = numpy.ones((64, 3), "float32")
model.fit(
    rows, rows[:, :1], batch_size=4, epochs=100_000, verbose=0, validation_data=(rows, rows[:, :1]),
    callbacks=[FarwatchCallback(), Tell()])
tell(left=int(model.optimizer.iterations.value))
dist.destroy_process_group()
"""


def test_people_steer_keras_on_all_ranks_at_one_step(start: Callable[..., Launch]) -> None:
    """Whoever trains by `fit` on each rank, and lets the ranks meet in a callback."""
    launch = start(KERAS, 2, begin=TOLD)
    launch.running()

    told = launch.end_of(launch.ask("set", name="lr", value=0.01))
    changed = [[one["step"] for one in launch.told(rank) if one.get("lr") == pytest.approx(0.01)][:1] for rank in (0, 1)]
    assert told["state"] == "applied"
    assert changed[0] == changed[1] != []
    saved = launch.end_of(launch.ask("checkpoint"))
    assert (saved["state"], saved["result"].startswith("checkpoints/step-")) == ("applied", True)
    assert launch.end_of(launch.ask("call", name="evaluate", args={}))["state"] == "applied"
    assert launch.end_of(launch.ask("stop"))["state"] == "applied"

    assert launch.codes(30) == [0, 0], launch.log()
    left = launch.values("left")
    assert left[0] == left[1] and len(left[0]) == 1


@pytest.mark.parametrize("source", [TRANSFORMERS, LIGHTNING], ids=["transformers", "lightning"])
def test_people_steer_a_trainer_on_all_ranks_at_one_step(start: Callable[..., Launch], source: str) -> None:
    launch = start(source, 2, begin=TOLD)
    launch.running()

    told = launch.end_of(launch.ask("set", name="lr", value=0.01))
    changed = [[one["step"] for one in launch.told(rank) if one.get("lr") == pytest.approx(0.01)][:1] for rank in (0, 1)]
    assert (told["state"], told["old"], told["new"]) == ("applied", pytest.approx(0.1), 0.01)
    assert changed[0] == changed[1] != []

    saved = launch.end_of(launch.ask("checkpoint"))
    until(lambda: all(launch.values("saved")), 15, launch.log())
    called = launch.end_of(launch.ask("call", name="evaluate", args={}))
    until(lambda: all(launch.values("evaluated")), 15, launch.log())
    for name, ended in (("saved", saved), ("evaluated", called)):
        assert ended["state"] == "applied", ended
        places = launch.values(name)
        assert places[0] == places[1] and len(places[0]) == 1

    assert launch.end_of(launch.ask("pause"))["state"] == "applied"
    until(lambda: len({len(one) for one in launch.values("step")}) == 1, 5)
    held = launch.values("step")
    faster = launch.end_of(launch.ask("set", name="log_every", value=2))
    assert (faster["state"], launch.values("step")) == ("applied", held)
    assert launch.end_of(launch.ask("unpause"))["state"] == "applied"
    launch.running(len(held[0]) + 3)

    assert launch.end_of(launch.ask("stop"))["state"] == "applied"
    assert launch.codes(30) == [0, 0], launch.log()
    left = launch.values("left")
    assert left[0] == left[1] and len(left[0]) == 1
    (goodbye,) = [record.body() for record in launch.records(Kind.GOODBYE)]
    assert (goodbye["state"], goodbye["reason"]) == ("stopped", "stopped by Ann (page)")
