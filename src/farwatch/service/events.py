"""What a trainer's journal says of commands: begun, ended, paused."""

from dataclasses import replace
from typing import Any

from farwatch.service.sidecar import text
from farwatch.store.meta import CommandRow, RunRow, WriterRow, Writes
from farwatch.wire.commands import ENDED, CommandState, Op
from farwatch.wire.states import State

TOLD = ("result", "old", "new")
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
        return row if row.started_ms is not None else writes.put_command(replace(row, started_ms=time_ms, step=step))
    state = body.get("state")
    if state not in {str(one) for one in ENDED}:
        return None
    told = {name: body[name] for name in TOLD if body.get(name) is not None}
    return writes.put_command(
        replace(
            row, state=CommandState(state), reason=text(body.get("reason"), 1_000) or "", ended_ms=time_ms, step=step, told=told,
            delivered_ms=row.delivered_ms or time_ms,
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


def steerable(steer: dict[str, Any]) -> dict[str, Any]:
    """What people may do with a run, with every part named."""
    return {
        "knobs": steer.get("knobs") or {}, "commands": steer.get("commands") or {}, "hooks": steer.get("hooks") or [],
        "off": steer.get("off"), "paused": bool(steer.get("paused")),
    }  # fmt: skip


def merge_declared(steer: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """What people may do with a run, after its program has declared more."""
    merged = {name: value for name, value in steer.items() if name in KEPT}
    for name in ("knobs", "commands"):
        if isinstance(told.get(name), dict):
            merged[name] = {**merged.get(name, {}), **told[name]}
    for name in ("hooks", "off"):
        if name in told:
            merged[name] = told[name]
    return merged
