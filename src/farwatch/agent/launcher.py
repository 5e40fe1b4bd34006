"""What the agent itself is asked for: start a program by name, end a run at once.

A start is written down before anything is started, and only the process that makes its second file starts the program, so
it happens at most once whoever dies in between. The program is supervised by `farwatch run`, detached from the agent.
"""

import contextlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farwatch import settings as settings_module
from farwatch.agent import profiles
from farwatch.agent.launches import Launches, slot_of_command
from farwatch.agent.profiles import Profile
from farwatch.errors import FarwatchError, UsageError
from farwatch.machine import host_name
from farwatch.wire.ids import new_run_id

LOG = logging.getLogger("farwatch.agent")
Ended = dict[str, Any]
LOOK_S = 2.0
BEGUN_S = 10.0  # how long a supervisor may take to come up
SLOT = 3  # the descriptor under which a supervisor gets its slot
RESTARTS_TOLD = 50
# What a program that is started from afar inherits. Not the agent's whole environment: that is the one of whichever
# program had started it. What a profile needs besides stands in its `environment`.
INHERITED = frozenset("HOME USER LOGNAME SHELL LANG TZ TMPDIR XDG_RUNTIME_DIR XDG_STATE_HOME XDG_CACHE_HOME".split())
SEARCH_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


@dataclass(frozen=True, slots=True)
class _Start:
    """A checked start: what to run, where, as what. `slots`: of which one must be free. `origin`: a profile with parameters."""

    title: str
    argv: list[str]
    folder: str
    environment: dict[str, str]
    project: str | None
    name: str | None
    slots: list[str]
    origin: dict[str, Any] | None = None


class Launcher:
    """Starts programs of this user. *Threads*: any; slots and files keep two from starting one thing twice."""

    def __init__(self, state: Path, *, allowed: bool = True) -> None:
        self._launches = Launches(state)
        self._state = state
        self._allowed = allowed
        self._said = ""
        self._looked = -2 * LOOK_S  # long ago
        self._told: dict[str, Any] = {}

    def profiles(self) -> dict[str, Any]:
        """What can be started here, for the server; empty if nothing can. Looked up at most every two seconds.

        `{"host", "user", "profiles": {name: schema}, "restarts": [run], "error"}`; `error`: why the file is not used.
        """
        if not self._allowed:
            return {}
        now = time.monotonic()
        if now - self._looked > LOOK_S:
            self._looked, self._told = now, self._look()
        return self._told

    def _look(self) -> dict[str, Any]:
        known, error = self._load()
        restarts = self._launches.remembered()[:RESTARTS_TOLD]
        if not (known or restarts or error):
            return {}
        return {
            "host": host_name(), "user": _user(), "profiles": {name: one.schema() for name, one in known.items()},
            "restarts": restarts, "error": error,
        }  # fmt: skip

    @property
    def waits(self) -> bool:
        """Whether the agent should stay although nothing runs: somebody may want to start something."""
        return self._allowed and bool(self._load()[0])

    def start(self, order: Mapping[str, Any], *, server: str = "") -> Ended:
        """Start what an order names: `args` are `profile` and `parameters`, or `restart`. Called again, it starts nothing.

        `server`: the address that the run goes to, empty for this user's own.
        """
        if not self._allowed:
            return _refused("this machine takes no starts from afar (FARWATCH_REMOTE)")
        key = self._launches.key(str(order["id"]))
        try:
            record = self._launches.read(key)
            if not record:
                asked = self._asked(order.get("args") or {})
                slot = self._free_slot(asked)
                if isinstance(slot, str):
                    return _refused(slot)
                try:
                    written = self._write_down(key, order, asked, server)
                    if written is not None:
                        self._launches.note(slot, {"run": written["run"], "title": written["title"]})
                        _spawn(self._launches.path(key), slot)
                finally:
                    os.close(slot)
                record = written or self._launches.read(key)
            return self._outcome(key, record)
        except FarwatchError as error:
            return _refused(str(error))
        except OSError as error:
            return _refused(f"nothing was started: {(error.strerror or str(error)).lower()}")

    # --- what is asked

    def _load(self) -> tuple[dict[str, Profile], str | None]:
        try:
            found, error = profiles.load(self._state), None
        except FarwatchError as trouble:
            found, error = {}, str(trouble)
        if error and error != self._said:
            LOG.warning("%s", error)
        self._said = error or ""
        return found, error

    def _asked(self, args: Mapping[str, Any]) -> _Start:
        if args.get("restart") is not None:
            return self._again(str(args["restart"]))
        name = str(args.get("profile"))
        known = profiles.load(self._state)  # read at each start: an edit counts at once
        profile = known.get(name)
        if profile is None:
            raise UsageError(f"there is no profile `{name[:100]}`", hint=f"profiles: {', '.join(known) or 'none'}")
        given = args.get("parameters") or {}
        if not isinstance(given, Mapping):
            raise UsageError("parameters are an object")
        slots = [f"profile\0{name}\0{number}" for number in range(profile.at_once)]
        environment = {**_inherited(), **profile.environment}
        return _runnable(
            _Start(
                profile.title or name, profile.argv(given), str(profile.folder), environment, profile.project,
                profile.run_name, slots, {"profile": name, "parameters": dict(given)},
            )
        )  # fmt: skip

    def _again(self, run: str) -> _Start:
        told = self._launches.recall(run)
        if told is None and self._launches.withheld(run):
            raise UsageError("its command line holds what looks like a secret and was not kept; start it by a profile in launch.toml")
        if told is None:
            raise UsageError(f"this machine has not run `{run[:130]}` with `farwatch run`, or has forgotten it")
        if "profile" in told:
            return self._asked({"profile": told["profile"], "parameters": told["parameters"]})
        argv, folder = [str(word) for word in told["argv"]], str(told["folder"])
        return _runnable(
            _Start(
                str(told.get("name") or run), argv, folder, dict(told["environment"]), told.get("project"), None,
                [slot_of_command(argv, folder)],
            )
        )  # fmt: skip

    def _free_slot(self, asked: _Start) -> int | str:
        """A slot that is now ours, or why there is none."""
        for name in asked.slots:
            slot = self._launches.slot(name)
            if slot is not None:
                return slot
        holder = self._launches.holder(asked.slots[0]).get("run")
        which = f" as {str(holder)[:7]}" if holder else ""
        return f"already running: {asked.title}{which}"

    def _write_down(self, key: str, order: Mapping[str, Any], asked: _Start, server: str) -> dict[str, Any] | None:
        record = {
            "key": key, "command": str(order["id"]), "run": new_run_id(), "title": asked.title, "argv": asked.argv,
            "folder": asked.folder, "environment": {**asked.environment, **_ours(self._state, server)}, "project": asked.project,
            "name": asked.name, "origin": asked.origin, "actor": str(order.get("actor") or ""), "channel": str(order.get("channel") or ""),
            "started_ms": time.time_ns() // 1_000_000,
        }  # fmt: skip
        if not self._launches.begin(key, record):
            return None  # another life of this agent was here first
        self._launches.tidy()
        return record

    def _outcome(self, key: str, record: Mapping[str, Any]) -> Ended:
        """What has become of a start. A supervisor that does not come up in time never will start anything."""
        deadline = time.monotonic() + BEGUN_S
        while (begun := self._launches.begun(key)) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if begun is None and not self._launches.claim(key, {"void": True}):
            begun = self._launches.begun(key)
        if begun is None or begun.get("void"):
            return _refused("nothing was started: the agent ended, or could not start a program")
        LOG.info("started %s as run %s for %s", record.get("title"), record["run"], record.get("actor"))
        return {"state": "applied", "reason": "", "result": {"run": record["run"]}}


def _refused(reason: str) -> Ended:
    return {"state": "refused", "reason": reason[:1_000], "result": None}


def _runnable(asked: _Start) -> _Start:
    """Raise `UsageError` for what certainly cannot be started."""
    if not os.path.isdir(asked.folder):
        raise UsageError(f"there is no folder `{asked.folder}`")
    program = asked.argv[0]
    found = os.path.join(asked.folder, program) if "/" in program else program
    if shutil.which(found, path=asked.environment.get("PATH", SEARCH_PATH)) is None:
        raise UsageError(
            f"there is no program `{program}`", hint="write its whole path, or a PATH into the profile's environment"
        )
    return asked


def _inherited() -> dict[str, str]:
    ours = settings_module.environment()
    kept = {name: value for name, value in ours.items() if name in INHERITED or name.startswith("LC_")}
    return {"PATH": SEARCH_PATH, **kept}


def _ours(state: Path, server: str) -> dict[str, str]:
    """What tells the run where to keep itself and where to go."""
    return {"FARWATCH_DIR": str(state), **({"FARWATCH_SERVER": server} if server else {})}


def _user() -> str:
    import pwd  # not on Windows, where nothing is started either

    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return str(os.getuid())


def _spawn(record: Path, slot: int) -> None:
    """Start a supervisor that outlives us, holding the slot. Raises `OSError`."""
    environ = {**_inherited(), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    null = os.devnull
    shell = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", '"$@" &', "sh", sys.executable, "-P", "-m", "farwatch.runner", str(record)],
        environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, null, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, slot, SLOT),
        ],
        setpgroup=0,
        setsigmask=[],
    )
    os.waitpid(shell, 0)
