"""How a stop leaves a program."""

import sys

from farwatch.wire.commands import Order

DEPTH = 20  # of exceptions that were raised while another was handled


class Stopped(SystemExit):
    """Raised at a safe point when somebody has stopped the run.

    A `SystemExit` with code 0: `finally` and `with` blocks run, `except Exception` does not catch it, and the program ends well.
    """

    def __init__(self, reason: str = "stopped") -> None:
        super().__init__(0)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


def leaving() -> bool:
    """Whether `Stopped` is on its way out: what a `finally` or `with` block of the program logs is kept, and raises no second one."""
    error = sys.exc_info()[1]
    for _ in range(DEPTH):
        if error is None or isinstance(error, Stopped):
            break
        error = error.__context__
    return isinstance(error, Stopped)


def stop_reason(order: Order) -> str:
    """Who stopped a run, as its reason says."""
    if order.channel == "signal":
        return f"stopped by {order.actor}"
    return f"stopped by {order.actor} ({order.channel})"
