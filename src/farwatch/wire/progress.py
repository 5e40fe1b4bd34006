"""How far a run says that it is: what a progress bar tells, checked, and written as a bar of text.

A *meter* is what one bar shows: a mapping with `n`, `total`, `desc`, `unit`, `elapsed_s`, `rate` (per second), `remaining_s`,
`postfix` and `scale` (1000 or 1024 where numbers are shortened with k, M, …). What is not known is None.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

TEXT_MAX = 200  # characters of a description or postfix
BARS_MAX = 8  # bars inside the outermost one that are kept
TO_MAX = 8  # chats that the bars of a run may name
CELLS = 10
_DIGEST = re.compile(r"[0-9a-f]{16}")
_EIGHTHS = " ▏▎▍▌▋▊▉"


def read_meter(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """A meter from what somebody sent; None if it does not even count."""
    n = _finite(told.get("n"))
    if n is None:
        return None
    total, rate = _positive(told.get("total")), _positive(told.get("rate"))
    scale = told.get("scale")
    return {
        "n": n,
        "total": total,
        "desc": _text(told.get("desc")),
        "unit": _text(told.get("unit")) or "it",
        "elapsed_s": _finite(told.get("elapsed_s")),
        "rate": rate,
        "remaining_s": remaining_s(n, total, rate),
        "postfix": _text(told.get("postfix")),
        "scale": scale if scale in (1000, 1024) and not isinstance(scale, bool) else None,
    }


def read_progress(told: Mapping[str, Any], at_ms: int) -> dict[str, Any] | None:
    """The outermost meter with those inside it as `bars`, as they stood at `at_ms` (since 1970, UTC).

    `ended`: no bar is open, so that its clock stands. `leave`: False, only where what shows it is taken away at the end. `to`: only where
    bars name chats of their own, which are known by these digests.
    """
    meter = read_meter(told)
    if meter is None:
        return None
    inner = told.get("bars")
    found = [read_meter(one) for one in inner if isinstance(one, dict)] if isinstance(inner, list) else []
    bars = [one for one in found if one is not None][:BARS_MAX]
    found_to = told.get("to")
    to = [one for one in found_to if isinstance(one, str) and _DIGEST.fullmatch(one)] if isinstance(found_to, list) else []
    more: dict[str, Any] = {"to": to[:TO_MAX]} if to else {}
    if told.get("leave") is False:
        more["leave"] = False
    return {**meter, "at_ms": at_ms, "ended": told.get("ended") is True, "bars": bars, **more}


def remaining_s(n: float, total: float | None, rate: float | None) -> float | None:
    """Seconds until the end at this rate; None without a total or a rate."""
    if total is None or not rate:
        return None
    left = (total - n) / rate
    return left if math.isfinite(left) else None


def bar_text(meter: Mapping[str, Any], cells: int = CELLS) -> str:
    """One line: description, percentage, a bar of `cells` letters, n/total, elapsed<remaining, rate and postfix.

    Without a total: description, count, elapsed and rate.
    """
    n, total, unit = meter["n"], meter.get("total"), meter.get("unit") or "it"
    scale = meter.get("scale")
    head = f"{meter['desc']}: " if meter.get("desc") else ""
    rate = _rate(meter.get("rate"), unit, scale)
    more = f", {meter['postfix']}" if meter.get("postfix") else ""
    elapsed = clock_text(meter.get("elapsed_s"))
    if total is None:
        return f"{head}{_count(n, scale)}{unit} [{elapsed}, {rate}{more}]"
    share = min(1.0, max(0.0, n / total))
    times = f"{elapsed}<{clock_text(meter.get('remaining_s'))}"
    return f"{head}{100 * share:3.0f}%|{_cells(share, cells)}| {_count(n, scale)}/{_count(total, scale)} [{times}, {rate}{more}]"


def brief_text(meter: Mapping[str, Any]) -> str:
    """How far and how long in few words: `4/20, 00:16 left`, or the count alone."""
    n, total, scale = meter["n"], meter.get("total"), meter.get("scale")
    if total is None:
        return f"{_count(n, scale)} {meter.get('unit') or 'it'}"
    left = meter.get("remaining_s")
    return f"{_count(n, scale)}/{_count(total, scale)}" + (f", {clock_text(left)} left" if left else "")


def clock_text(seconds: float | None) -> str:
    """`01:02` or `3:01:02`; `?` for None."""
    if seconds is None:
        return "?"
    minutes, second = divmod(int(abs(seconds)), 60)
    hour, minute = divmod(minutes, 60)
    sign = "-" if seconds <= -1 else ""
    return sign + (f"{hour}:{minute:02}:{second:02}" if hour else f"{minute:02}:{second:02}")


def _cells(share: float, cells: int) -> str:
    full, part = divmod(int(share * cells * 8), 8)
    return "█" * full if full >= cells else ("█" * full + _EIGHTHS[part]).ljust(cells)


def _count(value: float, scale: int | None) -> str:
    return str(value) if scale is None else _short(value, scale)


def _rate(rate: float | None, unit: str, scale: int | None) -> str:
    if not rate:
        return f"?{unit}/s"
    slow = rate < 1
    value = 1 / rate if slow else rate
    return (f"{value:.2f}" if scale is None else _short(value, 1000)) + (f"s/{unit}" if slow else f"{unit}/s")


def _short(value: float, scale: int) -> str:
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if abs(value) < 999.5:
            return f"{value:.3g}{prefix}" if abs(value) >= 1 else f"{value:.2f}{prefix}"
        value /= scale
    return f"{value:.3g}Z"


def _finite(value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and abs(value) < 2**63 else None


def _positive(value: Any) -> float | int | None:
    found = _finite(value)
    return found if found is not None and found > 0 else None


def _text(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    return value.encode("utf-8", "replace").decode()[:TEXT_MAX]
