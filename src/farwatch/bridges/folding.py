"""Many notices of one group as one message: a sweep of three hundred runs must not ring three hundred times."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

WINDOW_S = 600.0
MORE_S = 20.0  # between two changes of a message that grows
ALONE = 3  # notices without a group that are told one by one before a project's are folded

Key = TypeVar("Key", bound=Hashable)
Row = TypeVar("Row")


@dataclass(slots=True)
class _Group(Generic[Row]):
    """Notices that wait. `until_s`: when the window closes; `told`: how many were told one by one in it."""

    until_s: float
    told: int = 0
    rows: list[Row] = field(default_factory=list)
    growing: bool = False


class Folding(Generic[Key, Row]):
    """Decides whether a notice is told by itself or waits for others of its group. *Threads*: one loop.

    `flush`: what has waited, when the window closes. `more`: the same so far, a moment after some have been added.
    """

    def __init__(self, flush: Callable[[Key, list[Row]], None], more: Callable[[Key, list[Row]], None] | None = None) -> None:
        self._flush = flush
        self._more = more
        self._groups: dict[Key, _Group[Row]] = {}

    def take(self, name: Key, grouped: bool, row: Row, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether to tell this now. `grouped`: `name` is of a group that a person gave, else of the project.

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
        if self._more is not None and not group.growing:
            group.growing = True
            loop.call_later(MORE_S, self._grow, name, group)
        return False

    def _grow(self, name: Key, group: _Group[Row]) -> None:
        group.growing = False
        if self._more is not None and self._groups.get(name) is group:
            self._more(name, group.rows)

    def _close(self, name: Key) -> None:
        group = self._groups.pop(name, None)
        if group is not None and group.rows:
            self._flush(name, group.rows)
            # The next window begins with nothing told: what goes on is folded as before.
            loop = asyncio.get_running_loop()
            self._groups[name] = _Group(loop.time() + WINDOW_S, told=ALONE)
