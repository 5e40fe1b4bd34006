"""The safe points of one rank: each kind is counted by itself, and seldom is one at which to look at the others. (Rule 8.)

What was agreed with the others, and how it is done, is in `ranks`.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farwatch.sdk.accord import KINDS, Agreed, Member, Root
from farwatch.sdk.board import BoardGone
from farwatch.sdk.hand import Hand
from farwatch.sdk.inbox import Inbox
from farwatch.sdk.rank import Bell, Ending, Quiet
from farwatch.sdk.steering import PATIENCE_STEPS, Steering
from farwatch.sdk.stopped import Stopped, leaving, stop_reason

GLANCE_S = 0.01  # how often rank 0 looks whether somebody asks for something


class CountedSteering(Steering):
    """Counts the safe points of one rank, and knows at which to look. *Threads*, *Errors*: as `Steering`.

    Who inherits says what to do at one: `_agree` what was agreed, `_do` doing it, `_switch_off` that it cannot be told any more.
    """

    many = True

    def __init__(self, run: Hand, inbox: Inbox | None, *, kept: Path | None, pause_max_s: float, rank: int) -> None:
        super().__init__(run if rank == 0 else Quiet(run, self), inbox, kept=kept, pause_max_s=pause_max_s)
        self._whole = run.run
        self.bell = Bell(self._whole)
        self._rank = rank
        self._root: Root | None = None
        self._member: Member | None = None
        self._counts = dict.fromkeys(KINDS, 0)
        self._looks = dict.fromkeys(KINDS, 0.0)  # when to look at the others at a safe point of a kind, by the clock; 0: at the next one
        self._care_ns = 0  # when the run has to look around next, ranks aside
        self._final = False  # off for good
        self._endings: list[Ending] = []

    def _agree(self, kind: str) -> Agreed | None:
        """What to do at this safe point, which has been counted; None: nothing."""
        raise NotImplementedError

    def _do(self, agreed: Agreed) -> None:
        """Do what was agreed."""
        raise NotImplementedError

    def _switch_off(self, why: str) -> None:
        """No more steering in this process; the training goes on."""
        raise NotImplementedError

    def safe_point(self, *, full: bool, advanced: bool, all_ranks: bool = False) -> None:
        """See `Steering`."""
        if full:
            self._count("all" if all_ranks else "poll")
        elif self._serves():
            self._run.heard = 0
            self._counts["log"] = self.bell.count
            self._come("log")
        if self._serves() and self.stopping is not None:
            self._throw(advanced or full)

    def came_by(self) -> None:
        """A `poll()`."""
        self.safe_point(full=True, advanced=True)

    def step_end(self) -> bool:
        """See `Steering`."""
        self._asks = True
        self._count("step")
        return self._look()

    def _look(self) -> bool:
        if self._final and self._signals and self._serves():
            self._come("step")
        if self.stopping is not None:
            self._told = True
        return self.stopping is not None

    def _count(self, kind: str) -> None:
        if self._serves():
            self._counts[kind] += 1
            if time.monotonic() >= self._looks[kind] or self._signals:
                self._come(kind)

    def care(self, now_ns: int, look: Callable[[int], None]) -> None:
        """What `log` does when it is time to: see what the others say, and `look` around every ten seconds, as without ranks."""
        if now_ns > self._care_ns:
            look(now_ns)
            self._care_ns = self._whole._care_ns
        if not self._closed:
            self.bell.due = True
            self._whole._care_ns = min(self._care_ns, now_ns + int(GLANCE_S * 1e9))

    def _throw(self, advanced: bool) -> None:
        """End a program that does not end its loop by itself."""
        assert self.stopping is not None
        if self._told or leaving():
            return
        if self._asks and self._patience > 0:
            self._patience -= advanced
            self.bell.due = True
            return
        self._asks, self._patience = True, PATIENCE_STEPS
        raise Stopped(stop_reason(self.stopping))

    def _come(self, kind: str) -> None:
        """Safe point of a kind that has just been counted: see what was agreed, and do it."""
        self._active = True
        try:
            accord = self._root or self._member
            if accord is not None:
                accord.pace.passed(kind, self._counts[kind])
            agreed = self._safely(lambda: self._agree(kind))
            if agreed is not None:
                self._do(agreed)
        finally:
            self._active = False
        self._looks[kind] = due = self._next_glance()
        if not due:
            self._looks = dict.fromkeys(KINDS, 0.0)
        self.bell.due = not self._looks["log"]
        if due and kind == "log":
            self._whole._care_ns = int(min(self._care_ns, due * 1e9))

    def _next_glance(self) -> float:
        """When to see again what was agreed, by the clock; 0: at the next safe point."""
        root, member = self._root, self._member
        if self.stopping is not None or self._endings or (member is not None and member.eager):
            return 0.0
        if root is not None:
            return 0.0 if root.eager or root.measures else root.pace.next_glance(GLANCE_S)
        if member is not None:
            return member.pace.next_glance(member.pace.interval_s)
        if not self._final:
            return 0.0
        return math.inf if self._rank else time.monotonic() + GLANCE_S

    def _safely(self, call: Callable[[], Any]) -> Any:
        """What another rank, or the store, does wrong, costs the steering and nothing else."""
        try:
            return call()
        except BoardGone as error:
            self._switch_off(f"the ranks cannot agree any more, their store does not answer: {error}")
        except Exception as error:  # the border to the training
            self._switch_off(f"the ranks cannot agree any more: {type(error).__name__}: {error!s:.200}")
        return None
