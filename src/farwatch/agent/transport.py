"""One kept-alive HTTP connection to a server: the only place from which Farwatch's clients speak to the network.

Standard library only. What it guarantees to everybody above: no token and no data leave for a local server that has
not proved that it knows this user's secret; loopback bypasses proxies; no redirect is followed, so a token reaches
one host only; answers have a size limit and an end in time; every error is one of `farwatch.errors`.
"""

import hashlib
import hmac
import http.client
import ipaddress
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from farwatch import errors
from farwatch.clock import Clock, SystemClock
from farwatch.errors import ContactError, FarwatchError, LimitError, UsageError
from farwatch.servers import Credential, find_server

__all__ = ["Answer", "Credential", "HttpTransport", "Transport", "find_server", "is_loopback"]

API = "/api/v1"
CONNECT_S = 5.0
TIMEOUT_S = 30.0
AGENT = "farwatch"
MAX_ANSWER_BYTES = 64 << 20
RETRY_AFTER_MAX_S = 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to a request that it accepted. `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> dict[str, Any]:
        """The JSON object of the body. Raises `ContactError` if there is none: a stranger answered."""
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ContactError("the answer is no JSON object", hint="is this address a Farwatch server?")
        return value


class Transport(Protocol):
    """A way to ask one server.

    *Threads*: one instance per thread. *Ordering*: one request at a time. *Errors*: `ContactError` whenever trying
    again may help and nobody knows whether the server acted; `RefusedError` and `UsageError` kinds as the server said
    them, with `details["status"]`, the other fields of its answer, and `details["retry_after_s"]` where it named one.
    """

    @property
    def address(self) -> str:
        """Where it asks, without a slash at the end."""
        ...

    def request(
        self,
        method: str,
        path: str,
        body: bytes | memoryview | Mapping[str, Any] | list[Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        max_bytes: int = MAX_ANSWER_BYTES,
        idempotent: bool = True,
    ) -> Answer:
        """Ask once and return the accepted answer (2xx).

        `path`: below `/api/v1`, with its query. `body`: a mapping or list is sent as JSON, bytes as they are.
        `timeout_s`: limit for the whole exchange. `idempotent`: may be asked again on a new connection if the kept
        one turns out to be closed.
        """
        ...

    def close(self) -> None:
        """Close the connection; may be called twice. A later request opens a new one."""
        ...


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    if host.lower().rstrip(".") == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


class HttpTransport:
    """A `Transport` over `http.client`.

    `address`: `http://…` or `https://…`, with a path if the server stands behind one. `credential`: see
    `farwatch.servers`; None sends no token.
    """

    def __init__(
        self, address: str, credential: Credential | None = None, *, clock: Clock | None = None
    ) -> None:
        parts = urlsplit(address if "://" in address else "http://" + address)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise UsageError(
                f"no address of a server: `{address}`", hint="write it like https://farwatch.example.org"
            )
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self._address = f"{parts.scheme}://{shown}{f':{port}' if port else ''}{self._prefix}"
        self._credential = credential
        self._clock = clock or SystemClock()
        self._connection: http.client.HTTPConnection | None = None
        self._absolute = ""  # stands before the path when a plain proxy is between

    @property
    def address(self) -> str:
        return self._address

    def request(
        self,
        method: str,
        path: str,
        body: bytes | memoryview | Mapping[str, Any] | list[Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        max_bytes: int = MAX_ANSWER_BYTES,
        idempotent: bool = True,
    ) -> Answer:
        sent = {"User-Agent": AGENT, "Accept": "application/json", **(headers or {})}
        if isinstance(body, Mapping | list):
            body = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
            sent.setdefault("Content-Type", "application/json")
        deadline = self._clock.mono_us() / 1e6 + timeout_s
        reused = self._connection is not None
        try:
            return self._ask(method, path, body, sent, deadline, max_bytes)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            self.close()
            if not (reused and idempotent):
                raise self._no_contact(error) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if isinstance(error, FarwatchError):
                raise
            raise self._no_contact(error) from error
        try:
            return self._ask(method, path, body, sent, deadline, max_bytes)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if isinstance(error, FarwatchError):
                raise
            raise self._no_contact(error) from error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | memoryview | None,
        headers: Mapping[str, str],
        deadline: float,
        max_bytes: int,
    ) -> Answer:
        if self._connection is None:
            self._connect(deadline)
        token = self._credential.token if self._credential is not None else ""
        if token:
            headers = {**headers, "Authorization": f"Bearer {token}"}
        status, received, data = self._exchange(method, path, body, headers, deadline, max_bytes)
        if 200 <= status < 300:
            return Answer(status, received, data)
        raise error_of(status, received, data, self._address)

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | memoryview | None,
        headers: Mapping[str, str],
        deadline: float,
        max_bytes: int,
    ) -> tuple[int, dict[str, str], bytes]:
        connection = self._connection
        assert connection is not None
        self._limit(connection, deadline)
        connection.request(
            method, f"{self._absolute}{self._prefix}{API}{path}", body=body, headers=dict(headers)
        )
        self._limit(connection, deadline)
        response = connection.getresponse()
        parts: list[bytes] = []
        size = 0
        while True:
            # One read may not wait longer than what is left, so that an answer in drops ends as well.
            self._limit(connection, deadline)
            part = response.read1(1 << 16)
            if not part:
                break
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                self.close()
                raise ContactError(
                    f"the answer is larger than {max_bytes} bytes", hint="is this address a Farwatch server?"
                )
        if response.length:  # http.client ends quietly when the other side closes early
            raise http.client.IncompleteRead(b"", response.length)
        response.close()  # else the kept connection believes that the answer is still being read
        received = {name.lower(): value for name, value in response.getheaders()}
        response.close()  # `read1` leaves it open at the end of a body of known length, and with it the socket
        if response.will_close:
            self.close()
        return response.status, received, b"".join(parts)

    def _connect(self, deadline: float) -> None:
        timeout_s = max(0.05, min(CONNECT_S, deadline - self._clock.mono_us() / 1e6))
        proxy = (
            None if is_loopback(self._host) else _proxy_for("https" if self._secure else "http", self._host)
        )
        self._absolute = ""
        if proxy is None:
            connection = self._direct(self._host, self._port, timeout_s)
        elif self._secure:
            connection = self._direct(proxy.host, proxy.port, timeout_s)
            connection.set_tunnel(self._host, self._port, headers=proxy.headers)
        else:
            connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=timeout_s)
            self._absolute = f"http://{self._host}:{self._port}"
        try:
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection = connection
            if self._credential is not None and self._credential.prove:
                self._demand_proof(self._credential, deadline)
        except BaseException:
            self._connection = None
            connection.close()
            raise

    def _direct(self, host: str, port: int, timeout_s: float) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        import ssl  # costs 10 ms, and most clients speak to their own machine

        return http.client.HTTPSConnection(
            host, port, timeout=timeout_s, context=ssl.create_default_context()
        )

    def _demand_proof(self, credential: Credential, deadline: float) -> None:
        """Let the server prove, before anything else is said, that it knows this user's secret."""
        nonce = os.urandom(16).hex()
        body = json.dumps({"nonce": nonce}).encode()
        headers = {"User-Agent": AGENT, "Content-Type": "application/json"}
        status, _, data = self._exchange("POST", "/prove", body, headers, deadline, 1 << 16)
        try:
            proof = str(json.loads(data)["proof"]) if status == 200 else ""
        except (ValueError, KeyError, TypeError):
            proof = ""
        message = f"farwatch-server:{self._port}:{nonce}".encode()
        expected = hmac.new(credential.token.encode(), message, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(proof.encode(), expected.encode()):
            raise ContactError(
                f"what listens on {self._address} is not your Farwatch server",
                hint="another program or user has taken the port; nothing was sent; start yours with: farwatch serve",
                impostor=True,
            )
        if (
            self._connection is None
        ):  # it closed after its proof: the next connection would have to prove itself again
            raise ContactError("the server closed the connection after its proof")

    def _limit(self, connection: http.client.HTTPConnection, deadline: float) -> None:
        left = deadline - self._clock.mono_us() / 1e6
        if left <= 0:
            raise TimeoutError("no answer in time")
        if connection.sock is not None:
            connection.sock.settimeout(left)

    def _no_contact(self, error: Exception) -> ContactError:
        reason = (
            "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        )
        return ContactError(f"no contact with {self._address}: {reason}")


@dataclass(frozen=True, slots=True)
class _Proxy:
    host: str
    port: int
    headers: dict[str, str]


def _proxy_for(scheme: str, host: str) -> _Proxy | None:
    from urllib.request import getproxies, proxy_bypass  # only where the server is elsewhere

    address = getproxies().get(scheme)
    if not address or proxy_bypass(host):
        return None
    parts = urlsplit(address if "://" in address else "http://" + address)
    if not parts.hostname:
        return None
    headers: dict[str, str] = {}
    if parts.username:
        import base64

        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair).decode()
    return _Proxy(parts.hostname, parts.port or 3128, headers)


def _all_kinds(kind: type[FarwatchError]) -> dict[str, type[FarwatchError]]:
    found = {kind.code: kind}
    for child in kind.__subclasses__():
        found |= _all_kinds(child)
    return found


def error_of(status: int, headers: Mapping[str, str], body: bytes, address: str) -> FarwatchError:
    """The error that an answer stands for.

    What carries Farwatch's JSON shape becomes the class with its code. An answer without it comes from a proxy or a
    stranger: that is `ContactError`, because journals must wait, not be set aside; only sizes and 429 keep their meaning.
    """
    details: dict[str, Any] = {"status": status}
    retry_after_s = _retry_after(headers.get("retry-after"))
    if retry_after_s is not None:
        details["retry_after_s"] = retry_after_s
    try:
        answer: dict[str, Any] = json.loads(body[: 1 << 20])
        told: dict[str, Any] = answer["error"]
        code, message = str(told["code"]), str(told["message"])
    except (ValueError, LookupError, TypeError):
        return _foreign_error(status, details, address)
    hint = told.get("hint")
    details |= {name: value for name, value in answer.items() if name != "error"}
    details |= {name: value for name, value in told.items() if name not in ("code", "message", "hint")}
    kind = _all_kinds(errors.FarwatchError).get(code)
    if kind is None or (kind is FarwatchError and status >= 500):
        kind = _kind_of_status(status)
    error = kind(message, hint=str(hint) if hint else None, **details)
    if error.code != code:
        error.code = code
    return error


def _kind_of_status(status: int) -> type[FarwatchError]:
    if status in (429, 503):
        return errors.BusyError
    if status == 507:
        return errors.DiskFullError
    if status >= 500:
        return ContactError
    kinds: dict[int, type[FarwatchError]] = {
        400: UsageError,
        401: errors.DeniedError,
        403: errors.ForbiddenError,
        404: errors.NotFoundError,
        413: LimitError,
        422: errors.BodyError,
    }
    return kinds.get(status, errors.RefusedError)


def _foreign_error(status: int, details: dict[str, Any], address: str) -> FarwatchError:
    if status == 413:
        return LimitError(
            "a proxy before the server refuses bodies of this size", hint="raise its limit", **details
        )
    if status in (429, 503, 507):
        return errors.BusyError(f"{address} is busy ({status})", **details)
    if 300 <= status < 400:
        return ContactError(
            f"{address} answers with a redirect, which is not followed",
            hint="use the address that your browser ends at",
            **details,
        )
    return ContactError(
        f"{address} answers {status} as no Farwatch server would", hint="is the address right?", **details
    )


def _retry_after(text: str | None) -> float | None:
    try:
        return None if text is None else min(RETRY_AFTER_MAX_S, max(0.0, float(text)))
    except ValueError:
        return None
