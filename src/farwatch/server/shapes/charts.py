"""Lines to draw, and exact points. The binary form (docs/protocol.md) has the same `meta`, and the arrays with their dtypes."""

from typing import Annotated, Literal, NotRequired, TypedDict

from farwatch.server.shapes.values import Num


class LineRef(TypedDict):
    """A series, or what is asked for of one."""

    run: str
    name: str
    rank: NotRequired[int]
    attempt: NotRequired[
        Annotated[
            Literal["latest", "all"] | int,
            "`latest`: the visible history; `all`: with what later attempts took over, as lines of their own.",
        ]
    ]


class ChartRequest(TypedDict):
    """Lines to draw over an axis."""

    lines: list[LineRef]
    x: NotRequired[Annotated[str, "step, time (ms), relative (seconds), or the name of a metric."]]
    lo: NotRequired[Annotated[float | None, "Only from here on, in the unit of x."]]
    hi: NotRequired[Annotated[float | None, "Only up to here."]]
    buckets: NotRequired[Annotated[int, "Per line, at most 10,000; 250 if not said."]]
    ranks: NotRequired[
        Annotated[Literal["0", "mean", "all", "slowest"], "Other than `0`: over the ranks of a run."]
    ]


class ChartLineMeta(TypedDict):
    """One line of a chart: which part of the arrays is its own, and what it stands for."""

    run: str
    name: str
    rank: int
    attempt: int
    pale: Annotated[bool, "History that a later attempt took over."]
    exact: Annotated[bool, "Single points, in `px` and `pv`; else buckets, in the other arrays."]
    approximate: Annotated[bool, "Places on the x axis are those of buckets."]
    start: int
    length: int
    count: Annotated[int, "Points that it stands for."]
    nonfinite: int
    last: Num | None
    last_step: float | None
    kind: str
    base: NotRequired[Annotated[float, "What its values are differences to."]]
    ranks: NotRequired[Annotated[int, "Over how many ranks a mean was taken."]]
    unplaced: NotRequired[Annotated[int, "Points for which the metric on the x axis has no value."]]


class ChartMeta(TypedDict):
    """What a chart says of its lines."""

    seq: Annotated[int, "Changes after it begin at the cursor `epoch:seq` of the live stream."]
    epoch: str
    x: str
    lines: list[ChartLineMeta]


class ChartArrays(TypedDict):
    """Numbers of all lines, one behind the other."""

    px: Annotated[list[Num], "f8: x of single points."]
    pv: Annotated[list[Num], "f8: their values."]
    x: Annotated[list[Num], "f8: the middle of each bucket."]
    min: Annotated[list[Num], "f4: difference to `base`."]
    max: Annotated[list[Num], "f4: difference to `base`."]
    mean: NotRequired[Annotated[list[Num], "f4: difference to `base`."]]
    last: NotRequired[Annotated[list[Num], "f4: difference to `base`."]]
    mean8: NotRequired[
        Annotated[list[int], "u1, in place of `mean` and `last` for more than 20 lines: 255 is `max`."]
    ]
    count: Annotated[list[int], "u4: points in each bucket."]
    nonfinite: Annotated[list[int], "u4: those of them that are not finite."]


class Chart(TypedDict):
    """Lines to draw."""

    meta: ChartMeta
    arrays: ChartArrays


class SeriesRequest(TypedDict, total=False):
    """Either `lines`, or one metric of all runs of a project that match an expression."""

    lines: list[LineRef]
    lo: Annotated[float | None, "Only from this step on."]
    hi: Annotated[float | None, "Only up to this step."]
    project: str
    name: str
    where: str | None


class SeriesLineMeta(TypedDict):
    """Points of one attempt, and which part of the arrays they are."""

    line: Annotated[int, "Its place in the request."]
    run: str
    name: str
    rank: int
    attempt: int
    kind: str
    start: int
    length: int


class SeriesMeta(TypedDict):
    """What exact points say of themselves."""

    seq: int
    epoch: str
    lines: list[SeriesLineMeta]


class SeriesArrays(TypedDict):
    """Points in order of arrival."""

    steps: Annotated[list[Num], "f8"]
    times: Annotated[list[int], "i8: microseconds since 1970."]
    values: Annotated[list[Num], "f8"]


class SeriesPoints(TypedDict):
    """Every point, exact."""

    meta: SeriesMeta
    arrays: SeriesArrays
