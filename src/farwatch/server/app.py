"""The ASGI application: every endpoint with its permission, the page, and the door in front of both."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware

from farwatch.errors import UsageError
from farwatch.server import openapi
from farwatch.server.guard import API, Guard, Names
from farwatch.server.listen import local_only
from farwatch.server.pages import Pages
from farwatch.server.route import Endpoint, NoRoute, Route, check
from farwatch.server.routes import (
    alerts,
    channels,
    charts,
    content,
    ingest,
    launch,
    live,
    notify,
    people,
    runs,
    steer,
    system,
)
from farwatch.server.services import Services
from farwatch.settings import Settings

log = logging.getLogger("farwatch.server")

TICK_S = 1.0

ENDPOINTS: tuple[Endpoint, ...] = (
    *system.ENDPOINTS,
    *ingest.ENDPOINTS,
    *runs.ENDPOINTS,
    *content.ENDPOINTS,
    *charts.ENDPOINTS,
    *live.ENDPOINTS,
    *alerts.ENDPOINTS,
    *steer.ENDPOINTS,
    *launch.ENDPOINTS,
    *channels.ENDPOINTS,
    *people.ENDPOINTS,
    *notify.ENDPOINTS,
)


def create_app(settings: Settings, services: Services, *, extra: Sequence[Endpoint] = ()) -> Starlette:
    """Wire one server. `extra`: endpoints of other packages, under `/api/v1` as well.

    Raises `UsageError` if an endpoint declares no permission, if two collide, or if the address to listen on needs accounts that
    nobody has made.
    """
    if not local_only(settings.host) and not services.access.has_admin:
        raise UsageError(
            f"`{settings.host}` can be reached by others, and no administrator exists yet",
            hint="listen on 127.0.0.1 and reach it through `ssh -L`, until accounts can be made",
        )
    endpoints = (*ENDPOINTS, openapi.endpoint(ENDPOINTS, system.PROBES), *extra)
    check([*endpoints, *system.PROBES])
    app = Starlette(
        routes=[
            *(Route(endpoint, services, "") for endpoint in system.PROBES),
            *(Route(endpoint, services, API) for endpoint in endpoints),
            NoRoute(services),
            Pages(services),
        ],
        middleware=[
            Middleware(
                Guard, names=Names.of(settings.url, local=local_only(settings.host)), clock=services.clock
            )
        ],
        lifespan=_lifespan(services),
    )
    app.router.redirect_slashes = False
    declared(app)
    return app


def declared(app: Starlette) -> None:
    """Raise `UsageError` if the application has a route that passes by the permissions."""
    for route in app.routes:
        if not isinstance(route, (Route, NoRoute, Pages)):
            raise UsageError(f"a route without a permission: `{route}`", hint="declare it as an Endpoint")


def _lifespan(services: Services) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        services.hub.attach(asyncio.get_running_loop())
        services.steer.bell.attach(asyncio.get_running_loop())
        ticking = asyncio.create_task(_tick(services))
        try:
            yield
        finally:
            ticking.cancel()
            services.hub.close()
            services.steer.bell.close()

    return lifespan


async def _tick(services: Services) -> None:
    """Let what depends on time look at the clock once a second."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(TICK_S)
        for tick in (services.liveness.tick, services.steer.tick, services.office.outgoing.sweep):
            try:
                await loop.run_in_executor(services.readers, tick)
            except Exception:
                log.exception("looking at the clock failed")
