"""`farwatch.init`: the start of a run, and what it needs of its surroundings."""

import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from farwatch import machine, servers
from farwatch import settings as settings_module
from farwatch.errors import UsageError
from farwatch.sdk import greeting, launch, place, spawn
from farwatch.sdk.config import as_json, read
from farwatch.sdk.console import Console
from farwatch.sdk.joining import find_runner
from farwatch.sdk.redact import REDACT, mask_argv, mask_mapping
from farwatch.sdk.run import Run
from farwatch.sdk.say import say
from farwatch.sdk.session import SESSION, end_by_exception
from farwatch.sdk.writer import null_writer, open_writer
from farwatch.settings import Settings
from farwatch.version import VERSION
from farwatch.wire.ids import is_run_id, new_run_id, run_name
from farwatch.wire.records import Kind, encode_json
from farwatch.wire.segment import WIRE_MAJOR

MODES = ("online", "offline", "disabled")
AGENT_EVERY_NS = 60_000_000_000  # an agent that died is started again at most once a minute
AGENT_SILENCE_S = 15.0
ID_HINT = "1 to 128 of A-Z a-z 0-9 . _ -, first a letter or digit"


class RunPlace:
    """What a run needs of its surroundings: where its journal is, who ships it, what is masked."""

    def __init__(self, settings: Settings, state_dir: Path, *, mode: str, redact: Any, keep_traceback: bool) -> None:
        self.strict = bool(settings.strict)
        self.mode = mode
        self.state_dir = state_dir
        self.keep_traceback = keep_traceback
        self.pause_max_s = float(settings.pause_max_s)
        self.ranks_wait_s = float(settings.ranks_wait_s)
        self.alone = False
        self.address: str | None = None
        self._settings = settings
        self._redact = redact
        self._agent_ns = -AGENT_EVERY_NS

    def kept_file(self, sidecar: dict[str, Any]) -> Path | None:
        """Where this machine keeps what people changed in a run."""
        return self.state_dir / "runs" / str(sidecar["run"]) / "interventions.jsonl"

    def mask(self, mapping: dict[str, Any]) -> dict[str, Any]:
        return mask_mapping(mapping, self._redact or ())  # tokens of a known shape are hidden whatever the names

    def ensure_agent(self, silence_s: float = AGENT_SILENCE_S) -> None:
        """Start this machine's agent unless one shows signs of life; at most once a minute. Never raises."""
        now = time.monotonic_ns()
        if self.mode == "disabled" or not self._settings.agent or now - self._agent_ns < AGENT_EVERY_NS:
            return
        if place.agent_silence_s(self.state_dir) < silence_s:
            return
        self._agent_ns = now
        why = spawn.can_start()
        try:
            if why is None:
                spawn.start_agent(self.state_dir, settings_module.environment())
        except OSError as error:
            why = str(error)
        if why is not None:
            say(f"no agent could be started here: {why}; deliver the run with: farwatch sync {self.state_dir}")

    def finish_wait_s(self) -> float:
        """How long the end of the run waits for the server: not at all where the agent outlives this process."""
        return float(self._settings.finish_timeout_s) if place.agent_dies_with_us() else 0.0

    def leave(self, run: Any) -> None:
        SESSION.remove(run)

    def end_by_exception(self, run: Any, error: BaseException) -> None:
        end_by_exception(run, error)


def init(
    project: str | None = None,
    *,
    name: str | None = None,
    id: str | None = None,
    resume: str = "allow",
    from_step: float | None = None,
    config: Any = None,
    tags: Iterable[str] = (),
    group: str | None = None,
    job_type: str | None = None,
    parent: str | None = None,
    notes: str | None = None,
    mode: str | None = None,
    server: str | None = None,
    dir: str | os.PathLike[str] | None = None,
    console: bool = True,
    system: bool = True,
    total_steps: float | None = None,
    redact: Any = REDACT,
    ranks: Any = None,
    reinit: str = "finish_previous",
    source: Iterable[str] | None = None,
    requirements: str = "infer",
    traceback: bool = True,
) -> Run:
    """Start a run, or continue one, and return it. Waits for no network (but see `resume`).

    Args:
        project: Set of runs that are compared; `FARWATCH_PROJECT`, else the git root's name, else the script's folder.
        name: What people call the run; by default two words made from its id.
        id: Continue this run, or make one of this id.
        resume: `allow`; `must` or `never` ask the server, for at most 5 s, whether the run exists.
        from_step: Go back to this step of the run; what it had beyond is kept, drawn pale.
        config: Inputs of the run: a mapping, Namespace, dataclass, attrs, pydantic, OmegaConf, absl flags, ….
        tags, group, job_type, parent, notes: Labels, for finding it again.
        mode: `online`, `offline` (opens no connection) or `disabled` (does nothing); `FARWATCH_MODE`.
        server: Address of the server; `FARWATCH_SERVER`, else as `farwatch login` stored, else this user's own.
        dir: State folder with the journals; `FARWATCH_DIR`, else the platform's.
        console: Capture what goes through `sys.stdout`, `sys.stderr` and `logging`.
        system: Sample CPU, memory, disk, network and GPUs.
        total_steps: The step at which the training will be done.
        redact: Names whose values are masked in config and command line.
        ranks: None: detect. False: this process is a run of its own. Or `(rank, world_size)`.
        reinit: What to do with an open run of this thread: `finish_previous`, `create_new`, `return_previous`.
        source: Files to keep: None the entry script, `[]` none, or globs.
        requirements: `infer` the installed packages, or a requirements file to keep.
        traceback: Keep the traceback of an exception that ends the run.

    Raises:
        UsageError: An argument cannot be right; or `resume` is contradicted by the server.
    """
    settings = settings_module.load().replace(
        server=server, dir=os.fspath(dir) if dir is not None else None, mode=mode, project=project
    )
    _check(settings.mode, resume, reinit, id)
    environ = settings_module.environment()
    found = _ranks(ranks, environ)
    values = read(config) if config is not None else {}
    if id is not None and not is_run_id(id):
        raise UsageError(f"not a run id: `{id[:200]}`", hint=ID_HINT)
    previous = _previous(reinit)
    if previous is not None:
        return previous
    nth = SESSION.count_init()
    runner = None
    if settings.mode != "disabled":
        runner = find_runner(environ, found.rank, id, nth, elastic="TORCHELASTIC_RESTART_COUNT" in environ)
    joins = runner is not None and runner.joins
    run_id, given = (runner.run, True) if runner and joins else _run_id(id, settings, found, nth, alone=runner is not None)
    sidecar: dict[str, Any] = {
        **_identity(run_id, given, found, nth),
        **_machine(redact),
        "project": settings.project or place.project_name(environ, sys.argv[0] if sys.argv else "", os.getcwd()),
        "name": name or (settings.name if nth == 1 and settings.name else run_name(run_id)),
        "group": group or settings.group or found.group,
        "job_type": job_type,
        "parent": parent or (settings.run_id if settings.run_id and (nth > 1 or (runner and not joins)) else None),
        "runner": runner.writer if runner and joins else None,
        "notes": notes,
        "tags": _tags(tags, settings),
        "mode": settings.mode,
        "resume": resume,
        "from_step": from_step,
        "system": system,
        "console": console and not joins,  # `farwatch run` has all of it
        "total_steps": total_steps,
        "source": None if source is None else [str(pattern) for pattern in source],
        "requirements": requirements,
    }
    state_dir = settings_module.state_dir(settings)
    where = RunPlace(settings, state_dir, mode=settings.mode, redact=redact, keep_traceback=traceback)
    where.alone = ranks is False
    run = _open(sidecar, values, where, settings)
    SESSION.add(run)
    _begin(run, sidecar, as_json(values), where)
    if settings.mode != "disabled":
        where.ensure_agent()
        if resume != "allow":
            greeting.ask(run, resume, float(settings.resume_wait_s))
        if found.rank == 0 and not joins and not SESSION.quiet:
            greeting.announce(run, mode=where.mode, state_dir=where.state_dir)
        if found.hint:
            say(found.hint)
    return run


def _previous(reinit: str) -> Run | None:
    """What a second `init` of a thread does with the first run (rule 10): the run to return, or None to go on."""
    previous = SESSION.of_this_thread()
    if previous is not None and previous is SESSION.unasked:
        SESSION.forget(previous)
        return None
    if previous is None or reinit == "create_new":
        return None
    if reinit == "return_previous":
        return previous
    if not previous._alive[0]:
        return None  # its parent's, which goes on with it
    say(f"{previous.name} is finished: this thread starts another run")
    if previous._notebook.failure is not None:  # a notebook: the cell before this one raised
        previous._end(**previous._notebook.failure)
    else:
        previous.finish()
    return None


def _run_id(
    id: str | None, settings: Settings, found: launch.Ranks, nth: int, *, alone: bool = False
) -> tuple[str, bool]:
    """The id of the `nth` run of this process, and whether somebody chose it. `alone`: the environment's is another's."""
    given = id or (settings.run_id if nth == 1 and not alone else None) or found.run_id_of(nth)
    if given and not is_run_id(given):
        raise UsageError(f"not a run id: `{given[:200]}`", hint=ID_HINT)
    return given or new_run_id(), bool(given)


def _tags(tags: Iterable[str], settings: Settings) -> list[str]:
    """The labels of the call and of the environment, each once."""
    named = [tag.strip() for tag in settings.tags.split(",")]
    return [*dict.fromkeys([*map(str, tags), *filter(None, named)])]


def _begin(run: Run, sidecar: Mapping[str, Any], mapping: dict[str, Any], where: RunPlace) -> None:
    """Record what is known at the start, and capture the console from here on."""
    if sidecar["from_step"] is not None:
        run._counter, run._relative = sidecar["from_step"], 0
    if mapping:
        run._record_config(mapping, vital=True)
    if place.in_notebook():
        run._patch({"capture": {"in_notebook": True}})
    if sidecar["console"] and where.mode != "disabled":
        run._lines = _capture(run)


def _check(mode: str, resume: str, reinit: str, id: str | None) -> None:
    for name, value, known in (
        ("mode", mode, MODES),
        ("resume", resume, ("allow", "must", "never")),
        ("reinit", reinit, ("finish_previous", "create_new", "return_previous")),
    ):
        if value not in known:
            raise UsageError(f"{name} must be {', '.join(known[:-1])} or {known[-1]}, not: `{value}`")
    if resume == "must" and not id:
        raise UsageError("resume=\"must\" needs the id of the run to continue")


def _ranks(ranks: Any, environ: Mapping[str, str]) -> launch.Ranks:
    if ranks is None:
        return launch.detect_ranks(environ)
    if ranks is False:
        return launch.Ranks()
    try:
        rank, world_size = (int(part) for part in ranks)
    except (TypeError, ValueError):
        raise UsageError(f"ranks must be None, False or (rank, world_size), not: `{ranks}`") from None
    if not 0 <= rank < world_size:
        raise UsageError(f"rank {rank} of {world_size} ranks cannot be")
    return launch.given_ranks(rank, world_size, environ)


def _identity(run_id: str, given: bool, found: launch.Ranks, nth: int) -> dict[str, Any]:
    return {
        "format": 1,
        "wire": WIRE_MAJOR,
        "run": run_id,
        "run_given": given,
        "rank": found.rank,
        "local_rank": found.local_rank,
        "world_size": found.world_size,
        "rendezvous": f"{found.rendezvous}/{nth}" if found.rendezvous else None,
        "main": True,
        "sibling_of": None,
        "nth": nth,
        "version": VERSION,
    }


def _machine(redact: Any) -> dict[str, Any]:
    pid = os.getpid()
    return {
        "pid": pid,
        "pid_start": machine.process_start(pid),
        "boot_id": machine.boot_id(),
        "pid_ns": machine.pid_namespace(),
        "uid": os.getuid() if hasattr(os, "getuid") else None,
        "host": machine.host_name(settings_module.environment()),
        "user": place.user_name(),
        "executable": sys.executable,
        "cwd": os.getcwd(),
        "argv": mask_argv(list(sys.orig_argv[1:] if not sys.argv or sys.argv[0] == "-c" else sys.argv), redact or ()),
        "script": place.script_path(),
        "python": sys.version.split()[0],
    }


def _open(sidecar: dict[str, Any], config: dict[str, Any], where: RunPlace, settings: Settings) -> Run:
    """Open the journal: in the state folder, else wherever this node has a local disk, else nowhere, saying so."""
    if settings.mode == "disabled":
        return Run(null_writer({**sidecar, "server": None, "credential": None}), config=config, place=where)
    root = place.choose_journal_root(where.state_dir, settings_module.environment())
    try:
        if root is None:
            raise OSError("this node has no local disk that can be written")
        where.state_dir = root.parent
        server = None
        if settings.mode == "online":
            server, where.address = server_of(settings, root.parent)
        sidecar = {**sidecar, "server": server, "credential": server}
        return Run(open_writer(root, sidecar, settings.journal_max_bytes), config=config, place=where)
    except OSError as error:
        say(f"nothing of this run is kept: {error}; set FARWATCH_DIR to a folder on a local disk")
        return Run(null_writer({**sidecar, "server": None, "credential": None}), config=config, place=where)


def server_of(settings: Settings, state_dir: Path) -> tuple[str | None, str | None]:
    """The server that the journal is for (None: this user's own, whenever there is one) and the address to show."""
    found = servers.find_server(settings)
    if found is None:
        return None, None
    address, credential = found
    if credential is not None and credential.prove and not settings.server:
        return None, address
    if settings.token:
        servers.store_credential(state_dir, address, settings.token)
    return address, address


def _capture(run: Run) -> Console:
    def emit(stream: str, first_line_number: int, lines: list[str], open: bool) -> None:
        body = {"s": stream, "n": first_line_number, "lines": lines, "open": open}
        if run._alive[0]:  # a forked child's prints belong to its parent's terminal, not to its journal
            run._journal.append(encode_json(Kind.CONSOLE, body, time=run._now_us()))

    return Console(emit)
