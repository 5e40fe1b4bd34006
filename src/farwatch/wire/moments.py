"""Datetimes and dates among values that are JSON: a mark beside their text, so that a text which looks like one stays a text.

`{"$datetime": "2026-11-30T20:15:00.123456+01:00"}` and `{"$date": "2026-11-30"}`, ISO 8601 as Python writes it. A `datetime` without an
offset is naive: it has none on the wire either.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime

DATETIME = "$datetime"
DATE = "$date"
TEXT_MAX = 40  # characters; Python writes 39 at most
_READERS: dict[str, Callable[[str], date]] = {DATETIME: datetime.fromisoformat, DATE: date.fromisoformat}


def exact(value: date) -> date | None:
    """The same moment as a plain `datetime` or `date`; None if its text does not hold it: nanoseconds, `NaT`."""
    kind = datetime if isinstance(value, datetime) else date
    text = value.isoformat()
    try:
        found = kind.fromisoformat(text)
    except ValueError:
        return None
    return found if found.isoformat() == text else None


def as_json(value: date) -> dict[str, str]:
    """A datetime or date as it stands in JSON."""
    return {DATETIME if isinstance(value, datetime) else DATE: value.isoformat()}


def moment_of(value: object) -> date | None:
    """The datetime or date that a value of JSON stands for; None for anything else."""
    if isinstance(value, Mapping) and len(value) == 1:
        key, text = next(iter(value.items()))
        if key in _READERS and isinstance(text, str):
            return _read(key, text)
    return None


def text_of(value: object) -> str | None:
    """The ISO text of a value that stands for a datetime or date; None for anything else."""
    return next(iter(value.values())) if isinstance(value, Mapping) and moment_of(value) is not None else None


def instant_us(value: date) -> int:
    """Microseconds since 1970 UTC; what names no offset, and the midnight with which a date begins, is taken as UTC."""
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    since = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _read(key: str, text: str) -> date | None:
    if len(text) > TEXT_MAX:
        return None
    try:
        return _READERS[key](text)
    except ValueError:
        return None
