"""The server itself, and who asks."""

from typing import Annotated, NotRequired, TypedDict

from farwatch.server.schema import open_ended


@open_ended
class ProblemText(TypedDict):
    """What went wrong; some codes say more about it."""

    code: Annotated[str, "Stable, see `GET /problems`."]
    message: str
    hint: Annotated[str | None, "What to do."]
    id: Annotated[str, "Of the request; the server's log has it too."]


class Problem(TypedDict):
    """Every answer that is no success. A refused batch also says where its writer goes on."""

    error: ProblemText
    expected: NotRequired[int]
    crc: NotRequired[int]
    epoch: NotRequired[str]


class Health(TypedDict):
    """Whether all is well; if not, the status is 503."""

    ok: bool


class Disk(TypedDict):
    """Of the data folder."""

    free_bytes: int
    total_bytes: int


class ServerInfo(TypedDict):
    """What a server is."""

    version: str
    server_id: str
    epoch: Annotated[str, "Changes when its data are replaced; commit numbers count within one."]
    wire: Annotated[int, "Version of the protocol of records."]
    url: str
    disk: Disk
    readonly: Annotated[bool, "The disk is so full that nothing is taken."]
    now_ms: int


class ProofRequest(TypedDict):
    """A question that only the server of this account can answer."""

    nonce: Annotated[str, "32 hexadecimal digits."]


class Proof(TypedDict):
    """The answer to it."""

    proof: Annotated[str, "HMAC-SHA256 by the server's secret of `farwatch-server:<port>:<nonce>`, in hexadecimal."]
    server_id: str
    version: str


class SessionRequest(TypedDict):
    """A code that begins one session."""

    once: str


class SessionKey(TypedDict):
    """The key of a new session, to be sent as `X-Farwatch-Key` with its cookie."""

    key: str


class ActorName(TypedDict):
    """Who asks, and what they may."""

    name: str
    scopes: list[str]


class Session(TypedDict):
    """Who asks, and how they proved it."""

    actor: ActorName
    local: bool
    via: Annotated[str, "peer, secret or session."]


class Nothing(TypedDict):
    """It is done."""


class OnceCode(TypedDict):
    """A code for a browser."""

    code: str
    url: str
    expires_ms: int


class ProblemKind(TypedDict):
    """An error that this server can answer with."""

    code: str
    status: Annotated[int, "The usual one."]
    text: str


class ProblemList(TypedDict):
    """All of them by code."""

    problems: list[ProblemKind]
