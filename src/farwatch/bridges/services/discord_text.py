"""Text as Discord's Markdown: what a program wrote stays text, and its links stay links.

A backslash within or behind a link would become part of it, and none is needed there: Discord reads a link to its end.
"""

import re
from collections.abc import Sequence

from farwatch.bridges.base import Part
from farwatch.bridges.services.carried import whole

GUARD = "\u200b"  # seen by nobody: keeps three ticks apart, which nothing else does within a block
_ANYWHERE = re.compile(
    r"(?P<link>https?://\w[^\s<]*)(?P<next><?)|[\\`*\[\]<~|]|(?<![^\W_])_|_(?![^\W_])|:(?=(?:[\w+-]{0,60}[a-z_+-][\w+-]{0,60}|100|1234):)",
    re.IGNORECASE,
)
_LINK_AT_THE_END = re.compile(r"https?://[^\s<]+(?<!\*\*)$", re.IGNORECASE)
_AT_THE_START = re.compile(r"^([ \t]*)([#>+\-])|^([ \t]*\d{1,9})([.)])(?=\s|$)", re.MULTILINE)


def escaped(text: str) -> str:
    """A text that is shown as it stands."""
    text = _ANYWHERE.sub(_escaped, text)
    return _AT_THE_START.sub(lambda found: f"{found[1]}\\{found[2]}" if found[2] else f"{found[3]}\\{found[4]}", text)


def _escaped(found: re.Match[str]) -> str:
    if not found["link"]:
        return f"\\{found[0]}"
    return found["link"] + (" \\<" if found["next"] else "")


def rendered(parts: Sequence[Part]) -> str:
    """Parts as the content of one message. `markdown` of a person goes as it is; `html` is shown as it stands."""
    content = ""
    for part in _joined(parts):
        text = _rendered(part)
        if part.style == "block" and content and not content.endswith("\n"):
            content += "\n"
        elif _LINK_AT_THE_END.search(content) and text and not text[0].isspace():
            content += " "  # what comes next would become part of the link
        content += text
    return content.strip("\n")


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbours of one style as one part: only together they show what they would begin."""
    found: list[Part] = []
    for part in parts:
        style = "plain" if part.style == "html" else part.style
        text = whole(part.text)
        if found and found[-1].style == style and style != "block":
            text = found.pop().text + text
        if text:
            found.append(Part(text, style))
    return found


def units(parts: Sequence[Part]) -> int:
    """Length of the content in UTF-16 units; Discord counts no stricter."""
    return len(rendered(parts).encode("utf-16-le")) // 2


def _rendered(part: Part) -> str:
    if part.style == "markdown" or not part.text:
        return part.text
    if part.style == "bold":
        return re.sub(r"\S(?:[^\n]*\S)?", lambda found: _bold(found[0]), part.text)
    if part.style == "code" and "\n" not in part.text and part.text.strip():
        fence = "`" * (max((len(found) for found in re.findall("`+", part.text)), default=0) + 1)
        gap = " " if part.text.startswith("`") or part.text.endswith("`") else ""
        return f"{fence}{gap}{part.text}{gap}{fence}"
    if part.style in ("code", "block") and part.text.strip():
        return f"```\n{_unfenced(part.text)}\n```\n"
    return escaped(part.text)


def _bold(text: str) -> str:
    """One line in bold: emphasis does not go over lines, nor begin or end with a space, nor is there a way to write `*` in a link."""
    links = "".join(found[0] for found in _ANYWHERE.finditer(text) if found["link"])
    return escaped(text) if re.search(r"[*_~|`\\]", links) else f"**{escaped(text)}**"


def _unfenced(text: str) -> str:
    """The inside of a block: no three ticks follow each other, and none ends it."""
    text = text.replace("``", f"`{GUARD}`").strip("\n")
    return text + GUARD if text.endswith("`") else text
