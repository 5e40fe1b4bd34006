"""Programs that log, run to their end or beside the test, and what a server says of them afterwards."""

import subprocess
from pathlib import Path
from typing import Any

from farwatch.api import Api, Run
from farwatch.errors import NotFoundError
from farwatch.wire.states import FINAL
from tests.faults.machine import Machine, until

LIMIT_S = 300  # of a program that may share two cores with all other tests; only one that hangs takes as long


def said(program: subprocess.Popen[bytes]) -> str:
    """What a program has written so far, both streams together."""
    return Path(str(program.args[1])).with_suffix(".log").read_text(errors="replace")  # type: ignore[index]


def ran(machine: Machine, source: str, *args: object, code: int = 0, **environ: str) -> str:
    """Run a program to its end, and return what it wrote."""
    program = machine.train(source, *args, **environ)
    program.wait(timeout=LIMIT_S)
    assert program.returncode == code, said(program)
    return said(program)


def ended(api: Api, ref: str, state: str = "finished", limit_s: float = 90) -> Run:
    """The run, once it has come to an end, which is `state`."""

    def final() -> Run | None:
        try:
            run = api.run(ref)
        except NotFoundError:
            return None
        return run if run.state in FINAL else None

    run: Run = until(final, limit_s, f"{ref} has ended")
    assert (run.state, run.reason if state == "finished" else "") == (state, ""), run.detail
    return run


def points(run: Run, name: str, **more: Any) -> tuple[list[float], list[int], list[Any]]:
    """Steps, times in ms, and values of a metric; empty where it has none."""
    try:
        series = run.series(name, **more)
    except NotFoundError:
        return [], [], []
    return series.steps.tolist(), series.times.tolist(), series.values.tolist()
