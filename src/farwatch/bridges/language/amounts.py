"""Numbers, times and factors as people write them, read strictly: whatever is not wholly one is none."""

import math
import re
from decimal import Decimal
from fractions import Fraction

from farwatch.bridges.language.typed import fold

DIGITS_MAX = 40
FACTOR_MAX = 1_000_000  # and its inverse: beyond that nobody meant a factor
SECONDS_MAX = 365 * 86_400.0
STEPS_MAX = 10**12

_NUMBER = re.compile(r"([+-]?)((?:[0-9]{1,3}(?:_[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]{1,3})?( ?%)?")
NOT_FINITE = frozenset({"nan", "inf", "infinity", "+inf", "-inf", "+infinity", "-infinity", "∞", "-∞", "+∞"})
ON = frozenset({"on", "true", "yes", "开", "是", "真"})
OFF = frozenset({"off", "false", "no", "none", "never", "关", "关闭", "否", "假", "取消", "不用", "不要"})

_S, _M, _H, _D = 1, 60, 3_600, 86_400
UNITS_S = {
    "s": _S, "sec": _S, "secs": _S, "second": _S, "seconds": _S, "秒": _S, "秒钟": _S,
    "m": _M, "min": _M, "mins": _M, "minute": _M, "minutes": _M, "分": _M, "分钟": _M,
    "h": _H, "hr": _H, "hrs": _H, "hour": _H, "hours": _H, "小时": _H, "个小时": _H, "钟头": _H, "个钟头": _H, "点钟": _H,
    "d": _D, "day": _D, "days": _D, "天": _D, "日": _D,
    "w": 7 * _D, "week": 7 * _D, "weeks": 7 * _D, "周": 7 * _D, "星期": 7 * _D, "个星期": 7 * _D,
}  # fmt: skip
_HAN_NUMBERS = {"半": 0.5, "一": 1, "两": 2, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9, "十": 10}
_COUNT = rf"(?:[0-9]{{1,9}}(?:\.[0-9]{{0,6}})?|\.[0-9]{{1,6}}|[{''.join(_HAN_NUMBERS)}])"
_UNIT = "|".join(sorted(map(re.escape, UNITS_S), key=len, reverse=True))
_PART = re.compile(rf"\s*({_COUNT})\s*(?:个)?({_UNIT})(?![a-z])")
_ONE_UNIT = re.compile(rf"({_UNIT})")
_LAST = re.compile(r"\s*(?:(?:in |over |for )?(?:the )?(?:last|past)\b|最近|过去|近)\s*")
_STEPS = re.compile(r"([0-9]{1,15})\s*(?:steps?|步)")
_LINES = re.compile(r"(?:(?:last|最近|最后)\s*)?([0-9]{1,9})\s*(?:lines?|行)?")
_SIGNED = re.compile(r"(÷|/|×|\*|x(?=[\s\d.])|除以|乘以|乘|除)\s*(.+)")


def number(text: str) -> str | None:
    """A number in its plain form, `5 %` as 0.05 and `1_000` as 1000; None for what is none, or beyond what a float holds.

    The text is normal already, see `typed.normal`. A comma is refused: it is a point in one country and nothing in the next.
    """
    found = _NUMBER.fullmatch(text.lower()) if len(text) <= DIGITS_MAX else None
    if found is None:
        return None
    sign, digits, exponent, percent = found.groups()
    plain = f"{sign.replace('+', '')}{digits.replace('_', '')}{exponent or ''}"
    if percent:
        sign_bit, places, power = Decimal(plain).as_tuple()
        plain = str(Decimal((sign_bit, places, int(power) - 2)))
    value = float(plain)
    vanished = value == 0 and any(digit in digits for digit in "123456789")
    return plain if math.isfinite(value) and not vanished else None


def factor(text: str) -> Fraction | None:
    """A factor above 0, exactly as written; None for what is none."""
    plain = number(text)
    found = Fraction(plain) if plain is not None else Fraction(0)
    return found if Fraction(1, FACTOR_MAX) <= found <= FACTOR_MAX else None


def operation(text: str) -> tuple[str, str] | None:
    """`÷ 3`, `/3`, `x 3`, `*0.5`, `除以 3`: `"/"` or `"*"` and what follows; None for another text."""
    found = _SIGNED.fullmatch(fold(text.strip()))
    if found is None:
        return None
    return ("/" if found[1] in ("÷", "/", "除以", "除") else "*"), found[2].strip()


def duration(text: str) -> float | None:
    """Seconds of `8h`, `1h30m`, `30 min`, `8 小时`, `半小时`, `小时` (one of them); None for another text, also for a number alone."""
    text = fold(text.strip())
    whole = _ONE_UNIT.fullmatch(text)
    if whole is not None and len(text) > 1:
        return float(UNITS_S[whole[1]])
    at, total = 0, 0.0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            return None
        count = _HAN_NUMBERS.get(found[1])
        total += (float(found[1]) if count is None else count) * UNITS_S[found[2]]
        at = found.end()
    return total if 0 < total <= SECONDS_MAX else None


def span(text: str) -> float | None:
    """Seconds of `last 2h`, `2h`, `最近2小时`, `last hour`; None for another text."""
    last = _LAST.match(fold(text))
    return duration(text[last.end() :] if last is not None else text)


def steps(text: str) -> int | None:
    """How many of `10 steps`, `10 步`, `step`; None for another text."""
    text = fold(text.strip())
    if text in ("step", "步"):
        return 1
    found = _STEPS.fullmatch(text)
    count = int(found[1]) if found is not None else 0
    return count if 0 < count <= STEPS_MAX else None


def lines(text: str) -> int | None:
    """How many of `20`, `20 lines`, `20 行`, `last 20`; None for another text."""
    found = _LINES.fullmatch(fold(text.strip()))
    return int(found[1]) if found is not None else None


def times(value: float, by: Fraction) -> float:
    """A value times a factor, as somebody with paper would reckon: 3e-4 divided by 3 is 1e-4, not 9.999999999999999e-05.

    Raises `OverflowError` for a product that no float holds, `ValueError` for a value that is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"not a finite number: `{value}`")
    return float(Fraction(repr(value)) * by)


def spell(seconds: float) -> str:
    """Seconds as `duration` reads them: `1h30m`."""
    rest, words = seconds, []
    for unit, size in (("d", _D), ("h", _H), ("m", _M)):
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count:.0f}{unit}")
    if rest or not words:
        words.append(f"{round(rest, 6):.6f}".rstrip("0").rstrip(".") + "s")
    return "".join(words)
