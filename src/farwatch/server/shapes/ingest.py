"""What agents and feeding clients send, and what they hear."""

from typing import Annotated, Literal, NotRequired, TypedDict

from farwatch.server.schema import open_ended
from farwatch.server.shapes.values import Json, Num, Tree


@open_ended
class WriterRequest(TypedDict):
    """A journal's `writer.json` (docs/protocol.md). What is not named here is passed over."""

    writer: Annotated[str, "32 hexadecimal digits."]
    run: Annotated[str, "1 to 128 of `A-Za-z0-9._-`."]
    run_given: NotRequired[Annotated[bool, "A person chose the id."]]
    resume: NotRequired[Annotated[Literal["allow", "must", "never"] | None, "Whether the run may exist."]]
    from_step: NotRequired[Annotated[float | None, "Go back to this step."]]
    project: NotRequired[str | None]
    name: NotRequired[str | None]
    group: NotRequired[str | None]
    job_type: NotRequired[str | None]
    parent: NotRequired[str | None]
    notes: NotRequired[str | None]
    tags: NotRequired[list[str]]
    host: NotRequired[str | None]
    user: NotRequired[str | None]
    boot_id: NotRequired[str | None]
    pid_ns: NotRequired[int | str | None]
    argv: NotRequired[list[str]]
    python: NotRequired[str | None]
    rank: NotRequired[int]
    world_size: NotRequired[int]
    rendezvous: NotRequired[str | None]
    main: NotRequired[bool]
    role: NotRequired[Annotated[str | None, "`system` for measurements of a machine."]]
    sibling_of: NotRequired[str | None]
    watches: NotRequired[str | None]
    clone_of: NotRequired[str | None]
    started_ms: NotRequired[int]
    wall_us: NotRequired[int]
    total_steps: NotRequired[float | None]


class WriterStatus(TypedDict):
    """Where a writer belongs, and how far it has come."""

    run: str
    name: str
    project: str
    number: int
    short: str
    url: str
    attempt: int
    rank: int
    expected: Annotated[int, "Number of the next record."]
    crc: Annotated[int, "Checksum of all before it."]
    epoch: str
    step_base: int
    missing: Annotated[list[str], "Files that its records name and that have not come."]


class BatchAnswer(TypedDict):
    """Where a writer goes on after its batch is on disk."""

    expected: int
    crc: int
    epoch: str
    seq: Annotated[int, "Commit number of the batch."]
    set_aside: bool


class SpoolOffset(TypedDict):
    """How much of a file has come."""

    offset: Annotated[int, "Bytes; the next chunk begins here."]


class SpoolAnswer(SpoolOffset):
    """How much of a file has come, after a chunk."""

    done: Annotated[bool, "It is whole."]


class Cause(TypedDict, total=False):
    """How a process died."""

    exit_code: int
    signal: int | str
    oom: bool
    text: str


class WriterBeat(TypedDict):
    """What an agent knows of one of its writers."""

    alive: NotRequired[bool | None]
    cause: NotRequired[Cause]
    records_behind: NotRequired[int]
    bytes_behind: NotRequired[int]
    set_aside: NotRequired[int]


@open_ended
class BeatRequest(TypedDict):
    """A sign of life."""

    writers: Annotated[dict[str, WriterBeat], "By id."]
    next_s: NotRequired[float]
    host: NotRequired[str]
    version: NotRequired[str]


class WriterProgress(TypedDict):
    """How far a writer has come."""

    expected: int


class BeatAnswer(TypedDict):
    """What this server has of the writers; unknown ones are left out, and are to be registered."""

    epoch: str
    writers: dict[str, WriterProgress]


class RunRequest(TypedDict, total=False):
    """A run to make, or to continue by its `id`."""

    id: str | None
    project: str | None
    name: str | None
    config: Tree | None
    tags: list[str] | None
    notes: str | None
    group: str | None
    job_type: str | None
    resume: Literal["allow", "must", "never"] | None
    total_steps: float | None


class RunAnswer(WriterStatus):
    """The run that was made, and the writer that stands for its requests."""

    id: Annotated[str, "The same as `run`."]
    writer: str


class LogEntry(TypedDict):
    """One call of `log`."""

    metrics: Annotated[dict[str, Json], "Numbers and texts by name; nested names are joined with `/`."]
    step: NotRequired[Annotated[Num | None, "The next one if not said."]]
    time_ms: NotRequired[Annotated[Num | None, "Now if not said."]]


class LogAnswer(TypedDict):
    """What was logged."""

    run: str
    entries: int
    next_step: float


class FinishRequest(TypedDict, total=False):
    """How a run ends."""

    state: Annotated[
        Literal["finished", "failed", "stopped", "preempted"] | None, "`finished` if not said."
    ]
    reason: str | None
