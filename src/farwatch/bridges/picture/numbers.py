"""Numbers and ticks as the dashboard writes them (`web/src/model/numbers.ts`, `ticks.ts`), so that a picture and a page agree."""

import math
import sys
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from itertools import pairwise

MINUS = "\u2212"
MOST_TICKS = 50
_EXACT = Context(prec=800, rounding=ROUND_HALF_UP)  # a double has 767 significant decimal digits at most


def format_number(value: float, digits: int = 4) -> str:
    """A number for reading: `digits` significant ones, grouped thousands, an exponent only where zeros would be counted.

    Whole numbers below a billion are never rounded.
    """
    if value != value:
        return "NaN"
    sign = MINUS if value < 0 else ""
    size = abs(value)
    if math.isinf(size):
        return f"{sign}∞"
    if size == 0:
        return "0"
    if size < 1e9 and size == int(size):
        return f"{sign}{int(size):,}"
    rounded, power = _significant(size, digits)
    if size >= 1e9 or size < 1e-4:
        return f"{sign}{_bare(f'{rounded.scaleb(-power, _EXACT):f}')}e{str(power).replace('-', MINUS)}"
    return sign + _bare(f"{rounded:,.{max(0, digits - 1 - power)}f}")


def format_exact(value: float) -> str:
    """Every digit that tells a double from its neighbours in practice, for exact points."""
    size = abs(value)
    if 1e9 <= size < 1e15:
        return (MINUS if value < 0 else "") + _bare(f"{_significant(size, 14)[0]:,f}")
    return format_number(value, 9 if size < 1e15 else 12)


def format_short(value: float, digits: int = 3) -> str:
    """A number for an axis or a narrow column: 12k, 3M."""
    if not abs(value) < 1e15 or digits > 6:
        return format_number(value, digits if math.isfinite(value) else 4)
    for limit, divisor, unit in ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= limit:
            return f"{format_number(value / divisor, digits)}{unit}"
    return format_number(value, digits)


def axis_words(places: Sequence[float]) -> list[str]:
    """Words of an axis: as short as they can be while they differ and are true."""
    for digits in range(3, 9):
        if not _tell_apart(places, digits):
            continue
        words = [format_short(place, digits) for place in places]
        if len(set(words)) == len(words):
            return words
    # large numbers that differ far behind: the lowest whole, the others by how much more they are
    first = min(places)
    more = [f"+{format_short(float(f'{place - first:.6g}'))}" for place in places]
    return [format_exact(place) if place == first else word for place, word in zip(places, more, strict=True)]


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round places from `low` to `high`, about `count` of them; the one place where both are the same."""
    span = high - low
    if math.isinf(span):
        return [place for place in (-1e308, 0.0, 1e308) if low <= place <= high]
    raw = span / max(1, count)
    if not raw > sys.float_info.min:
        return [low] if math.isfinite(low) else []
    size = float(f"1e{math.floor(math.log10(raw))}")
    step = size * next((factor for factor in (1, 2, 5) if factor * size >= raw), 10)
    from_ = math.ceil(low / step - 1e-9)
    ticks: list[float] = []
    for k in range(from_, from_ + MOST_TICKS):
        if k * step > high + step * 1e-9:
            break
        place = float(f"{k * step:.12g}")
        if not ticks or place > ticks[-1]:
            ticks.append(place)
    return ticks


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """Powers of ten from `low` (above 0) to `high`, with others between them where there is room."""
    if not (low > 0 and high > low):
        return []
    from_, to = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = to - from_
    stride = max(1, math.ceil(decades / max(1, count)))
    factors = (1, 2, 3, 5) if decades <= 1 else (1, 3) if decades <= count / 2 else (1,)
    places = (float(f"{factor}e{power}") for power in range(from_, to + 1, stride) for factor in factors)
    ticks = [place for place in places if low <= place <= high]
    return ticks if len(ticks) >= 2 else nice_ticks(low, high, count)


def _significant(size: float, digits: int) -> tuple[Decimal, int]:
    """`size` rounded to so many digits, ties upward as JavaScript does, and the power of ten of its first digit."""
    exact = Decimal(size)
    with localcontext(_EXACT):
        rounded = exact.quantize(Decimal(1).scaleb(exact.adjusted() - digits + 1))
    return rounded, rounded.adjusted()


def _bare(text: str) -> str:
    """Without zeros behind the point that say nothing."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def _tell_apart(places: Sequence[float], digits: int) -> bool:
    """Whether places of an axis, rounded to so many digits, still stand where they are said to stand."""
    pairs = pairwise(places)
    least = min((abs(one - other) for one, other in pairs), default=math.inf)
    return all(abs(float(f"{place:.{digits}g}") - place) <= least * 0.02 for place in places)
