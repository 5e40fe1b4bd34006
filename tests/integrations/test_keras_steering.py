"""One Keras callback, and people may steer: learning rate, log interval, save, evaluate, stop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import farwatch
from farwatch.integrations.keras import FarwatchCallback
from farwatch.wire.records import Kind
from tests.integrations.logged_run import Logged

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
]
BATCHES = 5
X = np.random.default_rng(7).normal(size=(8 * BATCHES, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
Schedules = keras.optimizers.schedules


def build(rate: Any = 0.01, **options: Any) -> keras.Model:
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), loss="mse", metrics=["mae"], **options)
    return model


class At(keras.callbacks.Callback):
    """Does something once, when so many batches have been trained; and looks at the learning rate before each batch."""

    def __init__(self, batches: int, act: Callable[[], object]) -> None:
        super().__init__()
        self.batches, self.act = batches, act
        self.trained = 0
        self.rates: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.trained == self.batches:
            self.act()
        self.rates.append(float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))
        self.trained += 1


def fit(model: keras.Model, *callbacks: Any, **options: Any) -> Any:
    given = {"epochs": 3, "batch_size": 8, "verbose": 0, "shuffle": False, **options}
    return model.fit(X, Y, callbacks=list(callbacks), **given)


def test_one_line_declares_knobs_and_hooks(logged: Logged) -> None:
    fit(build(), FarwatchCallback(logged.run, train_batch=2), validation_split=0.2)

    told = logged.steer()
    assert {name: knob["value"] for name, knob in told["knobs"].items()} == {"lr": pytest.approx(0.01), "log_every": 2}
    assert list(told["commands"]) == ["evaluate"]
    assert told["hooks"] == []  # the training has ended


def test_nothing_is_offered_where_that_is_not_wanted(logged: Logged) -> None:
    fit(build(), FarwatchCallback(logged.run, steer=False))

    assert logged.steer() == {}


def test_rate_and_log_interval_change_within_an_epoch(logged: Logged) -> None:
    asked: list[str] = []

    def ask() -> None:
        asked.extend([logged.ask("set", name="lr", value="5e-4"), logged.ask("set", name="log_every", value=1)])

    at = At(7, ask)
    fit(build(), at, FarwatchCallback(logged.run, train_batch=4))

    rate, every = map(logged.ended, asked)
    assert (rate["state"], rate["old"], rate["new"]) == ("applied", pytest.approx(0.01), 5e-4)
    assert at.rates == pytest.approx([0.01] * 8 + [5e-4] * 7)
    assert (every["old"], every["new"]) == (4, 1)
    steps = logged.series("train_batch/loss")[0]
    assert steps[:2] == [1, 4]
    assert steps[-8:] == [*range(8, 16)]  # the batch that was going on may be among them
    assert len(steps) <= 11


@pytest.mark.parametrize(
    "schedule",
    [
        Schedules.ExponentialDecay(0.1, 5, 0.5),
        Schedules.InverseTimeDecay(0.1, 5, 0.5),
        Schedules.PolynomialDecay(0.1, 30, 0.01),
        Schedules.PiecewiseConstantDecay([3, 9], [0.1, 0.05, 0.01]),
        Schedules.CosineDecay(0.0, 20, alpha=0.1, warmup_target=0.1, warmup_steps=5),
        Schedules.CosineDecayRestarts(0.1, 6),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rates_of_a_schedule_are_scaled(logged: Logged, schedule: Any) -> None:
    asked: list[str] = []
    at = At(6, lambda: asked.append(logged.ask("set", name="lr", value=0.02)))
    model = build(schedule)
    fit(model, at, FarwatchCallback(logged.run))
    plain = [float(schedule(step)) for step in range(15)]
    factor = 0.02 / plain[6]

    assert logged.ended(asked[0])["reason"] == f"{type(schedule).__name__}: scaled by {factor:.4g}; its schedule goes on"
    assert at.rates == pytest.approx([*plain[:7], *(rate * factor for rate in plain[7:])], rel=1e-5)
    kept = keras.optimizers.deserialize(keras.optimizers.serialize(model.optimizer))
    assert type(kept._learning_rate) is type(schedule)  # a model that is saved needs nothing of ours


@keras.saving.register_keras_serializable()
class OwnSchedule(Schedules.LearningRateSchedule):  # type: ignore[misc, name-defined]
    """One of a user's."""

    def __call__(self, step: Any) -> Any:
        return 0.1 / (keras.ops.cast(step, "float32") + 1)

    def get_config(self) -> dict[str, Any]:
        return {}


def test_a_schedule_of_the_users_own_is_refused_with_the_reason(logged: Logged) -> None:
    asked: list[str] = []
    at = At(6, lambda: asked.append(logged.ask("set", name="lr", value=0.02)))
    fit(build(OwnSchedule()), at, FarwatchCallback(logged.run))

    told = logged.ended(asked[0])
    assert (told["state"], told["reason"]) == ("refused", "schedule active: OwnSchedule decides the learning rate by itself")
    assert at.rates == pytest.approx([0.1 / (n + 1) for n in range(15)])


def test_a_stop_saves_and_ends_fit_after_the_batch(logged: Logged) -> None:
    asked: list[str] = []
    at = At(7, lambda: asked.append(logged.ask("stop")))
    history = fit(build(), at, FarwatchCallback(logged.run), validation_split=0.0)
    logged.run.finish()

    assert at.trained == 8 and len(history.history["loss"]) == 2
    assert logged.ended(asked[0])["state"] == "applied"
    assert logged.run.state == "stopped"
    assert saved(logged) == ["checkpoints/step-000007.keras"]


def saved(logged: Logged) -> list[str]:
    return [body["path"] for body in logged.bodies(Kind.FILE)]


def test_a_checkpoint_answers_its_name_and_can_be_loaded(logged: Logged, tmp_path: Path) -> None:
    asked: list[str] = []
    at = At(3, lambda: asked.append(logged.ask("checkpoint")))
    fit(build(), at, FarwatchCallback(logged.run))
    (body,) = logged.bodies(Kind.FILE)
    again = keras.models.load_model(logged.folder / "spool" / body["spool"])

    assert logged.ended(asked[0])["result"] == body["path"] == "checkpoints/step-000003.keras"
    assert int(again.optimizer.iterations) == 3


def test_evaluating_between_batches_changes_no_training(logged: Logged) -> None:
    asked: list[str] = []
    plain = fit(build(), validation_split=0.2).history
    at = At(6, lambda: asked.append(logged.ask("call", name="evaluate", args={})))
    history = fit(build(), at, FarwatchCallback(logged.run), validation_split=0.2).history

    told = logged.ended(asked[0])
    assert told["state"] == "applied" and set(told["result"]) == {"loss", "mae"}
    assert history == plain
    (late,) = [logged.ask("call", name="evaluate", args={})]
    logged.run.poll()
    assert logged.ended(late)["reason"] == "the training that it belongs to has ended"


def test_after_fit_the_rate_is_refused_and_a_stop_ends_the_program(logged: Logged) -> None:
    fit(build(), FarwatchCallback(logged.run))
    late = logged.ask("set", name="lr", value=0.5)
    save = logged.ask("checkpoint")
    logged.run.poll()
    logged.ask("stop")

    assert logged.ended(late)["reason"] == "the training that it belongs to has ended"
    assert "the program says nowhere how to save" in logged.ended(save)["reason"]
    with pytest.raises(farwatch.Stopped):
        logged.run.poll()


def test_a_knob_of_the_programs_own_is_left_alone(logged: Logged) -> None:
    asked: list[str] = []
    mine = logged.run.knob("lr", 1.0)
    at = At(2, lambda: asked.append(logged.ask("set", name="lr", value=3)))
    fit(build(), at, FarwatchCallback(logged.run))

    assert mine.value == 3 and at.rates == pytest.approx([0.01] * 15)


def test_a_second_fit_keeps_what_people_set(logged: Logged) -> None:
    callback = FarwatchCallback(logged.run)
    fit(build(), At(2, lambda: logged.ask("set", name="lr", value=0.002)), callback)
    at = At(99, lambda: None)
    fit(build(), at, callback)

    assert at.rates == pytest.approx([0.002] * 15)
