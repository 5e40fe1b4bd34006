"""What people ask of runs from a chat: put as commands, confirmed where that is due, and followed to their end."""

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farwatch.bridges.base import Incoming
from farwatch.clock import Clock
from farwatch.service.launching import Launching
from farwatch.service.people import Person
from farwatch.service.steer import Steer
from farwatch.wire.commands import ENDED

CONFIRM_S = 90.0  # how long a question waits for its answer, and an alarm's button counts as one
QUESTIONS_MAX = 5  # open ones of one person in one chat
SOON_S, SOON_EVERY_S, LATER_EVERY_S = 10.0, 0.2, 2.0


@dataclass(frozen=True, slots=True)
class Ask:
    """A command that somebody wants. `run`: id, empty for a start of a profile. `op`: as of `Steer`, or `start` and `restart`.

    `text`: as the person wrote it, or what stands on the button. `alert`, `verb`: number of the alert and answer whose button it was.
    """

    op: str
    run: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    alert: int | None = None
    verb: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """Something that waits for a confirmation by the same person in the same chat. `said`: what would happen."""

    number: str
    ask: Ask
    said: str
    key: str
    ends_us: int


class Questions:
    """Open questions. *Threads*: one. Numbers are random, count once, and only for whom they were asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[tuple[int, int], list[Question]] = {}  # person and chat

    def put(self, person_no: int, chat_no: int, ask: Ask, said: str, key: str) -> Question:
        """Remember a question; returns it with its number of four digits."""
        question = Question(f"{secrets.randbelow(9_000) + 1_000}", ask, said, key, self._clock.mono_us() + int(CONFIRM_S * 1e6))
        mine = self._living(person_no, chat_no)
        self._open[(person_no, chat_no)] = [*mine[-QUESTIONS_MAX + 1 :], question]
        return question

    def take(self, person_no: int, chat_no: int, number: str | None) -> Question | None:
        """The question that a number answers, once; without one: the only one that is open. None if there is none, or it is too old."""
        mine = self._living(person_no, chat_no)
        found = [one for one in mine if one.number == number] if number is not None else mine
        if len(found) != 1:
            return None
        self._open[(person_no, chat_no)] = [one for one in mine if one is not found[0]]
        return found[0]

    def drop(self, person_no: int, chat_no: int) -> int:
        """Forget all questions of somebody in a chat; returns how many there were."""
        mine = self._living(person_no, chat_no)
        self._open.pop((person_no, chat_no), None)
        return len(mine)

    def _living(self, person_no: int, chat_no: int) -> list[Question]:
        now_us = self._clock.mono_us()
        return [one for one in self._open.get((person_no, chat_no), []) if one.ends_us > now_us]


class Asker:
    """Puts commands for people and waits for what becomes of them. *Threads*: the switchboard's loop; what blocks is done beside it."""

    def __init__(self, steer: Steer, launching: Launching) -> None:
        self._steer = steer
        self._launching = launching

    async def put(
        self, person: Person, channel: str, ask: Ask, key: str, *, confirmed: bool, expires_s: float | None = None
    ) -> dict[str, Any]:
        """Put a command in a person's name; returns it as `Steer.describe` has it. The same `key` again is the same command.

        `channel`: the channel's name, which stands in the audit. Raises as `Steer.submit` and `Launching.start` do: `ConfirmError` for what
        must be asked for twice, `ForbiddenError`, `CommandError`, `EndedError`, `NotFoundError`, `BusyError`, `UsageError`.
        """
        body: dict[str, Any] = {
            "id": f"chat-{hashlib.sha256(key.encode()).hexdigest()[:24]}", "op": ask.op, "args": dict(ask.args), "text": ask.text[:1_000],
            "channel": channel, "confirm": confirmed,
        }  # fmt: skip
        if expires_s is not None:
            body["expires_s"] = expires_s
        return await asyncio.to_thread(self._put, person, channel, ask, body)

    def _put(self, person: Person, channel: str, ask: Ask, body: dict[str, Any]) -> dict[str, Any]:
        actor = person.actor()
        if ask.op == "restart":
            return self._launching.restart(ask.run, body, actor, channel=channel)
        if ask.op == "start":
            start = {**body, "parameters": dict(ask.args.get("parameters") or {})}
            return self._launching.start(ask.args.get("machine"), str(ask.args.get("profile")), start, actor, channel=channel)
        return self._steer.submit(ask.run, body, actor, channel=channel)

    async def end_of(self, command: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """A command once it has ended, or as it is after so long."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        current = dict(command)
        while current["state"] not in ENDED and loop.time() - began_s < limit_s:
            await asyncio.sleep(SOON_EVERY_S if loop.time() - began_s < SOON_S else LATER_EVERY_S)
            current = await asyncio.to_thread(self._steer.get, str(command["id"]))
        return current


def key_of(incoming: Incoming, what: str = "") -> str:
    """What makes a command the same one when a service delivers its update twice, also after a restart."""
    return f"{incoming.channel} {incoming.key} {what}"
