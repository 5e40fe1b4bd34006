"""`make bench`: measure everything that is promised in numbers, and print one table.

    python -m bench [WORD …]     only measurements whose module name contains a word

A measurement is a module `bench/bench_*.py` with a function `measure() -> Iterable[Row]`. Each runs in a process of its
own, so that none warms or slows the next. Numbers from a busy machine are upper bounds; the load is printed with them.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench.table import Row, show

HERE = Path(__file__).parent
LIMIT_S = 900


def main(words: list[str]) -> int:
    """Run the measurements and print the table. Returns 1 if one broke; a missed goal is a number, not a failure."""
    modules = [
        path.stem
        for path in sorted(HERE.glob("bench_*.py"))
        if not words or any(word in path.stem for word in words)
    ]
    rows: list[Row] = []
    broken: list[str] = []
    for module in modules:
        began = time.monotonic()
        print(f"bench: {module.removeprefix('bench_')} …", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "bench", "--one", module],
            stdout=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        if done.returncode:
            broken.append(module)
            continue
        rows += [Row(**row) for row in json.loads(done.stdout.splitlines()[-1])]
        print(
            f"bench: {module.removeprefix('bench_')} took {time.monotonic() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    print(show(rows))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"\n{os.cpu_count()} cores, load {load:.1f}, Python {sys.version.split()[0]}"
        + (f"; broke: {', '.join(broken)}" if broken else "")
    )
    return 1 if broken else 0


def one(module: str) -> None:
    """Run one measurement in this process and print its rows as JSON."""
    import importlib

    print(json.dumps([asdict(row) for row in importlib.import_module(f"bench.{module}").measure()]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2])
    else:
        sys.exit(main(sys.argv[1:]))
