"""Train a small network on handwritten digits, and watch it.

    pip install 'farwatch[demo]'
    farwatch serve &
    python digits.py --lr 0.05

The data come with scikit-learn: 1,797 images of 8 x 8 pixels. Nothing is downloaded. With `--lr 80` it diverges.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import farwatch

parser = argparse.ArgumentParser()
parser.add_argument("--project", default="digits")
parser.add_argument("--name")
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--l2", type=float, default=0.1)
parser.add_argument("--hidden", type=int, default=48)
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument(
    "--epoch-s", type=float, default=0.0, help="let an epoch take at least so many seconds, to watch it"
)
args = parser.parse_args()

images, labels = load_digits(return_X_y=True)
train_x, val_x, train_y, val_y = train_test_split(
    (images / 16).astype(np.float32), labels, test_size=0.25, random_state=0, stratify=labels
)
model = MLPClassifier(
    (args.hidden,),
    solver="sgd",
    learning_rate_init=args.lr,
    momentum=0.9,
    alpha=args.l2,
    batch_size=args.batch_size,
    random_state=args.seed,
)
warnings.filterwarnings(
    "ignore", category=RuntimeWarning
)  # a diverging run overflows, which is what we came to see


def loss_of(chances: np.ndarray, truth: np.ndarray) -> float:
    """Cross-entropy, NaN once the weights have overflowed."""
    return float(log_loss(truth, chances, labels=np.arange(10))) if np.isfinite(chances).all() else float("nan")


def train_step(rows: np.ndarray) -> float:
    """Learn from one batch. Returns its loss."""
    try:
        model.partial_fit(train_x[rows], train_y[rows], classes=np.arange(10))
    except ValueError:  # scikit-learn refuses weights that are not finite: this run has diverged
        return float("nan")
    return loss_of(model.predict_proba(train_x[rows]), train_y[rows])


def validate() -> tuple[float, float, np.ndarray]:
    """Loss, accuracy and predictions on data that the model never learns from."""
    chances = model.predict_proba(val_x)
    predicted = chances.argmax(axis=1)
    return loss_of(chances, val_y), float((predicted == val_y).mean()), predicted


def mosaic(rows: np.ndarray, columns: int = 8) -> np.ndarray:
    """Up to 32 validation images in one picture, four times as large, with a frame between them."""
    picture = np.zeros((4 * 36, columns * 36))
    for place, row in enumerate(rows[:32]):
        top, left = divmod(place, columns)
        picture[top * 36 + 2 : top * 36 + 34, left * 36 + 2 : left * 36 + 34] = np.kron(
            val_x[row].reshape(8, 8), np.ones((4, 4))
        )
    return picture


order = np.random.default_rng(args.seed)
step = 0
with farwatch.init(
    project=args.project,
    name=args.name,
    config=args,
    tags=["mlp", "scikit-learn"],
    total_steps=args.epochs * (len(train_x) // args.batch_size),
) as run:
    run.define_metric("val/*", x="epoch")
    run.define_metric("val/accuracy", x="epoch", summary="max", goal="max")
    run.define_metric("val/loss", x="epoch", summary="min", goal="min")
    for epoch in range(1, args.epochs + 1):
        began = time.monotonic()
        shuffled = order.permutation(len(train_x))
        batches = [
            shuffled[i : i + args.batch_size]
            for i in range(0, len(train_x) - args.batch_size + 1, args.batch_size)
        ]
        for rows in batches:
            loss = train_step(rows)
            run.log({"train/loss": loss, "epoch": epoch}, step=step)
            step += 1
            time.sleep(max(0.0, args.epoch_s / len(batches) - 0.001))
        val_loss, val_accuracy, predicted = validate()
        run.log({"val/loss": val_loss, "val/accuracy": val_accuracy, "epoch": epoch}, step=step)
        if epoch % 5 == 1 or epoch == args.epochs:
            wrong = np.flatnonzero(predicted != val_y)
            caption = f"{len(wrong)} of {len(val_y)} wrong after epoch {epoch}"
            run.log({"samples/wrong": farwatch.Image(mosaic(wrong), caption=caption)}, step=step)
            run.log({"weights/hidden": farwatch.Histogram(np.nan_to_num(model.coefs_[0]))}, step=step)
            seen = ", ".join(f"{val_y[row]} as {predicted[row]}" for row in wrong[:5]) or "nothing"
            run.log({"samples/mistakes": f"epoch {epoch}: read {seen}"}, step=step)
        print(
            f"epoch {epoch}: loss {val_loss:.4f}, accuracy {val_accuracy:.1%}, {time.monotonic() - began:.1f} s",
            flush=True,
        )
