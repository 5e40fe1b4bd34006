"""How a curve is recorded: what a training logs, step by step, on a clock of its own."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
FILE = FOLDER / "curves.npz"
KINDS: dict[str, Callable[[], "Log"]] = {}


@dataclass
class Log:
    """What one run logs. `second_s`: how long a step takes. `main`: its main metric and whether more is better."""

    second_s: float = 4.0
    main: tuple[str, bool] = ("train/loss", False)
    points: dict[str, list[tuple[float, float, float]]] = field(default_factory=lambda: defaultdict(list))
    clock_s: float = 0.0

    def step(self, step: float, **values: float) -> None:
        """Log values at a step; names have `/` for `__`."""
        self.clock_s += self.second_s
        self.also(step, **values)

    def also(self, step: float, **values: float) -> None:
        """Log more values at the same moment."""
        for name, value in values.items():
            self.points[name.replace("__", "/")].append((step, self.clock_s, float(value)))


def curve(make: Callable[[], Log]) -> Callable[[], Log]:
    """Make a function known as the training of a curve."""
    KINDS[make.__name__] = make
    return make


def save(logs: dict[str, Log], path: Path = FILE, *, add: bool = False) -> None:
    """Keep curves in one small file: float32, times in seconds. `add`: others that are in it stay."""
    arrays = {}
    if add:
        with np.load(path) as file:
            arrays = {key: file[key] for key in file.files if key.partition("|")[0] not in logs}
    for name, log in logs.items():
        arrays[f"{name}|{log.main[0]}|{int(log.main[1])}"] = np.zeros(0)
        for metric, points in log.points.items():
            table = np.array(points)
            values = table[:, 2].astype(np.float32)
            finite = np.isfinite(values)
            bits = values.view(np.uint32)
            bits[finite] &= np.uint32(0xFFFFFC00)  # 13 bits of mantissa are more than noise needs, and pack better
            arrays[f"{name}|{metric}"] = np.stack([table[:, 0].astype(np.float32), table[:, 1].astype(np.float32), values])
    np.savez_compressed(path, **arrays)


def load(path: Path = FILE) -> dict[str, tuple[tuple[str, bool], dict[str, np.ndarray]]]:
    """Curves by name: main metric, and per metric an array of steps, times in seconds, and values."""
    found: dict[str, tuple[tuple[str, bool], dict[str, np.ndarray]]] = {}
    with np.load(path) as file:
        for key in file.files:
            parts = key.split("|")
            if len(parts) == 3:
                found[parts[0]] = ((parts[1], parts[2] == "1"), {})
        for key in file.files:
            parts = key.split("|")
            if len(parts) == 2:
                found[parts[0]][1][parts[1]] = file[key].astype(np.float64)
    return found
