"""Lightning: `Trainer(logger=FarwatchLogger())`, of `lightning` or of `pytorch_lightning`.

Recorded are the metrics as Lightning hands them to any logger, at its step, hyperparameters as config, and in the summary what
`ModelCheckpoint` knows: `best_checkpoint`, `best_score`, `last_checkpoint`. A checkpoint remembers the run: `fit(…, ckpt_path=…)` goes
on with it.

The logger brings a callback along, `FarwatchCallback`, which is also there for trainers with another logger. With it people may change
learning rates (knob `lr`, or `lr/0`, `lr/1`, … for several optimizers; schedules go on) and the log interval (`log_every`), save a
checkpoint, evaluate where there are validation data, pause, and stop, which saves first. On many ranks all do so after the same batch.
"""

import math
import os
import sys
import uuid
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

import farwatch
from farwatch.errors import UsageError

try:
    if "lightning" in sys.modules or "pytorch_lightning" not in sys.modules:
        from lightning.pytorch import Callback
        from lightning.pytorch.loggers import Logger
        from lightning.pytorch.utilities import rank_zero_only
    else:
        raise ImportError("the program has taken the other name")
except ImportError:
    try:
        from pytorch_lightning import Callback  # type: ignore[assignment]
        from pytorch_lightning.loggers import Logger  # type: ignore[assignment]
        from pytorch_lightning.utilities import rank_zero_only  # type: ignore[assignment]
    except ImportError as error:  # pragma: no cover - the message is the point
        raise ImportError(
            "Lightning is needed for farwatch.integrations.lightning; install it with: pip install lightning"
        ) from error

from farwatch.integrations.rates import offer_rate

CHECKPOINT_KEY = "farwatch"


class _Place:
    """Where logger and callback record: the run that was given, else the current one, else that of the checkpoint, else a new one."""

    def __init__(self, run: farwatch.Run | None) -> None:
        self.open = run
        self.before: tuple[str, int] | None = None  # run and step of the checkpoint that the training goes on from

    @property
    def run(self) -> farwatch.Run:
        if self.open is None:
            before, step = self.before or (None, None)
            self.open = farwatch.run or farwatch.init(id=before, from_step=step)
        return self.open

    def read(self, checkpoint: Mapping[str, Any]) -> None:
        """Take note of what a checkpoint remembers."""
        kept = checkpoint.get(CHECKPOINT_KEY)
        if isinstance(kept, dict) and kept.get("run"):
            self.before = (str(kept["run"]), int(checkpoint.get("global_step", 0)))


class _Experiment:
    """The run, opened at its first use: Lightning asks every logger for its experiment before it has read the checkpoint."""

    def __init__(self, run: Callable[[], farwatch.Run]) -> None:
        self.__dict__["_run"] = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._run(), name, value)


class FarwatchLogger(Logger):
    """Records what a `Trainer` logs, and brings the callback that lets people steer it; see the module."""

    def __init__(
        self, run: farwatch.Run | None = None, *, steer: bool = True, save_on_stop: bool = True, mode: str = "scale"
    ) -> None:
        """Prepare; nothing is recorded yet.

        Args:
            run: Where to record; by default the current run, else the one that the checkpoint remembers, else a new one.
            steer: Let people change and ask things.
            save_on_stop: A stop saves a checkpoint first.
            mode: What a changed learning rate does to the schedule: `scale` or `pin`, as in `lr_knob`.

        Raises:
            UsageError: `mode` is neither.
        """
        super().__init__()
        self._place = _Place(run)
        self._callback = FarwatchCallback(steer=steer, save_on_stop=save_on_stop, mode=mode)
        self._callback._place = self._place
        self._version = uuid.uuid4().hex[:7]
        self._experiment = _Experiment(self._opened)
        self._hyperparameters: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Part of the folder in which Lightning keeps checkpoints."""
        return "farwatch"

    @property
    def version(self) -> str:
        """Part of the folder in which Lightning keeps checkpoints: the run, or a word of its own for one that is not open yet."""
        return self._version if self._place.open is None else self._place.open.id

    @property
    def experiment(self) -> Any:
        """The run: `self.logger.experiment.log(...)`."""
        return self._experiment

    def _opened(self) -> farwatch.Run:
        """The run, with the hyperparameters that came before it."""
        run = self._place.run
        if self._hyperparameters:
            told, self._hyperparameters = self._hyperparameters, {}
            run.config.update(told)
        return run

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Keep them as config; a fit that goes on from a checkpoint opens its run a moment later."""
        self._hyperparameters.update(vars(params) if isinstance(params, Namespace) else params)
        if self._place.open is not None or farwatch.run is not None:
            self._opened()

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Record metrics."""
        self._opened().log(dict(metrics), step=step)

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Called where a fit begins, with the module, hence with the trainer: bring the callback along."""
        trainer = getattr(model, "_trainer", None) or getattr(model, "trainer", None)
        if trainer is None:
            return
        if not any(isinstance(one, FarwatchCallback) for one in trainer.callbacks):
            # The checkpoint has been read already, and callbacks with it.
            self._place.read(getattr(getattr(trainer, "_checkpoint_connector", None), "_loaded_checkpoint", None) or {})
            trainer.callbacks.insert(0, self._callback)
        if trainer.is_global_zero:
            self._opened()

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Name the newest and the best checkpoint in the summary."""
        score = checkpoint_callback.best_model_score
        told = {
            "best_checkpoint": checkpoint_callback.best_model_path,
            "best_score": None if score is None else float(score),
            "last_checkpoint": getattr(checkpoint_callback, "_last_checkpoint_saved", ""),
        }
        self._opened().summary.update({name: value for name, value in told.items() if value not in (None, "")})


class FarwatchCallback(Callback):
    """Lets people steer a `Trainer`; all ranks have one. `FarwatchLogger` brings it along."""

    def __init__(
        self, run: farwatch.Run | None = None, *, steer: bool = True, save_on_stop: bool = True, mode: str = "scale"
    ) -> None:
        """As `FarwatchLogger`."""
        if mode not in ("scale", "pin"):
            raise UsageError(f"mode is scale or pin, not: `{mode}`")
        self._place = _Place(run)
        self._steer = steer
        self._save_on_stop = save_on_stop
        self._mode = mode
        self._guest: Any = None
        self._usual: tuple[Any, Any] | None = None  # when Lightning validates, while an evaluation was asked for

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint[CHECKPOINT_KEY] = {"run": self._place.run.id}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._place.read(checkpoint)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        run = self._place.run
        if not self._steer:
            return
        self._guest = guest = run._steering.guest()
        guest.begin()
        total = trainer.estimated_stepping_batches
        guest.total_steps(total if math.isfinite(total) else None)
        schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
        for index, optimizer in enumerate(trainer.optimizers):
            scheduler = next((one for one in schedules if getattr(one, "optimizer", None) is optimizer), None)
            name = "lr" if len(trainer.optimizers) == 1 else f"lr/{index}"
            offer_rate(guest, optimizer, scheduler, name=name, mode=self._mode)
        every = int(trainer.log_every_n_steps)
        guest.knob("log_every", max(1, every), min=1, set=lambda n: setattr(trainer, "log_every_n_steps", n))
        guest.on("checkpoint", lambda: _save(trainer))
        if self._save_on_stop:
            guest.on("stop", lambda: _save(trainer))
        if trainer.enable_validation:
            guest.command(self._evaluation(trainer))

    def on_train_batch_end(self, trainer: Any, *more: Any, **named: Any) -> None:
        if self._guest is not None and self._guest.step_end():  # the same on all ranks
            trainer.fit_loop.min_epochs = 0  # somebody wants it to stop, whatever early stopping has to wait for
            trainer.fit_loop.epoch_loop.min_steps = None
            trainer.should_stop = True

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if self._usual is not None:
            trainer.val_check_batch, trainer.check_val_every_n_epoch = self._usual
            self._usual = None

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self._guest is not None:
            self._guest.end()
            self._guest = None

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)

    def _evaluation(self, trainer: Any) -> Any:
        def evaluate() -> str:
            """Validate after this batch."""
            if self._usual is None:
                self._usual = (trainer.val_check_batch, trainer.check_val_every_n_epoch)
                trainer.val_check_batch = 1
                trainer.check_val_every_n_epoch = None if trainer.check_val_every_n_epoch is None else 1
            return "the validation begins now"

        return evaluate


def _save(trainer: Any) -> str:
    """Save a checkpoint beside Lightning's own, on all ranks, as sharded models need it; returns its path."""
    beside = getattr(trainer.checkpoint_callback, "dirpath", None)
    folder = beside or os.path.join(trainer.default_root_dir, "checkpoints")
    path = os.path.join(folder, f"farwatch-step={trainer.global_step}.ckpt")
    trainer.save_checkpoint(path)
    return path
