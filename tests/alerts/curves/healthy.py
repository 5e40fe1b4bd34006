"""Healthy trainings of many kinds, with all that is odd about them."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from tests.alerts.curves.data import digits, mlp
from tests.alerts.curves.record import Log, curve


def _batches(seed: int, steps: int, size: int = 32):
    torch.manual_seed(seed)
    x, y, _, _ = digits()
    for step in range(steps):
        pick = torch.randint(len(x), (size,))
        yield step, x[pick], y[pick]


def _learn(opt: torch.optim.Optimizer, loss: torch.Tensor) -> float:
    opt.zero_grad()
    loss.backward()
    opt.step()
    return float(loss)


@curve
def classification() -> Log:
    """Digits with dropout, validated each epoch on loss and accuracy."""
    log = Log(main=("val/loss", False))
    _, _, vx, vy = digits()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.4), nn.Linear(128, 10))
    opt = torch.optim.SGD(net.parameters(), lr=0.05, weight_decay=1e-3)
    for step, x, y in _batches(1, 2_000):
        net.train()
        log.step(step, train__loss=_learn(opt, cross_entropy(net(x), y)))
        if step % 40 == 39:
            net.eval()
            with torch.no_grad():
                out = net(vx)
                log.also(step, val__loss=float(cross_entropy(out, vy)), val__acc=float((out.argmax(1) == vy).float().mean()))
    return log


@curve
def one_cycle() -> Log:
    """The learning rate rises to 0.2 and falls to nothing; the loss rises with it in the middle."""
    log = Log()
    torch.manual_seed(0)
    net = mlp(64, 64, 10)
    opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, 0.2, total_steps=2_000)
    for step, x, y in _batches(2, 2_000):
        log.step(step, train__loss=_learn(opt, cross_entropy(net(x), y)), lr=plan.get_last_lr()[0])
        plan.step()
    return log


@curve
def step_decay() -> Log:
    """A high rate for long, then a tenth, then a tenth of that."""
    log = Log()
    torch.manual_seed(0)
    net = mlp(64, 64, 10)
    opt = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.MultiStepLR(opt, [800, 1_400], 0.1)
    for step, x, y in _batches(3, 1_800):
        log.step(step, train__loss=_learn(opt, cross_entropy(net(x), y)))
        plan.step()
    return log


@curve
def gan() -> Log:
    """Two nets against each other, on a ring of eight Gaussians; both losses wander."""
    log = Log(main=("g_loss", False))
    torch.manual_seed(0)
    made, judge = mlp(8, 64, 2), mlp(2, 64, 1)
    first, second = torch.optim.Adam(made.parameters(), 1e-3, (0.5, 0.9)), torch.optim.Adam(judge.parameters(), 1e-3, (0.5, 0.9))
    for step in range(2_500):
        angle = torch.randint(8, (64,)) * math.pi / 4
        real = torch.stack([angle.cos(), angle.sin()], 1) * 2 + 0.05 * torch.randn(64, 2)
        fake = made(torch.randn(64, 8))
        one, zero = torch.ones(64, 1), torch.zeros(64, 1)
        d_loss = binary_cross_entropy_with_logits(judge(real), one) + binary_cross_entropy_with_logits(judge(fake.detach()), zero)
        d_value = _learn(second, d_loss)
        log.step(step, g_loss=_learn(first, binary_cross_entropy_with_logits(judge(fake), one)), d_loss=d_value)
    return log


@curve
def wasserstein() -> Log:
    """A critic without bound: its loss is negative, and says nothing by its height."""
    log = Log(main=("critic_loss", False))
    torch.manual_seed(0)
    made, critic = mlp(8, 64, 2), mlp(2, 64, 1)
    first, second = torch.optim.RMSprop(made.parameters(), 5e-4), torch.optim.RMSprop(critic.parameters(), 5e-4)
    for step in range(1_500):
        for _ in range(3):
            real = torch.randn(64, 2) + 3
            loss = critic(made(torch.randn(64, 8)).detach()).mean() - critic(real).mean()
            value = _learn(second, loss)
            with torch.no_grad():
                for weights in critic.parameters():
                    weights.clamp_(-0.1, 0.1)
        log.step(step, critic_loss=value, generator_loss=_learn(first, -critic(made(torch.randn(64, 8))).mean()))
    return log


@curve
def fine_tune_low_loss() -> Log:
    """Begins at a loss of 0.01 and stays there, on batches of eight."""
    log = Log()
    torch.manual_seed(0)
    net = mlp(64, 128, 10)
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _, x, y in _batches(4, 600):
        _learn(opt, cross_entropy(net(x), y))
    opt = torch.optim.Adam(net.parameters(), lr=1e-4)
    for step, x, y in _batches(5, 1_500, 8):
        log.step(step, train__loss=_learn(opt, cross_entropy(net(x), y)))
    return log


@curve
def mixed_precision() -> Log:
    """A loss scale that doubles until gradients overflow in half precision; those steps are skipped."""
    log = Log(main=("loss", False))
    torch.manual_seed(0)
    net = mlp(64, 64, 10)
    opt = torch.optim.SGD(net.parameters(), lr=0.05)
    scale, good = 2.0**16, 0
    for step, x, y in _batches(6, 1_500):
        loss = cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        grads = [(weights.grad * scale * 8).half() for weights in net.parameters()]
        norm = math.sqrt(sum(float((grad.float() ** 2).sum()) for grad in grads)) / scale / 8
        if math.isfinite(norm):
            opt.step()
            good += 1
            if good % 60 == 0:
                scale *= 2
        else:
            scale, good = scale / 2, 0
        log.step(step, loss=float(loss), grad_norm=norm, loss_scale=scale)
    return log


@curve
def mixed_precision_loss() -> Log:
    """The same, where the loss itself is infinite for single steps."""
    log = Log(main=("loss", False), second_s=0.4)
    torch.manual_seed(0)
    net = mlp(64, 64, 10)
    opt = torch.optim.SGD(net.parameters(), lr=0.05)
    for step, x, y in _batches(6, 1_500):
        loss = cross_entropy(net(x), y)
        if step % 311 == 310:
            log.step(step, loss=float((loss * 1e6).half()))
            continue
        log.step(step, loss=_learn(opt, loss))
    return log


@curve
def curriculum_classes() -> Log:
    """Three digits, then six, then all ten: the loss jumps at each."""
    log = Log()
    torch.manual_seed(0)
    x, y, _, _ = digits()
    net = mlp(64, 64, 10)
    opt = torch.optim.SGD(net.parameters(), lr=0.05)
    for step in range(2_400):
        known = 3 if step < 800 else 6 if step < 1_600 else 10
        usable = torch.nonzero(y < known)[:, 0]
        pick = usable[torch.randint(len(usable), (32,))]
        log.step(step, train__loss=_learn(opt, cross_entropy(net(x[pick]), y[pick])))
    return log


@curve
def bandit_reinforce() -> Log:
    """A policy gradient on a walk of ten states; rewards come late, its losses jump when they do."""
    log = Log(main=("reward", True), second_s=2.0)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    policy, value = mlp(10, 32, 2), mlp(10, 32, 1)
    opt = torch.optim.Adam([*policy.parameters(), *value.parameters()], lr=5e-3)
    eye = torch.eye(10)
    for episode in range(900):
        place, chosen, values, rewards = 2, [], [], []
        for _ in range(40):
            spread = torch.distributions.Categorical(logits=policy(eye[place]))
            action = spread.sample()
            chosen.append(spread.log_prob(action))
            values.append(value(eye[place])[0])
            place = min(9, place + 1) if int(action) else max(0, place - 1)
            rewards.append(10.0 if place == 9 else 0.1 * float(rng.normal()))
            if place == 9:
                break
        gains = torch.tensor(np.cumsum(rewards[::-1])[::-1].copy(), dtype=torch.float32)
        guess = torch.stack(values)
        policy_loss = -(torch.stack(chosen) * (gains - guess.detach())).mean()
        value_loss = mse_loss(guess, gains)
        _learn(opt, policy_loss + 0.5 * value_loss)
        log.step(episode, reward=sum(rewards), loss=float(policy_loss + 0.5 * value_loss), value_loss=float(value_loss))
    return log


@curve
def q_learning() -> Log:
    """Q-learning with a net that chases itself: the loss grows as values grow."""
    log = Log(main=("episode/return", True), second_s=1.0)
    torch.manual_seed(0)
    rng = np.random.default_rng(1)
    net, target = mlp(2, 64, 3), mlp(2, 64, 3)
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    memory: list[tuple] = []
    place, speed, total, steps = -0.5, 0.0, 0.0, 0
    for step in range(3_000):
        state = (place, 10 * speed)
        with torch.no_grad():
            greedy = int(net(torch.tensor(state)).argmax())
        action = int(rng.integers(3)) if rng.random() < max(0.1, 1 - step / 1_500) else greedy
        speed = float(np.clip(speed + 0.004 * (action - 1) - 0.0025 * math.cos(3 * place), -0.07, 0.07))
        place = float(np.clip(place + speed, -1.2, 0.6))
        done = place >= 0.5
        steps += 1
        reward = 10.0 if done else -0.1
        total += reward
        memory.append((state, action, reward, (place, 10 * speed), done))
        if done or steps >= 200:
            log.also(step, episode__return=total)
            place, speed, total, steps = -0.5 + 0.1 * float(rng.normal()), 0.0, 0.0, 0
        if step % 100 == 0:
            target.load_state_dict(net.state_dict())
        picked = [memory[int(one)] for one in rng.integers(len(memory), size=32)]
        s, a, r, after, over = (torch.tensor(column, dtype=torch.float32) for column in zip(*picked, strict=True))
        with torch.no_grad():
            goal = r + 0.98 * target(after).max(1)[0] * (1 - over)
        log.step(step, train__loss=_learn(opt, mse_loss(net(s).gather(1, a.long()[:, None])[:, 0], goal)))
    return log


# --- ten more


@curve
def autoencoder() -> Log:
    """A variational autoencoder with KL annealing: its loss rises as the weight of the KL does."""
    log = Log(main=("loss", False))
    torch.manual_seed(0)
    enter, leave = mlp(64, 64, 16), mlp(8, 64, 64)
    opt = torch.optim.Adam([*enter.parameters(), *leave.parameters()], lr=2e-3)
    for step, x, _ in _batches(7, 2_000, 64):
        middle, width = enter(x).chunk(2, 1)
        again = leave(middle + torch.randn_like(middle) * (0.5 * width).exp())
        kl = -0.5 * (1 + width - middle**2 - width.exp()).sum(1).mean()
        rebuilt = ((again - x) ** 2).sum(1).mean()
        log.step(step, loss=_learn(opt, rebuilt + min(1.0, step / 800) * kl), kl_loss=float(kl), recon_loss=float(rebuilt))
    return log


@curve
def negative_elbo() -> Log:
    """A density in many dimensions: the loss starts positive and ends far below zero."""
    log = Log(main=("train/nll", False))
    torch.manual_seed(0)
    mean, width = nn.Parameter(torch.zeros(64)), nn.Parameter(torch.zeros(64))
    opt = torch.optim.Adam([mean, width], lr=1e-2)
    for step, x, _ in _batches(8, 1_500):
        log.step(step, train__nll=_learn(opt, (0.5 * ((x - mean) / width.exp()) ** 2 + width).sum(1).mean()))
    return log


@curve
def diffusion() -> Log:
    """Noise is predicted at random times: a loss that is mostly noise, and hardly falls after the start."""
    log = Log(main=("loss", False))
    torch.manual_seed(0)
    net = mlp(65, 128, 128, 64)
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step, x, _ in _batches(9, 2_500, 64):
        when, noise = torch.rand(64, 1), torch.randn_like(x)
        log.step(step, loss=_learn(opt, mse_loss(net(torch.cat([(1 - when) * x + when * noise, when], 1)), noise)))
    return log


@curve
def contrastive() -> Log:
    """InfoNCE over two views of each picture."""
    log = Log(main=("loss", False))
    torch.manual_seed(0)
    net = mlp(64, 64, 32)
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step, x, _ in _batches(10, 1_500, 64):
        first, second = (nn.functional.normalize(net(x + 0.3 * torch.randn_like(x)), dim=1) for _ in range(2))
        log.step(step, loss=_learn(opt, cross_entropy(first @ second.T / 0.1, torch.arange(64))))
    return log


@curve
def one_by_one() -> Log:
    """Batches of a single example: the loss is 0.001 or 5, as it comes."""
    log = Log()
    torch.manual_seed(0)
    net = mlp(64, 64, 10)
    opt = torch.optim.SGD(net.parameters(), lr=0.01)
    for step, x, y in _batches(11, 3_000, 1):
        log.step(step, train__loss=_learn(opt, cross_entropy(net(x), y)))
    return log


@curve
def heavy_tails() -> Log:
    """Regression on targets with outliers: single batches are a thousand times worse than others."""
    log = Log(main=("train/mse", False))
    torch.manual_seed(0)
    net = mlp(64, 64, 1)
    opt = torch.optim.SGD(net.parameters(), lr=1e-3)
    for step, x, y in _batches(12, 2_000):
        goal = y.float() + torch.distributions.StudentT(1.5).sample((len(y),))
        loss = mse_loss(net(x)[:, 0], goal)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        opt.step()
        log.step(step, train__mse=float(loss))
    return log


@curve
def physics() -> Log:
    """A net that solves a differential equation: the loss falls over six orders and jumps all the time (Adam at a high rate)."""
    log = Log(main=("loss", False))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    for step in range(1_500):
        t = torch.rand(64, 1, requires_grad=True)
        u = net(t)
        slope = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
        loss = ((slope + 2 * u) ** 2).mean() + ((net(torch.zeros(1, 1)) - 1) ** 2).mean()
        log.step(step, loss=_learn(opt, loss))
    return log


@curve
def two_tasks() -> Log:
    """Each batch belongs to one of two tasks with losses of very different height."""
    log = Log(main=("loss", False))
    torch.manual_seed(0)
    net, other = mlp(64, 64, 10), mlp(64, 64, 1)
    opt = torch.optim.Adam([*net.parameters(), *other.parameters()], lr=5e-4)
    for step, x, y in _batches(13, 2_000):
        first = torch.rand(()) < 0.5
        loss = cross_entropy(net(x), y) if first else mse_loss(other(x)[:, 0], y.float())
        log.step(step, loss=_learn(opt, loss))
    return log


@curve
def distillation_restart_of_data() -> Log:
    """Examples in the same order each epoch, easy ones first: a saw tooth."""
    log = Log()
    torch.manual_seed(0)
    x, y, _, _ = digits()
    net = mlp(64, 32, 10)
    opt = torch.optim.SGD(net.parameters(), lr=0.05)
    order = torch.argsort(y)
    for step in range(2_400):
        start = step * 16 % len(x)
        pick = order[start : start + 16]
        log.step(step, train__loss=_learn(opt, cross_entropy(net(x[pick]), y[pick])))
    return log


@curve
def accuracy_only() -> Log:
    """Logs nothing but accuracy, which should rise."""
    log = Log(main=("val/acc", True), second_s=60)
    torch.manual_seed(0)
    _, _, vx, vy = digits()
    net = mlp(64, 64, 10)
    opt = torch.optim.SGD(net.parameters(), lr=0.005)
    for step, x, y in _batches(14, 1_200):
        _learn(opt, cross_entropy(net(x), y))
        if step % 10 == 9:
            with torch.no_grad():
                log.step(step, val__acc=float((net(vx).argmax(1) == vy).float().mean()))
    return log


@curve
def boosting() -> Log:
    """Boosted trees, validated at each: training goes to nothing, validation flattens."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.metrics import log_loss

    data = load_breast_cancer()
    x, y, vx, vy = data.data[:400], data.target[:400], data.data[400:], data.target[400:]
    log = Log(main=("val/logloss", False), second_s=30)
    model = GradientBoostingClassifier(n_estimators=150, learning_rate=0.05, max_depth=2, random_state=0).fit(x, y)
    for step, (train, val) in enumerate(zip(model.staged_predict_proba(x), model.staged_predict_proba(vx), strict=True)):
        log.step(step, train__logloss=log_loss(y, train), val__logloss=log_loss(vy, val))
    return log


@curve
def matrix_factors() -> Log:
    """Alternating least squares: falls in a few steps and has converged."""
    rng = np.random.default_rng(0)
    log = Log(main=("loss", False), second_s=10)
    data = rng.normal(size=(60, 6)) @ rng.normal(size=(6, 50)) + 0.1 * rng.normal(size=(60, 50))
    left, right = rng.normal(size=(60, 4)), rng.normal(size=(50, 4))
    for step in range(120):
        left = data @ right @ np.linalg.inv(right.T @ right + 0.1 * np.eye(4))
        right = data.T @ left @ np.linalg.inv(left.T @ left + 0.1 * np.eye(4))
        log.step(step, loss=float(((data - left @ right.T) ** 2).mean()))
    return log
