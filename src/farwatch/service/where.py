r"""`where` expressions: a small language of its own, parsed into a tree and never evaluated as code.

```text
expression  = and-chains joined by `or`
and-chain   = terms joined by `and`
term        = "not" term | "(" expression ")" | comparison
comparison  = value (op value)? | value ("not")? "in" (list | value) | value "matches" text
op          = == != < <= > >= ~ !~          (`=` is read as `==`; `~`: a regular expression that the text contains)
value       = number | text | true | false | null | field | "-" number
field       = config["opt/lr"] | config.opt.lr | summary["val/acc"](.max)? | summary.acc(.max)?
            | id short number name project state reason owner host group job_type parent tags notes archived step epoch? points
              bytes world_size created started ended modified contact duration attempt
list        = "[" value, … "]" | "(" value, … ")"
```

`summary.acc` is its last value; `.last .min .max .mean .count .last_step .min_step .max_step` choose others. Times, and datetimes of config
and summary, compare with milliseconds or with texts such as `"2026-01-31"` and `"2026-01-31T12:00:00Z"`; without an offset they
are UTC. What a run lacks is null: it equals null only, and every
`<`, `>`, `~` with it is false. A value alone is true if it is there and not false, zero or empty.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from farwatch.errors import QueryError
from farwatch.service.comparing import contains, equal, less, truth
from farwatch.service.regex import Pattern, compile_pattern
from farwatch.wire import moments

SIZE_MAX = 10_000  # characters
TOKENS_MAX = 1_000
DEPTH_MAX = 50

STATS = ("last", "min", "max", "mean", "count", "last_step", "min_step", "max_step", "nonfinite")
TEXTS = (
    "id",
    "short",
    "name",
    "project",
    "state",
    "reason",
    "owner",
    "host",
    "group",
    "job_type",
    "parent",
    "notes",
    "main_metric",
)
NUMBERS = ("number", "step", "points", "bytes", "world_size", "attempt", "total_steps", "main_last")
TIMES = ("created", "started", "ended", "modified", "contact")
FIELDS = (*TEXTS, *NUMBERS, *TIMES, "duration", "archived", "tags")

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<word>[A-Za-z_][\w]*)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<op>==|!=|<=|>=|!~|=~|&&|\|\||[=<>~!()\[\],.\-+])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_SYNONYMS = {"=": "==", "=~": "~", "match": "~", "matches": "~", "&&": "and", "||": "or", "!": "not"}
_WORDS = {
    "true": True,
    "false": False,
    "null": None,
    "none": None,
    "nan": math.nan,
    "inf": math.inf,
    "infinity": math.inf,
}


@dataclass(frozen=True, slots=True)
class Field:
    """A value of a run: `root` is `config`, `summary` or a column; `path` and `stat` say which."""

    root: str
    path: str = ""
    stat: str = "last"


Lookup = Callable[[Field], Any]
Test = Callable[[Lookup], bool]
Value = Callable[[Lookup], Any]


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression. `fields`: what it looks at."""

    text: str
    fields: frozenset[Field]
    test: Test

    def matches(self, lookup: Lookup | Mapping[str, Any]) -> bool:
        """Whether a run fits. `lookup`: gives a field's value, None where there is none; or a mapping by field names such as
        `state`, `config.opt/lr`, `summary.acc.max`.
        """
        if callable(lookup):
            return self.test(lookup)
        return self.test(lambda field: lookup.get(field_name(field)))

    def columns(self) -> frozenset[str]:
        """The columns that it needs besides config and summary."""
        return frozenset(field.root for field in self.fields if field.root not in ("config", "summary"))


def field_name(field: Field) -> str:
    """`state`, `config.opt/lr`, `summary.acc.max`."""
    if field.root == "config":
        return f"config.{field.path}"
    return f"summary.{field.path}.{field.stat}" if field.root == "summary" else field.root


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the text; `kind` is `number`, `word`, `text`, `op` or `end`."""

    kind: str
    value: str
    at: int


def parse(text: str) -> Expression:
    """Parse an expression; an empty one fits every run.

    Raises `QueryError`, and nothing else, for what does not parse; `details["position"]` counts characters from 0.
    """
    if len(text) > SIZE_MAX:
        raise QueryError(f"an expression of more than {SIZE_MAX} characters", position=SIZE_MAX)
    if not text.strip():
        return Expression(text, frozenset(), lambda lookup: True)
    parser = _Parser(text)
    test = parser.expression(0)
    parser.expect_end()
    return Expression(text, frozenset(parser.fields), test)


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    end = len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            while text[at].isspace():
                at += 1
            hint = "close the quotes" if text[at] in "\"'" else "texts stand in quotes"
            raise _wrong(f"this is not understood: `{text[at : at + 20]}`", at, text, hint)
        kind = str(found.lastgroup)
        yield Token(kind, found.group(kind), found.start(kind))
        at = found.end()
    yield Token("end", "", len(text))


def _wrong(message: str, at: int, text: str, hint: str) -> QueryError:
    return QueryError(f"{message}, at position {at + 1}", hint=hint, position=at, where=text[:1_000])


class _Parser:
    """Recursive descent; every rule knows how deep it stands."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.fields: set[Field] = set()
        self.tokens: list[Token] = []
        self.place = 0
        for token in _tokens(text):
            self.tokens.append(token)
            if len(self.tokens) > TOKENS_MAX:
                raise self.wrong(f"an expression of more than {TOKENS_MAX} words", "split it")

    # --- words

    @property
    def now(self) -> Token:
        return self.tokens[min(self.place, len(self.tokens) - 1)]

    def wrong(self, message: str, hint: str, at: int | None = None) -> QueryError:
        return _wrong(message, self.now.at if at is None else at, self.text, hint)

    def is_now(self, *words: str) -> bool:
        """Whether the next token is one of these operators or words (in any case)."""
        token = self.now
        if token.kind not in ("op", "word"):
            return False
        value = token.value.lower() if token.kind == "word" else token.value
        return _SYNONYMS.get(value, value) in words

    def take(self, *words: str) -> bool:
        if self.is_now(*words):
            self.place += 1
            return True
        return False

    def expect(self, word: str, hint: str) -> None:
        if not self.take(word):
            found = self.now.value[:20] or "the end"
            raise self.wrong(f"`{word}` is missing before: `{found}`", hint)

    def expect_end(self) -> None:
        if self.now.kind != "end":
            hint = (
                "join conditions with `and` or `or`; texts and names with special characters stand in quotes"
            )
            raise self.wrong(f"nothing more was expected, but: `{self.now.value[:20]}`", hint)

    def deeper(self, depth: int) -> int:
        if depth >= DEPTH_MAX:
            raise self.wrong(f"an expression nested deeper than {DEPTH_MAX}", "use fewer parentheses")
        return depth + 1

    # --- rules

    def expression(self, depth: int) -> Test:
        tests = [self.and_chain(self.deeper(depth))]
        while self.take("or"):
            tests.append(self.and_chain(depth + 1))
        return tests[0] if len(tests) == 1 else lambda lookup: any(test(lookup) for test in tests)

    def and_chain(self, depth: int) -> Test:
        tests = [self.term(depth)]
        while self.take("and"):
            tests.append(self.term(depth))
        return tests[0] if len(tests) == 1 else lambda lookup: all(test(lookup) for test in tests)

    def term(self, depth: int) -> Test:
        if self.take("not"):
            inner = self.term(self.deeper(depth))
            return lambda lookup: not inner(lookup)
        if self.take("("):
            inner = self.expression(self.deeper(depth))
            self.expect(")", "every `(` needs its `)`")
            return inner
        return self.comparison()

    def comparison(self) -> Test:
        left, kind = self.value()
        operator = self.now.value
        operator = _SYNONYMS.get(operator.lower(), operator) if self.now.kind in ("op", "word") else ""
        if operator in ("==", "!=", "<", "<=", ">", ">="):
            self.place += 1
            at = self.now.at
            right, other = self.value()
            left, right = self.as_times(left, kind, right, other, at)
            return _compare(operator, left, right)
        if operator in ("~", "!~"):
            self.place += 1
            found = _matches(left, self.pattern())
            return found if operator == "~" else lambda lookup: not found(lookup)
        if self.is_now("in"):
            self.place += 1
            return self.membership(left)
        if self.is_now("not"):
            self.place += 1
            self.expect("in", 'as in: "baseline" not in tags')
            inside = self.membership(left)
            return lambda lookup: not inside(lookup)
        return lambda lookup: truth(left(lookup))

    def as_times(self, left: Value, kind: Any, right: Value, other: Any, at: int) -> tuple[Value, Value]:
        """Turn a text compared with a time into milliseconds."""
        if kind in TIMES and isinstance(other, _Literal) and isinstance(other.value, str):
            right = _constant(self.time_ms(other.value, at))
        elif other in TIMES and isinstance(kind, _Literal) and isinstance(kind.value, str):
            left = _constant(self.time_ms(kind.value, at))
        return left, right

    def time_ms(self, text: str, at: int) -> int:
        try:
            return moments.instant_us(datetime.fromisoformat(text)) // 1000
        except ValueError:
            raise self.wrong(
                f"this is no time: `{text[:40]}`", 'write "2026-01-31" or "2026-01-31T12:00:00Z", UTC', at
            ) from None

    def pattern(self) -> Pattern:
        token = self.now
        if token.kind != "text":
            raise self.wrong("a regular expression stands in quotes", 'as in: name ~ "^cnn-"')
        self.place += 1
        try:
            return compile_pattern(_unquote(token.value))
        except QueryError as error:
            raise _wrong(
                error.message,
                token.at,
                self.text,
                error.hint or "see the documentation of regular expressions",
            ) from error

    def membership(self, left: Value) -> Test:
        close = {"[": "]", "(": ")"}.get(self.now.value) if self.now.kind == "op" else None
        if close is None:
            held, _ = self.value()
            return lambda lookup: contains(held(lookup), left(lookup))
        self.place += 1
        items: list[Value] = []
        while not self.take(close):
            if items:
                self.expect(",", "separate the values of a list with commas")
                if self.take(close):
                    break
            items.append(self.value()[0])
        return lambda lookup: contains([item(lookup) for item in items], left(lookup))

    def value(self) -> "tuple[Value, _Literal | str | None]":
        """A value, and what it is: a literal, the name of a column, or neither."""
        token = self.now
        if self.take("-"):
            return self.number(-1)
        if self.take("+"):
            return self.number(1)
        if token.kind == "number":
            return self.number(1)
        self.place += 1
        if token.kind == "text":
            text = _unquote(token.value)
            return _constant(text), _Literal(text)
        if token.kind == "word":
            return self.word(token)
        self.place -= 1
        found = "the end" if token.kind == "end" else token.value[:20]
        raise self.wrong(
            f"a value is missing before: `{found}`",
            'such as summary.acc, config["opt/lr"], state, 0.9, "text"',
        )

    def number(self, sign: int) -> "tuple[Value, _Literal | str | None]":
        token = self.now
        if token.kind == "word" and token.value.lower() in ("inf", "infinity"):
            self.place += 1
            return _constant(sign * math.inf), _Literal(sign * math.inf)
        if token.kind != "number":
            raise self.wrong("a number is missing", "as in: -0.5")
        self.place += 1
        whole = token.value.isdigit() and len(token.value) < 300
        number = sign * (int(token.value) if whole else float(token.value))
        return _constant(number), _Literal(number)

    def word(self, token: Token) -> "tuple[Value, _Literal | str | None]":
        name = token.value
        if name in ("config", "summary"):
            return self.nested(name), None
        if name.endswith("_ms") and name[:-3] in (*TIMES, "duration"):
            name = name[:-3]
        if name in FIELDS:
            return self.look(Field(name)), name
        if name.lower() in _WORDS:
            constant = _WORDS[name.lower()]
            return _constant(constant), _Literal(constant)
        near = _nearest(name)
        hint = (
            f"did you mean `{near}`?"
            if near
            else f'texts stand in quotes: "{name[:40]}"; metrics are summary["{name[:40]}"]'
        )
        raise self.wrong(f"no field of this name: `{name[:40]}`", hint, token.at)

    def nested(self, root: str) -> Value:
        """What follows `config` or `summary`: names in brackets, or after dots."""
        parts: list[str] = []
        stat: str | None = None
        while True:
            if self.take("["):
                token = self.now
                if token.kind != "text":
                    raise self.wrong("the name in brackets stands in quotes", f'as in: {root}["val/acc"]')
                self.place += 1
                self.expect("]", f'as in: {root}["val/acc"]')
                parts.append(_unquote(token.value))
            elif self.is_now(".") and self.tokens[min(self.place + 1, len(self.tokens) - 1)].kind == "word":
                self.place += 2
                parts.append(self.tokens[self.place - 1].value)
                if root == "summary" and len(parts) > 1 and parts[-1] in STATS:
                    stat = parts.pop()
                    break
            else:
                break
        if not parts:
            raise self.wrong(f"`{root}` needs a name", f'as in: {root}.lr or {root}["opt/lr"]')
        return self.look(Field(root, "/".join(parts), stat or "last"))

    def look(self, field: Field) -> Value:
        self.fields.add(field)
        return lambda lookup: lookup(field)


@dataclass(frozen=True, slots=True)
class _Literal:
    value: Any


def _constant(value: Any) -> Value:
    return lambda lookup: value


def _unquote(text: str) -> str:
    def escaped(found: re.Match[str]) -> str:
        what = found.group(1)
        if len(what) == 5:
            code = int(what[1:], 16)
            return "�" if 0xD800 <= code < 0xE000 else chr(code)
        # Unknown escapes keep their backslash, so that "\d" in a regular expression needs no second one.
        return _ESCAPES.get(what, what if what in "\"'\\" else "\\" + what)

    return _ESCAPE.sub(escaped, text[1:-1])


def _nearest(name: str) -> str | None:
    known = {one.replace("_", ""): one for one in FIELDS} | {
        "experiment": "project",
        "status": "state",
        "user": "owner",
        "tag": "tags",
    }
    return known.get(name.lower().replace("_", ""))


def _compare(operator: str, left: Value, right: Value) -> Test:
    if operator == "==":
        return lambda lookup: equal(left(lookup), right(lookup))
    if operator == "!=":
        return lambda lookup: not equal(left(lookup), right(lookup))
    or_equal = operator.endswith("=")
    if operator.startswith("<"):
        return lambda lookup: less(left(lookup), right(lookup), or_equal)
    return lambda lookup: less(right(lookup), left(lookup), or_equal)


def _matches(value: Value, pattern: Pattern) -> Test:
    def test(lookup: Lookup) -> bool:
        found = value(lookup)
        found = moments.text_of(found) or found
        if isinstance(found, str):
            return pattern.found_in(found)
        if isinstance(found, list | tuple):
            return any(isinstance(item, str) and pattern.found_in(item) for item in found)
        return False

    return test
