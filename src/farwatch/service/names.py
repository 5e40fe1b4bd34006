"""The metric names of a run, in memory for the runs that somebody writes to or looks at."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from farwatch.store.base import Store

RUNS_KEPT = 1_000
NAMES_KEPT = 5_000_000


@dataclass(slots=True)
class Held:
    """Names of one run. `listed`: the same in order, made when asked for."""

    known: set[str]
    listed: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Names:
    """Which metrics runs have. *Threads*: any. *Cost*: the first question about a run looks at all its series."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._lock = threading.Lock()

    def fresh(self, run: str, names: Iterable[str]) -> tuple[int, int]:
        """How many of `names` are new to a run, and how many it has."""
        held = self._of(run)
        with held.lock:
            return sum(name not in held.known for name in names), len(held.known)

    def note(self, run: str, names: Iterable[str]) -> int:
        """Add names that have come; returns how many were new."""
        held = self._of(run)
        with held.lock:
            before = len(held.known)
            held.known.update(names)
            return len(held.known) - before

    def listed(self, run: str) -> list[str]:
        """All names in order; do not change the list."""
        held = self._of(run)
        with held.lock:
            if len(held.listed) != len(held.known):
                held.listed = sorted(held.known)
            return held.listed

    def forget(self, run: str) -> None:
        """Look again: names have been deleted."""
        with self._lock:
            self._held.pop(run, None)

    def _of(self, run: str) -> Held:
        with self._lock:
            held = self._held.get(run)
            if held is not None:
                self._held.move_to_end(run)
                return held
        known = {info.key.name for info in self._store.series(run)}
        with self._lock:
            held = self._held.setdefault(run, Held(known))
            while len(self._held) > RUNS_KEPT or (
                len(self._held) > 1 and sum(len(one.known) for one in self._held.values()) > NAMES_KEPT
            ):
                self._held.popitem(last=False)
            return held
