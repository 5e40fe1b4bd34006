"""Learning rates of PyTorch that people change while a scheduler moves them.

Two ways. *Scale*: what the scheduler says from now on is multiplied, in its own terms, so that the change is a part of
`state_dict()` and outlives this process. *Pin*: the rate is set again after each `scheduler.step()`.

What the schedulers of torch 2.13 make of a rate that was merely assigned is measured in tests/integrations/test_rates.py: LambdaLR,
OneCycleLR, CyclicLR and CosineAnnealingWarmRestarts take it back at once, SequentialLR with its next part, CosineAnnealingLR at the
end of its cycle; those that compute from the previous rate go on from it.
"""

import copyreg
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from farwatch.errors import UsageError

GROUP_KEYS = ("initial_lr", "max_lr", "min_lr")  # what OneCycleLR and others keep in the optimizer's groups, beside `lr`
LISTS = ("base_lrs", "max_lrs", "min_lrs", "_last_lr")
NUMBERS = ("eta_min", "default_min_lr")
MARK = "farwatch_rate"  # in a scheduler's `__dict__`, hence in its state: the value of a person that is in it already, and the factor


class Rates:
    """The learning rates of one optimizer with its scheduler, if it has one.

    The rate that people see is that of the first group; others keep their ratio to it.
    """

    def __init__(self, optimizer: Any, scheduler: Any, mode: str) -> None:
        """Raises `UsageError` for what is no optimizer or scheduler, and for an unknown `mode`."""
        if mode not in ("scale", "pin"):
            raise UsageError(f"mode is scale or pin, not: `{mode}`")
        if not getattr(optimizer, "param_groups", None):
            raise UsageError(f"lr_knob takes an optimizer, not {type(optimizer).__qualname__}")
        self.optimizer = optimizer
        self.scheduler = _unwrapped(scheduler)
        self.mode = mode
        self._shares = [1.0] * len(optimizer.param_groups)
        self._held: _Held | None = None
        if self.scheduler is None:
            return
        if not callable(getattr(self.scheduler, "step", None)):
            raise UsageError(f"lr_knob takes a scheduler, not {type(scheduler).__qualname__}")
        self.scheduler.__dict__.setdefault(MARK, None)  # also in checkpoints from before the first change
        if mode == "pin" or not all(map(_is_known, _all_of(self.scheduler))):
            self._held = _Held(self)
            _hold(self.scheduler, self._held)

    @property
    def now(self) -> float:
        """The rate of the first group."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def usual(self) -> float:
        """The rate now, or the one that a warm-up from 0 leads to."""
        group = self.optimizer.param_groups[0]
        return self.now or float(group.get("max_lr", group.get("initial_lr", 0.0)))

    def set(self, rate: float) -> str:
        """Change the rate; says what the scheduler will make of it. Raises `UsageError` for a rate that cannot be."""
        if rate < 0:
            raise UsageError(f"a learning rate is at least 0, not: `{rate:g}`")
        scheduler = self.scheduler
        name = type(scheduler).__name__
        if scheduler is None:
            self._assign(rate)
            groups = self.optimizer.param_groups
            return "it may be undone by a scheduler that lr_knob was not given" if "initial_lr" in groups[0] else "it stays"
        if self.mode == "pin":
            assert self._held is not None
            self._assign(rate)
            self._held.pinned = [float(group["lr"]) for group in self.optimizer.param_groups]
            _tell(scheduler, self.optimizer)
            said = f"{name}: pinned; what it says no longer counts"
        else:
            said = self._scale(rate)
        scheduler.__dict__[MARK] = [rate, 1.0 if self._held is None else self._held.factor]
        return said

    def keep(self, rate: float) -> str:
        """Bring back a rate from before a resume, unless the state that was loaded has it already."""
        mark = None if self.scheduler is None or self.mode == "pin" else self.scheduler.__dict__.get(MARK)
        if mark is not None and mark[0] == rate:
            if self._held is not None:
                self._held.factor = mark[1]
            return f"{type(self.scheduler).__name__}: the state that it has loaded was scaled already"
        return self.set(rate)

    def _scale(self, rate: float) -> str:
        name, now = type(self.scheduler).__name__, self.now
        if now <= 0:
            raise UsageError(f"{name} has the learning rate at 0 now, which no factor changes", hint="ask again after a step")
        if rate == 0:
            raise UsageError(f"{name} would never come back from 0; pause the run, or use lr_knob(..., mode=`pin`)")
        factor = rate / now
        if self._held is not None:
            self._held.factor *= factor
            self._held.forget()
        for group in self.optimizer.param_groups:
            _put(group, "lr", group["lr"] * factor)
            if self._held is None:
                for key in GROUP_KEYS:
                    if key in group:
                        _put(group, key, group[key] * factor)
        _put(self.optimizer.param_groups[0], "lr", rate)  # to the last bit
        if self._held is None:
            for scheduler in _all_of(self.scheduler):
                _multiply(scheduler, factor)
        else:
            _tell(self.scheduler, self.optimizer)
        return f"{name}: scaled by {factor:.4g}; its schedule goes on"

    def _assign(self, rate: float) -> None:
        groups = self.optimizer.param_groups
        for key in ("lr", "initial_lr"):
            first = float(groups[0].get(key, 0.0))
            if first > 0:
                self._shares = [float(group.get(key, first)) / first for group in groups]
                break
        for group, share in zip(groups, [*self._shares, *[1.0] * len(groups)], strict=False):
            _put(group, "lr", rate * share)


class _Held:
    """What is done about a scheduler that cannot be told in its own terms: its own rates before each step, ours after it."""

    def __init__(self, rates: Rates) -> None:
        self._optimizer = rates.optimizer
        self._scheduler = rates.scheduler
        self.factor = 1.0
        self.pinned: list[float] | None = None
        self._own: list[tuple[float, float]] = []  # by group: what the scheduler said, what we made of it

    def forget(self) -> None:
        """Somebody else has changed the rates."""
        self._own = []

    def step(self, step: Callable[[], Any]) -> Any:
        """One step of the scheduler."""
        groups = self._optimizer.param_groups
        if self.pinned is None and self.factor == 1.0:
            return step()
        own = [*self._own, *[(0.0, -1.0)] * (len(groups) - len(self._own))]
        for group, (said, made) in zip(groups, own, strict=False):
            now = float(group["lr"])
            _put(group, "lr", said if now == made else now / self.factor if self.pinned is None else now)
        answer = step()
        self._own = []
        for index, group in enumerate(groups):
            said = float(group["lr"])
            pinned = self.pinned[index] if self.pinned is not None and index < len(self.pinned) else None
            _put(group, "lr", group["lr"] * self.factor if pinned is None else pinned)
            self._own.append((said, float(group["lr"])))
        _tell(self._scheduler, self._optimizer)
        return answer


def _hold(scheduler: Any, held: _Held) -> None:
    """Wrap `step` of one scheduler by a class of its own, which leaves its `__dict__`, and so its state, as it is.

    A copy or a pickle is one of the scheduler's own class, without us.
    """
    kind = type(scheduler)
    if getattr(kind, "farwatch_held", None) is not None:
        kind = kind.__bases__[0]

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        return held.step(lambda: kind.step(self, *args, **kwargs))

    def reduce(self: Any, protocol: Any) -> Any:
        reduced = kind.__reduce_ex__(self, protocol)  # type: ignore[call-arg]
        if not isinstance(reduced, tuple):
            return reduced
        maker, given, *rest = reduced
        remake = copyreg._reconstructor  # type: ignore[attr-defined]  # unlike __newobj__ it may make another class
        ours = maker in (copyreg.__newobj__, remake) and given[0] is type(self)  # type: ignore[attr-defined]
        return (remake, (kind, object, None), *rest) if ours else reduced

    names = {"step": step, "__reduce_ex__": reduce, "farwatch_held": held, "__doc__": kind.__doc__, "__module__": kind.__module__}
    made = type(kind.__name__, (kind,), names)
    made.__qualname__ = kind.__qualname__
    try:
        scheduler.__class__ = made
    except TypeError as error:
        raise UsageError(f"`{kind.__qualname__}` cannot be held: {error}") from error


def _unwrapped(scheduler: Any) -> Any:
    """The scheduler inside of what Accelerate and others wrap around it."""
    while scheduler is not None and not isinstance(scheduler, LRScheduler):
        inner = getattr(scheduler, "scheduler", None)
        if inner is None:
            break
        scheduler = inner
    return scheduler


def _all_of(scheduler: Any) -> Iterator[Any]:
    """A scheduler and those that it is made of."""
    yield scheduler
    inner = scheduler.__dict__.get("_schedulers", ())
    for one in inner if isinstance(inner, Iterable) else ():
        yield from _all_of(one)


def _is_known(scheduler: Any) -> bool:
    """Whether its rates are computed by PyTorch's own code, of which we know what it reads."""
    kind = type(scheduler)
    own = [name for one in kind.__mro__ if one.__module__ != "torch.optim.lr_scheduler" for name in vars(one)]
    return isinstance(scheduler, LRScheduler) and not {"step", "get_lr", "_get_closed_form_lr", "_update_lr", "_reduce_lr"} & set(own)


def _multiply(scheduler: Any, factor: float) -> None:
    state = scheduler.__dict__
    for name in LISTS:
        if isinstance(state.get(name), list):
            state[name] = [rate * factor for rate in state[name]]
    for name in NUMBERS:
        if isinstance(state.get(name), int | float | torch.Tensor):
            state[name] = state[name] * factor


def _tell(scheduler: Any, optimizer: Any) -> None:
    """Have `get_last_lr` say what is true."""
    for one in _all_of(scheduler):
        if "_last_lr" in one.__dict__:
            one._last_lr = [group["lr"] for group in optimizer.param_groups]


def _put(group: dict[str, Any], key: str, value: Any) -> None:
    """Set a rate, in place where it is a tensor that a compiled step reads."""
    if isinstance(group[key], torch.Tensor):
        group[key].fill_(float(value))
    else:
        group[key] = float(value)


def offer_rate(guest: Any, optimizer: Any, scheduler: Any, *, name: str, mode: str) -> None:
    """Declare the knob of an optimizer that a framework has made; none for what is not like one of PyTorch's."""
    try:
        rates = Rates(optimizer, scheduler, mode)
        start = rates.usual
    except (UsageError, KeyError):
        return
    guest.knob(name, start, log=start > 0, set=rates.set, get=lambda: rates.now, keep=rates.keep)
