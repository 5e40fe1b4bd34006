"""May this person do this to this run? The one place where that is decided."""

import math
import threading
from collections import deque
from typing import Any

from farwatch.clock import Clock
from farwatch.errors import BusyError, ConfirmError, ForbiddenError
from farwatch.service.access import Actor
from farwatch.wire.commands import Op

PER_MINUTE = 60  # commands of one person; a slider that is dragged sends some ten
STARTS_PER_HOUR = 5
BIG_FACTOR = 10.0
SCOPES = {Op.START: "start"}  # all others: `steer`


class Permission:
    """Decides about commands. *Threads*: any."""

    def __init__(self, clock: Clock, *, starts_per_hour: int = STARTS_PER_HOUR) -> None:
        self._clock = clock
        self._starts_per_hour = starts_per_hour
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, str], deque[float]] = {}

    def check(self, actor: Actor, op: Op) -> None:
        """Raise `ForbiddenError` where the scope is missing, `BusyError` for too many commands of one person."""
        scope = SCOPES.get(op, "steer")
        if not actor.may(scope):
            raise ForbiddenError(f"this needs the scope: `{scope}`")
        self._count(actor, "all", PER_MINUTE, 60.0, "commands")
        if op is Op.START:
            self._count(actor, "start", self._starts_per_hour, 3_600.0, "starts")

    def confirm(self, op: Op, args: dict[str, Any], current: Any, what: str, confirmed: bool) -> None:
        """Raise `ConfirmError` for a command that is dangerous and has not been confirmed.

        `current`: the value of the knob that is to be set, if there is one. `what`: the run's or profile's name.
        """
        if confirmed:
            return
        if op is Op.KILL:
            raise ConfirmError(f"kill ends {what} at once, without saving", hint="stop lets it save; or confirm")
        if op is Op.START:
            raise ConfirmError(f"this starts {what} on that machine", hint="confirm to start it")
        if op is Op.SET and (factor := _factor(current, args.get("value"))) is not None and factor >= BIG_FACTOR:
            change = f"{current:g} → {args['value']:g}"
            raise ConfirmError(f"{args.get('name')} {change} is a change by a factor of {factor:.3g}", hint="confirm to set it")

    def _count(self, actor: Actor, what: str, limit: int, per_s: float, named: str) -> None:
        now = self._clock.mono_us() / 1e6
        with self._lock:
            times = self._asked.setdefault((actor.key, what), deque())
            while times and times[0] < now - per_s:
                times.popleft()
            if len(times) >= limit:
                wait_s = max(1, math.ceil(times[0] + per_s - now))
                raise BusyError(f"{limit} {named} in {per_s:g} s are the most", hint=f"wait {wait_s} s", retry_after_s=wait_s)
            times.append(now)


def _factor(old: Any, new: Any) -> float | None:
    """By which factor a number changes, 1 or more; None where that says nothing."""
    if any(isinstance(one, bool) or not isinstance(one, int | float) or not one for one in (old, new)):
        return None
    ratio = abs(float(new) / float(old))
    return max(ratio, 1 / ratio)
