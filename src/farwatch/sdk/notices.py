"""What a program says to people by itself: alerts, which have a state, and messages, which have none.

Both are EVENT records of the journal. Like `log` they never raise, whatever they are given, and may be called from signal handlers.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from farwatch.errors import FarwatchError

LEVELS = ("info", "warn", "error")
TITLE_MAX = 200
TEXT_MAX = 4_000
TITLES_KEPT = 1_000
NEVER_S = -1e18


class Teller(Protocol):
    """The run that speaks."""

    def write_event(self, body: dict[str, Any]) -> object: ...

    def keep_beside(self, content: bytes | Path, media_type: str | None, suffix: str) -> dict[str, Any]: ...

    def as_picture(self, value: Any) -> Any: ...

    def warn_once(self, cause: str, text: str) -> None: ...


class Notices:
    """The alerts and messages of one run.

    *Threads*: any. *Cost*: one record; an alert within its cool-down costs a look into a dictionary.
    """

    __slots__ = ("_clock_s", "_run", "_said_s")

    def __init__(self, run: Teller, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock_s = clock_s
        self._said_s: dict[str, float] = {}  # title -> when it was written last

    def alert(self, title: Any, text: Any, level: Any, cooldown_s: Any) -> None:
        """Write an alert, unless one with this title was written less than `cooldown_s` seconds ago."""
        said = plain_text(title, TITLE_MAX).strip() or "alert"
        now_s = self._clock_s()
        pause_s = seconds(cooldown_s)
        if now_s - self._said_s.get(said, NEVER_S) < pause_s:
            return
        while len(self._said_s) >= TITLES_KEPT:  # titles with a number in them would fill the memory
            self._said_s.pop(next(iter(self._said_s), said), None)
        self._said_s[said] = now_s
        if level not in LEVELS:
            self._run.warn_once(f"level:{level!s:.40}", f"level is one of {', '.join(LEVELS)}, not: `{level!s:.40}`")
            level = "warn"
        body = {"title": said, "text": plain_text(text, TEXT_MAX), "level": level, "cooldown_s": pause_s}
        self._run.write_event({"alert": body})

    def notify(self, text: Any, image: Any, file: Any) -> None:
        """Write a message, with copies of a picture and a file."""
        body: dict[str, Any] = {"text": plain_text(text, TEXT_MAX)}
        if image is not None:
            self._attach(body, "image", lambda: self._picture(image))
        if file is not None:
            self._attach(body, "file", lambda: self._copy(Path(os.fspath(file))))
        self._run.write_event({"notify": body})

    def _attach(self, body: dict[str, Any], key: str, keep: Callable[[], dict[str, Any]]) -> None:
        """Add what is kept; a message goes without what could not be read."""
        try:
            body[key] = keep()
        except (FarwatchError, OSError, TypeError, ValueError) as error:
            self._run.warn_once(f"notify:{key}", f"notify() goes without its {key}: {error!s:.200}")

    def _picture(self, image: Any) -> dict[str, Any]:
        picture = self._run.as_picture(image).render()
        size = {key: picture.body[key] for key in ("width", "height") if key in picture.body}
        if picture.content is None:
            return size
        return {**self._run.keep_beside(picture.content, picture.media_type, picture.suffix), **size}

    def _copy(self, path: Path) -> dict[str, Any]:
        return {**self._run.keep_beside(path, None, path.suffix[:16]), "name": path.name}


def seconds(value: Any) -> float:
    """A cool-down as seconds; what is none counts as 300."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return 300.0
    return min(max(found, 0.0), 1e9) if found == found else 300.0


def plain_text(value: Any, limit: int) -> str:
    """Text that JSON can hold, of at most `limit` characters."""
    found = value if isinstance(value, str) else "" if value is None else str(value)
    return found[:limit].encode("utf-8", "replace").decode()
