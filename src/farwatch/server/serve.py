"""Starting and stopping one server."""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from farwatch.clock import SystemClock
from farwatch.errors import UsageError
from farwatch.machine import process_start
from farwatch.server import listen, statefile
from farwatch.server.app import create_app
from farwatch.server.connection import protocol
from farwatch.server.peers import user_name
from farwatch.server.services import Services, open_services
from farwatch.service.access import Access
from farwatch.settings import PORT, Settings, state_dir
from farwatch.version import VERSION

log = logging.getLogger("farwatch.server")

GRACE_S = 10
HEAD_MAX = 16 << 10
KEEP_ALIVE_S = 75  # longer than a long poll, so that an idle page keeps its connection
SESSIONS = "sessions.json"
SPARE_FILES = 256  # descriptors that connections leave to databases and files


@dataclass(frozen=True, slots=True)
class Started:
    """What is known once the server answers. `once`: a link with a code that opens one browser session."""

    address: str
    once: str
    notice: str | None
    state_dir: Path
    data: Path
    services: Services


class _Server(uvicorn.Server):
    """uvicorn's server, which ends by itself after a signal instead of dying of it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            self.force_exit = self.should_exit
            self.should_exit = True

        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, stop)
        try:
            yield
        finally:
            for sign in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(sign)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.on_stop()
        await super().shutdown(sockets)

    on_stop: Callable[[], None] = staticmethod(lambda: None)


def serve(
    settings: Settings, *, ready: Callable[[Started], None] | None = None, wake: Callable[[], None] | None = None
) -> None:
    """Run a server until SIGTERM or SIGINT. Blocks.

    Leaves its address and secret in `server.json` of the state folder, and takes it away at the end. `ready` is called once it answers.
    `wake` starts this machine's agent, when a person asks something of it and it has left.
    Raises `UsageError` if it may not or cannot start.
    """
    os.umask(0o077)
    clock = SystemClock()
    folder = statefile.prepare(state_dir(settings))
    other = statefile.running(folder)
    if other is not None:
        raise UsageError(
            f"this user's server already runs: {other.get('address')}",
            hint="open it with `farwatch open`, or give another one its own FARWATCH_DIR",
        )
    data = Path(settings.data).expanduser().absolute() if settings.data else folder / "server"
    files_max = _raise_file_limit()
    sock, taken = listen.bind(settings.host, settings.port)
    port = sock.getsockname()[1]
    address = listen.address(settings.host, port)
    try:
        access = Access(folder / SESSIONS, port, user_name(os.geteuid()), clock)
        services = open_services(settings, data, access, address, VERSION, clock)
        services.launching.wake = wake or services.launching.wake
    except BaseException:
        sock.close()
        raise
    try:
        app = create_app(settings, services)
        config = uvicorn.Config(
            app,
            http=protocol(settings, files_max - SPARE_FILES),
            ws="none",
            lifespan="on",
            interface="asgi3",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            h11_max_incomplete_event_size=HEAD_MAX,
            backlog=2048,
        )
        server = _Server(config)
        server.on_stop = services.wake_waiting
        notice = f"port {settings.port} is taken by {taken}" if taken else None
        asyncio.run(_run(server, sock, lambda: _ready(folder, services, notice, ready)))
    finally:
        statefile.remove(folder)
        sock.close()
        services.close()


async def _run(server: _Server, sock: socket.socket, ready: Callable[[], None]) -> None:
    running = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started and not running.done():
        await asyncio.sleep(0.005)
    if server.started:
        ready()
    await running


def _ready(
    folder: Path, services: Services, notice: str | None, ready: Callable[[Started], None] | None
) -> None:
    access, clock = services.access, services.clock
    statefile.write(
        folder,
        {
            "address": services.address,
            "host": services.settings.host,
            "port": access.port,
            "pid": os.getpid(),
            "pid_start": process_start(os.getpid()),
            "server_id": services.server_id,
            "secret": access.secret,
            "started_ms": clock.wall_us() // 1000,
            "version": services.version,
            "data": str(services.data),
        },
    )
    if ready is not None:
        base = (services.settings.url or services.address).rstrip("/")
        ready(
            Started(
                services.address,
                f"{base}/#once={access.new_code()[0]}",
                notice,
                folder,
                services.data,
                services,
            )
        )


def _raise_file_limit() -> int:
    """Let this process open as many files as it may: each connection is one."""
    try:
        import resource  # not on every system
    except ImportError:
        return 512
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def announce(started: Started, *, as_json: bool = False) -> None:
    """Say on stdout where the server is: for people, or as one line of JSON."""
    if as_json:
        said: dict[str, Any] = {
            "address": started.address,
            "url": started.once,
            "pid": os.getpid(),
            "notice": started.notice,
            "state_dir": str(started.state_dir),
            "data": str(started.data),
            "server_id": started.services.server_id,
        }
        print(json.dumps(said), flush=True)
        return
    if started.notice:
        print(f"farwatch: {started.notice}; using another one", file=sys.stderr)
    print(f"farwatch: {started.once}", flush=True)
    print(
        "farwatch: this link opens one browser, for 5 minutes; a new one: farwatch open",
        file=sys.stderr,
        flush=True,
    )


__all__ = ["PORT", "Started", "announce", "serve"]
