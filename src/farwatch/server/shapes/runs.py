"""Projects, runs and metrics."""

from typing import Annotated, NotRequired, TypedDict

from farwatch.server.shapes.alerts import Advice
from farwatch.server.shapes.steer import Steerable
from farwatch.server.shapes.values import Goal, Json, Num, Tree
from farwatch.wire.states import State


class ProjectRow(TypedDict):
    """A project that has runs."""

    name: str
    runs: int
    running: Annotated[int, "Runs that have not ended."]
    points: int
    bytes: Annotated[int, "That its runs were sent in."]
    modified_ms: int
    main_metric: Annotated[str | None, "The one that a person chose for all of its runs."]


class ProjectList(TypedDict):
    """All projects, newest first."""

    projects: list[ProjectRow]


class Bar(TypedDict):
    """What a progress bar shows."""

    n: Annotated[float, "How many are done."]
    total: Annotated[float | None, "Of how many; null if that is not known."]
    desc: Annotated[str | None, "The words in front of the bar."]
    unit: Annotated[str, "What is counted."]
    elapsed_s: Annotated[float | None, "Since the bar began, seconds."]
    rate: Annotated[float | None, "Per second, smoothed as the bar does."]
    remaining_s: Annotated[float | None, "At this rate, seconds."]
    postfix: Annotated[str | None, "The words behind the bar."]
    scale: Annotated[int | None, "1000 or 1024 where the bar shortens its numbers with k, M, …."]


class Progress(Bar):
    """How far a run says that it is: its outermost bar."""

    at_ms: Annotated[int, "When it said so."]
    ended: Annotated[bool, "Whether the bar is closed: its clock stands."]
    bars: Annotated[list[Bar], "The bars inside it, outermost first."]
    leave: NotRequired[Annotated[bool, "False: what shows it is taken away at the end."]]
    to: NotRequired[Annotated[list[str], "Chats that its bars name, by digests."]]


class RunRow(TypedDict):
    """A run as it stands in the table, without cells."""

    id: str
    short: Annotated[str, "The first 7 letters of the id."]
    number: Annotated[int, "Counts the runs of a project."]
    name: str
    project: str
    state: State
    reason: Annotated[str, "Why it is in this state; empty where that goes without saying."]
    created_ms: int
    modified_ms: int
    started_ms: Annotated[int, "The start of the last attempt that began the run anew."]
    ended_ms: int | None
    duration_ms: Annotated[int, "Up to its end, to the last contact of a lost one, or to now."]
    contact_ms: Annotated[int, "The last sign of life."]
    owner: Annotated[str, "The account whose program it is."]
    host: str
    attempt: Annotated[int, "The latest, counted from 1."]
    group: str | None
    job_type: str | None
    parent: Annotated[str | None, "The run that it belongs to."]
    tags: list[str]
    notes: str
    archived: bool
    deleted_ms: Annotated[int | None, "When it was deleted; null if it is not."]
    step: Annotated[float | None, "The last visible step."]
    total_steps: float | None
    progress: Progress | None
    points: int
    bytes: Annotated[int, "That it was sent in."]
    world_size: Annotated[int, "How many processes it runs on."]
    main_metric: Annotated[str | None, "The metric that stands for it."]
    main_last: Annotated[Num | None, "The last value of that."]
    alerts: Annotated[int, "Alerts that need somebody: they fire, ring, and nobody has acknowledged or silenced them."]
    commands_ms: Annotated[int, "When something last happened to a command of the run, since the server's start."]


class ListedRun(RunRow):
    """A row of the table."""

    cells: Annotated[list[Json], "Values in the order of `columns`; null where the run has none."]


class RunList(TypedDict):
    """A page of the runs table."""

    runs: list[ListedRun]
    columns: Annotated[list[str], "Those asked for, with `config.*` and `summary.*` written out."]
    total: Annotated[int, "Runs that match, on all pages."]
    next: Annotated[str | None, "The `cursor` of the next page; null on the last."]
    seq: Annotated[int, "Changes after this page begin at the cursor `epoch:seq` of the live stream."]
    epoch: str


class Attempt(TypedDict):
    """One life of a run."""

    attempt: int
    started_ms: int
    ended_ms: int | None
    state: State
    reason: str
    first_step: float | None
    host: str


class Rank(TypedDict):
    """One process of a run, in all of its attempts."""

    rank: int
    host: str
    writers: Annotated[list[str], "Ids, oldest first."]


class Definition(TypedDict):
    """What a program said of its metrics."""

    match: Annotated[str, "A name, or a pattern with `*`."]
    x: NotRequired[str | None]
    summary: NotRequired[str | None]
    goal: NotRequired[str | None]
    unit: NotRequired[str | None]


class Meter(TypedDict):
    """What logging has cost the processes of a run."""

    calls: int
    total_ns: int
    worst_ns: int
    dropped: int
    wall_ns: int


class Gap(TypedDict):
    """Records that are gone for good."""

    writer: str
    first: int
    count: int
    reason: str


class Lag(TypedDict):
    """What a run's machines have and this server has not."""

    records: int
    bytes: int
    set_aside: Annotated[int, "Batches that were refused for good and are kept by the agent."]
    files: int


class RunCosts(TypedDict):
    """What changes beside the row while a run goes on."""

    lag: Lag
    meter: Meter


class RunDetail(RunRow):
    """Everything about a run but its points."""

    config: Annotated[Tree, 'Nested as it was given. A datetime is `{"$datetime": ISO 8601}`, a date `{"$date": …}`; so in all values.']
    summary: Annotated[dict[str, Json], "One value per metric by its rule, and what the program set."]
    attempts: list[Attempt]
    ranks: list[Rank]
    definitions: list[Definition]
    capture: Annotated[Tree, "Git, packages and machine, as the program found them."]
    meter: Meter
    gaps: list[Gap]
    lag: Lag
    steer: Steerable
    restartable: Annotated[bool, "Whether `farwatch run` ran it, so that its machine can run it again."]
    advice: Advice
    traceback: str | None
    argv: list[str]
    python: str
    url: str


class MetricInfo(TypedDict):
    """A metric of a run: its visible history in numbers, and how it is meant."""

    name: str
    kind: Annotated[str, "`f`: real numbers; `i`: whole ones; `b`: true and false."]
    count: Annotated[int, "Points of all ranks and attempts."]
    nonfinite: int
    last: Num
    last_step: float
    min: Annotated[Num, "NaN if no value is finite, and so are its step, `max` and `mean`."]
    min_step: Num
    max: Num
    max_step: Num
    mean: Num
    ranks: list[int]
    attempts: list[int]
    x: Annotated[str | None, "The metric, or `step`, over which it is meant to be drawn."]
    summary: Annotated[str, "last, min, max or mean."]
    goal: Goal | None
    unit: str | None


class MetricGroup(TypedDict):
    """How many names stand under a prefix."""

    prefix: str
    count: int


class MetricList(TypedDict):
    """Metrics of a run, in order of their names."""

    metrics: list[MetricInfo]
    total: Annotated[int, "Metrics that match."]
    groups: list[MetricGroup]


class ConfigColumn(TypedDict):
    """A path of a config that can be a column."""

    name: str
    type: Annotated[str, "Of its values in all runs; `mixed` if they differ."]


class ColumnList(TypedDict):
    """What can be a column of a project's table."""

    config: list[ConfigColumn]
    summary: list[str]


class TagChange(TypedDict, total=False):
    """Tags to add and to remove."""

    add: list[str]
    remove: list[str]


class RunChange(TypedDict, total=False):
    """What a person may change of a run."""

    name: str
    notes: str
    tags: TagChange
    archived: bool


class DeletedRun(TypedDict):
    """A run that was deleted."""

    id: str


class DeletedMetrics(TypedDict):
    """Metrics that were deleted for good."""

    id: str
    deleted: list[str]
