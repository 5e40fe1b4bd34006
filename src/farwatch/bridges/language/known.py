"""Names that a text may mention: runs, knobs and commands, as people write them."""

import difflib
import re
from collections.abc import Collection, Mapping

from farwatch.bridges.language import amounts
from farwatch.bridges.language.typed import HAN, Piece, fold, key
from farwatch.bridges.language.words import (
    BECOMES,
    DIVIDE,
    LEARNING_RATE,
    MULTIPLY,
    WORDS,
    Lang,
    Verb,
    meaning,
)

NEAR_MAX = 500  # names among which the nearest is looked for
WORD_MAX = 40  # letters of a word that are compared
PREFIX_MIN = 4  # letters of a run's id that select it

NAME = re.compile(r"[^\W\d][\w.-]{0,99}")
RUN = re.compile(r"(?:[^\s#\"'=<>]{1,128})?#[0-9]{1,9}|[^\W_][\w./-]{0,127}")
NUMBERED = re.compile(r"(?:[^\s#\"'=<>]{1,128})?#[0-9]{1,9}")
_NOT = re.compile(r"[不别没勿]|n[o']t\b|never")
_AFTER_NAME = tuple({*BECOMES, *DIVIDE, *MULTIPLY, "除以", "乘以", "乘", "除"})


class Known:
    """What is known where a text was written; `None` for knobs or commands that are not known. Looking up is by `typed.key`.

    `kinds`: the types of knobs, where they are known.
    """

    def __init__(self, knobs: Collection[str] | None, commands: Collection[str] | None, runs: Collection[str]) -> None:
        self.kinds: dict[str, str] = {name: str(kind) for name, kind in knobs.items()} if isinstance(knobs, Mapping) else {}
        self.knobs = None if knobs is None else _by_key(knobs)
        self.commands = None if commands is None else _by_key(commands)
        self.runs = _by_key(runs)
        self._longest_first = sorted(self.knobs or (), key=len, reverse=True)

    # --- runs

    def run(self, text: str) -> str | None:
        """A run that a text names beyond doubt: by `#12`, by its name or id, or by four letters or more with which just one id begins."""
        text = text.strip()
        at = key(text)
        known = self.runs.get(at) or self.runs.get(at.replace(" ", "-"))  # `calm heron`
        if known is not None or NUMBERED.fullmatch(text):
            return known or text
        begin = fold(text)
        if len(begin) < PREFIX_MIN or not begin.isascii() or not begin.isalnum() or begin.isalpha() or begin.isdigit():
            return None  # words and numbers mean other things
        found = {name for at, name in self.runs.items() if at.startswith(begin)}
        return found.pop() if len(found) == 1 else text if found else None

    def run_piece(self, piece: Piece) -> str | None:
        """The same for a word of a line that may be something else."""
        if piece.name is not None or (not piece.quoted and (meaning(piece.text) or amounts.number(piece.text) is not None)):
            return None
        return None if key(piece.text) in (self.knobs or ()) else self.run(piece.text)

    # --- knobs

    def knob(self, text: str) -> tuple[str, str] | None:
        """The knob that a text begins with, and the rest; the longest name that fits. Any name, where knobs are not known."""
        folded = fold(text)
        for word in self._longest_first:
            if (rest := _after(text, folded, word)) is not None:
                return (self.knobs or {})[word], rest
        for word in LEARNING_RATE:
            if (rest := _after(text, folded, word)) is not None and (name := self.learning_rate()) is not None:
                return name, rest
        if self.knobs is None:
            found = NAME.match(text)
            if found is not None:
                return found[0], text[found.end() :].strip()
            if text[:1] in _OPEN and (end := text.find(text[0], 1)) > 0:
                return text[1:end], text[end + 1 :].strip()
        return None

    def learning_rate(self) -> str | None:
        """The knob that is the learning rate; `lr`, where knobs are not known."""
        if self.knobs is None:
            return "lr"
        for wanted in ("lr", "learningrate"):
            for folded, name in self.knobs.items():
                if re.sub(r"[ _-]", "", folded) == wanted:
                    return name
        return None

    def kind(self, name: str) -> str | None:
        """The type of a knob; that of a learning rate is a number."""
        known = self.kinds.get(name)
        return known or ("float" if key(name) in LEARNING_RATE else None)

    # --- commands, and what comes near

    def command(self, piece: Piece) -> str | None:
        """The command of the program that a word is."""
        return None if piece.name is not None or self.commands is None else self.commands.get(key(piece.text))

    def nearest(self, word: str, among: Collection[str] | None = None) -> tuple[str, ...]:
        """At most two: among `among`, else among the words of the same language and the names of knobs and commands."""
        if _NOT.search(fold(word)):
            return ()  # nobody who says not to is asked whether to
        han = HAN.search(word) is not None
        if among is None:
            lang: Lang = "zh" if han else "en"
            words = [word for verb, listed in WORDS[lang].items() if verb is not Verb.CONFIRM for word in listed]
            among = [*words, *(self.commands or ()), *(self.knobs or ())]
        names = list(among)[:NEAR_MAX]
        found = difflib.get_close_matches(fold(word)[:WORD_MAX], names, 2, 0.45 if han else 0.6)
        return tuple((self.knobs or {}).get(one) or (self.commands or {}).get(one) or one for one in found)


_OPEN = ('"', "'", "`")


def _by_key(names: Collection[str]) -> dict[str, str]:
    return {at: name for name in names if (at := key(name))}


def _after(text: str, folded: str, name: str) -> str | None:
    """What follows a name with which a text begins, also in quotes; None if it is only the beginning of another name."""
    if text[:1] in _OPEN and folded.startswith(name, 1) and text[1 + len(name) : 2 + len(name)] == text[0]:
        return text[2 + len(name) :].strip()
    if not folded.startswith(name):
        return None
    rest = text[len(name) :]
    begins, ends = rest[:1], name[-1]
    if begins == "/":
        goes_on = rest[1:2] not in ("", " ", ".") and not rest[1:2].isdigit()
    elif begins.isalnum():
        scripts = {HAN.match(begins) is not None, HAN.match(ends) is not None}
        goes_on = len(scripts) == 1 and not (True in scripts and rest.startswith(_AFTER_NAME))
    else:
        goes_on = begins != "" and begins in "_.-"
    return None if goes_on else rest.strip()
