"""What runs bring along: console lines, media and files. Everything here was written by strangers."""

from typing import Annotated, Any
from urllib.parse import quote

from starlette.responses import Response

from farwatch.errors import ForbiddenError, UsageError
from farwatch.server import download
from farwatch.server.guard import API
from farwatch.server.route import Ask, Endpoint
from farwatch.server.schema import Raw
from farwatch.server.shapes.content import ConsolePage, DeletedFile, FileList, MediaList
from farwatch.service.access import Actor


async def console(ask: Ask) -> Response:
    runs = ask.services.runs
    run = await ask.run(runs.find, ask.params["ref"])
    first = ask.number("from", -1, low=-1, high=1 << 53)
    limit = ask.number("limit", 1_000, low=1, high=100_000)
    rank = ask.number("rank", 0, high=1 << 30)

    def found() -> Any:
        return runs.console(
            run,
            first=None if first < 0 else first,
            limit=limit,
            tail=ask.flag("tail"),
            rank=rank,
            q=ask.query.get("q") or None,
        )

    return ask.reply(await ask.run(found))


async def media(ask: Ask) -> Response:
    runs = ask.services.runs
    run = await ask.run(runs.find, ask.params["ref"])
    limit = ask.number("limit", 200, low=0, high=10_000)
    step_min, step_max = ask.real("step_min"), ask.real("step_max")

    def found() -> Any:
        return runs.media(
            run, name=ask.query.get("name") or None, step_min=step_min, step_max=step_max, limit=limit
        )

    said = await ask.run(found)
    if ask.who.via == "session":
        for item in said["items"]:
            for key in ("url", "frame"):
                if item.get(key):
                    item[key] = _signed(ask, ask.who, item[key])
    return ask.reply(said)


def _signed(ask: Ask, actor: Actor, url: str) -> str:
    """A relative blob address that this session's `<img>` may fetch without the header that images cannot send."""
    path = f"{API}/{url.partition('?')[0]}".lstrip("/")
    return f"{url}{'&' if '?' in url else '?'}sign={ask.services.access.sign(actor, path)}"


async def files(ask: Ask) -> Response:
    runs = ask.services.runs
    run = await ask.run(runs.find, ask.params["ref"])
    return ask.reply(await ask.run(runs.files, run))


async def file(ask: Ask) -> Response:
    download.refuse_programs(ask)
    runs, path = ask.services.runs, ask.params["path"]
    run = await ask.run(runs.find, ask.params["ref"])
    sha256, media_type, _ = await ask.run(runs.file, run, path)
    return await download.blob(ask, sha256, media_type, path.rpartition("/")[2])


async def delete_file(ask: Ask) -> Response:
    runs, path = ask.services.runs, ask.params["path"]
    run = await ask.run(runs.find, ask.params["ref"])
    await ask.run(runs.delete_file, run, path, ask.who.name, pool=ask.services.writers)
    return ask.reply({"run": run, "deleted": path})


async def blob(ask: Ask) -> Response:
    download.refuse_programs(ask)
    sha256 = ask.params["sha256"]
    if download.SHA256.fullmatch(sha256) is None:
        raise UsageError("a blob is named by 64 hexadecimal digits")
    return await download.blob(ask, sha256, ask.query.get("type"), ask.query.get("name") or sha256)


async def figure(ask: Ask) -> Response:
    """A document that runs its scripts, but only in a frame of our page, whose policy it cannot leave by going elsewhere."""
    download.refuse_programs(ask)
    if ask.headers.get("sec-fetch-dest", "iframe") != "iframe":
        raise ForbiddenError("a figure is shown in a frame of the dashboard only")
    runs, sha256 = ask.services.runs, ask.params["sha256"]
    if download.SHA256.fullmatch(sha256) is None:
        raise UsageError("a figure is named by 64 hexadecimal digits")
    await ask.run(runs.figure, await ask.run(runs.find, ask.params["ref"]), sha256)
    return await download.blob(ask, sha256, "text/html", "figure.html", download.FIGURE_HEADERS)


def blob_url(sha256: str, media_type: str | None) -> str:
    """The address of a blob, relative to the API."""
    return f"blobs/{sha256}" + (f"?type={quote(media_type, safe='/')}" if media_type else "")


REF_FILE = "/runs/{ref}/files/{path:path}"

ENDPOINTS = (
    Endpoint(
        "GET",
        "/runs/{ref}/console",
        "read",
        console,
        "Captured lines.",
        query={
            "from": Annotated[int, "first line"],
            "limit": Annotated[int, "at most"],
            "tail": Annotated[bool, "the last ones"],
            "rank": Annotated[int, "of this rank"],
            "q": Annotated[str, "text in them"],
        },
        answer=ConsolePage,
    ),
    Endpoint(
        "GET",
        "/runs/{ref}/media",
        "read",
        media,
        "Texts, images, tables, histograms and other things with a step.",
        query={
            "name": Annotated[str, "of this name"],
            "step_min": Annotated[float, "from this step on"],
            "step_max": Annotated[float, "up to this step"],
            "limit": Annotated[int, "at most"],
        },
        answer=MediaList,
    ),
    Endpoint(
        "GET",
        "/runs/{ref}/figures/{sha256}",
        "read",
        figure,
        "A document that the run logged as figure or HTML, with its scripts, for a frame of the dashboard.",
        user_content=True,
        media_type="text/html",
        query={"sign": Annotated[str, "a signature in place of the header"]},
        answer=Raw("the document"),
    ),
    Endpoint("GET", "/runs/{ref}/files", "read", files, "Files of a run.", answer=FileList),
    Endpoint(
        "GET",
        REF_FILE,
        "read",
        file,
        "One file.",
        user_content=True,
        media_type="*/*",
        answer=Raw("its bytes, in a sandbox"),
    ),
    Endpoint("DELETE", REF_FILE, "log", delete_file, "Delete one file.", answer=DeletedFile),
    Endpoint(
        "GET",
        "/blobs/{sha256}",
        "read",
        blob,
        "Bytes by their hash, in a sandbox.",
        user_content=True,
        media_type="*/*",
        query={
            "type": Annotated[str, "media type to answer with"],
            "name": Annotated[str, "file name to answer with"],
            "sign": Annotated[str, "a signature in place of the header"],
        },
        answer=Raw("the bytes"),
    ),
)
