"""One call of `farwatch run`: a program, its run, its console, its end."""

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farwatch import machine
from farwatch import settings as settings_module
from farwatch.agent.launches import Launches, slot_of_command
from farwatch.errors import FarwatchError
from farwatch.runner import child as children
from farwatch.runner.ends import End, end_of, not_started
from farwatch.runner.keeping import Keeper
from farwatch.runner.relay import HANDLED, Relay, Signals
from farwatch.sdk import launch, place, start
from farwatch.sdk.joining import RUNNER
from farwatch.sdk.redact import REDACT, is_secret_name, mask_argv, mask_mapping, mask_shapes
from farwatch.sdk.say import say
from farwatch.sdk.writer import open_writer
from farwatch.settings import Settings
from farwatch.version import VERSION
from farwatch.wire.ids import is_run_id, new_run_id, run_name, short_id
from farwatch.wire.segment import WIRE_MAJOR

WAIT_STEP_S = 0.02
# Of the environment, what belongs to one start and not to the next: launchers' words, our own run, this very terminal.
PASSING = frozenset("RANK LOCAL_RANK WORLD_SIZE MASTER_PORT FARWATCH_RUN_ID FARWATCH_RUNNER FARWATCH_NAME FARWATCH_TOKEN TERM".split())
PASSING_PREFIXES = ("TORCHELASTIC_", "OMPI_", "PMI_", "PMIX_", "SLURM_", "SSH_")


@dataclass(frozen=True, slots=True)
class Asked:
    """What `farwatch run` was called with. `run_id`: None, a new one. `parent`: the run that this one belongs to.

    `origin`: what it was started from if that is no command line: a profile's name and parameters.
    """

    command: Sequence[str]
    project: str | None = None
    name: str | None = None
    run_id: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] = ()
    quiet: bool = False
    as_json: bool = False
    origin: Mapping[str, Any] | None = None


@dataclass(slots=True)
class _Kept:
    """A run that is being kept: what is said of it, and who writes."""

    keeper: Keeper
    place: start.RunPlace
    sidecar: dict[str, Any]

    @property
    def title(self) -> str:
        return f"{self.sidecar['name']} {short_id(self.sidecar['run'])}"


def run(asked: Asked) -> int:
    """Run a program to its end; returns the exit status to leave with.

    Whatever is wrong on our side, the program runs: then without its journal, and a line says so.
    """
    _open_standard_streams()
    signals = Signals()
    started = time.monotonic()
    try:
        kept = _begin(asked)
        environ = _environment(asked, kept)
        oom_before = _oom_kills()
        try:
            child = children.start(asked.command, environ, ignored=signals.ignored, handled=HANDLED)
        except OSError as error:
            return _leave(kept, not_started(asked.command[0], error), started, asked, always=True)
        signals.pass_to(child.pid)
        if kept is not None:
            kept.keeper.started(child.pid, machine.process_start(child.pid))
        relay = Relay(child, signals, kept.keeper.take if kept is not None else lambda stream, data: None)
        status = relay.run()
        kills = _oom_kills()
        oom = oom_before is not None and kills is not None and kills > oom_before
        killed_by = kept.keeper.killed_by() if kept is not None else None
        end = end_of(status, asked=signals.asked, oom=oom, killed_by=killed_by)
        return _leave(kept, end, started, asked)
    finally:
        signals.close()


def _open_standard_streams() -> None:
    """Have something at 0, 1 and 2, so that no file of ours gets one of these numbers."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _oom_kills() -> int | None:
    """How often the kernel has killed for memory in our control group, which the program shares."""
    from farwatch.agent.watcher import oom_file, oom_kills

    return oom_kills(oom_file(os.getpid()))


def _begin(asked: Asked) -> _Kept | None:
    """Open the journal of the run; None if it is not kept, after saying why."""
    try:
        return _open(asked, settings_module.load().replace(project=asked.project))
    except Exception as error:  # a border: whatever is wrong with us, the program is to run
        say(f"nothing of this run is kept: {error}")
        return None


def _open(asked: Asked, settings: Settings) -> _Kept | None:
    environ = settings_module.environment()
    if settings.mode == "disabled":
        return None
    if settings.mode not in start.MODES:
        raise ValueError(f"FARWATCH_MODE must be online, offline or disabled, not: `{settings.mode}`")
    state_dir = settings_module.state_dir(settings)
    where = start.RunPlace(settings, state_dir, mode=settings.mode, redact=REDACT, keep_traceback=False)
    root = place.choose_journal_root(state_dir, environ)
    if root is None:
        raise OSError("this node has no local disk that can be written; set FARWATCH_DIR to a folder on one")
    where.state_dir = root.parent
    sidecar = _sidecar(asked, settings)
    server = None
    if settings.mode == "online":
        server, where.address = start.server_of(settings, root.parent)
    writer = open_writer(root, {**sidecar, "server": server, "credential": server}, settings.journal_max_bytes)
    kept = _Kept(Keeper(writer, where), where, writer.sidecar)
    with contextlib.suppress(Exception):
        where.ensure_agent()
    with contextlib.suppress(OSError, FarwatchError):
        _remember(asked, sidecar, state_dir)
    if not asked.quiet and sidecar["rank"] == 0:
        _announce(kept)
    return kept


def _remember(asked: Asked, sidecar: Mapping[str, Any], state_dir: Path) -> None:
    """Keep the command line in this user's own folder, so that its agent can run it again when a person asks for it by run.

    What looks like a secret in the environment is not kept, and no command line that holds one. The slot tells that it runs; the
    program holds it with us.
    """
    launches = Launches(state_dir)
    argv, folder = list(asked.command), os.getcwd()
    parameters = dict(asked.origin or {}).get("parameters") or {}
    if mask_mapping(parameters) != parameters or (asked.origin is None and mask_argv(argv, REDACT) != argv):
        launches.withhold(sidecar["run"])
        return
    if asked.origin is not None:
        launches.remember(sidecar["run"], dict(asked.origin))
        return
    kept = {
        name: value
        for name, value in settings_module.environment().items()
        if not is_secret_name(name) and mask_shapes(value) == value and name not in PASSING and not name.startswith(PASSING_PREFIXES)
    }
    told = {"argv": argv, "folder": folder, "environment": kept, "project": asked.project, "name": sidecar["name"]}
    launches.remember(sidecar["run"], told)
    slot = launches.slot(slot_of_command(argv, folder), shared=True)
    if slot is not None:
        os.set_inheritable(slot, True)


def _sidecar(asked: Asked, settings: Settings) -> dict[str, Any]:
    """What the runner says of its run; a program that calls `init` says it better, and is believed."""
    environ = settings_module.environment()
    inside = environ.get(RUNNER)  # a `farwatch run` within another one makes a child
    found = launch.detect_ranks({name: value for name, value in environ.items() if not inside or name != "FARWATCH_RUN_ID"})
    given = asked.run_id or (None if inside else settings.run_id) or found.run_id
    if given and not is_run_id(given):
        raise ValueError(f"not a run id: `{given[:200]}`; {start.ID_HINT}")
    run_id = given or new_run_id()
    pid = os.getpid()
    script = next((word for word in asked.command[:4] if word.endswith((".py", ".sh"))), "")
    tags = [tag.strip() for tag in settings.tags.split(",")]
    return {
        "format": 1, "wire": WIRE_MAJOR, "role": "runner", "run": run_id, "run_given": bool(given), "resume": "allow",
        "from_step": None, "project": settings.project or place.project_name(environ, script, os.getcwd()),
        "project_given": bool(settings.project), "name": asked.name or settings.name or run_name(run_id),
        "name_given": bool(asked.name or settings.name), "group": settings.group or found.group, "job_type": None,
        "parent": asked.parent or (settings.run_id if inside else None) or None, "notes": None,
        "tags": [*dict.fromkeys([*asked.tags, *filter(None, tags)])], "mode": settings.mode, "pid": pid,
        "pid_start": machine.process_start(pid), "boot_id": machine.boot_id(), "pid_ns": machine.pid_namespace(),
        "uid": os.getuid(), "host": machine.host_name(environ), "user": place.user_name(),
        "executable": shutil.which(asked.command[0]) or asked.command[0], "cwd": os.getcwd(),
        "argv": mask_argv(list(asked.command), REDACT), "script": None, "python": "", "rank": found.rank,
        "local_rank": found.local_rank, "world_size": found.world_size,
        "rendezvous": f"{found.rendezvous}/1" if found.rendezvous else None, "main": True, "sibling_of": None, "nth": 1,
        "system": True, "console": True, "total_steps": None, "source": [], "requirements": "infer", "version": VERSION,
    }  # fmt: skip


def _environment(asked: Asked, kept: _Kept | None) -> dict[str, str]:
    """What the program gets: its run, if there is one, and lines at once where it writes into a pipe."""
    environ = dict(settings_module.environment())
    environ.setdefault("PYTHONUNBUFFERED", "1")
    if kept is not None:
        environ["FARWATCH_RUN_ID"] = kept.sidecar["run"]
        environ[RUNNER] = str(kept.keeper.folder)
        environ.pop("FARWATCH_NAME", None)
        if asked.project:
            environ["FARWATCH_PROJECT"] = asked.project
    return environ


def _announce(kept: _Kept) -> None:
    address = kept.place.address
    if address is not None:
        say(f"{kept.title} → {address}/r/{short_id(kept.sidecar['run'])}")
    elif kept.place.mode == "offline":
        say(f"{kept.title}, offline, kept here; deliver it with: farwatch sync {kept.place.state_dir}")
    else:
        say(f"{kept.title}, kept here; see it with: farwatch serve")


def _leave(kept: _Kept | None, end: End, started: float, asked: Asked, *, always: bool = False) -> int:
    """Say and write down how it ended, and wait for the server where nobody would deliver the rest."""
    if asked.as_json:
        run_id = kept.sidecar["run"] if kept is not None else None
        told = {"run": run_id, "state": str(end.state), "reason": end.reason, **end.facts}
        print(json.dumps({**told, "exit_status": end.exit_status}), file=sys.stderr, flush=True)
    if kept is None:
        if always:
            say(end.reason)
        return end.exit_status
    with contextlib.suppress(Exception):  # a border: the program's exit status is what counts
        kept.keeper.close(end)
    if not asked.quiet and kept.sidecar["rank"] == 0:
        how = f"{end.state}: {end.reason}" if end.reason else str(end.state)
        say(f"{kept.title} {how}, after {_lasted(time.monotonic() - started)}")
    elif always:
        say(end.reason)
    with contextlib.suppress(Exception):
        _wait(kept)
    return end.exit_status


def _wait(kept: _Kept) -> None:
    if kept.place.mode != "online":
        return
    deadline = time.monotonic() + kept.place.finish_wait_s()
    while time.monotonic() < deadline and not kept.keeper.delivered():
        time.sleep(WAIT_STEP_S)


def _lasted(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d} min"
