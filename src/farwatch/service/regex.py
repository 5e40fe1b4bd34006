"""Regular expressions from outside, with a limit on what they may cost.

Python's engine backtracks and cannot be interrupted. So the cost is bounded beforehand: with k repeats of open length, one after
another, a search in n characters tries at most about n^(k+1) / (k+1)! ways, times two for each optional part and the number of branches
for each choice. What exceeds `WAYS_MAX` is refused, and a repeat whose inside has no fixed width is refused always, because it can take
exponential time. Between texts the clock is looked at.
"""

import math
import re
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from farwatch.errors import QueryError

PATTERN_MAX = 500
WAYS_MAX = 3_000_000  # about 0.1 s on a slow core
LOOK_S = 2e-6  # a search that finds nothing at once, with room for a slow machine
CHEAP_STEP, COSTLY_STEP = 500, 8  # texts between two looks at the clock
_EDGES = re.compile(r"\A(?:\.\*\??)+|(?<!\\)(?:\.\*\??)+\Z")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern; `repeats` and `ways`: what it may cost, see the module."""

    compiled: re.Pattern[str]
    repeats: int
    ways: float

    def found_in(self, text: str) -> bool:
        """Whether `text` contains a match. Raises `QueryError` where finding out could take too long."""
        self.check(len(text))
        return self.compiled.search(text) is not None

    def check(self, length: int) -> None:
        """Raises `QueryError` if a search in a text of so many characters could take too long."""
        n = length + 1
        k = self.repeats + 1
        if self.ways * n**k / math.factorial(k) > WAYS_MAX:
            raise QueryError(
                f"a regular expression with {self.repeats} open repeats could take too long in a text of {length} characters",
                hint="use fewer `*` and `+`, or fixed counts",
            )


def compile_pattern(pattern: str) -> Pattern:
    """Compile a pattern. Raises `QueryError` for one that does not parse or could take exponential time."""
    if len(pattern) > PATTERN_MAX:
        raise QueryError(f"a regular expression of more than {PATTERN_MAX} characters")
    shorter = _EDGES.sub("", pattern)  # `.*` at either end of a search says nothing and costs a power
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
            compiled = re.compile(shorter)
            parsed = re._parser.parse(shorter)  # type: ignore[attr-defined]
    except (re.error, RecursionError, OverflowError) as error:
        raise QueryError(f"a regular expression that does not parse: {error}") from error
    repeats, ways = _cost(parsed, repeated=False)
    return Pattern(compiled, repeats, ways)


def _cost(parsed: object, repeated: bool) -> tuple[int, float]:
    """Open repeats in a parsed pattern, and the ways that choices add. Raises `QueryError` for choices within a repeat."""
    repeats, ways = 0, 1.0
    for operation, argument in parsed:  # type: ignore[attr-defined]
        name = str(operation)
        inner: list[object] = []
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, body = argument
            if least != most and repeated:
                raise QueryError(
                    "a regular expression with a repeat inside a repeat",
                    hint="such a pattern can take for ever",
                )
            if least != most and int(most) > 1:
                repeats += 1
            elif least != most:
                ways *= 2
            more, times = _cost(body, repeated or int(most) > 1)
            repeats, ways = repeats + more, ways * times
        elif name == "SUBPATTERN":
            inner = [argument[3]]
        elif name == "ATOMIC_GROUP":
            inner = [argument]
        elif name in ("ASSERT", "ASSERT_NOT"):
            inner = [argument[1]]
        elif name == "BRANCH":
            if repeated:
                raise QueryError(
                    "a regular expression with a choice inside a repeat",
                    hint="such a pattern can take for ever",
                )
            inner = list(argument[1])
            ways *= len(inner)
        elif name.startswith("GROUPREF"):
            raise QueryError(
                "a regular expression with a back reference", hint="write the text again instead"
            )
        for body in inner:
            more, times = _cost(body, repeated)
            repeats, ways = repeats + more, ways * times
    return repeats, ways


def search(pattern: str, texts: Sequence[str], limit_s: float) -> list[str]:
    """The texts that contain a match, in order.

    Raises `QueryError` for a bad pattern, or after about `limit_s` seconds of work beyond what looking at so many texts takes anyway.
    """
    compiled = compile_pattern(pattern)
    limit_s += len(texts) * LOOK_S
    deadline = time.thread_time() + limit_s
    found: list[str] = []
    step = CHEAP_STEP if compiled.repeats < 2 else COSTLY_STEP
    for start in range(0, len(texts), step):
        part = texts[start : start + step]
        compiled.check(max(map(len, part)))
        matches = compiled.compiled.search
        found += [text for text in part if matches(text)]
        if time.thread_time() > deadline:
            raise QueryError(
                f"a regular expression took longer than {limit_s:g} s", hint="a simpler pattern is faster"
            )
    return found


class Deadline:
    """Stops a query that takes too long: call it once per run."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._end = time.monotonic() + limit_s

    def __call__(self) -> None:
        if time.monotonic() > self._end:
            raise QueryError(
                f"the query took longer than {self._limit_s:g} s",
                hint="ask for fewer runs, or a simpler condition",
            )
