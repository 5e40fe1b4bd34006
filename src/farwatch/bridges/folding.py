"""Many ends of one group as one message: a sweep of three hundred runs must not ring three hundred times."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

WINDOW_S = 600.0
ALONE = 3  # ends without a group that are told one by one before a project's are folded


@dataclass(slots=True)
class _Group:
    """Ends that wait. `until_s`: when the window closes; `told`: how many were told one by one in it."""

    until_s: float
    told: int = 0
    rows: list[Mapping[str, Any]] = field(default_factory=list)


class Folding:
    """Decides whether an end is told by itself or waits for others of its group. *Threads*: one loop."""

    def __init__(self, flush: Callable[[str, list[Mapping[str, Any]]], None]) -> None:
        self._flush = flush
        self._groups: dict[str, _Group] = {}

    def take(self, name: str, grouped: bool, row: Mapping[str, Any], loop: asyncio.AbstractEventLoop) -> bool:
        """Whether to tell this end now. `grouped`: `name` is a group that a person gave, else the project.

        The first of a group is told at once, the others within ten minutes in one message; without a group the first three.
        """
        now_s = loop.time()
        group = self._groups.get(name)
        if group is None or (group.until_s <= now_s and not group.rows):
            group = self._groups[name] = _Group(now_s + WINDOW_S)
        if group.told < (1 if grouped else ALONE):
            group.told += 1
            return True
        group.rows.append(row)
        if len(group.rows) == 1:
            loop.call_at(group.until_s, self._close, name)
        return False

    def _close(self, name: str) -> None:
        group = self._groups.pop(name, None)
        if group is not None and group.rows:
            self._flush(name, group.rows)
            # The next window begins with nothing told: what goes on ending goes on being folded.
            loop = asyncio.get_running_loop()
            self._groups[name] = _Group(loop.time() + WINDOW_S, told=ALONE)
