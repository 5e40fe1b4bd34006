"""What people ask, checked before it is accepted: ids, times, values of knobs, arguments of commands."""

import difflib
import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from farwatch.errors import CommandError, UsageError
from farwatch.service.sidecar import text
from farwatch.wire.commands import ARGS_MAX_BYTES, EXPIRES_MAX_S, EXPIRES_S, Op, WrongValue, read_value

ID_MAX = 64
NAME_MAX = 128
CHANNELS = frozenset({"page", "cli", "api", "program"})  # that somebody may name; all others are this server's own words


def op_of(value: Any, known: frozenset[Op]) -> Op:
    """What is asked for. Raises `CommandError`."""
    words = sorted(str(op) for op in known)
    if not isinstance(value, str) or value not in words:
        hint = nearest(value, words, "commands") if isinstance(value, str) else f"`op` is one of {', '.join(words)}"
        raise CommandError(f"no such command: `{str(value)[:100]}`", hint=hint)
    return Op(value)


def client_id(value: Any) -> str:
    """The id that whoever asks has given a command, or a new one. Raises `UsageError`."""
    if value is None:
        return secrets.token_hex(12)
    if not isinstance(value, str) or not 8 <= len(value) <= ID_MAX or not value.isascii() or not value.isprintable() or " " in value:
        raise UsageError(f"the id of a command is 8 to {ID_MAX} printable characters, without spaces")
    return value


def channel_of(body: Mapping[str, Any], otherwise: str) -> str:
    """By which way it came, as whoever asks says."""
    told = body.get("channel")
    return told if isinstance(told, str) and told in CHANNELS else otherwise


def expires_s(op: Op, value: Any) -> float:
    """For how many seconds a command may wait. Raises `UsageError`."""
    if value is None:
        return EXPIRES_S[op]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= EXPIRES_MAX_S:
        raise UsageError(f"`expires_s` is 1 to {EXPIRES_MAX_S:g} seconds")
    return float(value)


def check_value(steer: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a `set`, as the run takes them; one that has declared nothing yet judges by itself. Raises `CommandError`."""
    name, value = text(args.get("name"), NAME_MAX), args.get("value")
    if name is None or value is None:
        raise CommandError("set needs `name` and `value`")
    if not isinstance(value, str | bool | int | float):
        raise CommandError(f"the value of a knob is a number, a text, or on or off, not: `{str(value)[:100]}`")
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        raise CommandError(f"{name} is a finite number, not: `{value}`")
    knobs = steer.get("knobs") or {}
    if name not in knobs and steer:
        raise CommandError(f"no knob is called `{name}`", hint=nearest(name, knobs, "knobs"))
    if name in knobs:
        value = read(knobs[name], value, name)
    return sized({"name": name, "value": value})


def check_call(steer: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a `call`, as the program takes them. Raises `CommandError`."""
    name, given = text(args.get("name"), NAME_MAX), args.get("args") or {}
    commands = steer.get("commands") or {}
    if name is None or not isinstance(given, Mapping):
        raise CommandError("call needs `name`, and `args` as an object")
    if name not in commands:
        raise CommandError(f"no command is called `{name}`", hint=nearest(name, commands, "commands"))
    declared = {one["name"]: one for one in commands[name].get("args", ())}
    for word in given:
        if word not in declared:
            raise CommandError(f"{name} has no argument `{word[:100]}`", hint=nearest(word, declared, "arguments"))
    missing = [word for word, about in declared.items() if about.get("required") and word not in given]
    if missing:
        raise CommandError(f"{name} needs `{missing[0]}`")
    values = {word: None if value is None else read(declared[word], value, word) for word, value in given.items()}
    return sized({"name": name, "args": values})


def read(declared: Mapping[str, Any], value: Any, name: str) -> Any:
    """A value as a knob or an argument takes it. Raises `CommandError`."""
    try:
        return read_value(dict(declared), value, name=name)
    except WrongValue as error:
        raise CommandError(str(error)) from error


def sized(args: dict[str, Any]) -> dict[str, Any]:
    """The same arguments, if they are not too large. Raises `CommandError`."""
    size = len(json.dumps(args, ensure_ascii=False).encode("utf-8", "replace"))
    if size > ARGS_MAX_BYTES:
        raise CommandError(f"the arguments of a command have {size} bytes; {ARGS_MAX_BYTES} are the most")
    return args


def nearest(word: str, known: Iterable[str], what: str) -> str:
    """A hint for a name that nobody knows."""
    names = list(known)
    if not names:
        return f"this run declares no {what}"
    close = difflib.get_close_matches(word[:200], names, 1, 0.5)
    return f"did you mean `{close[0]}`?" if close else f"its {what}: {', '.join(names[:20])}"
