"""Answers: JSON that always is JSON, and compression where it pays."""

import gzip
import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from farwatch.server.sending import PIECE, Pieces, slices
from farwatch.store import zstd

SMALLEST = 1_024  # below this a compressed answer saves no packet
PAYS = 0.9
ZSTD_LEVEL = 6  # an eighth smaller than level 3 for digits, and 70 MB/s
LISTS = 128 << 10  # from here on an answer is a list of numbers more than anything else
LARGE = 1 << 20
ZSTD_LARGE_LEVEL = 1  # quicker than level 3, and no larger where the body is numbers
GZIP_LEVEL = 4


def plain(value: Any) -> Any:
    """The same value with non-finite numbers as text, NumPy scalars as numbers, and everything else that JSON lacks as text."""
    if isinstance(value, float):
        return (
            float(value)
            if math.isfinite(value)
            else "NaN"
            if value != value
            else "Infinity"
            if value > 0
            else "-Infinity"
        )
    if isinstance(value, (str, int, type(None))):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def json_bytes(value: Any) -> bytes:
    """UTF-8 JSON of any value; a lone surrogate in some stored text becomes U+FFFD and breaks nothing around it."""
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError):
        text = json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def accepted(header: str) -> str | None:
    """The encoding to answer in: `zstd` or `gzip` if the client names it with a quality above 0, else None."""
    offered = {}
    for item in header[:1_000].lower().split(","):
        name, _, parameters = item.partition(";")
        quality = parameters.partition("q=")[2].strip()
        offered[name.strip()] = quality not in ("0", "0.0", "0.00", "0.000")
    return next((name for name in ("zstd", "gzip") if offered.get(name)), None)


def compress(body: bytes, encoding: str | None) -> tuple[bytes, str | None]:
    """The body in `encoding` if that is clearly smaller, else as it is."""
    if encoding is None or len(body) < SMALLEST:
        return body, None
    if encoding == "zstd":
        level = ZSTD_LEVEL if len(body) < LISTS else zstd.DIGITS if len(body) < LARGE else ZSTD_LARGE_LEVEL
        packed = zstd.compress(body, level)
    else:
        packed = gzip.compress(body, GZIP_LEVEL, mtime=0)
    return (packed, encoding) if len(packed) < PAYS * len(body) else (body, None)


def answer(body: bytes, media_type: str, accept_encoding: str, status: int = 200) -> Response:
    """A response of bytes, compressed if the client can and it pays."""
    packed, encoding = compress(body, accepted(accept_encoding))
    headers = {"Vary": "Accept-Encoding, Accept"}
    if encoding is not None:
        headers["Content-Encoding"] = encoding
    if len(packed) <= PIECE:
        return Response(packed, status, headers, media_type)
    headers["Content-Length"] = str(len(packed))
    return Pieces(slices(packed), status, headers, media_type)
