"""Helpers for training loops in PyTorch: norms, optimizer settings, a summary of the model, checkpoints, the learning rate as a knob.

```python
from farwatch.integrations.torch import checkpoint, log_optimizer, lr_knob, norms, summary

summary(model)
log_optimizer(optimizer)
lr_knob(run, optimizer, scheduler)
with norms(model, every=100):
    for step, batch in enumerate(loader):
        ...
        run.log({"loss": loss.detach()}, step=step)
checkpoint(run, model, optimizer, step=step)
```
"""

import os
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any

import farwatch
from farwatch.errors import UsageError

try:
    import torch
    from torch.optim.optimizer import register_optimizer_step_pre_hook
except ImportError as error:  # pragma: no cover - the message is the point
    raise ImportError(
        "PyTorch is needed for farwatch.integrations.torch; install it with: pip install torch"
    ) from error

from farwatch.integrations.rates import Rates

NAMES_MAX = 5000  # parameters that get norms of their own; beyond that only the totals are recorded


class Norms:
    """Records norms while it is open; made by `norms`. Use it in a `with` block, or call `remove`."""

    def __init__(
        self, model: torch.nn.Module, run: farwatch.Run | None, every: int, gradients: bool, weights: bool
    ) -> None:
        self._run = run
        self._every = every
        self._gradients = gradients
        self._weights = weights
        self._count = 0
        self._names = {
            weakref.ref(parameter): name.removeprefix("module.").removeprefix("_orig_mod.").replace(".", "/")
            for name, parameter in model.named_parameters()
        }
        self._handle: torch.utils.hooks.RemovableHandle | None = register_optimizer_step_pre_hook(
            self._before_step
        )

    def remove(self) -> None:
        """Stop recording; may be called twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.remove()

    def __enter__(self) -> "Norms":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Gradients are complete, and unscaled where a `GradScaler` is used, just before the optimizer's step."""
        found = []
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name = self._names.get(weakref.ref(parameter))
                if name is not None:
                    found.append((name, parameter))
        if not found:
            return  # another model's optimizer
        due = self._count % self._every == 0
        self._count += 1
        run = self._run or farwatch.run
        if not due or run is None:
            return
        logged: dict[str, Any] = {}
        with torch.no_grad():
            if self._gradients:
                graded = [(name, parameter.grad) for name, parameter in found if parameter.grad is not None]
                logged |= _norms("grad", graded)
            if self._weights:
                logged |= _norms("weight", [(name, parameter.detach()) for name, parameter in found])
        run.log(logged, commit=False)


def norms(
    model: torch.nn.Module,
    run: farwatch.Run | None = None,
    *,
    every: int = 100,
    gradients: bool = True,
    weights: bool = True,
) -> Norms:
    """Record the norms of gradients and weights at the 1st, (1 + `every`)th, (1 + 2 `every`)th … optimizer step.

    Names: `grad/<parameter>` and `weight/<parameter>` with `/` for dots, and the totals `grad_norm` and `weight_norm`.
    They are logged at the run's counter without advancing it, so they stand beside what the loop logs next. Nothing
    waits for a device. Parts of a sharded model (FSDP) give the norms of what this rank holds.

    Raises:
        ValueError: `every` is below 1.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f"every must be a positive integer, not: {every!r}")
    return Norms(model, run, every, gradients, weights)


def _norms(prefix: str, tensors: list[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """One norm per tensor and the norm of them all, computed in groups, still on their devices."""
    groups: dict[tuple[torch.device, torch.dtype], list[tuple[str, torch.Tensor]]] = {}
    for name, tensor in tensors:
        local: Any = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        values = local.coalesce().values() if local.is_sparse else local
        if values.numel():
            groups.setdefault((values.device, values.dtype), []).append((name, values))
    logged: dict[str, torch.Tensor] = {}
    squares = []
    for group in groups.values():
        found = torch.stack([norm.float() for norm in torch._foreach_norm([tensor for _, tensor in group])])
        squares.append(found.double().square().sum() if found.device.type != "mps" else found.square().sum())
        if len(tensors) <= NAMES_MAX:
            logged |= {
                f"{prefix}/{name}": norm for (name, _), norm in zip(group, found.unbind(), strict=True)
            }
    if squares:
        logged[f"{prefix}_norm"] = (
            torch.stack([square.to(squares[0].device) for square in squares]).sum().sqrt()
        )
    return logged


def log_optimizer(
    optimizer: torch.optim.Optimizer, run: farwatch.Run | None = None, *, name: str = "optimizer"
) -> None:
    """Store an optimizer's class and the settings of its parameter groups as config, below `name`.

    Raises `UsageError` if no run is given and none is open.
    """
    groups = []
    for group in optimizer.param_groups:
        settings = {key: value for key, value in group.items() if key != "params"}
        groups.append(
            {
                **settings,
                "tensors": len(group["params"]),
                "parameters": sum(p.numel() for p in group["params"]),
            }
        )
    first = groups[0] if len(groups) == 1 else {"groups": groups}
    _current(run).config.update({name: {"class": type(optimizer).__name__, **first}})


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The learning rates as they are now, ready for `run.log`: `lr`, or `lr/0`, `lr/1`, … for several groups."""
    rates = [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]
    return {"lr": rates[0]} if len(rates) == 1 else {f"lr/{index}": rate for index, rate in enumerate(rates)}


def lr_knob(
    run: farwatch.Run | None,
    optimizer: torch.optim.Optimizer,
    scheduler: Any = None,
    *,
    name: str = "lr",
    mode: str = "scale",
    min: float | None = None,
    max: float | None = None,
) -> Any:
    """Let people change the learning rate, so that the scheduler does not undo it; returns the knob.

    Its value is the rate of the first parameter group as it is now; the others keep their ratio to it. What the scheduler will do
    stands in the answer to whoever asked. Call this after a checkpoint has been loaded, where one is.

    Args:
        run: The run; None: the current one.
        optimizer: Whose rate it is.
        scheduler: What moves the rate: any of PyTorch's, one made of several, one of your own. None: nothing does.
        name: Of the knob; one for each optimizer.
        mode: `scale`: from now on the scheduler's rates are multiplied, so that decay and warm-up go on. `pin`: the rate stays as set.
        min, max: Limits, inclusive.

    Raises:
        UsageError: No run is open, `mode` is unknown, or the scheduler cannot be steered.
    """
    rates = Rates(optimizer, scheduler, mode)
    found = _current(run)
    start = rates.usual
    return found._steering.declare_knob(
        name, start, min=min, max=max, choices=None, log=start > 0 and (min is None or min > 0), set_=rates.set, get=lambda: rates.now,
        keep=rates.keep,
    )  # fmt: skip


def summary(model: torch.nn.Module, run: farwatch.Run | None = None) -> str:
    """A table of the model's layers with their shapes and parameters; stored as the text `model/summary` of the run.

    Without a run, given or open, the text is only returned.
    """
    rows = [("layer", "kind", "shape", "parameters")]
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if own or not list(module.children()):
            shapes = " ".join(_shape(parameter) for parameter in own)
            rows.append((name or "(model)", type(module).__name__, shapes, f"{_count(own):,}"))
    every = list({id(parameter): parameter for parameter in model.parameters()}.values())
    trained = [parameter for parameter in every if parameter.requires_grad]
    widths = [min(60, max(len(row[column]) for row in rows)) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]
    known = [parameter for parameter in every if not hasattr(parameter, "materialize")]
    size = sum(parameter.numel() * parameter.element_size() for parameter in known)
    lines += ["", f"{_count(every):,} parameters, {_count(trained):,} trained, {size / 1e6:,.1f} MB"]
    text = "\n".join(line.rstrip() for line in lines)
    found = run or farwatch.run
    if found is not None:
        found.log({"model/summary": text}, commit=False)
        found.config.update({"model": {"class": type(model).__name__, "parameters": _count(every)}})
    return text


def _shape(parameter: torch.nn.Parameter) -> str:
    return "?" if hasattr(parameter, "materialize") else "x".join(map(str, parameter.shape)) or "1"


def _count(parameters: list[torch.nn.Parameter]) -> int:
    """Lazy parameters have no size yet."""
    return sum(0 if hasattr(parameter, "materialize") else parameter.numel() for parameter in parameters)


def checkpoint(
    run: farwatch.Run | None,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    step: float | None = None,
    *,
    name: str | None = None,
    **more: Any,
) -> str | None:
    """Save what is needed to go on from here, and keep it as a file of the run; returns its name there.

    The file holds `model`, `optimizer`, `step` and whatever is in `more` (a scheduler's state, an epoch), loadable with
    `torch.load(path, weights_only=True)` if `more` is plain. Ranks above 0 do nothing. Unlike `log` this raises: a
    checkpoint that was not written is worth an exception (`OSError`).
    """
    found = _current(run)
    if found.rank != 0:
        return None
    step = found.step if step is None else step
    number = f"{step:06d}" if isinstance(step, int) else f"{step:g}"
    name = name or f"checkpoints/step-{number}.pt"
    inner: Any = (
        model.module if hasattr(model, "module") and isinstance(model.module, torch.nn.Module) else model
    )
    inner = getattr(inner, "_orig_mod", inner)  # of torch.compile
    state = {"model": inner.state_dict(), "step": step, **more}
    if optimizer is not None:
        state["optimizer"] = optimizer.state_dict()
    with tempfile.TemporaryDirectory(prefix="farwatch-") as folder:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path)
        kept = found.save(os.fspath(path), base=folder)
    if not kept:
        raise OSError(f"the checkpoint was not kept: `{name}`")
    return kept[0]


def _current(run: farwatch.Run | None) -> farwatch.Run:
    found = run or farwatch.run
    if found is None:
        raise UsageError("no run is open in this process", hint="call farwatch.init() first")
    return found
