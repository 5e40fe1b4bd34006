"""What people type, before anybody asks what it means: its normal form, whom it is for, and its pieces.

Phones write full-width digits, smart quotes, long dashes and marks that nobody sees. All of that is made alike here, once.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

TEXT_MAX = 1_000  # characters that a command may have; its arguments have to fit 1,400 bytes

HAN = re.compile(r"[\u3400-\u9fff]")
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202c\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]")
# Controls, halves of characters, and what turns the order of letters round: a number would not be what it looks like.
_HIDDEN = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202d\u202e\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]")
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"), "-")
_POINT = re.compile(r"(?<=\d)[。\u066b](?=\d)")  # a Chinese full stop, or the Arabic decimal point, within a number
_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "”": "”", "‘": "’", "「": "」", "『": "』", "«": "»"}
# Traditional characters of the words of this language. One for one, so that places in a text stay where they are.
_SIMPLE = str.maketrans(
    "狀態運參數線圖誌顯開啟暫繼續復儲設調強殺靜關閉幫學習時鐘確認語過結終檢點訓練進減單畫為兩個檔",
    "状态运参数线图志显开启暂继续复储设调强杀静关闭帮学习时钟确认语过结终检点训练进减单画为两个档",
)


def normal(text: str) -> str:
    """The same text with digits, letters, dashes and spaces as a plain keyboard writes them.

    NFKC, but superscripts and fractions stay what they are: `5²` must not become 52. Digits of any script become those of ASCII.
    """
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", text)
    if any(unicodedata.category(letter) == "No" for letter in text):
        parts = re.split(f"([{re.escape(''.join(sorted(set(filter(_odd, text)))))}])", text)
        text = "".join(part if len(part) == 1 and _odd(part) else unicodedata.normalize("NFKC", part) for part in parts)
    else:
        text = unicodedata.normalize("NFKC", text)
    text = text.translate(_DASHES)
    text = "".join(letter if letter.isascii() else _digit(letter) for letter in text)
    return _POINT.sub(".", text)


def _odd(letter: str) -> bool:
    return unicodedata.category(letter) == "No"


def _digit(letter: str) -> str:
    value = unicodedata.decimal(letter, None)
    return letter if value is None else str(value)


def fold(text: str) -> str:
    """Lower case and simplified characters; as many letters as before."""
    lower = text.lower()
    if len(lower) != len(text):  # a few letters have a lower case of two
        lower = "".join(one if len(one.lower()) != 1 else one.lower() for one in text)
    return lower if lower.isascii() else lower.translate(_SIMPLE)


def key(name: str) -> str:
    """What two names have in common that people would call the same: for looking up what somebody has typed."""
    return fold(" ".join(normal(name).split()))


def has_hidden(text: str) -> bool:
    """Whether a text holds what is not seen and cannot be left out without a doubt about what was meant."""
    return _HIDDEN.search(text) is not None


def for_us(text: str, *, prefix: str | None, names: Collection[str], group: bool) -> str | None:
    """What is left of a normal text without mention, prefix and slash; None if it is for somebody else, or for nobody.

    `group`: only a mention or the prefix makes it ours.
    """
    ours = {key(name).removeprefix("@") for name in names} - {""}
    rest, named = text.strip(), False
    if rest.startswith("@"):
        after = _without_mention(rest, ours)
        if after is None:
            return None
        rest, named = after, True
    else:
        head, _, last = rest.rpartition("@")
        if head[-1:].isspace() and fold(last) in ours:
            rest, named = head.rstrip(), True
    prefixed = prefix == "/" and rest.startswith("/")
    if prefix and prefix != "/" and (after := _without_prefix(rest, prefix)) is not None:
        rest, prefixed = after, True
    if rest.startswith("/"):
        rest = rest[1:].lstrip()
        word = rest.split(maxsplit=1)[0] if rest else ""
        command, at, bot = word.partition("@")
        if at:  # `/stop@bot`
            if fold(bot) not in ours:
                return None
            rest, named = command + rest[len(word) :], True
    return None if group and not named and not prefixed else rest.strip()


def _without_mention(text: str, ours: Iterable[str]) -> str | None:
    folded = fold(text)
    for name in sorted(ours, key=len, reverse=True):
        if folded.startswith(name, 1):
            rest = text[1 + len(name) :]
            begins = rest[:1]
            if not begins or begins.isspace() or begins in ",:;" or (name.isascii() and HAN.match(begins)):
                return rest.lstrip(",:; \t\r\n\u2028\u2029")
    return None


def _without_prefix(text: str, prefix: str) -> str | None:
    wanted = key(prefix)
    if not wanted or not fold(text).startswith(wanted):
        return None
    rest = text[len(wanted) :]
    if wanted[-1].isalnum() and rest[:1].isalnum() and not HAN.match(rest):
        return None
    return rest.lstrip(",:; \t")


@dataclass(frozen=True, slots=True)
class Piece:
    """A word of a line. `quoted`: it stood in quotes, so it is no word of the language. `name`: of `name=value`, else None."""

    text: str
    quoted: bool = False
    name: str | None = None


def split(line: str) -> list[Piece] | None:
    """The words of a line; what stands in quotes is one, and `name = value` too. None for a quote that is not closed."""
    pieces: list[Piece] = []
    at = 0
    while at < len(line):
        if line[at].isspace():
            at += 1
            continue
        if line[at] in _QUOTES:
            end = _closing(line, at)
            if end < 0:
                return None
            pieces.append(Piece(line[at + 1 : end], quoted=True))
            at = end + 1
            continue
        found = _PAIR.match(line, at)
        if found is not None and line[found.end() : found.end() + 1] in _OPENING:
            end = _closing(line, found.end())
            if end < 0:
                return None
            pieces.append(Piece(line[found.end() + 1 : end], quoted=True, name=found[1]))
            at = end + 1
            continue
        word = _WORD.match(line, found.end() if found is not None else at)
        text = word[0] if word is not None else ""
        pieces.append(Piece(text, name=None if found is None else found[1]))
        at = (found.end() if found is not None else at) + len(text)
    return pieces


_PAIR = re.compile(r"([^\W\d][\w.-]{0,99})\s*=(?![=<>])\s*")
_WORD = re.compile(r"\S+")
_OPENING = tuple(_QUOTES)  # a tuple: an empty text is in every string


def _closing(line: str, at: int) -> int:
    """Where the quote that opens at `at` is closed, with nothing but a space after it; -1 if it is not."""
    closes = _QUOTES[line[at]]
    end = line.find(closes, at + 1)
    while end >= 0 and line[end + 1 : end + 2].strip().strip(",.;!。<>=≤≥"):
        end = line.find(closes, end + 1)
    return end
