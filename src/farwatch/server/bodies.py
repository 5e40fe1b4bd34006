"""Request bodies: counted while they come, and JSON that cannot be a bomb."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.types import Receive

from farwatch.errors import BodyError, ContactError, LimitError, UsageError
from farwatch.settings import Settings

NUMBER_DIGITS = 64
DRAINED_BYTES = 64 << 20  # so much of a body that is refused is taken and dropped: who is still sending hears no answer
DRAINED_IDLE_S = 1.0
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# An unfinished string matches up to the end: if it failed, every quote in it would be tried again, in quadratic time.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET = bytes(byte for byte in range(256) if byte not in b"[]{}")


async def read(receive: Receive, headers: dict[str, str], limit: int, idle_s: float) -> bytes:
    """All bytes of the body. Raises what `pieces` does."""
    return b"".join([piece async for piece in pieces(receive, headers, limit, idle_s)])


async def pieces(receive: Receive, headers: dict[str, str], limit: int, idle_s: float) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises `LimitError` where more than `limit` bytes are announced or have come; `ContactError` (408) if nothing comes for `idle_s`
    seconds; `BodyError` if the client leaves.
    """
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced[:20]) > limit:
        if int(announced[:20]) <= DRAINED_BYTES:
            await _drain(receive)
        raise LimitError(f"the request body may have {limit} bytes, not {announced[:20]}")
    size = 0
    while True:
        try:
            message = await asyncio.wait_for(receive(), idle_s)
        except TimeoutError:
            raise ContactError("the request body did not come", status=408) from None
        if message["type"] == "http.disconnect":
            raise BodyError("the request body was cut short")
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            if message.get("more_body", False):
                await _drain(receive)
            raise LimitError(f"the request body may have {limit} bytes")
        yield piece
        if not message.get("more_body", False):
            return


async def _drain(receive: Receive) -> None:
    """Take what is left of a body that is refused, up to `DRAINED_BYTES`, until its client has sent it or sends nothing."""
    left = DRAINED_BYTES
    while left > 0:
        try:
            message = await asyncio.wait_for(receive(), DRAINED_IDLE_S)
        except TimeoutError:
            return
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))


def _integer(text: str) -> int:
    if len(text) > NUMBER_DIGITS:
        raise UsageError(f"a number with more than {NUMBER_DIGITS} digits")
    return int(text)


def _real(text: str) -> float:
    if len(text) > NUMBER_DIGITS:
        raise UsageError(f"a number with more than {NUMBER_DIGITS} digits")
    return float(text)


def _check_depth(body: bytes, limit: int) -> None:
    """Raise `UsageError` for brackets nested deeper than `limit`, before anything is built.

    Every pass takes away the innermost pairs, so what is left after `limit` passes is deeper. All loops run in C: a body of nothing but
    brackets or quotes costs no more than any other of its size.
    """
    if body.count(b"[") + body.count(b"{") <= limit:
        return
    brackets = _STRING.sub(b"", body).translate(_AS_SQUARE, _NO_BRACKET)
    for _ in range(limit):
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            return  # nothing is left, or the pairs do not match, which the parser will say
        brackets = fewer
    if b"[" in brackets:
        raise UsageError(f"JSON is nested deeper than {limit}")


def _whole(value: Any) -> Any:
    """The same value without lone surrogates, which no UTF-8 answer could carry."""
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


def parse(body: bytes, settings: Settings) -> Any:
    """JSON of a request. Raises `UsageError` for bytes that are none, too deep, or with endless numbers."""
    _check_depth(body, settings.json_depth_max)
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_int=_integer, parse_float=_real)
    except UsageError:
        raise
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request body is no JSON: {str(error)[:100]}") from None
    return _whole(value) if _ESCAPED_SURROGATE.search(body) else value
