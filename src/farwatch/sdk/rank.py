"""What one rank needs beside its steering: a bell that counts steps, a run that writes nothing, ends that are awaited."""

from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

from farwatch.wire.commands import CommandState, Order


class Bell:
    """Counts the steps that `log` begins on the thread of the run, and rings at the next one while `due`.

    Stands where a run without ranks has the word of its inbox: `log` compares `bell[0]` with 0, and a step costs 60 ns more.
    """

    __slots__ = ("_run", "_seen", "_thread", "count", "due")

    def __init__(self, run: Any) -> None:
        self._run = run
        self._thread = get_ident()
        self._seen = run._counter
        self.count = 0
        self.due = True

    def __getitem__(self, index: int) -> bool:
        now = self._run._counter
        if now > self._seen:
            if get_ident() == self._thread:
                self._seen = now
                self.count += 1
                return self.due
        elif now < self._seen and get_ident() == self._thread:
            self._seen = now
        return False


class Quiet:
    """The run of a rank above 0, as its steering sees it: what rank 0 writes down is not written twice."""

    def __init__(self, run: Any, steering: Any) -> None:
        self.__dict__.update(_run=run, _steering=steering)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._run, name, value)

    def write_event(self, body: dict[str, Any], step: Any = None) -> bool:
        """Rank 0 does."""
        return True

    def declare(self, body: dict[str, Any]) -> None:
        """Rank 0 does."""

    def paused(self, yes: bool) -> None:
        """Rank 0 does."""

    def say(self, text: str) -> None:
        """Rank 0 does."""


@dataclass
class Ending:
    """Commands that are done here; how it went on the other ranks is awaited. `step`: of the safe point."""

    number: int
    until: float
    step: Any
    told: list[tuple[Order, CommandState, str, dict[str, Any]]] = field(default_factory=list)
