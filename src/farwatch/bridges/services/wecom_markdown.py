"""Text as the Markdown of WeCom's bots: what a program wrote stays text, whatever it looks like.

Their notation is that of CommonMark (headings, emphasis, lists, quotes, links, pictures, code, tables) and, beside it, `<@userid>` for
a mention. Letters that would begin such a thing get a backslash; an underscore within a word begins nothing and is left alone, since
metrics are full of them.
"""

import re
from collections.abc import Sequence

from farwatch.bridges.base import Part, split

GUARD = "\u200b"  # seen by nobody: keeps `<` and `@` apart, which a backslash may not do
_ANYWHERE = re.compile(r"[\\`*\[\]<~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
_AT_THE_START = re.compile(r"^([ \t]*)([#>+\-=|])|^([ \t]*\d{1,9})([.)])(?=\s|$)", re.MULTILINE)


def escaped(text: str) -> str:
    """A text that is shown as it stands."""
    text = _ANYWHERE.sub(r"\\\g<0>", text).replace("<@", f"<{GUARD}@")
    return _AT_THE_START.sub(lambda found: f"{found[1]}\\{found[2]}" if found[2] else f"{found[3]}\\{found[4]}", text)


def rendered(parts: Sequence[Part]) -> str:
    """Parts as one piece of Markdown."""
    pieces: list[str] = []
    for part in parts:
        if part.style == "block" and pieces and not pieces[-1].endswith("\n"):
            pieces.append("\n")
        pieces.append(_rendered(part))
    return "".join(pieces).strip("\n")


def pieces(parts: Sequence[Part], limit_bytes: int) -> list[str]:
    """Markdown in pieces of at most `limit_bytes` of UTF-8, cut between lines where there are some; none for parts without a text."""
    text = rendered(parts)
    if len(text.encode("utf-8", "replace")) <= limit_bytes:
        return [text] if text.strip() else []
    plain = "".join(part.text for part in parts)
    if len(plain) <= 1:
        return []
    at = len(split(plain, max(4, len(plain.encode("utf-8", "replace")) * 11 // 20), "bytes")[0])
    left, right = _cut(parts, at if at < len(plain) else len(plain) // 2)
    return pieces(left, limit_bytes) + pieces(right, limit_bytes)


def _rendered(part: Part) -> str:
    if part.style == "markdown":
        return part.text
    if part.style == "bold":  # emphasis does not go over lines, nor begin or end with a space
        return re.sub(r"\S(?:[^\n]*\S)?", lambda found: f"**{escaped(found[0])}**", part.text)
    if part.style == "code" and "\n" not in part.text and part.text.strip():
        fence = "`" * (_longest_ticks(part.text) + 1)
        gap = " " if part.text.startswith("`") or part.text.endswith("`") else ""
        return f"{fence}{gap}{part.text}{gap}{fence}"
    if part.style in ("code", "block"):
        fence = "`" * max(3, _longest_ticks(part.text) + 1)
        end = "" if part.text.endswith("\n") else "\n"
        return f"{fence}\n{part.text}{end}{fence}\n"
    return escaped(part.text)


def _longest_ticks(text: str) -> int:
    return max((len(found) for found in re.findall("`+", text)), default=0)


def _cut(parts: Sequence[Part], at: int) -> tuple[list[Part], list[Part]]:
    """The parts before and after a place in their joined text."""
    left: list[Part] = []
    right: list[Part] = []
    for part in parts:
        if at > 0:
            left.append(Part(part.text[:at], part.style))
        if len(part.text) > at:
            right.append(Part(part.text[max(0, at) :], part.style))
        at -= len(part.text)
    return left, right
