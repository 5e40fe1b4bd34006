"""Starts: what can be started on which machine, as its agents tell, and the commands that ask for it. No HTTP here.

A machine's owner writes down what may be started there; this server knows names and parameters only, and can ask for nothing
else. What an agent tells is text from outside: it is cut to what is known here, and checked again by the agent itself.
"""

import difflib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from farwatch.clock import Clock
from farwatch.errors import CommandError, EndedError, ExistsError, NotFoundError, UsageError
from farwatch.service.access import Actor
from farwatch.service.asking import channel_of, client_id, sized
from farwatch.service.runs import Runs
from farwatch.service.sidecar import text
from farwatch.service.steer import ACTOR_MAX, TEXT_MAX, Steer
from farwatch.store.meta import CommandRow, Meta
from farwatch.wire.commands import EXPIRES_S, KNOB_TYPES, CommandState, Op, WrongValue, read_value

PRESENT_US = 60_000_000  # an agent asks every 25 s
MACHINES_MAX = 1_000
PROFILES_MAX = 200
PARAMETERS_MAX = 100
WORDS_MAX = 200
_FIELDS = ("type", "min", "max", "choices", "default", "description", "pattern")


@dataclass(slots=True)
class Machine:
    """What an agent has told of itself. `heard_us`: when, on the monotonic clock."""

    agent: str
    host: str = ""
    user: str = ""
    error: str | None = None
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    restarts: frozenset[str] = frozenset()
    heard_us: int = 0
    heard_ms: int = 0


class Launching:
    """Takes wishes for starts. *Threads*: any."""

    def __init__(self, steer: Steer, meta: Meta, runs: Runs, clock: Clock) -> None:
        self._steer = steer
        self._meta = meta
        self._runs = runs
        self._clock = clock
        self._lock = threading.Lock()
        self._machines: dict[str, Machine] = {}
        self.wake: Callable[[], None] = lambda: None  # starts this machine's own agent, for a server of one user
        steer.on_profiles = self.hear

    # --- what agents tell

    def hear(self, agent: str, told: Any) -> None:
        """Take what an agent says can be started on its machine; an empty object: nothing."""
        if not isinstance(told, Mapping):
            return
        restarts = told.get("restarts")
        machine = Machine(
            agent, text(told.get("host"), 200) or "", text(told.get("user"), 200) or "", text(told.get("error"), TEXT_MAX),
            _profiles(told.get("profiles")), frozenset(map(str, restarts[:WORDS_MAX])) if isinstance(restarts, list) else frozenset(),
            self._clock.mono_us(), self._clock.wall_us() // 1000,
        )  # fmt: skip
        with self._lock:
            if not told:
                self._machines.pop(agent, None)
                return
            self._machines.pop(agent, None)
            self._machines[agent] = machine
            while len(self._machines) > MACHINES_MAX:
                del self._machines[next(iter(self._machines))]

    def machines(self) -> list[dict[str, Any]]:
        """All machines on which something can be started, with their profiles."""
        now_us = self._clock.mono_us()
        with self._lock:
            known = [one for one in self._machines.values() if one.profiles or one.error]
        return [
            {
                "agent": one.agent, "host": one.host, "user": one.user, "error": one.error, "heard_ms": one.heard_ms,
                "present": now_us - one.heard_us < PRESENT_US,
                "profiles": [{"name": name, **about} for name, about in one.profiles.items()],
            }
            for one in sorted(known, key=lambda one: (one.host, one.user))
        ]  # fmt: skip

    # --- asking

    def start(self, where: str | None, profile: str, body: Mapping[str, Any], actor: Actor, *, channel: str = "api") -> dict[str, Any]:
        """Ask for a start of a profile. `where`: an agent or the name of its machine; None: the only one that has it.

        Raises `CommandError` for parameters that it does not take, `NotFoundError`, `ConfirmError`, `EndedError` for a machine that
        is away, `ForbiddenError`, `BusyError`, `UsageError`.
        """
        command_id = client_id(body.get("id"))
        again = self._known(command_id)
        if again is not None:
            return again
        machine = self._machine_with(where, profile)
        about = machine.profiles[profile]
        given = body.get("parameters") or {}
        if not isinstance(given, Mapping):
            raise UsageError("`parameters` is an object")
        args = sized({"profile": profile, "parameters": _read(about["parameters"], given)})
        what = f"{about['title'] or profile} ({machine.user}@{machine.host})"
        self._steer.permission.confirm(Op.START, args, None, what, body.get("confirm") is True)
        self._steer.permission.check(actor, Op.START)  # counts; the question before a start is none
        return self._accept(machine.agent, args, actor, body, command_id, channel)

    def restart(self, ref: str, body: Mapping[str, Any], actor: Actor, *, channel: str = "api") -> dict[str, Any]:
        """Ask the machine of a run that `farwatch run` has run to run its command again, as a new run. Raises as `start`."""
        command_id = client_id(body.get("id"))
        again = self._known(command_id)
        if again is not None:
            return again
        run = self._meta.run_by_id(self._runs.find(ref))
        if run is None:
            raise NotFoundError(f"no run with id: `{ref[:150]}`")
        agent = self._runner_of(run.no)
        if agent is None:
            raise EndedError(f"{run.name} cannot be run again from here", hint="only what was started with: farwatch run -- COMMAND")
        args = {"restart": run.id}
        self._steer.permission.confirm(Op.START, args, None, f"{run.name} again", body.get("confirm") is True)
        self._steer.permission.check(actor, Op.START)
        return self._accept(agent, args, actor, body, command_id, channel)

    def _runner_of(self, run_no: int) -> str | None:
        with self._meta.read() as reads:
            runners = [row for row in reads.writers_of(run_no) if row.role == "runner" and row.agent]
        return runners[-1].agent if runners else None

    def _known(self, command_id: str) -> dict[str, Any] | None:
        with self._meta.read() as reads:
            row = reads.command(command_id)
        if row is None:
            return None
        if row.op != Op.START:
            raise ExistsError(f"another command has the id: `{command_id}`")
        return self._steer.describe(row)

    def _machine_with(self, where: str | None, profile: str) -> Machine:
        with self._lock:
            known = list(self._machines.values())
        here = [one for one in known if where is None or where in (one.agent, one.host, f"{one.user}@{one.host}")]
        if not here:
            if where is not None or not known:
                self.wake()
            names = sorted({one.host for one in known if one.profiles})
            hint = f"machines: {', '.join(names)}" if names else "write launch.toml on a machine, and let its agent run"
            raise NotFoundError(f"no machine offers starts as: `{where[:150]}`" if where else "no machine offers starts", hint=hint)
        able = [one for one in here if profile in one.profiles]
        if not able:
            names = sorted({name for one in here for name in one.profiles})
            near = difflib.get_close_matches(profile, names, 1, 0.5)
            broken = next((one.error for one in here if one.error), None)
            hint = broken or (f"did you mean `{near[0]}`?" if near else f"profiles: {', '.join(names) or 'none'}")
            raise NotFoundError(f"no profile is called `{profile[:100]}`", hint=hint)
        now_us = self._clock.mono_us()
        present = [one for one in able if now_us - one.heard_us < PRESENT_US]
        if not present:
            raise EndedError(f"{able[0].host} is away: its agent has not asked for {(now_us - able[0].heard_us) / 6e7:.0f} min")
        if len(present) > 1:
            names = sorted(f"{one.user}@{one.host}" for one in present)
            raise CommandError(f"several machines offer `{profile}`", hint=f"say which: {', '.join(names)}")
        return present[0]

    def _accept(
        self, agent: str, args: dict[str, Any], actor: Actor, body: Mapping[str, Any], command_id: str, channel: str
    ) -> dict[str, Any]:
        now_ms = self._clock.wall_us() // 1000
        row = CommandRow(
            no=0, id=command_id, run_no=0, attempt=0, seq=0, op=Op.START, args=args, actor=actor.name[:ACTOR_MAX],
            channel=channel_of(body, channel), text=text(body.get("text"), TEXT_MAX) or "", agent=agent,
            state=CommandState.PENDING, reason="", accepted_ms=now_ms, expires_ms=now_ms + int(EXPIRES_S[Op.START] * 1000),
        )  # fmt: skip
        described = self._steer.accept_start(row)
        self.wake()  # it may have left since it last asked; one that runs notices the second, and goes on
        return described


def _read(declared: Mapping[str, dict[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        if name not in declared:
            near = difflib.get_close_matches(str(name), list(declared), 1, 0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"parameters: {', '.join(declared) or 'none'}"
            raise CommandError(f"there is no parameter `{str(name)[:100]}`", hint=hint)
    values = {}
    for name, about in declared.items():
        if given.get(name) is None:
            if "default" not in about:
                raise CommandError(f"the parameter `{name}` needs a value")
            continue  # its machine knows the default
        try:
            values[name] = read_value(about, given[name], name=name)
        except WrongValue as error:
            raise CommandError(str(error)) from error
    return values


def _profiles(told: Any) -> dict[str, dict[str, Any]]:
    """Profiles as an agent tells them, cut to what is known here."""
    found: dict[str, dict[str, Any]] = {}
    for name, about in list(told.items())[:PROFILES_MAX] if isinstance(told, Mapping) else ():
        clean = text(name, 64)
        if clean is None or not isinstance(about, Mapping):
            continue
        parameters = about.get("parameters")
        at_once = about.get("at_once")
        found[clean] = {
            "title": text(about.get("title"), 200) or clean,
            "description": text(about.get("description"), 2_000) or "",
            "folder": text(about.get("folder"), 1_000) or "",
            "command": _texts(about.get("command")),
            "environment": _texts(about.get("environment")),
            "at_once": at_once if isinstance(at_once, int) else 1,
            "parameters": {
                word: _parameter(one)
                for word, one in list(parameters.items() if isinstance(parameters, Mapping) else ())[:PARAMETERS_MAX]
                if text(word, 64) is not None and isinstance(one, Mapping)
            },
        }
    return found


def _parameter(told: Mapping[str, Any]) -> dict[str, Any]:
    about: dict[str, Any] = {}
    for key in _FIELDS:
        value = told.get(key)
        if key == "choices" and isinstance(value, list):
            about[key] = [_plain(one) for one in value[:WORDS_MAX]]
        elif key in told and not isinstance(value, list | dict):
            about[key] = _plain(value)
    about["type"] = about.get("type") if about.get("type") in KNOB_TYPES else "str"
    for key in ("min", "max"):
        if key in about and (isinstance(about[key], bool) or not isinstance(about[key], int | float)):
            del about[key]
    return about


def _plain(value: Any) -> Any:
    return text(value, 500) or "" if isinstance(value, str) else value if isinstance(value, bool | int | float) else None


def _texts(told: Any) -> list[str]:
    return [word for one in (told[:WORDS_MAX] if isinstance(told, list) else ()) if (word := text(one, 1_000)) is not None]
