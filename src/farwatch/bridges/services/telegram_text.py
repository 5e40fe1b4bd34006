"""What Telegram is given for the parts of a message: text with entities, cut into pieces that each stand by themselves.

Entities (offset, length, style) say how text looks beside the text instead of in it, so nothing has to be escaped and no name of a run can
become markup. Only a person's own `markdown` or `html` is sent in that notation, with everything else in it escaped, and beside it the
same words as entities for the case that Telegram refuses the notation.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from farwatch.bridges.base import Part, split

TEXT_MAX = 4096  # UTF-16 units after the markup has been taken out, as in `CAPTION_MAX`
CAPTION_MAX = 1024
_ENTITY = {"bold": "bold", "code": "code", "block": "pre"}
_RESERVED = re.compile(r"([_*\[\]()~`>#+\-=|{}.!\\])")  # core.telegram.org/bots/api, MarkdownV2 style
_IN_CODE = re.compile(r"([`\\])")


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of one message. `spans`: (start, end, type of entity) in characters of this text."""

    text: str
    spans: tuple[tuple[int, int, str], ...] = ()

    def fields(self, name: str) -> dict[str, Any]:
        """Parameters of a request; `name`: `text` or `caption`."""
        if not self.text:
            return {}
        found: dict[str, Any] = {name: self.text}
        if self.spans:
            found["entities" if name == "text" else "caption_entities"] = [
                {"type": kind, "offset": units(self.text[:start]), "length": units(self.text[start:end])}
                for start, end, kind in self.spans
            ]
        return found

    def cut(self, start: int, end: int) -> "Piece":
        """A part of it, with the styles that reach into that part."""
        inside = ((max(a, start) - start, min(b, end) - start, kind) for a, b, kind in self.spans)
        return Piece(self.text[start:end], tuple(one for one in inside if one[0] < one[1]))

    def shortened(self, limit: int) -> "Piece":
        """The beginning that fits into `limit` units, with `…` where something is missing."""
        if units(self.text) <= limit:
            return self
        kept = self.cut(0, len(split(self.text[:limit], limit - 1)[0]))
        return Piece(kept.text + "…", kept.spans)


@dataclass(frozen=True, slots=True)
class Notation:
    """A person's own markup, with everything around it escaped. `parse_mode`: as Telegram calls it."""

    text: str
    parse_mode: str

    def fields(self, name: str) -> dict[str, Any]:
        """Parameters of a request; `name`: `text` or `caption`."""
        return {name: self.text, "parse_mode": self.parse_mode}


def units(text: str) -> int:
    """Length in UTF-16 units, as Telegram counts: an emoji is two."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def whole(text: str) -> str:
    """A text that can be sent: half a UTF-16 pair, as in names of files that are no UTF-8, becomes a replacement character."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def styled(parts: Iterable[Part]) -> Piece:
    """The parts as one text with entities. A block begins and ends a line; what is in a person's notation stands there as it is."""
    text, spans, open_block = "", [], False
    for part in parts:
        piece = whole(part.text)
        if not piece:
            continue
        block = part.style == "block"
        if (block or open_block) and text and not text.endswith("\n") and not (open_block and piece.startswith("\n")):
            text += "\n"
        if kind := _ENTITY.get(part.style):
            spans.append((len(text), len(text) + len(piece), kind))
        text += piece
        open_block = block
    return Piece(text, tuple(spans))


def notation(parts: tuple[Part, ...]) -> Notation | None:
    """The parts in the notation that the first of them is written in; None where none is."""
    own = next((part.style for part in parts if part.style in ("markdown", "html")), None)
    if own is None:
        return None
    text, open_block = "", False
    for part in parts:
        block = part.style == "block"
        if (block or open_block) and text and not text.endswith("\n"):
            text += "\n"
        text += _html(part) if own == "html" else _markdown(part)
        open_block = block
    return Notation(text, "HTML" if own == "html" else "MarkdownV2")


def _html(part: Part) -> str:
    text = whole(part.text)
    if part.style == "html":
        return text
    tag = {"bold": "b", "code": "code", "block": "pre"}.get(part.style)
    escaped = html.escape(text, quote=False)
    return f"<{tag}>{escaped}</{tag}>" if tag and text else escaped


def _markdown(part: Part) -> str:
    text = whole(part.text)
    if part.style == "markdown" or not text:
        return text
    if part.style in ("code", "block"):
        inside = _IN_CODE.sub(r"\\\1", text)
        return f"`{inside}`" if part.style == "code" else f"```\n{inside}\n```"
    escaped = _RESERVED.sub(r"\\\1", text)
    return f"*{escaped}*" if part.style == "bold" else escaped


def pieces(of: Piece, limit: int = TEXT_MAX) -> list[Piece]:
    """Cut a text into pieces of at most `limit` units that join to the original, at line ends where there are some.

    A block that would be cut goes whole into the next piece if it fits there. Pieces of nothing but spaces are left out: Telegram takes
    none.
    """
    found, start = [], 0
    while start < len(of.text):
        end = start + len(split(of.text[start : start + limit + 1], limit)[0])
        if end < len(of.text):
            for a, b, kind in of.spans:
                if kind == "pre" and start < a < end < b and units(of.text[a:b]) <= limit:
                    end = a
        if of.text[start:end].strip():
            found.append(of.cut(start, end))
        start = end
    return found
