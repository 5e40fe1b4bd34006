"""Small real data: hand-written digits, and English text that every Python installation carries."""

import inspect
from itertools import pairwise

import numpy as np
import torch
from sklearn.datasets import load_digits


def digits(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training and validation pictures and labels of 8 × 8 digits."""
    found = load_digits()
    order = np.random.default_rng(seed).permutation(len(found.data))
    x = torch.tensor(found.data[order] / 16.0, dtype=torch.float32)
    y = torch.tensor(found.target[order])
    return x[:1300], y[:1300], x[1300:], y[1300:]


def text() -> tuple[torch.Tensor, int]:
    """Characters of the documentation of Python's own modules, as numbers, and how many there are."""
    import argparse
    import asyncio
    import datetime
    import decimal
    import email
    import logging
    import statistics
    import unittest

    parts = [
        inspect.getdoc(thing) or ""
        for module in (argparse, asyncio, datetime, decimal, email, logging, statistics, unittest)
        for thing in [module, *(value for _, value in sorted(vars(module).items()) if callable(value))]
    ]
    joined = "\n".join(parts)
    letters = sorted(set(joined))
    return torch.tensor([letters.index(letter) for letter in joined]), len(letters)


def mlp(*sizes: int) -> torch.nn.Sequential:
    """Layers with ReLU between them."""
    parts: list[torch.nn.Module] = []
    for first, second in pairwise(sizes):
        parts += [torch.nn.Linear(first, second), torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1])
