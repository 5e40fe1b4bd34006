"""Points and chart lines as NumPy arrays, and their way to pandas."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from farwatch.api.contact import Arrays

if TYPE_CHECKING:
    import pandas

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Series:
    """Every point of one metric of one run and rank, exact, in the order of logging.

    `steps` (n,) float64. `times` (n,) int64, ms since the epoch, UTC. `values` (n,): float64; int64 or bool where the
    metric was logged as such and float64 holds it exactly.
    """

    run: str
    name: str
    rank: int
    attempt: int
    steps: Floats
    times: Ints
    values: NDArray[Any]

    def __len__(self) -> int:
        return len(self.values)

    def to_pandas(self) -> "pandas.DataFrame":
        """A frame with the columns step, time (UTC) and value."""
        import pandas  # optional: whoever asks for a frame has it

        times = pandas.to_datetime(self.times, unit="ms", utc=True)
        return pandas.DataFrame({"step": self.steps, "time": times, "value": self.values})


class SeriesTable:
    """Points of many series, one below the other.

    Columns are arrays of one length n: `run` (run ids, object), `metric` (object), `rank`, `attempt` (int64), `step` and
    `value` (float64), `time` (int64, ms since the epoch, UTC). Iterating gives a `Series` per run, rank and attempt.
    """

    def __init__(self, lines: list[Mapping[str, Any]], arrays: Arrays) -> None:
        self._lines = lines
        self._lengths = np.array([line["length"] for line in lines], dtype=np.int64)
        self.step: Floats = arrays["steps"]
        self.time: Ints = arrays["times"] // 1000
        self.value: Floats = arrays["values"]

    def _repeated(self, field: str, dtype: Any) -> NDArray[Any]:
        values = np.empty(len(self._lines), dtype=dtype)
        values[:] = [line[field] for line in self._lines]
        return np.repeat(values, self._lengths)

    @property
    def run(self) -> NDArray[Any]:
        return self._repeated("run", object)

    @property
    def metric(self) -> NDArray[Any]:
        return self._repeated("name", object)

    @property
    def rank(self) -> Ints:
        return self._repeated("rank", np.int64)

    @property
    def attempt(self) -> Ints:
        return self._repeated("attempt", np.int64)

    def codes(self, field: str) -> tuple[NDArray[np.int32], list[str]]:
        """The column `run` or `metric` as (n,) int32 codes and the words that they stand for, each once.

        Words repeat for thousands of points: this is small, and quick to make.
        """
        field = "name" if field == "metric" else field
        words = {word: code for code, word in enumerate(dict.fromkeys(line[field] for line in self._lines))}
        codes = np.array([words[line[field]] for line in self._lines], dtype=np.int32)
        return np.repeat(codes, self._lengths), list(words)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Series]:
        for line in self._lines:
            part = slice(line["start"], line["start"] + line["length"])
            yield Series(
                line["run"], line["name"], line.get("rank", 0), line.get("attempt", 1),
                self.step[part], self.time[part], _as_logged(self.value[part], line.get("kind", "f")),
            )  # fmt: skip

    def to_pandas(self) -> "pandas.DataFrame":
        """A frame with the columns run, metric, rank, attempt, step, time (UTC) and value."""
        import pandas  # optional: whoever asks for a frame has it

        def repeated(field: str) -> "pandas.Categorical":
            codes, words = self.codes(field)
            return pandas.Categorical.from_codes(codes, categories=words)

        return pandas.DataFrame(
            {
                "run": repeated("run"), "metric": repeated("metric"), "rank": self.rank, "attempt": self.attempt,
                "step": self.step, "time": pandas.to_datetime(self.time, unit="ms", utc=True), "value": self.value,
            }
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<{len(self)} points of {len(self._lines)} series>"


def _as_logged(values: Floats, kind: str) -> NDArray[Any]:
    """Integers and booleans as such, where the numbers say that this loses nothing."""
    if kind not in ("i", "b") or not np.isfinite(values).all():
        return values
    whole = values.astype(np.int64)
    if not np.array_equal(whole, values):
        return values
    return whole.astype(bool) if kind == "b" and not ((whole != 0) & (whole != 1)).any() else whole


def one_series(
    run: str, name: str, rank: int, attempt: int, lines: list[Mapping[str, Any]], arrays: Arrays
) -> Series:
    """The points of all lines of an answer as one series: the visible history may span attempts."""
    kinds = {line.get("kind", "f") for line in lines}
    values = _as_logged(arrays["values"], kinds.pop()) if len(kinds) == 1 else arrays["values"]
    last = max((line.get("attempt", attempt) for line in lines), default=attempt)
    return Series(run, name, rank, last, arrays["steps"], arrays["times"] // 1000, values)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: n buckets, ordered by x. No spike is lost: `min` and `max` are over all points of a bucket.

    `x` (n,) float64: middle of the bucket. `min`, `max`, `mean`, `last` (n,) float64: over finite values, NaN where there
    is none (`last` as logged). `count`, `nonfinite` (n,) int64. `exact`: every bucket is one point.
    """

    run: str
    name: str
    rank: int
    attempt: int
    x: Floats
    min: Floats
    max: Floats
    mean: Floats
    last: Floats
    count: Ints
    nonfinite: Ints
    exact: bool


class Chart(Mapping[str, Line]):
    """Lines by metric name. `lines` has all of them, also several ranks or attempts of one name."""

    def __init__(self, meta: Mapping[str, Any], arrays: Arrays) -> None:
        self.lines = [_line(told, arrays) for told in meta["lines"]]
        self._by_name: dict[str, Line] = {}
        for line, told in zip(self.lines, meta["lines"], strict=True):
            if not told.get("pale"):
                self._by_name[line.name] = line

    def __getitem__(self, name: str) -> Line:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


def _line(told: Mapping[str, Any], arrays: Arrays) -> Line:
    part = slice(told["start"], told["start"] + told["length"])

    def floats(name: str) -> Floats:
        return arrays[name][part].astype(np.float64)

    if told["exact"]:
        x, values = floats("px"), floats("pv")
        finite = np.isfinite(values)
        shown = np.where(finite, values, np.nan)
        columns = (x, shown, shown, shown, values, np.ones(len(x), np.int64), (~finite).astype(np.int64))
    else:
        low, high = floats("min"), floats("max")
        mean = floats("mean") if "mean" in arrays else low + floats("mean8") / 255 * (high - low)
        last = floats("last") if "last" in arrays else mean
        base = float(told.get("base", 0.0))  # large values with small changes come as differences to it
        columns = (
            floats("x"),
            low + base,
            high + base,
            mean + base,
            last + base,
            arrays["count"][part].astype(np.int64),
            arrays["nonfinite"][part].astype(np.int64),
        )
    return Line(
        told["run"], told["name"], told.get("rank", 0), told.get("attempt", 1), *columns, bool(told["exact"])
    )
