"""Chats: services that are connected, people, where they are told, and what became of it."""

from typing import Annotated, Literal, NotRequired, TypedDict

from farwatch.server.shapes.alerts import AlertRow
from farwatch.server.shapes.values import Json, Tree

Scopes = Annotated[list[str], "What they may do: some of `read`, `steer`, `start`."]
Wait = Annotated[
    str, "`sent`, `unchanged`, `asleep`, `gone`, `refused`, `revoked`, `failed`, `unsure`; `held` until quiet hours end; `waiting`."
]


class FieldInfo(TypedDict):
    """Something that a person gives to connect a service."""

    name: str
    text: str
    secret: Annotated[bool, "Never shown again."]
    required: bool
    default: str
    env: Annotated[str, "The environment variable of the server that gives it as well."]


class KindInfo(TypedDict):
    """A service that can be connected."""

    name: str
    title: str
    experimental: bool
    needs: Annotated[str, "The extra of the package that it needs, if any."]
    ready: Annotated[bool, "Whether what it needs is installed."]
    scan: Annotated[bool, "It is logged in to by scanning a code: POST /channels/{name}/login."]
    steps: Annotated[list[str], "What a person does first, in order."]
    fields: list[FieldInfo]


class ChannelInfo(TypedDict):
    """A service that is connected."""

    name: str
    kind: str
    title: str
    lasting: Annotated[bool, "False: the environment of the server gives it, and it is changed there."]
    values: Annotated[dict[str, str], "What was given; of secrets the last four characters at most."]
    created_ms: int | None
    ok: bool
    code: Annotated[str, "`ok`, `connecting`, `no-contact`, `revoked`, `taken-over`, `asleep`, `scan-again`, `closed`."]
    text: Annotated[str, "How it is, in words."]
    facts: Tree
    two_way: bool
    groups: bool
    push_first: Annotated[bool, "May speak without having been spoken to."]
    experimental: bool


class ChannelList(TypedDict):
    """What is connected, and what could be."""

    channels: list[ChannelInfo]
    kinds: list[KindInfo]


class ChannelRequest(TypedDict):
    """A service to connect. What is not given again stays as it was."""

    kind: str
    values: NotRequired[dict[str, str]]


class Connected(TypedDict):
    """A service that took the credentials."""

    called: Annotated[str, "What the service calls us; empty where a scan is still to come."]
    channel: ChannelInfo


class RemovedChannel(TypedDict):
    """A channel that is no more."""

    removed: str


class Removed(TypedDict):
    """The number of what is no more."""

    removed: int


class LoginRequest(TypedDict):
    """A step of logging in by a scan."""

    digits: NotRequired[Annotated[str, "The number that the phone shows."]]
    again: NotRequired[Annotated[bool, "Begin anew, with a new code."]]


class LoginState(TypedDict):
    """How far it is."""

    state: Annotated[str, "`wait`, `scanned`, `needs-digits`, `redirect`, `expired`, `blocked`, `already-bound`, `confirmed`."]
    link: Annotated[str | None, "To be drawn as a code."]
    text: str


QuietHours = Annotated[
    dict[str, Json] | None, '`{"from": "23:00", "to": "08:00", "alarms": true}`: only alarms, and with false these without a sound.'
]


class PersonSettings(TypedDict):
    """What a person set of themselves; null is the default."""

    lang: Annotated[str | None, "`en` or `zh`."]
    zone: Annotated[str | None, "Such as Europe/Berlin; null: that of the server."]
    quiet: QuietHours


class IdentityInfo(TypedDict):
    """Whom a service calls this person."""

    channel: str
    user_name: str
    paired_ms: int


class PersonInfo(TypedDict):
    """Somebody who may be told of runs and ask."""

    no: int
    name: str
    scopes: Scopes
    settings: PersonSettings
    identities: list[IdentityInfo]
    chats: Annotated[list[int], "Numbers of chats, in the order in which they are tried."]


class Delivery(TypedDict):
    """What became of one notice in one chat."""

    id: int
    at_ms: int
    channel: str
    chat: int
    title: Annotated[str, "Of the chat; empty for one that is no more."]
    kind: Literal["alarm", "event", "progress"]
    about: Annotated[str, "Such as `alert/12` or `run/5`."]
    outcome: Wait
    reason: str
    tries: int
    took_ms: Annotated[int, "From the notice to the answer of the service."]


class ChatInfo(TypedDict):
    """A conversation to which things are sent."""

    no: int
    channel: str
    address: Annotated[str, "Its id at the service; the last four characters for those who may not administer."]
    person: Annotated[int | None, "Whose it is; null: a group, or what a channel's own settings name."]
    title: str
    settings: Tree
    created_ms: int
    last: Annotated[Delivery | None, "The newest."]


class StrangerInfo(TypedDict):
    """Somebody who wrote and is nobody here: they got no answer."""

    channel: str
    user_name: Annotated[str, "As they call themselves."]
    user: Annotated[str, "The id that the service knows them by; the last four characters for those who may not administer."]
    first_ms: int
    last_ms: int
    times: int


class PeopleList(TypedDict):
    """Who may be told and ask, where, and who tried."""

    owner: str
    people: list[PersonInfo]
    chats: Annotated[list[ChatInfo], "In the order in which they are tried."]
    strangers: list[StrangerInfo]
    closed: Annotated[bool, "So many wrong codes have come that none counts for now; a new code opens the door again."]


class PairRequest(TypedDict):
    """Whom a code makes of whoever sends it."""

    name: NotRequired[str]
    scopes: NotRequired[Scopes]
    person: NotRequired[Annotated[int | None, "Another identity of this person."]]
    channel: NotRequired[Annotated[str | None, "The only channel where it counts."]]


class PairLink(TypedDict):
    """Where to send a code."""

    channel: str
    link: Annotated[str | None, "To be opened on the phone, or drawn as a code."]
    text: str


class PairCode(TypedDict):
    """A code that is good once."""

    code: str
    seconds: Annotated[int, "For how long it is good."]
    links: list[PairLink]


class PersonChange(TypedDict, total=False):
    """What to change; null is the default again."""

    name: str
    scopes: Scopes
    lang: str | None
    zone: str | None
    quiet: QuietHours
    chats: Annotated[list[int], "All of their chats, in the order in which they are to be tried."]


class ChatRequest(TypedDict):
    """A chat that is written to."""

    channel: str
    address: Annotated[str, "The service's id of it, and of a topic behind a slash."]
    title: NotRequired[str]
    person: NotRequired[int | None]


class ChatChange(TypedDict, total=False):
    """What to change of a chat; null is the default again."""

    lang: str | None
    detail: Annotated[str | None, "`full`, or `minimal`: no names, paths, values."]
    progress: Annotated[str | None, "`edit` or `off`."]
    alarms: bool | None
    events: bool | None
    every: Annotated[dict[str, Json] | None, '`{"s": seconds}` or `{"steps": n}`: a line of metrics so often.']
    muted_until_ms: int | None
    projects: Annotated[list[str] | None, "Only these."]
    watch: Annotated[list[Json] | None, "Conditions that are told when they come true."]


class TestResult(TypedDict):
    """What became of a test."""

    outcome: Wait
    reason: str


class RemovedStranger(TypedDict):
    """Who is off the list."""

    channel: str
    removed: str


class DeliveryList(TypedDict):
    """What became of notices, newest first."""

    deliveries: list[Delivery]


class FileToSend(TypedDict):
    """A file that goes with a message: its bytes, or an upload."""

    name: NotRequired[str]
    media_type: NotRequired[str]
    caption: NotRequired[str]
    base64: NotRequired[str]
    upload: NotRequired[Annotated[str, "Id of POST /notify/uploads."]]


class NotifyRequest(TypedDict):
    """A message to people."""

    text: NotRequired[str]
    format: NotRequired[Literal["text", "markdown", "html", "mono"]]
    silent: NotRequired[bool]
    preview: NotRequired[Annotated[bool, "Links may unfold."]]
    picture: NotRequired[FileToSend | None]
    files: NotRequired[Annotated[list[FileToSend], "At most 10."]]
    to: NotRequired[Annotated[list[int | str] | None, "Numbers of chats, or names of channels; left out: everybody who wants messages."]]
    wait_s: NotRequired[Annotated[float, "Wait so long for what becomes of it, 0 to 30; 10 if left out."]]
    id: NotRequired[Annotated[str, "8 to 64 letters, digits, hyphens: asked again with the same id, it is sent once."]]


class SentMessage(TypedDict):
    """What became of a message in one chat."""

    chat: int
    channel: str
    outcome: Wait
    reason: str
    ids: Annotated[list[str], "Of what was sent, by which it is taken back."]


class NotifyAnswer(TypedDict):
    """What became of a message."""

    messages: list[SentMessage]


class UploadAnswer(TypedDict):
    """A file that waits for its message, for ten minutes."""

    upload: str


class MessageIds(TypedDict):
    """Messages in a chat, as POST /notify has answered."""

    chat: int
    ids: list[str]


class DeleteRequest(TypedDict):
    """Messages to take back."""

    messages: list[MessageIds]


class TakenBack(TypedDict):
    """What became of taking one message back."""

    chat: int
    outcome: Wait
    reason: str


class DeleteAnswer(TypedDict):
    """What became of taking messages back."""

    messages: list[TakenBack]


class AlertDetail(AlertRow):
    """An alert, with everything that was sent about it."""

    deliveries: Annotated[list[Delivery], "Newest first."]
