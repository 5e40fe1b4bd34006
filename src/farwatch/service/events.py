"""What a trainer's journal says of commands: begun, ended, paused."""

from dataclasses import replace
from typing import Any

from farwatch.service.sidecar import text
from farwatch.store.meta import CommandRow, RunRow, WriterRow, Writes
from farwatch.wire.commands import ENDED, KNOB_TYPES, CommandState, Op, shown_args
from farwatch.wire.states import State

TOLD = ("result", "old", "new")
NAME_MAX = 100  # characters of what a program declares
DECLARED_MAX = 1_000  # knobs, and commands, of one run
KEPT = ("knobs", "commands", "hooks", "off", "paused")


def apply_command(
    writes: Writes, run: RunRow, writer: WriterRow, body: dict[str, Any], step: float | None, time_ms: int
) -> CommandRow | None:
    """Take an EVENT record over into the command that it is about; the journal is right, whatever was assumed before.

    A command that this server has never seen (a signal's, or one of before a restored backup) is added. None for a body that is none.
    """
    command_id, event = text(body.get("command"), 64), body.get("event")
    if command_id is None or event not in ("started", "ended"):
        return None
    row = writes.command(command_id) or _unseen(writes, run, writer, command_id, body, time_ms)
    if row is None or row.run_no != run.no:
        return None
    if event == "started":
        if row.started_ms is not None and row.told.get("writer") == writer.id:
            return row
        if row.told.get("sure"):
            return row  # it has ended, so this is another process, which has begun with a wish and is answered for by the first
        # Whatever was assumed of it, it has begun.
        told = {**row.told, "writer": writer.id}
        return writes.put_command(
            replace(
                row, state=CommandState.PENDING, reason="", ended_ms=None, started_ms=time_ms, step=step, told=told,
                delivered_ms=row.delivered_ms or time_ms,
            )
        )  # fmt: skip
    state = body.get("state")
    if state not in {str(one) for one in ENDED}:
        return None
    if row.told.get("sure") and row.state == CommandState.APPLIED and row.told.get("writer") != writer.id:
        return row  # a wish that went on to another process, because nothing was heard of this one: it was done
    told = {name: body[name] for name in TOLD if body.get(name) is not None} | {"writer": writer.id, "sure": True}
    return writes.put_command(
        replace(
            row, state=CommandState(state), reason=text(body.get("reason"), 1_000) or "", ended_ms=time_ms, step=step, told=told,
            attempt=writer.attempt, delivered_ms=row.delivered_ms or time_ms, args=shown_args(row.op, row.args),
        )
    )  # fmt: skip


def _unseen(
    writes: Writes, run: RunRow, writer: WriterRow, command_id: str, body: dict[str, Any], time_ms: int
) -> CommandRow | None:
    op = body.get("op")
    if op not in {str(one) for one in Op}:
        return None
    args = body.get("args")
    return writes.add_command(
        CommandRow(
            no=0, id=command_id, run_no=run.no, attempt=writer.attempt, seq=0, op=Op(op), args=args if isinstance(args, dict) else {},
            actor=text(body.get("actor"), 100) or "", channel=text(body.get("channel"), 40) or "", text="", agent=writer.agent,
            state=CommandState.PENDING, reason="", accepted_ms=time_ms, expires_ms=time_ms, delivered_ms=time_ms,
        )
    )  # fmt: skip


def apply_pause(run: RunRow, steer: dict[str, Any], paused: bool) -> tuple[RunRow, dict[str, Any]]:
    """The run, and what is known of its steering, once somebody has paused it or let it go."""
    if paused and not run.final:
        run = replace(run, state=State.PAUSED, reason="")
    elif not paused and run.state == State.PAUSED:
        run = replace(run, state=State.RUNNING, reason="")
    return run, {**steer, "paused": paused}


def steerable(steer: dict[str, Any], off: str | None = None) -> dict[str, Any]:
    """What people may do with a run, with every part named. `off`: why nothing, where the server knows it."""
    return {
        "knobs": steer.get("knobs") or {}, "commands": steer.get("commands") or {}, "hooks": steer.get("hooks") or [],
        "off": off or steer.get("off"), "paused": bool(steer.get("paused")),
    }  # fmt: skip


def merge_declared(steer: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """What people may do with a run, after its program has declared more."""
    merged = {name: value for name, value in steer.items() if name in KEPT}
    for name, read in (("knobs", _knob), ("commands", _command)):
        if isinstance(told.get(name), dict):
            fresh = {text(word, NAME_MAX) or "": read(about) for word, about in told[name].items() if isinstance(about, dict)}
            merged[name] = dict(list({**merged.get(name, {}), **fresh}.items())[:DECLARED_MAX])
    for name in ("hooks", "off"):
        if name in told:
            merged[name] = told[name]
    return merged


def _knob(told: dict[str, Any]) -> dict[str, Any]:
    """A knob as a program declares it, so that values can be read by it whatever it says."""
    choices = told.get("choices")
    limits = {side: told.get(side) if _is_number(told.get(side)) else None for side in ("min", "max")}
    kind = told.get("type") if told.get("type") in KNOB_TYPES else "str"
    return {**told, "type": kind, **limits, "choices": choices if isinstance(choices, list) and choices else None}


def _command(told: dict[str, Any]) -> dict[str, Any]:
    """A command as a program declares it."""
    args = told.get("args")
    listed = [one for one in (args if isinstance(args, list) else ()) if isinstance(one, dict) and isinstance(one.get("name"), str)]
    return {"doc": text(told.get("doc"), 1_000) or "", "args": [_argument(one) for one in listed[:100]]}


def _argument(told: dict[str, Any]) -> dict[str, Any]:
    read = _knob(told)
    return {
        "name": text(told["name"], NAME_MAX) or "", "type": read["type"], "required": told.get("required") is True,
        "default": told.get("default"), "choices": read["choices"],
    }  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
