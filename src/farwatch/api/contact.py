"""What all of `farwatch.api` asks through: one connection per thread, answers as JSON or columns."""

import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
from numpy.typing import NDArray

from farwatch.agent.transport import HttpTransport
from farwatch.errors import ContactError
from farwatch.servers import Credential, find_server
from farwatch.settings import Settings, load
from farwatch.wire import columns
from farwatch.wire.moments import moment_of

MAX_COLUMNS_BYTES = 8 << 30
COLUMNS_TIMEOUT_S = 600.0
DTYPES = {"f8": "<f8", "f4": "<f4", "i8": "<i8", "i4": "<i4", "u4": "<u4", "u1": "u1"}
_NONFINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}

Arrays = dict[str, NDArray[Any]]


class Contact:
    """Asks one server.

    *Threads*: any; each thread has a connection of its own. *Errors*: those of `farwatch.agent.transport.Transport`.
    """

    def __init__(self, address: str, credential: Credential | None) -> None:
        self.address = address
        self._credential = credential
        self._local = threading.local()
        self._lock = threading.Lock()  # guards the list only
        self._opened: list[HttpTransport] = []

    def _transport(self) -> HttpTransport:
        transport: HttpTransport | None = getattr(self._local, "transport", None)
        if transport is None:
            transport = self._local.transport = HttpTransport(self.address, self._credential)
            with self._lock:
                self._opened.append(transport)
        return transport

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """GET a JSON object; query arguments that are None are left out, booleans become 0 and 1."""
        return self._transport().request("GET", with_query(path, query)).json()

    def send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any
    ) -> dict[str, Any]:
        """Ask for a change. Returns the JSON answer, empty where the server sends none."""
        answer = self._transport().request(method, with_query(path, query), body, idempotent=method != "POST")
        return answer.json() if answer.body else {}

    def again(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST a change that carries its own id, so that it may be sent again where the answer was lost."""
        return self._transport().request("POST", path, body, idempotent=True).json()

    def upload(self, path: str, content: bytes, **query: Any) -> dict[str, Any]:
        """POST bytes as they are."""
        headers = {"Content-Type": "application/octet-stream"}
        return self._transport().request(
            "POST", with_query(path, query), content, headers=headers, timeout_s=COLUMNS_TIMEOUT_S, idempotent=False
        ).json()

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST a question that changes nothing."""
        return self._transport().request("POST", path, body).json()

    def columns(self, path: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
        """POST a question that is answered in columns: their `meta`, and NumPy views of the arrays (read-only)."""
        answer = self._transport().request(
            "POST",
            path,
            body,
            headers={"Accept": columns.CONTENT_TYPE},
            timeout_s=COLUMNS_TIMEOUT_S,
            max_bytes=MAX_COLUMNS_BYTES,
        )
        meta, arrays = columns.decode(answer.body)
        return meta, {
            name: np.frombuffer(view, dtype=DTYPES[dtype]) for name, (dtype, view) in arrays.items()
        }

    def bytes_of(self, path: str, first: int, size: int) -> tuple[bytes, bool]:
        """GET at most `size` bytes of a file from byte `first` on. Returns them and whether they are the whole file."""
        headers = {"Accept": "*/*", "Range": f"bytes={first}-{first + size - 1}"}
        answer = self._transport().request(
            "GET", path, headers=headers, timeout_s=COLUMNS_TIMEOUT_S, max_bytes=MAX_COLUMNS_BYTES
        )
        return answer.body, answer.status != 206

    def close(self) -> None:
        """Close all connections; may be called twice."""
        with self._lock:
            opened, self._opened = self._opened, []
        for transport in opened:
            transport.close()
        self._local = threading.local()


def connect(server: str | None, token: str | None, settings: Settings | None = None) -> Contact:
    """Find the server that is meant. Raises `ContactError` with a hint if there is none."""
    settings = (settings or load()).replace(server=server, token=token)
    found = find_server(settings)
    if found is None:
        raise ContactError(
            "no Farwatch server is known here",
            hint="start one with: farwatch serve; or: farwatch login ADDRESS",
        )
    return Contact(*found)


def with_query(path: str, query: Mapping[str, Any]) -> str:
    """Append a query to a path; a list becomes one value with commas."""
    pairs = []
    for name, value in query.items():
        if isinstance(value, bool):
            value = int(value)
        if isinstance(value, list | tuple):
            value = ",".join(str(part) for part in value) or None
        if value is not None:
            pairs.append((name, value))
    return f"{path}?{urlencode(pairs)}" if pairs else path


def quoted(text: str, safe: str = "") -> str:
    """A part of a path."""
    return quote(text, safe=safe)


def number(value: Any) -> Any:
    """Turn the words that stand for non-finite numbers back into numbers; everything else is returned as it is."""
    return _NONFINITE.get(value, value) if isinstance(value, str) else value


def value_of(value: Any) -> Any:
    """A value of config or summary as the program gave it: non-finite numbers, and datetimes, also inside lists and mappings."""
    if isinstance(value, dict):
        moment = moment_of(value)
        return {key: value_of(part) for key, part in value.items()} if moment is None else moment
    return [value_of(part) for part in value] if isinstance(value, list) else number(value)
