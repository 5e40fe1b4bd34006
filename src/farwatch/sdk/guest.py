"""How an integration steers a run: what it offers people while a framework trains, and takes back afterwards.

A program's own declarations come first: a knob, or a command, that it has under the same name is left alone.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from farwatch.errors import UsageError
from farwatch.sdk.steering import Steering

Hook = Callable[[], Any]


class Guest:
    """One integration in one run; made by `Steering.guest`, open from `begin` to `end`, which may follow each other again.

    *Threads*: that which called `init`. *Ranks*: all of them make the same calls in the same order. *Errors*: `UsageError` for a
    declaration that cannot be right.
    """

    def __init__(self, run: Any, steering: Steering) -> None:
        self._run = run
        self._steering = steering
        self._open = False
        self._mine: set[str] = set()
        self._hooks: list[tuple[str, Hook]] = []
        self._total: float | None = None

    def begin(self) -> None:
        """From here on `step_end` is called, so no `log` stops the framework.

        Raises `Stopped` in a program that goes on and on training after it was told to stop, such as one with folds.
        """
        self.end()  # of a training that an exception has left
        self._steering.iterates()
        self._open = True

    def end(self) -> None:
        """The framework trains no more: hooks are gone, knobs and commands refuse."""
        if self._open:
            self._open = False
            hooks = self._steering.hooks
            for event, hook in self._hooks:
                hooks[event].remove(hook)
            self._hooks.clear()
            self._run.declare({"hooks": [event for event, found in hooks.items() if found]})
            self._steering.rests()

    def step_end(self) -> bool:
        """A full safe point, in the same place on all ranks. Returns whether to stop."""
        return self._steering.step_end()

    def on(self, event: str, hook: Hook) -> None:
        """Run a function at a stop or a checkpoint, until `end`."""
        self._steering.add_hook(event, hook)
        self._hooks.append((event, hook))

    def knob(
        self,
        name: str,
        default: Any,
        *,
        set: Callable[[Any], object],
        get: Hook | None = None,
        keep: Callable[[Any], object] | None = None,
        min: float | None = None,
        max: float | None = None,
        log: bool = False,
    ) -> Any:
        """Declare a knob. `get`: its value now; `keep`: brings a value back when the run resumes. None: the program has one itself."""
        if name in self._steering.knobs and name not in self._mine:
            return None
        self._mine.add(name)
        return self._steering.declare_knob(
            name, default, min=min, max=max, choices=None, log=log, set_=self._while_open(set), get=get,
            keep=None if keep is None else self._while_open(keep),
        )  # fmt: skip

    def command(self, function: Callable[..., Any]) -> None:
        """Declare a command of the integration's own."""
        name = function.__name__
        if name in self._steering.commands and name not in self._mine:
            return
        self._mine.add(name)
        self._steering.declare_command(self._while_open(function))

    def total_steps(self, total: float | None) -> None:
        """Say at which step the training will be done."""
        if total is not None and total > 0 and total != self._total:
            self._total = total
            self._run.patch({"total_steps": total})

    def _while_open(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def checked(*args: Any, **given: Any) -> Any:
            if not self._open:
                raise UsageError("the training that it belongs to has ended")
            return call(*args, **given)

        return checked
