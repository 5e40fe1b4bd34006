"""Keras 3, on any backend: `model.fit(…, callbacks=[FarwatchCallback()])`.

What is recorded, and under which step:

| when | names | step |
|---|---|---|
| end of an epoch | `loss`, `val_loss`, every metric as Keras names it, `learning_rate`, `epoch`, `epoch/duration_s` | the epoch, from 1 |
| end of a training batch | `train_batch/loss`, …, `train_batch/epoch`, `train_batch/duration_s` | the batch, from 1, over all epochs |
| end of an evaluation or validation batch | the same below `test_batch/` | the batch, from 1, over all evaluations |
| end of a prediction batch | `predict_batch/duration_s`, … | the batch, from 1, over all predictions |
| end of `evaluate` | `test/loss`, …, `test/duration_s`, `test/epoch` | how many evaluations there were |
| end of `predict` | `predict/duration_s`, `predict/batches`, `predict/epoch` | how many predictions there were |

Each of the four schedules is None (never), a number, or a list. A number n means the first item and every multiple of
n: 3 over seven epochs means 1, 3 and 6. A list means exactly its items; the first only if it is listed. Items count from 1.

While `fit` runs people may change the learning rate (knob `lr`; of a schedule of Keras' own all rates are scaled) and, where `train_batch`
is a number, that number (`log_every`); save the model as a file of the run; evaluate, once there was a validation; pause; and stop, which
saves first and then ends `fit` as `model.stop_training` does. Between two batches, never within one.
"""

import operator
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import farwatch

try:
    import keras

    from farwatch.integrations.keras_control import Control, learning_rate
except ImportError as error:  # pragma: no cover - the message is the point
    raise ImportError(
        "Keras 3 is needed for farwatch.integrations.keras; install it with: pip install keras"
    ) from error

Schedule = int | Iterable[int] | None


class FarwatchCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Records what `fit`, `evaluate` and `predict` do; gives Keras no reason to wait for a device.

    Keras hands out batch values as numbers only, which waits for the device; so the batch hooks exist only if their
    schedule is given, and are declared safe to run beside the training. `logs` are never changed.
    """

    def __init__(
        self,
        run: farwatch.Run | None = None,
        *,
        epoch: Schedule = 1,
        train_batch: Schedule = None,
        test_batch: Schedule = None,
        predict_batch: Schedule = None,
        config: bool = True,
        summary: bool = True,
        steer: bool = True,
        save_on_stop: bool = True,
    ) -> None:
        """Prepare; nothing is recorded yet.

        Args:
            run: Where to record; by default the current run when training begins, else a new one.
            epoch, train_batch, test_batch, predict_batch: Which items to record; see the module.
            config: Store fit parameters, optimizer and loss as config, below `keras`.
            summary: Store the text of `model.summary()`.
            steer: Let people change and ask things while `fit` runs; see the module.
            save_on_stop: A stop saves the model first.

        Raises:
            ValueError: A schedule is no positive integer, list of them, or None; the message names the argument.
        """
        super().__init__()
        self.async_safe = True
        self._run = run
        self._config = config
        self._summary = summary
        self._schedules = {
            name: _schedule(name, given)
            for name, given in (
                ("epoch", epoch), ("train_batch", train_batch), ("test_batch", test_batch), ("predict_batch", predict_batch),
            )
        }  # fmt: skip
        self._batches = {name: _Batches() for name in ("train_batch", "test_batch", "predict_batch")}
        for name in self._batches:  # only then does Keras know that these hooks do something
            if self._schedules[name] is not None:
                setattr(self, f"on_{name}_begin", self._begin_hook(name))
                setattr(self, f"on_{name}_end", self._end_hook(name))
        self._steer = steer
        self._save_on_stop = save_on_stop
        self._control: Control | None = None
        self._fitting = False
        self._described = False
        self._epoch = 0  # the epoch that runs or ran last, counted from 1 over all calls of `fit`
        self._offset = 0
        self._evaluations = 0
        self._predictions = 0
        self._started = dict.fromkeys(("epoch", "test", "predict"), 0.0)
        self._validation_s: float | None = None

    @property
    def run(self) -> farwatch.Run:
        """Where this records; made at the first need."""
        if self._run is None:
            self._run = farwatch.run or farwatch.init()
        return self._run

    # --- fit

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._fitting = True
        self._offset = -1  # not known before the first epoch says which one it is
        if not self._described:
            self._described = True
            self.run.define_metric("epoch/duration_s", unit="s")
            if self._summary:
                lines: list[str] = []
                _tried(
                    lambda: self.model.summary(
                        print_fn=lambda line, **_: lines.append(str(line)), line_length=100
                    )
                )
                self.run.log({"model/summary": "\n".join(lines)}, commit=False)
        if self._config:
            self.run.config.update({"keras": self._facts()})
        if self._steer:
            if self._control is None:
                self._control = Control(self.run, lambda: self.model, save_on_stop=self._save_on_stop)
            every = self._schedules["train_batch"]
            self._control.begin(every if isinstance(every, int) else None, self._set_log_every)

    def _set_log_every(self, every: int) -> None:
        self._schedules["train_batch"] = every

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._offset < 0:  # a second `fit` that starts at its first epoch again goes on counting
            self._offset = max(0, self._epoch - epoch)
            epochs = (self.params or {}).get("epochs")
            if self._control is not None and epochs and self._schedules["train_batch"] is None:
                self._control.total_steps(self._offset + epochs)
        self._epoch = self._offset + epoch + 1
        self._validation_s = None
        self._started["epoch"] = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._batches["train_batch"].restart()
        if not _due(self._schedules["epoch"], self._epoch):
            return
        found = {**(logs or {}), "epoch": self._epoch}
        found["epoch/duration_s"] = time.perf_counter() - self._started["epoch"]
        if self._validation_s is not None:
            found["epoch/validation_s"] = self._validation_s
        rate = self._learning_rate()
        if rate is not None:
            found.setdefault("learning_rate", rate)
        self.run.log(found, step=self._epoch)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._control is not None:
            self._control.step_end()  # here, as what follows a batch may run on a thread of Keras' own

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._fitting = False
        if self._control is not None:
            self._control.end()

    # --- evaluate and predict

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._started["test"] = time.perf_counter()

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._batches["test_batch"].restart()
        seconds = time.perf_counter() - self._started["test"]
        if self._fitting:  # the validation of an epoch: its values come with the epoch
            self._validation_s = seconds
            if self._control is not None:
                self._control.validates()
            return
        self._evaluations += 1
        found = {f"test/{name}": value for name, value in (logs or {}).items()}
        self.run.log(found | {"test/duration_s": seconds, "test/epoch": self._epoch}, step=self._evaluations)

    def on_predict_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._started["predict"] = time.perf_counter()

    def on_predict_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._batches["predict_batch"].restart()
        self._predictions += 1
        found = {
            "predict/duration_s": time.perf_counter() - self._started["predict"],
            "predict/epoch": self._epoch,
        }
        steps = (self.params or {}).get("steps")
        if steps is not None:
            found["predict/batches"] = steps
        self.run.log(found, step=self._predictions)

    # --- batches

    def _begin_hook(self, name: str) -> Any:
        batches = self._batches[name]

        def begin(batch: int, logs: Mapping[str, Any] | None = None) -> None:
            if name == "train_batch":
                FarwatchCallback.on_train_batch_begin(self, batch, logs)
            batches.begun[batch] = time.perf_counter()

        return begin

    def _end_hook(self, name: str) -> Any:
        batches = self._batches[name]

        def end(batch: int, logs: Mapping[str, Any] | None = None) -> None:
            # Keras may call this from a thread of its own, so nothing here depends on the order of the calls.
            seconds = batches.duration(batch)
            batches.last = max(batches.last, batch + 1)
            step = batches.before + batch + 1
            if not _due(self._schedules[name], step):
                return
            found = {f"{name}/{key}": value for key, value in (logs or {}).items() if key != "outputs"}
            if seconds is not None:
                found[f"{name}/duration_s"] = seconds
            self.run.log(found | {f"{name}/epoch": self._epoch}, step=step)

        return end

    # --- facts

    def _learning_rate(self) -> float | None:
        return learning_rate(getattr(self.model, "optimizer", None))

    def _facts(self) -> dict[str, Any]:
        model = self.model
        facts: dict[str, Any] = {
            "fit": {name: value for name, value in (self.params or {}).items() if value is not None},
            "backend": keras.backend.backend(),
            "version": keras.__version__,
            "model": {
                "name": model.name,
                "class": type(model).__name__,
                "parameters": _tried(model.count_params),
            },
        }
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None:
            facts["optimizer"] = {"class": type(optimizer).__name__, **(_tried(optimizer.get_config) or {})}
        loss = getattr(model, "loss", None)
        if loss is not None:
            facts["loss"] = (
                loss if isinstance(loss, str | dict | list) else getattr(loss, "name", None) or loss
            )
        return facts


def _tried(call: Callable[[], Any]) -> Any:
    """What a model or optimizer of the user's own says about itself; None if asking it fails or is not foreseen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras' own, about NumPy
        try:
            return call()
        except Exception:  # a border: their `get_config` may raise anything, and is not worth the training
            return None


class _Batches:
    """One kind of batches: how many there were before the running pass, and when those of it began."""

    def __init__(self) -> None:
        self.before = 0
        self.last = 0
        self.begun: dict[int, float] = {}

    def duration(self, batch: int) -> float | None:
        """Seconds since the batch, or the group of batches that Keras runs at once, began."""
        now = time.perf_counter()
        first = max((begun for begun in list(self.begun) if begun <= batch), default=None)
        started = None if first is None else self.begun.pop(first, None)
        return None if started is None else now - started

    def restart(self) -> None:
        self.before += self.last
        self.last = 0
        self.begun.clear()


def _schedule(name: str, given: Schedule) -> int | frozenset[int] | None:
    """Check one schedule. Raises `ValueError` naming the argument."""
    if given is None:
        return None
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return frozenset(_item(name, item, given) for item in given)
    return _item(name, given, given)


def _item(name: str, item: object, given: object) -> int:
    try:
        number = operator.index(item)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if number < 1 or isinstance(item, bool):
        raise ValueError(f"{name} must be a positive integer, a list of them, or None, not: {given!r:.200}")
    return number


def _due(schedule: int | frozenset[int] | None, item: int) -> bool:
    if schedule is None:
        return False
    if isinstance(schedule, frozenset):
        return item in schedule
    return item == 1 or item % schedule == 0
