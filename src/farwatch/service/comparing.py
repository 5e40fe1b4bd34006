"""How `where` expressions compare the values of runs: numbers, texts, lists, and datetimes with what says a time."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from farwatch.wire import moments


def number_of(value: Any) -> float | int | None:
    """A number, a boolean, or the text of a non-finite number as a number; None for anything else."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    return None


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Both as microseconds since 1970 if one is a datetime and the other says a time; else as they are."""
    if not isinstance(left, Mapping) and not isinstance(right, Mapping):
        return left, right
    a, b = moments.moment_of(left), moments.moment_of(right)
    if a is None and b is None:
        return left, right
    return _instant(left if a is None else a), _instant(right if b is None else b)


def _instant(value: Any) -> Any:
    """Microseconds since 1970 of a datetime, of its text or of a number of milliseconds; anything else as it is."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return value
    if isinstance(value, date):
        return moments.instant_us(value)
    return value * 1000 if isinstance(value, int | float) and not isinstance(value, bool) else value


def equal(left: Any, right: Any) -> bool:
    """Whether two values are the same; null equals null only, NaN equals NaN."""
    if left is None or right is None:
        return left is None and right is None
    left, right = _alike(left, right)
    a, b = number_of(left), number_of(right)
    if a is not None and b is not None:
        return a == b or (a != a and b != b)  # `summary.loss == nan` finds what diverged
    return type(left) is type(right) and left == right


def less(left: Any, right: Any, or_equal: bool) -> bool:
    """Whether one value comes before another; never for what cannot be compared. `or_equal`: or is the same."""
    left, right = _alike(left, right)
    a, b = number_of(left), number_of(right)
    if a is not None and b is not None:
        return a <= b if or_equal else a < b
    if isinstance(left, str) and isinstance(right, str):
        return left <= right if or_equal else left < right
    return False


def contains(held: Any, value: Any) -> bool:
    """Whether a value is in a list, a name in a mapping, or a text in a text."""
    if isinstance(held, list | tuple):
        return any(equal(item, value) for item in held)
    if isinstance(held, Mapping):
        return isinstance(value, str) and value in held
    return isinstance(held, str) and isinstance(value, str) and value in held


def truth(value: Any) -> bool:
    """Whether a value alone fits: it is there, and not false, zero, NaN or empty."""
    return value == value and bool(value)
