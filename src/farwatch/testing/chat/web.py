"""A small HTTP server for fakes: real sockets, one loop, requests as values, and a menu of misbehaviour."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. `path`: decoded. `headers`: lower-case names."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer. `cut`: close the connection instead of answering."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


Handler = Callable[[Request], Awaitable[Reply]]


class Misbehaviour:
    """What the next requests are answered with instead: filled by `misbehave`, taken by the fake's own handler."""

    def __init__(self) -> None:
        self._menu: list[tuple[str, dict[str, Any]]] = []

    def misbehave(self, what: str, times: int = 1, **facts: Any) -> None:
        """See `farwatch.testing.bridges.Fake`."""
        self._menu += [(what, facts)] * times

    def take(self) -> tuple[str, dict[str, Any]] | None:
        """What this request is answered with; None: as it should."""
        return self._menu.pop(0) if self._menu else None

    def behave(self) -> None:
        """From now on everything as it should."""
        self._menu.clear()


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve HTTP/1.1 on a free loopback port in this loop; yields `http://127.0.0.1:PORT`."""
    open_ones: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_ones.add(task)
        try:
            while (request := await _read(reader)) is not None:
                reply = await handler(request)
                if reply.cut:
                    return
                headers = {"content-length": str(len(reply.body)), **reply.headers}
                head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(f"HTTP/1.1 {reply.status} x\r\n{head}\r\n".encode("latin-1"))
                writer.write(b"" if request.method == "HEAD" else reply.body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            open_ones.discard(task)
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, limit=1 << 20)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(open_ones):
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = bytearray()
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = bytearray(await reader.readexactly(int(headers.get("content-length", "0"))))
    parts = urlsplit(target)
    return Request(method, unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True)), headers, bytes(body))


def form_parts(request: Request) -> dict[str, tuple[str | None, str | None, bytes]]:
    """The parts of a multipart form: name -> (file name, content type, bytes). Raises `ValueError` for a body that is none."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        raise ValueError(f"not multipart: {kind}")
    parsed = message_from_bytes(b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + request.body, policy=HTTP)
    found: dict[str, tuple[str | None, str | None, bytes]] = {}
    for part in parsed.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        kind_of = part.get_content_type() if part.get_filename() else None
        found[str(name)] = (part.get_filename(), kind_of, bytes(content))
    return found
