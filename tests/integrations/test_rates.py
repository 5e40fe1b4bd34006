"""What a scheduler makes of a changed learning rate: merely assigned, and by `lr_knob`, on the installed PyTorch."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as schedulers
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from farwatch.errors import UsageError
from farwatch.integrations.torch import lr_knob
from tests.integrations.logged_run import Logged

Maker = Callable[[torch.optim.Optimizer], Any]
CHANGE_AT, STEPS = 4, 20
NEW = 0.03


class OwnScheduler(schedulers.LRScheduler):
    """One of a user's, which reads none of the usual attributes."""

    def get_lr(self) -> list[float]:
        return [0.1 / (1 + self.last_epoch), 0.01 / (1 + self.last_epoch)]


MAKERS: dict[str, Maker] = {
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda n: (1 + n) / 10 if n < 10 else 0.95**n),
    "warm-up, linear": lambda o: get_linear_schedule_with_warmup(o, 10, 40),
    "warm-up, cosine": lambda o: get_cosine_schedule_with_warmup(o, 3, 40),
    "MultiplicativeLR": lambda o: schedulers.MultiplicativeLR(o, lambda n: 0.9),
    "StepLR": lambda o: schedulers.StepLR(o, 6, 0.5),
    "MultiStepLR": lambda o: schedulers.MultiStepLR(o, [7, 15], 0.5),
    "ConstantLR": lambda o: schedulers.ConstantLR(o, 0.5, 8),
    "LinearLR": lambda o: schedulers.LinearLR(o, 0.1, 1.0, 12),
    "ExponentialLR": lambda o: schedulers.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, 12, 0.001),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 7, eta_min=0.001),
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, 40, 2.0),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, [0.1, 0.01], 40),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, [0.01, 0.001], [0.1, 0.01], 5),
    "ReduceLROnPlateau": lambda o: schedulers.ReduceLROnPlateau(o, factor=0.5, patience=3, min_lr=[1e-3, 1e-4]),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 8), schedulers.CosineAnnealingLR(o, 20, 0.001)], [8]
    ),
    "ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [schedulers.LinearLR(o, 0.1, 1.0, 8), schedulers.ExponentialLR(o, 0.95)], optimizer=o
    ),
    "own": OwnScheduler,
}
# Measured on torch 2.13: with which of its next 20 steps a scheduler has undone a rate that was merely assigned; the others go on from it.
# SequentialLR undoes it where its next part begins, CosineAnnealingLR at the end of its cycle.
TAKEN_BACK = {
    "LambdaLR": 1, "warm-up, linear": 1, "warm-up, cosine": 1, "CosineAnnealingWarmRestarts": 1, "OneCycleLR": 1, "CyclicLR": 1, "own": 1,
    "SequentialLR": 4, "CosineAnnealingLR": 8,
}  # fmt: skip


def decay(step: int) -> float:
    return 0.9**step


def new_optimizer() -> torch.optim.Optimizer:
    first, second = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    groups = [{"params": [first], "lr": 0.1}, {"params": [second], "lr": 0.01}]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def rates(optimizer: torch.optim.Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def advance(optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> list[list[float]]:
    """The rates after each step."""
    seen = []
    for _ in range(steps):
        optimizer.step()
        if isinstance(scheduler, schedulers.ReduceLROnPlateau):
            scheduler.step(1.0)
        elif scheduler is not None:
            scheduler.step()
        seen.append(rates(optimizer))
    return seen


def flat(seen: list[list[float]]) -> Any:
    return pytest.approx([rate for row in seen for rate in row], rel=1e-9)


def test_every_scheduler_of_pytorch_is_measured() -> None:
    known = {
        name
        for name, kind in vars(schedulers).items()
        if isinstance(kind, type) and issubclass(kind, schedulers.LRScheduler) and not name.startswith("_")
    }

    assert known - {"LRScheduler"} == {name for name in MAKERS if name.endswith(("LR", "Restarts", "Scheduler", "Plateau"))}


@pytest.mark.parametrize("name", MAKERS)
def test_a_rate_that_is_merely_assigned_is_taken_back_by_some(name: str) -> None:
    plain, changed = new_optimizer(), new_optimizer()
    plan, scheduler = MAKERS[name](plain), MAKERS[name](changed)
    advance(plain, plan, CHANGE_AT)
    advance(changed, scheduler, CHANGE_AT)
    factor = NEW / rates(changed)[0]
    for group in changed.param_groups:
        group["lr"] *= factor
    expected, seen = advance(plain, plan, STEPS), advance(changed, scheduler, STEPS)

    undone = [step for step in range(STEPS) if seen[step] == pytest.approx(expected[step], rel=1e-9)]
    assert undone == list(range(TAKEN_BACK.get(name, STEPS + 1) - 1, STEPS))


@pytest.mark.parametrize("name", MAKERS)
def test_scaled_rates_follow_the_schedule_times_one_factor(logged: Logged, name: str) -> None:
    plain, changed = new_optimizer(), new_optimizer()
    plan, scheduler = MAKERS[name](plain), MAKERS[name](changed)
    knob = lr_knob(logged.run, changed, scheduler)
    advance(plain, plan, CHANGE_AT)
    advance(changed, scheduler, CHANGE_AT)
    before = rates(changed)
    factor = NEW / before[0]
    old, new, said = knob.change(NEW)
    now = rates(changed)
    expected, seen = advance(plain, plan, STEPS), advance(changed, scheduler, STEPS)

    assert (old, new, now[0]) == (before[0], NEW, NEW)
    assert now == pytest.approx([rate * factor for rate in before])
    assert said == f"{type(plan).__name__}: scaled by {factor:.4g}; its schedule goes on"
    assert [rate for row in seen for rate in row] == flat([[rate * factor for rate in row] for row in expected])
    assert scheduler.get_last_lr() == seen[-1] and knob.value == seen[-1][0]


@pytest.mark.parametrize("name", MAKERS)
def test_a_pinned_rate_stays(logged: Logged, name: str) -> None:
    optimizer = new_optimizer()
    scheduler = MAKERS[name](optimizer)
    knob = lr_knob(logged.run, optimizer, scheduler, mode="pin")
    first_rate, second_rate = advance(optimizer, scheduler, CHANGE_AT)[-1]
    share = second_rate / first_rate
    knob.change(NEW)
    first = advance(optimizer, scheduler, STEPS // 2)
    _, _, said = knob.change(NEW / 3)
    second = advance(optimizer, scheduler, STEPS // 2)

    assert first == [[NEW, pytest.approx(NEW * share)]] * len(first)
    assert second == [[NEW / 3, pytest.approx(NEW / 3 * share)]] * len(second)
    assert said == f"{type(scheduler).__name__}: pinned; what it says no longer counts"
    assert scheduler.get_last_lr() == second[-1]


@pytest.mark.parametrize("mode", ["scale", "pin"])
def test_without_a_scheduler_the_rate_stays(logged: Logged, mode: str) -> None:
    optimizer = new_optimizer()
    knob = lr_knob(logged.run, optimizer, mode=mode)

    assert knob.change(NEW)[2] == "it stays"
    assert advance(optimizer, None, 3) == [[NEW, pytest.approx(NEW / 10)]] * 3
    assert knob.change(0)[:2] == (NEW, 0) and rates(optimizer) == [0, 0]
    assert knob.change(NEW) and rates(optimizer) == [NEW, pytest.approx(NEW / 10)]


@pytest.mark.parametrize("name", MAKERS)
def test_a_scaled_schedule_goes_on_in_a_new_process_without_us(logged: Logged, name: str) -> None:
    optimizer = new_optimizer()
    scheduler = MAKERS[name](optimizer)
    knob = lr_knob(logged.run, optimizer, scheduler)
    advance(optimizer, scheduler, CHANGE_AT)
    knob.change(NEW)
    state = pickle.loads(pickle.dumps((optimizer.state_dict(), scheduler.state_dict())))
    expected = advance(optimizer, scheduler, STEPS)

    fresh = new_optimizer()
    resumed = MAKERS[name](fresh)
    fresh.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    if name == "own":  # what a scheduler computes in its own way is not ours to write down
        again = lr_knob(logged.run, fresh, resumed, name="again")
        again.restore(NEW)
    assert [r for row in advance(fresh, resumed, STEPS) for r in row] == flat(expected)


@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step:UserWarning")  # of every scheduler that was pickled
@pytest.mark.parametrize("mode", ["scale", "pin"])
@pytest.mark.parametrize("name", ["LambdaLR", "OneCycleLR", "SequentialLR", "own"])
def test_copies_pickles_and_states_hold_nothing_of_ours(logged: Logged, name: str, mode: str) -> None:
    optimizer = new_optimizer()
    if name == "LambdaLR":  # a lambda cannot be pickled
        scheduler: Any = schedulers.LambdaLR(optimizer, decay)
    else:
        scheduler = MAKERS[name](optimizer)
    plain = set(scheduler.state_dict())
    knob = lr_knob(logged.run, optimizer, scheduler, mode=mode)
    knob.change(NEW)
    made = [copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler)), pickle.loads(pickle.dumps(scheduler, 1))]

    assert set(scheduler.state_dict()) == {*plain, "farwatch_rate"}
    kind = OwnScheduler if name == "own" else getattr(schedulers, name)
    assert isinstance(scheduler, kind) and type(scheduler).__name__ == kind.__name__
    for copied in made:
        assert type(copied) is kind
        assert advance(copied.optimizer, copied, 3)  # it works, on an optimizer of its own
    assert rates(optimizer)[0] == NEW


def test_a_kept_rate_is_not_applied_twice(logged: Logged) -> None:
    """A resumed run asks for the value again; a state that was saved after the change has it already. (Rule 14.)"""
    states = []
    optimizer = new_optimizer()
    scheduler = MAKERS["LambdaLR"](optimizer)
    knob = lr_knob(logged.run, optimizer, scheduler)
    states.append(copy.deepcopy((optimizer.state_dict(), scheduler.state_dict())))
    knob.change(NEW)
    advance(optimizer, scheduler, CHANGE_AT)
    states.append(copy.deepcopy((optimizer.state_dict(), scheduler.state_dict())))
    moved = rates(optimizer)

    found = []
    for at_optimizer, at_scheduler in states:
        fresh = new_optimizer()
        resumed = MAKERS["LambdaLR"](fresh)
        again = lr_knob(logged.run, fresh, resumed, name="again")
        fresh.load_state_dict(at_optimizer)
        resumed.load_state_dict(at_scheduler)
        again.restore(NEW)
        found.append(rates(fresh))

    assert found == [[NEW, pytest.approx(NEW / 10)], moved]
    assert again.change(NEW) and rates(fresh)[0] == NEW  # a person who asks for it gets it


def test_what_no_factor_can_do_is_refused_with_the_reason(logged: Logged) -> None:
    optimizer = new_optimizer()
    scheduler = get_linear_schedule_with_warmup(optimizer, 5, 40)
    knob = lr_knob(logged.run, optimizer, scheduler, max=1.0)

    assert knob.declared["default"] == 0.1 and knob.value == 0.0  # the rate that the warm-up leads to
    with pytest.raises(UsageError, match="LambdaLR has the learning rate at 0 now"):
        knob.change(NEW)
    advance(optimizer, scheduler, 1)
    for wrong, words in ((0, "never come back from 0"), (-1, "at least 0")):
        with pytest.raises(UsageError, match=words):
            knob.change(wrong)
    with pytest.raises(ValueError, match="at most 1"):
        knob.change(2)
    assert rates(optimizer) == pytest.approx([0.02, 0.002])
    with pytest.raises(UsageError, match="mode is scale or pin"):
        lr_knob(logged.run, optimizer, scheduler, mode="hold")
    with pytest.raises(UsageError, match="takes a scheduler"):
        lr_knob(logged.run, optimizer, 3)


def test_a_scheduler_that_was_not_given_is_told_of(logged: Logged) -> None:
    optimizer = new_optimizer()
    MAKERS["LambdaLR"](optimizer)

    assert "lr_knob was not given" in lr_knob(logged.run, optimizer).change(NEW)[2]


def test_a_rate_in_a_tensor_stays_that_tensor(logged: Logged) -> None:
    """A compiled step reads the tensor that it was compiled with."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight], lr=torch.tensor(0.1), capturable=False, foreach=False)
    scheduler = schedulers.ExponentialLR(optimizer, 0.9)
    tensor = optimizer.param_groups[0]["lr"]
    knob = lr_knob(logged.run, optimizer, scheduler)
    knob.change(NEW)
    optimizer.step()
    scheduler.step()

    assert optimizer.param_groups[0]["lr"] is tensor and float(tensor) == pytest.approx(NEW * 0.9)
