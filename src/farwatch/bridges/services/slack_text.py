"""Text as Slack's rich text: styles stand beside the words, so no name of a run can become markup, a mention or another's link.

Slack's older notation has no way to write `*` or `_` as they are. Beside the rich text goes a plain one for notifications, in which `&`,
`<` and `>` are escaped: unescaped, `<!channel>` would call everybody.
"""

import re
from collections.abc import Sequence
from typing import Any

from farwatch.bridges.base import Part, shorten
from farwatch.bridges.services.carried import whole
from farwatch.bridges.services.slices import text_of

FALLBACK_MAX = 700  # characters; escaped, they are within the 4,000 that an edit may have
_LINK = re.compile(r"https?://[^\s<>]*[^\s<>.,:;!?'\")\]}]")  # rich text makes no links by itself
_STYLE = {"bold": {"bold": True}, "code": {"code": True}}

Element = dict[str, Any]


def units(parts: Sequence[Part]) -> int:
    """Length in UTF-16 units."""
    text = text_of(parts)
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def blocks(parts: Sequence[Part]) -> list[Element]:
    """Parts as one block of rich text. `markdown` and `html` of a person are shown as they stand: Slack knows neither."""
    found: list[Element] = []
    line: list[Element] = []
    after_block = False
    for part in parts:
        text = whole(part.text)
        if part.style == "block":
            _close(line, found)
            line = []
            if text := text.strip("\n"):
                found.append({"type": "rich_text_preformatted", "elements": [{"type": "text", "text": text}]})
            after_block = True
            continue
        if after_block:  # a block ends its line by itself
            text = text.removeprefix("\n")
        if text:
            after_block = False
            line += _elements(text, part.style)
    if line:
        found.append({"type": "rich_text_section", "elements": line})
    return [{"type": "rich_text", "elements": found}]


def fallback(parts: Sequence[Part]) -> str:
    """The words for notifications, escaped."""
    text = shorten(whole(text_of(parts)), FALLBACK_MAX)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _close(line: list[Element], found: list[Element]) -> None:
    """End a section before a block, which begins a line by itself."""
    if line and line[-1]["type"] == "text" and line[-1]["text"].endswith("\n"):
        line[-1]["text"] = line[-1]["text"].removesuffix("\n")
        if not line[-1]["text"]:
            line.pop()
    if line:
        found.append({"type": "rich_text_section", "elements": line})


def _elements(text: str, style: str) -> list[Element]:
    """One part within a line; links become such, except in code."""
    marks = {"style": _STYLE[style]} if style in _STYLE else {}
    if style == "code":
        return [{"type": "text", "text": text, **marks}]
    found: list[Element] = []
    place = 0
    for link in _LINK.finditer(text):
        if link.start() > place:
            found.append({"type": "text", "text": text[place : link.start()], **marks})
        found.append({"type": "link", "url": link[0], **marks})
        place = link.end()
    if place < len(text):
        found.append({"type": "text", "text": text[place:], **marks})
    return found
