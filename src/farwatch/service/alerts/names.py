"""Which metrics the presets watch, judged by their names."""

import re
from collections.abc import Iterable

_WORD = re.compile(r"[a-z]+[0-9]*|[0-9]+")
LOSS = frozenset({"nll", "ppl", "perplexity", "xent", "mse", "rmse", "mae", "bce", "crossentropy"})
# Parts of a loss that may go up in a healthy run: of two players, of an agent that finds its first rewards, or of a regularizer.
PARTS = frozenset(
    {
        "policy", "value", "values", "critic", "actor", "entropy", "kl", "td", "q", "qf", "vf", "pg", "disc", "discriminator", "gen",
        "generator", "g", "d", "adv", "adversarial", "scale", "scaler", "best", "min", "max", "aux", "commit", "commitment", "balance",
        "router", "z", "weight", "weights", "ratio", "std", "var", "count",
    }
)  # fmt: skip
REWARD = frozenset({"reward", "rewards", "rew", "return", "returns", "episode", "ep"})
VALIDATION = frozenset({"val", "valid", "validation", "eval", "evaluation", "dev", "test", "holdout"})
TRAINING = frozenset({"train", "training", "tr", "fit"})
HIGHER = frozenset(
    {
        "acc", "accuracy", "auc", "auroc", "f1", "bleu", "rouge", "iou", "miou", "map", "r2", "score", "precision", "recall", "psnr",
        "ssim", "reward", "return", "rew", "success", "top1", "top5",
    }
)  # fmt: skip


def words(name: str) -> list[str]:
    """The words of a metric's name: `valLoss`, `val/loss` and `val_loss` have the same."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    found = _WORD.findall(spaced.lower())
    return [word if word in HIGHER else word.rstrip("0123456789") or word for word in found]


def is_loss(name: str) -> bool:
    """Whether a metric is a loss that falls in a healthy run."""
    found = words(name)
    named = any(word in LOSS or (word.endswith(("loss", "losses"))) for word in found)
    return named and PARTS.isdisjoint(found)


def is_any_loss(name: str) -> bool:
    """Whether a metric is a loss of any kind; none of them may be NaN."""
    found = words(name)
    named = any(word in LOSS or word.endswith(("loss", "losses")) for word in found)
    return named and {"scale", "scaler", "best", "min", "max"}.isdisjoint(found)


def is_reward(name: str) -> bool:
    """Whether only a run that learns by reward has such a metric."""
    return not REWARD.isdisjoint(words(name))


def rises(name: str) -> bool | None:
    """Whether more is better; None if the name does not say, as that of a loss which is only a part of the game."""
    found = words(name)
    if any(word in LOSS or word.endswith(("loss", "losses", "error", "err")) for word in found):
        return False if PARTS.isdisjoint(found) else None
    return True if not HIGHER.isdisjoint(found) else None


def validates(name: str) -> bool:
    """Whether a metric is of validation data."""
    return not VALIDATION.isdisjoint(words(name))


def training_of(name: str, names: Iterable[str]) -> str | None:
    """The training metric beside one of validation: `train/loss` or `loss` beside `val/loss`."""
    wanted = [word for word in words(name) if word not in VALIDATION]
    found = None
    for other in names:
        told = words(other)
        if not VALIDATION.isdisjoint(told) or [word for word in told if word not in TRAINING] != wanted:
            continue
        if not TRAINING.isdisjoint(told):
            return other
        found = other
    return found
