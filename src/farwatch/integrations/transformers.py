"""Hugging Face Transformers: `Trainer(…, callbacks=[FarwatchCallback()])`.

Recorded at the trainer's global step: `train/loss`, `train/grad_norm`, `train/learning_rate`, `eval/…`, `test/…` and `epoch`, exactly
as the trainer logs them; what it says once, at the end, is in the summary. Config holds the arguments (`args`) and the model's own
(`model`), the summary `last_checkpoint`, `best_checkpoint` and `best_metric`. A checkpoint remembers the run:
`train(resume_from_checkpoint=…)` goes on with it from that step.

While it trains people may change the learning rate (knob `lr`; decay and warm-up go on) and the log interval (`log_every`), save a
checkpoint, evaluate where there is an `eval_strategy`, pause, and stop, which saves first. On many ranks all do so after the same step.
"""

import os
from typing import Any

import farwatch
from farwatch.errors import UsageError

try:
    from transformers import TrainerCallback
    from transformers.trainer_callback import ExportableState
    from transformers.trainer_utils import IntervalStrategy

    from farwatch.integrations.rates import offer_rate
except ImportError as error:  # pragma: no cover - the message is the point
    raise ImportError(
        "Transformers and PyTorch are needed for farwatch.integrations.transformers; install them with: "
        "pip install 'transformers[torch]'"
    ) from error

AT_THE_END = {
    "train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos", "train_tokens_per_second",
}  # fmt: skip
NO_PROJECT = "huggingface"  # what TrainingArguments say where nobody has said anything


class FarwatchCallback(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Records a `Trainer` and lets people steer it; see the module. All ranks have one."""

    def __init__(
        self,
        run: farwatch.Run | None = None,
        *,
        steer: bool = True,
        save_on_stop: bool = True,
        mode: str = "scale",
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
        if mode not in ("scale", "pin"):
            raise UsageError(f"mode is scale or pin, not: `{mode}`")
        self._run = run
        self._steer = steer
        self._save_on_stop = save_on_stop
        self._mode = mode
        self._guest: Any = None
        self._saves = False
        self._evaluates = False
        self.run_id: str | None = None if run is None else run.id

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: the id of the run."""
        return {"args": {}, "attributes": {"run_id": self.run_id}}

    # --- what the trainer tells

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        run = self._open(args, state)
        if state.is_world_process_zero:
            model = more.get("model")
            config: Any = getattr(model, "config", None)
            own = {"model": config.to_dict()} if hasattr(config, "to_dict") else {}
            run.config.update({"args": args.to_dict(), **own})
        if not self._steer:
            return
        self._guest = guest = run._steering.guest()
        guest.begin()
        guest.total_steps(state.max_steps)
        offer_rate(guest, more.get("optimizer"), more.get("lr_scheduler"), name="lr", mode=self._mode)
        if args.logging_strategy == IntervalStrategy.STEPS:
            guest.knob("log_every", int(state.logging_steps), min=1, set=lambda n: setattr(state, "logging_steps", n))

        def save() -> str:
            self._saves = True
            return os.path.join(args.output_dir, f"checkpoint-{state.global_step}")

        guest.on("checkpoint", save)
        if self._save_on_stop:
            guest.on("stop", save)
        if args.eval_strategy != IntervalStrategy.NO:
            guest.command(self._evaluation())

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
        if self._guest is None:
            return control
        if self._guest.step_end():  # on all ranks, and the same on all; so `control` is set afterwards
            control.should_training_stop = True
        if self._saves:
            control.should_save = True
        if self._evaluates:
            control.should_evaluate = True
        self._saves = self._evaluates = False
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **more: Any) -> None:
        if not state.is_world_process_zero or not logs:
            return
        run = self._open(args, state)
        run.summary.update({name: value for name, value in logs.items() if name in AT_THE_END})
        found = {_named(name): value for name, value in logs.items() if name not in AT_THE_END}
        if set(found) - {"epoch"}:
            run.log(found, step=state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.is_world_process_zero:
            run = self._open(args, state)
            run.summary["last_checkpoint"] = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
            self._tell_best(run, state)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.is_world_process_zero:
            self._tell_best(self._open(args, state), state)
        if self._guest is not None:
            self._guest.end()
            self._guest = None

    # --- the run

    def _open(self, args: Any, state: Any) -> farwatch.Run:
        if self._run is None:
            self._run = farwatch.run or self._begin_run(args, state)
            self.run_id = self._run.id
        return self._run

    def _begin_run(self, args: Any, state: Any) -> farwatch.Run:
        """A run of our own: that of the checkpoint from which the training goes on, else a new one."""
        kept = (state.stateful_callbacks or {}).get(type(self).__name__) if state.global_step > 0 else None
        kept = kept[0] if isinstance(kept, list) and kept else kept
        before = (kept or {}).get("attributes", {}).get("run_id") if isinstance(kept, dict) else None
        project = getattr(args, "project", None)
        return farwatch.init(
            None if project == NO_PROJECT else project,
            name=args.run_name if args.run_name != args.output_dir else None,
            id=before,
            from_step=state.global_step if before else None,
        )

    def _tell_best(self, run: farwatch.Run, state: Any) -> None:
        for name, value in (("best_checkpoint", state.best_model_checkpoint), ("best_metric", state.best_metric)):
            if value is not None:
                run.summary[name] = value

    def _evaluation(self) -> Any:
        def evaluate() -> str:
            """Evaluate after this step."""
            self._evaluates = True
            return "the evaluation begins now; its metrics are below eval/"

        return evaluate


def _named(name: str) -> str:
    """`eval_loss` is `eval/loss`, `loss` is `train/loss`."""
    if name == "epoch":
        return name
    for prefix in ("eval", "test"):
        if name.startswith(f"{prefix}_"):
            return f"{prefix}/{name[len(prefix) + 1 :]}"
    return f"train/{name}"
