"""Rows L2, L3, L4, L9, L10, L11: what a program logs is what a reader gets, through the real agent and server."""

import datetime
import math
import signal

import pytest

from tests.faults.machine import Machine, until
from tests.rows.program import ended, points, ran

TEXT = "naïve line " * 2000
TIMES = {
    "aware": datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, datetime.timezone(datetime.timedelta(hours=1))),
    "naive": datetime.datetime(2026, 1, 2, 3, 4, 5),
    "day": datetime.date(2026, 1, 2),
}


def test_single_logs_nested_dict_and_batches_come_back_exactly(shared: Machine) -> None:
    """L2: 100 single logs, one nested dict, one extend of 1000 values with steps and times."""
    ran(
        shared,
        """
        import farwatch, math
        with farwatch.init("l2", id="l2", console=False, system=False) as run:
            for i in range(100):
                run.log({"single": math.sin(i) / 3}, step=i, time=1_700_000_000_000 + 7 * i)
            run.log({"train": {"loss": 1, "acc": 2}}, step=100)
            run.extend("batch", [math.cos(i) / 7 for i in range(1000)], steps=[3 * i for i in range(1000)],
                       times=[1_600_000_000_000 + i for i in range(1000)])
        """,
    )
    with shared.api() as api:
        run = ended(api, "l2")

        assert points(run, "single") == (
            [float(i) for i in range(100)],
            [1_700_000_000_000 + 7 * i for i in range(100)],
            [math.sin(i) / 3 for i in range(100)],
        )
        assert [points(run, f"train/{name}")[::2] for name in ("loss", "acc")] == [([100.0], [1]), ([100.0], [2])]
        assert points(run, "batch") == (
            [3.0 * i for i in range(1000)],
            [1_600_000_000_000 + i for i in range(1000)],
            [math.cos(i) / 7 for i in range(1000)],
        )
        assert set(run.metrics()) == {"single", "train/loss", "train/acc", "batch"}


def test_single_values_and_text_keep_value_and_type(shared: Machine) -> None:
    """L3: int above 2^31, float, bool, text, datetime, a line of more than 20 000 letters; an odd object warns once."""
    told = ran(
        shared,
        f"""
        import datetime, farwatch
        values = {{"int": 2**31 + 7, "long": 2**62 + 1, "float": 0.1, "bool": True, "text": "ä b"}}
        times = {TIMES!r}
        config = {{**values, "looks": "2026-01-02T03:04:05", "times": {{**times, "all": [*times.values()]}}}}
        with farwatch.init("l3", id="l3", config=config, console=False, system=False) as run:
            run.config["later"] = times["aware"]
            run.config.update({{"later": times["naive"]}})
            assert run.config["later"] == times["naive"] and run.config["times"]["aware"] == times["aware"]
            run.summary.update({{**values, **times}})
            for step in range(3):
                run.log({{**values, **times, "odd": object(), "line": {TEXT!r}}}, step=step)
        """,
    )
    assert told.count("left out") == 1, told

    single = {"int": 2**31 + 7, "long": 2**62 + 1, "float": 0.1, "bool": True, "text": "ä b"}
    with shared.api() as api:
        run = ended(api, "l3")
        for where in (run.config, run.summary):
            found = {name: where[name] for name in single}
            assert (found, [*map(type, found.values())]) == (single, [*map(type, single.values())])
        for name in ("int", "float", "bool"):
            values = points(run, name)[2]
            assert (values, type(values[0])) == ([single[name]] * 3, type(single[name]))
        media = {(item["name"], item["step"]): item for item in run.media()}
        assert [media["line", step]["text"] for step in range(3)] == [TEXT] * 3
        assert [(media["long", step]["type"], int(media["long", step]["text"])) for step in range(3)] == [
            ("integer", 2**62 + 1)
        ] * 3
        assert [media["text", step]["text"] for step in range(3)] == ["ä b"] * 3

        logged = {name: media[name, 1]["value"] for name in TIMES}
        columns = {name: f"config.times/{name}" for name in TIMES}
        cells = api.runs("l3", columns=list(columns.values())).cells[0]
        summary = {name: run.summary[name] for name in TIMES}
        for found in (run.config["times"], summary, logged, dict(zip(TIMES, cells, strict=True))):
            found = {name: found[name] for name in TIMES}
            assert (found, [*map(type, found.values())]) == (TIMES, [*map(type, TIMES.values())])
            assert [str(value) for value in found.values()] == [str(value) for value in TIMES.values()]
        assert run.config["times"]["all"] == [*TIMES.values()]
        assert run.config["later"] == TIMES["naive"]
        assert run.config["looks"] == "2026-01-02T03:04:05"
        for where, fits in (
            ('config.times.aware > "2026-01-02T02:04:05.678900Z"', True),
            ('config.times.aware > "2026-01-02T02:04:05.678901Z"', False),
            ('summary.day == "2026-01-02" and config.times.naive < created', True),
            ('config.times.naive ~ "^2026-01-02T03:04:05$"', True),
        ):
            assert len(api.runs("l3", where=where)) == fits, where


def test_nan_infinity_and_any_order_are_kept_and_drawn_in_step_order(shared: Machine) -> None:
    """L4: 1, NaN, inf, 2 at steps 5, 3, 5, 4: four points, no complaint, drawn by step with a gap."""
    told = ran(
        shared,
        """
        import farwatch
        with farwatch.init("l4", id="l4", console=False, system=False) as run:
            for step, value in zip((5, 3, 5, 4), (1.0, float("nan"), float("inf"), 2.0)):
                run.log({"a": value}, step=step)
        """,
    )
    assert len(told.splitlines()) == 1, told  # the start line

    with shared.api() as api:
        run = ended(api, "l4")
        steps, _, values = points(run, "a")
        line = run.chart(["a"])["a"]
    assert sorted(zip(steps, map(repr, values), strict=True)) == sorted(
        zip((5.0, 3.0, 5.0, 4.0), ("1.0", "nan", "inf", "2.0"), strict=True)
    )
    assert line.x.tolist() == sorted(line.x.tolist())
    assert (line.x[0], math.isnan(line.mean[0])) == (3.0, True)  # the gap
    assert {(x, y) for x, y in zip(line.x.tolist(), line.max.tolist(), strict=True) if math.isfinite(y)} == {
        (4.0, 2.0),
        (5.0, 1.0),
    }


def test_start_line_names_an_address_only_while_a_server_lives(machine: Machine) -> None:
    """L9: exactly one line: id and address if this machine knows a live server, else the command that shows it."""
    source = "import farwatch\nrun = farwatch.init('l9', console=False, system=False)\nprint(run.id[:7], run.url)\nrun.finish()\n"

    def lines() -> tuple[list[str], str, str]:
        *told, last = ran(machine, source).splitlines()
        short, url = last.split()
        return told, short, url

    told, short, url = lines()
    assert (len(told), url) == (1, "None") and short in told[0] and told[0].endswith("farwatch serve")
    machine.start_server()
    told, short, url = lines()
    assert (len(told), url) == (1, f"{machine.address}/r/{short}")
    assert short in told[0] and told[0].endswith(url)
    machine.kill_server(signal.SIGKILL)  # its file stays behind
    told, short, url = lines()
    assert (len(told), url) == (1, "None") and told[0].endswith("farwatch serve")


def test_own_id_appends_and_continues_behind_its_last_step(shared: Machine) -> None:
    """L9: a second start with the same custom id is the same run and goes on after its last step."""
    source = """
        import farwatch
        with farwatch.init("l9own", id="my-own.id_1", console=False, system=False) as run:
            for _ in range(20): run.log({"a": 1.0})
    """
    with shared.api() as api:
        ran(shared, source)
        ended(api, "my-own.id_1")
        ran(shared, source)
        run = until(lambda: (found := ended(api, "my-own.id_1")).attempt == 2 and found)

        assert points(run, "a")[0] == [float(step) for step in range(40)]
        assert len(api.runs("l9own")) == 1


@pytest.mark.parametrize(
    "ending",
    ["with run:\n    work()", "work()\nrun.finish()", "work()", "import sys\nwork()\nsys.exit(0)"],
    ids=["with", "finish", "nothing", "exit"],
)
def test_however_a_program_ends_its_run_is_over_and_whole(shared: Machine, ending: str, request: pytest.FixtureRequest) -> None:
    """L10: leaving the block, `finish`, or neither: a non-active state with every point stored."""
    run_id = "l10-" + request.node.callspec.id
    ran(
        shared,
        f"import farwatch\nrun = farwatch.init('l10', id={run_id!r}, console=False, system=False)\n"
        "def work():\n    for i in range(5000): run.log({'a': i / 8})\n" + ending + "\n",
    )

    with shared.api() as api:
        assert points(ended(api, run_id), "a")[2] == [i / 8 for i in range(5000)]


def test_wait_and_what_a_second_process_reads_then(shared: Machine) -> None:
    """L11: `wait` is true and the last point is there for others; metrics, config; deleting a metric and a file."""
    reader = shared.folder / "reader.py"
    reader.write_text(
        "import farwatch\nr = farwatch.Api().run('l11')\n"
        "print(r.series('a').values[-1], r.config['opt']['lr'], sorted(r.metrics()), sorted(r.metrics(match='^grad/')))\n"
    )
    told = ran(
        shared,
        """
        import farwatch, subprocess, sys
        open("kept.txt", "w").write("kept"); open("gone.txt", "w").write("gone")
        run = farwatch.init("l11", id="l11", config={"opt": {"lr": 0.25}}, console=False, system=False)
        run.save("*.txt")
        for i in range(1000): run.log({"a": i / 4, "grad/x": 1.0, "grad/y": 2.0})
        print(run.wait(), flush=True)
        subprocess.run([sys.executable, "reader.py"], check=True)
        run.finish()
        """,
    )
    assert "True\n249.75 0.25 ['a', 'grad/x', 'grad/y'] ['grad/x', 'grad/y']\n" in told

    with shared.api() as api:
        run = ended(api, "l11")
        run.delete_metric("grad/x")
        run.delete_file("gone.txt")
        assert set(run.metrics()) == {"a", "grad/y"}
        assert points(run, "grad/x") == ([], [], [])
        assert len(points(run, "grad/y")[0]) == 1000
        assert [file.path for file in run.files() if file.path.endswith(".txt")] == ["kept.txt"]


def test_wait_is_false_and_bounded_without_a_server(machine: Machine) -> None:
    """L11: what has not arrived is not said to have."""
    told = ran(
        machine,
        """
        import farwatch, time
        run = farwatch.init("l11", console=False, system=False)
        run.log({"a": 1.0})
        began = time.monotonic()
        print(run.wait(0.5), 0.5 <= time.monotonic() - began < 3)
        """,
    )
    assert told.splitlines()[-1] == "False True"
