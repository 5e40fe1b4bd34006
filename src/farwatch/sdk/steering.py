"""What a run does when somebody asks something of it: safe points, what is done at them, pause and stop.

Commands are applied on the thread that called `init`, at safe points, never inside each other. Knobs change at any safe
point, `log` included where the step has advanced; everything else waits for a *full* one: `poll`, `progress` or the end of an
integration's step, or, in a program that has none of these, a `log` of a new step. [H 17]

An event is written down before it begins and after it has ended, so that whoever reads the journal knows what was begun and
never finished. Nothing here raises into the training but `Stopped`. [H 18]
"""

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from farwatch.errors import UsageError
from farwatch.sdk.config import json_safe
from farwatch.sdk.inbox import Inbox
from farwatch.sdk.kept import Kept
from farwatch.sdk.offers import HOOKS, Offers, Steered
from farwatch.sdk.signals import Signals
from farwatch.sdk.stopped import Stopped, leaving, stop_reason
from farwatch.wire.commands import (
    RESULT_MAX_BYTES,
    RESUME,
    CommandState,
    Op,
    Order,
    WrongValue,
    newest_wishes,
    shown_args,
)

F = TypeVar("F", bound=Callable[..., Any])

PAUSE_LOOK_S = 0.05
PAUSE_CARE_S = 10.0
PATIENCE_LOOPS = 2  # a program that is stopping may begin so many loops more, of a final evaluation, before one raises
PATIENCE_STEPS = 2  # a program that once asked `should_stop`, or has caught `Stopped`, may do so many steps before a stop raises
SEEN_KEPT = 4_096  # ids of commands; an agent may offer again what it had delivered and not told, up to a ring full of them
NO_BELL: Any = (0,)


class Steering(Offers):
    """The commands of one run in this process.

    *Threads*: made by the thread that it then serves; `safe_point` on any other thread does nothing. *Errors*: `safe_point` raises
    `Stopped` only; declarations raise `UsageError`.

    `kept`: file with what people changed in this run on this machine, read again when the run resumes.
    """

    many = False  # whether every safe point is counted

    def __init__(
        self, run: Steered, inbox: Inbox | None, *, kept: Path | None, pause_max_s: float,
        mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:  # fmt: skip
        super().__init__(run, Kept(kept))
        self._inbox = inbox
        self._pause_max_s = pause_max_s
        self._mono_ns = mono_ns
        self._thread = threading.get_ident()
        self.bell: Any = NO_BELL if inbox is None else inbox.bell
        self.off: str | None = None
        self._at: Any = None  # the step of what is written down, if not the newest
        self.stopping: Order | None = None
        self._seen = dict(self._kept.commands)
        self._due: list[tuple[Order, Order | None]] = []  # what this safe point is about to do
        self._doing: Order | None = None  # the event that is under way
        self._closed = False
        self._active = False
        self._polls = False  # the program comes by full safe points of its own making
        self._loops = 0  # how many loops are open that do so
        self._places: set[object] = set()  # where they stand in the program
        self._late_loops = 0  # how many it has begun although it was told to stop
        self._asks = False  # the program reads `should_stop` or iterates `progress`
        self._told = False
        self._patience = PATIENCE_STEPS
        self._signals = Signals(self._ring)
        self._guests: deque[Order] = deque()  # from other threads of this process
        self._paused = False

    def _ring(self) -> None:
        self._run.heard = -1

    def add_hook(self, event: str, function: F) -> F:
        """Run a function at the safe point of a stop or a checkpoint. With one for a stop, signals are commands as well."""
        super().add_hook(event, function)
        if event == "stop":
            self._signals.listen()
        return function

    def ask(self, order: Order) -> None:
        """Take a command of this process's own, from any thread; it is done at the next safe point."""
        self._guests.append(order)
        self._ring()

    def guest(self) -> Any:
        """How an integration steers the run."""
        from farwatch.sdk.guest import Guest  # for programs with an integration

        return Guest(self._run, self)

    def _take_signals(self) -> None:
        while self._guests:
            self._waiting.append(self._guests.popleft())
        for name in self._signals.take() if self._signals else ():
            saves = name == "SIGUSR1" and bool(self.hooks["checkpoint"])
            op = Op.CHECKPOINT if saves else Op.STOP
            if saves:
                self._signals.listen_again(name)
            self._waiting.append(Order(f"signal-{os.urandom(16).hex()}", 0, op, {}, name, "signal", 1 << 62))

    # --- stopping

    @property
    def should_stop(self) -> bool:
        """Whether the program should leave its loop; having asked, it is not stopped by `Stopped`. Also a full safe point."""
        self._asks = True
        return self._look()

    def care(self, now_ns: int, look: Callable[[int], None]) -> None:
        """What `log` does when it is time to: `look` around."""
        look(now_ns)

    def came_by(self) -> None:
        """Note that the program has full safe points of its own, so that a `log` need not be one."""
        self._polls = True

    def iterates(self, place: object = None) -> bool:
        """Note that the program begins a loop that ends by itself where somebody stops the run. `place`: where in the program it stands.

        Returns False for a loop that begins only after the stop and that the program has not come to before, a final evaluation say: it
        is to end by its own clock. Raises `Stopped` in a program that goes on and on beginning loops, such as one of epochs around them.
        """
        if threading.get_ident() != self._thread:
            return True  # of a thread that stops nothing
        if self._told and not leaving() and place is not None and place not in self._places:
            self._loops += 1
            return False
        self._places.add(place)
        if self._told and not leaving():
            self._late_loops += 1
            if self.stopping is not None and self._late_loops > PATIENCE_LOOPS:
                raise Stopped(stop_reason(self.stopping))
        self._asks = True
        self._loops += 1
        return True

    def loop_ended(self) -> None:
        """Note that the newest of these loops has ended: without one, a `log` is what is left to stop the program at."""
        if threading.get_ident() == self._thread:
            self._loops = max(0, self._loops - 1)

    def rests(self) -> None:
        """Note that an integration's loop has ended, behind which the program asks no more; and signals are nobody's."""
        self.loop_ended()
        self._asks = self._loops > 0
        if not self.hooks["stop"] and not self._signals:
            self._signals.leave()
            self._signals = Signals(self._ring)

    def step_end(self) -> bool:
        """The end of a step of an integration or of `progress`: a full safe point. Returns whether to leave the loop."""
        self._asks = True
        return self._look()

    def _look(self) -> bool:
        if self.bell[0] != self._run.heard and self._serves():
            self.visit(full=True, advanced=True)
        if self.stopping is not None:
            self._told = True
        return self.stopping is not None

    def _serves(self) -> bool:
        """Whether commands may be applied here: on the thread of the run, not inside another, not in a fork with its parent's inbox."""
        return threading.get_ident() == self._thread and not (self._active or self._closed) and self._run.alive

    # --- safe points

    def safe_point(self, *, full: bool, advanced: bool, all_ranks: bool = False) -> None:
        """Apply what waits. Raises `Stopped` when the run is to end and the program does not ask by itself.

        `full`: called by `poll`; a `log` is full only in programs that have nothing better. `advanced`: the step has, since the last call.
        """
        if not self._serves():
            return
        if full:
            self._polls = True
        self.visit(full=full or (advanced and not self._polls and not self._loops), advanced=advanced or full)
        if self.stopping is None or self._told or leaving():
            return
        if self._asks and self._patience > 0:
            self._patience -= advanced
            self._run.heard = -1
            return
        self._asks, self._patience = True, PATIENCE_STEPS  # whoever catches it may log what came out
        raise Stopped(stop_reason(self.stopping))

    def visit(self, *, full: bool, advanced: bool) -> None:
        """Take what has come, and apply what may be applied here."""
        self._active = True
        try:
            rung = self.bell[0]
            self._take()
            if self._waiting and advanced:
                self._work(full)
            self._run.heard = rung
            left = self._waiting or self._signals or self._guests or self.stopping is not None  # a stop: every loop is to hear of it
            if left or (self._inbox is not None and self._inbox.taken != rung):
                self._run.heard = -1
        finally:
            self._active = False

    def _take(self) -> None:
        """Take what has come. What comes again, because somebody died before he told that it was delivered, is passed over."""
        come: list[Order] = []
        try:
            if self._inbox is not None:
                self._inbox.take(come)
        finally:
            for order in come:
                if order.id not in self._seen:
                    self._seen[order.id] = None
                    self._waiting.append(order)
            while len(self._seen) > SEEN_KEPT:
                del self._seen[next(iter(self._seen))]
        self._take_signals()

    def _work(self, full: bool) -> None:
        self._due, self._waiting = newest_wishes(self._waiting), []
        self._due.sort(key=lambda one: one[0].op is Op.PAUSE)  # last: what else has come is not to wait for its end
        while self._due:
            order, newer = self._due.pop(0)
            try:
                if order.expires_us < self._mono_ns() // 1000:  # first, as its server says; and what is done before it may take an hour
                    self._end(order, CommandState.EXPIRED, "it came to a safe point too late")
                elif newer is not None:
                    self._end(order, CommandState.SUPERSEDED, f"{newer.actor} asked for something else")
                elif (why := self._why_off(order)) is not None:
                    self._end(order, CommandState.REFUSED, why)
                elif order.op is Op.SET:
                    self._set(order)
                elif not full:
                    self._waiting.append(order)
                else:
                    self._act(order)
            except BaseException:
                self._waiting += [one for one, _ in self._due]
                self._due = []
                raise

    def _why_off(self, order: Order) -> str | None:
        return self.off

    def _act(self, order: Order) -> None:
        """Do what needs a full safe point."""
        if order.op is Op.PAUSE:
            if self.stopping is not None:
                self._end(order, CommandState.REFUSED, "the run is stopping")
            elif self._paused:
                self._end(order, CommandState.APPLIED, "it was paused already")
            else:
                self._pause(order)
        elif order.op is Op.UNPAUSE:
            self._end(order, CommandState.APPLIED, "" if self._paused else "it was not paused")
            self._paused = False
        elif order.op is Op.STOP:
            self._stop(order)
        elif order.op is Op.CHECKPOINT:
            self._checkpoint(order)
        elif order.op is Op.CALL:
            self._call(order)
        else:
            self._end(order, CommandState.REFUSED, f"a trainer does not {order.op}")

    def _set(self, order: Order) -> None:
        name = order.args.get("name")
        knob = self.knobs.get(name) if isinstance(name, str) else None
        if knob is None and order.channel == RESUME:
            self._unknown.append(order)  # its program may declare the knob later
            return
        if knob is None:
            known = ", ".join(self.knobs) or "none"
            self._end(order, CommandState.REFUSED, f"no knob is called `{name!s:.100}`; there are: {known}")
            return
        if order.channel == RESUME and name in self._set_here:
            self._end(order, CommandState.SUPERSEDED, "it has been set again since")
            return
        try:
            if knob.has_setter:
                self._start(order)
            take = knob.restore if order.channel == RESUME else knob.change
            old, new, said = take(order.args.get("value"))
        except (WrongValue, UsageError) as error:
            self._end(order, CommandState.REFUSED, str(error))
        except Exception as error:
            self._end(order, CommandState.REFUSED, f"its setter raised {_named(error)}")
        except BaseException:
            self._end(order, CommandState.INTERRUPTED, "its setter left the program")
            raise
        else:
            if order.channel not in (RESUME, "program"):
                self._set_here.add(str(name))
            self._run.declare({"knobs": {name: {**knob.declared, "value": new, "by": order.actor}}})
            self._end(order, CommandState.APPLIED, said, old=old, new=new)

    def _stop(self, order: Order) -> None:
        if self.stopping is not None:
            self._end(order, CommandState.APPLIED, "it was stopping already")
            return
        self._start(order)  # a stop is obeyed even if the disk takes no word of it
        troubles = []
        for hook in self.hooks["stop"]:
            try:
                hook()
            except Exception as error:
                troubles.append(f"the stop hook raised {_named(error)}")
            except BaseException:
                self._end(order, CommandState.INTERRUPTED, "the stop hook left the program")
                raise
        self.stopping = self.stopping or order
        self._paused = False
        self._end(order, CommandState.APPLIED, "; ".join(troubles))

    def _checkpoint(self, order: Order) -> None:
        if not self.hooks["checkpoint"]:
            self._end(order, CommandState.REFUSED, 'the program says nowhere how to save: it needs @run.on("checkpoint")')
            return
        self._event(order, "the checkpoint hook", lambda: [hook() for hook in self.hooks["checkpoint"]][-1])

    def _call(self, order: Order) -> None:
        name, given = order.args.get("name"), order.args.get("args") or {}
        declared = self.commands.get(name) if isinstance(name, str) else None
        if declared is None or not isinstance(given, dict):
            known = ", ".join(self.commands) or "none"
            self._end(order, CommandState.REFUSED, f"no command is called `{name!s:.100}`; there are: {known}")
            return
        self._event(order, declared.name, lambda: declared.call(given))

    def _event(self, order: Order, what: str, call: Callable[[], Any]) -> None:
        """Do something at most once: written down before and after."""
        if not self._start(order):
            self._end(order, CommandState.REFUSED, f"not begun: {what} could not be written down, so nobody would know")
            return
        try:
            result = call()
        except (WrongValue, UsageError) as error:
            self._end(order, CommandState.REFUSED, str(error))
        except Exception as error:
            self._end(order, CommandState.REFUSED, f"{what} raised {_named(error)}")
        except BaseException:
            self._end(order, CommandState.INTERRUPTED, f"{what} left the program")
            raise
        else:
            self._end(order, CommandState.APPLIED, "", result=result)

    # --- pause

    def _pause(self, order: Order) -> None:
        """Hold this thread until somebody lets it go, or for `pause_max_s`; other commands are applied meanwhile."""
        self._end(order, CommandState.APPLIED, "")
        self._paused = True
        self._run.paused(True)
        until = time.monotonic() + self._pause_max_s
        care = time.monotonic() + PAUSE_CARE_S
        try:
            while self._paused and not self._closed and time.monotonic() < until:
                time.sleep(PAUSE_LOOK_S)
                self._take()
                if self._waiting:
                    self._work(True)
                if time.monotonic() > care:
                    care = time.monotonic() + PAUSE_CARE_S
                    self._run.care()
            if self._paused and not self._closed:
                self._run.say(f"paused for {self._pause_max_s:g} s, which is the longest: the training goes on")
        finally:
            self._paused = False
            if not self._closed:  # else it has ended meanwhile: by another thread, or by a command of its own
                self._run.paused(False)

    # --- what is written down

    def _start(self, order: Order) -> bool:
        """Write down that an event begins; whether that is in the journal."""
        self._doing = order
        return self._run.write_event({**_about(order), "event": "started"})

    def _end(
        self, order: Order, state: CommandState, reason: str, *, result: Any = None, old: Any = None, new: Any = None
    ) -> None:
        self._doing = None
        if self._closed or not self._run.alive:
            return  # the run has ended in the middle of it, and has told so; or a fork came back from it, which is its parent's
        body = {**_about(order), "event": "ended", "state": str(state)}
        told = {"reason": reason[:1_000] or None, "result": _short(result), "old": json_safe(old), "new": json_safe(new)}
        body |= {name: value for name, value in told.items() if value is not None}
        self._run.write_event(body, self._at)
        if state is CommandState.APPLIED:
            self._kept.add(body)

    def disown(self) -> None:
        """Serve no thread any more, in a forked child: what people ask is asked of its parent."""
        self._thread = -1
        self._inbox = None
        self.bell = NO_BELL
        self._doing, self._due, self._waiting, self._unknown = None, [], [], []
        self._guests.clear()
        self._closed = True

    def close(self, why: str) -> None:
        """Answer what has come and was not applied: the run ends. May be called by a hook, in the middle of its command."""
        doing = self._doing
        if doing is not None and doing.op is Op.STOP:
            self.stopping = doing
            self._end(doing, CommandState.APPLIED, "its hook has ended the run")
        elif doing is not None:
            self._end(doing, CommandState.INTERRUPTED, "the run was finished before it returned")
        if threading.get_ident() == self._thread:
            self._take()
        for order in (*(one for one, _ in self._due), *self._waiting, *self._unknown):
            self._end(order, CommandState.REFUSED, why)
        self._due, self._waiting, self._unknown = [], [], []
        self._closed = True
        self._signals.leave()
        if self._inbox is not None:
            self._inbox.close()


def _about(order: Order) -> dict[str, Any]:
    args = json_safe(shown_args(order.op, order.args))
    return {"command": order.id, "seq": order.seq, "op": str(order.op), "args": args, "actor": order.actor, "channel": order.channel}


def _named(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error!s:.500}"
    except Exception:  # of the program's own `__str__`
        return type(error).__name__


def _short(result: Any) -> Any:
    """What a command returned, as JSON can hold it and no larger than may be sent."""
    if result is None:
        return None
    safe = json_safe(result)
    text = json.dumps(safe)
    if len(text) <= RESULT_MAX_BYTES:
        return safe
    return f"{text[: RESULT_MAX_BYTES // 2]}… ({len(text)} characters in all)"


__all__ = ["HOOKS", "NO_BELL", "Steered", "Steering", "Stopped", "stop_reason"]
