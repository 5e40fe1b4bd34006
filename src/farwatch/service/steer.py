"""Commands on their way: taken, numbered, handed to agents, ended. No HTTP here.

A command is accepted by this server, delivered by an agent into the trainer's inbox, and ended by what the trainer writes into its
journal. What the journal says is the truth, whenever it comes; until then, silence and death are told as what they are (`fates`).

The database is the only place where it stands how far a command is: every change reads it there, in the transaction that makes it.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from farwatch.clock import Clock
from farwatch.errors import EndedError, NotFoundError, UsageError
from farwatch.service.access import Actor
from farwatch.service.asked import deliver, described, newer_wish, same, store, superseded
from farwatch.service.asking import channel_of, check_call, check_value, client_id, expires_s, op_of
from farwatch.service.bell import Bell
from farwatch.service.fates import fate_of
from farwatch.service.permission import Permission
from farwatch.service.runs import Runs
from farwatch.service.sidecar import text
from farwatch.settings import Settings
from farwatch.store.meta import CommandRow, Meta, Reads, RunRow, WriterRow, Writes
from farwatch.wire.commands import (
    BY_TRAINER,
    DESIRED,
    EXPIRES_MAX_S,
    RESUME,
    CommandState,
    Op,
    shown_args,
    takes_orders,
)
from farwatch.wire.redact import mask_text

ACTOR_MAX = 100
TEXT_MAX = 1_000
LISTED_MAX = 1_000
ORDERS_MAX = 256  # in one answer to an agent
FROM_PEOPLE = BY_TRAINER | {Op.KILL}
_REPORTED = ("applied", "refused", "interrupted", "expired")


@dataclass(slots=True)
class Killing:
    """A kill under way: the agents that it needs, and what they have answered."""

    agents: set[str]
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def left(self) -> set[str]:
        """Agents that have not answered."""
        return self.agents - set(self.answers)


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
        self._lock = threading.Lock()  # over the two below; held for memory operations only
        self._killing: dict[str, Killing] = {}
        self._until_us: dict[str, int] = {}  # when a pending command expires, on the monotonic clock: no jump of the other changes it
        self._changed_ms = runs.commands_ms

    # --- asking

    def submit(self, ref: str, body: Mapping[str, Any], actor: Actor, *, channel: str = "api") -> dict[str, Any]:
        """Accept a command, or answer with the one that has this id already.

        Raises `CommandError` for one that the run does not know or a value that it does not take, `EndedError` for a run that cannot
        obey, `ConfirmError` for one that must be asked for twice, `ForbiddenError`, `BusyError`, `NotFoundError`, `UsageError`.
        """
        op = op_of(body.get("op"), FROM_PEOPLE)
        command_id = client_id(body.get("id"))
        run = self._run(ref)
        with self._meta.read() as reads:
            known = reads.command(command_id)
        if known is not None:
            return self.describe(same(known, run.no, op))
        self.permission.check(actor, op)
        args = self._check(run, op, body.get("args") or {})
        knob = (self._meta.detail(run.no).steer.get("knobs") or {}).get(args.get("name"), {})
        self.permission.confirm(op, args, knob.get("value"), run.name, body.get("confirm") is True)
        return self._accept(run, op, args, actor.name, channel_of(body, channel), body, command_id)

    def submit_for(self, run_id: str, op: str, args: Mapping[str, Any], *, actor: str, channel: str) -> dict[str, Any]:
        """Accept a command of this server's own, such as a rule's; nobody is asked to confirm it. Raises as `submit` does."""
        run = self._run(run_id)
        known = op_of(op, FROM_PEOPLE)
        return self._accept(run, known, self._check(run, known, dict(args)), actor, channel, {}, client_id(None))

    def _accept(
        self, run: RunRow, op: Op, args: dict[str, Any], actor: str, channel: str, body: Mapping[str, Any], command_id: str
    ) -> dict[str, Any]:
        now_ms = self._now_ms()
        row = CommandRow(
            no=0, id=command_id, run_no=run.no, attempt=run.attempt, seq=0, op=op, args=args, actor=actor[:ACTOR_MAX], channel=channel,
            text=mask_text(text(body.get("text"), TEXT_MAX) or ""), agent=None, state=CommandState.PENDING, reason="", accepted_ms=now_ms,
            expires_ms=now_ms + int(expires_s(op, body.get("expires_s")) * 1000),
        )  # fmt: skip
        stored, older = self._meta.write(lambda writes: store(writes, row))
        self._left_ms(stored)
        self.noted([*older, stored])
        self._ring(run)
        return self.describe(stored)

    def accept_start(self, row: CommandRow) -> dict[str, Any]:
        """Accept a command to an agent itself."""
        stored, _ = self._meta.write(lambda writes: store(writes, row))
        self._left_ms(stored)
        self.noted([stored])
        self.bell.ring(f"agent:{row.agent}")
        return self.describe(stored)

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
            return check_value(steer, args)
        if op is Op.CALL:
            return check_call(steer, args)
        return {}

    # --- handing on

    def orders(self, agent: str) -> list[dict[str, Any]]:
        """What an agent should deliver now, in order."""
        found: list[tuple[CommandRow, WriterRow | None]] = []
        receivers: dict[int, WriterRow | None] = {}
        with self._meta.read() as reads:
            for row in reads.pending_commands():
                if row.delivered_ms is not None or self._left_ms(row) <= 0:
                    continue
                if row.op in (Op.START, Op.KILL):
                    if agent in ({row.agent} if row.op == Op.START else self._kill(reads, row).left):
                        found.append((row, None))
                    continue
                if row.run_no not in receivers:
                    receivers[row.run_no] = self._receiver(reads, row.run_no)
                writer = receivers[row.run_no]
                if writer is not None and writer.agent == agent and _may_take(row, writer):
                    found.append((row, writer))
        found = self._offer(agent, found[:ORDERS_MAX])
        return [self._order(row, None if writer is None else writer.id) for row, writer in found]

    def _offer(self, agent: str, found: list[tuple[CommandRow, WriterRow | None]]) -> list[tuple[CommandRow, WriterRow | None]]:
        """Note to whom they are handed, before they are: from then on nobody but the trainer knows what becomes of them."""
        fresh = [(row, one) for row, one in found if one is not None and (row.agent != agent or row.told.get("writer") != one.id)]
        if not fresh:
            return found

        def note(writes: Writes) -> tuple[set[int], list[CommandRow]]:
            kept, ended = set(), []
            for row, writer in fresh:
                known = writes.command(row.id)
                if known is None or known.state != CommandState.PENDING or known.delivered_ms is not None:
                    continue
                newer = newer_wish(writes, known)
                if newer is not None:
                    ended.append(writes.put_command(superseded(known, newer, self._now_ms())))
                else:
                    kept.add(row.no)
                    writes.put_command(replace(known, agent=agent[:200], told={**known.told, "writer": writer.id}))
            return kept, ended

        kept, ended = self._meta.write(note, durable=False)
        self.noted(ended)
        kept |= {row.no for row, _ in found} - {row.no for row, _ in fresh}
        return [one for one in found if one[0].no in kept]

    def _order(self, row: CommandRow, writer_id: str | None) -> dict[str, Any]:
        run = self._meta.run(row.run_no) if row.run_no else None
        return {
            "id": row.id, "writer": writer_id, "run": run.id if run else "", "seq": row.seq, "op": row.op, "args": row.args,
            "actor": row.actor, "channel": row.channel, "expires_in_ms": self._left_ms(row),
        }  # fmt: skip

    def _receiver(self, reads: Reads, run_no: int) -> WriterRow | None:
        """The living process of rank 0 that takes the commands of a run."""
        run = self._meta.run(run_no)
        if run is None or run.final:
            return None
        mains = [
            writer for writer in reads.writers_of(run_no)
            if writer.rank == 0 and writer.role == "main" and writer.attempt == run.attempt and writer.ended_ms is None
        ]  # fmt: skip
        return mains[-1] if mains else None

    def _kill(self, reads: Reads, row: CommandRow) -> Killing:
        """A kill, with the agents of every machine on which something of the run lives, also of those that came since it was asked."""
        writers = reads.writers_of(row.run_no)
        agents = {one.agent for one in writers if one.agent and one.ended_ms is None and one.role != "system"}
        with self._lock:
            known = self._killing.setdefault(row.id, Killing(set()))
            known.agents |= agents
        return known

    def hear(self, agent: str, body: Mapping[str, Any]) -> None:
        """Take what an agent says of commands that were handed to it: `delivered` and `ended`, lists of objects with `id`."""
        if "profiles" in body:
            self.on_profiles(agent[:200], body["profiles"])
        delivered = [one for told in _objects(body.get("delivered")) if isinstance(one := told.get("id"), str)]
        if delivered:
            self.noted(self._meta.write(lambda writes: deliver(writes, delivered, agent[:200], self._now_ms()), durable=False))
        for told in _objects(body.get("ended")):
            self._hear_end(agent[:200], told)

    def _hear_end(self, agent: str, told: Mapping[str, Any]) -> None:
        command_id = told.get("id")
        with self._meta.read() as reads:
            row = reads.command(command_id) if isinstance(command_id, str) else None
            if row is None or row.state != CommandState.PENDING or told.get("state") not in _REPORTED:
                return
            if row.op == Op.KILL:
                killing = self._kill(reads, row)
                with self._lock:
                    if agent not in killing.agents:
                        return  # nobody has asked it
                    killing.answers[agent] = dict(told)
                    if killing.left:
                        return
                    told = min(killing.answers.values(), key=lambda one: one.get("state") == "applied")  # the worst
            elif row.agent != agent or (row.op != Op.START and told["state"] != "refused"):
                return  # what a trainer has done, its journal says
        result = {"result": told["result"]} if told.get("result") is not None else {}
        self._finish(row, CommandState(told["state"]), text(told.get("reason"), TEXT_MAX) or "", told=result)

    def arrived(self, writer_id: str, agent: str | None) -> None:
        """A writer has registered, by way of `agent`: what waits for its run goes there, and what people set stays set."""
        agent = agent if agent is not None and takes_orders(agent) else None
        writer = self._meta.writer(writer_id)
        run = None if writer is None else self._meta.run(writer.run_no)
        if writer is None or run is None or writer.role == "system":
            return
        if agent is not None and writer.agent != agent:
            self._meta.write(lambda writes: _name_agent(writes, writer_id, agent), durable=False)
        if writer.rank != 0 or writer.role != "main":
            return
        if writer.attempt > 1 and writer.attempt == run.attempt:
            self.noted(self._meta.write(lambda writes: self._keep_wishes(writes, run)))
        if agent is not None:
            self.bell.ring(f"agent:{agent}")

    def heard(self, rows: Iterable[CommandRow]) -> None:
        """Commands of which records have been committed. What a process did that was believed lost, the next one lacks."""
        rows = list(rows)
        self.noted(rows)
        for row in rows:
            writer = self._meta.writer(str(row.told.get("writer"))) if row.op == Op.SET and row.state == CommandState.APPLIED else None
            run = self._meta.run(row.run_no) if writer is not None else None
            if writer is not None and run is not None and writer.attempt < run.attempt and not run.final:
                self.noted(self._meta.write(lambda writes, run=run: self._keep_wishes(writes, run)))  # type: ignore[misc]
                self._ring(run)

    def _keep_wishes(self, writes: Writes, run: RunRow) -> list[CommandRow]:
        """Ask the new attempt for the values that people gave the run's knobs before (rule 14)."""
        wishes = writes.wishes(run.no)
        newer = {row.args.get("name") for row in wishes if row.attempt == run.attempt}
        now_ms = self._now_ms()
        kept = []
        for name, row in {row.args.get("name"): row for row in wishes}.items():
            # One id per wish and attempt: whoever registers again, or a server that was restored, asks for nothing twice.
            kept_id = "keep-" + hashlib.sha256(json.dumps([run.id, run.attempt, row.id]).encode()).hexdigest()[:24]
            if name in newer or writes.command(kept_id) is not None:
                continue
            wish = replace(
                row, no=0, id=kept_id, attempt=run.attempt, channel=RESUME, text="", state=CommandState.PENDING, reason="",
                accepted_ms=now_ms, expires_ms=now_ms + int(EXPIRES_MAX_S * 1000), delivered_ms=None, started_ms=None, ended_ms=None,
                step=None, agent=None, told={}, args={"name": name, "value": row.told.get("new", row.args.get("value"))},
            )  # fmt: skip
            kept.append(store(writes, wish)[0])
        return kept

    # --- time

    def tick(self) -> None:
        """End what nobody took in time, and what nobody is left to do."""
        with self._meta.read() as reads:
            pending = reads.pending_commands()
            writers = {row.run_no: reads.writers_of(row.run_no) for row in pending if row.run_no}
        with self._lock:
            ids = {row.id for row in pending}
            self._until_us = {one: until for one, until in self._until_us.items() if one in ids}
            self._killing = {one: killing for one, killing in self._killing.items() if one in ids}
        for row in pending:
            run = self._meta.run(row.run_no) if row.run_no else None
            if row.op in (Op.START, Op.KILL):
                self._look_at_agent(row, run)
                continue
            if run is None:
                continue
            fate = fate_of(row, run, writers[row.run_no], left_ms=self._left_ms(row), told_ms=self._told_ms)
            if fate is not None and fate.attempt is not None:
                self._go_on(row, run, fate.attempt)
            elif fate is not None:
                self._finish(row, fate.state, fate.reason)

    def _look_at_agent(self, row: CommandRow, run: RunRow | None) -> None:
        """End a kill or a start that no agent has answered."""
        with self._lock:
            killing = self._killing.get(row.id)
        if self._left_ms(row) > 0:
            if run is not None and run.final and killing is None:
                self._finish(row, CommandState.REFUSED, f"the run has ended ({run.state})")
        elif killing is not None and killing.answers:
            self._finish(row, CommandState.INTERRUPTED, "outcome unknown: not every machine of the run has answered")
        elif row.op == Op.START:
            self._finish(row, CommandState.EXPIRED, "that machine did not ask in time: nothing was started")
        else:
            self._finish(row, CommandState.EXPIRED, "nobody took it in time: the run's machine did not ask")

    def _go_on(self, row: CommandRow, run: RunRow, attempt: int) -> None:
        """A wish whose process has died goes on to the next one, unless somebody has asked for something else since."""

        def again(one: CommandRow, writes: Writes) -> CommandRow:
            newer = newer_wish(writes, one)
            if newer is not None:
                return superseded(one, newer, self._now_ms())
            told = {name: value for name, value in one.told.items() if name != "writer"}
            return replace(one, attempt=attempt, agent=None, delivered_ms=None, started_ms=None, told=told)

        self._change(row, again)
        self._ring(run)

    def _told_ms(self, writer: WriterRow) -> float:
        """How long ago the agent of a living writer said that nothing of its journal is on its way."""
        alive_us = self._runs.activity.sign(writer.id).alive_us
        if writer.records_behind or not alive_us:
            return float("inf")
        return (self._clock.mono_us() - alive_us) / 1000

    def _left_ms(self, row: CommandRow) -> int:
        """Until a command expires, as time passes, whatever the wall clock says; negative afterwards.

        One that this server has accepted before its start is taken at its word, but never for longer than it was given.
        """
        now_us = self._clock.mono_us()
        with self._lock:
            until_us = self._until_us.get(row.id)
            if until_us is None:
                left_ms = min(row.expires_ms - self._now_ms(), row.expires_ms - row.accepted_ms)
                until_us = self._until_us[row.id] = now_us + left_ms * 1000
        return (until_us - now_us) // 1000

    # --- telling

    def describe(self, row: CommandRow) -> dict[str, Any]:
        """A command as everybody sees it."""
        run = self._meta.run(row.run_no) if row.run_no else None
        return described(row, run.id if run else None)

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
        """Everything that people changed in a run, one JSON object per line, in the order in which it was done."""
        run = self._run(ref)
        with self._meta.read() as reads:
            rows = reads.applied_commands(run.no)
        return "".join(json.dumps(self.describe(row), ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")

    # --- small parts

    def noted(self, rows: Iterable[CommandRow]) -> None:
        """Tell those who wait that something has happened to commands, once it is committed."""
        for row in rows:
            with self._lock:
                self._changed_ms[row.run_no] = max(self._now_ms(), self._changed_ms.get(row.run_no, 0) + 1)
            self.bell.ring(f"command:{row.id}")
            if row.run_no and (run := self._meta.run(row.run_no)) is not None:
                self.on_change(run.id)

    def _now_ms(self) -> int:
        return self._clock.wall_us() // 1000

    def _finish(self, row: CommandRow, state: CommandState, reason: str, told: dict[str, Any] | None = None) -> None:
        now_ms = self._now_ms()

        def end(one: CommandRow, _: Writes) -> CommandRow:
            args = shown_args(one.op, one.args)  # what it was asked with is needed no more
            return replace(one, state=state, reason=reason, ended_ms=now_ms, args=args, told={**one.told, **(told or {})})

        self._change(row, end)

    def _change(self, row: CommandRow, change: Callable[[CommandRow, Writes], CommandRow]) -> None:
        """Change a command that still is as it was when it was looked at; what has happened meanwhile is right."""

        def write(writes: Writes) -> CommandRow | None:
            known = writes.command(row.id)
            return writes.put_command(change(known, writes)) if known == row else None

        changed = self._meta.write(write, durable=False)
        if changed is not None:
            self.noted([changed])

    def _ring(self, run: RunRow) -> None:
        with self._meta.read() as reads:
            agents = {writer.agent for writer in reads.writers_of(run.no) if writer.agent and writer.ended_ms is None}
        for agent in agents:
            self.bell.ring(f"agent:{agent}")


def _may_take(row: CommandRow, writer: WriterRow) -> bool:
    """Whether a command is this process's: an event is nobody's but that of the attempt it was asked of, and of whom it was handed to."""
    if Op(row.op) in DESIRED:
        return True
    return row.attempt == writer.attempt and row.told.get("writer") in (None, writer.id)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)][:10_000] if isinstance(value, list) else []


def _name_agent(writes: Writes, writer_id: str, agent: str) -> None:
    row = writes.writer(writer_id)
    if row is not None:
        writes.put_writer(replace(row, agent=agent[:200]))
