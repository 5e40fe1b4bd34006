"""The Keras callback on the real Keras 3, with PyTorch below it."""

import time
from typing import Any

import keras
import numpy as np
import pytest

import farwatch
from farwatch.integrations.keras import FarwatchCallback
from tests.integrations.logged_run import Logged

# Keras' and PyTorch's own, about NumPy and about tensors that torch.compile looks at
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
]
EPOCH_METRICS = {"loss", "mean_absolute_error", "doubled"}


@keras.saving.register_keras_serializable()
def doubled(true: Any, predicted: Any) -> Any:
    """A metric of the user's own."""
    return 2.0 * keras.ops.mean(keras.ops.abs(true - predicted))


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(40, 3)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


@pytest.fixture
def model() -> keras.Model:
    return build()


def build(**options: Any) -> keras.Model:
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(learning_rate=0.01)
    model.compile(optimizer, loss="mse", metrics=[keras.metrics.MeanAbsoluteError(), doubled], **options)
    return model


def fit(model: keras.Model, data: tuple[np.ndarray, np.ndarray], *callbacks: Any, **options: Any) -> Any:
    given = {"epochs": 3, "batch_size": 8, "verbose": 0, "shuffle": False, **options}
    return model.fit(*data, callbacks=list(callbacks), **given)


def test_every_metric_has_a_point_per_epoch_and_history_is_as_without(logged: Logged, data: Any) -> None:
    plain = fit(build(), data, validation_split=0.2).history
    history = fit(build(), data, FarwatchCallback(logged.run), validation_split=0.2).history

    assert history == plain and list(history) == list(plain)
    for name in (*EPOCH_METRICS, *(f"val_{name}" for name in EPOCH_METRICS)):
        assert logged.series(name) == ([1, 2, 3], history[name])
    assert logged.series("epoch")[1] == [1, 2, 3]
    assert len(logged.series("epoch/validation_s")[1]) == 3


@pytest.mark.parametrize(
    ("schedule", "epochs"),
    [
        (1, [1, 2, 3, 4, 5, 6, 7]),
        (3, [1, 3, 6]),
        ([4, 6], [4, 6]),
        ((7,), [7]),
        ([], []),
        (None, []),
        (np.int64(5), [1, 5]),
    ],
)
def test_schedule_of_epochs(
    logged: Logged, data: Any, model: keras.Model, schedule: Any, epochs: list[int]
) -> None:
    fit(model, data, FarwatchCallback(logged.run, epoch=schedule), epochs=7, batch_size=40)

    assert logged.series("loss")[0] == epochs


@pytest.mark.parametrize("name", ["epoch", "train_batch", "test_batch", "predict_batch"])
@pytest.mark.parametrize("wrong", [0, -1, "x", [1, "a"], 1.5, True, [0], [None]], ids=range(8))
def test_wrong_schedule_names_its_argument_before_training(name: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a positive integer"):
        FarwatchCallback(**{name: wrong})


def test_batches_carry_their_epoch_and_a_step_of_their_own(
    logged: Logged, data: Any, model: keras.Model
) -> None:
    callback = FarwatchCallback(logged.run, train_batch=1, test_batch=1, predict_batch=2)
    fit(model, data, callback, epochs=2, validation_data=data, validation_batch_size=20)
    model.evaluate(*data, batch_size=20, verbose=0, callbacks=[callback])
    model.predict(data[0], batch_size=8, verbose=0, callbacks=[callback])

    steps, epochs = logged.series("train_batch/epoch")
    assert sorted(zip(steps, epochs, strict=True)) == [(step, 1 + (step > 5)) for step in range(1, 11)]
    assert sorted(logged.series("train_batch/loss")[0]) == list(range(1, 11))
    assert sorted(logged.series("test_batch/loss")[0]) == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]  # two validations and an evaluation
    assert sorted(logged.series("predict_batch/duration_s")[0]) == [1, 2, 4]
    assert logged.series("test/loss")[0] == [1] and logged.series("test/epoch")[1] == [2]
    assert all(seconds >= 0 for seconds in logged.series("train_batch/duration_s")[1])


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes when hooks are called. Of two, with another callback between them, the one sees begin and end from outside, then inside."""

    def __init__(self, *, pause_s: float = 0.0) -> None:
        super().__init__()
        self.at: dict[str, list[float]] = {}
        for what in ("epoch", "train_batch", "predict_batch", "predict"):
            setattr(self, f"on_{what}_begin", lambda *_, what=what, **__: self._note(what + " begin", pause_s))
            setattr(self, f"on_{what}_end", lambda *_, what=what, **__: self._note(what + " end", 0.0))

    def _note(self, name: str, pause_s: float) -> None:
        self.at.setdefault(name, []).append(time.perf_counter())
        time.sleep(pause_s)


def test_durations_are_the_measured_ones(logged: Logged, data: Any, model: keras.Model) -> None:
    """Each lies between what a callback before it and one behind it have seen, which sleeps, so that none of them is nothing."""
    outer, inner = Watch(), Watch(pause_s=0.02)
    callbacks = [outer, FarwatchCallback(logged.run, train_batch=1, predict_batch=1), inner]
    fit(model, data, *callbacks, batch_size=40, epochs=3)
    model.predict(data[0], batch_size=10, verbose=0, callbacks=callbacks)

    for what, count in (("epoch", 3), ("train_batch", 3), ("predict_batch", 4), ("predict", 1)):
        told = logged.series(f"{what}/duration_s")[1]
        most = [ended - began for began, ended in zip(outer.at[f"{what} begin"], inner.at[f"{what} end"], strict=True)]
        least = [ended - began for began, ended in zip(inner.at[f"{what} begin"], outer.at[f"{what} end"], strict=True)]
        assert len(told) == count
        assert all(low <= seconds <= high for low, seconds, high in zip(least, told, most, strict=True)), (what, least, told, most)
        assert min(least) >= 0.02


def test_fit_parameters_optimizer_and_learning_rate_are_stored(
    logged: Logged, data: Any, model: keras.Model
) -> None:
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.01 / (epoch + 1))

    fit(model, data, schedule, FarwatchCallback(logged.run))

    config = logged.run.config["keras"]
    assert config["fit"]["epochs"] == 3 and config["fit"]["steps"] == 5
    assert config["optimizer"]["class"] == "Adam" and config["optimizer"]["beta_2"] == 0.999
    assert config["loss"] == "mse" and config["backend"] == "torch"
    assert config["model"]["parameters"] == 21
    assert logged.series("learning_rate")[1] == pytest.approx([0.01, 0.005, 0.01 / 3])
    assert "dense" in logged.texts()["model/summary"]


def test_second_fit_goes_on_counting(logged: Logged, data: Any, model: keras.Model) -> None:
    callback = FarwatchCallback(logged.run, train_batch=1)
    fit(model, data, callback, epochs=2)
    fit(model, data, callback, epochs=2)
    fit(model, data, callback, epochs=6, initial_epoch=4)

    assert logged.series("loss")[0] == [1, 2, 3, 4, 5, 6]
    assert sorted(logged.series("train_batch/loss")[0]) == list(range(1, 31))


@pytest.mark.parametrize(
    "options",
    [{"run_eagerly": True}, {"jit_compile": False}],
    ids=["eager", "graph"],
)
def test_any_way_of_running_gives_the_same_epochs(logged: Logged, data: Any, options: dict[str, Any]) -> None:
    fit(build(**options), data, FarwatchCallback(logged.run, train_batch=5))

    assert logged.series("loss")[0] == [1, 2, 3]
    assert {5, 10, 15} <= set(logged.series("train_batch/loss")[0])


@pytest.mark.nightly  # `tests/rows/test_processes.py` compiles a step in each run; this one is of Keras' own trainer
def test_compiled_step_logs_as_many_points_as_the_eager_one(
    logged: Logged, data: Any, model: keras.Model
) -> None:
    import torch

    model.make_train_function()
    model.train_step = torch.compile(model.train_step, backend="eager")
    model.make_train_function(force=True)

    fit(model, data, FarwatchCallback(logged.run, train_batch=1))

    assert logged.series("loss")[0] == [1, 2, 3]
    assert sorted(logged.series("train_batch/loss")[0]) == list(range(1, 16))


def test_batch_hooks_exist_only_where_they_are_scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch hook makes Keras turn device values into numbers, which waits for the device."""

    def hooks(callback: keras.callbacks.Callback) -> list[str]:
        return [
            name
            for name in ("on_train_batch_end", "on_test_batch_end", "on_predict_batch_end")
            if not getattr(getattr(callback, name), "_is_default", False)
        ]

    assert hooks(FarwatchCallback()) == []
    assert hooks(FarwatchCallback(train_batch=10)) == ["on_train_batch_end"]
    listed = keras.callbacks.CallbackList([FarwatchCallback(train_batch=10, test_batch=1)])
    assert listed._async_train and listed._async_test


def test_current_run_is_found_and_logs_are_not_changed(logged: Logged, data: Any, model: keras.Model) -> None:
    seen: list[dict[str, float]] = []
    spy = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))

    callback = FarwatchCallback()
    fit(model, data, callback, spy, epochs=1)

    assert callback.run is logged.run is farwatch.run
    assert set(seen[0]) == EPOCH_METRICS


def test_subclass_of_model_with_two_outputs(logged: Logged, data: Any) -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, {"a": keras.layers.Dense(1)(inputs), "b": keras.layers.Dense(1)(inputs)})
    model.compile("sgd", loss={"a": "mse", "b": "mae"})

    model.fit(
        data[0], {"a": data[1], "b": data[1]}, epochs=2, verbose=0, callbacks=[FarwatchCallback(logged.run)]
    )

    assert {"loss", "a_loss", "b_loss"} <= logged.names()
    assert logged.run.config["keras"]["loss"] == {"a": "mse", "b": "mae"}
