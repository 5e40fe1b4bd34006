"""The door: what is refused before any route is looked up or a byte of the body is read.

Everything here looks at the request as it came (`raw_path`, the literal `Host` header), never at a rebuilt address: an address that was
put together from parts is how other servers were fooled about which host or path they were asked for.
"""

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farwatch.clock import Clock
from farwatch.errors import FarwatchError, ForbiddenError, UsageError
from farwatch.server.peers import is_loopback
from farwatch.server.problems import problem

API = "/api/v1"
SEGMENTS = "farwatch.segments"
REQUEST_ID = "farwatch.id"
HEADERS = "farwatch.headers"

access_log = logging.getLogger("farwatch.access")

_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::([0-9]{1,5}))?")
_RAW_PATH = re.compile(rb"/[\x21-\x5b\x5d-\x7e]{0,8191}")  # printable ASCII without a backslash
_ESCAPE = re.compile(rb"%(?![0-9a-fA-F]{2})")
_SECRET_NAMES = frozenset({b"token", b"api_key", b"apikey", b"access_token", b"secret", b"password"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")

CSP = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' blob: data:; style-src 'self'; "
    "font-src 'self'; media-src 'self' blob:; manifest-src 'self'; worker-src 'self'; frame-src 'self'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)


@dataclass(frozen=True, slots=True)
class Names:
    """The names by which this server may be called.

    `local`: any loopback name with any port will do. `public`: scheme and host of the public address, if there is one.
    `prefix`: path of the public address, taken off where a proxy leaves it on.
    """

    local: bool
    public: tuple[str, str] | None = None
    prefix: tuple[str, ...] = ()

    @classmethod
    def of(cls, url: str, *, local: bool) -> "Names":
        """Names from the setting `url`. Raises `UsageError` if that is no http address."""
        if not url:
            return cls(local)
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or parts.username
        ):
            raise UsageError(
                f"not a public address: `{url[:200]}`", hint="FARWATCH_URL=https://watch.example.org/farwatch"
            )
        prefix = tuple(part for part in parts.path.split("/") if part)
        return cls(local, (parts.scheme, parts.netloc.lower()), prefix)

    def accepts(self, host: str) -> bool:
        """Whether a `Host` header is literally one of our names."""
        if self.public is not None and host == self.public[1]:
            return True
        return self.local and is_loopback_name(host)

    def own_origin(self, origin: str, host: str) -> bool:
        """Whether an `Origin` header is this server's own, as asked under `host`; `null` never is."""
        if self.public is not None and host == self.public[1]:
            return origin == f"{self.public[0]}://{host}"
        return origin in (f"http://{host}", f"https://{host}")


def is_loopback_name(host: str) -> bool:
    """Whether a `Host` header names this machine's loopback: `localhost`, `127.x.y.z` or `[::1]`, with any port."""
    match = _HOST.fullmatch(host)
    if match is None or int(match[2] or 0) > 65535:
        return False
    name = match[1]
    if name == "localhost":
        return True
    if name.startswith("["):
        return is_loopback(name[1:-1])
    return re.fullmatch(r"127(\.[0-9]{1,3}){3}", name) is not None and is_loopback(name)


class Guard:
    """ASGI middleware around everything: names, origins, paths, headers of the answer, and the access log."""

    def __init__(self, app: ASGIApp, *, names: Names, clock: Clock) -> None:
        self.app = app
        self.names = names
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError("only HTTP is spoken here")
        began = self.clock.mono_us()
        request_id = scope[REQUEST_ID] = os.urandom(6).hex()
        status = 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _complete(message.get("headers", ()), request_id)
            await send(message)

        try:
            try:
                self._check(scope)
            except FarwatchError as error:
                await problem(error, request_id)(scope, receive, guarded)
                return
            await self.app(scope, receive, guarded)
        finally:
            took_ms = (self.clock.mono_us() - began) / 1000
            path = scope["raw_path"][:500].decode("ascii", "backslashreplace")
            access_log.info("%s %s %d %.1f ms %s", scope["method"], path, status, took_ms, request_id)

    def _check(self, scope: Scope) -> None:
        headers = scope[HEADERS] = single_headers(scope["headers"])
        host = headers.get("host", "").lower()
        if not self.names.accepts(host):
            raise ForbiddenError(
                f"this server is not called: `{host[:100]}`",
                hint="open it under the address that it printed, or set FARWATCH_URL to its public address",
            )
        segments = split_path(scope["raw_path"])
        if self.names.prefix and segments[: len(self.names.prefix)] == self.names.prefix:
            segments = segments[len(self.names.prefix) :]
        scope[SEGMENTS] = segments
        refuse_secrets(scope["query_string"])
        if segments[:1] == ("api",):
            self._check_origin(scope["method"], headers, host)

    def _check_origin(self, method: str, headers: dict[str, str], host: str) -> None:
        """Every call of the API, reading or writing, comes from our own pages or from no page at all."""
        origin = headers.get("origin")
        if origin is not None and not self.names.own_origin(origin.lower(), host):
            raise ForbiddenError(f"a page of another origin may not ask: `{origin[:100]}`")
        site = headers.get("sec-fetch-site")
        typed = site == "none" and method in ("GET", "HEAD")  # an address typed by the person, or a bookmark
        if site is not None and site != "same-origin" and not typed:
            raise ForbiddenError(f"a page of another site may not ask: `{site[:20]}`")


def single_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name. Raises `UsageError` where one that decides something stands twice."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key = name.decode("latin-1").lower()
        if key in headers:
            if key in (
                "host",
                "origin",
                "authorization",
                "content-length",
                "content-encoding",
                "sec-fetch-site",
                "x-farwatch-key",
            ):
                raise UsageError(f"a header stands twice: `{key}`")
            headers[key] += ("; " if key == "cookie" else ", ") + value.decode("latin-1")
        else:
            headers[key] = value.decode("latin-1")
    return headers


def split_path(raw: bytes) -> tuple[str, ...]:
    """Cut a raw path into decoded segments; one trailing slash is dropped.

    Raises `UsageError` for anything that two readers could understand differently: dot segments, empty segments, control characters,
    backslashes, bytes that are no UTF-8, half escapes.
    """
    if _RAW_PATH.fullmatch(raw) is None or _ESCAPE.search(raw):
        raise UsageError("a path with characters that no path has")
    parts = raw[1:].split(b"/")
    if parts[-1] == b"":
        parts.pop()
    segments = []
    for part in parts:
        try:
            text = re.sub(rb"%([0-9a-fA-F]{2})", lambda match: bytes([int(match[1], 16)]), part).decode(
                "utf-8"
            )
        except UnicodeDecodeError:
            raise UsageError("a path that is no UTF-8") from None
        if text == "" or _CONTROL.search(text) or any(piece in (".", "..") for piece in text.split("/")):
            raise UsageError("a path with empty, dotted or unprintable parts")
        segments.append(text)
    return tuple(segments)


def refuse_secrets(query: bytes) -> None:
    """Raise `UsageError` if a query string carries what looks like a credential: addresses end up in logs and histories."""
    for pair in query.split(b"&"):
        if pair.partition(b"=")[0].lower() in _SECRET_NAMES:
            raise UsageError("no secrets in addresses", hint="send `Authorization: Bearer …` instead")


def _complete(headers: Iterable[Any], request_id: str) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    names = {bytes(name).lower() for name, _ in given}
    added = [pair for pair in SECURITY_HEADERS if pair[0] not in names]
    if (
        b"content-security-policy" in names
    ):  # user content has a policy of its own, and may stand in our frames
        added = [pair for pair in added if pair[0] != b"x-frame-options"]
    if b"cache-control" not in names:
        added.append((b"cache-control", b"no-store"))
    return [*given, *added, (b"x-request-id", request_id.encode())]
