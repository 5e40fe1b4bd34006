"""Console lines, media and files."""

from typing import Annotated, NotRequired, TypedDict

from farwatch.server.schema import open_ended
from farwatch.server.shapes.values import Json, Num


class ConsoleLine(TypedDict):
    """One captured line."""

    n: Annotated[int, "Counts the lines of a rank, from 0, over all streams and attempts."]
    stream: Annotated[str, "stdout, stderr or logging."]
    time_ms: int
    text: str


class ConsolePage(TypedDict):
    """Lines in order."""

    lines: list[ConsoleLine]
    total: Annotated[int, "Lines that match."]


class MediaName(TypedDict):
    """A name under which a run has media."""

    name: str
    type: str
    count: int
    step_min: float | None
    step_max: float | None


@open_ended
class MediaItem(TypedDict):
    """A point that is no number. What is no part of its type is null."""

    name: str
    type: Annotated[str, "text, image, histogram, table, figure, audio, video, html, integer, datetime or date."]
    step: float | None
    time_ms: int
    rank: int
    attempt: int
    caption: str | None
    media_type: str | None
    width: int | None
    height: int | None
    size: Annotated[int | None, "Of its file, bytes."]
    sha256: Annotated[str | None, "Null until the file has come, and where there is none."]
    url: Annotated[str | None, "Of its bytes, relative to this API; a browser's session finds it signed."]
    frame: Annotated[str | None, "Where a document shows itself with its scripts, relative to this API."]
    text: str | None
    counts: Annotated[list[float] | None, "Of a histogram: how many values lie between two edges."]
    edges: Annotated[list[Num] | None, "Of a histogram: one more than `counts`."]
    columns: Annotated[list[str] | None, "Of a table: their names."]
    rows: Annotated[list[list[Json]] | None, "Of a table: the first ones."]
    index: Annotated[int | None, "Its place among several that were logged together."]
    count: NotRequired[Annotated[int, "Of a table: all rows."]]
    nonfinite: NotRequired[Annotated[int, "Of a histogram: values left out."]]
    rate: NotRequired[Annotated[float, "Of a sound: samples per second."]]
    channels: NotRequired[int]
    seconds: NotRequired[float]
    frames: NotRequired[int]
    fps: NotRequired[float]
    note: NotRequired[Annotated[str | None, "What its library says about it."]]


class MediaList(TypedDict):
    """Names of all media of a run, and the newest items in order of name and step."""

    names: list[MediaName]
    items: list[MediaItem]


class FileRow(TypedDict):
    """A file of a run."""

    path: str
    size: int
    sha256: Annotated[str | None, "Null until the content has come."]
    mtime_ms: int
    media_type: str | None


class FileList(TypedDict):
    """Files of a run by path."""

    files: list[FileRow]


class DeletedFile(TypedDict):
    """A file that was deleted."""

    run: str
    deleted: Annotated[str, "Its path."]
