"""The live stream."""

from typing import Annotated, NotRequired, TypedDict

from farwatch.server.shapes.alerts import AlertRow
from farwatch.server.shapes.content import ConsoleLine
from farwatch.server.shapes.runs import RunRow
from farwatch.server.shapes.values import Num


class SeriesRef(TypedDict):
    """A metric of a run."""

    run: str
    name: str


class LiveRequest(TypedDict):
    """What a reader looks at, and where it is."""

    cursor: NotRequired[Annotated[str | None, "Of the answer before; null begins now."]]
    project: NotRequired[Annotated[str | None, "Rows of this project's runs; `*`: of all."]]
    runs: NotRequired[Annotated[list[str], "Rows, new metrics and media of these runs."]]
    series: NotRequired[Annotated[list[SeriesRef], "Their points."]]
    console: NotRequired[Annotated[list[str], "Console lines of these runs."]]
    wait_s: NotRequired[Annotated[float, "Answer after so long if nothing happens; at most 25."]]


class LivePoints(TypedDict):
    """New points of one series, at most the 256 newest."""

    run: str
    name: str
    rank: int
    attempt: int
    steps: list[Num]
    times_ms: list[int]
    values: list[Num]
    more: Annotated[bool, "There were more than are here."]


class LiveConsole(TypedDict):
    """New lines of one rank."""

    run: str
    rank: int
    lines: Annotated[list[ConsoleLine], "One whose number is known replaces that one: it was unfinished."]


class LiveAnswer(TypedDict):
    """What has changed since the cursor."""

    cursor: str
    reset: Annotated[bool, "The cursor is unknown: load everything again."]
    runs: list[RunRow]
    removed: Annotated[list[str], "Ids of runs that are gone."]
    points: list[LivePoints]
    console: list[LiveConsole]
    alerts: Annotated[list[AlertRow], "Alerts that have changed, in order; one that changed twice comes twice."]
    new_metrics: Annotated[dict[str, list[str]], "Names by run."]
    media: Annotated[dict[str, list[str]], "Names of media that were logged, by run."]
    now_ms: int
