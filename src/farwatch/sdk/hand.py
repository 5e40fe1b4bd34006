"""The run's own hand: what its parts write, keep and say in its name."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farwatch.sdk import rendering
from farwatch.sdk.config import named_safe
from farwatch.sdk.say import say
from farwatch.wire.records import Kind, encode_json
from farwatch.wire.states import State

if TYPE_CHECKING:
    from farwatch.sdk.run import Run


class Hand:
    """What steering, notices and integrations do to a run; the run's users have no need of it.

    It holds nothing of its own: in a fork it is the hand of the fork's journal. *Threads*: any. *Errors*: none but the disk's, from
    `keep_beside`.
    """

    __slots__ = ("_run",)

    def __init__(self, run: "Run") -> None:
        self._run = run

    @property
    def run(self) -> "Run":
        """The run itself."""
        return self._run

    @property
    def alive(self) -> bool:
        """Whether this is the process that the run belongs to, and no fork of it."""
        return bool(self._run._alive[0])

    @property
    def heard(self) -> int:
        """What the bell said when nothing was left to do; another number makes the next call a safe point."""
        return self._run._heard

    @heard.setter
    def heard(self, rung: int) -> None:
        self._run._heard = rung

    def write_event(self, body: dict[str, Any], step: float | int | None = None) -> bool:
        """Write what happened, by default at the step of the newest call. Returns whether the journal has it."""
        run = self._run
        if not run._alive[0]:
            return False  # a fork: what it came back from is its parent's
        if step is None:
            step = run._counter - 1 if run._counter > 0 else run._counter
        payload = encode_json(Kind.EVENT, body, step=step, time=run._now_us(), flags=run._relative)
        kept: list[bool] = []
        run._journal.hold(lambda: kept.append(run._journal.commit(payload, True)))
        return all(kept)

    def declare(self, body: dict[str, Any]) -> None:
        """Say what people may do with this run."""
        self.patch({"steer": {part: named_safe(told) for part, told in body.items()}})

    def patch(self, body: dict[str, Any]) -> None:
        """Change what is known of the run."""
        self._run._patch(body)

    def paused(self, yes: bool) -> None:
        """Note that somebody holds the run, or has let it go."""
        self._run._state = State.PAUSED if yes else State.RUNNING
        self.write_event({"paused": yes})

    def care(self) -> None:
        """What a long pause does not excuse from: the agent must live, and what logging cost is told."""
        self._run._care(time.monotonic_ns())

    def keep_beside(self, content: bytes | Path, media_type: str | None, suffix: str) -> dict[str, Any]:
        """Keep bytes, or a copy of a file, beside the journal. Raises `OSError`."""
        spool = self._run._writer.spool
        if spool is None:
            return {}
        stored, size = spool.keep(content, suffix)
        return {"spool": stored, "size": size, **({"media_type": media_type} if media_type else {})}

    def as_picture(self, value: Any) -> Any:
        """A picture or figure as something with `render`."""
        return rendering.picture_of(value)

    def say(self, text: str) -> None:
        """Tell the person at the terminal."""
        say(text)

    def warn_once(self, cause: str, text: str) -> None:
        """Tell the person at the terminal, once per cause."""
        self._run._trouble.warn(cause, text)
