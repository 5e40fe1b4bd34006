"""Charts are recomputed here from raw points: what is drawn must be true of what was logged."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from farwatch.errors import LimitError, NotFoundError, UsageError
from farwatch.service.charts import Charts
from farwatch.store.base import Decoded, Incoming, Points, SeriesKey, Writer
from farwatch.store.memory import MemoryStore
from farwatch.wire import columns
from farwatch.wire.segment import first_seed


class Kept:
    """Runs of a test: which spans are visible is told by the test, everything else comes from the store."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.spans: dict[tuple[str, str, int], list[tuple[SeriesKey, float | None, float | None]]] = {}
        self.listed: list[str] = []

    def find(self, ref: str) -> str:
        if ref.startswith("gone"):
            raise NotFoundError(f"no run with id: `{ref}`")
        return ref

    def row(self, run_id: str) -> Mapping[str, Any]:
        return {"id": run_id, "started_ms": 1_000_000}

    def visible(
        self, run_id: str, name: str, rank: int
    ) -> Sequence[tuple[SeriesKey, float | None, float | None]]:
        given = self.spans.get((run_id, name, rank))
        if given is not None:
            return given
        return [(info.key, None, None) for info in self.store.series(run_id, [name]) if info.key.rank == rank]

    def list(self, **query: Any) -> Mapping[str, Any]:
        return {"runs": [{"id": run} for run in self.listed]}


class World:
    """A store that tests fill, and charts over it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.runs = Kept(self.store)
        self.charts = Charts(self.store, self.runs)

    def log(
        self,
        run: str,
        name: str,
        steps: Any,
        values: Any,
        *,
        rank: int = 0,
        attempt: int = 1,
        times: Any = None,
    ) -> None:
        writer_id = random.randbytes(16).hex()
        self.store.register(Writer(writer_id, run, rank, attempt))
        steps = np.asarray(steps, np.float64)
        times = np.asarray(1_000_000_000 + steps * 1_000 if times is None else times).astype(np.int64)
        points = Points(steps, times, np.asarray(values, np.float64))
        decoded = Decoded([name], "f", np.zeros(len(steps), np.int32), points, [])
        seed = first_seed(writer_id)
        (ack,) = self.store.append([Incoming(writer_id, 0, 1, seed, 7, b"", "identity", decoded)])
        assert not isinstance(ack, Exception), ack

    def chart(self, lines: list[dict[str, Any]], **body: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return read(self.charts.chart({"lines": lines, **body}).encode())


def read(body: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    meta, arrays = columns.decode(body)
    dtypes = {"f8": "<f8", "f4": "<f4", "i8": "<i8", "i4": "<i4", "u4": "<u4", "u1": "u1"}
    return meta, {name: np.frombuffer(view, dtypes[dtype]) for name, (dtype, view) in arrays.items()}


def part(meta: dict[str, Any], arrays: dict[str, np.ndarray], line: int, name: str) -> np.ndarray:
    told = meta["lines"][line]
    return arrays[name][told["start"] : told["start"] + told["length"]]


@pytest.fixture
def world() -> World:
    random.seed(7)
    return World()


def test_few_points_come_exactly(world: World) -> None:
    values = [0.1, math.nan, math.inf, -0.0, 1e-320, 1e300]
    world.log("r", "loss", range(6), values)

    meta, arrays = world.chart([{"run": "r", "name": "loss"}])

    assert meta["lines"][0]["exact"] is True
    assert part(meta, arrays, 0, "px").tolist() == [0, 1, 2, 3, 4, 5]
    assert part(meta, arrays, 0, "pv").tobytes() == np.array(values).tobytes()
    assert meta["lines"][0]["last"] == 1e300
    assert meta["lines"][0]["nonfinite"] == 2


def test_one_spike_and_one_nan_among_many_points_are_in_the_chart(world: World) -> None:
    values = np.sin(np.arange(50_000) / 900)
    values[31_337], values[7_777] = 4e5, math.nan
    world.log("r", "loss", range(50_000), values)

    meta, arrays = world.chart([{"run": "r", "name": "loss"}], buckets=250)

    x, high, bad = (part(meta, arrays, 0, name) for name in ("x", "max", "nonfinite"))
    assert len(x) <= 500
    assert high.max() == np.float32(4e5)
    assert abs(x[high.argmax()] - 31_337) <= 50_000 / len(x)
    assert bad.sum() == 1
    assert abs(x[bad.argmax()] - 7_777) <= 50_000 / len(x)
    assert part(meta, arrays, 0, "count").sum() == 50_000


def test_buckets_are_those_of_the_raw_points(world: World) -> None:
    rng = np.random.default_rng(3)
    steps, values = np.sort(rng.uniform(0, 1_000, 9_000)), rng.normal(size=9_000)
    world.log("r", "loss", steps, values)

    meta, arrays = world.chart([{"run": "r", "name": "loss"}], lo=100, hi=900, buckets=100)

    inside = values[(steps >= 100) & (steps <= 900)]
    low, high, mean, count = (part(meta, arrays, 0, name) for name in ("min", "max", "mean", "count"))
    assert count.sum() == len(inside)
    assert low.min() == np.float32(inside.min()) and high.max() == np.float32(inside.max())
    assert math.isclose((mean.astype(float) * count).sum() / count.sum(), inside.mean(), abs_tol=1e-6)
    assert (low <= mean).all() and (mean <= high).all()


def test_overview_of_many_lines_keeps_every_envelope_and_fits_in_200_kb(world: World) -> None:
    from farwatch.server.answers import compress

    rng = np.random.default_rng(5)
    raw = {}
    for number in range(100):
        raw[f"r{number}"] = np.cumsum(rng.normal(size=2_000)) / 40 + rng.normal(size=2_000) * 0.2
        world.log(f"r{number}", "loss", range(2_000), raw[f"r{number}"])

    body = world.charts.chart({"lines": [{"run": run, "name": "loss"} for run in raw]}).encode()

    packed, encoding = compress(body, "zstd")
    assert encoding == "zstd" and len(packed) <= 200_000
    meta, arrays = read(body)
    assert "mean8" in arrays and "mean" not in arrays
    for line, values in enumerate(raw.values()):
        low, high, count = (part(meta, arrays, line, name).astype(float) for name in ("min", "max", "count"))
        starts = np.concatenate([[0], np.cumsum(count).astype(int)[:-1]])
        true_low, true_high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        unit = (values.max() - values.min()) / 30_000
        assert (low <= true_low + unit / 100).all() and (low >= true_low - unit).all()
        assert (high >= true_high - unit / 100).all() and (high <= true_high + unit).all()


@pytest.mark.parametrize("axis", ["step", "time"])
def test_mean_of_ranks_of_different_lengths_has_no_beat(world: World, axis: str) -> None:
    for rank, length in enumerate((15_000, 15_000, 12_000)):
        steps = np.arange(length)
        world.log("r", "loss", steps, np.full(length, float(rank)), rank=rank, times=steps * 1_000_000)

    meta, arrays = world.chart([{"run": "r", "name": "loss"}], x=axis, ranks="mean")

    assert meta["lines"][0]["ranks"] == 3 and 200 <= meta["lines"][0]["length"] <= 250
    x, mean = part(meta, arrays, 0, "x"), part(meta, arrays, 0, "mean")
    x = x if axis == "step" else x / 1_000
    together = x < 11_900
    assert np.allclose(mean[together], 1.0) and np.allclose(mean[x > 12_100], 0.5)
    low, high = part(meta, arrays, 0, "min"), part(meta, arrays, 0, "max")
    assert set(low[together]) == {0.0} and set(high[together]) == {2.0}
    assert part(meta, arrays, 0, "count").sum() == 42_000


@pytest.mark.parametrize("others", [0, 99])
def test_small_changes_of_large_values_are_drawn_as_they_were(world: World, others: int) -> None:
    rng = np.random.default_rng(8)
    for number in range(others):
        world.log(f"r{number}", "loss", range(2_000), rng.normal(size=2_000))
    values = 1.7e9 + np.cumsum(rng.uniform(0, 0.02, size=2_000))
    world.log("r", "time", range(2_000), values)
    world.log("r", "flat", range(2_000), np.full(2_000, -3e9))
    lines = [{"run": f"r{number}", "name": "loss"} for number in range(others)]

    meta, arrays = world.chart([{"run": "r", "name": "time"}, {"run": "r", "name": "flat"}, *lines])

    base = [line["base"] for line in meta["lines"]]
    low, high, count = (part(meta, arrays, 0, name).astype(float) for name in ("min", "max", "count"))
    starts = np.concatenate([[0], np.cumsum(count).astype(int)[:-1]])
    assert np.allclose(low + base[0], values[starts], rtol=0, atol=0.001)
    assert np.allclose(high + base[0], np.maximum.reduceat(values, starts), rtol=0, atol=0.001)
    share = part(meta, arrays, 0, "mean8").astype(float) / 255 if others else None
    mean = part(meta, arrays, 0, "mean").astype(float) if share is None else share * (high - low) + low
    assert np.allclose(mean + base[0], np.add.reduceat(values, starts) / count, rtol=0, atol=0.001)
    assert set(part(meta, arrays, 1, "min").astype(float) + base[1]) == {-3e9}
    assert set(base[2:]) <= {0.0}


def test_a_later_attempt_takes_over_and_what_it_hides_is_pale(world: World) -> None:
    first, second = SeriesKey("r", "loss", 0, 1), SeriesKey("r", "loss", 0, 2)
    world.log("r", "loss", range(100), np.full(100, 1.0))
    world.log("r", "loss", range(60, 120), np.full(60, 2.0), attempt=2)
    world.runs.spans["r", "loss", 0] = [(first, None, math.nextafter(60, 0)), (second, 60, None)]

    meta, arrays = world.chart([{"run": "r", "name": "loss", "attempt": "all"}], buckets=1_000)
    latest, drawn = world.chart([{"run": "r", "name": "loss"}], buckets=1_000)

    assert [(line["pale"], line["attempt"], line["length"]) for line in meta["lines"]] == [
        (False, 2, 120),
        (True, 1, 40),
    ]
    assert part(meta, arrays, 1, "px").tolist() == list(range(60, 100))
    assert part(latest, drawn, 0, "pv").tolist() == [1.0] * 60 + [2.0] * 60
    assert part(latest, drawn, 0, "px").tolist() == list(range(120))


def test_visible_history_is_clipped_over_time_too(world: World) -> None:
    first, second = SeriesKey("r", "loss", 0, 1), SeriesKey("r", "loss", 0, 2)
    world.log("r", "loss", range(100), np.full(100, 1.0), times=np.arange(100) * 1_000_000)
    world.log(
        "r", "loss", range(60, 120), np.full(60, 2.0), attempt=2, times=(200 + np.arange(60)) * 1_000_000
    )
    world.runs.spans["r", "loss", 0] = [(first, None, math.nextafter(60, 0)), (second, 60, None)]

    meta, arrays = world.chart([{"run": "r", "name": "loss"}], x="time", buckets=1_000)

    assert part(meta, arrays, 0, "px").tolist() == [
        *(n * 1_000 for n in range(60)),
        *((200 + n) * 1_000 for n in range(60)),
    ]


def test_relative_time_is_seconds_since_the_start_of_the_run(world: World) -> None:
    world.log("r", "loss", [1, 2], [5, 6], times=[1_001_500_000, 1_003_000_000])

    meta, arrays = world.chart([{"run": "r", "name": "loss"}], x="relative", lo=2)

    assert part(meta, arrays, 0, "px").tolist() == [3.0]


def test_another_metric_as_x_is_its_last_value_up_to_the_step(world: World) -> None:
    world.log("r", "val", [0, 10, 15, 20], [9, 8, 7.5, 7])
    world.log("r", "epoch", [5, 10, 20], [1, 2, 3])

    meta, arrays = world.chart([{"run": "r", "name": "val"}], x="epoch")

    assert part(meta, arrays, 0, "px").tolist() == [2, 2, 3]
    assert part(meta, arrays, 0, "pv").tolist() == [8, 7.5, 7]
    assert meta["lines"][0]["unplaced"] == 1
    assert meta["lines"][0]["approximate"] is False


def test_another_metric_as_x_beyond_200000_points_is_said_to_be_approximate(world: World) -> None:
    steps = np.arange(150_000)
    values = np.cos(steps / 5_000)
    values[77_777] = 50
    world.log("r", "val", steps, values)
    world.log("r", "epoch", steps, steps / 1_000)

    meta, arrays = world.chart([{"run": "r", "name": "val"}], x="epoch", buckets=200)

    assert meta["lines"][0]["approximate"] is True
    x, high = part(meta, arrays, 0, "x"), part(meta, arrays, 0, "max")
    assert high.max() == 50
    assert abs(x[high.argmax()] - 77.777) < 2
    assert part(meta, arrays, 0, "count").sum() == 150_000


def test_mean_over_ranks_has_the_envelope_of_all(world: World) -> None:
    for rank, value in enumerate([1.0, 2.0, 6.0]):
        world.log("r", "loss", range(10), np.full(10, value), rank=rank)

    meta, arrays = world.chart([{"run": "r", "name": "loss"}], ranks="mean")

    assert len(meta["lines"]) == 1 and meta["lines"][0]["ranks"] == 3
    assert part(meta, arrays, 0, "x").tolist() == list(range(10))
    for name, value in (("min", 1.0), ("mean", 3.0), ("max", 6.0), ("count", 3)):
        assert part(meta, arrays, 0, name).tolist() == [value] * 10


def test_mean_over_ranks_ends_where_all_have_come_unless_one_is_silent(world: World) -> None:
    for rank, length in enumerate((10, 8)):  # 2 ms apart: the other is on its way
        world.log("r", "loss", range(length), np.full(length, float(rank)), rank=rank)
        world.log("s", "loss", range(length), range(length), rank=rank, times=np.arange(length) * 3_000_000)

    near, arrays = world.chart([{"run": "r", "name": "loss"}], ranks="mean")
    assert part(near, arrays, 0, "x").tolist() == list(range(8))
    assert part(near, arrays, 0, "mean").tolist() == [0.5] * 8

    silent, arrays = world.chart([{"run": "s", "name": "loss"}], ranks="mean")
    assert part(silent, arrays, 0, "x").tolist() == list(range(10))


def test_all_ranks_and_the_slowest_rank(world: World) -> None:
    for rank, last in enumerate([10, 7, 9]):
        world.log("r", "loss", range(last), np.full(last, float(rank)), rank=rank)

    every, _ = world.chart([{"run": "r", "name": "loss"}], ranks="all")
    slowest, _ = world.chart([{"run": "r", "name": "loss"}], ranks="slowest")

    assert [line["rank"] for line in every["lines"]] == [0, 1, 2]
    assert [line["rank"] for line in slowest["lines"]] == [1]


def test_series_gives_every_bit_back(world: World) -> None:
    rng = np.random.default_rng(11)
    steps, values = rng.uniform(0, 10, 5_000), rng.normal(size=5_000)
    values[::97] = math.nan
    world.log("r", "loss", steps, values)

    meta, arrays = read(world.charts.series({"lines": [{"run": "r", "name": "loss"}]}).encode())

    assert meta["lines"][0]["length"] == 5_000
    assert arrays["steps"].tobytes() == steps.tobytes()
    assert arrays["values"].tobytes() == values.tobytes()


def test_series_of_all_runs_that_match(world: World) -> None:
    world.log("a", "loss", range(3), range(3))
    world.log("b", "loss", range(2), range(2))
    world.log("c", "acc", range(2), range(2))
    world.runs.listed = ["a", "b", "c"]

    meta, _ = read(world.charts.series({"project": "p", "name": "loss", "where": ""}).encode())

    assert [(line["run"], line["start"], line["length"]) for line in meta["lines"]] == [
        ("a", 0, 3),
        ("b", 3, 2),
    ]


def test_a_run_that_is_gone_leaves_an_empty_line_and_the_others_stay(world: World) -> None:
    world.log("r", "loss", range(3), range(3))

    meta, _ = world.chart(
        [{"run": "gone", "name": "loss"}, {"run": "r", "name": "loss"}, {"run": "r", "name": "none"}]
    )

    assert [line["length"] for line in meta["lines"]] == [0, 3, 0]


@pytest.mark.parametrize(
    "body",
    [
        {"lines": None},
        {"lines": [{"run": 1, "name": "x"}]},
        {"lines": [], "buckets": 0},
        {"lines": [], "buckets": 10**9},
        {"lines": [], "buckets": True},
        {"lines": [], "lo": "x"},
        {"lines": [], "lo": math.inf},
        {"lines": [], "ranks": "some"},
        {"lines": [], "x": ""},
        {"lines": [{"run": "r", "name": "x", "rank": -1}]},
        {"lines": [{"run": "r", "name": "x", "attempt": "first"}]},
    ],
)
def test_a_request_that_cannot_be_right_is_refused(world: World, body: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        world.charts.chart(body)

    assert caught.value.code == "bad-request"


def test_too_many_lines_are_refused(world: World) -> None:
    with pytest.raises(LimitError) as caught:
        world.charts.chart({"lines": [{"run": "r", "name": "x"}] * 1_001})

    assert caught.value.http_status == 413
