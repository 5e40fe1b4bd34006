"""How the ranks of a program agree at which safe point all of them do what people ask, without ever waiting for each other.

Rank 0 *proposes*: these commands, at the 57th safe point of this kind. The others look at the board now and then; who sees the
proposal before his own 57th *promises* to ask there how it was decided, and says at which step he is. With the promises of all in
hand, and the same steps, rank 0 writes *go*. Whoever comes to the 57th without one writes *late*. The board keeps the first of the
two words, so all ranks read the same: either all of them act at this safe point, or none does, and rank 0 proposes a later one.

So nobody waits for anybody, at whatever speed ranks run. One that is gone or hangs makes no promise; after `wait_s` seconds of
that, steering is off. Only a pause, once all have agreed on it, and the end of a stopped run wait, and those a bounded time.
`tests/models/test_accord.py` plays it with ranks of all speeds that die anywhere.
"""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from farwatch.sdk.board import SETUP, Board

KINDS = ("all", "poll", "step", "log")  # of safe points, the best first: which of those that every rank comes by is counted
LOOK_S = 0.05  # time between looks at the board, at least
LOOK_MAX_S = 2.0  # on a machine that has no time for anything
LOOK_PER_RANK_S = 0.00025  # one store serves all ranks
COST_SHARE = 0.002  # of the training's time that looks may take; with all around them it is to stay below half a percent
LEAD_LONG = 1_000  # safe points; in a loop that makes so many before the others have looked, who knows how long it goes on like that
LEAD_MIN = 3  # safe points between a proposal and its place: one to promise, one to compare, one to be there
LEAD_MAX = 8.0
LATE_MAX = 3
APART_MAX = 4  # safe points that ranks of one program are apart, as their steps wait for each other; more: they count differently
APART_S = 0.02  # and how old what they know of each other may be
LIVE_LOOKS = 4
SLOW_LOOK_S = 1.0  # while some rank is not there
NAMED_MAX = 64  # ranks that are looked up one by one, to be named


@dataclass
class Proposal:
    """What rank 0 wants done at safe point `at` of a kind. `since`: where rank 0 was when it said so."""

    number: int
    kind: str
    since: int
    at: int
    orders: list[dict[str, Any]]
    made: float = 0.0
    promised: bool = False
    word: str = ""  # as it was decided


@dataclass(frozen=True, slots=True)
class Agreed:
    """What all ranks do now. `together`: every rank leaves its loop by itself after a stop, so none needs to be thrown out."""

    number: int
    orders: list[dict[str, Any]]
    together: bool


@dataclass(frozen=True, slots=True)
class Stride:
    """How long steps take. `single`: measured on the newest one alone, and not on many since the last look."""

    count: int
    at: float
    step_s: float = 1.0
    single: bool = False


@dataclass
class Pace:
    """When to look at the board: so seldom that it costs less than half a percent of the time, and at least 50 ms apart."""

    clock: Callable[[], float]
    least_s: float
    next_s: float = 0.0
    cost_s: float = 0.0
    looks: int = 0
    strides: "dict[str, Stride]" = field(default_factory=dict)  # by kind of safe point

    @property
    def interval_s(self) -> float:
        return min(max(self.least_s, self.cost_s / COST_SHARE), LOOK_MAX_S)

    def looked(self, began: float) -> None:
        """Note what a look has cost. The first one opens a connection and does not count."""
        now = self.clock()
        self.looks += 1
        if self.looks > 1:
            self.cost_s += (min(now - began, 0.02) - self.cost_s) / 8
        self.next_s = now + self.interval_s

    def passed(self, kind: str, count: int) -> None:
        """Note at which safe point of a kind one is now."""
        now, before = self.clock(), self.strides.get(kind)
        if before is None:
            self.strides[kind] = Stride(count, now)
        elif count > before.count:
            steps = count - before.count
            self.strides[kind] = Stride(count, now, max(now - before.at, 1e-7) / steps, steps == 1)

    def next_glance(self, within_s: float) -> float:
        """When to be asked again, by the clock: once it is time to look, and within so many seconds."""
        return min(self.clock() + within_s, self.next_s)


class Member:
    """A rank above 0: promises and obeys. *Threads*: one. *Errors*: `BoardGone`."""

    def __init__(self, board: Board, rank: int, world_size: int, wait_s: float, clock: Callable[[], float]) -> None:
        self._board = board
        self._rank = rank
        self._wait_s = wait_s
        self._clock = clock
        self._kinds: list[str] = []
        self._state = ""
        self._changed = clock()
        self._seen = 0
        self._pending: deque[Proposal] = deque()
        self.busy = False  # rank 0 is doing something that may take long
        self.off: str | None = None
        self.pace = Pace(clock, max(LOOK_S, world_size * LOOK_PER_RANK_S))

    @property
    def eager(self) -> bool:
        """Whether each safe point counts now."""
        return bool(self._pending)

    def here(self, kind: str) -> None:
        """Say that this rank comes by safe points of a kind."""
        if kind not in self._kinds:
            self._kinds.append(kind)
            self._board.set(f"here/{self._rank}", json.dumps(self._kinds))

    def look(self) -> None:
        """See what rank 0 has written."""
        began = self._clock()
        if self._state or self._board.there(["state"]):
            text = self._board.get("state")
            if text != self._state:
                self._state, self._changed = text, began
                told = json.loads(text)
                self.off, self.busy = told.get("off"), bool(told.get("busy"))
                if self.off or "orders" in told:
                    self._forget()
                if "orders" in told and told["p"] > self._seen:
                    self._seen = told["p"]
                    self._pending.append(Proposal(told["p"], told["kind"], told["since"], told["at"], told["orders"]))
        self.pace.looked(began)

    def _forget(self) -> None:
        """Drop what will not be: rank 0 goes on only when the proposal before is decided."""
        for proposal in list(self._pending):
            if not proposal.promised or self._board.first(f"word/{proposal.number}", "late") == "late":
                self._pending.remove(proposal)

    def come(self, kind: str, count: int, step: Any, asks: bool, objections: Callable[[Any], dict[str, str]]) -> Agreed | None:
        """Safe point `count` of a kind, at `step`. `objections`: by command, why it cannot be done here."""
        for proposal in list(self._pending):
            if proposal.kind != kind:
                continue
            if not proposal.promised:
                apart = self._apart(proposal, count)
                if proposal.since < count < proposal.at or apart:
                    self._promise(proposal, count, step, asks, objections, apart)
                elif count >= proposal.at:
                    self._pending.remove(proposal)  # too late for this rank, so for all
            elif count >= proposal.at:
                return self._obey(proposal, self._board.first(f"word/{proposal.number}", "late"))
        return None

    def hold(self, kind: str, asks: bool, objections: Callable[[Any], dict[str, str]]) -> Agreed | None:
        """The same during a pause, where all ranks stand at one place."""
        for proposal in list(self._pending):
            if proposal.kind == kind and not proposal.promised:
                self._promise(proposal, 0, None, asks, objections)
            elif proposal.kind == kind and self._board.there([f"word/{proposal.number}"]):
                return self._obey(proposal, self._board.get(f"word/{proposal.number}"))
        return None

    def silent_s(self) -> float:
        """How long rank 0, which is not busy, has written nothing."""
        return 0.0 if self.busy else self._clock() - self._changed

    def _apart(self, proposal: Proposal, count: int) -> int:
        """How far rank 0 is ahead of this rank; 0 for as far as they may be."""
        apart = int(self._board.get(f"now/{proposal.number}")) - count
        return apart if abs(apart) > APART_MAX + APART_S / self.pace.strides[proposal.kind].step_s else 0

    def _promise(
        self, proposal: Proposal, count: int, step: Any, asks: bool, objections: Callable[[Any], dict[str, str]], apart: int = 0
    ) -> None:
        proposal.promised = True
        told = {"count": count, "step": step, "asks": asks, "no": objections(proposal.orders), "apart": apart}
        self._board.set(f"promise/{proposal.number}/{self._rank}", json.dumps(told))

    def _obey(self, proposal: Proposal, word: str) -> Agreed | None:
        self._pending.remove(proposal)
        if not word.startswith("go"):
            return None
        self._board.set(f"known/{proposal.number}/{self._rank}", "1")
        return Agreed(proposal.number, proposal.orders, word == "go")

    def done(self, number: int, troubles: list[list[str]]) -> None:
        """Say how it went here: pairs of command and what went wrong."""
        self._board.set(f"done/{number}/{self._rank}", json.dumps(troubles))

    def tell(self, **what: str) -> None:
        """Tell rank 0 of a signal, or that this rank cannot be steered any more (`off`)."""
        self._board.set("up", json.dumps({"rank": self._rank, "at": self._clock(), **what}))

    def leave(self, why: str) -> None:
        """This rank ends: it promises nothing any more, and takes back what is not decided."""
        for proposal in self._pending:
            if proposal.promised and self._board.first(f"word/{proposal.number}", "late").startswith("go"):
                self._board.set(f"known/{proposal.number}/{self._rank}", "1")
                self.done(proposal.number, [[order["id"], why] for order in proposal.orders])
        self._pending.clear()
        self.tell(off=f"rank {self._rank}: {why}")


class Root:
    """Rank 0: proposes. *Threads*: one. *Errors*: `BoardGone`."""

    def __init__(self, board: Board, world_size: int, wait_s: float, clock: Callable[[], float]) -> None:
        self._board = board
        self._others = range(1, world_size)
        self._wait_s = wait_s
        self._clock = clock
        self._number = 0
        self._beat = 0
        self._lead = 1.0
        self._late = 0
        self._since: float | None = None  # when the first of these proposals was made
        self._steps: dict[int, Any] = {}
        self._all_here = False
        self._began = clock()
        self._up = board.first("up", "-")
        if self._up != "-":
            self._up = ""  # somebody was faster
        self._counts: deque[dict[str, int]] = deque(maxlen=LIVE_LOOKS)
        self.pending: Proposal | None = None
        self.off: str | None = None
        self.missing: str | None = None  # why nothing can be proposed yet
        self.measures = False  # the next safe point tells how long a step takes, before anything is proposed
        self._rushing: float | None = None
        self.signal: str | None = None
        self.refused: dict[str, str] = {}
        self.pace = Pace(clock, max(LOOK_S, world_size * LOOK_PER_RANK_S))
        self._publish()

    @property
    def eager(self) -> bool:
        """Whether each safe point counts now."""
        return self.pending is not None

    def look(self, counts: dict[str, int]) -> None:
        """See what the others have written. `counts`: the safe points of each kind so far."""
        began = self._clock()
        text = self._board.get("up")
        if text != self._up:
            self._up = text
            told = json.loads(text) if text != "-" else {}
            self.signal = told.get("signal", self.signal)
            if told.get("off"):
                self.switch_off(told["off"])
        self._counts.append(dict(counts))
        if not self._all_here and sum(counts.values()) > 1:
            self._all_here = self._board.there([f"here/{rank}" for rank in self._others])
            if self._all_here:
                self.missing = None
            elif self._clock() - self._began > self._wait_s:
                self.missing = self.missing or self._absent()
        self.pace.looked(began)
        if self.missing:
            self.pace.next_s += SLOW_LOOK_S

    def _absent(self) -> str:
        present = [rank for rank in self._others[:NAMED_MAX] if self._board.there([f"here/{rank}"])]
        if not present:
            return f"only rank 0 calls farwatch: {SETUP}"
        absent = [str(rank) for rank in self._others[:NAMED_MAX] if rank not in present]
        return f"rank {', '.join(absent[:8]) or 'above 64'} does not call farwatch: {SETUP}"

    # --- proposing

    def propose(self, counts: dict[str, int], orders: list[dict[str, Any]]) -> bool:
        """Propose a safe point at which to do something; False if that cannot be yet."""
        if not self._all_here or self.pending is not None or self.off is not None:
            return False
        kind = self._choose(counts)
        if kind is None:
            self.measures = False
            return False
        stride = self.pace.strides[kind]
        self.measures = not stride.single
        lead = LEAD_MIN + int(self._lead * 1.5 * self.pace.interval_s / stride.step_s)
        if self.measures or self._rushes(lead):
            return False
        self._put(kind, counts[kind], counts[kind] + lead, orders)
        return True

    def _rushes(self, lead: int) -> bool:
        """Whether the loop is too fast to agree on a far safe point now: one that writes down its past will be a slow one soon."""
        if lead < LEAD_LONG:
            self._rushing = None
            return False
        now = self._clock()
        self._rushing = now if self._rushing is None else self._rushing
        return now - self._rushing < self._wait_s

    def propose_here(self, kind: str, orders: list[dict[str, Any]]) -> None:
        """The same during a pause, where all ranks stand at one place."""
        self._put(kind, 0, 0, orders)

    def _put(self, kind: str, since: int, at: int, orders: list[dict[str, Any]]) -> None:
        self._number += 1
        self._steps = {}
        self._board.set(f"now/{self._number}", str(since))
        now = self._clock()
        self._since = now if self._since is None else self._since
        self.pending = Proposal(self._number, kind, since, at, orders, now)
        self._publish(kind=kind, since=since, at=at, orders=orders)

    def _choose(self, counts: dict[str, int]) -> str | None:
        """The best kind of safe point that every rank comes by."""
        theirs = [set(json.loads(self._board.get(f"here/{rank}"))) for rank in self._others]
        mine = [kind for kind in KINDS if counts[kind] and self._live(kind, counts)]
        for kind in mine:
            if all(kind in kinds for kinds in theirs):
                self.missing = None
                return kind
            if counts[kind] < LEAD_MIN:
                return None  # the others may be about to come by
        self.missing = f"rank 0 comes by {' and '.join(mine) or 'no'} safe points, and some ranks do not: {SETUP}"
        return None

    def _live(self, kind: str, counts: dict[str, int]) -> bool:
        """Whether the program still comes by: a progress bar may have ended."""
        return len(self._counts) < LIVE_LOOKS or counts[kind] > self._counts[0].get(kind, 0)

    # --- deciding

    def come(self, kind: str, count: int, step: Any, asks: bool) -> Agreed | None:
        """Safe point `count` of a kind, at `step`."""
        proposal = self.pending
        if proposal is None:
            return None
        if proposal.kind != kind:
            if self._clock() - proposal.made > self._wait_s and self._stuck(proposal):
                self._decide(proposal, "late")
            return None
        self._steps[count] = step
        self._board.set(f"now/{proposal.number}", str(count))
        if not proposal.word:
            self._judge(proposal, count, asks)
        if self.pending is None or count < proposal.at:
            return None
        if not proposal.word:
            self._decide(proposal, "late")
            return None
        return self._go(proposal)

    def hold(self, asks: bool) -> Agreed | None:
        """The same during a pause."""
        proposal = self.pending
        if proposal is None:
            return None
        self._judge(proposal, 0, asks)
        if proposal.word:
            return self._go(proposal)
        if self.pending is not None and self._clock() - proposal.made > self._wait_s:
            absent = self._silent(proposal)
            self._decide(proposal, "late")
            self.switch_off(f"{absent} did not answer for {self._wait_s:g} s during a pause")
        return None

    def _stuck(self, proposal: Proposal) -> bool:
        return len(self._counts) == LIVE_LOOKS and self._counts[0].get(proposal.kind, 0) == self._counts[-1].get(proposal.kind, 0)

    def _judge(self, proposal: Proposal, count: int, asks: bool) -> None:
        """Write `go` if all have promised, and were at the same step as this rank at the same count."""
        keys = [f"promise/{proposal.number}/{rank}" for rank in self._others]
        if not self._board.there(keys):
            return
        promises = [json.loads(self._board.get(key)) for key in keys]
        if any(one["count"] > count and not one["apart"] for one in promises):
            return
        for rank, one in zip(self._others, promises, strict=True):
            mine = self._steps.get(one["count"])
            if one["no"]:
                self.refused |= {command: f"rank {rank}: {why}" for command, why in one["no"].items() if command not in self.refused}
            elif proposal.kind != "all" and None not in (mine, one["step"]) and mine != one["step"]:
                self._apart(proposal, f"rank {rank} was at step {one['step']} where rank 0 was at step {mine}")
                return
            elif one["apart"]:
                there = one["count"] + one["apart"]
                self._apart(proposal, f"rank {rank} was at its safe point number {one['count']} when rank 0 was at number {there}")
                return
        if self.refused:
            self._decide(proposal, "late", again=False)
            return
        together = asks and all(one["asks"] for one in promises)
        self._decide(proposal, "go" if together else "go, and leave")

    def _apart(self, proposal: Proposal, how: str) -> None:
        self._decide(proposal, "late", again=False)
        self.switch_off(f"{how}: call run.poll(all_ranks=True) once per step on every rank")

    def _decide(self, proposal: Proposal, word: str, *, again: bool = True) -> None:
        proposal.word = self._board.first(f"word/{proposal.number}", word)
        if proposal.word != "late":
            return
        absent = self._silent(proposal)
        self.pending = None
        self._publish()
        if not again:
            self._since, self._late = None, 0
            return
        self._late += 1
        self._lead = min(self._lead * 2, LEAD_MAX)
        if self._late >= LATE_MAX and self._since is not None and self._clock() - self._since > self._wait_s:
            self.switch_off(f"{absent} did not come to a safe point in time, for {self._wait_s:g} s")

    def _silent(self, proposal: Proposal) -> str:
        silent = [rank for rank in self._others[:NAMED_MAX] if not self._board.there([f"promise/{proposal.number}/{rank}"])]
        return f"rank {', '.join(map(str, silent[:8]))}" if silent else "some rank"

    def _go(self, proposal: Proposal) -> Agreed:
        self.pending = None
        self._since, self._late, self._lead = None, 0, 1.0
        self._publish(busy=True)
        return Agreed(proposal.number, proposal.orders, proposal.word == "go")

    # --- afterwards

    def idle(self) -> None:
        """Say that what was agreed is done here."""
        self._publish()

    def known(self, number: int) -> bool:
        """Whether all ranks have read what was decided."""
        return self._board.there([f"known/{number}/{rank}" for rank in self._others])

    def gather(self, number: int) -> list[tuple[int, str, str]] | None:
        """What went wrong on other ranks: rank, command, what; None until all have told."""
        keys = [f"done/{number}/{rank}" for rank in self._others]
        if not self._board.there(keys):
            return None
        told = [(rank, json.loads(self._board.get(key))) for rank, key in zip(self._others, keys, strict=True)]
        return [(rank, command, why) for rank, troubles in told for command, why in troubles]

    def beat(self) -> None:
        """Show the others, during a pause, that this rank lives."""
        self._beat += 1
        if self.pending is None:
            self._publish()

    def switch_off(self, why: str) -> None:
        """No more commands in this run, on any rank."""
        self.off = self.off or why
        if self.pending is not None:
            self.pending.word = self._board.first(f"word/{self.pending.number}", "late")
            if self.pending.word == "late":
                self.pending = None
        self._publish()

    def leave(self, why: str) -> Proposal | None:
        """This rank ends. Returns what the others may do without it, because all had agreed."""
        left = self.pending
        self.switch_off(f"rank 0: {why}")
        self.pending = None
        return left if left is not None and left.word.startswith("go") else None

    def _publish(self, **more: Any) -> None:
        state = {"p": self._number, "beat": self._beat, **({"off": self.off} if self.off else {}), **more}
        self._board.set("state", json.dumps(state))
