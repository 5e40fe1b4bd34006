"""What a person asks for, as a value; and the text that asks for it."""

from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction

from farwatch.bridges.language import amounts
from farwatch.bridges.language.typed import fold
from farwatch.bridges.language.words import PASSED_OVER, Lang, Verb, word_of


@dataclass(frozen=True, slots=True)
class Condition:
    """When somebody wants to be told. `sign`: `<`, `<=`, `>` or `>=`."""

    metric: str
    sign: str
    value: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for. `text`: as written; `lang`: of the words used, else of the chat.

    `run`: what selects a run, as in `runs` where it is one of these, else as typed (`k3f9xq2`, `#12`, `digits#12`); None if none is named.
    What else is there, by verb:

    | verb | fields |
    | --- | --- |
    | params | `name`: one knob, or None for all |
    | plot | `metrics`, none for the usual ones; `seconds`: so far back, None for all |
    | log | `lines`, None for the usual number |
    | start | `name`: the profile, or None; `pairs`: its parameters |
    | set | `name`: the knob, `value`: a number in its plain form, `on`, `off`, or text |
    | scale | `name`, `factor`: multiply by it, see `amounts.times` |
    | call | `name`, `pairs`: arguments by name, `values`: those without |
    | mute | `seconds`, None for the usual time |
    | watch | `condition`, `off`; neither: list them, or follow `run` |
    | every | `seconds` or `steps` or `off` |
    | lang | `name`: `en` or `zh`, None to ask |
    | help | `name`: a verb, or None |
    | confirm | `code` |
    | cancel | `code`, or None |
    | choose | `number` of a list, or `run` |
    """

    verb: Verb
    lang: Lang
    text: str = ""
    run: str | None = None
    name: str | None = None
    value: str | None = None
    factor: Fraction | None = None
    metrics: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    values: tuple[str, ...] = ()
    condition: Condition | None = None
    seconds: float | None = None
    steps: int | None = None
    lines: int | None = None
    number: int | None = None
    code: str | None = None
    off: bool = False


def write(asked: Asked, lang: Lang | None = None) -> str:
    """A text that `read` understands as the same, where the names in it are known there; for buttons, and to say what was understood.

    Raises `ValueError` for a name with all three kinds of quotes in it.
    """
    lang = lang or asked.lang
    words = _scale(asked, lang) if asked.verb is Verb.SCALE else [word_of(asked.verb, lang), *_arguments(asked, lang)]
    if asked.run is not None:  # where no argument can be taken for it
        words.insert(1 if asked.verb is Verb.CALL else len(words), _quoted(asked.run))
    return " ".join(word for word in words if word)


def _arguments(asked: Asked, lang: Lang) -> list[str]:
    zh = lang == "zh"
    match asked.verb:
        case Verb.PLOT:
            back = [] if asked.seconds is None else [("最近" if zh else "last ") + amounts.spell(asked.seconds)]
            return [*map(_quoted, asked.metrics), *back]
        case Verb.SET:
            return [_quoted(asked.name or ""), "=", _quoted(asked.value or "")]
        case Verb.LOG:
            return [] if asked.lines is None else [str(asked.lines)]
        case Verb.START | Verb.CALL | Verb.PARAMS:
            name = [] if asked.name is None else [_quoted(asked.name)]
            values = (_quoted(value, always=amounts.number(value) != value) for value in asked.values)
            return [*name, *values, *(f"{key}={_argument(value)}" for key, value in asked.pairs)]
        case Verb.WATCH if asked.condition is not None:
            one = asked.condition
            return [_quoted(one.metric), one.sign, repr(one.value)]
        case Verb.MUTE | Verb.EVERY | Verb.WATCH:
            return _when(asked, zh)
        case Verb.LANG | Verb.HELP:
            return [] if asked.name is None else [asked.name]
        case Verb.CONFIRM | Verb.CANCEL:
            return [] if asked.code is None else [asked.code]
        case Verb.CHOOSE:
            return [] if asked.number is None else [str(asked.number)]
        case _:
            return []


def _when(asked: Asked, zh: bool) -> list[str]:
    if asked.off:
        return ["关" if zh else "off"]
    if asked.steps is not None:
        return [f"{asked.steps} 步" if zh else f"{asked.steps} steps"]
    return [] if asked.seconds is None else [amounts.spell(asked.seconds)]


def _scale(asked: Asked, lang: Lang) -> list[str]:
    """A factor as it is, or its inverse, whichever has an end as a decimal number: one that was typed has in one of the two ways."""
    by = asked.factor or Fraction(1)
    divide = (by < 1 and (1 / by).denominator == 1) or not _ends(by)
    digits = _digits(1 / by if divide else by)
    name = _quoted(asked.name or "")
    if lang == "zh" and (1 / by if divide else by) > 1:
        return ["降" if divide else "升", name, digits]
    return ["缩放" if lang == "zh" else "scale", name, "÷" if divide else "×", digits]


def _ends(number: Fraction) -> bool:
    return bool(10**64 % number.denominator == 0)


def _digits(number: Fraction) -> str:
    with localcontext(prec=80):
        return f"{Decimal(number.numerator) / Decimal(number.denominator):f}"


PLAIN = frozenset("-_./#+")


def _argument(value: str) -> str:
    """The value of an argument, in quotes where it would be changed or refused otherwise."""
    return _quoted(value, always=amounts.number(value) not in (None, value) or fold(value) in amounts.NOT_FINITE)


def _quoted(text: str, *, always: bool = False) -> str:
    """A name or a value, in quotes where it would be taken apart or passed over otherwise."""
    always = always or fold(text) in PASSED_OVER or amounts.span(text) is not None
    if text and not always and text[-1] != "." and all(letter.isalnum() or letter in PLAIN for letter in text):
        return text
    for quote in "\"'`":
        if quote not in text:
            return f"{quote}{text}{quote}"
    raise ValueError("a name with every kind of quotes cannot be written")
