"""Commands: what people ask of runs."""

from typing import Annotated, Literal, NotRequired, TypedDict

from farwatch.server.shapes.values import Json
from farwatch.wire.commands import CommandState, Op

ValueType = Literal["float", "int", "bool", "str"]


class KnobInfo(TypedDict):
    """A value that people may change while the run goes on."""

    type: ValueType
    value: Json
    default: Json
    min: float | None
    max: float | None
    choices: list[Json] | None
    log: Annotated[bool, "It is felt in ratios."]
    by: NotRequired[Annotated[str, "Who set it last."]]


class ArgumentInfo(TypedDict):
    """One argument of a command."""

    name: str
    type: ValueType
    required: bool
    default: Json
    choices: list[Json] | None


class CommandInfo(TypedDict):
    """A command that the program declares."""

    doc: str
    args: list[ArgumentInfo]


class Steerable(TypedDict):
    """What people may do with a run."""

    knobs: dict[str, KnobInfo]
    commands: dict[str, CommandInfo]
    hooks: Annotated[list[str], "Of `stop` and `checkpoint`: what the program has a hook for."]
    off: Annotated[str | None, "Why nothing can be asked of it; null if it can."]
    paused: bool


class CommandRequest(TypedDict):
    """What somebody asks of a run."""

    op: Annotated[str, "stop, pause, unpause, checkpoint, set, call or kill"]
    args: NotRequired[Annotated[dict[str, Json], "set: name, value. call: name, args."]]
    id: NotRequired[Annotated[str, "Made by whoever asks: the same id is never done twice."]]
    expires_s: NotRequired[Annotated[float, "Not done later than so many seconds from now."]]
    confirm: NotRequired[Annotated[bool, "Yes, although it is dangerous."]]
    channel: NotRequired[Annotated[str, "By which way: page, cli, api."]]
    text: NotRequired[Annotated[str, "As the person wrote it."]]


class CommandRow(TypedDict):
    """A command, and how far it is."""

    id: str
    run: str | None
    attempt: int
    seq: Annotated[int, "Rises within a run."]
    op: Op
    args: dict[str, Json]
    actor: Annotated[str, "Who asked."]
    channel: str
    text: str
    accepted_ms: int
    expires_ms: int
    delivered_ms: Annotated[int | None, "When its agent had put it before the trainer."]
    started_ms: Annotated[int | None, "When the trainer began to do it."]
    ended_ms: int | None
    state: CommandState
    reason: str
    step: Annotated[float | None, "Of the run, where it was done."]
    result: Annotated[Json, "What a command or hook returned."]
    old: Json
    new: Json


class CommandList(TypedDict):
    """Commands to a run, newest first."""

    commands: list[CommandRow]
    total: int


class Order(TypedDict):
    """A command for an agent to deliver."""

    id: str
    writer: Annotated[str | None, "Whose inbox; null: for the agent itself."]
    run: str
    seq: int
    op: Op
    args: dict[str, Json]
    actor: str
    channel: str
    expires_in_ms: int


class OrdersRequest(TypedDict):
    """What an agent says of commands, and how long it will wait for more."""

    delivered: NotRequired[Annotated[list[dict[str, Json]], "Objects with `id`: now in the trainer's inbox."]]
    ended: NotRequired[Annotated[list[dict[str, Json]], "Objects with `id`, `state`, `reason`, `result`: done by the agent itself."]]
    profiles: NotRequired[dict[str, Json]]
    wait_s: NotRequired[float]


class Orders(TypedDict):
    """What an agent should deliver now."""

    commands: list[Order]
    epoch: str
