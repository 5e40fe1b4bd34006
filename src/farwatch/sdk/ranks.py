"""Steering where a program has many ranks: rank 0 hears what people ask, and all ranks do it at one safe point. (Rule 8.)

Safe points are counted, each kind by itself, from the first one after the ranks have met: `poll(all_ranks=True)`, `poll()`, the
end of a step of `progress` or an integration, and the first `log` of each new step. Of the kinds that every rank comes by, the
first in this order is the one at which commands are done. `counted` counts, `accord` is how ranks agree on a count; this is what
they then do.

Only rank 0 writes into the journal. Whatever goes wrong here, the training goes on: steering is off, and the page says why.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from farwatch.sdk.accord import KINDS, Agreed, Member, Root
from farwatch.sdk.board import find_board
from farwatch.sdk.counted import CountedSteering
from farwatch.sdk.hand import Hand
from farwatch.sdk.inbox import Inbox
from farwatch.sdk.rank import Ending
from farwatch.sdk.steering import PAUSE_CARE_S, PAUSE_LOOK_S
from farwatch.wire.commands import CommandState, Op, Order, newest_wishes

ENDLESS_US = 1 << 62
MEET_POINTS = 10_000  # safe points until which the ranks may meet
KNOWN_LOOK_S = 0.01
BEAT_S = 1.0


class RankedSteering(CountedSteering):
    """The commands of one rank. *Threads*, *Errors*: as `Steering`.

    `nth`: which `init` of its process it belongs to. `wait_s`: longest wait for another rank, or for the store of all.
    """

    def __init__(
        self, run: Hand, inbox: Inbox | None, *, kept: Path | None, pause_max_s: float, rank: int, world_size: int, nth: int,
        wait_s: float,
    ) -> None:  # fmt: skip
        super().__init__(run, inbox, kept=kept, pause_max_s=pause_max_s, rank=rank)
        self._world_size, self._nth, self._wait_s = world_size, nth, wait_s
        self._before_met = 0
        self._agreed: Agreed | None = None  # what is being done
        self._troubles: list[list[str]] = []
        self._ending: Ending | None = None
        self._set_before, self._kept.values = self._kept.values, {}  # not by this rank alone

    def declare_knob(self, name: str, default: Any, **about: Any) -> Any:
        """See `Steering`. A value that people gave it before this process comes to all ranks together."""
        knob = super().declare_knob(name, default, **about)
        kept = self._set_before.pop(name, None)
        if kept is not None:
            args = {"name": name, "value": kept.get("new")}
            self._waiting.append(Order(f"keep-{uuid.uuid4().hex}", 0, Op.SET, args, str(kept.get("actor")), "resume", ENDLESS_US))
        return knob

    # --- agreeing

    def _agree(self, kind: str) -> Agreed | None:
        if self._root is None and self._member is None and not self._final:
            self._meet(kind)
        if self._member is not None:
            return self._agree_as_member(self._member, kind)
        if self._rank == 0:
            return self._agree_as_root(kind)
        if self._signals:
            self._alone()
        return None

    def _meet(self, kind: str) -> None:
        """Find the others, as soon as `torch.distributed` has brought them together."""
        self._before_met += 1
        board = find_board(self._rank, self._world_size, self._nth, self._wait_s)
        if isinstance(board, str):
            self._switch_off(board)
        elif board is not None:
            self._counts = {one: int(one == kind) for one in KINDS}
            self.bell.count = self._counts["log"]
            if self._rank == 0:
                self._root = Root(board, self._world_size, self._wait_s, time.monotonic)
            else:
                self._member = Member(board, self._rank, self._world_size, self._wait_s, time.monotonic)
            self._refuse(None)
        elif self._before_met > MEET_POINTS:
            self._switch_off(self.off or self._unmet())
        elif self._before_met > 1:
            self._refuse(self._unmet())

    def _unmet(self) -> str:
        return f"the {self._world_size} ranks cannot agree without torch.distributed; `farwatch kill`, or their launcher, ends all of them"

    # --- rank 0

    def _agree_as_root(self, kind: str) -> Agreed | None:
        if self._guests or self._signals or (self._inbox is not None and self._inbox.bell[0] != self._inbox.taken):
            self._take()
        root = self._root
        if root is not None:
            if time.monotonic() >= root.pace.next_s:
                root.look(self._counts)
                self._hear(root)
            if self._endings:
                self._settle(root)
            if self._waiting and not root.eager:
                self._propose(root, lambda orders: root.propose(self._counts, orders))
            agreed = root.come(kind, self._counts[kind], self._step(), self._asks)
            self._refuse_objected(root)
            if agreed is not None or root.eager:
                return agreed
            if root.off is None:
                self._refuse(root.missing)
            else:
                self._switch_off(root.off)
        if self._waiting and self.off is not None:
            self._alone()
        return None

    def _hear(self, root: Root) -> None:
        """Another rank was sent a signal."""
        if root.signal is not None:
            name, root.signal = root.signal, None
            if self.stopping is None and not any(one.channel == "signal" for one in self._waiting):
                self._waiting.append(Order(f"signal-{uuid.uuid4().hex}", 0, Op.STOP, {}, name, "signal", ENDLESS_US))

    def _propose(self, root: Root, propose: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Propose what waits; end here what nobody needs to hear of."""
        left: list[Order] = []
        for order, newer in newest_wishes(self._waiting):
            if newer is not None:
                self._end(order, CommandState.SUPERSEDED, f"{newer.actor} asked for something else")
            elif order.expires_us < time.monotonic_ns() // 1000:
                self._end(order, CommandState.EXPIRED, "it came to a safe point too late")
            elif order.op is Op.SET and order.args.get("name") not in self.knobs:
                self._set(order)  # which says so
            elif order.op is Op.CALL and order.args.get("name") not in self.commands:
                self._call(order)
            elif order.op is Op.CHECKPOINT and not self.hooks["checkpoint"]:
                self._checkpoint(order)
            else:
                left.append(order)
        self._waiting = left
        if left and propose([replace(order, expires_us=ENDLESS_US).body() for order in left]) is None:
            return

    def _refuse_objected(self, root: Root) -> None:
        if root.refused:
            for order in [one for one in self._waiting if one.id in root.refused]:
                self._waiting.remove(order)
                self._end(order, CommandState.REFUSED, root.refused[order.id])
            root.refused.clear()

    def _settle(self, root: Root, *, by: float = 0.0) -> None:
        """Write down how commands ended, once all ranks have told. `by`: wait until then."""
        while self._endings:
            ending = self._endings[0]
            troubles = root.gather(ending.number)
            now = time.monotonic()
            if troubles is None and now < max(by, ending.until if not by else 0.0):
                if not by:
                    return
                time.sleep(KNOWN_LOOK_S)
                continue
            self._endings.pop(0)
            self._write(ending, [(0, "", "other ranks did not say how it went")] if troubles is None else troubles)

    def _write(self, ending: Ending, troubles: list[tuple[int, str, str]]) -> None:
        outer, self._ending = self._ending, None
        doing = self._doing
        try:
            for order, state, reason, more in ending.told:
                there = [f"rank {rank}: {why}" if command else why for rank, command, why in troubles if command in ("", order.id)]
                self._at = ending.step
                super()._end(order, state, "; ".join(filter(None, [reason, *there[:4]])), **more)
        finally:
            self._at, self._ending, self._doing = None, outer, doing

    # --- other ranks

    def _agree_as_member(self, member: Member, kind: str) -> Agreed | None:
        member.here(kind)
        if time.monotonic() >= member.pace.next_s:
            member.look()
        self._pass_on(member)
        agreed = member.come(kind, self._counts[kind], self._step(), self._asks, self._objections)
        if agreed is None and member.off is not None and not member.eager:
            self._switch_off(member.off)
        return agreed

    def _pass_on(self, member: Member) -> None:
        """Tell rank 0 of what came here."""
        for name in self._signals.take() if self._signals else ():
            if name == "SIGUSR1" and self.hooks["checkpoint"]:
                self._signals.listen_again(name)
            else:
                member.tell(signal=name)
        self._guests.clear()

    def _objections(self, orders: list[dict[str, Any]]) -> dict[str, str]:
        return {
            order["id"]: f"it has no knob `{order['args'].get('name')!s:.100}`: declare it on every rank"
            for order in orders
            if order["op"] == Op.SET and order["args"].get("name") not in self.knobs
        }

    def _checkpoint(self, order: Order) -> None:
        if self._rank == 0 or self.hooks["checkpoint"]:  # a program may save on rank 0 alone
            super()._checkpoint(order)

    def _call(self, order: Order) -> None:
        if self._rank == 0 or order.args.get("name") in self.commands:
            super()._call(order)

    # --- doing it

    def _step(self) -> Any:
        """The step that this rank is at; None for one that does not log."""
        return self._whole._counter or None

    def _do(self, agreed: Agreed) -> None:
        """Do what was agreed. What the program's own hooks raise goes through."""
        if not agreed.together:
            self._asks = False
        later, self._waiting = self._waiting, [Order.of(body) for body in agreed.orders]
        mine = {order.id for order in self._waiting}
        later = [order for order in later if order.id not in mine]
        outer = (self._agreed, self._ending, self._troubles)
        self._agreed, self._troubles = agreed, []
        self._ending = Ending(agreed.number, time.monotonic() + self._wait_s, max(0, self._whole._counter - 1))
        try:
            self._work(True)
        finally:
            self._waiting = later + (self._waiting if self._rank == 0 else [])
            self._finish()
            self._agreed, self._ending, self._troubles = outer
        if self.stopping is not None and self._root is not None:
            self._safely(lambda: self._see_off(agreed))

    def _finish(self) -> None:
        """Tell how it went. May be called twice."""
        agreed, ending = self._agreed, self._ending
        if agreed is None or ending is None:
            return
        self._agreed = self._ending = None
        if self._member is not None:
            member, troubles = self._member, self._troubles
            self._safely(lambda: member.done(agreed.number, troubles))
        elif self._root is not None:
            self._endings.append(ending)
            self._safely(self._root.idle)

    def _see_off(self, agreed: Agreed) -> None:
        """Before this rank leaves, and takes the store with it: let all others read that they are to leave as well."""
        assert self._root is not None
        until = time.monotonic() + self._wait_s
        while not self._root.known(agreed.number) and time.monotonic() < until:
            time.sleep(KNOWN_LOOK_S)
        self._settle(self._root, by=until)

    def _start(self, order: Order) -> bool:
        super()._start(order)
        return True  # agreed is agreed: the others do it as well

    def _end(
        self, order: Order, state: CommandState, reason: str, *, result: Any = None, old: Any = None, new: Any = None
    ) -> None:
        if not order.id:
            self._doing = None  # our own
        elif self._rank:
            self._doing = None
            if state is not CommandState.APPLIED or (order.op is Op.STOP and reason):
                self._troubles.append([order.id, reason])
        elif self._ending is not None:
            self._doing = None
            self._ending.told.append((order, state, reason, {"result": result, "old": old, "new": new}))
        else:
            super()._end(order, state, reason, result=result, old=old, new=new)

    # --- pause

    def _pause(self, order: Order) -> None:
        """Hold this rank, as all others do, and go on together."""
        assert self._agreed is not None
        kind = f"pause/{self._agreed.number}"
        self._end(order, CommandState.APPLIED, "")
        self._finish()
        self._paused = True
        self._run.paused(True)
        began = care = beat = time.monotonic()
        try:
            while self._paused and not self._final and not self._closed:
                time.sleep(PAUSE_LOOK_S)
                now = time.monotonic()
                agreed = self._safely(partial(self._hold, kind, now - began > self._pause_max_s))
                if agreed is not None:
                    self._do(agreed)
                if now > beat + BEAT_S and self._root is not None:
                    beat = now
                    self._safely(self._root.beat)
                if now > care + PAUSE_CARE_S:
                    care = now
                    self._run.care()
        finally:
            self._paused = False
            if not self._closed:
                self._run.paused(False)

    def _hold(self, kind: str, over: bool) -> Agreed | None:
        root, member = self._root, self._member
        if member is not None:
            member.look()
            self._pass_on(member)
            if member.silent_s() > self._wait_s:
                member.off = "rank 0 did not answer during a pause"
            if member.off is not None and not member.eager:
                self._switch_off(member.off)
                return None
            return member.hold(kind, self._asks, self._objections)
        if root is None:
            self._paused = False
            return None
        self._take()
        root.look(self._counts)
        self._hear(root)
        self._settle(root)
        if over and not self._waiting and not root.eager:
            self._run.say(f"paused for {self._pause_max_s:g} s, which is the longest: the training goes on")
            self._waiting.append(Order("", 0, Op.UNPAUSE, {}, "farwatch", "program", ENDLESS_US))
        if self._waiting and not root.eager:
            self._propose(root, lambda orders: root.propose_here(kind, orders))
        agreed = root.hold(self._asks)
        self._refuse_objected(root)
        if root.off is not None and agreed is None:
            self._switch_off(root.off)
        return agreed

    # --- off

    def _refuse(self, why: str | None) -> None:
        """Say that nobody can steer for now, and why; or None: that one can again."""
        if self.off != why:
            self.off = why
            self._run.declare({"off": why})

    def _switch_off(self, why: str) -> None:
        """No more steering in this process; the training goes on."""
        root, member = self._root, self._member
        self._final = True
        self._root = self._member = None
        with contextlib.suppress(Exception):
            if root is not None and root.off is None:
                root.switch_off(why)
            if member is not None and member.off is None:
                member.tell(off=f"rank {self._rank}: {why}")
        for ending in self._endings:
            self._write(ending, [(0, "", "other ranks did not say how it went")])
        self._endings = []
        self._refuse(why)
        self._looks = dict.fromkeys(KINDS, 0.0)

    def _alone(self) -> None:
        """Without the others: signals are obeyed, as whoever sent one may have sent it to all; the rest is refused."""
        if self._rank:
            self._take_signals()
        signals = [order for order in self._waiting if order.channel == "signal"]
        self._waiting = [order for order in self._waiting if order.channel != "signal"]
        for order in signals:
            self._act(order)
        if self._waiting:
            self._work(True)

    def disown(self) -> None:
        """See `Steering`."""
        super().disown()
        self._root = self._member = None
        self._final = True

    def close(self, why: str) -> None:
        """See `Steering`. Tells the others; waits for them only where they have been promised something."""
        if threading.get_ident() == self._thread and not self._closed:
            self._safely(lambda: self._take_leave(why))
            self._root = self._member = None
        for ending in self._endings:
            self._write(ending, [(0, "", "other ranks did not say how it went")])
        self._endings = []
        if self._ending is not None:
            self._write(self._ending, [])
        self._ending = self._agreed = None
        super().close(why)

    def _take_leave(self, why: str) -> None:
        if self._member is not None:
            self._member.leave(why)
        if self._root is not None:
            root = self._root
            if self._endings and root.off is None:
                self._settle(root, by=time.monotonic() + self._wait_s)
            left = root.leave(why)
            for body in left.orders if left is not None else ():
                order = Order.of(body)
                self._waiting = [one for one in self._waiting if one.id != order.id]
                self._end(order, CommandState.INTERRUPTED, "this rank's loop ended before the agreed step; others may have done it")
