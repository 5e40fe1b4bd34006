"""Files on their way to a service: their bytes and clean names, and in words what cannot go along."""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass

from farwatch.bridges.base import Attachment, Message, Part

_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Carried:
    """A file that can go. `name`: without a folder. `picture`: shown as one."""

    name: str
    media_type: str
    content: bytes
    caption: str
    picture: bool


async def carried(message: Message, limit_bytes: int) -> tuple[list[Carried], list[str]]:
    """The picture and the files that are at most `limit_bytes` long, and a line for each of the others."""
    found: list[Carried] = []
    lines: list[str] = []
    for one in attached(message):
        try:
            size = one.size()
            if 0 < size <= limit_bytes:
                content = one.content if isinstance(one.content, bytes) else await asyncio.to_thread(one.read)
                found.append(Carried(file_name(one), media_type(one), content, one.caption, one.kind == "picture"))
                continue
        except OSError as error:
            lines.append(f"({file_name(one)}: {error.strerror or type(error).__name__})")
            continue
        lines.append(f"({file_name(one)}: {size / 1e6:,.1f} MB > {limit_bytes / 1e6:,.1f} MB)" if size else f"({file_name(one)}: 0 B)")
    return found, lines


def attached(message: Message) -> list[Attachment]:
    """The picture, then the files."""
    return [*([message.picture] if message.picture is not None else []), *message.files]


def with_lines(parts: Iterable[Part], lines: Iterable[str]) -> tuple[Part, ...]:
    """Parts of a message, and plain lines below; empty ones are left out."""
    found = tuple(part for part in parts if part.text)
    for line in lines:
        if line:
            found = (*found, Part(f"\n{line}" if found else line))
    return found


def file_name(one: Attachment) -> str:
    """Its name without a folder and without letters that end a header's line."""
    return _CONTROL.sub("_", whole(one.name).replace("\\", "/").rsplit("/", 1)[-1])[-200:] or "file"


def media_type(one: Attachment) -> str:
    """Its media type; what is none becomes that of any bytes."""
    return one.media_type if _TYPE.fullmatch(one.media_type) else "application/octet-stream"


def whole(text: str) -> str:
    """A text that can be encoded: half a UTF-16 pair, as in names of files that are no UTF-8, becomes a replacement character."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
