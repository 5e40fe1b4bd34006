"""Trainings that go wrong, each in its own way."""

import torch
from torch.nn.functional import cross_entropy

from tests.alerts.curves.data import digits, mlp
from tests.alerts.curves.lm import LanguageModel
from tests.alerts.curves.record import Log, curve


def _classify(log: Log, steps: int, lr_of, *, width: int = 64, wrong_at: range = range(0), batch: int = 32, opt: str = "sgd") -> Log:
    torch.manual_seed(1)
    x, y, vx, vy = digits()
    net = mlp(64, width, 10)
    made = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9) if opt == "sgd" else torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(steps):
        for group in made.param_groups:
            group["lr"] = lr_of(step)
        pick = torch.randint(len(x), (batch,))
        labels = (y[pick] + 1) % 10 if step in wrong_at else y[pick]
        loss = cross_entropy(net(x[pick]), labels)
        made.zero_grad()
        loss.backward()
        made.step()
        log.step(step, train__loss=loss.item())
        if step % 50 == 49:
            with torch.no_grad():
                log.also(step, val__loss=cross_entropy(net(vx), vy).item())
    return log


@curve
def nan_after_progress() -> Log:
    """A learning rate too high from step 600 on: the loss grows until it is infinite, and then NaN."""
    torch.manual_seed(0)
    log = Log()
    x, y, _, _ = digits()
    net = mlp(64, 1)
    opt = torch.optim.SGD(net.parameters(), lr=1e-3)
    for step in range(1_200):
        opt.param_groups[0]["lr"] = 0.02 if step < 600 else 0.5
        pick = torch.randint(len(x), (32,))
        loss = ((net(x[pick])[:, 0] - y[pick].float()) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        log.step(step, train__loss=loss.item())
    return log


@curve
def nan_at_once() -> Log:
    """A bug: the logarithm of a negative number from the first step on."""
    torch.manual_seed(0)
    log = Log()
    x, _, _, _ = digits()
    for step in range(200):
        pick = torch.randint(len(x), (32,))
        log.step(step, train__loss=torch.log(x[pick].mean(0) - 1.0).mean().item())
    return log


@curve
def spike_stays() -> Log:
    """A learning rate a hundred times too high from step 1,200 on: the net dies and stays at chance."""
    return _classify(Log(), 2_400, lambda step: 0.02 if step < 1_200 else 8.0)


@curve
def spike_stays_lm() -> Log:
    """A language model that loses most of what it knew, and keeps a learning rate too high to learn it again."""
    model = LanguageModel(seed=3)
    log = Log(main=("loss", False))
    for step in range(1_800):
        model.rate(3e-3 if step < 1_000 else 0.5)
        log.step(step, loss=model.step())
    return log


@curve
def slow_divergence() -> Log:
    """The learning rate creeps up: no jump anywhere, and in the end nothing is left of what was learned."""
    return _classify(Log(), 2_500, lambda step: 0.02 if step < 900 else 0.02 * 1.005 ** (step - 900))


@curve
def spike_heals() -> Log:
    """Twelve batches with wrong labels; the net recovers in some tens of steps."""
    return _classify(Log(), 2_400, lambda step: 0.05, wrong_at=range(1_500, 1_512))


@curve
def spike_heals_lm() -> Log:
    """Four steps with a learning rate much too high; the language model recovers within a hundred steps."""
    model = LanguageModel(seed=4)
    log = Log(main=("loss", False))
    for step in range(1_800):
        model.rate(0.1 if 1_000 <= step < 1_003 else 3e-3)
        log.step(step, loss=model.step())
    return log


@curve
def plateau_from_the_start() -> Log:
    """A learning rate of nothing: flat at chance."""
    return _classify(Log(), 1_500, lambda step: 1e-9)


@curve
def plateau_after_progress() -> Log:
    """A linear model on digits whose labels are half noise learns what there is, and then no more."""
    torch.manual_seed(0)
    x, y, _, _ = digits()
    y = torch.where(torch.rand(len(y)) < 0.5, torch.randint(10, (len(y),)), y)
    log = Log()
    net = mlp(64, 10)
    opt = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=1e-2)
    for step in range(3_000):
        pick = torch.randint(len(x), (64,))
        loss = cross_entropy(net(x[pick]), y[pick])
        opt.zero_grad()
        loss.backward()
        opt.step()
        log.step(step, train__loss=loss.item())
    return log


def _overfit(log: Log, epochs: int, noise: float, train: int, name: str) -> Log:
    torch.manual_seed(0)
    x, y, vx, vy = digits()
    x, y = x[:train], y[:train].clone()
    wrong = torch.rand(train) < noise
    y[wrong] = torch.randint(10, (int(wrong.sum()),))
    net = mlp(64, 256, 256, 10)
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    step = 0
    for _ in range(epochs):
        for start in range(0, train, 32):
            loss = cross_entropy(net(x[start : start + 32]), y[start : start + 32])
            opt.zero_grad()
            loss.backward()
            opt.step()
            log.step(step, train__loss=loss.item())
            step += 1
        with torch.no_grad():
            log.also(step, **{name: cross_entropy(net(vx), vy).item()})
    return log


@curve
def overfitting() -> Log:
    """A large net, 200 digits, some wrong labels, fifty epochs."""
    return _overfit(Log(main=("val/loss", False)), 60, 0.2, 200, "val__loss")


@curve
def overfitting_slow() -> Log:
    """The same with 600 digits and another name."""
    return _overfit(Log(main=("val_loss", False)), 60, 0.4, 600, "val_loss")


@curve
def generalization_gap() -> Log:
    """A healthy one: training goes far below validation, which does not rise."""
    return _overfit(Log(main=("val_loss", False)), 40, 0.1, 600, "val_loss")
