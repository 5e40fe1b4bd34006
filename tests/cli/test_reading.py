"""Commands that read: what they write, to whom, and how they end."""

import csv
import io
import json
import math
import re
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from e2e_server import Server


def test_runs_lists_what_matches_in_the_order_asked_for(seeded: Server) -> None:
    done = seeded.command(
        "runs", "seed", "--sort", "-config.opt/lr", "--columns", "config.opt/lr,summary.loss.min"
    )

    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        "run",
        "name",
        "state",
        "step",
        "duration",
        "started",
        "config.opt/lr",
        "summary.loss.min",
    ]
    assert [line.split()[1] for line in lines[1:]] == ["run-1", "run-0"]
    assert [line.split()[-2:] for line in lines[1:]] == [["0.2", "0.002"], ["0.1", "0.001"]]
    assert (done.stderr, done.returncode) == ("", 0)


def test_runs_as_json_has_exact_numbers(seeded: Server) -> None:
    asked = ("runs", "seed", "--where", '"even" in tags', "--columns", "summary.loss,config.when")
    done, listed = seeded.command(*asked, "--json"), seeded.command(*asked)

    assert "2026-01-02T03:04:05.678901" in listed.stdout
    told = json.loads(done.stdout)
    assert (told["total"], [run["name"] for run in told["runs"]]) == (1, ["run-0"])
    when = {"$datetime": "2026-01-02T03:04:05.678901"}
    assert told["runs"][0]["cells"] == {"summary.loss": 0.1 / 100, "config.when": when}


def test_show_has_config_and_metrics(seeded: Server) -> None:
    plain = seeded.command("show", "seed#1")
    told = json.loads(seeded.command("show", "seed#1", "--json").stdout)

    assert "opt/lr" in plain.stdout and "finished" in plain.stdout
    assert re.search(r"^when +2026-01-02T03:04:05\.678901$", plain.stdout, re.MULTILINE)
    assert told["config"] == {"opt": {"lr": 0.1}, "when": {"$datetime": "2026-01-02T03:04:05.678901"}}
    assert (told["metrics"]["loss"]["count"], told["metrics"]["loss"]["max"]) == (100, 0.1)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("show", "nothing"), 1, "nothing"),
        (("runs", "seed", "--where", "loss >"), 2, "position"),
        (("frobnicate",), 2, "frobnicate"),
        (("runs", "--limit", "0"), 2, "limit"),
        (("export", "seed", "--format", "parquet"), 2, "--to"),
        (("restore", "."), 2, "--data"),
    ],
)
def test_failure_says_why_on_stderr_and_exits_non_zero(
    seeded: Server, arguments: tuple[str, ...], code: int, word: str
) -> None:
    done = seeded.command(*arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_failure_as_json_is_one_object_on_stderr(seeded: Server) -> None:
    done = seeded.command("show", "nothing", "--json")

    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["code"] == "not-found"


def test_export_as_csv_is_exact_and_safe_in_a_spreadsheet(seeded: Server) -> None:
    done = seeded.command("export", "seed")

    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["run", "name", "metric", "rank", "attempt", "step", "time_ms", "value"]
    losses = [float(row["value"]) for row in rows if row["metric"] == "loss" and row["name"] == "run-1"]
    assert losses == [0.2 / (step + 1) for step in range(100)]
    assert {row["metric"] for row in rows} == {"loss", "'=acc", "odd"}
    odd = [row for row in rows if row["metric"] == "odd"]
    assert [(row["step"], math.isnan(float(row["value"]))) for row in odd] == [("0.5", True)] * 2
    assert "402 points" in done.stderr


def test_export_as_json_lines_and_as_parquet_hold_the_same(seeded: Server, tmp_path: Path) -> None:
    lines, columns = tmp_path / "points.jsonl", tmp_path / "points.parquet"

    assert seeded.command("export", "seed", "--to", str(lines)).returncode == 0
    report = json.loads(seeded.command("export", "seed", "--to", str(columns), "--json").stdout)

    told = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    table = parquet.read_table(columns).to_pydict()
    assert report["points"] == len(told) == 402
    assert table["metric"] == [row["metric"] for row in told]
    assert table["run"] == [row["run"] for row in told]
    assert [repr(value) for value in table["value"]] == [
        "nan" if row["value"] == "NaN" else repr(float(row["value"])) for row in told
    ]
    assert not list(tmp_path.glob("*.part"))


def test_watch_without_a_terminal_writes_lines_and_ends_with_the_run(seeded: Server) -> None:
    done = seeded.command("watch", "seed#1")

    assert done.returncode == 0
    assert "run-0" in done.stdout and "finished" in done.stdout
    assert "red line 0" in done.stdout
    assert "\x1b" not in done.stdout
    told = json.loads(seeded.command("watch", "seed#2", "--once", "--json").stdout)
    assert (told["name"], told["state"], told["last"]["loss"]) == ("run-1", "finished", 0.2 / 100)


def test_open_prints_a_link_that_opens_the_run_once(seeded: Server) -> None:
    done = seeded.command("open", "seed#1", "--no-browser")

    with seeded.api() as api:
        short = api.run("seed#1").id[:7]
    assert done.stdout.startswith(f"{seeded.address}/r/{short}#once=")


def test_doctor_finds_the_server_and_reports_as_json(seeded: Server) -> None:
    told = json.loads(seeded.command("doctor", "--json").stdout)

    levels = {check["name"]: check["level"] for check in told["checks"]}
    assert (levels["server"], levels["clocks"], levels["state folder"]) == ("ok", "ok", "ok")
    assert told["settings"]["dir"] == {"value": str(seeded.folder), "source": "environment"}


def test_help_names_every_command_and_version_is_one_line(seeded: Server) -> None:
    helped, version = seeded.command("--help"), seeded.command("--version")

    assert all(word in helped.stdout for word in ("See:", "Move:", "Connect:", "Care:", "serve", "export"))
    assert len(version.stdout.splitlines()) == 1
    assert seeded.command("watch", "--help").stdout.startswith("Usage: farwatch watch")
