"""A language model of characters, small enough to train in seconds."""

import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.alerts.curves.data import text
from tests.alerts.curves.record import Log, curve

LENGTH = 32


class LanguageModel:
    """One layer of attention over characters. `step` trains on one batch and returns its loss."""

    def __init__(self, seed: int = 0, *, batch: int = 16, rnn: bool = False) -> None:
        torch.manual_seed(seed)
        self.data, letters = text()
        self.batch = batch
        self.rnn = rnn
        self.place = nn.Parameter(0.02 * torch.randn(LENGTH, 48))
        self.embed = nn.Embedding(letters, 48)
        self.body = nn.GRU(48, 48, batch_first=True) if rnn else nn.TransformerEncoderLayer(48, 2, 96, 0.0, batch_first=True)
        self.head = nn.Linear(48, letters)
        self.all = [self.place, *self.embed.parameters(), *self.body.parameters(), *self.head.parameters()]
        self.opt = torch.optim.Adam(self.all, lr=3e-3)
        self.mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)
        self.length = LENGTH
        self.cut = int(0.9 * len(self.data))

    def rate(self, lr: float) -> None:
        self.opt.param_groups[0]["lr"] = lr

    def loss(self, first: int, end: int, data: torch.Tensor | None = None) -> torch.Tensor:
        data = self.data if data is None else data
        starts = torch.randint(first, end - LENGTH - 1, (self.batch,))
        rows = torch.stack([data[start : start + self.length + 1] for start in starts])
        x = self.embed(rows[:, :-1]) + self.place[: self.length]
        out = self.body(x)[0] if self.rnn else self.body(x, src_mask=self.mask[: self.length, : self.length], is_causal=True)
        return cross_entropy(self.head(out).flatten(0, 1), rows[:, 1:].flatten())

    def step(self, data: torch.Tensor | None = None) -> float:
        loss = self.loss(0, self.cut, data)
        self.opt.zero_grad()
        loss.backward()
        self.norm = float(nn.utils.clip_grad_norm_(self.all, 1.0))
        self.opt.step()
        return float(loss)

    @torch.no_grad()
    def validate(self, batches: int = 4) -> float:
        return sum(float(self.loss(self.cut, len(self.data))) for _ in range(batches)) / batches


@curve
def lm_warmup() -> Log:
    """Warm-up, then cosine; validated every hundred steps."""
    model, log = LanguageModel(), Log(main=("val/loss", False))
    for step in range(2_000):
        lr = 6e-3 * min(1.0, step / 200) * (0.5 + 0.5 * math.cos(math.pi * step / 2_000))
        model.rate(lr)
        log.step(step, train__loss=model.step(), lr=lr)
        if step % 100 == 99:
            log.also(step, val__loss=model.validate())
    return log


@curve
def lm_restart_from_checkpoint() -> Log:
    """Steps go back from 1,300 to 1,000, with the weights of then and an optimizer that has forgotten."""
    model, log = LanguageModel(seed=5), Log(main=("loss", False))
    kept: list[torch.Tensor] = []
    for step in [*range(1_300), *range(1_000, 2_000)]:
        if step == 1_000 and not kept:
            kept = [one.detach().clone() for one in model.all]
        elif step == 1_000:
            with torch.no_grad():
                for one, old in zip(model.all, kept, strict=True):
                    one.copy_(old)
            model.opt = torch.optim.Adam(model.all, lr=3e-3)
        log.step(step, loss=model.step())
    return log


@curve
def lm_uneven_evaluation() -> Log:
    """Validated when it pleases, on one small batch or on many."""
    model, log = LanguageModel(seed=6), Log(main=("eval_loss", False))
    torch.manual_seed(60)
    for step in range(1_800):
        log.step(step, loss=model.step())
        if torch.rand(()) < 0.02 or step % 500 == 499:
            log.also(step, eval_loss=model.validate(int(torch.randint(1, 6, ()))))
    return log


@curve
def lm_longer_sequences() -> Log:
    """A curriculum: 4 characters, then 16, then 32."""
    model, log = LanguageModel(seed=7), Log(main=("loss", False))
    for step in range(2_100):
        model.length = 4 if step < 700 else 16 if step < 1_400 else 32
        log.step(step, loss=model.step())
    return log


@curve
def lm_recurrent() -> Log:
    """A recurrent net with the usual lone spikes of small batches."""
    model, log = LanguageModel(seed=8, batch=4, rnn=True), Log(main=("loss", False))
    model.rate(1e-2)
    for step in range(1_500):
        log.step(step, loss=model.step())
    return log


@curve
def lm_warm_restarts() -> Log:
    """Cosine annealing with warm restarts (SGDR): the loss rises at each."""
    model, log = LanguageModel(seed=9), Log(main=("loss", False))
    for step in range(2_000):
        model.rate(1.5e-2 * (0.5 + 0.5 * math.cos(math.pi * (step % 500) / 500)))
        log.step(step, loss=model.step())
    return log


@curve
def lm_other_text() -> Log:
    """Fine-tuned on other text from step 1,000 on: upper case. It jumps, and falls again."""
    model, log = LanguageModel(seed=10), Log(main=("loss", False))
    other = (model.data * 7 + 3) % int(model.data.max() + 1)
    for step in range(2_200):
        log.step(step, loss=model.step(None if step < 1_000 else other))
    return log
