"""One connection: who is at its other end, and how long it may take to ask.

uvicorn limits neither the time of a request head nor what is sent after an early refusal; this protocol does both.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from farwatch.server.peers import is_loopback, own_uid, peer_uid
from farwatch.settings import Settings

DRAIN_MAX = 8 << 20  # bytes that may still come after an answer that did not wait for them
STATE = "farwatch.peer"


class Peer:
    """The other end of a connection; asked about its owner once, when a request first needs to know."""

    __slots__ = ("_asked", "_same", "_transport", "client", "server")

    def __init__(
        self,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        transport: asyncio.Transport,
    ) -> None:
        self._transport = transport
        self.client = client
        self.server = server
        self._asked = False
        self._same = False

    @property
    def address(self) -> str:
        """The peer's IP address, for counting."""
        return self.client[0] if self.client else ""

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def same_user(self) -> bool:
        """Whether a process of the server's own uid holds the other end, on this machine."""
        if not self._asked:
            self._asked = True
            uid = own_uid()
            if (
                uid is not None
                and self.client
                and self.server
                and self.server[1]
                and is_loopback(self.client[0])
            ):
                self._same = peer_uid(self.client, (self.server[0], self.server[1])) == uid
        return self._same


def protocol(settings: Settings, connections_max: int) -> type[H11Protocol]:
    """The protocol class for one server.

    `connections_max`: beyond it, the oldest connection that has not yet asked anything makes room for a new one.
    """
    silent: dict[H11Protocol, None] = {}

    class Connection(H11Protocol):
        """A connection with a limit on the time of each request head, and on bytes after an early answer."""

        _head: asyncio.TimerHandle | None = None
        _drained = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state: dict[str, Any] = {
                **self.app_state,
                STATE: Peer(self.client, self.server, transport),
            }
            self._wait_for_head()
            if len(self.connections) > connections_max and silent:
                next(iter(silent)).transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_came()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._drained = 0
                self._head_came()
                return
            self._wait_for_head()
            if self.cycle is not None and self.conn.their_state is h11.SEND_BODY:
                self._drained += len(data)
                if self._drained > DRAIN_MAX:
                    self.transport.close()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.their_state is h11.SEND_BODY:
                self._wait_for_head()

        def _wait_for_head(self) -> None:
            if self._head is None and not self.transport.is_closing():
                silent[self] = None
                self._head = self.loop.call_later(settings.head_s, self.transport.close)

        def _head_came(self) -> None:
            silent.pop(self, None)
            if self._head is not None:
                self._head.cancel()
                self._head = None

    return Connection
