"""Requests to services outside: no redirects, bounded answers, checked addresses, and nothing of a token in any log.

A client that connects by a name must not be led elsewhere by that name: it is resolved once, the address is checked, and the
connection goes to that address. Private addresses (of a self-hosted service, of a test) are reached only where the person who connected
the channel gave a private address by itself, or the setting allows it. Behind a proxy, the proxy resolves.
"""

import asyncio
import ipaddress
import json
import logging
import socket
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from farwatch.bridges.base import Outcome, Receipt
from farwatch.errors import BridgeError
from farwatch.version import VERSION

CONNECT_S = 10.0
ANSWER_S = 30.0  # a service that hangs for some seconds and then accepts must not get the message twice
ANSWER_MAX_BYTES = 8 << 20
AGENT = f"Farwatch/{VERSION}"

for _noisy in ("httpx2", "httpcore2", "websockets"):  # they log addresses, and Telegram's hold the token
    logging.getLogger(_noisy).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body`: at most 8 MiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object; what is none is an empty one, since proxies answer with pages."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def retry_after_s(self) -> float | None:
        """How long the service asks to wait, by the usual header."""
        try:
            return max(0.0, float(self.headers.get("retry-after", "")))
        except ValueError:
            return None


class Unreached(Exception):
    """Raised when no answer came. `receipt` says what that means; its reason is free of secrets."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(receipt.reason)
        self.receipt = receipt


class Outward:
    """An HTTP client for one channel. *Threads*: one event loop. *Ordering*: none.

    `secrets`: texts that must stand in no reason, exception or log. `private`: may connect to private and loopback addresses even where
    `base` does not itself name one. `proxy`: by the environment, as usual, unless `base` is such an address.
    """

    def __init__(self, base: str = "", *, secrets: Iterable[str] = (), private: bool = False) -> None:
        self._secrets: tuple[str, ...] = ()
        self.hide(*secrets)
        host = httpx2.URL(base).host if base else ""
        inside = is_private(host) if host else False
        self._private = private or inside
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(ANSWER_S, connect=CONNECT_S), follow_redirects=False, trust_env=not inside,
            headers={"User-Agent": AGENT}, limits=httpx2.Limits(max_connections=16, max_keepalive_connections=4),
        )  # fmt: skip
        self._proxied = not inside and bool(urllib.request.getproxies())

    def hide(self, *secrets: str) -> None:
        """Take further texts out of all reasons, such as a token that the service gave later."""
        self._secrets = tuple(sorted({*self._secrets, *(one for one in secrets if len(one) >= 4)}, key=len, reverse=True))

    async def close(self) -> None:
        """Close all connections; may be called twice."""
        await self._client.aclose()

    async def ask(
        self, method: str, url: str, *, answer_s: float = ANSWER_S, max_bytes: int = ANSWER_MAX_BYTES, **request: Any
    ) -> Answer:
        """Send one request and read its answer, whatever its status. Raises `Unreached`.

        `answer_s`: how long the answer may take to begin, for a long poll. `request`: `json`, `data`, `files`, `content`, `headers`,
        `params` of the HTTP client.
        """
        timeout = httpx2.Timeout(ANSWER_S, connect=CONNECT_S, read=answer_s)
        try:
            target, pinned = await self._admit(url)
            headers = {**pinned, **request.pop("headers", {})}
            names = {"sni_hostname": pinned["Host"].partition(":")[0]} if pinned else {}
            async with self._client.stream(method, target, timeout=timeout, headers=headers, extensions=names, **request) as response:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > max_bytes:
                        raise Unreached(Receipt(Outcome.UNSURE, reason="the answer is too long"))
                return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, bytes(body))
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as error:
            raise Unreached(Receipt(Outcome.FAILED, reason=self.clean(f"no contact: {error or type(error).__name__}"))) from None
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.LocalProtocolError) as error:
            raise Unreached(Receipt(Outcome.REFUSED, reason=self.clean(f"not an address: {error}"))) from None
        except httpx2.TimeoutException:
            raise Unreached(Receipt(Outcome.UNSURE, reason=f"no answer within {answer_s:g} s")) from None
        except httpx2.HTTPError as error:
            raise Unreached(Receipt(Outcome.UNSURE, reason=self.clean(f"the connection broke: {error or type(error).__name__}"))) from None

    def clean(self, text: str) -> str:
        """A text with this channel's secrets taken out, at most 300 characters."""
        return masked(text, self._secrets)

    async def admits(self, url: str) -> None:
        """Whether an address may be connected to, without doing so. Raises `Unreached`."""
        await self._admit(url)

    async def _admit(self, url: str) -> tuple[httpx2.URL, dict[str, str]]:
        """The address to connect to, and the headers that keep its name. Raises `Unreached` where a name should not lead."""
        parsed = httpx2.URL(url)
        if parsed.scheme not in ("http", "https"):
            raise Unreached(Receipt(Outcome.REFUSED, reason="only http and https addresses are connected to"))
        if self._private or self._proxied:
            return parsed, {}
        addresses = await resolved(parsed.host, parsed.port or 443)
        if any(is_private(address) for address in addresses):
            raise Unreached(Receipt(Outcome.REFUSED, reason=f"`{parsed.host}` leads to a private address"))
        if not addresses:
            raise Unreached(Receipt(Outcome.FAILED, reason=f"no contact: the name `{parsed.host}` is not known here"))
        return parsed.copy_with(host=addresses[0]), {"Host": parsed.netloc.decode("ascii")}


async def resolved(host: str, port: int) -> list[str]:
    """The addresses of a name; none for one that has none, which connecting will tell better."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(one[4][0]) for one in found}, key=lambda one: (":" in one, one))  # without IPv6 it would be tried in vain


def masked(text: str, secrets: Iterable[str]) -> str:
    """A text as a reason may hold it: one line of at most 300 characters, without these secrets."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        if secret:
            text = text.replace(secret, "•••")
    return " ".join(text.split())[:300]


def web_address(given: str, example: str, *, private: bool = False) -> str:
    """An http or https address as a person gave it, without a slash at its end. Raises `BridgeError`, which does not repeat it.

    Plain http is taken where the address is a private one, or `private` says that it leads to one: elsewhere others would read along.
    """
    try:
        parts = urlsplit(given.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise BridgeError("this is no http or https address", hint=f"it looks like {example}")
    if parts.username or parts.password:
        raise BridgeError("an address holds no user name or password here", hint=f"it looks like {example}")
    if parts.scheme == "http" and not private and not is_private(host):
        raise BridgeError("the address would be sent through the open network in the clear", hint="use an https address")
    return given.strip().rstrip("/")


def is_private(host: str) -> bool:
    """Whether a literal address, or `localhost`, is one that the outside cannot reach."""
    if host.lower().rstrip(".") in ("localhost", "ip6-localhost") or host.lower().endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0].strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return not mapped.is_global


def by_status(answer: Answer, reason: str, *, revoked: Iterable[int] = (401,), gone: Iterable[int] = (403, 404, 410)) -> Receipt:
    """What a status other than success usually means. `revoked`, `gone`: statuses that say so with this service."""
    if answer.status == 429:
        return Receipt(Outcome.LATER, reason=reason, retry_after_s=answer.retry_after_s or 5.0)
    if answer.status in set(revoked):
        return Receipt(Outcome.REVOKED, reason=reason)
    if answer.status in set(gone):
        return Receipt(Outcome.GONE, reason=reason)
    if answer.status >= 500:
        return Receipt(Outcome.FAILED, reason=reason, retry_after_s=answer.retry_after_s)
    return Receipt(Outcome.REFUSED, reason=reason)


def needs(library: str, extra: str, what: str) -> BridgeError:
    """The error for a library that is not installed."""
    return BridgeError(f"{library} is needed for {what}", hint=f"pip install 'farwatch[{extra}]'")
