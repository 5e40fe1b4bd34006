"""Which address the server listens on."""

import errno
import socket

from farwatch.errors import UsageError
from farwatch.server.peers import is_loopback, listener
from farwatch.settings import PORT

TRIES = 20


def bind(host: str, port: int) -> tuple[socket.socket, str | None]:
    """A listening socket on `port`, or on the next free one. Port 0: any.

    Returns the socket, and who holds the port that was wanted, in words, if it was taken. Raises `UsageError` if nothing is free or the
    host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken: str | None = None
    for candidate in [port] if port == 0 else range(port, min(port + TRIES, 65536)):
        # With the protocol named, asyncio turns Nagle off; else every short answer waits 40 ms for an acknowledgement.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, candidate))
            sock.listen(2048)
            sock.setblocking(False)
            return sock, taken
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE:
                raise UsageError(f"cannot listen on `{host}` port {candidate}: {error.strerror}") from error
            if candidate == port:
                taken = listener(port) or "another process"
    raise UsageError(
        f"ports {port} to {port + TRIES - 1} are all taken; the first by {taken}",
        hint="choose one with --port",
    )


def local_only(host: str) -> bool:
    """Whether nobody outside this machine can reach a listener on `host`."""
    return host == "localhost" or is_loopback(host)


def address(host: str, port: int) -> str:
    """The http address of a listener, as a person opens it."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


__all__ = ["PORT", "address", "bind", "local_only"]
