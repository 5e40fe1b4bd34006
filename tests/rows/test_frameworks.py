"""Rows L5, L6, L7, L8, I1, I2: Keras and PyTorch, from a real program through the agent to a reader."""

from pathlib import Path

import pytest

from tests.faults.machine import Machine, until
from tests.rows.program import ended, points, ran

KERAS = """
import json, os, time
os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy as np
import farwatch
from farwatch.integrations.keras import FarwatchCallback

keras.utils.set_random_seed(7)
x = np.random.default_rng(7).normal(size=(40, 3)).astype("float32")
y = x.sum(axis=1, keepdims=True)

def doubled(true, predicted):
    return 2.0 * keras.ops.mean(keras.ops.abs(true - predicted))

def build():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), loss="mse", metrics=["mae", doubled])
    return model

class Watch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.begins, self.ends = [], []
    def on_epoch_begin(self, *_): self.begins.append(time.perf_counter())
    def on_epoch_end(self, *_): self.ends.append(time.perf_counter())
    on_predict_begin, on_predict_end = on_epoch_begin, on_epoch_end

given = dict(batch_size=8, verbose=0, shuffle=False)
plain = build().fit(x, y, epochs=3, validation_split=0.2, **given).history
with farwatch.init("keras", id="l6", console=False, system=False) as run:
    history = build().fit(x, y, epochs=3, validation_split=0.2, callbacks=[FarwatchCallback(run)], **given).history
with farwatch.init("keras", id="l7", console=False, system=False) as run:
    callback = FarwatchCallback(run, train_batch=1, test_batch=1, predict_batch=1)
    model = build()
    model.fit(x, y, epochs=2, callbacks=[callback], **given)
    model.evaluate(x, y, batch_size=8, verbose=0, callbacks=[callback])
    class Slow(keras.callbacks.Callback):
        def on_predict_batch_begin(self, batch, logs=None): time.sleep(0.1)
    before, behind = Watch(), Watch()
    model.predict(x, batch_size=8, verbose=0, callbacks=[before, callback, Slow(), behind])
    spent = behind.ends[0] - before.begins[0]
for name, schedule in (("3", 3), ("4-6", [4, 6])):
    with farwatch.init("keras", id=f"l5-{name}", console=False, system=False) as run:
        build().fit(x, y, epochs=7, callbacks=[FarwatchCallback(run, epoch=schedule)], **given)
refused = []
for wrong in (0, -1, "x", [1, "a"]):
    try: FarwatchCallback(epoch=wrong)
    except ValueError as error: refused.append("epoch" in str(error))
class Sleepy(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None): time.sleep(0.2)
with farwatch.init("keras", id="l8", console=False, system=False) as run:
    before, behind = Watch(), Watch()
    build().fit(x, y, epochs=3, callbacks=[before, FarwatchCallback(run), Sleepy(), behind], **given)
    epochs = [end - begin for begin, end in zip(before.begins, behind.ends)]
open("told.json", "w").write(json.dumps({"history": history, "plain": plain, "spent": spent, "epochs": epochs, "refused": refused}))
"""
NAMES = ["loss", "mae", "doubled"]


@pytest.fixture(scope="module")
def keras(shared: Machine) -> dict:
    """What the program with Keras says of itself."""
    import json

    ran(shared, KERAS)
    return json.loads((shared.folder / "told.json").read_text())


def test_schedule_of_epochs_is_kept(shared: Machine, keras: dict) -> None:
    """L5: 3 over epochs 1..7 sends exactly 1, 3, 6; [4, 6] exactly its items, as documented; wrong ones raise ValueError."""
    with shared.api() as api:
        assert points(ended(api, "l5-3"), "loss")[0] == [1, 3, 6]
        assert points(ended(api, "l5-4-6"), "loss")[0] == [4, 6]
    assert keras["refused"] == [True] * 4


def test_every_metric_of_fit_has_its_points(shared: Machine, keras: dict) -> None:
    """L6: loss, val_loss and every compiled and custom metric with 3 points each; the history is as without the callback."""
    assert list(keras["history"]) == list(keras["plain"])
    with shared.api() as api:
        run = ended(api, "l6")
        for name in (*NAMES, *(f"val_{name}" for name in NAMES)):
            steps, _, values = points(run, name)
            assert (steps, values) == ([1, 2, 3], keras["history"][name])


def test_batches_of_fit_evaluate_and_predict_do_not_collide(shared: Machine, keras: dict) -> None:
    """L7: batch points carry the epoch and a unique step 1..10; predict's duration within 20% of the measured time."""
    with shared.api() as api:
        run = ended(api, "l7")
        steps, _, epochs = points(run, "train_batch/epoch")
        assert sorted(zip(steps, epochs, strict=True)) == [(step, 1 + (step > 5)) for step in range(1, 11)]
        assert sorted(points(run, "train_batch/loss")[0]) == list(range(1, 11))
        assert sorted(points(run, "test_batch/loss")[0]) == [1, 2, 3, 4, 5]
        assert sorted(points(run, "predict_batch/duration_s")[0]) == [1, 2, 3, 4, 5]
        assert points(run, "predict/duration_s")[2][0] == pytest.approx(keras["spent"], rel=0.2)


def test_epochs_have_their_raw_durations(shared: Machine, keras: dict) -> None:
    """L8: epochs with a 0.2 s sleep: at least that, no more than a callback around ours has measured, and the raw number by API."""
    with shared.api() as api:
        spent = points(ended(api, "l8"), "epoch/duration_s")[2]
    assert len(spent) == len(keras["epochs"]) == 3
    assert all(0.2 <= seconds <= most for seconds, most in zip(spent, keras["epochs"], strict=True)), (spent, keras["epochs"])
    assert any(round(seconds, 3) != seconds for seconds in spent)


def test_learning_rate_optimizer_and_fit_parameters_are_stored(shared: Machine, keras: dict) -> None:
    """I1: beside L6: learning rate, optimizer configuration, fit parameters."""
    with shared.api() as api:
        run = ended(api, "l6")
        assert points(run, "learning_rate")[2] == pytest.approx([0.01] * 3)
        config = run.config["keras"]
    assert (config["optimizer"]["class"], config["optimizer"]["beta_2"]) == ("Adam", 0.999)
    assert (config["fit"]["epochs"], config["fit"]["steps"], config["loss"]) == (3, 4, "mse")


def test_a_torch_loop_leaves_loss_norms_and_a_loadable_checkpoint(shared: Machine, tmp_path: Path) -> None:
    """I2: a 2-epoch CPU loop with the helper logs loss, norms and a loadable checkpoint."""
    ran(
        shared,
        """
        import farwatch, torch
        from farwatch.integrations.torch import checkpoint, log_optimizer, norms, summary
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 2)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        data = torch.randn(10, 8, 4)
        with farwatch.init("torch", id="i2", console=False, system=False) as run:
            log_optimizer(optimizer, run); summary(model, run)
            with norms(model, run, every=5):
                for epoch in range(2):
                    for i, x in enumerate(data):
                        optimizer.zero_grad(); loss = model(x).square().mean(); loss.backward(); optimizer.step()
                        run.log({"loss": loss}, step=10 * epoch + i)
                    checkpoint(run, model, optimizer, step=10 * epoch + 10, epoch=epoch)
        torch.save(model.state_dict(), "last.pt")
        """,
    )
    import torch

    with shared.api() as api:
        run = ended(api, "i2")
        assert points(run, "loss")[0] == [float(step) for step in range(20)]
        assert {len(points(run, name)[0]) for name in ("grad/weight", "grad/bias", "weight/weight", "grad_norm")} == {4}
        assert run.config["optimizer"]["class"] == "Adam"
        kept = until(
            lambda: [file.path for file in run.files() if file.path.startswith("checkpoints/") and file.sha256][1:] and run.files()
        )
        paths = sorted(file.path for file in kept if file.path.startswith("checkpoints/"))
        state = torch.load(run.download(paths[-1], tmp_path / "got.pt"), weights_only=True)
    assert (state["step"], state["epoch"], len(paths)) == (20, 1, 2)
    expected = torch.load(shared.folder / "last.pt", weights_only=True)
    assert all(torch.equal(state["model"][name], value) for name, value in expected.items())
    torch.nn.Linear(4, 2).load_state_dict(state["model"])
