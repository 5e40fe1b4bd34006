"""Distributed data parallel on the CPU: every process logs, and there is one run.

    torchrun --nproc-per-node 2 pytorch_ddp.py

Rank 0 makes the run; the others join it by themselves, because they share a launcher. The page shows rank 0, or the mean and
the band over all ranks. Because every rank logs each step, a stop or a knob that people ask for reaches all of them at one step.
"""

import argparse

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import farwatch

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-2)
parser.add_argument("--epochs", type=int, default=3)
args = parser.parse_args()

dist.init_process_group("gloo")
torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
sampler = DistributedSampler(data)
loader = DataLoader(data, 32, sampler=sampler)
model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)

with farwatch.init(project="digits-ddp", config=args) as run:
    step = 0
    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)
        for x, y in loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log({"train/loss": loss, "epoch": epoch}, step=step)
            step += 1
dist.destroy_process_group()
