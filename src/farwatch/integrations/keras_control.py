"""What people may do with a Keras training: learning rate, log interval, save, evaluate, stop."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

import farwatch
from farwatch.errors import UsageError

# What Keras' own schedules are made of that a factor applies to; `alpha` of the cosines is a share already.
SCALED = {
    "ExponentialDecay": ("initial_learning_rate",),
    "InverseTimeDecay": ("initial_learning_rate",),
    "PolynomialDecay": ("initial_learning_rate", "end_learning_rate"),
    "PiecewiseConstantDecay": ("values",),
    "CosineDecay": ("initial_learning_rate", "warmup_target"),
    "CosineDecayRestarts": ("initial_learning_rate",),
}


class Control:
    """Knobs, hooks and commands of one callback's `fit`. `model`: returns the model, its state in step with the training."""

    def __init__(self, run: farwatch.Run, model: Callable[[], Any], *, save_on_stop: bool) -> None:
        self._run = run
        self._model = model
        self._save_on_stop = save_on_stop
        self._evaluates = False
        self._guest = run._steering.guest()

    def begin(self, log_every: int | None, set_log_every: Callable[[int], object]) -> None:
        """A `fit` begins."""
        self._guest.begin()
        optimizer = getattr(self._model(), "optimizer", None)
        if optimizer is not None:
            now = learning_rate(optimizer)
            if now is not None:
                self._guest.knob("lr", now, log=now > 0, set=self._set_rate, get=lambda: learning_rate(self._model().optimizer))
        if log_every is not None:
            self._guest.knob("log_every", log_every, min=1, set=set_log_every)
        self._guest.on("checkpoint", self.save)
        if self._save_on_stop:
            self._guest.on("stop", self.save)

    def end(self) -> None:
        """The `fit` has ended."""
        self._guest.end()

    def total_steps(self, total: int) -> None:
        """Say at which step it will be done."""
        self._guest.total_steps(total)

    def step_end(self) -> None:
        """Between two batches, on the thread that trains: what people asked for is done."""
        if self._guest.step_end():
            self._model().stop_training = True

    def validates(self) -> None:
        """This `fit` has validation data: people may ask for an evaluation."""
        if not self._evaluates:
            self._evaluates = True
            self._guest.command(self._evaluation())

    def save(self) -> str | None:
        """Save the model as a file of the run; returns its name there."""
        model = self._model()
        if self._run.rank != 0:
            return None
        step = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
        name = f"checkpoints/step-{step:06d}.keras"
        with tempfile.TemporaryDirectory(prefix="farwatch-") as folder:
            path = Path(folder, name)
            path.parent.mkdir(parents=True)
            model.save(path)
            kept = self._run.save(os.fspath(path), base=folder)
        if not kept:
            raise OSError(f"the model was not kept: `{name}`")
        return kept[0]

    def _evaluation(self) -> Callable[[], dict[str, float]]:
        def evaluate() -> dict[str, float]:
            """Evaluate on the validation data now, between two batches."""
            model = self._model()
            if getattr(model, "_eval_epoch_iterator", None) is None:
                raise UsageError("no fit with validation data is running")
            running = [(one, keras.ops.convert_to_numpy(one)) for one in model.metrics_variables]
            try:
                found = model.evaluate(verbose=0, callbacks=[], return_dict=True, _use_cached_eval_dataset=True)
            finally:
                for variable, value in running:  # the epoch's own, which go on
                    variable.assign(value)
                if keras.backend.backend() == "torch":
                    model.train()
            return {name: float(value) for name, value in found.items()}

        return evaluate

    def _set_rate(self, rate: float) -> str:
        """Change the learning rate; says what holds. Raises `UsageError` where a schedule cannot be told."""
        model = self._model()
        optimizer = model.optimizer
        given = optimizer.get_config()["learning_rate"]
        if rate < 0:
            raise UsageError(f"a learning rate is at least 0, not: `{rate:g}`")
        if isinstance(given, int | float):
            optimizer.learning_rate = float(rate)
            return "it stays, unless a callback such as LearningRateScheduler sets another"
        factor = _factor(rate, learning_rate(optimizer))
        optimizer.learning_rate = _scaled(given, factor)
        if getattr(model, "train_function", None) is not None:
            model.make_train_function(force=True)  # a compiled one holds the numbers of the schedule that it was compiled with
        return f"{given['class_name']}: scaled by {factor:.4g}; its schedule goes on"


def learning_rate(optimizer: Any) -> float | None:
    """As it is now; None for an optimizer that has none."""
    rate = getattr(optimizer, "learning_rate", None)
    try:
        return None if rate is None else float(keras.ops.convert_to_numpy(rate))
    except (TypeError, ValueError):
        return None


def _factor(rate: float, now: float | None) -> float:
    if not now or not rate:
        raise UsageError("schedule active: no factor leads from or to a learning rate of 0")
    return rate / now


def _scaled(given: Any, factor: float) -> Any:
    """A schedule like the one described by `given`, times a factor."""
    name = given.get("class_name") if isinstance(given, dict) else None
    keys = SCALED.get(str(name))
    if keys is None or not str(given.get("module")).startswith("keras."):
        raise UsageError(f"schedule active: {name or 'a function'} decides the learning rate by itself")
    config = dict(given["config"])
    for key in keys:
        value = config.get(key)
        if value is not None:
            config[key] = [one * factor for one in value] if isinstance(value, list | tuple) else value * factor
    return keras.optimizers.schedules.deserialize({**given, "config": config})
