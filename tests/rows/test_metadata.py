"""Rows T1 to T4: what is known of a run beside its points."""

import argparse
import os
import socket
import time

import pytest

from tests.faults.machine import Machine, until
from tests.rows.program import ended, points, ran

NAMESPACE = """
import argparse, farwatch, sys
given = argparse.Namespace(lr=1e-3, epochs=7, amp=True, name="resnet", sizes=[1, 2])
with farwatch.init("t1", id=sys.argv[1], config=given if sys.argv[1] == "t1-namespace" else None, console=False, system=False) as run:
    run.log({"val/loss": 1.0})
    if run.id == "t1-nested":
        run.config.update({"opt": {"lr": 1e-3, "sched": {"warmup": 10}}})
        run.config["data/version"] = "v2"
"""


def test_parameters_stand_under_their_paths_with_types_and_can_be_columns(shared: Machine) -> None:
    """T1: a Namespace, a nested dict and data/version="v2"."""
    for run_id in ("t1-namespace", "t1-nested"):
        ran(shared, NAMESPACE, run_id)
    expected = vars(argparse.Namespace(lr=1e-3, epochs=7, amp=True, name="resnet", sizes=[1, 2]))

    with shared.api() as api:
        config = ended(api, "t1-namespace").config
        assert (config, [*map(type, config.values())]) == (expected, [*map(type, expected.values())])
        assert ended(api, "t1-nested").config == {
            "opt": {"lr": 1e-3, "sched": {"warmup": 10}},
            "data": {"version": "v2"},
        }
        listed = api._contact.get("/columns", project="t1")
        assert listed["summary"] == ["val/loss"]
        told = {row["name"]: row["type"] for row in listed["config"]}
        names = [*expected, "opt/lr", "opt/sched/warmup", "data/version"]
        assert set(told) == set(names)
        assert [told[name] for name in ("lr", "epochs", "amp", "name")] == ["float", "int", "bool", "text"]
        columns = [f"config.{name}" if "/" not in name else f'config["{name}"]' for name in names]
        cells = {row["id"]: row["cells"] for row in api.runs("t1", columns=columns).rows}
    assert [cells["t1-namespace"][name] for name in columns[:4]] == [1e-3, 7, True, "resnet"]
    assert [cells["t1-nested"][name] for name in columns[5:]] == [1e-3, 10, "v2"]


def test_name_notes_tags_and_group_are_set_at_the_start_and_edited(shared: Machine) -> None:
    """T2: add a, b and remove a: the tags are exactly [b], and filtering by b returns the run."""
    ran(
        shared,
        """
        import farwatch
        farwatch.init("t2", id="t2-other", tags=["a"], console=False, system=False).finish()
        with farwatch.init("t2", id="t2", name="first", notes="why", tags=["x"], group="g", job_type="eval",
                           console=False, system=False) as run:
            run.tags.add("y")
        """,
    )
    with shared.api() as api:
        run = ended(api, "t2")
        assert (run.name, run.notes, sorted(run.tags)) == ("first", "why", ["x", "y"])
        assert (run.detail["group"], run.detail["job_type"]) == ("g", "eval")
        assert [found.id for found in api.runs("t2", where='group == "g"')] == ["t2"]
        run.tags.remove("x", "y")
        run.tags.add("a", "b")
        run.tags.remove("a")
        run.name, run.notes = "second", "ä\nb"
        again = api.run("t2")
        assert (again.name, again.notes, list(again.tags)) == ("second", "ä\nb", ["b"])
        assert [found.id for found in api.runs("t2", where='"b" in tags')] == ["t2"]


def test_every_run_has_its_system_fields_and_three_at_once_are_1_2_3(shared: Machine) -> None:
    """T3: ID, created, modified, running time within 2 s, owner, host, state, size; numbers of three starts at once."""
    gate = shared.folder / "go"
    source = """
        import farwatch, os, sys, time
        while not os.path.exists("go"): time.sleep(0.001)
        began = time.time()
        with farwatch.init("t3", console=False, system=False) as run:
            for i in range(100):
                run.log({"a": float(i)}); time.sleep(0.01)
        print(time.time() - began)
    """
    before = time.time()
    programs = [shared.train(source) for _ in range(3)]
    gate.touch()
    for program in programs:
        program.wait(60)

    with shared.api() as api:
        runs = until(
            lambda: (found := api.runs("t3", sort="number")) and {r.state for r in found} == {"finished"} and len(found) == 3 and found
        )
        assert [run.number for run in runs] == [1, 2, 3]
        for run in runs:
            row = run.detail
            assert row["id"] and row["state"] == "finished"
            assert before - 1 < row["created_ms"] / 1000 < time.time() + 1
            assert row["created_ms"] <= row["modified_ms"]
            assert 1.0 <= row["duration_ms"] / 1000 < 3.5, row
            assert row["host"] == socket.gethostname()
            assert row["owner"]
            assert (row["points"], row["bytes"] > 0) == (100, True)
        spent = sorted(float(line) for line in _last_lines(shared, 3))
        told = sorted(run.detail["duration_ms"] / 1000 for run in runs)
        assert all(abs(a - b) < 2 for a, b in zip(spent, told, strict=True))


def _last_lines(machine: Machine, count: int) -> list[str]:
    logs = sorted(machine.folder.glob("train*.log"), key=os.path.getmtime)[-count:]
    return [log.read_text().splitlines()[-1] for log in logs]


@pytest.mark.parametrize("kept", [True, False])
def test_an_uncaught_exception_leaves_its_traceback_unless_told_not_to(shared: Machine, kept: bool) -> None:
    """T4: failed with its traceback; with the option off without."""
    run_id = f"t4-{kept}"
    ran(
        shared,
        f"""
        import farwatch
        run = farwatch.init("t4", id={run_id!r}, traceback={kept}, console=False, system=False)
        run.log({{"a": 1.0}})
        def deep(): raise ValueError("bad batch 17")
        deep()
        """,
        code=1,
    )
    with shared.api() as api:
        run = ended(api, run_id, "failed")
        assert points(run, "a")[2] == [1.0]
        if kept:
            assert run.reason == "ValueError: bad batch 17"
            assert run.traceback is not None and "in deep" in run.traceback and "bad batch 17" in run.traceback
        else:
            assert (run.traceback, run.reason) == (None, "ValueError")
