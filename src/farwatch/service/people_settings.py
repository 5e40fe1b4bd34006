"""What people may set of themselves and of their chats, checked: scopes, language, time zone, quiet hours, what is sent where."""

import zoneinfo
from collections.abc import Mapping
from typing import Any

from farwatch.errors import UsageError

PERSON_SCOPES = ("read", "steer", "start")
LANGUAGES = ("en", "zh")
DETAILS = ("full", "minimal")
QUIET_FIELDS = {"from", "to", "alarms"}
PROGRESS = ("edit", "off")
CHAT_SETTINGS = ("lang", "detail", "progress", "alarms", "events", "every", "muted_until_ms", "projects", "watch")


def checked_scopes(asked: Any) -> tuple[str, ...]:
    """Scopes of a person, in order. Raises `UsageError`."""
    listed = [asked] if isinstance(asked, str) else list(asked) if isinstance(asked, list | tuple | set | frozenset) else []
    if not listed or any(one not in PERSON_SCOPES for one in listed):
        raise UsageError(f"scopes of a person are some of: {', '.join(PERSON_SCOPES)}")
    return tuple(one for one in PERSON_SCOPES if one in {"read", *listed})


def checked_person(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a person set of themselves: `lang` en or zh, `zone` such as Europe/Berlin, `quiet` {"from": "23:00", "to": "08:00", "alarms":
    true}: nothing but alarms in these hours, and with `alarms` false not even those. Raises `UsageError`.
    """
    found: dict[str, Any] = {}
    for key, value in asked.items():
        if key == "lang" and (value is None or value in LANGUAGES):
            found[key] = value
        elif key == "zone" and (value is None or value == "" or _is_zone(value)):
            found[key] = value or None
        elif key == "quiet" and (value is None or _is_quiet(value)):
            found[key] = None if value is None else {"alarms": True, **value}
        else:
            raise UsageError(f"no `{key[:40]}` of a person with this value", hint='lang, zone, or quiet: {"from": "23:00", "to": "08:00"}')
    return found


def checked_chat(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was set of a chat: `lang`; `detail` full or minimal (no names, paths, values); `progress` edit or off; `alarms`, `events`;
    `every` {"s": seconds} or {"steps": n}; `muted_until_ms`; `projects`: only these; `watch`: conditions. Raises `UsageError`.
    """
    found: dict[str, Any] = {}
    for key, value in asked.items():
        good = value is None or (
            (key == "lang" and value in LANGUAGES)
            or (key == "detail" and value in DETAILS)
            or (key == "progress" and value in PROGRESS)
            or (key in ("events", "alarms") and isinstance(value, bool))
            or (key == "muted_until_ms" and isinstance(value, int) and not isinstance(value, bool) and value >= 0)
            or (key == "every" and _is_every(value))
            or (key == "projects" and isinstance(value, list) and len(value) <= 100 and all(isinstance(one, str) and one for one in value))
            or (key == "watch" and isinstance(value, list) and len(value) <= 50 and all(isinstance(one, dict) for one in value))
        )
        if not good or key not in CHAT_SETTINGS:
            raise UsageError(
                f"no `{key[:40]}` of a chat with this value",
                hint=f"{', '.join(CHAT_SETTINGS)}; detail is full or minimal, progress edit or off",
            )
        found[key] = value
    return found


def _is_every(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    (unit, amount) = next(iter(value.items()))
    number = isinstance(amount, int | float) and not isinstance(amount, bool)
    return number and ((unit == "s" and 10 <= amount <= 7 * 86_400) or (unit == "steps" and 1 <= amount <= 1e12))


def _is_quiet(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) - QUIET_FIELDS or not isinstance(value.get("alarms", True), bool):
        return False
    return all(minute_of(value.get(side)) is not None for side in ("from", "to"))


def minute_of(value: Any) -> int | None:
    """A time of day such as `23:00` as minutes since midnight; None for what is none."""
    if not isinstance(value, str) or len(value) != 5 or value[2] != ":" or not (value[:2] + value[3:]).isascii():
        return None
    hours, minutes = value[:2], value[3:]
    if not (hours.isdigit() and minutes.isdigit()) or int(hours) > 23 or int(minutes) > 59:
        return None
    return int(hours) * 60 + int(minutes)


def _is_zone(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > 60:
        return False
    try:
        zoneinfo.ZoneInfo(value)
    except (OSError, ValueError, LookupError):
        return False
    return True
