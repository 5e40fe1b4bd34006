"""The runs table: cells, order, pages, and what they cost."""

import json
import time
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, insert

from farwatch.errors import QueryError
from farwatch.service.cells import packed
from farwatch.service.packed import Table
from farwatch.service.summary import STATS
from farwatch.service.table import rounded, rounded_all
from farwatch.store.meta import DetailRow, RunRow, tables
from farwatch.wire.ids import new_run_id, short_id
from tests.service.conftest import Inside


def three(inside: Inside) -> list[str]:
    """Runs whose lr falls and whose accuracy rises; the last one diverged."""
    runs = []
    for lr, acc in ((0.1, 0.5), (0.01, 0.9), (0.001, float("nan"))):
        inside.clock.advance(1)
        process = inside.started(name=f"lr-{lr}", tags=["t"] if lr > 0.005 else [])
        process.patch(config={"opt": {"lr": lr}, "model": "cnn"}).log({"acc": acc / 2}).log({"acc": acc})
        process.send()
        runs.append(process.run)
    return runs


def ids(found: dict[str, Any]) -> list[str]:
    return [row["id"] for row in found["runs"]]


def test_cells_stand_in_the_order_of_the_columns(inside: Inside) -> None:
    three(inside)

    found = inside.runs.list(
        project="digits",
        columns="config.opt/lr,summary.acc.max,summary.acc,name,config.absent,state",
        sort="created",
    )

    assert found["columns"] == [
        "config.opt/lr",
        "summary.acc.max",
        "summary.acc",
        "name",
        "config.absent",
        "state",
    ]
    assert [row["cells"] for row in found["runs"]] == [
        [0.1, 0.5, 0.5, "lr-0.1", None, "running"],
        [0.01, 0.9, 0.9, "lr-0.01", None, "running"],
        [0.001, "NaN", "NaN", "lr-0.001", None, "running"],
    ]


def test_cells_have_five_digits_unless_exact(inside: Inside) -> None:
    inside.started().log({"a": 1 / 3, "b": 123456789.0}).send()

    short = inside.runs.list(columns="summary.a,summary.b")["runs"][0]["cells"]
    exact = inside.runs.list(columns="summary.a,summary.b", exact=True)["runs"][0]["cells"]

    assert short == [0.33333, 123460000]
    assert exact == [1 / 3, 123456789]


def test_all_metrics_come_with_the_statistic_of_their_rule(inside: Inside) -> None:
    process = inside.started().patch(define=[{"match": "acc", "summary": "max"}])
    process.log({"acc": 0.9, "loss": 2.0}).log({"acc": 0.4, "loss": 1.0}).send()

    found = inside.runs.list(columns="summary.*,config.*")

    assert found["columns"] == ["summary.acc.max", "summary.loss"]
    assert found["runs"][0]["cells"] == [0.9, 1]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("-summary.acc", [1, 0, 2]),
        ("summary.acc", [0, 1, 2]),
        ("config.opt/lr", [2, 1, 0]),
        ("-config.opt/lr", [0, 1, 2]),
        ("-created", [2, 1, 0]),
        ("created", [0, 1, 2]),
        ("name", [2, 1, 0]),
        ("config.model,created", [0, 1, 2]),
        ("config.absent", [2, 1, 0]),
        (None, [2, 1, 0]),
        ('-summary["acc"].min', [1, 0, 2]),
    ],
)
def test_order_by_any_column_with_nan_and_missing_last(
    inside: Inside, sort: str | None, order: list[int]
) -> None:
    runs = three(inside)

    assert ids(inside.runs.list(sort=sort)) == [runs[place] for place in order]


def test_filter_words_and_projects(inside: Inside) -> None:
    runs = three(inside)
    inside.clock.advance(1)
    other = inside.started(project="letters", name="lonely")

    assert inside.runs.list()["total"] == 4
    assert ids(inside.runs.list(project="letters")) == [other.run]
    assert ids(inside.runs.list(where='config["opt/lr"] < 0.05 and "t" in tags')) == [runs[1]]
    assert ids(inside.runs.list(where="summary.acc.max >= 0.9")) == [runs[1]]
    assert ids(inside.runs.list(q="LR-0.01 running")) == [runs[1]]
    assert ids(inside.runs.list(where="config.opt")) == runs[::-1]
    assert [one["name"] for one in inside.runs.projects()["projects"]] == ["letters", "digits"]


def test_filter_sees_what_has_just_come(inside: Inside) -> None:
    process = inside.started().log({"acc": 0.1})
    process.send()
    assert inside.runs.list(where="summary.acc > 0.5 or config.lr == 1")["total"] == 0

    process.log({"acc": 0.9}).send()
    assert inside.runs.list(where="summary.acc > 0.5")["total"] == 1

    process.log({"acc": 0.1}).patch(config={"lr": 1}).send()
    assert inside.runs.list(where="summary.acc > 0.5")["total"] == 0
    assert inside.runs.list(where="config.lr == 1")["total"] == 1


def test_pages_follow_each_other_without_doubles_while_runs_come(inside: Inside) -> None:
    seen: list[str] = []
    for _ in range(7):
        inside.clock.advance(1)
        inside.started()
    cursor = None

    while True:
        page = inside.runs.list(limit=3, cursor=cursor)
        seen += ids(page)
        inside.clock.advance(1)
        inside.started()
        cursor = page["next"]
        if cursor is None or len(seen) > 20:
            break

    assert len(seen) == len(set(seen)) == 7


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "nonsense"},
        {"columns": "nonsense"},
        {"where": "nonsense"},
        {"cursor": "nonsense"},
        {"columns": "config."},
    ],
)
def test_wrong_queries_are_named(inside: Inside, query: dict[str, str]) -> None:
    three(inside)

    with pytest.raises(QueryError) as refused:
        inside.runs.list(**query)

    assert refused.value.hint


def test_columns_name_what_runs_have(inside: Inside) -> None:
    three(inside)
    inside.started().patch(config={"model": 3}, summary={"own": 1}).log({"system/cpu": 1.0}).send()

    found = inside.runs.columns("digits")

    assert found == {
        "config": [{"name": "model", "type": "mixed"}, {"name": "opt/lr", "type": "float"}],
        "summary": ["acc", "own"],
    }


def test_metrics_are_paged_and_grouped(inside: Inside) -> None:
    process = inside.started().log({"train/a": 1.0, "train/b": 2.0, "val/a": 3.0, "top": 4.0})
    process.send()

    found = inside.runs.metrics(process.run, limit=2, offset=1)

    assert [one["name"] for one in found["metrics"]] == ["train/a", "train/b"]
    assert (found["total"], found["groups"]) == (
        4,
        [{"prefix": "", "count": 1}, {"prefix": "train", "count": 2}, {"prefix": "val", "count": 1}],
    )
    assert [one["name"] for one in inside.runs.metrics(process.run, match="^val/")["metrics"]] == ["val/a"]
    with pytest.raises(QueryError):
        inside.runs.metrics(process.run, match="(")


def filled(inside: Inside, runs: int, metrics: int) -> None:
    """Finished runs with summaries, put straight into the meta database, which is then opened again."""
    names = [f"group{i % 10}/metric{i}" for i in range(metrics)]
    made = np.random.default_rng(0)
    rows, summaries, details = [], [], []
    for i in range(1, runs + 1):
        run = new_run_id()
        row = RunRow(
            i, run, short_id(run), "big", i, f"run-{i}", "finished", "", None, "", i, i, i, i + 1, i, "ann", "ann", "box", 1, None,
            None, None, ["a"], "", False, None, False, 9.0, None, None, 1000, 1000, 1, names[0], names[0], "0.5", "sdk",
        )  # fmt: skip
        rows.append(row.columns())
        summaries.append(
            {"run_no": i, "layout": 1, "body": made.standard_normal((metrics, len(STATS))).tobytes()}
        )
        details.append(
            DetailRow(i, {"lr": float(i), "opt": {"name": "adam"}}, {}, [], {}, [], "", None).columns()
        )

    def fill(writes: Any) -> None:
        writes.put_summary(1, names, b"")
        for table, content in ((tables.run, rows), (tables.detail, details)):
            writes._connection.execute(insert(table), content)
        writes._connection.execute(delete(tables.summary))
        writes._connection.execute(insert(tables.summary), summaries)

    inside.meta.write(fill)
    inside.close()
    inside.open()


def cpu_ms(call: Any, times: int = 5) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.thread_time()
        call()
        best = min(best, (time.thread_time() - began) * 1000)
    return best


def test_ten_thousand_runs_are_sorted_by_a_metric_in_fifty_milliseconds(inside: Inside) -> None:
    filled(inside, 10_000, 20)
    column = "summary.group3/metric13"
    inside.runs.list(project="big", sort=f"-{column}", columns=column)

    spent = cpu_ms(lambda: inside.runs.list(project="big", sort=f"-{column}", columns=column))

    cells = [
        row["cells"][0] for row in inside.runs.list(project="big", sort=f"-{column}", columns=column)["runs"]
    ]
    assert cells == sorted(cells, reverse=True)
    assert spent < 50


def test_hundred_runs_with_three_hundred_metrics_are_small_and_fast(inside: Inside) -> None:
    filled(inside, 100, 300)
    found = inside.runs.list(project="big", columns="summary.*")

    spent = cpu_ms(lambda: inside.runs.list(project="big", columns="summary.*"))

    body = json.dumps({"cells": [row["cells"] for row in found["runs"]]}, separators=(",", ":")).encode()
    assert len(found["columns"]) == 300
    assert spent < 50
    assert len(body) < 300_000


def test_summary_of_a_run_with_very_many_metrics_is_written_less_often_but_in_the_end(inside: Inside) -> None:
    def stored() -> float:
        with inside.meta.read() as reads:
            found = list(reads.summaries([inside.meta.run_by_id(process.run).no]))  # type: ignore[union-attr]
        return float(np.frombuffer(found[0][2]).reshape(-1, len(STATS))[0, 0]) if found else -1.0

    process = inside.started()
    written = []
    for value in range(4):
        process.log({f"layer{i}/norm": float(value) for i in range(20_000)}).send()
        inside.clock.advance(6)
        inside.liveness.tick()
        written.append(stored())
    process.goodbye().send()
    inside.clock.advance(6)
    inside.liveness.tick()

    assert written == [0, 0, 2, 2]
    assert stored() == 3


def test_cells_come_back_from_their_bytes_as_they_were() -> None:
    rng = np.random.default_rng(1)
    numbers = [*rng.normal(size=500), *np.exp(30 * rng.normal(size=500)), 0.0, -0.0, 1e5, 99_999.6, 1e22, 5e-324, 1e300, 2.0]
    cells = [*(rounded(float(number)) for number in numbers), *numbers[:50], 7, 10**6, 2**60, "NaN", None, True, "a", [1], {"b": 2}]

    table = packed({"runs": [{"id": "r", "cells": cells}, {"id": "s", "cells": cells[::-1]}], "columns": ["c"] * len(cells), "total": 2})

    assert [row["id"] for row in table.meta["runs"]] == ["r", "s"]
    for row, expected in zip(unpacked(table), (cells, cells[::-1]), strict=True):
        assert [repr(found) for found in row] == [
            repr(float(cell)) if type(found) is float else repr(cell) for found, cell in zip(row, expected, strict=True)
        ]
    assert all(cell in (None, True) or not isinstance(cell, int) or cell > 99_999 for cell in table.meta["runs"][0]["cells"])
    assert packed({"runs": [], "columns": ["c"]}).meta == {"runs": [], "columns": ["c"]}
    example = [0.5, "a", -1234.5, None, 0, 1.2345e-18, 9.8765e26, 0.30000000000000004]  # the page's test reads these
    table = packed({"runs": [{"cells": example[:4]}, {"cells": example[4:]}], "columns": list("abcd")})
    assert {name: array.tolist() for name, (_, array) in table.arrays.items()} == {
        "low": [80, 0, 57, 0, 0, 57, 205, 0], "middle": [195, 0, 48, 0, 0, 48, 129, 0], "high": [68, 252, 86, 252, 88, 0, 177, 252],
    }  # fmt: skip


def unpacked(table: Table) -> list[list[Any]]:
    """Cells of each run, as a reader of the description takes them from bytes."""
    low, middle, high = (iter(array.tolist()) for _, array in table.arrays.values())
    rows = []
    for run in table.meta["runs"]:
        others = iter(run["cells"])
        row: list[Any] = []
        for _ in table.meta["columns"]:
            digits, top = next(low) + 256 * next(middle), next(high)
            if top >> 2 == 63:
                row.append(next(others))
            else:
                power = (top >> 2) - 22
                digits += 65536 * (top & 1)
                size = digits / 10.0**-power if power < 0 else digits * 10.0**power
                row.append(-size if top & 2 else size)
        assert list(others) == []
        rows.append(row)
    return rows


def test_many_numbers_are_rounded_as_one_is() -> None:
    rng = np.random.default_rng(0)
    numbers = np.concatenate(
        [
            rng.normal(size=2_000),
            np.exp(40 * rng.normal(size=2_000)),
            [0, -0.0, np.nan, np.inf, -np.inf, 1e5, 99_999.6, 1e22, 5e-324, 1.5, 0.999999, 123_456],
        ]
    )

    assert [repr(number) for number in rounded_all(numbers)] == [
        repr(rounded(number)) for number in numbers.tolist()
    ]
