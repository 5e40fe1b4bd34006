"""Parts of a message cut where a service's limit is: each slice keeps the styles of what is in it."""

from collections.abc import Callable, Sequence

from farwatch.bridges.base import Part, split

SLICES_MAX = 10  # a text that needs more messages comes as its beginning

Measure = Callable[[Sequence[Part]], int]


def slices(parts: Sequence[Part], limit: int, measure: Measure) -> list[tuple[Part, ...]]:
    """Parts in slices that each measure at most `limit`, cut at line ends where there are some; none for parts without a text.

    `measure`: how long parts are as the service counts them, markup included; never less than their characters.
    """
    found: list[tuple[Part, ...]] = []
    waiting = [tuple(parts)]
    while waiting:
        one = waiting.pop()
        text = text_of(one)
        if measure(one) <= limit or len(text) <= 1:
            found += [one] if text.strip() else []
            continue
        at = len(split(text[: limit + 1], limit)[0])
        if at == len(text):  # only its markup is too long
            at = len(split(text, max(2, limit * len(text) // measure(one)))[0])
        if at == len(text):
            at = len(text) // 2
        left, right = cut(one, at)
        waiting += [right, left]
    return found


def lengthy(parts: Sequence[Part], limit: int) -> bool:
    """Whether so many slices would be needed that nobody reads them."""
    return len(text_of(parts)) > SLICES_MAX * limit


def beginning(parts: Sequence[Part], characters: int) -> tuple[Part, ...]:
    """The first characters, with `…` where something is missing."""
    if len(text_of(parts)) <= characters:
        return tuple(parts)
    return (*cut(parts, characters - 1)[0], Part("…"))


def cut(parts: Sequence[Part], at: int) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """The parts before and after a place in their joined text."""
    left: list[Part] = []
    right: list[Part] = []
    for part in parts:
        if at > 0:
            left.append(Part(part.text[:at], part.style))
        if len(part.text) > at:
            right.append(Part(part.text[max(0, at) :], part.style))
        at -= len(part.text)
    return tuple(left), tuple(right)


def text_of(parts: Sequence[Part]) -> str:
    """The words alone."""
    return "".join(part.text for part in parts)
