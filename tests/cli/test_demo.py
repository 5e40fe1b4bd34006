"""The demo: a real model, real data, three runs, one of which diverges."""

import contextlib
import json
import signal
import subprocess
import sys

import psutil
from e2e_server import LIMIT_S, Server, wait_until


def _start(alone: Server, *arguments: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "farwatch.cli",
        "demo",
        "--data",
        str(alone.folder),
        "--port",
        "0",
        *arguments,
    ]
    return subprocess.Popen(
        command,
        env=alone.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _points(alone: Server) -> int:
    with contextlib.suppress(OSError), alone.api() as api:
        return sum(project["points"] for project in api.projects())
    return 0


def test_demo_is_alive_while_it_trains_and_one_run_diverges(alone: Server) -> None:
    process = _start(alone, "--epochs", "12", "--epoch-s", "0.5", "--json")
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["link"].startswith(told["address"] + "/#once=")
        wait_until(lambda: _points(alone) > 0, "the first points are there")
        first = _points(alone)
        wait_until(lambda: _points(alone) > first, "more points come while it trains")
        assert process.poll() is None
        with alone.api() as api:
            runs = {run.name: run for run in alone.ended(api, "digits", 3)}
            best = {name: run.metrics()["val/accuracy"].max for name, run in runs.items()}
            assert best["steady"] is not None and best["steady"] > 0.9
            assert runs["too-bold"].metrics()["train/loss"].nonfinite > 0
            assert {item["type"] for item in runs["steady"].media()} >= {"image", "histogram", "text"}
            assert runs["steady"].metrics()["val/loss"].x == "epoch"
        assert process.poll() is None, "the page stays after the training"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_S)

    assert not (alone.folder / "server.json").exists()


def test_interrupted_demo_leaves_no_process_behind(alone: Server) -> None:
    process = _start(alone, "--epochs", "1000")
    assert process.stdout is not None
    assert "#once=" in process.stdout.readline()
    wait_until(lambda: _points(alone) > 0, "it trains")
    server = json.loads((alone.folder / "server.json").read_text())["pid"]

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)

    assert [
        found.pid for found in psutil.process_iter() if found.pid == server or _works_in(found, alone)
    ] == []


def _works_in(process: psutil.Process, alone: Server) -> bool:
    """Whether it is a trainer of this demo."""
    with contextlib.suppress(psutil.Error):
        return "digits.py" in " ".join(process.cmdline()) and process.cwd() == str(alone.folder)
    return False
