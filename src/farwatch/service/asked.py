"""Commands as rows of the database: stored once, given up for a newer wish, delivered, told. All in the caller's transaction."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from farwatch.errors import ExistsError
from farwatch.store.meta import CommandRow, Reads, Writes
from farwatch.wire.commands import CommandState, shown_args, wish_of


def described(row: CommandRow, run_id: str | None) -> dict[str, Any]:
    """A command as everybody sees it."""
    return {
        "id": row.id, "run": run_id, "attempt": row.attempt, "seq": row.seq, "op": row.op,
        "args": shown_args(row.op, row.args), "actor": row.actor, "channel": row.channel, "text": row.text,
        "accepted_ms": row.accepted_ms, "expires_ms": row.expires_ms, "delivered_ms": row.delivered_ms,
        "started_ms": row.started_ms, "ended_ms": row.ended_ms, "state": row.state, "reason": row.reason, "step": row.step,
        "result": row.told.get("result"), "old": row.told.get("old"), "new": row.told.get("new"),
    }  # fmt: skip


def same(known: CommandRow, run_no: int, op: str) -> CommandRow:
    """The command that has an id already, if it is the one that is asked for again. Raises `ExistsError`."""
    if known.run_no != run_no or known.op != op:
        raise ExistsError(f"another command has the id: `{known.id}`")
    return known


def store(writes: Writes, row: CommandRow) -> tuple[CommandRow, list[CommandRow]]:
    """Add a command, and end what it makes pointless and nobody has been handed yet. One that is there already stays as it is."""
    known = writes.command(row.id)
    if known is not None:
        return same(known, row.run_no, row.op), []
    stored = writes.add_command(row)
    about = {"channel": row.channel, "args": shown_args(row.op, row.args)}
    writes.add_audit(row.accepted_ms, row.actor, f"command.{row.op}", row.id, about)
    wish, older = _wish(row), []
    for other in writes.pending_commands(row.run_no) if wish is not None else ():
        if other.no != stored.no and other.agent is None and _wish(other) == wish:
            older.append(writes.put_command(superseded(other, stored, row.accepted_ms)))
    return stored, older


def newer_wish(reads: Reads, row: CommandRow) -> CommandRow | None:
    """A later command that asks for the same to be otherwise, and was done or may be."""
    wish = _wish(row)
    later = reads.commands_since(row.run_no, row.seq) if wish is not None else []
    return next((one for one in reversed(later) if _wish(one) == wish), None)


def superseded(row: CommandRow, newer: CommandRow, now_ms: int) -> CommandRow:
    """A wish that another has made pointless; one that was begun and has not ended is not known to have come to nothing."""
    if row.started_ms is not None:
        state, reason = CommandState.INTERRUPTED, "outcome unknown: the process ended while it was being done"
    else:
        state, reason = CommandState.SUPERSEDED, f"{newer.actor} asked for something else"
    return replace(row, state=state, reason=reason, ended_ms=now_ms)


def deliver(writes: Writes, command_ids: Iterable[str], agent: str, now_ms: int) -> list[CommandRow]:
    """Note that an agent has put commands into inboxes."""
    changed = []
    for command_id in command_ids:
        row = writes.command(command_id)
        if row is not None and row.state == CommandState.PENDING and row.delivered_ms is None and row.agent == agent:
            changed.append(writes.put_command(replace(row, delivered_ms=now_ms)))
    return changed


def _wish(row: CommandRow) -> str | None:
    return wish_of(row.op, row.args, row.channel)
