"""What a program lets people do with its run: knobs, commands and hooks, and the values that knobs had before."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from farwatch.errors import UsageError
from farwatch.sdk.kept import Kept
from farwatch.wire.commands import Order

F = TypeVar("F", bound=Callable[..., Any])

HOOKS = ("stop", "checkpoint")


class Steered(Protocol):
    """What steering needs of its run."""

    heard: int

    @property
    def alive(self) -> bool:
        """False in a fork."""
        ...

    def write_event(self, body: dict[str, Any], step: Any = None) -> bool: ...

    def declare(self, body: dict[str, Any]) -> None: ...

    def paused(self, yes: bool) -> None: ...

    def care(self) -> None: ...

    def say(self, text: str) -> None: ...


class Offers:
    """What one run offers. *Threads*: that of the run. *Errors*: `UsageError` for a declaration that cannot be right.

    `kept`: what people changed in this run on this machine before.
    """

    def __init__(self, run: Steered, kept: Kept) -> None:
        self._run = run
        self.knobs: dict[str, Any] = {}
        self.commands: dict[str, Any] = {}
        self.hooks: dict[str, list[Callable[[], Any]]] = {name: [] for name in HOOKS}
        self._kept = kept
        self._set_here: set[str] = set()  # knobs that people have set in this process
        self._unknown: list[Order] = []  # kept values of knobs that are not declared yet
        self._waiting: list[Order] = []  # what is to be done at the next safe point

    def declare_knob(self, name: str, default: Any, *, get: Any = None, keep: Any = None, **about: Any) -> Any:
        """Make a knob, at the value that a person has given it in this run before. `get`, `keep`: see `Knob`."""
        from farwatch.sdk.knob import make_knob  # for programs that can be steered

        knob = make_knob(name, default, **about)
        knob.follow(get, keep)
        before = self.knobs.get(name)
        self.knobs[name] = knob
        kept = self._kept.values.get(name)
        if before is not None and (name in self._set_here or before.chosen != before.declared["default"]):
            self._restore(knob, before.chosen, None)
        elif kept is not None:
            self._restore(knob, kept.get("new"), kept)
        self._run.declare({"knobs": {name: {**knob.declared, "value": knob.value}}})
        waiting = [order for order in self._unknown if order.args.get("name") == name]
        if waiting:
            self._unknown = [order for order in self._unknown if order not in waiting]
            self._waiting += waiting
            self._run.heard = -1
        return knob

    def _restore(self, knob: Any, value: Any, kept: dict[str, Any] | None) -> None:
        try:
            knob.restore(value)
        except Exception as error:  # of the program's setter; or the knob takes other values now
            self._run.say(f"knob {knob.name} does not keep {value!r}: {error}")
            return
        if kept is not None:
            self._run.say(f"knob {knob.name} keeps {knob.value!r}, set by {kept.get('actor')} ({kept.get('channel')})")

    def declare_command(self, function: F) -> F:
        """Let people call a function."""
        from farwatch.sdk.knob import Declared  # for programs that can be steered

        declared = Declared(function)
        self.commands[declared.name] = declared
        self._run.declare({"commands": {declared.name: declared.body()}})
        return function

    def add_hook(self, event: str, function: F) -> F:
        """Run a function at the safe point of a stop or a checkpoint."""
        if event not in HOOKS:
            raise UsageError(f"on takes {' or '.join(HOOKS)}, not: `{event}`")
        if not callable(function):
            raise UsageError(f"on(`{event}`) takes a function, not {type(function).__qualname__}")
        self.hooks[event].append(function)
        self._run.declare({"hooks": [name for name in HOOKS if self.hooks[name]]})
        return function
