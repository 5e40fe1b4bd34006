"""Text as Discord's Markdown: what a program wrote stays text, and its links stay links.

A backslash before a link's letters would become part of the link, and none is needed there: Discord reads a link to its end.
"""

import re
from collections.abc import Sequence

from farwatch.bridges.base import Part
from farwatch.bridges.carried import whole

GUARD = "\u200b"  # seen by nobody: keeps three ticks apart, which nothing else does within a block
_ANYWHERE = re.compile(
    r"(?P<link>https?://[^\s<]*[^<.,:;\"'\]\s])|[\\`*\[\]<~|]|(?<![^\W_])_|_(?![^\W_])|:(?=\w*[a-z_]\w*:)", re.IGNORECASE
)
_AT_THE_START = re.compile(r"^([ \t]*)([#>+\-])|^([ \t]*\d{1,9})([.)])(?=\s|$)", re.MULTILINE)


def escaped(text: str) -> str:
    """A text that is shown as it stands."""
    text = _ANYWHERE.sub(lambda found: found[0] if found["link"] else f"\\{found[0]}", text)
    return _AT_THE_START.sub(lambda found: f"{found[1]}\\{found[2]}" if found[2] else f"{found[3]}\\{found[4]}", text)


def rendered(parts: Sequence[Part]) -> str:
    """Parts as the content of one message. `markdown` of a person goes as it is; `html` is shown as it stands."""
    pieces: list[str] = []
    for part in parts:
        text = _rendered(Part(whole(part.text), part.style))
        if part.style == "block" and pieces and not pieces[-1].endswith("\n"):
            pieces.append("\n")
        pieces.append(text)
    return "".join(pieces).strip("\n")


def units(parts: Sequence[Part]) -> int:
    """Length of the content in UTF-16 units; Discord counts no stricter."""
    return len(rendered(parts).encode("utf-16-le")) // 2


def _rendered(part: Part) -> str:
    if part.style == "markdown" or not part.text:
        return part.text
    if part.style == "bold":  # emphasis does not go over lines, nor begin or end with a space
        return re.sub(r"\S(?:[^\n]*\S)?", lambda found: f"**{escaped(found[0])}**", part.text)
    if part.style == "code" and "\n" not in part.text and part.text.strip():
        fence = "`" * (max((len(found) for found in re.findall("`+", part.text)), default=0) + 1)
        gap = " " if part.text.startswith("`") or part.text.endswith("`") else ""
        return f"{fence}{gap}{part.text}{gap}{fence}"
    if part.style in ("code", "block") and part.text.strip():
        return f"```\n{_unfenced(part.text)}\n```\n"
    return escaped(part.text)


def _unfenced(text: str) -> str:
    """The inside of a block: no three ticks follow each other, and none ends it."""
    text = text.replace("``", f"`{GUARD}`").strip("\n")
    return text + GUARD if text.endswith("`") else text
