"""The contract of a store: where acknowledged records and all points live.

*Threads*: every method may be called from any thread. `append` calls are serialised by the store.
*Ownership*: arrays that go in or come out belong to the receiver; nobody keeps and changes them.
*Ordering*: records of one writer are taken in order, without gap or overlap; a reader that starts after `append`
returned sees what it appended. *Errors*: named per method; damage raises `DataError` for the series that it hits and
for no other. *Cost*: charts over step or time cost a few milliseconds whatever the length.

Words: a **series** is the points of one metric of one run, rank and attempt. Steps are float64, times are int64 µs
since the epoch, values are float64. Within a series points keep the order in which they arrived.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from farwatch.wire.records import Record

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Axis = Literal["step", "time"]


class SeriesKey(NamedTuple):
    """Which series: `run` is the id of the run, `attempt` counts from 1, `rank` from 0."""

    run: str
    name: str
    rank: int = 0
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: told once by `register`, needed to read its records ever after.

    `wall_us`: epoch time at the zero of the writer's clock, added to relative times. `step_base`: added to relative steps.
    """

    writer_id: str
    run: str
    rank: int = 0
    attempt: int = 1
    wall_us: int = 0
    step_base: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a writer has come: the next record expected, and the chain value before it."""

    expected: int
    crc: int


@dataclass(frozen=True, slots=True)
class Points:
    """Columns of n points in arrival order: steps (n,) float64, times (n,) int64 µs, values (n,) float64."""

    steps: Floats
    times: Ints
    values: Floats


@dataclass(frozen=True, slots=True)
class Decoded:
    """A batch in columns, as `farwatch.store.decode` makes it.

    `names`: metric names. `kinds`: one letter per name, `f`, `i` or `b`: how the values were logged.
    `index`: (n,) int32 into `names`, in record order. `points`: n points. `others`: records that are no numbers,
    with their absolute step and time. `schemas`: schemas first seen in this batch, id -> (keys, types).
    `packed_bytes`: what the batch was sent in, where it was read back from a log.
    """

    names: list[str]
    kinds: str
    index: NDArray[np.int32]
    points: Points
    others: list["Other"]
    schemas: dict[int, tuple[list[str], str]] = field(default_factory=dict)
    packed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Other:
    """A record that is no number: its step (None: has none) and time (µs since the epoch) made absolute."""

    record: Record
    step: float | None
    time_us: int


@dataclass(frozen=True, slots=True)
class Incoming:
    """One batch to append.

    `packed`: the request body as it came, still compressed, with its `encoding` (`zstd`, `deflate`, `identity`): this is
    what the log keeps. `gap`: the records are gone for good, `decoded` is empty.
    """

    writer_id: str
    first: int
    count: int
    crc_before: int
    crc_after: int
    packed: bytes
    encoding: str
    decoded: Decoded
    gap: bool = False


@dataclass(frozen=True, slots=True)
class Ack:
    """Answer to one batch: the writer's mark, the commit number, and whether anything of it was new."""

    mark: Mark
    seq: int
    new: bool


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """What is known of a series without reading it. `*_step` and `*_time_us` belong to the point that holds the value.

    `first_step` and `last_step` are of arrival order; `step_min` and `step_max` are extremes. `min`, `max` and `mean`
    are over finite values, NaN if there is none. `nonfinite`: how many values are NaN or infinite.
    """

    key: SeriesKey
    kind: str
    count: int
    nonfinite: int
    first_step: float
    last: float
    last_step: float
    last_time_us: int
    step_min: float
    step_max: float
    time_min_us: int
    time_max_us: int
    min: float
    min_step: float
    max: float
    max_step: float
    mean: float


@dataclass(frozen=True, slots=True)
class Buckets:
    """A series cut into at most n buckets along an axis; every point of the range is in exactly one.

    `lo`, `hi` (n,): the smallest and largest axis value in the bucket (steps, or µs). `min`, `max`, `mean`: over finite values, NaN
    where there is none. `first`, `last`: by arrival order, as they are. `count`: all points; `nonfinite`: of them NaN or
    infinite. `exact`: every bucket holds one point.
    """

    lo: Floats
    hi: Floats
    min: Floats
    max: Floats
    mean: Floats
    last: Floats
    count: Ints
    nonfinite: Ints
    exact: bool


Guard = Callable[[int], None]


class Store(Protocol):
    """Keeps acknowledged records and answers for every point. Eight methods, and properties.

    `epoch`: random text, new with every restore. `seq`: number of the last commit.
    """

    @property
    def epoch(self) -> str: ...

    @property
    def seq(self) -> int: ...

    def register(self, writer: Writer) -> Mark:
        """Make a writer known; again with the same id is harmless and changes nothing. Returns its mark. Durable."""
        ...

    def writer(self, writer_id: str) -> tuple[Writer, Mark, dict[int, tuple[list[str], str]]] | None:
        """What is known of a writer, with its schemas; None if it never registered."""
        ...

    def append(self, batches: Sequence[Incoming]) -> list[Ack | Exception]:
        """Keep batches, in order, as one commit (group commit); returns when they are on disk (`durability`).

        Per batch: records already held are cut (`new=False` if nothing is left); a batch that begins beyond the mark is
        answered by `GapError(expected=…)`, one whose `crc_before` or overlap contradicts the mark by `ForkError`, an unknown writer by
        `NotFoundError`; these stand in the result and hurt no other batch. Raises `DiskFullError` if nothing could be kept.
        A partly known batch: the caller decodes again from the mark; the store answers it with `GapError(expected=mark)` as well.
        """
        ...

    def series(self, run: str, names: Sequence[str] | None = None) -> list[SeriesInfo]:
        """All series of a run, or those of some names, ordered by name, rank, attempt. Empty if there is none."""
        ...

    def points(
        self, key: SeriesKey, *, axis: Axis = "step", lo: float | None = None, hi: float | None = None
    ) -> Points:
        """Every point with `lo <= axis value <= hi`, bit-exact, in arrival order. Empty if the series does not exist."""
        ...

    def chart(
        self, keys: Sequence[SeriesKey], *, axis: Axis = "step", lo: float | None = None, hi: float | None = None, buckets: int = 1000
    ) -> list[Buckets]:
        """Each series of `keys` cut into at most about `buckets` buckets (up to twice as many); series that do not exist
        give empty buckets. Ranges with at most `buckets` points come as single points (`exact`), ordered by axis.
        """
        ...

    def delete(self, run: str, names: Sequence[str] | None = None) -> None:
        """Drop all series of a run (or some names) for good; their disk space is reclaimed in the background."""
        ...

    def close(self) -> None:
        """Flush and release everything; may be called twice. Later use raises `DataError`."""
        ...


Replay = Iterator[tuple[int, Writer, Decoded]]
