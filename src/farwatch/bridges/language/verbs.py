"""What may follow each verb. A line is read by one `Verbs`, which keeps the run that it names."""

import re
from collections.abc import Sequence
from fractions import Fraction

from farwatch.bridges.language import amounts
from farwatch.bridges.language.asked import Asked, Condition
from farwatch.bridges.language.known import NAME, RUN, Known
from farwatch.bridges.language.misread import Misread, Reason
from farwatch.bridges.language.typed import HAN, Piece, fold, key, split
from farwatch.bridges.language.words import (
    BECOMES,
    BEFORE_RUN,
    BETWEEN,
    BY_TWO,
    DIVIDE,
    FILLERS,
    LANG_NAMES,
    MULTIPLY,
    Lang,
    Verb,
    meaning,
)
from farwatch.wire.ids import SHORT_ID_LENGTH

LINES_MAX = 1_000
METRICS_MAX = 8
METRIC_MAX = 200  # characters
GIVEN_MAX = 32  # arguments of a call or a start
RUN_MAX = 128

_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CODE = re.compile(r"[0-9]{4,8}")
_CONDITION = re.compile(r"(.+?) ?(<=|>=|<|>|≤|≥|小于|大于|低于|高于|\bbelow\b|\babove\b|\bunder\b|\bover\b) ?(\S+)")
_BECOMES = re.compile(rf" ?(:?=(?![=<>])|:|to\b|{'|'.join(BECOMES)}) ?")
_GLUED_SPAN = re.compile(r"(.+?)((?:最近|过去|近).+)")
_DIRECTION = re.compile(r"(降低|提高|降|升|减半|翻倍) ?(.*)")
_SIGNS = {"≤": "<=", "≥": ">=", "小于": "<", "低于": "<", "below": "<", "under": "<", "大于": ">", "高于": ">", "above": ">", "over": ">"}
RUN_ONLY = frozenset({Verb.STATUS, Verb.GPU, Verb.STOP, Verb.PAUSE, Verb.UNPAUSE, Verb.CHECKPOINT, Verb.KILL})


class Verbs:
    """Reads what follows a verb, or the name of a knob or a command. `lang`, `run`: of the line, as far as it has been read."""

    def __init__(self, known: Known, lang: Lang) -> None:
        self.known = known
        self.lang: Lang = lang
        self.run: str | None = None

    def wrong(self, reason: Reason, word: str = "", near: tuple[str, ...] = (), verb: Verb | None = None) -> Misread:
        """A `Misread` in the language of the line."""
        return Misread(reason, self.lang, word, near, verb)

    def after(self, verb: Verb, word: str, rest: str, *, glued: bool) -> Asked | Misread:
        """What `rest` makes of a verb that was written as `word`. `glued`: without a space between them, as in Chinese."""
        pieces = split(rest)
        if pieces is None:
            return self.wrong(Reason.QUOTE)
        if glued and HAN.match(rest) and verb in _NO_HAN and self.known.run(rest) is None:
            return self.wrong(Reason.WORD, word + rest, self.known.nearest(word + rest))
        if verb in RUN_ONLY:
            return self._run_only(verb, rest, pieces)
        if verb in _BY_PIECES:
            return _BY_PIECES[verb](self, word, pieces)
        if verb is Verb.SET:
            return self._set(rest, pieces)
        rest = text_of(self.take_run(pieces))
        return _BY_TEXT[verb](self, word, rest) if verb in _BY_TEXT else self._bare(verb, rest)

    def take_run(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces without the run that the first or the last of them names."""
        left = list(pieces)
        for at in (0, -1):
            if self.run is None and left and (run := self.known.run_piece(left[at])) is not None:
                self.run = run
                del left[at]
                if at == -1 and left and not left[-1].quoted and fold(left[-1].text) in BEFORE_RUN:
                    del left[-1]
        return left

    def _bare(self, verb: Verb, rest: str) -> Asked | Misread:
        return self.wrong(Reason.MANY, rest, verb=verb) if rest else Asked(verb, self.lang)

    # --- verbs of a run

    def _run_only(self, verb: Verb, rest: str, pieces: Sequence[Piece]) -> Asked | Misread:
        runs = self.known.runs
        left = [one for one in pieces if one.quoted or fold(one.text) not in FILLERS or key(one.text) in runs]
        if not left:
            return Asked(verb, self.lang)
        if self.run is None and (run := self.known.run(rest)) is not None:
            return Asked(verb, self.lang, run=run)
        if len(left) == 2 and not left[0].quoted and fold(left[0].text) in BEFORE_RUN:
            del left[0]
        [piece, *more] = left
        if self.run is not None or more or piece.name is not None or not 0 < len(piece.text.strip()) <= RUN_MAX:
            return self.wrong(Reason.MANY, rest, verb=verb)
        if not piece.quoted and piece.text.isdigit() and len(piece.text) < SHORT_ID_LENGTH and key(piece.text) not in runs:
            return self.wrong(Reason.NUMBERED, piece.text, verb=verb)
        if not piece.quoted and not RUN.fullmatch(piece.text):
            return self.wrong(Reason.MANY, rest, verb=verb)
        return Asked(verb, self.lang, run=self.known.run(piece.text) or piece.text)

    def _params(self, _: str, rest: str) -> Asked | Misread:
        if not rest:
            return Asked(Verb.PARAMS, self.lang)
        knob = self.known.knob(rest)
        if knob is not None and not knob[1]:
            return Asked(Verb.PARAMS, self.lang, name=knob[0])
        return self.wrong(Reason.KNOB, rest, self.known.nearest(rest, self.known.knobs or ()), Verb.PARAMS)

    def _log(self, _: str, rest: str) -> Asked | Misread:
        if not rest:
            return Asked(Verb.LOG, self.lang)
        count = amounts.lines(rest)
        if count is None:
            if self.run is None and RUN.fullmatch(rest) and not rest[:1].isdigit():
                return Asked(Verb.LOG, self.lang, run=rest)
            return self.wrong(Reason.MANY, rest, verb=Verb.LOG)
        if not 1 <= count <= LINES_MAX:
            return self.wrong(Reason.RANGE, rest, verb=Verb.LOG)
        return Asked(Verb.LOG, self.lang, lines=count)

    def _plot(self, _: str, pieces: Sequence[Piece]) -> Asked | Misread:
        left, seconds = _without_span([part for piece in pieces for part in _before_span(piece)])
        left = self.take_run(left)
        metrics: list[str] = []
        for piece in left:
            if piece.name is not None:
                return self.wrong(Reason.MANY, text_of([piece]), verb=Verb.PLOT)
            if piece.quoted:
                metrics.append(piece.text)
            elif fold(piece.text) not in BETWEEN:
                metrics += [name for name in re.split("[,、;]", piece.text) if name]
        if len(metrics) > METRICS_MAX or any(not 0 < len(name.strip()) <= METRIC_MAX for name in metrics):
            return self.wrong(Reason.MANY, text_of(left), verb=Verb.PLOT)
        return Asked(Verb.PLOT, self.lang, metrics=tuple(dict.fromkeys(metrics)), seconds=seconds)

    # --- knobs

    def _set(self, rest: str, pieces: Sequence[Piece]) -> Asked | Misread:
        if not pieces:
            return self.wrong(Reason.FEW, word=str(Verb.SET), verb=Verb.SET)
        knob = self.known.knob(rest)
        if len(pieces) > 1 and pieces[0].name is None and not pieces[0].quoted:
            run = None if knob is not None and self.known.knobs is not None else self.known.run_piece(pieces[0])
            after = rest[len(pieces[0].text) :].strip()
            later = self.known.knob(after)
            if run is None and later is not None and RUN.fullmatch(pieces[0].text):  # a run that is not known here
                unsure = self.known.knobs is None and (len(pieces) < 3 or not NAME.fullmatch(pieces[1].text) or not later[1])
                if not (unsure or (knob is not None and self.known.knobs is not None) or _BECOMES.match(after)):
                    run = pieces[0].text
            if run is not None and self.run is None:
                self.run, knob = run, later
        if knob is None:
            word = pieces[0].name or pieces[0].text
            return self.wrong(Reason.KNOB, word, self.known.nearest(word, self.known.knobs or ()), Verb.SET)
        if not knob[1]:
            return self.wrong(Reason.FEW, rest, verb=Verb.SET)
        return self.knob_line(*knob, surely=True)

    def knob_line(self, name: str, rest: str, *, surely: bool = False) -> Asked | Misread:
        """What follows the name of a knob: a value, a factor, nothing. `surely`: it is to be set, so that any text may be a value."""
        if not rest:
            return Asked(Verb.PARAMS, self.lang, name=name)
        pieces = split(rest)
        if pieces is None:
            return self.wrong(Reason.QUOTE)
        rest = text_of([*pieces[:1], *self.take_run(pieces[1:])])
        becomes = _BECOMES.match(fold(rest))
        if becomes is not None:
            surely = surely or becomes[1].endswith("=")
            return self._value(name, rest[becomes.end() :].strip(), surely=surely)
        if self.known.kind(name) != "str":
            operation = amounts.operation(rest)
            if operation is not None:
                return self._scale_by(name, operation[1], divide=operation[0] == "/")
            direction = _DIRECTION.fullmatch(fold(rest))
            if direction is not None:
                return self._direct(name, direction[1], rest[len(direction[1]) :].strip())
        return self._value(name, rest, surely=surely)

    def _value(self, name: str, rest: str, *, surely: bool) -> Asked | Misread:
        pieces = split(rest)
        if not pieces:
            return self.wrong(Reason.FEW if pieces == [] else Reason.QUOTE, name, verb=Verb.SET)
        text, kind = text_of(pieces), self.known.kind(name)
        plain = amounts.number(text)
        if plain is not None and kind != "str":
            return Asked(Verb.SET, self.lang, name=name, value=plain)
        if len(pieces) > 1:
            return self.wrong(Reason.MANY, text, verb=Verb.SET)
        [piece] = pieces
        value = piece.text if piece.name is None else f"{piece.name}={piece.text}"
        folded = fold(value)
        if not value:
            return self.wrong(Reason.FEW, name, verb=Verb.SET)
        if kind == "str" and not (surely or piece.quoted or plain is not None):
            return self.wrong(Reason.ASSIGN, f"{name}={value}", verb=Verb.SET)
        if kind == "str" or (kind is None and piece.quoted and surely):
            return Asked(Verb.SET, self.lang, name=name, value=value)
        if kind in (None, "bool") and folded in amounts.ON | amounts.OFF:
            return Asked(Verb.SET, self.lang, name=name, value="on" if folded in amounts.ON else "off")
        if kind == "bool":
            return self.wrong(Reason.SWITCH, value, verb=Verb.SET)
        if kind is not None or not surely or folded in amounts.NOT_FINITE or value[0].isdigit():
            return self.wrong(Reason.NUMBER, value, verb=Verb.SET)
        return Asked(Verb.SET, self.lang, name=name, value=value)

    def _scale(self, word: str, pieces: Sequence[Piece]) -> Asked | Misread:
        """`scale lr 0.5`, `lower 3`, `降 3`, `降到 1e-4`; without a name it is the learning rate."""
        rest = text_of(self.take_run(pieces))
        name = self.known.learning_rate()
        bare = not rest or rest[:1] in "0123456789.+-÷/×*" or _BECOMES.match(fold(rest)) is not None or rest == "一半"
        if not bare:
            knob = self.known.knob(rest)
            if knob is None:
                wrong = rest.split()[0]
                return self.wrong(Reason.KNOB, wrong, self.known.nearest(wrong, self.known.knobs or ()), Verb.SCALE)
            name, rest = knob
        if name is None:
            return self.wrong(Reason.KNOB, "lr", verb=Verb.SCALE)
        return self._direct(name, word, rest)

    def _direct(self, name: str, word: str, rest: str) -> Asked | Misread:
        becomes = _BECOMES.match(fold(rest))
        if becomes is not None:
            return self._value(name, rest[becomes.end() :].strip(), surely=False)
        if word in BY_TWO:
            return self.wrong(Reason.MANY, rest, verb=Verb.SCALE) if rest else self._scale_by(name, "2", divide=word in DIVIDE)
        if not rest:
            return self.wrong(Reason.FEW, word, verb=Verb.SCALE)
        if word not in DIVIDE and word not in MULTIPLY:
            operation = amounts.operation(rest)
            sign, rest = operation if operation is not None else ("*", re.sub(r"^by\s+", "", rest, flags=re.IGNORECASE))
            return self._scale_by(name, rest, divide=sign == "/")
        if rest == "一半" and word in DIVIDE:
            return self._scale_by(name, "2", divide=True)
        by = amounts.factor(rest.removesuffix("倍").strip())
        if by is None or by <= 1 or "%" in rest:  # "down by 0.5", "down by 10 %": who knows
            return self.wrong(Reason.FACTOR, rest, verb=Verb.SCALE)
        return self._scale_by(name, rest, divide=word in DIVIDE)

    def _scale_by(self, name: str, text: str, *, divide: bool) -> Asked | Misread:
        by = amounts.factor(text.removesuffix("倍").strip())
        if by is None:
            many = len(text.split()) > 1 and amounts.factor(text.split()[0]) is not None
            return self.wrong(Reason.MANY if many else Reason.FACTOR, text, verb=Verb.SCALE)
        return Asked(Verb.SCALE, self.lang, name=name, factor=Fraction(1) / by if divide else by)

    # --- programs

    def _call(self, word: str, pieces: Sequence[Piece]) -> Asked | Misread:
        left = list(pieces)
        if left and self.known.command(left[0]) is None and (run := self.known.run_piece(left[0])) is not None and self.run is None:
            self.run = run
            del left[0]
        if not left:
            return self.wrong(Reason.FEW, word, verb=Verb.CALL)
        name = self.known.command(left[0])
        if name is None and (self.known.commands is not None or left[0].name is not None or not NAME.fullmatch(left[0].text)):
            wrong = left[0].name or left[0].text
            return self.wrong(Reason.COMMAND, wrong, self.known.nearest(wrong, self.known.commands or ()), Verb.CALL)
        return self.command_line(name or left[0].text, left[1:], surely=True)

    def command_line(self, name: str, pieces: Sequence[Piece], *, surely: bool = False) -> Asked | Misread:
        """A command of the program with what follows its name. `surely`: it is to be called, so that any word may be an argument."""
        left = list(pieces)
        if left and not left[-1].quoted and self.run is None and (run := self.known.run_piece(left[-1])) is not None:
            self.run = run
            del left[-1]
        values: list[str] = []
        pairs: dict[str, str] = {}
        for piece in left:
            value = _given(piece)
            if piece.name is None and not surely and not piece.quoted and value == piece.text and not _is_value(value):
                return self.wrong(Reason.MANY, text_of(left), verb=Verb.CALL)  # a sentence that begins with its name
            if (bad := self._bad(piece, value, pairs, Verb.CALL)) is not None:
                return bad
            if piece.name is None:
                values.append(value)
            else:
                pairs[piece.name] = value
        if len(left) > GIVEN_MAX:
            return self.wrong(Reason.MANY, text_of(left), verb=Verb.CALL)
        return Asked(Verb.CALL, self.lang, name=name, values=tuple(values), pairs=tuple(pairs.items()))

    def _start(self, _: str, pieces: Sequence[Piece]) -> Asked | Misread:
        left = [one for one in pieces if one.quoted or one.name is not None or fold(one.text) not in FILLERS]
        profile: str | None = None
        if left and left[0].name is None:
            profile = left.pop(0).text
            if not _PROFILE.fullmatch(profile):
                return self.wrong(Reason.MANY, profile, verb=Verb.START)
        pairs: dict[str, str] = {}
        for piece in left:
            value = _given(piece)
            if piece.name is None:
                return self.wrong(Reason.MANY, text_of(left), verb=Verb.START)
            if (bad := self._bad(piece, value, pairs, Verb.START)) is not None:
                return bad
            pairs[piece.name] = value
        if len(left) > GIVEN_MAX:
            return self.wrong(Reason.MANY, text_of(left), verb=Verb.START)
        return Asked(Verb.START, self.lang, name=profile, pairs=tuple(pairs.items()))

    def _bad(self, piece: Piece, value: str, pairs: dict[str, str], verb: Verb) -> Misread | None:
        if piece.name in pairs:
            return self.wrong(Reason.TWICE, piece.name or "", verb=verb)
        if not value and not piece.quoted:
            return self.wrong(Reason.FEW, piece.name or "", verb=verb)
        if not piece.quoted and fold(value) in amounts.NOT_FINITE:
            return self.wrong(Reason.NUMBER, value, verb=verb)
        return None

    # --- what a chat is told

    def _mute(self, _: str, rest: str) -> Asked | Misread:
        rest = re.sub(r"^for\s+", "", rest, flags=re.IGNORECASE)
        if not rest:
            return Asked(Verb.MUTE, self.lang)
        if fold(rest) in amounts.OFF:
            return Asked(Verb.UNMUTE, self.lang)
        seconds = amounts.duration(rest)
        return self._no_time(rest, Verb.MUTE) if seconds is None else Asked(Verb.MUTE, self.lang, seconds=seconds)

    def _every(self, word: str, rest: str) -> Asked | Misread:
        if not rest:
            return self.wrong(Reason.FEW, word, verb=Verb.EVERY)
        if fold(rest) in amounts.OFF:
            return Asked(Verb.EVERY, self.lang, off=True)
        steps = amounts.steps(rest)
        if steps is not None:
            return Asked(Verb.EVERY, self.lang, steps=steps)
        seconds = amounts.duration(rest)
        return self._no_time(rest, Verb.EVERY) if seconds is None else Asked(Verb.EVERY, self.lang, seconds=seconds)

    def _no_time(self, rest: str, verb: Verb) -> Misread:
        return self.wrong(Reason.UNIT if amounts.number(rest) is not None else Reason.MANY, rest, verb=verb)

    def _watch(self, _: str, rest: str) -> Asked | Misread:
        if not rest:
            return Asked(Verb.WATCH, self.lang)
        if fold(rest) in amounts.OFF:
            return Asked(Verb.WATCH, self.lang, off=True)
        found = _CONDITION.fullmatch(rest)
        metric = split(found[1]) if found is not None else None
        if found is None or not metric or len(metric) > 1 or metric[0].name is not None or not 0 < len(metric[0].text) <= METRIC_MAX:
            return self.wrong(Reason.CONDITION, rest, verb=Verb.WATCH)
        plain = amounts.number(found[3])
        if plain is None:
            return self.wrong(Reason.NUMBER, found[3], verb=Verb.WATCH)
        sign = _SIGNS.get(fold(found[2]), found[2])
        return Asked(Verb.WATCH, self.lang, condition=Condition(metric[0].text, sign, float(plain)))

    def _lang(self, _: str, rest: str) -> Asked | Misread:
        if not rest:
            return Asked(Verb.LANG, self.lang)
        name = LANG_NAMES.get(fold(rest))
        if name is None:
            return self.wrong(Reason.MANY, rest, self.known.nearest(rest, LANG_NAMES), Verb.LANG)
        return Asked(Verb.LANG, self.lang, name=name)

    def _help(self, _: str, rest: str) -> Asked | Misread:
        if not rest or fold(rest) == "me":
            return Asked(Verb.HELP, self.lang)
        known = meaning(rest)
        return self.wrong(Reason.MANY, rest, verb=Verb.HELP) if known is None else Asked(Verb.HELP, self.lang, name=str(known[0]))

    def _confirm(self, word: str, rest: str) -> Asked | Misread:
        if not rest:
            return self.wrong(Reason.FEW, word, verb=Verb.CONFIRM)
        return Asked(Verb.CONFIRM, self.lang, code=rest) if _CODE.fullmatch(rest) else self.wrong(Reason.MANY, rest, verb=Verb.CONFIRM)

    def _cancel(self, _: str, rest: str) -> Asked | Misread:
        if rest and not _CODE.fullmatch(rest):
            return self.wrong(Reason.MANY, rest, verb=Verb.CANCEL)
        return Asked(Verb.CANCEL, self.lang, code=rest or None)


_BY_PIECES = {Verb.PLOT: Verbs._plot, Verb.SCALE: Verbs._scale, Verb.CALL: Verbs._call, Verb.START: Verbs._start}
_BY_TEXT = {
    Verb.PARAMS: Verbs._params, Verb.LOG: Verbs._log, Verb.MUTE: Verbs._mute, Verb.EVERY: Verbs._every, Verb.WATCH: Verbs._watch,
    Verb.LANG: Verbs._lang, Verb.HELP: Verbs._help, Verb.CONFIRM: Verbs._confirm, Verb.CANCEL: Verbs._cancel,
}  # fmt: skip
# Right behind these, more Chinese makes another word of them: `停了吗` asks, `图片太大` has nothing to do with charts.
_NO_HAN = frozenset(Verb) - {Verb.SET, Verb.SCALE, Verb.MUTE, Verb.EVERY, Verb.LANG}


def text_of(pieces: Sequence[Piece]) -> str:
    """Pieces as a text again, with quotes where they had some."""
    words = []
    for piece in pieces:
        quote = '"' if '"' not in piece.text else "'" if "'" not in piece.text else "`"
        text = f"{quote}{piece.text}{quote}" if piece.quoted else piece.text
        words.append(text if piece.name is None else f"{piece.name}={text}")
    return " ".join(words)


def _given(piece: Piece) -> str:
    """An argument: a number in its plain form, unless it was quoted."""
    return piece.text if piece.quoted else amounts.number(piece.text) or piece.text


def _is_value(text: str) -> bool:
    return amounts.number(text) is not None or fold(text) in amounts.ON | amounts.OFF | amounts.NOT_FINITE


def _before_span(piece: Piece) -> list[Piece]:
    """`loss最近2小时` as two words."""
    if piece.quoted or piece.name is not None or amounts.span(piece.text) is not None:
        return [piece]
    found = _GLUED_SPAN.fullmatch(piece.text)
    return [piece] if found is None or amounts.span(found[2]) is None else [Piece(found[1]), Piece(found[2])]


def _without_span(pieces: Sequence[Piece]) -> tuple[list[Piece], float | None]:
    """Pieces without the `last 2h` at their end, or before a run at their end; and its seconds."""
    for end in (len(pieces), len(pieces) - 1):
        for begin in range(max(0, end - 5), end):
            part = pieces[begin:end]
            if any(piece.quoted or piece.name is not None for piece in part):
                continue
            seconds = amounts.span(" ".join(piece.text for piece in part))
            if seconds is not None:
                return [*pieces[:begin], *pieces[end:]], seconds
    return list(pieces), None
