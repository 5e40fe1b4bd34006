"""Values that people may change while the training runs, and commands that the program declares."""

import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from farwatch.errors import UsageError
from farwatch.wire.commands import KNOB_TYPES, WrongValue, read_value

T = TypeVar("T", float, int, bool, str)
DOC_MAX = 500  # characters of a command's docstring that are shown
CHOICES_MAX = 100
NAME_MAX = 100


class Knob(Generic[T]):
    """A value that people may change; the program reads `value` where it uses it.

    Made by `run.knob`. It changes at safe points only, on the thread that called `init`. `set`, if given, is called with
    the new value there; what it raises refuses the change. `get`, if given, says what the value is now, where the program changes
    it as well; `keep` brings a person's value back when the run resumes, where that is not the same as setting it.
    """

    __slots__ = ("_get", "_keep", "_set", "chosen", "declared", "name")

    def __init__(self, name: str, default: T, declared: dict[str, Any], set_: Callable[[T], object] | None) -> None:
        self.name = name
        self.declared = declared
        self.chosen: T = default  # by the program at first, then by people
        self._set: Callable[[T], object] | None = set_
        self._get: Callable[[], T] | None = None
        self._keep: Callable[[T], object] | None = None

    def follow(self, get: Callable[[], T] | None, keep: Callable[[T], object] | None) -> None:
        """Take note of a value that the program changes as well."""
        self._get, self._keep = get, keep

    @property
    def value(self) -> T:
        """The value as it is now."""
        return self.chosen if self._get is None else self._get()

    @property
    def has_setter(self) -> bool:
        """Whether the program does something of its own when it changes."""
        return self._set is not None or self._keep is not None

    def change(self, value: Any) -> tuple[T, T, str]:
        """Check a person's value and take it over. Returns old value, new value, and what the setter said of it.

        Raises `WrongValue`, or whatever the setter raises; then nothing has changed.
        """
        return self._take(value, self._set)

    def restore(self, value: Any) -> tuple[T, T, str]:
        """Take over what a person chose in an earlier life of the run; otherwise as `change`."""
        return self._take(value, self._keep or self._set)

    def _take(self, value: Any, set_: Callable[[T], object] | None) -> tuple[T, T, str]:
        new: T = read_value(self.declared, value, name=self.name)
        old = self.value
        said = set_(new) if set_ is not None else None
        self.chosen = new
        return old, new, said if isinstance(said, str) else ""

    def __repr__(self) -> str:
        return f"<farwatch.Knob {self.name}={self.value!r}>"


def make_knob(
    name: str,
    default: Any,
    *,
    min: Any,
    max: Any,
    choices: Iterable[Any] | None,
    log: bool,
    set_: Callable[[Any], object] | None,
) -> Knob[Any]:
    """Check a declaration. Raises `UsageError` for one that cannot be right."""
    _check_name(name, "a knob")
    kind = next((word for word, python in KNOB_TYPES.items() if type(default) is python), None)
    if kind is None and hasattr(default, "item"):  # a NumPy scalar
        return make_knob(name, default.item(), min=min, max=max, choices=choices, log=log, set_=set_)
    if kind is None:
        raise UsageError(f"knob `{name}` must be a float, int, bool or str, not {type(default).__qualname__}")
    if set_ is not None and not callable(set_):
        raise UsageError(f"knob `{name}`: set must be callable")
    if kind not in ("float", "int") and (min is not None or max is not None or log):
        raise UsageError(f"knob `{name}` is a {kind}: min, max and log are for numbers")
    limits = {"min": min, "max": max}
    for word, limit in limits.items():
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float)):
            raise UsageError(f"knob `{name}`: {word} must be a number, not: `{limit}`")
    if min is not None and max is not None and min > max:
        raise UsageError(f"knob `{name}`: min {min} is above max {max}")
    if log and not (default > 0 and (min is None or min > 0)):
        raise UsageError(f"knob `{name}`: log needs values above 0")
    declared = {"type": kind, "default": default, **limits, "choices": _choices(name, choices), "log": bool(log)}
    try:
        read_value(declared, default, name=name)
    except WrongValue as error:
        raise UsageError(f"knob `{name}`: its first value is not one that it takes: {error}") from None
    return Knob(name, default, declared, set_)


def _choices(name: str, choices: Iterable[Any] | None) -> list[Any] | None:
    if choices is None:
        return None
    listed = list(choices)
    if not 0 < len(listed) <= CHOICES_MAX or not all(isinstance(one, float | int | bool | str) for one in listed):
        raise UsageError(f"`{name}`: choices are 1 to {CHOICES_MAX} numbers, texts or booleans")
    return listed


def _check_name(name: Any, what: str) -> None:
    if not isinstance(name, str) or not name.strip() or len(name) > NAME_MAX or not name.isprintable():
        raise UsageError(f"the name of {what} is a printable text of 1 to {NAME_MAX} characters, not: `{name!r:.120}`")


class Declared:
    """A command of the program: what people may call, with which arguments."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Raises `UsageError` for a function whose arguments people cannot type."""
        if not callable(function):
            raise UsageError(f"a command is a function, not {type(function).__qualname__}")
        self.function = function
        self.name = getattr(function, "__name__", "")
        _check_name(self.name, "a command")
        try:
            hints = typing.get_type_hints(function)
        except Exception:  # an annotation that cannot be evaluated here; its text will do
            hints = dict(getattr(function, "__annotations__", {}))
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError) as error:
            raise UsageError(f"command `{self.name}`: its arguments are not known") from error
        self.arguments = {one.name: _argument(self.name, one, hints.get(one.name)) for one in parameters}

    def body(self) -> dict[str, Any]:
        """What a page needs to draw its form."""
        doc = (inspect.getdoc(self.function) or "")[:DOC_MAX]
        return {"doc": doc, "args": [{"name": name, **about} for name, about in self.arguments.items()]}

    def call(self, given: dict[str, Any]) -> Any:
        """Check a person's arguments and call it. Raises `WrongValue`, or what the function raises."""
        for name in given:
            if name not in self.arguments:
                known = ", ".join(self.arguments) or "none"
                raise WrongValue(f"{self.name} has no argument `{name[:100]}`; it has: {known}")
        bound = {}
        for name, about in self.arguments.items():
            if name in given and not (given[name] is None and about["default"] is None):
                bound[name] = read_value(about, given[name], name=name)
            elif about["required"]:
                raise WrongValue(f"{self.name} needs `{name}`")
        return self.function(**bound)


def _argument(command: str, parameter: inspect.Parameter, hint: Any) -> dict[str, Any]:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise UsageError(f"command `{command}`: `{parameter}` cannot be typed by a person; give each argument a name")
    required = parameter.default is parameter.empty
    default = None if required else parameter.default
    choices = None
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [one for one in typing.get_args(hint) if one is not type(None)]
        hint = rest[0] if len(rest) == 1 else str
    if typing.get_origin(hint) is typing.Literal:
        choices = list(typing.get_args(hint))
        hint = type(choices[0])
    if hint is None:
        hint = type(default) if default is not None else str
    kind = next((word for word, python in KNOB_TYPES.items() if hint is python or hint == word), None)
    if kind is None or isinstance(default, enum.Enum):
        shown = getattr(hint, "__name__", hint)
        raise UsageError(
            f"command `{command}`: `{parameter.name}` is a {shown}; arguments are float, int, bool, str or a Literal of these"
        )
    return {"type": kind, "required": required, "default": default, "choices": choices}
