"""Alerts and the rules behind them."""

from typing import Annotated, Literal, NotRequired, TypedDict

from farwatch.server.shapes.values import Num, Tree

Level = Literal["ring", "hint"]


class Band(TypedDict):
    """What was usual before."""

    low: Num
    usual: Num
    high: Num


class Moved(TypedDict):
    """A metric that moved at that step."""

    name: str
    before: Annotated[Num, "What was usual before."]
    at: Annotated[Num, "At the step of the alert."]
    noises: Annotated[Num, "How far, in units of its usual noise."]


class LastCheckpoint(TypedDict):
    """The newest checkpoint that is known."""

    step: float | None
    time_ms: int
    path: Annotated[str | None, "The saved file; null if only the command is known."]


class Consequence(TypedDict):
    """The command that an alert asks for."""

    op: str
    args: Tree
    due_ms: Annotated[int, "When it is sent, unless somebody answers before."]
    state: Annotated[str, "`due`, `sent`, `refused`, `not needed`."]
    command: NotRequired[Annotated[str | None, "Id of the command once it is sent."]]
    reason: NotRequired[str]


class Reached(TypedDict):
    """Whom an alert has reached, or not."""

    who: Annotated[str, "The person, or the title of the chat."]
    channel: str
    outcome: Annotated[str, "`sent` where it has arrived; else why it has not."]
    at_ms: int


class AlertRow(TypedDict):
    """One occurrence of what a rule watches for, or of what a program alerted."""

    id: int
    run: Annotated[str | None, "Null: it is about the server."]
    short: str | None
    run_name: str | None
    number: int | None
    project: str | None
    attempt: int
    rule: Annotated[str, "Name of the rule; `program` for what `run.alert` said."]
    metric: str | None
    title: Annotated[str, "Says what happened, in its first words."]
    text: str
    level: Annotated[Level, "`ring`: somebody should look now. `hint`: worth knowing."]
    said: Annotated[str | None, "What the program said: info, warn or error."]
    state: Literal["pending", "firing", "silenced", "resolved"]
    opened_ms: int
    fired_ms: int | None
    resolved_ms: int | None
    modified_ms: int
    snoozed_until_ms: int | None
    acknowledged_ms: int | None
    acknowledged_by: str | None
    times: Annotated[int, "How often it has come, within its cool-down."]
    step: Annotated[Num | None, "Since which step."]
    time_ms: Annotated[int | None, "Since when, by the run's clock."]
    value: Num | None
    band: Band | None
    last: Annotated[Num | None, "The value when it was over."]
    recovered: Annotated[bool, "It is over by itself."]
    resolution: Annotated[str | None, "Why it is over."]
    moved: Annotated[list[Moved], "The three metrics that moved most at that step."]
    checkpoint: LastCheckpoint | None
    left_s: Annotated[float | None, "What the run still needed when it fired, seconds."]
    consequence: Consequence | None
    url: str | None
    told: Annotated[list[Reached], "Whom it has reached, one entry per chat, in the order of time."]


class AlertList(TypedDict):
    """Alerts, newest first."""

    alerts: list[AlertRow]
    firing: Annotated[int, "Alerts of the whole server that need somebody."]


class AlertAnswer(TypedDict, total=False):
    """What a person does with an alert."""

    acknowledge: bool
    snooze_s: Annotated[float, "Silent for so long; 0 wakes it."]
    resolve: bool


class Threshold(TypedDict):
    """A number of a rule."""

    name: str
    value: float
    default: float
    min: float
    max: float
    text: Annotated[str, "What it means, with its unit."]


class Then(TypedDict):
    """A command as consequence."""

    op: Literal["stop", "pause", "checkpoint", "set", "call"]
    args: Tree
    unless_answered_s: Annotated[float, "Sent so many seconds after it fired, unless somebody answers; 0: at once."]


class RuleRow(TypedDict):
    """A rule as it is in force."""

    name: str
    title: str
    text: str
    level: Level
    on: bool
    cooldown_s: Annotated[float, "One that comes back within so many seconds is the same alert again."]
    metrics: Annotated[list[str], "Names or patterns with `*` that it watches; empty: the main metric and the losses."]
    snoozed_until_ms: int | None
    then: Then | None
    thresholds: list[Threshold]


class RuleList(TypedDict):
    """Rules in force, and what people changed at this scope."""

    rules: list[RuleRow]
    changes: Annotated[Tree, "Rule -> what was changed here."]


class RuleChange(TypedDict):
    """What people change of rules: name of a rule -> changes, or null for the rule as it comes."""

    rules: Annotated[
        Tree,
        "Each: any of `on`, `level`, `cooldown_s`, `snooze_s`, `metrics`, `then`, and its thresholds by name; null is the default again.",
    ]


class Attached(TypedDict):
    """A picture or file that goes with a message: a file of the run."""

    path: str
    name: NotRequired[str]
    size: NotRequired[int]
    media_type: NotRequired[str]
    width: NotRequired[int]
    height: NotRequired[int]


class Message(TypedDict):
    """What a program said by `run.notify`."""

    step: Num | None
    time_ms: int
    text: str
    image: NotRequired[Attached]
    file: NotRequired[Attached]


class MessageList(TypedDict):
    """Messages, newest first."""

    messages: list[Message]


class Advice(TypedDict):
    """Whether it is worth going on."""

    say: Literal["stop", "continue"] | None
    why: str
