"""Every point comes back exact, in one call, at little cost."""

import math
import time

import numpy as np
import pytest

from farwatch.api import Api
from farwatch.api.series import SeriesTable, one_series
from farwatch.errors import NotFoundError
from farwatch.wire import columns
from tests.api.conftest import Feeder

HARD = [1.0, 0.1 + 0.2, math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308]


def test_points_come_back_bit_exact_with_their_times(api: Api, feed: Feeder) -> None:
    words = [
        "NaN" if math.isnan(v) else "Infinity" if v == math.inf else "-Infinity" if v == -math.inf else v
        for v in HARD
    ]
    points = [
        {"step": step, "metrics": {"loss": word}, "time_ms": 1_700_000_000_000 + step}
        for step, word in enumerate(words)
    ]
    run = feed.run("exact", points=points)

    series = run.series("loss")

    assert series.values.tobytes() == np.array(HARD).tobytes()
    assert series.steps.tolist() == list(range(len(HARD)))
    assert series.times.tolist() == [1_700_000_000_000 + step for step in range(len(HARD))]
    assert series.times.dtype == np.int64


def test_part_of_a_series_and_a_missing_one(api: Api, feed: Feeder) -> None:
    run = feed.run("part", points=[{"step": step, "metrics": {"loss": float(step)}} for step in range(100)])

    assert run.series("loss", step_min=10, step_max=12).values.tolist() == [10.0, 11.0, 12.0]
    assert len(run.series("loss", step_min=1000)) == 0
    with pytest.raises(NotFoundError, match="nothing"):
        run.series("nothing")


def test_one_call_reads_a_metric_of_many_runs(api: Api, feed: Feeder) -> None:
    runs = [
        feed.run(
            "many",
            tags=["odd"] if index % 2 else [],
            points=[{"step": s, "metrics": {"loss": index + s / 1000}} for s in range(200)],
        )
        for index in range(10)
    ]

    table = api.series("many", "loss", where='"odd" in tags', step_min=50, step_max=99)

    assert len(table) == 5 * 50
    assert set(table.run) == {run.id for run in runs[1::2]}
    frame = table.to_pandas()
    assert frame.groupby("run", observed=True)["value"].count().tolist() == [50] * 5
    assert sorted(frame["value"])[0] == 1.05
    assert [len(series) for series in table] == [50] * 5


def test_chart_keeps_a_spike_and_a_nan_of_one_point(api: Api, feed: Feeder) -> None:
    values: list[float | str] = [0.0] * 20_000
    values[7_777], values[9_999] = 50.0, "NaN"
    run = feed.run(
        "spike", points=[{"step": step, "metrics": {"loss": value}} for step, value in enumerate(values)]
    )

    line = run.chart(["loss"], buckets=100)["loss"]

    assert len(line.x) <= 250
    assert (line.max.max(), line.min.min(), line.count.sum(), line.nonfinite.sum()) == (50.0, 0.0, 20_000, 1)
    exact = run.chart(["loss"], lo=7_775, hi=7_779)["loss"]
    assert (exact.exact, exact.x.tolist(), exact.last.tolist()) == (
        True,
        [7775, 7776, 7777, 7778, 7779],
        [0.0, 0.0, 50.0, 0.0, 0.0],
    )


def test_metrics_are_told_by_name_and_pattern(api: Api, feed: Feeder) -> None:
    run = feed.run(
        "named",
        points=[
            {"step": s, "metrics": {"grad/a": float(s), "grad/b": 1.0, "loss": 2.0 - s}} for s in range(3)
        ],
    )

    assert sorted(run.metrics(match="grad/.*")) == ["grad/a", "grad/b"]
    loss = run.metrics()["loss"]
    assert (loss.count, loss.last, loss.min, loss.min_step, loss.max, loss.max_step) == (
        3,
        0.0,
        0.0,
        2.0,
        2.0,
        0.0,
    )
    run.delete_metric("grad/b")
    assert sorted(api.run(run.id).metrics()) == ["grad/a", "loss"]


def test_a_million_points_cost_a_tenth_of_a_cpu_second() -> None:
    """Decoding only: the bytes are there. Measured in CPU time, best of three, because other work may fill the machine."""
    count = 1_000_000
    steps, times = np.arange(count, dtype=np.float64), np.arange(count, dtype=np.int64) * 1000
    line = {"run": "r", "name": "loss", "rank": 0, "attempt": 1, "kind": "f", "start": 0, "length": count}
    body = columns.encode(
        {"lines": [line]},
        [
            ("steps", "f8", steps.tobytes()),
            ("times", "i8", times.tobytes()),
            ("values", "f8", steps.tobytes()),
        ],
    )
    costs = []

    for _ in range(3):
        began = time.process_time()
        meta, arrays = columns.decode(body)
        views = {name: np.frombuffer(view, dtype=f"<{dtype}") for name, (dtype, view) in arrays.items()}
        series = one_series("r", "loss", 0, 1, meta["lines"], views)
        table = SeriesTable(meta["lines"], views)
        costs.append(time.process_time() - began)

    assert (len(series), len(table), series.times[-1]) == (count, count, count - 1)
    assert min(costs) < 0.1
