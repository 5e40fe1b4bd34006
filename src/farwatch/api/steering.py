"""Asking something of a run from anywhere, and hearing how it went."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farwatch.api.contact import Contact, quoted
from farwatch.clock import SystemClock
from farwatch.errors import ContactError

WAIT_PART_S = 20.0  # one long poll; the server takes up to 25


@dataclass(frozen=True, slots=True)
class KnobState:
    """A knob as its run last told: value, type, limits. `pending`: the value that was asked for and is on its way, or None."""

    name: str
    value: Any
    type: str
    default: Any
    min: float | None
    max: float | None
    choices: list[Any] | None
    log: bool
    pending: Any = None


class Command:
    """Something that was asked of a run.

    `state`: `pending`, then one of `applied`, `refused`, `expired`, `superseded`, `interrupted`, with `reason`; `step`: of the run, where
    it was done; `result`: what a command or hook returned; `old`, `new`: values of a knob. They are as of the last answer: `wait` or
    `refresh` asks again.
    """

    def __init__(self, contact: Contact, row: Mapping[str, Any]) -> None:
        self._contact = contact
        self._row = dict(row)

    @property
    def id(self) -> str:
        return str(self._row["id"])

    @property
    def op(self) -> str:
        """What was asked: stop, pause, unpause, checkpoint, set, call, kill or start."""
        return str(self._row["op"])

    @property
    def args(self) -> dict[str, Any]:
        return dict(self._row["args"])

    @property
    def state(self) -> str:
        return str(self._row["state"])

    @property
    def reason(self) -> str:
        return str(self._row["reason"])

    @property
    def step(self) -> float | None:
        return self._row["step"]

    @property
    def result(self) -> Any:
        return self._row["result"]

    @property
    def old(self) -> Any:
        return self._row["old"]

    @property
    def new(self) -> Any:
        return self._row["new"]

    @property
    def actor(self) -> str:
        """Who asked."""
        return str(self._row["actor"])

    @property
    def channel(self) -> str:
        """By which way: page, cli, api, signal, rule, …."""
        return str(self._row["channel"])

    @property
    def detail(self) -> dict[str, Any]:
        """Everything that the server says of it, times included."""
        return dict(self._row)

    @property
    def ended(self) -> bool:
        """Whether its outcome is known."""
        return self.state != "pending"

    def refresh(self) -> "Command":
        """Ask how far it is."""
        self._row = self._contact.get(f"/commands/{quoted(self.id)}")
        return self

    def wait(self, timeout_s: float = 30.0) -> "Command":
        """Wait until its outcome is known, at most `timeout_s` seconds, and return it. A server that is away is asked again."""
        clock = SystemClock()
        deadline_us = clock.mono_us() + int(timeout_s * 1e6)
        while not self.ended:
            left_s = (deadline_us - clock.mono_us()) / 1e6
            if left_s <= 0:
                break
            try:
                self._row = self._contact.get(f"/commands/{quoted(self.id)}", wait_s=min(left_s, WAIT_PART_S))
            except ContactError:
                if left_s < 1:
                    raise
                clock.sleep(min(0.5, left_s))
        return self

    def __repr__(self) -> str:
        told = f" at step {self.step:g}" if self.step is not None else ""
        why = f": {self.reason}" if self.reason else ""
        return f"<farwatch command {self.op} {self.state}{told}{why}>"


class Steerable:
    """What may be asked of a run. Every call returns at once, with a `Command` that can be waited for.

    Raises `CommandError` for what the run does not know or take, `EndedError` for one that has ended, `ConfirmError` for a change by a
    factor of ten or more without `confirm=True`, `ForbiddenError`, `BusyError`.
    """

    _contact: Contact
    id: str

    def stop(self) -> Command:
        """End the run at its next safe point, after its save hooks."""
        return self._ask("stop")

    def pause(self) -> Command:
        """Hold the run at its next safe point; it keeps its memory."""
        return self._ask("pause")

    def unpause(self) -> Command:
        """Let a paused run go on."""
        return self._ask("unpause")

    def checkpoint(self) -> Command:
        """Let the run save; `result` is what its hook returned."""
        return self._ask("checkpoint")

    def set(self, name: str, value: Any, *, confirm: bool = False) -> Command:
        """Give a knob another value. `confirm`: also if it changes by a factor of ten or more."""
        return self._ask("set", {"name": name, "value": value}, confirm=confirm)

    def call(self, name: str, /, **arguments: Any) -> Command:
        """Call a command that the program declares; `result` is what it returned."""
        return self._ask("call", {"name": name, "args": arguments})

    def kill(self) -> Command:
        """End all processes of the run at once, without saving."""
        return self._ask("kill", confirm=True)

    def restart(self) -> Command:
        """Run the command of this run again, on its machine, as a new run: `result["run"]`. Only of what `farwatch run` has run."""
        body = {"id": secrets.token_hex(12), "confirm": True, "channel": "api"}
        return Command(self._contact, self._contact.again(f"/runs/{quoted(self.id)}/restart", body))

    def commands(self, limit: int = 100) -> list[Command]:
        """What was asked of the run, newest first."""
        rows = self._contact.get(f"/runs/{quoted(self.id)}/commands", limit=limit)["commands"]
        return [Command(self._contact, row) for row in rows]

    @property
    def knobs(self) -> dict[str, KnobState]:
        """The values that people may change, by name."""
        asked = [one for one in self.commands() if one.op == "set" and one.state == "pending"]  # before the values: then none is in neither
        told = self._contact.get(f"/runs/{quoted(self.id)}")["steer"]["knobs"]
        fields = ("value", "type", "default", "min", "max", "choices", "log")
        coming = {one.args["name"]: one.args["value"] for one in reversed(asked)}
        return {
            name: KnobState(name, **{field: about.get(field) for field in fields}, pending=coming.get(name)) for name, about in told.items()
        }

    def _ask(self, op: str, args: Mapping[str, Any] | None = None, *, confirm: bool = False, channel: str = "api") -> Command:
        # The id is made here: an answer that is lost on its way may be asked for again, and nothing is done twice.
        body = {"id": secrets.token_hex(12), "op": op, "args": dict(args or {}), "confirm": confirm, "channel": channel}
        return Command(self._contact, self._contact.again(f"/runs/{quoted(self.id)}/commands", body))
