"""What agents and feeding clients send."""

import asyncio
import re
from typing import Annotated, Any

from starlette.responses import Response

from farwatch.errors import BusyError, UsageError
from farwatch.server.route import Ask, Endpoint
from farwatch.server.schema import Raw
from farwatch.server.shapes import ingest as shapes
from farwatch.server.shapes.runs import RunRow
from farwatch.server.spool import CHUNK_MAX
from farwatch.wire.batch import ENCODINGS
from farwatch.wire.ids import is_writer_id

BATCHES_AT_ONCE = 32
COMMIT_S = 60.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,100}")


def _writer(ask: Ask) -> str:
    writer = ask.params["writer"]
    if not is_writer_id(writer):
        raise UsageError("a writer id is 32 hexadecimal digits")
    return writer


async def register(ask: Ask) -> Response:
    body = await ask.object()
    if not isinstance(body.get("writer"), str) or not is_writer_id(body["writer"]):
        raise UsageError("a writer id is 32 hexadecimal digits")
    said = await ask.run(ask.services.runs.register, body, ask.who.name, pool=ask.services.writers)
    agent = body.get("agent")
    agent = agent if isinstance(agent, str) and len(agent) <= 200 else None
    await ask.run(ask.services.steer.arrived, body["writer"], agent, pool=ask.services.writers)
    return ask.reply(said)


async def writer(ask: Ask) -> Response:
    return ask.reply(await ask.run(ask.services.runs.writer_status, _writer(ask)))


async def batches(ask: Ask) -> Response:
    """Take one batch: unpacked in a thread, committed with others, acknowledged when it is on disk."""
    services = ask.services
    writer_id = _writer(ask)
    encoding = ask.headers.get("content-encoding", "identity").lower()
    if encoding not in ENCODINGS:
        raise UsageError(
            f"unknown content encoding: `{encoding[:40]}`", hint="use zstd, deflate or identity", status=415
        )
    if services.batches_open >= BATCHES_AT_ONCE:
        raise BusyError("too many batches at once", retry_after_s=1)
    services.batches_open += 1
    try:
        packed = await ask.body(services.settings.batch_max_bytes)
        future = await ask.run(services.ingest.submit, writer_id, packed, encoding, pool=services.writers)
        said = await asyncio.wait_for(asyncio.wrap_future(future), COMMIT_S)
    except TimeoutError:
        raise BusyError("the disk is slow", retry_after_s=5) from None
    finally:
        services.batches_open -= 1
    return ask.reply(said)


async def spool_put(ask: Ask) -> Response:
    chunk = await ask.body(CHUNK_MAX)
    sha256 = ask.query.get("sha256", "")
    if _SHA256.fullmatch(sha256) is None:
        raise UsageError("`sha256` is 64 hexadecimal digits")
    media_type = ask.query.get("media_type") or None
    if media_type is not None and _MEDIA_TYPE.fullmatch(media_type) is None:
        raise UsageError("`media_type` is something like `image/png`")
    offset, size = ask.number("offset", 0, high=1 << 60), ask.number("size", -1, low=-1, high=1 << 60)
    if size < 0:
        raise UsageError("`size` is the size of the whole file in bytes")
    uploads = ask.services.uploads
    writer_id = _writer(ask)
    await ask.run(ask.services.runs.writer_status, writer_id)  # nobody leaves files for a writer that is none
    said = await ask.run(
        uploads.put,
        writer_id,
        ask.params["name"],
        offset,
        size,
        sha256,
        chunk,
        media_type,
        pool=ask.services.writers,
    )
    return ask.reply(said)


async def spool_get(ask: Ask) -> Response:
    return ask.reply({"offset": await ask.run(ask.services.uploads.offset, _writer(ask), ask.params["name"])})


async def beat(ask: Ask) -> Response:
    body = await ask.object()
    agent = ask.params["agent"]
    if len(agent) > 200:
        raise UsageError("an agent's id has at most 200 characters")
    return ask.reply(
        await ask.run(ask.services.liveness.beat, agent, body, ask.who.name, pool=ask.services.writers)
    )


async def create(ask: Ask) -> Response:
    body = await ask.object()
    said: dict[str, Any] = await ask.run(
        ask.services.feed.create, body, ask.who.name, pool=ask.services.writers
    )
    return ask.reply({**said, "id": said["run"]}, 201)


async def log(ask: Ask) -> Response:
    body = await ask.json()
    run = await ask.run(ask.services.runs.find, ask.params["ref"])
    return ask.reply(await ask.run(ask.services.feed.log, run, body, pool=ask.services.writers))


async def finish(ask: Ask) -> Response:
    body = await ask.object()
    run = await ask.run(ask.services.runs.find, ask.params["ref"])
    return ask.reply(await ask.run(ask.services.feed.finish, run, body, pool=ask.services.writers))


ENDPOINTS = (
    Endpoint(
        "POST",
        "/writers",
        "log",
        register,
        "Make a writer known, with its run.",
        body=shapes.WriterRequest,
        answer=shapes.WriterStatus,
    ),
    Endpoint(
        "GET",
        "/writers/{writer}",
        "log",
        writer,
        "How far a writer has come.",
        answer=shapes.WriterStatus,
    ),
    Endpoint(
        "POST",
        "/writers/{writer}/batches",
        "log",
        batches,
        "Take consecutive records of a writer.",
        body=Raw("a batch (docs/protocol.md), Content-Encoding zstd, deflate or identity"),
        answer=shapes.BatchAnswer,
    ),
    Endpoint(
        "PUT",
        "/writers/{writer}/spool/{name}",
        "log",
        spool_put,
        "Take one chunk of a file that records name.",
        query={
            "offset": Annotated[int, "of this chunk, bytes"],
            "size": Annotated[int, "of the whole file, bytes"],
            "sha256": Annotated[str, "of the whole file"],
            "media_type": Annotated[str, "of the file"],
        },
        body=Raw("at most 8 MiB of the file"),
        answer=shapes.SpoolAnswer,
    ),
    Endpoint(
        "GET",
        "/writers/{writer}/spool/{name}",
        "log",
        spool_get,
        "How much of a file has come.",
        answer=shapes.SpoolOffset,
    ),
    Endpoint(
        "POST",
        "/agents/{agent}/beat",
        "log",
        beat,
        "A sign of life of a machine's agent.",
        body=shapes.BeatRequest,
        answer=shapes.BeatAnswer,
    ),
    Endpoint(
        "POST",
        "/runs",
        "log",
        create,
        "Make a run without an SDK.",
        body=shapes.RunRequest,
        answer=shapes.RunAnswer,
        status=201,
    ),
    Endpoint(
        "POST",
        "/runs/{ref}/log",
        "log",
        log,
        "Log numbers and texts.",
        body=shapes.LogEntry | list[shapes.LogEntry],
        answer=shapes.LogAnswer,
    ),
    Endpoint(
        "POST",
        "/runs/{ref}/finish",
        "log",
        finish,
        "End a run that was made by a request.",
        body=shapes.FinishRequest,
        answer=RunRow,
    ),
)
