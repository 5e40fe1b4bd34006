"""What the server knows of a program under `farwatch run`: one run, its whole console, its true end."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from farwatch.api import Api, Run
from farwatch.errors import NotFoundError
from tests.faults.machine import Machine, until
from tests.start.terminal import RUN, run_piped

FINAL = ("finished", "failed", "stopped")


@pytest.fixture(scope="module")
def api(shared: Machine) -> Iterator[Api]:
    with shared.api() as made:
        yield made


def ended(api: Api, run_id: str) -> Run:
    """The run, once it has ended."""

    def final() -> Run | None:
        try:
            found = api.run(run_id)
        except NotFoundError:
            return None
        return found if found.state in FINAL else None

    return until(final, what=f"the end of {run_id}")


def lines(run: Run) -> list[str]:
    return [line.text for line in run.console()]


def script(machine: Machine, name: str, source: str) -> str:
    path = machine.folder / f"{name}.py"
    path.write_text(textwrap.dedent(source))
    return str(path)


def test_a_program_that_never_calls_us_is_a_run(shared: Machine, api: Api) -> None:
    """State, exit code, console with child processes and C libraries, duration and system metrics."""
    program = (
        "import ctypes, os, sys, time; print('python', flush=True); os.system('echo child');"
        "libc = ctypes.CDLL(None); libc.puts(b'from C'); libc.fflush(None);"
        "print('to stderr', file=sys.stderr, flush=True); time.sleep(2.5); sys.exit(3)"
    )

    done = run_piped(shared, sys.executable, "-c", program, options=("--project", "plain", "--id", "plain-1"))
    run = ended(api, "plain-1")

    assert done.returncode == 3
    assert (run.state, run.reason, run.detail["project"]) == ("failed", "exit code 3", "plain")
    assert sorted(lines(run)) == ["child", "from C", "python", "to stderr"]
    assert 2_000 < run.detail["duration_ms"] < 20_000
    assert "system/process/cpu" in run.metrics()
    assert run.detail["argv"][:2] == [sys.executable, "-c"]


def test_its_first_init_joins_and_later_ones_are_children(shared: Machine, api: Api) -> None:
    source = """
        import farwatch, subprocess, sys
        run = farwatch.init("joined", name="named inside", config={"lr": 0.5}, tags=["x"])
        run.log({"loss": 1.0}); print("one line")
        run.finish()
        second = farwatch.init("joined", id="joined-2"); second.log({"loss": 2.0}); second.finish()
        if sys.argv[1] == "outer":
            subprocess.run([sys.executable, __file__, "inner"], check=True)
    """

    done = run_piped(shared, sys.executable, script(shared, "joined", source), "outer", options=("--id", "joined-1"))
    run = ended(api, "joined-1")
    child = ended(api, "joined-2")

    assert done.returncode == 0, done.stderr
    assert (run.state, run.detail["name"], run.detail["project"]) == ("finished", "named inside", "joined")
    assert (run.config["lr"], run.detail["tags"], run.detail["attempt"]) == (0.5, ["x"], 1)
    assert [*run.series("loss").values] == [1.0]
    assert [line for line in lines(run) if not line.startswith("farwatch: ")] == ["one line", "one line"]
    assert child.detail["parent"] == "joined-1"
    rows = until(lambda: len(found := api.runs("joined").rows) == 3 and found)
    assert {row["parent"] for row in rows} == {None, "joined-1"}  # and the one of the inner process, whose second `init` continues joined-2


CRASH = """
import farwatch, os, sys
run = farwatch.init("ends", console=False, system=False)
run.log({"loss": 1.0})
if sys.argv[1] == "finished": run.finish()
if sys.argv[1] == "stopped": run.finish("stopped", "had enough")
if sys.argv[1] == "raises": raise ValueError("no good")
if sys.argv[1] == "leaves": raise SystemExit(5)
if sys.argv[2] == "abort": os.abort()
if sys.argv[2] == "kill": os.kill(os.getpid(), 9)
os._exit(int(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("said", "how", "state", "reason"),
    [
        ("finished", "0", "finished", ""),
        ("finished", "4", "failed", "exit code 4, after the program had finished its run"),
        ("finished", "abort", "failed", "killed by SIGABRT, after the program had finished its run"),
        ("stopped", "1", "stopped", "had enough"),
        ("raises", "1", "failed", "ValueError: no good"),
        ("nothing", "kill", "failed", "killed by SIGKILL"),
        ("nothing", "4", "failed", "exit code 4"),
        ("leaves", "5", "failed", "exit code 5"),
        ("nothing", "0", "failed", "ended without goodbye"),
    ],
)
def test_what_the_parent_saw_decides_where_the_goodbye_contradicts(
    shared: Machine, api: Api, said: str, how: str, state: str, reason: str
) -> None:
    run_id = f"ends-{said}-{how}"
    run_piped(shared, sys.executable, script(shared, "crash", CRASH), said, how, options=("--id", run_id))

    run = ended(api, run_id)
    until(lambda: (again := ended(api, run_id)).state == state and settled(again, reason), what=f"{run.state} {run.reason}")

    assert ("ValueError" in (api.run(run_id).detail["traceback"] or "")) == (said == "raises")


def settled(run: Run, reason: str) -> bool:
    return run.reason == reason or (reason == "ended without goodbye" and run.reason in (reason, "exit code 0, without goodbye"))


def test_a_whole_shell_script_is_one_run(shared: Machine, api: Api) -> None:
    """A program within it that fails is not forgotten because the script goes on."""
    source = 'import farwatch; run = farwatch.init("script"); run.log({"a": 1.0}); raise ValueError("x")'
    inner = f"{sys.executable} {script(shared, 'part', source)}; echo went on; true"

    done = run_piped(shared, "bash", "-c", inner, options=("--id", "script-1"))
    run = ended(api, "script-1")

    assert done.returncode == 0
    assert (run.state, run.reason) == ("failed", "ValueError: x")
    assert lines(run)[-1] == "went on"


def test_ranks_of_a_launch_are_one_run(shared: Machine, api: Api) -> None:
    source = """
        import os, subprocess, sys
        if "RANK" not in os.environ:
            more = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
            envs = [{**os.environ, **more, "RANK": r, "LOCAL_RANK": r} for r in "01"]
            ranks = [subprocess.Popen([sys.executable, __file__], env=env) for env in envs]
            sys.exit(max(rank.wait() for rank in ranks))
        import farwatch, time
        run = farwatch.init("ranks", system=False)
        run.log({"loss": float(run.rank)}); time.sleep(1); run.finish()
    """

    done = run_piped(shared, sys.executable, script(shared, "ranks", source), options=("--id", "ranks-1"))
    run = ended(api, "ranks-1")

    assert done.returncode == 0
    until(lambda: [rank["rank"] for rank in api.run("ranks-1").detail["ranks"]] == [0, 1])
    until(lambda: run.metrics()["loss"].ranks == (0, 1))
    assert [*run.series("loss", rank=1).values] == [1.0]
    assert len(api.runs("ranks").rows) == 1


def test_run_within_run_is_a_child(shared: Machine, api: Api) -> None:
    done = run_piped(shared, *RUN, "--id", "inner-1", "--", "echo", "deep", options=("--id", "outer-1"))
    outer, inner = ended(api, "outer-1"), ended(api, "inner-1")

    assert done.stdout == b"deep\n"
    assert (outer.state, inner.state, inner.detail["parent"]) == ("finished", "finished", "outer-1")


def test_the_same_id_again_is_the_next_attempt(shared: Machine, api: Api) -> None:
    source = 'import farwatch; run = farwatch.init("again"); run.log({"a": 1.0}); run.log({"a": 2.0}); run.finish()'
    path = script(shared, "again", source)
    for _ in range(2):
        run_piped(shared, sys.executable, path, options=("--id", "again-1"))
        ended(api, "again-1")

    run = until(lambda: (found := ended(api, "again-1")).detail["attempt"] == 2 and found)

    assert [*run.series("a").steps] == [0, 1, 2, 3]
    assert run.state == "finished"


def test_a_killed_runner_leaves_no_riddle(shared: Machine, api: Api) -> None:
    """Its program loses its terminal; what both said until then is there, and the run ends."""
    started = subprocess.Popen(
        [*RUN, "--id", "orphan-1", "--", sys.executable, "-c", "import time; print('hi', flush=True); time.sleep(60)"],
        env=shared.environ, cwd=shared.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def said() -> bool:
        try:
            return lines(api.run("orphan-1")) == ["hi"]
        except NotFoundError:
            return False

    until(said)

    started.kill()
    started.wait()

    assert ended(api, "orphan-1").state == "failed"


def test_interrupted_by_ctrl_c_is_stopped(shared: Machine, api: Api) -> None:
    source: Any = "import time; print('ready', flush=True); time.sleep(60)"
    started = subprocess.Popen(
        [*RUN, "--id", "ctrl-c-1", "--", sys.executable, "-c", source], env=shared.environ, cwd=shared.folder,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert started.stdout is not None
    assert started.stdout.readline() == b"ready\n"

    os.kill(started.pid, signal.SIGINT)

    assert started.wait(20) == 130
    started.stdout.close()
    run = ended(api, "ctrl-c-1")
    assert (run.state, run.reason) == ("stopped", "interrupted")
