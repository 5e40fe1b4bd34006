"""Commands: what people ask of a run, on the way from whoever asks to the safe point where it is done.

Two kinds. *Desired state* (a knob's value, pause) can be said again without harm. *Events* (stop, checkpoint, a command of
the program, kill, start) happen at most once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from farwatch.wire.redact import is_secret_name, mask_mapping


class Op(StrEnum):
    """What a command asks for."""

    STOP = "stop"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    CHECKPOINT = "checkpoint"
    SET = "set"
    CALL = "call"
    KILL = "kill"
    START = "start"


DESIRED = frozenset({Op.SET, Op.PAUSE, Op.UNPAUSE})
BY_TRAINER = frozenset({Op.STOP, Op.PAUSE, Op.UNPAUSE, Op.CHECKPOINT, Op.SET, Op.CALL})
BY_AGENT = frozenset({Op.KILL, Op.START})


BY_HAND = "-sync"  # ends the name by which `farwatch sync` ships


def takes_orders(agent: str) -> bool:
    """Whether an agent of this name asks for commands; who ships by hand does not, and must not take a run from its agent."""
    return not agent.endswith(BY_HAND)


class CommandState(StrEnum):
    """How far a command is: pending, or one of the five endings."""

    PENDING = "pending"
    APPLIED = "applied"
    REFUSED = "refused"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"  # a later command asks for something else
    INTERRUPTED = "interrupted"  # begun, or delivered, and then nobody was left to say how it went


ENDED = frozenset(CommandState) - {CommandState.PENDING}

EXPIRES_S: dict[Op, float] = {
    Op.STOP: 3_600.0,
    Op.PAUSE: 600.0,
    Op.UNPAUSE: 600.0,
    Op.CHECKPOINT: 600.0,
    Op.SET: 600.0,
    Op.CALL: 600.0,
    Op.KILL: 120.0,
    Op.START: 120.0,
}
EXPIRES_MAX_S = 86_400.0
ARGS_MAX_BYTES = 1_400  # of JSON: a command fits one slot of an inbox
RESULT_MAX_BYTES = 8_192  # of JSON; a longer result is cut, and says so

KNOB_TYPES: dict[str, type] = {"float": float, "int": int, "bool": bool, "str": str}
DIGITS = str.maketrans("０１２３４５６７８９．－−＋ｅＥ", "0123456789.--+eE")  # as people type them on other keyboards


@dataclass(frozen=True, slots=True)
class Order:
    """A command as it reaches a trainer.

    `seq`: rises within a run; a trainer takes none twice. `expires_us`: by this machine's monotonic clock.
    `name`: of who asks; `channel`: by which way: `page`, `cli`, `api`, `signal`, `rule`, `resume`, ….
    """

    id: str
    seq: int
    op: Op
    args: dict[str, Any]
    actor: str
    channel: str
    expires_us: int

    @property
    def desired(self) -> bool:
        """Whether it may be said again without harm."""
        return self.op in DESIRED

    def body(self) -> dict[str, Any]:
        """As JSON, for an inbox or an EVENT record."""
        return {
            "id": self.id, "seq": self.seq, "op": str(self.op), "args": self.args, "actor": self.actor,
            "channel": self.channel, "expires_us": self.expires_us,
        }  # fmt: skip

    @classmethod
    def of(cls, body: dict[str, Any]) -> "Order":
        """Read one. Raises `ValueError`, `TypeError` or `KeyError` for a body that is none."""
        if not isinstance(body["args"], dict):
            raise TypeError("the arguments of a command are an object")
        return cls(
            str(body["id"]), int(body["seq"]), Op(body["op"]), body["args"], str(body["actor"]), str(body["channel"]),
            int(body["expires_us"]),
        )  # fmt: skip


def shown_args(op: Op | str, args: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a command as people may see them and as they are kept: what looks like a secret is hidden."""
    part = {Op.CALL: "args", Op.START: "parameters"}.get(Op(op), "")
    given = args.get(part)
    return {**args, part: mask_mapping(given)} if isinstance(given, dict) else args


RESUME = "resume"  # channel of a value that is brought back to a resumed run: whatever people ask since then counts more


def wish_of(op: Op | str, args: dict[str, Any], channel: str) -> str | None:
    """What a command is a wish for: of several for the same, the last counts. None for an event, and for what is brought back."""
    if channel == RESUME:
        return None
    if op == Op.SET:
        return f"set {args.get('name')}"
    return "pause" if op in (Op.PAUSE, Op.UNPAUSE) else None


def newest_wishes(orders: Iterable[Order]) -> list[tuple[Order, Order | None]]:
    """Each order with the later one that makes it pointless, if there is one; what is brought back comes first."""
    listed = sorted(orders, key=lambda order: order.channel != RESUME)
    wishes = [wish_of(order.op, order.args, order.channel) for order in listed]
    last = {wish: order for order, wish in zip(listed, wishes, strict=True) if wish is not None}
    newer = [last.get(wish or "") for wish in wishes]
    return [(order, None if other is order else other) for order, other in zip(listed, newer, strict=True)]


class WrongValue(ValueError):
    """A value that a knob or an argument does not take; the message says what it takes."""


def read_value(declared: dict[str, Any], value: Any, *, name: str) -> Any:
    """A person's value as a declared type, checked. For knobs and for arguments of commands.

    `declared`: `type` (float, int, bool, str), and `min`, `max`, `choices` (inclusive; None or missing: no limit). Text is read as
    people write numbers, full-width digits included. Raises `WrongValue`, which says the value only where `name` is none of a secret.
    """
    try:
        return _read(declared, value, name)
    except WrongValue:
        if is_secret_name(name):
            raise WrongValue(f"{name} does not take this value") from None
        raise


def _read(declared: dict[str, Any], value: Any, name: str) -> Any:
    kind = str(declared.get("type", "str"))
    found = _as_type(kind, value, name)
    choices = declared.get("choices")
    if choices:
        if found not in choices:
            raise WrongValue(f"{name} is one of {', '.join(map(_show, choices))}, not: `{_show(found)}`")
        return found
    low, high = declared.get("min"), declared.get("max")
    if kind in ("float", "int") and ((low is not None and found < low) or (high is not None and found > high)):
        limits = f"from {_show(low)} to {_show(high)}" if None not in (low, high) else ""
        limits = limits or (f"at least {_show(low)}" if low is not None else f"at most {_show(high)}")
        raise WrongValue(f"{name} is {limits}, not: `{_show(found)}`")
    return found


def _as_type(kind: str, value: Any, name: str) -> Any:
    text = value.strip() if isinstance(value, str) else None
    if kind == "str":
        if text is None:
            raise WrongValue(f"{name} is a text, not: `{_show(value)}`")
        return value
    if kind == "bool":
        if isinstance(value, bool):
            return value
        word = (text or "").lower()
        if word in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            return word in ("true", "yes", "on", "1")
        raise WrongValue(f"{name} is on or off, not: `{_show(value)}`")
    if isinstance(value, bool) or (text is None and not isinstance(value, int | float)):
        raise WrongValue(f"{name} is a number, not: `{_show(value)}`")
    written = value if text is None else text.translate(DIGITS)
    try:
        number = float(written)
    except (ValueError, OverflowError):  # the second: an integer beyond every float
        raise WrongValue(f"{name} is a number, not: `{_show(value)}`") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise WrongValue(f"{name} is a finite number, not: `{_show(value)}`")
    if kind == "int":
        if number != int(number):
            raise WrongValue(f"{name} is a whole number, not: `{_show(value)}`")
        try:
            return int(written) if isinstance(written, int | str) else int(number)  # exact, also beyond 2^53
        except ValueError:  # written as `1e3`
            return int(number)
    return number


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)[:100]
