import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from farwatch.agent.place import Alive, Lock, agent_file
from farwatch.agent.watcher import NO_GOODBYE, Watched, watch
from farwatch.machine import boot_id, pid_namespace, process_start
from farwatch.sdk.place import agent_silence_s


def sidecar_of(pid: int, **changes: object) -> dict:
    return {
        "pid": pid, "pid_start": process_start(pid), "boot_id": boot_id(), "pid_ns": pid_namespace(), "uid": os.getuid(),
    } | changes  # fmt: skip


def start(code: str) -> "subprocess.Popen[bytes]":
    """A grandchild-like process that we reap at once, as a shell would; it has started when it says so."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"print(flush=True); input(); {code}"], stdin=-1, stdout=-1
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def let_end(process: "subprocess.Popen[bytes]") -> None:
    process.communicate(b"\n")


def wait_for_end(watched: Watched) -> None:
    deadline = time.monotonic() + 10
    while watched.look(time.monotonic_ns() // 1000):
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("raise SystemExit(3)", {"exit_code": 3, "text": "exit code 3"}),
        ("pass", {"exit_code": 0, "text": "exit code 0"}),
        ("import os; os.kill(os.getpid(), 15)", {"signal": 15, "text": "killed by SIGTERM"}),
        ("import os; os.abort()", {"signal": signal.SIGABRT, "text": "killed by SIGABRT"}),
    ],
)
def test_cause_of_death_is_what_the_kernel_says(code: str, cause: dict) -> None:
    process = start(code)
    watched = watch(sidecar_of(process.pid))
    alive = watched.look(0)

    let_end(process)
    wait_for_end(watched)

    assert alive is True
    # Older kernels do not tell; then nothing is guessed.
    assert watched.cause in (cause, {"text": NO_GOODBYE})
    if tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 15):
        assert watched.cause == cause


def test_kill_is_told_from_an_exit() -> None:
    process = start("pass")
    watched = watch(sidecar_of(process.pid))

    process.kill()
    process.communicate()
    wait_for_end(watched)

    assert watched.alive is False
    assert watched.cause is not None and "exit_code" not in watched.cause


def test_number_that_was_given_out_again_is_nobody() -> None:
    watched = watch(sidecar_of(os.getpid(), pid_start=1))

    assert watched.alive is False
    assert watched.cause == {"text": NO_GOODBYE}


@pytest.mark.parametrize("change", [{"pid_ns": 1}, {"boot_id": "other"}, {"uid": 4242}])
def test_nothing_is_said_about_processes_of_elsewhere(change: dict) -> None:
    watched = watch(sidecar_of(os.getpid(), **change))

    assert watched.look(0) is None
    assert watched.cause is None


def test_watching_leaks_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(20):
        watched = watch(sidecar_of(os.getpid()))
        watched.close()

    assert len(os.listdir("/proc/self/fd")) == before


def test_lock_is_held_once_and_free_after_release(tmp_path: Path) -> None:
    one, other = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")

    taken = (one.take(), other.take())
    one.release()
    after = other.take()
    other.release()

    assert (taken, after) == ((True, False), True)


def test_sign_of_life_ends_with_the_agent(tmp_path: Path) -> None:
    path = agent_file(tmp_path, "beat")
    alive = Alive(path)
    os.utime(path, (1, 1))
    alive.stamp()
    renewed = path.stat().st_mtime > 1
    alive.close()

    assert (renewed, path.exists()) == (True, False)


def test_trainer_and_agent_mean_the_same_agent(tmp_path: Path) -> None:
    Alive(agent_file(tmp_path, "beat"))

    assert agent_silence_s(tmp_path) < 60
