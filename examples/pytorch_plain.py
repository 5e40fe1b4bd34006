"""A plain PyTorch loop: loss and accuracy, learning rate, gradient norm, and a checkpoint.

    python pytorch_plain.py --epochs 5

Trains a small convolutional network on scikit-learn's digits; runs in seconds on a CPU and uses a GPU if there is one.
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import farwatch

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--checkpoint", type=Path, default=Path("digits.pt"))
args = parser.parse_args()

torch.manual_seed(0)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
images, labels = load_digits(return_X_y=True)
data = TensorDataset(
    torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(labels)
)
train, val = random_split(data, [0.8, 0.2])
loader = DataLoader(train, args.batch_size, shuffle=True, drop_last=True)

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(512, 10),
).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.epochs * len(loader))

with farwatch.init(project="digits-torch", config=args, total_steps=args.epochs * len(loader)) as run:
    run.define_metric("val/*", x="epoch")
    step = 0
    for epoch in range(args.epochs):
        model.train()
        for x, y in loader:
            logits = model(x.to(device))
            loss = nn.functional.cross_entropy(logits, y.to(device))
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            # Tensors may be logged as they are: a value on a GPU is copied without waiting for it.
            run.log(
                {
                    "train/loss": loss,
                    "train/grad_norm": norm,
                    "lr": schedule.get_last_lr()[0],
                    "epoch": epoch,
                },
                step=step,
            )
            schedule.step()
            step += 1
        model.eval()
        with torch.no_grad():
            x, y = (
                part.to(device)
                for part in (torch.stack([x for x, _ in val]), torch.stack([y for _, y in val]))
            )
            logits = model(x)
            accuracy = (logits.argmax(1) == y).float().mean()
            run.log(
                {
                    "val/loss": nn.functional.cross_entropy(logits, y),
                    "val/accuracy": accuracy,
                    "epoch": epoch,
                },
                step=step,
            )
        print(f"epoch {epoch}: accuracy {accuracy:.1%}")
    torch.save({"model": model.state_dict(), "epoch": args.epochs}, args.checkpoint)
    run.save(args.checkpoint)
