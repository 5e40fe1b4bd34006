"""Starts and kills from afar, on a real server with a real agent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farwatch.agent.launcher import Launcher
from farwatch.api import Api
from farwatch.errors import CommandError, NotFoundError
from tests.faults.machine import SOURCE, Machine, until
from tests.start.terminal import RUN, run_piped

FINAL = ("finished", "failed", "stopped")
TRAIN = """
import farwatch, os, sys, time
run = farwatch.init("launched", config={"lr": float(sys.argv[1])})
open(sys.argv[2], "a").write(f"{os.getpid()}\\n")
for step in range(int(sys.argv[3])):
    run.log({"loss": 1.0 / (step + 1)}, step=step); print("step", step, flush=True); time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def api(shared: Machine) -> Iterator[Api]:
    (shared.folder / "train.py").write_text(TRAIN)
    write_profiles(shared.state, shared.folder)
    shared.cli("start", "--list")  # starts an agent
    with shared.api() as made:
        until(lambda: made.profiles())
        yield made


def write_profiles(state: Path, folder: Path) -> None:
    path = state / "launch.toml"
    path.write_text(
        textwrap.dedent(f"""
            [profiles.train]
            title = "Train"
            command = ["{sys.executable}", "train.py", "{{lr}}", "{{mark}}", "{{steps}}"]
            folder = "{folder}"
            environment = {{ PYTHONPATH = "{SOURCE}", HIDDEN = "42" }}
            [profiles.train.parameters]
            lr = {{ type = "float", min = 0, max = 1, default = 0.1 }}
            mark = {{ type = "str" }}
            steps = {{ type = "int", min = 1, default = 4 }}
            """)
    )
    path.chmod(0o600)


def started(mark: Path) -> list[int]:
    return [int(line) for line in mark.read_text().split()] if mark.exists() else []


def final(api: Api, run: str) -> Callable[[], Any]:
    def look() -> Any:
        try:
            found = api.run(run)
        except NotFoundError:
            return None
        return found if found.state in FINAL else None

    return look


def test_a_profile_is_started_once_with_its_parameters(shared: Machine, api: Api) -> None:
    mark = shared.folder / "mark-once"

    command = api.start("train", lr=0.5, mark=str(mark)).wait(20)
    run = until(final(api, command.result["run"]))

    assert command.state == "applied"
    assert (run.state, run.config["lr"], [*run.series("loss").steps]) == ("finished", 0.5, [0, 1, 2, 3])
    assert [line.text for line in run.console()] == [f"step {n}" for n in range(4)]
    assert len(started(mark)) == 1


def test_profiles_tell_parameters_and_no_value_of_the_environment(shared: Machine, api: Api) -> None:
    (profile,) = api.profiles()

    assert (profile.name, profile.title, profile.environment, profile.at_once) == ("train", "Train", ["HIDDEN", "PYTHONPATH"], 1)
    assert profile.parameters["lr"] == {"type": "float", "min": 0, "max": 1, "default": 0.1}
    assert profile.present


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("train", {"lr": "abc", "mark": "x"}, "lr is a number, not: `abc`"),
        ("train", {"lr": 7, "mark": "x"}, "lr is from 0 to 1, not: `7`"),
        ("train", {"mark": "x", "rate": 1}, "there is no parameter `rate`"),
        ("train", {}, "the parameter `mark` needs a value"),
        ("trian", {}, "no profile is called `trian` (did you mean `train`?)"),
    ],
)
def test_wrong_names_and_values_start_nothing(shared: Machine, api: Api, name: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises((CommandError, NotFoundError)) as error:
        api.start(name, **given)

    assert told in str(error.value)


def test_a_second_start_while_it_runs_launches_nothing(shared: Machine, api: Api) -> None:
    """Also right after a stop: as long as anything of the first one lives, there is no second."""
    mark = shared.folder / "mark-second"
    first = api.start("train", mark=str(mark), steps=400).wait(20)
    until(lambda: started(mark))

    second = shared.cli("start", "train", f"mark={mark}", "--yes", check=False)
    run = until(lambda: api_run(api, first.result["run"]))
    stop = run.stop()
    third = shared.cli("start", "train", f"mark={mark}", "steps=1", "--yes", check=False)
    stop.wait(20)
    until(final(api, run.id))

    assert second.returncode == 1
    assert f"already running: Train as {run.id[:7]}" in second.stdout
    assert stop.state == "applied"
    assert "already running" in third.stdout or third.returncode == 0, third.stdout + third.stderr
    expected = 1 if "already running" in third.stdout else 2
    until(lambda: len(started(mark)) == expected)
    alive = [pid for pid in started(mark) if os.path.exists(f"/proc/{pid}")]
    assert len(alive) <= 1


def test_a_profile_may_say_that_several_run_at_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (tmp_path / "train.py").write_text("import sys, time; open(sys.argv[2], 'a').write('1\\n'); time.sleep(60)")
    write_profiles(state, tmp_path)
    path = state / "launch.toml"
    path.write_text(path.read_text().replace('title = "Train"', 'title = "Train"\nat_once = 2'))
    launcher = Launcher(state)

    def start(number: int) -> dict[str, Any]:
        return launcher.start({"id": f"several-{number}", "args": {"profile": "train", "parameters": {"mark": str(tmp_path / "mark")}}})

    told = [start(number) for number in range(3)]
    until(lambda: len(started(tmp_path / "mark")) == 2)
    alive = until(lambda: len(found := of_tree_with(str(tmp_path / "mark"))) == 2 and found)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)

    assert [one["state"] for one in told] == ["applied", "applied", "refused"]
    assert told[2]["reason"].startswith("already running: Train")
    until(lambda: start(3)["state"] == "applied")
    for pid in until(lambda: of_tree_with(str(tmp_path / "mark"))):
        os.kill(pid, signal.SIGKILL)


def of_tree_with(word: str) -> list[int]:
    """Programs with this word in their command line."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if word.encode() in words and b"train.py" in words:
            found.append(int(name))
    return found


def api_run(api: Api, run: str) -> Any:
    try:
        found = api.run(run)
    except NotFoundError:
        return None
    return found if found.state == "running" and found.detail["steer"]["hooks"] is not None else None


def test_a_start_needs_a_yes(shared: Machine, api: Api) -> None:
    refused = shared.cli("start", "train", "mark=x", check=False)

    assert refused.returncode == 1
    assert "confirm with --yes" in refused.stderr


def test_the_death_of_the_agent_ends_no_training(shared: Machine, api: Api) -> None:
    mark = shared.folder / "mark-agent"
    command = api.start("train", mark=str(mark), steps=60).wait(20)
    until(lambda: started(mark))

    assert shared.kill_agents() == 1
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in started(mark)))
    shared.sync()
    run = until(final(api, command.result["run"]))

    assert (run.state, len(run.series("loss").steps)) == ("finished", 60)


def test_one_command_is_obeyed_once_whoever_asks_again(tmp_path: Path) -> None:
    """A new life of the agent gets the same order again: it finds what has become of it."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (tmp_path / "train.py").write_text("import sys; open(sys.argv[2], 'a').write('1\\n')")
    write_profiles(state, tmp_path)
    order = {"id": "../../once/0123456789", "args": {"profile": "train", "parameters": {"mark": str(tmp_path / "mark")}}, "actor": "ann"}

    first = Launcher(state).start(order)
    again = Launcher(state).start(order)

    assert first["state"] == again["state"] == "applied"
    assert first["result"] == again["result"]
    until(lambda: started(tmp_path / "mark"))
    until(lambda: Launcher(state)._free_slot(Launcher(state)._asked(order["args"])) is not None)
    assert started(tmp_path / "mark") == [1]


def test_a_start_whose_supervisor_never_came_never_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent died between writing a start down and starting it: the next one says so, and a late supervisor does nothing."""
    monkeypatch.setattr("farwatch.agent.launcher.BEGUN_S", 0.1)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (tmp_path / "train.py").write_text("import sys; open(sys.argv[2], 'a').write('1\\n')")
    write_profiles(state, tmp_path)
    order = {"id": "late-0123456789", "args": {"profile": "train", "parameters": {"mark": str(tmp_path / "mark")}}}
    launcher = Launcher(state)
    key = launcher._launches.key(order["id"])
    launcher._write_down(key, order, launcher._asked(order["args"]), "")

    told = launcher.start(order)
    record = str(launcher._launches.path(key))
    late = subprocess.run(
        [sys.executable, "-P", "-m", "farwatch.runner", record], env={"PYTHONPATH": str(SOURCE)}, timeout=30, check=False
    )

    assert (told["state"], told["reason"][:19]) == ("refused", "nothing was started")
    assert late.returncode == 1
    assert started(tmp_path / "mark") == []


def test_a_machine_may_refuse_starts(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    write_profiles(state, tmp_path)
    launcher = Launcher(state, allowed=False)

    assert launcher.profiles() == {}
    assert launcher.start({"id": "x" * 8, "args": {"profile": "train"}})["state"] == "refused"


def test_a_spoilt_file_starts_nothing_and_says_why(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    write_profiles(state, tmp_path)
    (state / "launch.toml").chmod(0o666)
    launcher = Launcher(state)

    told = launcher.start({"id": "x" * 8, "args": {"profile": "train", "parameters": {"mark": "x"}}})

    assert told["reason"].startswith("launch.toml is not used: others may write launch.toml")
    assert launcher.profiles()["error"].startswith("launch.toml is not used")


def test_what_farwatch_run_has_run_can_be_run_again(shared: Machine, api: Api) -> None:
    mark = shared.folder / "mark-again"
    run_piped(
        shared, sys.executable, "train.py", "0.25", str(mark), "2", options=("--id", "to-restart"), API_KEY="hidden", KEPT="kept",
        STORE="postgres://ann:hidden@host/db",
    )
    until(final(api, "to-restart"))

    command = api.run("to-restart").restart().wait(30)
    assert command.state == "applied", command.reason
    run = until(final(api, command.result["run"]))

    assert run.id != "to-restart"
    assert (run.state, run.config["lr"]) == ("finished", 0.25)
    assert len(started(mark)) == 2
    kept = shared.state / "commands" / "to-restart.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "hidden" not in kept.read_text()


def test_what_nobody_ran_here_is_not_run_again(shared: Machine, api: Api) -> None:
    launcher = Launcher(shared.state)

    told = launcher.start({"id": "restart-unknown", "args": {"restart": "../launch"}})

    assert told["state"] == "refused"
    assert "has not run" in told["reason"]


def test_a_command_line_with_a_secret_is_not_kept_and_says_so(shared: Machine, api: Api) -> None:
    mark = shared.folder / "mark-secret"
    program = "import sys; open(sys.argv[1], 'a').write('1\\n')"
    run_piped(shared, sys.executable, "-c", program, str(mark), "--api-key", "s3cret-word", options=("--id", "with-secret"))
    until(final(api, "with-secret"))

    command = api.run("with-secret").restart().wait(30)

    assert command.state == "refused"
    assert command.reason == "its command line holds what looks like a secret and was not kept; start it by a profile in launch.toml"
    assert started(mark) == [1]
    kept = [path for name in ("commands", "launches") for path in (shared.state / name).glob("*") if path.is_file()]
    assert [path for path in kept if b"s3cret-word" in path.read_bytes()] == []


# --- kill

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["sleep", "87654"], start_new_session=len(sys.argv) > 1)
if os.fork() == 0:
    os.fork()
    time.sleep(600)
print("ready", flush=True)
time.sleep(600)
"""


def of_tree(marker: str) -> list[int]:
    """Processes with this variable in their environment."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    environ = file.read()
                with open(f"/proc/{name}/stat", "rb") as file:
                    dead = file.read().rpartition(b")")[2].split()[0] == b"Z"
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read()
            except OSError:
                continue
            agent = b"farwatch.agent" in words  # it has its first trainer's environment
            if not dead and not agent and f"MARKER={marker}".encode() in environ.split(b"\0"):
                found.append(int(name))
    return found


def test_kill_leaves_nothing_of_a_program_under_farwatch_run(shared: Machine, api: Api) -> None:
    (shared.folder / "stubborn.py").write_text(STUBBORN)
    process = subprocess.Popen(
        [*RUN, "--id", "kill-run", "--", "bash", "-c", f"{sys.executable} stubborn.py; true"], cwd=shared.folder,
        env={**shared.environ, "MARKER": "kill-run"}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    until(lambda: final_or_running(api, "kill-run"))
    until(lambda: len(of_tree("kill-run")) >= 6)

    begun = time.monotonic()
    command = api.run("kill-run").kill().wait(20)

    assert command.state == "applied", command.reason
    assert time.monotonic() - begun < 10
    process.wait(10)
    process.stdout.close()
    assert of_tree("kill-run") == []
    run = until(final(api, "kill-run"))
    assert (run.state, run.reason.startswith("killed by ")) == ("stopped", True)


def final_or_running(api: Api, run: str) -> bool:
    try:
        return api.run(run).state == "running"
    except NotFoundError:
        return False


@pytest.mark.parametrize("ending", ["dies", "finishes", "stubborn"])
def test_kill_of_a_plain_trainer_is_stopped_by_name_whatever_it_says(shared: Machine, api: Api, ending: str) -> None:
    handler = {
        "dies": "pass",
        "finishes": "signal.signal(signal.SIGTERM, lambda *a: (run.finish(), sys.exit(0)))",
        "stubborn": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    }[ending]
    source = f"""
        import farwatch, signal, subprocess, sys, time
        run = farwatch.init("kills", id="kill-{ending}", system=False)
        {handler}
        subprocess.Popen(["sleep", "600"])
        while True:
            run.log({{"loss": 1.0}}); time.sleep(0.02)
        """
    shared.train(source, MARKER=f"kill-{ending}")
    until(lambda: final_or_running(api, f"kill-{ending}"))
    until(lambda: len(of_tree(f"kill-{ending}")) == 2)

    command = api.run(f"kill-{ending}").kill().wait(20)

    assert command.state == "applied", command.reason
    assert of_tree(f"kill-{ending}") == []

    def told() -> bool:
        run = api.run(f"kill-{ending}")
        return run.state == "stopped" and run.reason.startswith("killed by ")

    until(told, what=f"{api.run(f'kill-{ending}').reason}")


def test_kill_reaches_every_rank(shared: Machine, api: Api) -> None:
    source = """
        import farwatch, os, subprocess, sys, time
        if "RANK" not in os.environ:
            more = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
            envs = [{**os.environ, **more, "RANK": r, "LOCAL_RANK": r} for r in "01"]
            ranks = [subprocess.Popen([sys.executable, __file__], env=env) for env in envs]
            sys.exit(max(abs(rank.wait()) for rank in ranks))
        run = farwatch.init("kills", name="two ranks", system=False)
        while True:
            run.log({"loss": 1.0}); time.sleep(0.02)
        """
    shared.train(source, MARKER="kill-ranks")
    run = until(lambda: next((one for one in api.runs("kills") if one.name == "two ranks"), None))
    until(lambda: len(api.run(run.id).detail["ranks"]) == 2)

    command = api.run(run.id).kill().wait(20)

    assert command.state == "applied", command.reason
    until(lambda: of_tree("kill-ranks") == [])
    until(lambda: api.run(run.id).state == "stopped", what=api.run(run.id).reason)


def test_a_server_of_one_user_wakes_its_agent_for_a_restart(machine: Machine) -> None:
    """The agent has left long ago; somebody presses "run again" on the page."""
    machine.start_server(through="cli")
    run_piped(machine, "bash", "-c", "echo hi", options=("--id", "sleeper"))
    with machine.api() as api:
        until(final(api, "sleeper"))
        machine.kill_agents()

        command = api.run("sleeper").restart().wait(30)

        assert command.state == "applied", command.reason
        run = until(final(api, command.result["run"]))
        assert [line.text for line in run.console()] == ["hi"]
