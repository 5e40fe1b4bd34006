"""The same loop with other trackers, where they are installed: what a call costs, and what it adds to the process's memory."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable

from bench.bed import SOURCE
from bench.table import Row

CALLS = 2_000

LOOP = """
import json, os, statistics, sys, time
def rss():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) * 1024 / 1e6
before = rss()
SETUP
spent = []
for step in range(int(sys.argv[1])):
    row = {"train/loss": step * 0.1, "train/acc": 1.0, "grad/norm": 2.5, "lr": 1e-3}
    began = time.perf_counter_ns()
    log(row, step)
    spent.append(time.perf_counter_ns() - began)
print(json.dumps({"us": statistics.median(spent) / 1e3, "mb": rss() - before}), file=sys.__stdout__, flush=True)
os._exit(0)
"""

SETUPS = {
    "farwatch": "import farwatch; run = farwatch.init('peers', console=False); log = lambda row, step: run.log(row, step=step)",
    "wandb": "import wandb; run = wandb.init(project='peers', mode='offline', settings=wandb.Settings(console='off', silent=True)); "
    "log = lambda row, step: run.log(row, step=step)",
    "mlflow": "import mlflow; mlflow.set_tracking_uri('file:' + os.getcwd()); mlflow.start_run(); "
    "log = lambda row, step: mlflow.log_metrics(row, step=step)",
    "tensorboardX": "import tensorboardX; writer = tensorboardX.SummaryWriter('.')\n"
    "def log(row, step):\n    for name, value in row.items(): writer.add_scalar(name, value, step)",
    "aim": "import aim; run = aim.Run(repo='.', system_tracking_interval=None)\n"
    "def log(row, step):\n    for name, value in row.items(): run.track(value, name=name, step=step)",
    "trackio": "import trackio; trackio.init(project='peers'); log = lambda row, step: trackio.log(row, step=step)",
}


def measure() -> Iterable[Row]:
    """Farwatch itself only beside a peer; a peer that is not there, or does not start, is left out."""
    peers = [name for name in SETUPS if name != "farwatch" and importlib.util.find_spec(name) is not None]
    if not peers:
        return
    for name in ("farwatch", *peers):
        with tempfile.TemporaryDirectory() as folder:
            environ = {"PATH": "/usr/bin:/bin", "HOME": folder, "PYTHONPATH": f"{SOURCE}:{':'.join(sys.path)}"}
            environ |= {"FARWATCH_DIR": folder, "FARWATCH_AGENT": "0"}
            done = subprocess.run(
                [sys.executable, "-c", LOOP.replace("SETUP", SETUPS[name]), str(CALLS)],
                env=environ, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120, check=False,
            )  # fmt: skip
        if done.returncode == 0:
            found = json.loads(done.stdout.splitlines()[-1])
            yield Row(f"{name}: a call with 4 scalars, p50", found["us"], "µs")
            yield Row(f"{name}: memory added after {CALLS:,} calls", found["mb"], "MB")
