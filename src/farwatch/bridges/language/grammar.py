"""The one chat language: what a person types, in English or Chinese, as a value that the rest of Farwatch understands.

Pure: no clock, no database, no service. A text is a command only if all of it parses; whatever is left over makes it a `Misread`,
which says what would be right. `read` understands, `write` is its opposite, for buttons and for saying what was understood.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from farwatch.bridges.language import amounts
from farwatch.bridges.language.asked import Asked, Condition, write
from farwatch.bridges.language.known import NAME, Known
from farwatch.bridges.language.misread import Misread, Reason
from farwatch.bridges.language.typed import HAN, TEXT_MAX, Piece, fold, for_us, has_hidden, normal, split
from farwatch.bridges.language.verbs import Verbs
from farwatch.bridges.language.words import (
    HAN_WORDS,
    LOOK,
    MEANING,
    POLITE,
    READS,
    WORDS,
    Lang,
    Verb,
    meaning,
)

__all__ = ["Asked", "Condition", "Misread", "Reason", "read", "write"]

CHOICE_MAX = 999  # of a numbered list; longer numbers are codes

_CHOICE = re.compile(r"(?:第 ?)?([0-9]+) ?[个号条)]?")
_CODE = re.compile(r"[0-9]{4,8}")
_ASSIGNS = re.compile(r" ?(:?=(?![=<>])|:)")
_ENDS = " .。!,;~、…"


def read(
    text: str,
    *,
    prefix: str | None = None,
    names: Collection[str] = (),
    group: bool = False,
    knobs: Collection[str] | None = None,
    commands: Collection[str] | None = None,
    runs: Collection[str] = (),
    lang: Lang = "en",
) -> Asked | Misread | None:
    """What a text asks for; None if it is empty, or for somebody else.

    Never raises for a text, whatever is in it, and takes less than 5 ms.

    Args:
        prefix: What may stand before a command, such as `!fw`; a slash may always.
        names: Of the bot, with or without `@`: for `@bot stop`, `stop @bot`, `/stop@bot`. A mention of anybody else makes the text theirs.
        group: Only what begins with the prefix, or mentions the bot, is for us. Not for an answer to one of our messages.
        knobs: That the runs in question have; a mapping gives the type of each (`float`, `int`, `bool`, `str`), and text is then taken for
            `str` alone. None: not known, names are not checked.
        commands: That their programs declare. None: not known.
        runs: Ids, short ids and names by which runs are known here. Others are taken where nothing else can be meant.
        lang: Of the chat, for texts without a word of either language.
    """
    long = len(text) > TEXT_MAX
    typed = normal(text[:TEXT_MAX])
    ours = for_us(typed, prefix=prefix, names=names, group=group)
    if not ours:
        return None
    spoken: Lang = "zh" if HAN.search(ours) else lang
    if long or len(ours) > TEXT_MAX:
        return Misread(Reason.LONG, spoken)
    if len(ours.splitlines()) > 1:
        return Misread(Reason.LINES, spoken)
    if has_hidden(text):
        return Misread(Reason.HIDDEN, spoken)
    found = _Line(Known(knobs, commands, runs), spoken).read(" ".join(ours.split()))
    return replace(found, text=text) if isinstance(found, Asked) else found


class _Line:
    """Reads one line. *Threads*: one; made for each line."""

    def __init__(self, known: Known, lang: Lang) -> None:
        self._known = known
        self._verbs = Verbs(known, lang)

    def read(self, line: str) -> Asked | Misread:
        """The whole line, with its courtesies and its last mark."""
        body = line.rstrip(_ENDS + "?")
        asking = "?" in line[len(body) :]
        if not body:
            return Asked(Verb.HELP, self._verbs.lang) if asking else self._verbs.wrong(Reason.WORD, line)
        found = self._line(_without_courtesy(body))
        if isinstance(found, Asked):
            if found.run is None and self._verbs.run is not None:
                found = replace(found, run=self._verbs.run)
            if asking and found.verb not in READS:
                return Misread(Reason.QUESTION, found.lang, body, verb=found.verb)
        return found

    def _line(self, line: str) -> Asked | Misread:
        """A number, a run, a run and what to do with it, a verb, a knob, a command; in this order."""
        if (number := _CHOICE.fullmatch(line)) is not None:
            return self._choice(number[1])
        pieces = split(line)
        if not pieces:
            return self._verbs.wrong(Reason.QUOTE if pieces is None else Reason.WORD, line)
        first = pieces[0]
        known = meaning(first.text) if not first.quoted and first.name is None else None
        if known is not None:
            return self._verb(*known, line, len(first.text), glued=False)
        if self._verbs.run is None:
            if (run := self._known.run(line if len(pieces) > 1 else first.text)) is not None and first.name is None:
                return Asked(Verb.CHOOSE, self._verbs.lang, run=run)
            if len(pieces) > 1 and not first.quoted and (run := self._known.run_piece(first)) is not None:
                self._verbs.run = run
                return self._line(line.split(maxsplit=1)[1])
        if (found := self._knob(line)) is not None:
            return found
        if not first.quoted and (command := self._known.command(first)) is not None:
            return self._verbs.command_line(command, pieces[1:])
        return self._glued(line, pieces)

    def _choice(self, digits: str) -> Asked | Misread:
        if len(digits) <= len(str(CHOICE_MAX)) and int(digits) > 0:
            return Asked(Verb.CHOOSE, self._verbs.lang, number=int(digits))
        return self._verbs.wrong(Reason.CODE if _CODE.fullmatch(digits) else Reason.WORD, digits)

    def _verb(self, verb: Verb, lang: Lang, line: str, length: int, *, glued: bool) -> Asked | Misread:
        self._verbs.lang = lang
        return self._verbs.after(verb, fold(line[:length]), line[length:].strip(), glued=glued)

    def _knob(self, line: str) -> Asked | Misread | None:
        """A line that begins with a knob. Where knobs are not known, only the learning rate is one, and what is clearly given a value."""
        for text in (line, line[1:].lstrip()) if line[0] in "把将" else (line,):
            knob = self._known.knob(text)
            if knob is None:
                continue
            name, rest = knob
            other = meaning(rest)
            if other is not None and other[0] is not Verb.SCALE:  # `loss 曲线`; but `学习率减半`
                continue
            if self._known.knobs is None and self._known.kind(name) is None:
                operation = amounts.operation(rest)
                if not _ASSIGNS.match(rest) and (operation is None or amounts.factor(operation[1]) is None):
                    continue
            return self._verbs.knob_line(name, rest)
        return None

    def _glued(self, line: str, pieces: Sequence[Piece]) -> Asked | Misread:
        """A Chinese verb with something right behind it, or a chart that is named last; else nothing."""
        folded = fold(line)
        for word in HAN_WORDS:
            if not folded.startswith(word):
                continue
            verb, lang = MEANING[word]
            rest = line[len(word) :].strip()
            if rest == "吧" or (rest == "一下" and verb is not Verb.STOP):  # "stop a moment" may be a pause
                line = line[: len(word)]
            return self._verb(verb, lang, line, len(word), glued=line[len(word) : len(word) + 1] != " ")
        for look in LOOK:
            if folded.startswith(look) and len(line) > len(look):
                found = self._line(line[len(look) :].strip())
                if isinstance(found, Asked) and found.verb in READS - {Verb.CHOOSE}:
                    return found
        for word in WORDS["zh"][Verb.PLOT] + WORDS["en"][Verb.PLOT]:
            before = line[: -len(word)].removesuffix("的").strip()
            if folded.endswith(word) and before and not HAN.search(before) and len(pieces) <= 2 and " " not in before:
                return self._verb(*MEANING[word], f"{word} {before}", len(word), glued=False)
        return self._nothing(line, pieces)

    def _nothing(self, line: str, pieces: Sequence[Piece]) -> Misread:
        """The best that can be said about a line that is no command."""
        word = pieces[0].name or pieces[0].text
        near = self._known.nearest(word)
        name = NAME.match(line)
        rest = line[name.end() :].strip() if name is not None else ""
        assigned = pieces[0].name is not None or _ASSIGNS.match(rest) is not None or amounts.operation(rest) is not None
        knobs = frozenset((self._known.knobs or {}).values())
        if rest and (assigned or (amounts.number(rest) is not None and not (near and near[0] not in knobs))):
            return self._verbs.wrong(Reason.KNOB, word.rstrip(":"), self._known.nearest(word, self._known.knobs or ()), Verb.SET)
        return self._verbs.wrong(Reason.WORD, word, near)


def _without_courtesy(line: str) -> str:
    """A line without `please` and the like at its ends; the line itself if nothing else is left."""
    words = line.split()
    while words and fold(words[0]) in POLITE:
        del words[0]
    while words and fold(words[-1]).strip(",.!。") in POLITE:
        del words[-1]
    left = " ".join(words)
    for word in POLITE:
        if HAN.match(word) and left.startswith(word):
            left = left[len(word) :].strip()
    return left or line
