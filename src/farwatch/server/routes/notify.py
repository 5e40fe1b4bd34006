"""Messages to people, with pictures and files, and taking them back."""

from typing import Annotated

from starlette.responses import Response

from farwatch.bridges.notify import WAIT_MAX_S, type_of
from farwatch.bridges.outgoing import FILE_MAX_BYTES
from farwatch.errors import UsageError
from farwatch.server import bodies
from farwatch.server.route import Ask, Endpoint
from farwatch.server.schema import Raw
from farwatch.server.shapes import chat as shapes

NAME_MAX = 200


async def notify(ask: Ask) -> Response:
    asked, office = await ask.object(), ask.services.office
    wish = await ask.run(office.notify.read, asked, pool=ask.services.writers)
    return ask.reply({"messages": await office.board.reach(lambda: office.notify.send(wish), WAIT_MAX_S + 10.0)})


async def upload(ask: Ask) -> Response:
    name = ask.query.get("name", "")
    if not 0 < len(name) <= NAME_MAX:
        raise UsageError(f"`name` is the name of the file, 1 to {NAME_MAX} characters")
    outgoing, settings, writers = ask.services.office.outgoing, ask.services.settings, ask.services.writers
    pieces = bodies.pieces(ask.receive, ask.headers, FILE_MAX_BYTES, settings.body_idle_s)
    key = await outgoing.receive(name, type_of(name, ask.query.get("media_type")), pieces, lambda *call: ask.run(*call, pool=writers))
    return ask.reply({"upload": key})


async def delete(ask: Ask) -> Response:
    asked, office = await ask.object(), ask.services.office
    return ask.reply({"messages": await office.board.reach(lambda: office.notify.delete(asked.get("messages")))})


ENDPOINTS = (
    Endpoint(
        "POST",
        "/notify",
        "log",
        notify,
        "Send a message to everybody who wants messages, or to some chats.",
        body=shapes.NotifyRequest,
        answer=shapes.NotifyAnswer,
    ),
    Endpoint(
        "POST",
        "/notify/uploads",
        "log",
        upload,
        "Take a file for a message; kept for ten minutes, at most 64 MiB.",
        query={"name": Annotated[str, "of the file"], "media_type": Annotated[str, "of the file; by its name if left out"]},
        body=Raw("the file"),
        answer=shapes.UploadAnswer,
    ),
    Endpoint(
        "POST",
        "/notify/delete",
        "log",
        delete,
        "Take messages back that were sent by this route.",
        body=shapes.DeleteRequest,
        answer=shapes.DeleteAnswer,
    ),
)
