"""Trains all curves anew: `python -m tests.alerts.curves.make [name …]` from the repository's root; some minutes on two cores."""

import sys
import time

import torch

from tests.alerts.curves import healthy, ill, lm
from tests.alerts.curves.record import KINDS, save

MODULES = (healthy, ill, lm)  # they make themselves known


def main(wanted: list[str]) -> None:
    torch.set_num_threads(1)
    logs = {}
    for name, train in KINDS.items():
        if not wanted or name in wanted:
            began = time.monotonic()
            logs[name] = train()
            print(f"{name}: {time.monotonic() - began:.1f} s, {sum(map(len, logs[name].points.values()))} points", flush=True)
    save(logs, add=bool(wanted))


if __name__ == "__main__":
    main(sys.argv[1:])
