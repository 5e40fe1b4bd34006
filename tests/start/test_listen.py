"""A training function that is started and stopped again and again, in one process."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import farwatch
from farwatch.api import Api, Run
from farwatch.errors import NotFoundError, UsageError
from tests.faults.machine import Machine, until

PROGRAM = """
import farwatch, sys, time

def train(run, lr: farwatch.Knob = 0.1, steps: int = 2000, kind: str = "slow"):
    "Train a little."
    open(sys.argv[1], "a").write(f"{run.id} begins\\n")
    for step in range(steps):
        run.log({"loss": 1.0 / (step + 1), "lr": lr.value}, step=step)
        if kind == "raises":
            raise ValueError("no good")
        time.sleep(0.01)
        if run.should_stop:
            break
    run.summary["final"] = 1.0
    open(sys.argv[1], "a").write(f"{run.id} ends\\n")

limits, choices = {"lr": (0.0, 1.0)}, {"kind": ["slow", "raises"]}
farwatch.listen(train, project=sys.argv[2], name="the listener", limits=limits, choices=choices, system=False)
print("over", flush=True)
"""


class Listening:
    """A program that listens, and its listener's run."""

    def __init__(self, machine: Machine, api: Api, project: str) -> None:
        self.api, self.project = api, project
        self.mark = machine.folder / f"mark-{project}"
        self.process: subprocess.Popen[bytes] = machine.train(PROGRAM, self.mark, project)
        self.run: Run = until(lambda: next((one for one in api.runs(project) if one.name == "the listener"), None))
        until(lambda: "start" in self.run_now().detail["steer"]["commands"])

    def run_now(self) -> Run:
        return self.api.run(self.run.id)

    def start(self, **given: Any) -> Any:
        return self.run_now().call("start", **given).wait(20)

    def child(self, command: Any) -> Run:
        run = command.result["run"]
        until(lambda: any(row["id"] == run for row in self.api.runs(self.project).rows))
        return until(lambda: (found := self.api.run(run)).detail["steer"]["knobs"] and found)

    def marks(self) -> list[str]:
        return self.mark.read_text().splitlines() if self.mark.exists() else []


@pytest.fixture(scope="module")
def api(shared: Machine) -> Iterator[Api]:
    with shared.api() as made:
        yield made


def test_start_runs_it_once_with_changed_parameters_and_waits_again(shared: Machine, api: Api) -> None:
    """One start, one training; a second one meanwhile is refused; knobs reach the running function; stop leads back to waiting."""
    listening = Listening(shared, api, "listen-1")

    assert listening.run_now().set("lr", 0.5).wait(20).state == "applied"
    first = listening.start()
    assert first.state == "applied", first.reason
    child = listening.child(first)
    second = listening.start(lr=0.2)
    assert (second.state, second.reason[:15]) == ("refused", "already running")
    assert (child.config["lr"], child.detail["parent"]) == (0.5, listening.run.id)

    assert child.set("lr", 0.25).wait(20).state == "applied"
    params = listening.run_now().call("params").wait(20).result
    assert params["running"]["parameters"]["lr"] == 0.25
    assert params["next"]["lr"] == 0.5

    assert child.stop().wait(20).state == "applied"
    again = until(lambda: (found := listening.start(lr=0.125, steps=3)).state == "applied" and found)
    second_run = ended(api, again.result["run"], "finished")
    assert (second_run.config["lr"], [*second_run.series("lr").values]) == (0.125, [0.125] * 3)
    stopped = ended(api, child.id, "stopped")
    assert stopped.reason.startswith("stopped by ")
    assert stopped.summary["final"] == 1.0
    assert listening.marks() == [f"{child.id} begins", f"{child.id} ends", f"{second_run.id} begins", f"{second_run.id} ends"]

    assert listening.run_now().stop().wait(20).state == "applied"
    assert listening.process.wait(20) == 0
    assert ended(api, listening.run.id, "stopped").reason.startswith("stopped by ")


def test_wrong_values_start_nothing_and_an_error_ends_one_run_only(shared: Machine, api: Api) -> None:
    listening = Listening(shared, api, "listen-2")

    wrong = listening.start(lr=7)
    assert (wrong.state, wrong.reason) == ("refused", "lr is from 0 to 1, not: `7`")
    failed = listening.start(kind="raises")
    run = ended(api, failed.result["run"], "failed")
    assert run.reason == "ValueError: no good"
    assert len(listening.marks()) == 1

    going = until(lambda: (found := listening.start()).state == "applied" and found)
    listening.child(going)
    listening.run_now().stop().wait(20)

    assert listening.process.wait(20) == 0
    assert ended(api, going.result["run"], "stopped").reason.startswith("stopped by ")
    assert [line.split()[1] for line in listening.marks()] == ["begins", "begins", "ends"]


def ended(api: Api, run: str, state: str) -> Run:
    """The run, once it has come to this state."""

    def look() -> Run | None:
        try:
            found = api.run(run)
        except NotFoundError:
            return None
        return found if found.state == state else None

    return until(look)


def test_a_function_without_defaults_is_refused() -> None:
    def train(lr: float) -> None: ...

    with pytest.raises(UsageError, match="needs a default"):
        farwatch.listen(train)


def test_limits_of_unknown_parameters_are_refused() -> None:
    def train(lr: float = 0.1) -> None: ...

    with pytest.raises(UsageError, match="has no parameter `rate`"):
        farwatch.listen(train, limits={"rate": (0, 1)})
