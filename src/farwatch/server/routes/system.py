"""The server itself: health, who it is, and who asks."""

import asyncio
import shutil

from starlette.responses import Response

from farwatch.errors import DeniedError, FarwatchError, UsageError
from farwatch.server.route import Ask, Endpoint, cookie_name
from farwatch.server.shapes import system as shapes
from farwatch.service.access import PUBLIC, SESSION_LONGEST_S


async def healthz(ask: Ask) -> Response:
    """The process answers."""
    return ask.reply({"ok": True})


async def readyz(ask: Ask) -> Response:
    """The store answers, and the disk has room for batches."""
    usage = await ask.run(shutil.disk_usage, ask.services.data)
    ready = (
        usage.free * 100 > usage.total * ask.services.settings.disk_stop_percent
        and ask.services.store.seq >= 0
    )
    return ask.reply({"ok": ready}, 200 if ready else 503)


async def info(ask: Ask) -> Response:
    services = ask.services
    usage = await ask.run(shutil.disk_usage, services.data)
    return ask.reply(
        {
            "version": services.version,
            "server_id": services.server_id,
            "epoch": services.store.epoch,
            "wire": 1,
            "url": services.settings.url or services.address,
            "disk": {"free_bytes": usage.free, "total_bytes": usage.total},
            "readonly": usage.free * 100 < usage.total * services.settings.disk_stop_percent,
            "now_ms": services.clock.wall_us() // 1000,
        }
    )


async def prove(ask: Ask) -> Response:
    body = await ask.object()
    services = ask.services
    proof = services.access.prove(body.get("nonce", ""))
    return ask.reply({"proof": proof, "server_id": services.server_id, "version": services.version})


async def open_session(ask: Ask) -> Response:
    body = await ask.object()
    code = body.get("once")
    if not isinstance(code, str) or not 0 < len(code) <= 200:
        raise UsageError('a session begins with {"once": code}')
    access = ask.services.access
    redeemed = await ask.run(access.redeem, code, ask.peer.address)
    response = ask.reply({"key": redeemed.key})
    response.set_cookie(
        cookie_name(access.port),
        redeemed.cookie,
        max_age=int(SESSION_LONGEST_S),
        path="/",
        httponly=True,
        samesite="strict",
        secure=ask.services.settings.url.startswith("https://"),
    )
    return response


async def session(ask: Ask) -> Response:
    actor = ask.who
    return ask.reply(
        {"actor": {"name": actor.name, "scopes": sorted(actor.scopes)}, "local": True, "via": actor.via}
    )


async def end_session(ask: Ask) -> Response:
    await ask.run(ask.services.access.end, ask.who)
    response = ask.reply({})
    response.delete_cookie(cookie_name(ask.services.access.port), path="/", httponly=True, samesite="strict")
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


async def once(ask: Ask) -> Response:
    if ask.who.via == "session":
        raise DeniedError("a session opens no other session", hint="run `farwatch open`")
    code, expires_ms = ask.services.access.new_code()
    base = (ask.services.settings.url or ask.services.address).rstrip("/")
    return ask.reply({"code": code, "url": f"{base}/#once={code}", "expires_ms": expires_ms})


async def problems(ask: Ask) -> Response:
    """Every error that this server can answer with."""
    kinds: list[type[FarwatchError]] = [FarwatchError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    await asyncio.sleep(0)
    rows = {
        kind.code: {
            "code": kind.code,
            "status": kind.http_status,
            "text": (kind.__doc__ or "").split("\n")[0],
        }
        for kind in kinds
    }
    return ask.reply({"problems": sorted(rows.values(), key=lambda row: row["code"])})


PROBES = (
    Endpoint("GET", "/healthz", PUBLIC, healthz, "Whether the process answers.", answer=shapes.Health),
    Endpoint(
        "GET",
        "/readyz",
        PUBLIC,
        readyz,
        "Whether the store answers and the disk has room.",
        answer=shapes.Health,
    ),
)

ENDPOINTS = (
    Endpoint("GET", "/info", "read", info, "What this server is.", answer=shapes.ServerInfo),
    Endpoint(
        "POST",
        "/prove",
        PUBLIC,
        prove,
        "Prove that this server knows its owner's secret.",
        body=shapes.ProofRequest,
        answer=shapes.Proof,
    ),
    Endpoint(
        "POST",
        "/session",
        PUBLIC,
        open_session,
        "Begin a session with a one-time code.",
        body=shapes.SessionRequest,
        answer=shapes.SessionKey,
    ),
    Endpoint("GET", "/session", "read", session, "Who asks.", answer=shapes.Session),
    Endpoint("DELETE", "/session", "read", end_session, "End the session that asks.", answer=shapes.Nothing),
    Endpoint(
        "POST", "/once", "admin", once, "Make a one-time code for a browser.", answer=shapes.OnceCode
    ),
    Endpoint("GET", "/problems", "read", problems, "Every error code.", answer=shapes.ProblemList),
)
