"""How Telegram reads the text of a message: HTML, MarkdownV2, the old Markdown, entities, and what it takes out.

Written after core.telegram.org/bots/api (Formatting options) and the parsers of tdlib (`MessageEntity.cpp`), whose words the errors are.
Offsets within the errors are in bytes, those of entities in UTF-16 units.
"""

import html
import re
from typing import Any

Span = tuple[int, int, str]  # start, end (in characters), type

_TAGS = {
    "b": "bold", "strong": "bold", "i": "italic", "em": "italic", "s": "strikethrough", "strike": "strikethrough", "del": "strikethrough",
    "u": "underline", "ins": "underline", "tg-spoiler": "spoiler", "span": "spoiler", "a": "text_link", "code": "code", "pre": "pre",
    "tg-emoji": "custom_emoji", "blockquote": "blockquote",
}  # fmt: skip
TYPES = frozenset(_TAGS.values()) | {
    "mention", "hashtag", "cashtag", "bot_command", "url", "email", "phone_number", "text_mention", "expandable_blockquote", "date_time",
}  # fmt: skip
_RESERVED = frozenset("_*[]()~`>#+-=|{}.!")
_NAMES = {
    "bold": "Bold", "italic": "Italic", "underline": "Underline", "strikethrough": "Strikethrough", "spoiler": "Spoiler",
    "code": "Code", "pre": "Pre", "text_link": "TextUrl",
}  # fmt: skip
_ENDS = {
    "bold": "*", "italic": "_", "underline": "__", "strikethrough": "~", "spoiler": "||", "code": "`", "pre": "```", "text_link": "]",
}  # fmt: skip
_BEGINS = {  # the longer before what it begins with
    "pre": "```", "underline": "__", "spoiler": "||", "bold": "*", "italic": "_", "strikethrough": "~", "code": "`", "text_link": "[",
}  # fmt: skip
_INVISIBLE = re.compile("[\r\u0333\u033f\u030a\u2028-\u202e]")  # taken out by `clean_input_string`
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")  # become spaces


class Unreadable(Exception):
    """Raised for text that Telegram does not take; the message is its description."""


def read(text: str, parse_mode: str, entities: Any) -> tuple[str, list[dict[str, Any]]]:
    """What is shown, and its entities. Raises `Unreadable`."""
    mode = parse_mode.lower()
    if mode not in ("", "html", "markdownv2", "markdown"):
        raise Unreadable("unsupported parse_mode")
    if not mode:
        spans = _given(text, entities)
    else:
        try:
            text, spans = {"html": _html, "markdownv2": _markdown, "markdown": _old_markdown}[mode](text)
        except Unreadable as error:
            raise Unreadable(f"can't parse entities: {error}") from None
    text, spans = _trimmed(*_cleaned(text, spans))
    return text, [{"type": kind, "offset": units(text[:a]), "length": units(text[a:b])} for a, b, kind in sorted(spans)]


def units(text: str) -> int:
    """Length in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _given(text: str, entities: Any) -> list[Span]:
    place, places = 0, {}
    for index, letter in enumerate(text):
        places[place] = index
        place += units(letter)
    places[place] = len(text)
    spans = []
    for one in entities or []:
        if not isinstance(one, dict) or one.get("type") not in TYPES:
            raise Unreadable("can't parse MessageEntity: wrong type")
        start, length = one.get("offset"), one.get("length")
        if not isinstance(start, int) or not isinstance(length, int) or start < 0 or length < 0 or start + length > place:
            raise Unreadable("entity has an incorrect offset or length")
        if start not in places or start + length not in places:
            raise Unreadable(f"entity beginning at UTF-16 offset {start} ends in a middle of a UTF-16 symbol")
        spans.append((places[start], places[start + length], str(one["type"])))
    return spans


def _cleaned(text: str, spans: list[Span]) -> tuple[str, list[Span]]:
    """Without what Telegram takes out."""
    text = _CONTROL.sub(" ", text)
    gone = [found.start() for found in _INVISIBLE.finditer(text)]

    def moved(place: int) -> int:
        return place - sum(1 for one in gone if one < place)

    return _INVISIBLE.sub("", text), [(moved(a), moved(b), kind) for a, b, kind in spans]


def _trimmed(text: str, spans: list[Span]) -> tuple[str, list[Span]]:
    short = text.strip()
    lead = len(text) - len(text.lstrip())
    kept = [(max(a - lead, 0), min(b - lead, len(short)), kind) for a, b, kind in spans]
    return short, [one for one in kept if one[0] < one[1] and short[one[0] : one[1]].strip()]


def _html(text: str) -> tuple[str, list[Span]]:
    opened: list[Any] = []
    out, spans, place = "", [], 0
    for found in re.finditer(r"<(/?)([^\s>/]*)([^>]*)(>?)", text):
        out += _decoded(text[place : found.start()])
        closing, tag, rest, end = found.groups()
        tag, at = tag.lower(), len(text[: found.start()].encode())
        if not end:
            raise Unreadable(f"Unclosed {'end' if closing else 'start'} tag at byte offset {at}")
        if closing:
            if not opened:
                raise Unreadable(f"Unexpected end tag at byte offset {at}")
            name, start, kind = opened.pop()
            if tag not in ("", name):
                raise Unreadable(f'Unmatched end tag at byte offset {at}, expected "</{name}>", found "</{tag}>"')
            spans.append((start, len(out), kind))
        else:
            if tag not in _TAGS:
                raise Unreadable(f'Unsupported start tag "{tag}" at byte offset {at}')
            if tag == "span" and 'class="tg-spoiler"' not in rest:
                raise Unreadable(f'Tag "span" must have class "tg-spoiler" at byte offset {at}')
            opened.append((tag, len(out), _TAGS[tag]))
        place = found.end()
    if opened:
        raise Unreadable(f'Can\'t find end tag corresponding to start tag "{opened[-1][0]}"')
    return out + _decoded(text[place:]), spans


def _decoded(text: str) -> str:
    """Telegram knows four names and all numbers."""
    return re.sub(r"&(?:lt|gt|amp|quot|#\d+|#[xX][0-9a-fA-F]+);", lambda found: html.unescape(found.group()), text)


def _markdown(text: str) -> tuple[str, list[Span]]:
    opened: list[Any] = []
    out, spans, i = "", [], 0
    while i < len(text):
        letter, top = text[i], opened[-1][0] if opened else ""
        if letter == "\\" and i + 1 < len(text) and 0 < ord(text[i + 1]) <= 126:
            out, i = out + text[i + 1], i + 2
            continue
        special = "`" if top in ("code", "pre") else _RESERVED
        if letter not in special:
            out, i = out + letter, i + 1
            continue
        mark = _ENDS.get(top, "")
        if mark and text.startswith(mark, i) and not (top == "italic" and text.startswith("__", i)):
            kind, start, _ = opened.pop()
            spans.append((start, len(out), kind))
            i += len(mark)
            if kind == "text_link" and text.startswith("(", i):
                i = _behind_link(text, i)
            continue
        if top in ("code", "pre"):
            out, i = out + letter, i + 1
            continue
        at_start_of_line = i == 0 or text[i - 1] == "\n"
        if letter == ">" and at_start_of_line:
            i += 1
            continue
        begins = next((kind for kind, mark in _BEGINS.items() if text.startswith(mark, i)), "")
        if not begins:
            raise Unreadable(f"Character '{letter}' is reserved and must be escaped with the preceding '\\'")
        opened.append((begins, len(out), len(text[:i].encode())))
        i += len(_BEGINS[begins])
        if begins == "pre":
            language = re.compile(r"[^\s`]+(?=\s)").match(text, i)
            i = language.end() if language else i
            i += text.startswith("\n", i)
    if opened:
        raise Unreadable(f"Can't find end of {_NAMES[opened[-1][0]]} entity at byte offset {opened[-1][2]}")
    return out, spans


def _behind_link(text: str, i: int) -> int:
    end = re.compile(r"\((?:\\.|[^)\\])*\)", re.DOTALL).match(text, i)
    if end is None:
        raise Unreadable(f"Can't find end of a URL at byte offset {len(text[:i].encode())}")
    return end.end()


def _old_markdown(text: str) -> tuple[str, list[Span]]:
    """The notation of `parse_mode=Markdown`, which Telegram keeps for old programs: nothing is nested."""
    out, spans, i = "", [], 0
    kinds = {"_": "italic", "*": "bold", "`": "code", "[": "text_link"}
    while i < len(text):
        letter = text[i]
        if letter == "\\" and text[i + 1 : i + 2] in ("_", "*", "`", "["):
            out, i = out + text[i + 1], i + 2
            continue
        if letter not in kinds:
            out, i = out + letter, i + 1
            continue
        mark = "```" if text.startswith("```", i) else "]" if letter == "[" else letter
        start = i + (3 if mark == "```" else 1)
        end = text.find(mark, start)
        if end < 0:
            raise Unreadable(f"Can't find end of the entity starting at byte offset {len(text[:i].encode())}")
        spans.append((len(out), len(out) + end - start, "pre" if mark == "```" else kinds[letter]))
        out, i = out + text[start:end], end + len(mark)
        if letter == "[" and text.startswith("(", i):
            i = _behind_link(text, i)
    return out, spans
