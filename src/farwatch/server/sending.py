"""Large answers, sent in pieces as the reader takes them.

Handed over at once, an answer would lie in the connection's buffer for as long as its reader likes, and nobody would count it.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from farwatch.server.connection import STATE

PIECE = 256 << 10
READER_IDLE_S = 30.0


def slices(body: bytes) -> Iterable[bytes]:
    """A body in pieces."""
    for first in range(0, len(body), PIECE):
        yield body[first : first + PIECE]


class Pieces(Response):
    """An answer of known length whose pieces are taken one by one.

    A reader that takes nothing for 30 seconds loses the connection. `pieces` is closed in any case.
    """

    def __init__(
        self, pieces: Any, status_code: int, headers: Mapping[str, str], media_type: str | None = None
    ) -> None:
        super().__init__(None, status_code, headers, media_type)
        if "content-length" not in headers and "Content-Length" not in headers:
            raise ValueError("an answer in pieces says how long it is")
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with closing(self._pieces) as pieces:
            try:
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                for piece in pieces:
                    message = {"type": "http.response.body", "body": piece, "more_body": True}
                    await asyncio.wait_for(send(message), READER_IDLE_S)
                await asyncio.wait_for(send({"type": "http.response.body", "body": b""}), READER_IDLE_S)
            except TimeoutError:
                scope["state"][STATE].abort()
                await asyncio.sleep(0.01)  # until the connection knows that it is gone
