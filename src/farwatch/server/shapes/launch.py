"""Starts: what can be started on which machine."""

from typing import Annotated, NotRequired, TypedDict

from farwatch.server.shapes.steer import ValueType
from farwatch.server.shapes.values import Json


class ParameterInfo(TypedDict):
    """One parameter of a profile."""

    type: ValueType
    min: NotRequired[float]
    max: NotRequired[float]
    choices: NotRequired[list[Json]]
    default: NotRequired[Annotated[Json, "Without one, a value must be given."]]
    pattern: NotRequired[Annotated[str, "A regular expression that a text must match."]]
    description: NotRequired[str]


class Profile(TypedDict):
    """Something that can be started on a machine."""

    name: str
    title: str
    description: str
    folder: str
    command: Annotated[list[str], "With its parameters as {name}."]
    environment: Annotated[list[str], "Names of the variables that it sets, never their values."]
    parameters: dict[str, ParameterInfo]
    at_once: int


class Machine(TypedDict):
    """One user's agent on one machine."""

    agent: str
    host: str
    user: str
    error: Annotated[str | None, "Why its launch.toml is not used."]
    present: Annotated[bool, "Whether its agent has asked lately."]
    heard_ms: int
    profiles: list[Profile]


class MachineList(TypedDict):
    """Where something can be started."""

    machines: list[Machine]


class StartRequest(TypedDict):
    """A wish for a start."""

    parameters: NotRequired[dict[str, Json]]
    id: NotRequired[Annotated[str, "Made by whoever asks: the same id is never done twice."]]
    confirm: NotRequired[Annotated[bool, "Yes, start it."]]
    channel: NotRequired[Annotated[str, "By which way: page, cli, api."]]
    text: NotRequired[Annotated[str, "As the person wrote it."]]


class RestartRequest(TypedDict):
    """A wish to run a run's command again."""

    id: NotRequired[Annotated[str, "Made by whoever asks: the same id is never done twice."]]
    confirm: NotRequired[Annotated[bool, "Yes, start it."]]
    channel: NotRequired[Annotated[str, "By which way: page, cli, api."]]
    text: NotRequired[Annotated[str, "As the person wrote it."]]
