"""Commands on their way: taken, checked, numbered, handed to agents, ended. No HTTP here.

A command is accepted by this server, delivered by an agent into the trainer's inbox, and ended by what the trainer writes into its
journal. What the journal says is the truth, whenever it comes; until then, silence and death are told as what they are.
"""

import difflib
import json
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from farwatch.clock import Clock
from farwatch.errors import CommandError, EndedError, ExistsError, NotFoundError, UsageError
from farwatch.service.access import Actor
from farwatch.service.bell import Bell
from farwatch.service.permission import Permission
from farwatch.service.runs import Runs
from farwatch.service.sidecar import text
from farwatch.settings import Settings
from farwatch.store.meta import CommandRow, Meta, RunRow, WriterRow, Writes
from farwatch.wire.commands import (
    ARGS_MAX_BYTES,
    BY_TRAINER,
    DESIRED,
    EXPIRES_MAX_S,
    EXPIRES_S,
    CommandState,
    Op,
    WrongValue,
    read_value,
)

log = logging.getLogger("farwatch.steer")

ID_MAX = 64
ACTOR_MAX = 100
TEXT_MAX = 1_000
CHANNEL_MAX = 40
UNKNOWN_MS = 30_000  # after its expiry, a delivered command of which nothing is heard has an unknown outcome
LISTED_MAX = 1_000
_REPORTED = ("applied", "refused", "interrupted", "expired")


class Steer:
    """The commands of all runs.

    *Threads*: any; `tick` by one. *Ordering*: the commands of a run are delivered in the order of their `seq`.
    """

    def __init__(self, meta: Meta, runs: Runs, settings: Settings, clock: Clock) -> None:
        self._meta = meta
        self._runs = runs
        self._settings = settings
        self._clock = clock
        self.permission = Permission(clock, starts_per_hour=settings.starts_per_hour)
        self.bell = Bell()
        self.on_change: Callable[[str], None] = lambda run_id: None
        self.on_profiles: Callable[[str, Any], None] = lambda agent, told: None
        self._killing: dict[str, tuple[set[str], dict[str, dict[str, Any]]]] = {}  # kill -> agents that it needs, and their answers
        self._lock = threading.Lock()  # over the two below; held for memory operations only
        with meta.read() as reads:
            self._pending = {row.id: row for row in reads.pending_commands()}
        self._changed_ms = runs.commands_ms

    # --- asking

    def submit(self, ref: str, body: Mapping[str, Any], actor: Actor, *, channel: str = "api") -> dict[str, Any]:
        """Accept a command, or answer with the one that has this id already.

        Raises `CommandError` for one that the run does not know or a value that it does not take, `EndedError` for a run that cannot
        obey, `ConfirmError` for one that must be asked for twice, `ForbiddenError`, `BusyError`, `NotFoundError`, `UsageError`.
        """
        op = _op(body.get("op"), BY_TRAINER | {Op.KILL})
        command_id = client_id(body.get("id"))
        run = self._run(ref)
        with self._meta.read() as reads:
            known = reads.command(command_id)
        if known is not None:
            if known.run_no != run.no or known.op != op:
                raise ExistsError(f"another command has the id: `{command_id}`")
            return self.describe(known)
        self.permission.check(actor, op)
        args = self._check(run, op, body.get("args") or {})
        knob = self._meta.detail(run.no).steer.get("knobs", {}).get(args.get("name"), {})
        self.permission.confirm(op, args, knob.get("value"), run.name, body.get("confirm") is True)
        return self._accept(run, op, args, actor.name, text(body.get("channel"), CHANNEL_MAX) or channel, body, command_id)

    def submit_for(self, run_id: str, op: str, args: Mapping[str, Any], *, actor: str, channel: str) -> dict[str, Any]:
        """Accept a command of this server's own, such as a rule's; nobody is asked to confirm it. Raises as `submit` does."""
        run = self._run(run_id)
        known = _op(op, BY_TRAINER | {Op.KILL})
        return self._accept(run, known, self._check(run, known, dict(args)), actor, channel, {}, client_id(None))

    def _accept(
        self, run: RunRow, op: Op, args: dict[str, Any], actor: str, channel: str, body: Mapping[str, Any], command_id: str
    ) -> dict[str, Any]:
        now_ms = self._now_ms()
        row = CommandRow(
            no=0, id=command_id, run_no=run.no, attempt=run.attempt, seq=0, op=op, args=args, actor=actor[:ACTOR_MAX], channel=channel,
            text=text(body.get("text"), TEXT_MAX) or "", agent=None, state=CommandState.PENDING, reason="", accepted_ms=now_ms,
            expires_ms=now_ms + int(_expires_s(op, body.get("expires_s")) * 1000),
        )  # fmt: skip
        stored, older = self._meta.write(lambda writes: self._store(writes, row))
        self._note(*older, stored)
        self._ring(run)
        return self.describe(stored)

    def accept_start(self, row: CommandRow) -> dict[str, Any]:
        """Accept a command to an agent itself."""
        stored, _ = self._meta.write(lambda writes: self._store(writes, row))
        self._note(stored)
        self.bell.ring(f"agent:{row.agent}")
        return self.describe(stored)

    def _store(self, writes: Writes, row: CommandRow) -> tuple[CommandRow, list[CommandRow]]:
        """Add a command, and end what it makes pointless and nobody has taken yet."""
        stored = writes.add_command(row)
        writes.add_audit(row.accepted_ms, row.actor, f"command.{row.op}", row.id, {"channel": row.channel, "args": row.args})
        older = []
        for other in self._pending_of(row.run_no):
            if other.delivered_ms is None and _same_wish(other, row):
                reason = f"{row.actor} asked for something else"
                ended = replace(other, state=CommandState.SUPERSEDED, reason=reason, ended_ms=row.accepted_ms)
                older.append(writes.put_command(ended))
        return stored, older

    def _run(self, ref: str) -> RunRow:
        run = self._meta.run_by_id(self._runs.find(ref))
        if run is None:
            raise NotFoundError(f"no run with id: `{ref[:150]}`")
        return run

    def _check(self, run: RunRow, op: Op, args: Any) -> dict[str, Any]:
        """The arguments as the run takes them."""
        if run.final or run.deleted_ms is not None:
            raise EndedError(f"{run.name} has ended ({run.state}): nothing can be asked of it")
        if run.role == "http":
            raise EndedError(f"{run.name} is fed by requests: no process of it takes commands")
        if not isinstance(args, Mapping):
            raise UsageError("`args` is an object")
        steer = self._meta.detail(run.no).steer
        if op is not Op.KILL and steer.get("off"):
            raise EndedError(f"{run.name} cannot be steered: {steer['off']}")
        if op is Op.SET:
            return self._check_value(steer, args)
        if op is Op.CALL:
            return self._check_call(steer, args)
        return {}

    def _check_value(self, steer: dict[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
        name, value = text(args.get("name"), ID_MAX * 2), args.get("value")
        if name is None or value is None:
            raise CommandError("set needs `name` and `value`")
        knobs = steer.get("knobs") or {}
        if name not in knobs and steer:
            raise CommandError(f"no knob is called `{name}`", hint=_nearest(name, knobs, "knobs"))
        if name in knobs:
            value = _read(knobs[name], value, name)
        return sized({"name": name, "value": value})

    def _check_call(self, steer: dict[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
        name, given = text(args.get("name"), ID_MAX * 2), args.get("args") or {}
        commands = steer.get("commands") or {}
        if name is None or not isinstance(given, Mapping):
            raise CommandError("call needs `name`, and `args` as an object")
        if name not in commands:
            raise CommandError(f"no command is called `{name}`", hint=_nearest(name, commands, "commands"))
        declared = {one["name"]: one for one in commands[name].get("args", ())}
        for word in given:
            if word not in declared:
                raise CommandError(f"{name} has no argument `{word[:100]}`", hint=_nearest(word, declared, "arguments"))
        missing = [word for word, about in declared.items() if about.get("required") and word not in given]
        if missing:
            raise CommandError(f"{name} needs `{missing[0]}`")
        read = {word: None if value is None else _read(declared[word], value, word) for word, value in given.items()}
        return sized({"name": name, "args": read})

    # --- handing on

    def orders(self, agent: str) -> list[dict[str, Any]]:
        """What an agent should deliver now, in order."""
        found = []
        now_ms = self._now_ms()
        for row in self._pending_all():
            if row.delivered_ms is not None or row.expires_ms <= now_ms:
                continue
            if row.op == Op.START or row.op == Op.KILL:
                if agent in (self._killers(row) if row.op == Op.KILL else {row.agent}):
                    found.append(self._order(row, None, now_ms))
                continue
            writer = self._receiver(row)
            if writer is None or writer.agent != agent or self._moves(row, writer):
                continue
            found.append(self._order(row, writer.id, now_ms))
        return found

    def _order(self, row: CommandRow, writer_id: str | None, now_ms: int) -> dict[str, Any]:
        run = self._meta.run(row.run_no) if row.run_no else None
        return {
            "id": row.id, "writer": writer_id, "run": run.id if run else "", "seq": row.seq, "op": row.op, "args": row.args,
            "actor": row.actor, "channel": row.channel, "expires_in_ms": row.expires_ms - now_ms,
        }  # fmt: skip

    def _killers(self, row: CommandRow) -> set[str]:
        """Agents that have not yet answered a kill: those of every machine on which something of the run lives."""
        known = self._killing.get(row.id)
        if known is None:
            with self._meta.read() as reads:
                writers = reads.writers_of(row.run_no)
            agents = {w.agent for w in writers if w.agent and w.ended_ms is None and w.role != "system"}
            known = self._killing.setdefault(row.id, (agents, {}))
        return known[0] - set(known[1])

    def _killed(self, row: CommandRow, agent: str, told: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take an agent's answer to a kill; returns that of all once the last has come: the worst."""
        left = self._killers(row)
        answers = self._killing[row.id][1]
        answers[agent] = dict(told)
        if left - {agent}:
            return None
        return min(self._killing.pop(row.id)[1].values(), key=lambda one: one.get("state") == "applied")

    def _receiver(self, row: CommandRow) -> WriterRow | None:
        """The living process of rank 0 that takes the commands of a run."""
        run = self._meta.run(row.run_no)
        if run is None or run.final:
            return None
        with self._meta.read() as reads:
            mains = [
                writer for writer in reads.writers_of(run.no)
                if writer.rank == 0 and writer.role == "main" and writer.attempt == run.attempt and writer.ended_ms is None
            ]  # fmt: skip
        return mains[-1] if mains else None

    def _moves(self, row: CommandRow, writer: WriterRow) -> bool:
        """Whether a command was meant for an earlier attempt: an event is then not repeated, a wish goes on to the new one."""
        if writer.attempt == row.attempt or Op(row.op) in DESIRED:
            return False
        self._finish(row, CommandState.REFUSED, f"not repeated: the run has started again, as attempt {writer.attempt}")
        return True

    def hear(self, agent: str, body: Mapping[str, Any]) -> None:
        """Take what an agent says of commands: `delivered` and `ended`, lists of objects with `id`."""
        now_ms = self._now_ms()
        if "profiles" in body:
            self.on_profiles(agent[:200], body["profiles"])
        for told in _objects(body.get("delivered")):
            row = self._pending_by(told.get("id"))
            if row is not None and row.delivered_ms is None:
                self._change(row, lambda one: replace(one, delivered_ms=now_ms, agent=agent[:200]))
        for told in _objects(body.get("ended")):
            row = self._pending_by(told.get("id"))
            if row is not None and row.op == Op.KILL:
                told = self._killed(row, agent, told) or {}
            state = told.get("state")
            if row is not None and state in _REPORTED:
                result = {"result": told["result"]} if told.get("result") is not None else {}
                self._finish(row, CommandState(state), text(told.get("reason"), TEXT_MAX) or "", told=result)

    def arrived(self, writer_id: str, agent: str | None) -> None:
        """A writer has registered, by way of `agent`: what waits for its run goes there, and what people set stays set."""
        writer = self._meta.writer(writer_id)
        run = None if writer is None else self._meta.run(writer.run_no)
        if writer is None or run is None or writer.role == "system":
            return
        if agent is not None and writer.agent != agent:
            self._meta.write(lambda writes: _name_agent(writes, writer_id, agent), durable=False)
        if writer.rank != 0 or writer.role != "main":
            return
        if writer.attempt > 1 and writer.attempt == run.attempt:
            self._keep_wishes(run)
        if agent is not None:
            self.bell.ring(f"agent:{agent}")

    def _keep_wishes(self, run: RunRow) -> None:
        """Ask the new attempt for the values that people gave the run's knobs before (rule 14)."""
        with self._meta.read() as reads:
            wishes = reads.wishes(run.no)
        if any(row.attempt == run.attempt for row in wishes) or any(
            row.attempt == run.attempt and row.channel == "resume" for row in self._pending_of(run.no)
        ):
            return
        newest = {row.args.get("name"): row for row in wishes}
        now_ms = self._now_ms()
        for row in newest.values():
            kept = replace(
                row, no=0, id=f"keep-{secrets.token_hex(8)}", attempt=run.attempt, channel="resume", text="", state=CommandState.PENDING,
                reason="", accepted_ms=now_ms, expires_ms=now_ms + int(EXPIRES_MAX_S * 1000), delivered_ms=None, started_ms=None,
                ended_ms=None, step=None, told={}, args={"name": row.args.get("name"), "value": row.told.get("new", row.args.get("value"))},
            )  # fmt: skip
            stored, older = self._meta.write(lambda writes, kept=kept: self._store(writes, kept))  # type: ignore[misc]
            self._note(*older, stored)

    # --- what the journal says

    def noted(self, rows: Iterable[CommandRow]) -> None:
        """Commands whose records have been committed; see `record`."""
        self._note(*rows)

    # --- time

    def tick(self) -> None:
        """End what nobody took in time, and what nobody is left to do."""
        now_ms = self._now_ms()
        for row in self._pending_all():
            ending = self._fate(row, now_ms)
            if ending is not None:
                self._finish(row, *ending)

    def _fate(self, row: CommandRow, now_ms: int) -> tuple[CommandState, str] | None:
        run = self._meta.run(row.run_no)
        if row.delivered_ms is None:
            answers = self._killing.get(row.id, (set(), {}))[1]
            if row.expires_ms <= now_ms and answers:
                return CommandState.INTERRUPTED, "outcome unknown: not every machine of the run has answered"
            if row.expires_ms <= now_ms and row.op == Op.START:
                return CommandState.EXPIRED, "that machine did not ask in time: nothing was started"
            if row.expires_ms <= now_ms:
                return CommandState.EXPIRED, "nobody took it in time: the run's machine did not ask"
            if run is not None and run.final and row.id not in self._killing:
                return CommandState.REFUSED, f"the run has ended ({run.state})"
            return None
        if run is not None and Op(row.op) in BY_TRAINER:
            with self._meta.read() as reads:
                mains = [w for w in reads.writers_of(run.no) if w.rank == 0 and w.role == "main" and w.attempt >= row.attempt]
            if mains and all(writer.ended_ms is not None for writer in mains):
                if row.started_ms is not None:
                    return CommandState.INTERRUPTED, "outcome unknown: the process ended while it was being done"
                return CommandState.REFUSED, "the run ended before it came to a safe point"
        if now_ms > row.expires_ms + UNKNOWN_MS:
            return CommandState.INTERRUPTED, "outcome unknown: it was delivered, and nothing was heard of it since"
        return None

    # --- telling

    def describe(self, row: CommandRow) -> dict[str, Any]:
        """A command as everybody sees it."""
        run = self._meta.run(row.run_no) if row.run_no else None
        return {
            "id": row.id, "run": run.id if run else None, "attempt": row.attempt, "seq": row.seq, "op": row.op, "args": row.args,
            "actor": row.actor, "channel": row.channel, "text": row.text, "accepted_ms": row.accepted_ms, "expires_ms": row.expires_ms,
            "delivered_ms": row.delivered_ms, "started_ms": row.started_ms, "ended_ms": row.ended_ms, "state": row.state,
            "reason": row.reason, "step": row.step, "result": row.told.get("result"), "old": row.told.get("old"),
            "new": row.told.get("new"),
        }  # fmt: skip

    def get(self, command_id: str) -> dict[str, Any]:
        """One command. Raises `NotFoundError`."""
        with self._meta.read() as reads:
            row = reads.command(command_id)
        if row is None:
            raise NotFoundError(f"no command with id: `{command_id[:100]}`")
        return self.describe(row)

    def history(self, ref: str, limit: int, before: int | None) -> dict[str, Any]:
        """Commands to a run, newest first."""
        run = self._run(ref)
        with self._meta.read() as reads:
            rows = reads.commands(run.no, min(limit, LISTED_MAX), before)
            total = reads.count_commands(run.no)
        return {"commands": [self.describe(row) for row in rows], "total": total}

    def interventions(self, ref: str) -> bytes:
        """Everything that people changed in a run, one JSON object per line, oldest first."""
        run = self._run(ref)
        with self._meta.read() as reads:
            rows = reads.commands(run.no, 1 << 30)
        applied = [self.describe(row) for row in reversed(rows) if row.state == CommandState.APPLIED]
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in applied).encode()

    # --- small parts

    def _now_ms(self) -> int:
        return self._clock.wall_us() // 1000

    def _pending_all(self) -> list[CommandRow]:
        with self._lock:
            return sorted(self._pending.values(), key=lambda row: row.no)

    def _pending_of(self, run_no: int) -> list[CommandRow]:
        return [row for row in self._pending_all() if row.run_no == run_no]

    def _pending_by(self, command_id: Any) -> CommandRow | None:
        return self._pending.get(command_id) if isinstance(command_id, str) else None

    def _finish(self, row: CommandRow, state: CommandState, reason: str, told: dict[str, Any] | None = None) -> None:
        now_ms = self._now_ms()
        self._change(row, lambda one: replace(one, state=state, reason=reason, ended_ms=now_ms, told={**one.told, **(told or {})}))

    def _change(self, row: CommandRow, change: Callable[[CommandRow], CommandRow]) -> None:
        """Change a command that is still pending; the journal may have ended it meanwhile, and then it stays as it is."""

        def write(writes: Writes) -> CommandRow | None:
            known = writes.command(row.id)
            return None if known is None or known.state != CommandState.PENDING else writes.put_command(change(known))

        changed = self._meta.write(write, durable=False)
        if changed is not None:
            self._note(changed)

    def _note(self, *rows: CommandRow) -> None:
        """Remember what is pending, and tell those who wait."""
        for row in rows:
            with self._lock:
                if row.state == CommandState.PENDING:
                    self._pending[row.id] = row
                else:
                    self._pending.pop(row.id, None)
            self._changed_ms[row.run_no] = max(self._now_ms(), self._changed_ms.get(row.run_no, 0) + 1)
            self.bell.ring(f"command:{row.id}")
            run = self._meta.run(row.run_no)
            if run is not None:
                self.on_change(run.id)

    def _ring(self, run: RunRow) -> None:
        with self._meta.read() as reads:
            agents = {writer.agent for writer in reads.writers_of(run.no) if writer.agent and writer.ended_ms is None}
        for agent in agents:
            self.bell.ring(f"agent:{agent}")


def _op(value: Any, known: frozenset[Op]) -> Op:
    words = sorted(str(op) for op in known)
    if not isinstance(value, str) or value not in words:
        hint = _nearest(value, words, "commands") if isinstance(value, str) else f"`op` is one of {', '.join(words)}"
        raise CommandError(f"no such command: `{str(value)[:100]}`", hint=hint)
    return Op(value)


def client_id(value: Any) -> str:
    """The id that whoever asks has given a command, or a new one. Raises `UsageError`."""
    if value is None:
        return secrets.token_hex(12)
    if not isinstance(value, str) or not 8 <= len(value) <= ID_MAX or not value.isascii() or not value.isprintable() or " " in value:
        raise UsageError(f"the id of a command is 8 to {ID_MAX} printable characters, without spaces")
    return value


def _expires_s(op: Op, value: Any) -> float:
    if value is None:
        return EXPIRES_S[op]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= EXPIRES_MAX_S:
        raise UsageError(f"`expires_s` is 1 to {EXPIRES_MAX_S:g} seconds")
    return float(value)


def sized(args: dict[str, Any]) -> dict[str, Any]:
    """The same arguments, if they are not too large. Raises `CommandError`."""
    size = len(json.dumps(args, ensure_ascii=False).encode())
    if size > ARGS_MAX_BYTES:
        raise CommandError(f"the arguments of a command have {size} bytes; {ARGS_MAX_BYTES} are the most")
    return args


def _read(declared: dict[str, Any], value: Any, name: str) -> Any:
    try:
        return read_value(declared, value, name=name)
    except WrongValue as error:
        raise CommandError(str(error)) from error


def _nearest(word: str, known: Iterable[str], what: str) -> str:
    names = list(known)
    if not names:
        return f"this run declares no {what}"
    close = difflib.get_close_matches(word, names, 1, 0.5)
    return f"did you mean `{close[0]}`?" if close else f"its {what}: {', '.join(names[:20])}"


def _same_wish(one: CommandRow, other: CommandRow) -> bool:
    if one.op == other.op == Op.SET:
        return one.args.get("name") == other.args.get("name")
    return {one.op, other.op} <= {Op.PAUSE, Op.UNPAUSE}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)][:10_000] if isinstance(value, list) else []


def _name_agent(writes: Writes, writer_id: str, agent: str) -> None:
    row = writes.writer(writer_id)
    if row is not None:
        writes.put_writer(replace(row, agent=agent[:200]))

