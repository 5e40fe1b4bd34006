"""User content on its way out: by hash, in a sandbox, with names that cannot break a header.

The sandbox is a header of the answer, not an attribute of somebody's frame: without `allow-scripts` and `allow-same-origin`, whatever the
bytes are, they run nothing and read nothing of ours. Interactive figures are programs: they run, but in an origin of their own that no
cookie, no storage and no address belongs to, and only in a frame of our page.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import Response

from farwatch.errors import ForbiddenError
from farwatch.server.route import Ask
from farwatch.server.sending import PIECE, Pieces

SHA256 = re.compile(r"[0-9a-f]{64}")
SANDBOX = "sandbox; default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; font-src data:; frame-ancestors 'self'"
# Scripts that stand in the document, and nothing from anywhere. Vega and WebGL plots compile functions, hence eval: whoever may write
# the scripts gains nothing by it. `default-src` does not cover forms. A frame cannot leave for another host either: this policy
# and the one of our page both say where it may go. No policy of content covers WebRTC, whose first packet goes to any address; browsers
# that know `Connection-Allowlist` send none.
FIGURE = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: blob:; font-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'"
)
FIGURE_HEADERS = {
    "Content-Security-Policy": FIGURE,
    "Connection-Allowlist": "()",
    "X-DNS-Prefetch-Control": "off",
}
INLINE = {
    *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/svg+xml"),
    *("audio/wav", "audio/x-wav", "audio/mpeg", "audio/ogg", "audio/flac", "audio/webm", "audio/mp4"),
    *("video/mp4", "video/webm", "video/ogg", "application/json", "application/pdf"),
    *("text/plain", "text/csv", "text/markdown", "text/html"),
}
PROGRAMS = re.compile(r"(java|ecma|live|j)script|wasm|xml(?!.*svg)|x-httpd|shockwave|manifest")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def refuse_programs(ask: Ask) -> None:
    """Raise `ForbiddenError` where a browser wants to run what it fetches: service workers, scripts, styles, plug-ins."""
    if ask.headers.get("service-worker") is not None:
        raise ForbiddenError("no uploaded file becomes a service worker")
    wanted = ask.headers.get("sec-fetch-dest", "")
    if wanted in (
        "script",
        "serviceworker",
        "worker",
        "sharedworker",
        "audioworklet",
        "paintworklet",
        "style",
        "object",
        "embed",
        "xslt",
        "manifest",
    ):
        raise ForbiddenError(f"no uploaded file becomes a program: `{wanted}`")


def media_type_of(asked: str | None) -> str:
    """The type to answer with: one of a short list, else text for programs, else plain bytes."""
    plain = (asked or "").partition(";")[0].strip().lower()
    if plain in INLINE:
        return plain + "; charset=utf-8" if plain.startswith("text/") else plain
    if PROGRAMS.search(plain) or plain.startswith("text/"):
        return "text/plain; charset=utf-8"
    return "application/octet-stream"


def disposition(name: str, *, inline: bool) -> str:
    """A `Content-Disposition` after RFC 6266: an ASCII name for old readers, the real one beside it, no other character."""
    clean = (
        "".join(letter if letter.isprintable() and letter not in "/\\" else "_" for letter in name)[:200]
        or "file"
    )
    plain = "".join(letter if letter.isascii() and letter not in '"%;' else "_" for letter in clean)
    encoded = quote(clean.encode("utf-8", "replace"), safe="")
    return f"{'inline' if inline else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte (inclusive) of a `Range` header with one range; None for the whole file.

    Several ranges, and what cannot be read, get the whole file, as RFC 9110 allows: nothing is sorted or merged. An unsatisfiable range
    gives `(-1, -1)`.
    """
    match = _RANGE.fullmatch(header) if header is not None and len(header) < 64 else None
    if match is None or (not match[1] and not match[2]):
        return None
    if not match[1]:
        wanted = min(int(match[2]), size)
        return (size - wanted, size - 1) if wanted else (-1, -1)
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return None
    return (first, last) if first < size else (-1, -1)


async def blob(
    ask: Ask, sha256: str, media_type: str | None, name: str, more: Mapping[str, str] | None = None
) -> Response:
    """The bytes with a hash, with `more` headers than those of the sandbox. Raises `NotFoundError` if there are none."""
    file: BinaryIO = await ask.run(ask.services.blobs.open, sha256)
    answered = media_type_of(media_type)
    headers = {
        "Content-Security-Policy": SANDBOX,
        "Vary": "Sec-Fetch-Dest",  # what was kept for a frame is not for a window of its own
        "Content-Disposition": disposition(
            name, inline=answered.partition(";")[0] in INLINE and not ask.flag("download")
        ),
        "Content-Type": answered,
        "Accept-Ranges": "bytes",
        "ETag": f'"{sha256}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "X-Sha256": sha256,
        **(more or {}),
    }
    return _answer(ask.headers, file, headers, sha256, head=ask.scope["method"] == "HEAD")


def _answer(
    asked: Mapping[str, str], file: BinaryIO, headers: dict[str, str], sha256: str, *, head: bool
) -> Response:
    etag = f'"{sha256}"'
    size = os.fstat(file.fileno()).st_size
    if etag in asked.get("if-none-match", "")[:1_000]:
        file.close()
        return Response(status_code=304, headers=headers)
    wanted = asked.get("range") if asked.get("if-range", etag) == etag else None
    chosen = byte_range(wanted, size)
    if chosen == (-1, -1):
        file.close()
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    first, last = chosen or (0, size - 1)
    headers["Content-Length"] = str(last - first + 1)
    if chosen is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    if head or size == 0:
        file.close()
        return Response(status_code=206 if chosen else 200, headers=headers)
    return Pieces(_pieces(file, first, last), 206 if chosen else 200, headers)


def _pieces(file: BinaryIO, first: int, last: int) -> Iterator[bytes]:
    """Bytes of an open file; it closes with the answer, finished or not."""
    with file:
        file.seek(first)
        left = last - first + 1
        while left > 0:
            piece = file.read(min(PIECE, left))
            if not piece:
                return
            left -= len(piece)
            yield piece
