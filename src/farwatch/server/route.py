"""Routes that say who may use them, and what a handler is given.

An `Endpoint` names its scope. `check` runs when the application is made and refuses to start it if any route does not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from farwatch.errors import DeniedError, FarwatchError, ForbiddenError, NotFoundError, UsageError
from farwatch.server import bodies
from farwatch.server.answers import answer, json_bytes
from farwatch.server.connection import STATE, Peer
from farwatch.server.guard import HEADERS, REQUEST_ID, SEGMENTS, is_loopback_name
from farwatch.server.problems import problem
from farwatch.server.services import Services
from farwatch.service.access import PUBLIC, SCOPES, Actor

LARGE_JSON = 64 << 10  # parsed in a thread above this size, so that nobody else waits
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


@dataclass(slots=True)
class Ask:
    """One request, as a handler sees it.

    `params`: values of the path's placeholders. `query`: decoded query parameters, the last of each name. `actor`: who asks; None on
    public routes only. `after`: called once the answer is sent or has failed.
    """

    services: Services
    scope: Scope
    receive: Receive
    params: dict[str, str]
    headers: dict[str, str]
    actor: Actor | None
    query: dict[str, str] = field(default_factory=dict)
    after: list[Callable[[], None]] = field(default_factory=list)

    @property
    def peer(self) -> Peer:
        """The other end of the connection."""
        return self.scope["state"][STATE]

    @property
    def who(self) -> Actor:
        """Who asks, on a route that is not public."""
        if self.actor is None:
            raise DeniedError("this route needs to know who asks")
        return self.actor

    async def body(self, limit: int) -> bytes:
        """The whole body, of at most `limit` bytes."""
        return await bodies.read(self.receive, self.headers, limit, self.services.settings.body_idle_s)

    async def json(self) -> Any:
        """The body as JSON; an empty body is an empty object. Raises `UsageError` for another content encoding."""
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise UsageError(
                "JSON is taken uncompressed", hint="send it without Content-Encoding", status=415
            )
        settings = self.services.settings
        raw = await self.body(settings.json_max_bytes)
        if not raw:
            return {}
        if len(raw) > LARGE_JSON:
            return await self.run(bodies.parse, raw, settings)
        return bodies.parse(raw, settings)

    async def object(self) -> dict[str, Any]:
        """The body as a JSON object."""
        value = await self.json()
        if not isinstance(value, dict):
            raise UsageError("the request body must be a JSON object")
        return value

    async def run(self, call: Callable[..., Any], *args: Any, pool: Executor | None = None) -> Any:
        """The result of a blocking call, made in a thread of `pool` (the readers if not given)."""
        return await asyncio.get_running_loop().run_in_executor(pool or self.services.readers, call, *args)

    def number(self, name: str, default: int, *, low: int = 0, high: int) -> int:
        """A whole number of the query within its limits. Raises `UsageError` for another text."""
        text = self.query.get(name, "")
        if text == "":
            return default
        if not text.isascii() or not text.lstrip("-").isdigit() or len(text) > 18:
            raise UsageError(f"`{name}` must be a whole number, not: `{text[:50]}`")
        return min(max(int(text), low), high)

    def real(self, name: str) -> float | None:
        """A number of the query, or None. Raises `UsageError` for another text."""
        text = self.query.get(name, "")
        if text == "":
            return None
        try:
            return float(text[: bodies.NUMBER_DIGITS])
        except ValueError:
            raise UsageError(f"`{name}` must be a number, not: `{text[:50]}`") from None

    def flag(self, name: str) -> bool:
        """Whether a switch of the query is on: `1` or `true`."""
        return self.query.get(name, "0").lower() in ("1", "true", "yes", "on")

    def reply(self, value: Any, status: int = 200) -> Response:
        """A JSON answer, compressed if that pays."""
        return answer(json_bytes(value), "application/json", self.headers.get("accept-encoding", ""), status)


Handler = Callable[[Ask], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and a path, who may use it, and what it says about itself.

    `path`: under `/api/v1`, with `{name}` for one segment and `{name:path}` for all that are left. `scope`: one of `SCOPES`, or
    `public`. `query`: parameter -> shape with a sentence. `body`, `answer`: shapes, see `farwatch.server.schema`. `media_type`: of the
    answer; where it is not JSON and `answer` is a shape, a client that accepts only JSON gets that.
    """

    method: str
    path: str
    scope: str
    handler: Handler
    text: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    answer: Any = None
    status: int = 200
    user_content: bool = False  # answers with what people uploaded; may be fetched by a signed address
    media_type: str = "application/json"


class Route(BaseRoute):
    """An endpoint bound to the services of one server."""

    def __init__(self, endpoint: Endpoint, services: Services, prefix: str) -> None:
        self.endpoint = endpoint
        self.services = services
        self.parts = tuple(part for part in (prefix + endpoint.path).split("/") if part)
        self.open_end = bool(self.parts) and self.parts[-1].endswith(":path}")

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Compare segment by segment, each decoded on its own, so that an encoded slash never makes another route."""
        segments: tuple[str, ...] = scope[SEGMENTS]
        if len(segments) != len(self.parts) and not (self.open_end and len(segments) >= len(self.parts)):
            return Match.NONE, {}
        params: dict[str, str] = {}
        for place, part in enumerate(self.parts):
            if not part.startswith("{"):
                if segments[place] != part:
                    return Match.NONE, {}
            elif part.endswith(":path}"):
                params[part[1:-6]] = "/".join(segments[place:])
            else:
                params[part[1:-1]] = segments[place]
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        return (Match.FULL if method == self.endpoint.method else Match.PARTIAL), {"path_params": params}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decide who asks, whether they may, and turn whatever goes wrong into an answer."""
        request_id = scope[REQUEST_ID]
        started = False

        async def watched(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        ask = Ask(self.services, scope, receive, scope["path_params"], scope[HEADERS], None)
        try:
            ask.query = parse_query(scope["query_string"])
            ask.actor = self._admit(ask)
            if (method := scope["method"]) != self.endpoint.method and not (
                method == "HEAD" and self.endpoint.method == "GET"
            ):
                raise UsageError(f"no method `{method[:20]}` here", status=405)
            response = await self.endpoint.handler(ask)
            await response(scope, receive, watched)
        except Exception as error:
            if started:
                raise  # half an answer is out: the connection closes, and the log says why
            await problem(error, request_id, **self.services.error_context(error))(scope, receive, send)
        finally:
            for call in ask.after:
                call()

    def _admit(self, ask: Ask) -> Actor | None:
        if self.endpoint.scope == PUBLIC:
            return None
        actor = authenticate(ask, signed=self.endpoint.user_content)
        if actor is None:
            raise DeniedError(
                "who asks?",
                hint="open the link that `farwatch serve` printed, or run `farwatch open` as the server's user",
            )
        if not actor.may(self.endpoint.scope):
            raise ForbiddenError(f"this needs the scope: `{self.endpoint.scope}`")
        return actor


def parse_query(raw: bytes) -> dict[str, str]:
    """Decoded query parameters; the last of each name counts. Raises `UsageError` for more than 200 or for bytes that are no UTF-8."""
    try:
        return dict(
            parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=200)
        )
    except ValueError:
        raise UsageError("a query string that cannot be read") from None


def authenticate(ask: Ask, *, signed: bool = False) -> Actor | None:
    """Who asks; None if nothing proves it. A wrong token is never made good by anything else; a session that has ended is.

    `signed`: a signature in the address will do in place of the header, for `<img>` and downloads.
    """
    access = ask.services.access
    header = ask.headers.get("authorization")
    if header is not None:
        kind, _, token = header.partition(" ")
        return access.by_secret(token.strip()) if kind.lower() == "bearer" else None
    cookie = session_cookie(ask.headers.get("cookie", ""), access.port)
    if cookie is not None:
        key, actor = ask.headers.get("x-farwatch-key"), None
        if key is not None:
            actor = access.by_session(cookie, key)
        elif signed and "sign" in ask.query:
            actor = access.by_signature(cookie, "/".join(ask.scope[SEGMENTS]), ask.query["sign"])
        if actor is not None:
            return actor
    return access.owner_actor("peer") if trusted_peer(ask.peer, ask.headers) else None


def trusted_peer(peer: Peer, headers: Mapping[str, str]) -> bool:
    """Whether the connection itself proves the owner: same uid, and no proxy in between that would lend its uid to strangers."""
    if any(name in headers for name in _FORWARDED) or not is_loopback_name(headers.get("host", "").lower()):
        return False
    return peer.same_user()


def session_cookie(header: str, port: int) -> str | None:
    """The value of this server's cookie. Its name carries the port, because cookies do not know ports."""
    wanted = cookie_name(port)
    for pair in header.split(";")[:100]:
        name, _, value = pair.strip().partition("=")
        if name == wanted:
            return value
    return None


def cookie_name(port: int) -> str:
    """The name of the session cookie of the server on a port."""
    return f"farwatch-{port}"


def check(endpoints: Sequence[Endpoint]) -> None:
    """Raise `UsageError` if an endpoint declares no scope, or if two answer the same request: such a server does not start."""
    seen: set[tuple[str, str]] = set()
    for endpoint in endpoints:
        if endpoint.scope not in (*SCOPES, PUBLIC):
            raise UsageError(f"a route without a permission: `{endpoint.method} {endpoint.path}`")
        key = (endpoint.method, endpoint.path)
        if key in seen:
            raise UsageError(f"two routes for: `{endpoint.method} {endpoint.path}`")
        seen.add(key)


class NoRoute(BaseRoute):
    """Answers every path of the API that no endpoint has: 404, as for an object that is missing or foreign."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.PARTIAL, {}) if scope[SEGMENTS][:1] == ("api",) else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        ask = Ask(self.services, scope, receive, {}, scope[HEADERS], None)
        error: FarwatchError = NotFoundError("no such route", hint="see /api/v1/openapi.json")
        if authenticate(ask) is None:
            error = DeniedError("who asks?")
        await problem(error, scope[REQUEST_ID])(scope, receive, send)
