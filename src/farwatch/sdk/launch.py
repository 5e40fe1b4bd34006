"""Which rank this process is, and which other processes belong to its run.

Read from what launchers put into the environment, and from the chain of parent processes. A key that two
*successive* launches could share is never the only proof: the static rendezvous of torchrun gives both the
same id, address and port. [H 20]
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from farwatch import machine
from farwatch.sdk import place
from farwatch.wire.ids import ALPHABET

_BATCH_STEP = 0xFFFF_FFF0  # Slurm numbers the batch, extern and interactive steps from here on
# What a wrapper (a shell, numactl) between launcher and trainer inherits from the launcher, and the launcher
# lacks.
_PER_RANK_NAMES = (
    "RANK LOCAL_RANK WORLD_SIZE MASTER_PORT TORCHELASTIC_RUN_ID OMPI_COMM_WORLD_RANK PMI_RANK PMIX_RANK HOROVOD_RANK"
    " SLURM_PROCID SLURM_STEP_ID JAX_PROCESS_ID MV2_COMM_WORLD_RANK"
)
_PER_RANK = _PER_RANK_NAMES.split()


@dataclass(frozen=True, slots=True)
class Ranks:
    """Where a process stands in its launch.

    `rendezvous`: what all processes of one run share, None for a run of its own. `node`: which machine of the
    launch. `launcher`: `torchrun`, `slurm`, `mpi`, `horovod`, `jax`, `tensorflow`, `environment`, `given`, or
    None. `group`: label of a Slurm array. `seed`: what a restarted task has in common with its first start.
    `hint`: a line for the user, on one process of each run only.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    rendezvous: str | None = None
    node: int = 0
    launcher: str | None = None
    group: str | None = None
    seed: str | None = None
    hint: str | None = None

    @property
    def run_id(self) -> str | None:
        """The id that the first `init` of this process takes, so that a requeued task resumes; None: make a
        new one."""
        return self.run_id_of(1)

    def run_id_of(self, nth: int) -> str | None:
        """The id that the `nth` `init` of this process takes, from 1 on. Only rank 0 has one: it alone makes
        runs."""
        if self.seed is None or self.rank != 0:
            return None
        digest = _sha256(f"{self.seed}\0{nth}".encode())
        return "".join(ALPHABET[byte & 31] for byte in digest[:16])


@dataclass(frozen=True, slots=True)
class _Found:
    """What one kind of launcher says: positions, and `local_size`, None where it does not tell."""

    launcher: str
    rank: int
    world_size: int
    local_rank: int
    local_size: int | None
    node: int = 0


def detect_ranks(environ: Mapping[str, str], argv: list[str] | None = None) -> Ranks:
    """Where this process stands, from its environment. Never raises: numbers that cannot be right count as
    absent."""
    argv = sys.argv if argv is None else argv
    found = _positions(environ)
    if found is None:
        return Ranks(group=_group(environ), seed=_slurm_seed(environ, argv, _own_key()))
    return _join(found, environ, argv)


def given_ranks(
    rank: int, world_size: int, environ: Mapping[str, str], argv: list[str] | None = None
) -> Ranks:
    """Where this process stands if the program says so itself: `init(ranks=(rank, world_size))`.

    Processes that were started by one parent join; so do those that share an id of a launcher or
    `FARWATCH_RUN_ID`.
    """
    argv = sys.argv if argv is None else argv
    if world_size <= 1:
        return replace(detect_ranks({}), group=_group(environ), launcher="given")
    known = _positions(environ)
    local = _number(environ, "LOCAL_RANK")
    local_rank = known.local_rank if known else rank if local is None else local
    local_size = known.local_size if known else world_size
    return _join(
        _Found("given", rank, world_size, local_rank, local_size, known.node if known else 0), environ, argv
    )


def _join(found: _Found, environ: Mapping[str, str], argv: list[str]) -> Ranks:
    """Who joins one run (rule 9)."""
    ranks = Ranks(
        found.rank, found.local_rank, found.world_size, None, found.node, found.launcher, _group(environ)
    )
    shared = _shared_id(environ)
    if shared is not None:
        return replace(ranks, rendezvous=shared, seed=_seed(found.rank, shared, environ, argv))
    launcher = _launcher_key(environ)
    if found.local_size is None or found.local_size >= found.world_size or found.local_size <= 0:
        return replace(ranks, rendezvous=launcher, seed=_seed(found.rank, launcher, environ, argv))
    hint = "each node makes a run of its own; to join them, set FARWATCH_RUN_ID to one new value on all nodes"
    if found.local_size == 1:
        return Ranks(launcher=found.launcher, node=found.node, group=ranks.group, hint=hint)
    return Ranks(
        found.local_rank,
        found.local_rank,
        found.local_size,
        launcher,
        found.node,
        found.launcher,
        ranks.group,
        _seed(found.local_rank, launcher, environ, argv),
        hint if found.local_rank == 0 else None,
    )


# --- positions


def _positions(environ: Mapping[str, str]) -> _Found | None:
    """The first launcher with a world of more than one process; torchrun inside a Slurm step is torchrun."""
    for reader in (_torchrun, _horovod, _mpi, _slurm, _jax, _tensorflow):
        found = reader(environ)
        if found is not None and found.world_size > 1 and 0 <= found.rank < found.world_size:
            return found
    return None


def _number(environ: Mapping[str, str], *names: str) -> int | None:
    for name in names:
        text = environ.get(name, "")
        if text.isascii() and text.isdigit() and len(text) < 10:
            return int(text)
    return None


def _torchrun(environ: Mapping[str, str]) -> _Found | None:
    """torchrun, accelerate, DeepSpeed, and everybody who sets the same variables; Lightning leaves out
    `RANK`."""
    world = _number(environ, "WORLD_SIZE")
    local = _number(environ, "LOCAL_RANK")
    node = _number(environ, "GROUP_RANK", "NODE_RANK")
    local_size = _number(environ, "LOCAL_WORLD_SIZE")
    rank = _number(environ, "RANK")
    if rank is None and local is not None and (node or 0) == 0 and "NODE_RANK" in environ:
        rank = local
    if world is None or rank is None:
        return None
    if local_size is None and environ.get("MASTER_ADDR") in ("localhost", "127.0.0.1", "::1"):
        local_size = world
    name = "torchrun" if "TORCHELASTIC_RUN_ID" in environ else "environment"
    return _Found(name, rank, world, rank if local is None else local, local_size, node or 0)


def _horovod(environ: Mapping[str, str]) -> _Found | None:
    rank, world = _number(environ, "HOROVOD_RANK"), _number(environ, "HOROVOD_SIZE")
    if rank is None or world is None:
        return None
    local = _number(environ, "HOROVOD_LOCAL_RANK")
    node = _number(environ, "HOROVOD_CROSS_RANK") or 0
    return _Found("horovod", rank, world, local or 0, _number(environ, "HOROVOD_LOCAL_SIZE"), node)


def _mpi(environ: Mapping[str, str]) -> _Found | None:
    rank = _number(environ, "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMI_RANK")
    world = _number(environ, "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE")
    if rank is None or world is None:
        return None
    local = _number(environ, "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID")
    size = _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
    return _Found(
        "mpi",
        rank,
        world,
        rank if local is None else local,
        size,
        _number(environ, "OMPI_COMM_WORLD_NODE_RANK") or 0,
    )


def _slurm(environ: Mapping[str, str]) -> _Found | None:
    """A task of a step. The batch script itself also has a `SLURM_PROCID`, and the job's size, but it is
    alone."""
    rank, world = _number(environ, "SLURM_PROCID"), _number(environ, "SLURM_STEP_NUM_TASKS")
    if rank is None or world is None or _slurm_step(environ) is None:
        return None
    nodes = _number(environ, "SLURM_STEP_NUM_NODES") or 1
    local_size = world if nodes == 1 else max(1, world // nodes)
    return _Found(
        "slurm",
        rank,
        world,
        _number(environ, "SLURM_LOCALID") or 0,
        local_size,
        _number(environ, "SLURM_NODEID") or 0,
    )


def _jax(environ: Mapping[str, str]) -> _Found | None:
    rank, world = _number(environ, "JAX_PROCESS_ID"), _number(environ, "JAX_NUM_PROCESSES")
    if rank is not None and world is not None:
        return _Found("jax", rank, world, 0, None)
    hosts = [host for host in environ.get("TPU_WORKER_HOSTNAMES", "").split(",") if host]
    rank = _number(environ, "TPU_WORKER_ID")
    return _Found("jax", rank, len(hosts), 0, 1, rank) if rank is not None and len(hosts) > 1 else None


def _tensorflow(environ: Mapping[str, str]) -> _Found | None:
    """`TF_CONFIG`: chief first, then workers; parameter servers and evaluators are no ranks."""
    try:
        told = json.loads(environ.get("TF_CONFIG") or "null")
        cluster, task = told["cluster"], told["task"]
        order = [
            *(("chief", i) for i in range(len(cluster.get("chief", ())))),
            *(("worker", i) for i in range(len(cluster["worker"]))),
        ]
        rank = order.index((task["type"], int(task["index"])))
        addresses = {
            str(address).rpartition(":")[0]
            for name in ("chief", "worker")
            for address in cluster.get(name, ())
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    alone = len(addresses) == 1
    return _Found(
        "tensorflow", rank, len(order), rank if alone else 0, len(order) if alone else 1, 0 if alone else rank
    )


# --- who belongs together


def _shared_id(environ: Mapping[str, str]) -> str | None:
    """An id that all processes of a launch have, on every node, and that tells launches apart."""
    run = environ.get("FARWATCH_RUN_ID")
    if run:
        return f"run:{run}"
    step = _slurm_step(environ)
    elastic = environ.get("TORCHELASTIC_RUN_ID")
    if elastic and elastic != "none":
        job = environ.get("SLURM_JOB_ID", "")
        return f"torchelastic:{job}:{elastic}"
    if step is not None:
        # several launches may follow one another within a step; their ports and their first processes differ
        return f"slurm:{_slurm_job(environ)}.{step}:{environ.get('MASTER_PORT', '')}"
    for name in (
        "PMIX_NAMESPACE",
        "OMPI_MCA_ess_base_jobid",
        "OMPI_MCA_orte_ess_jobid",
        "PMI_JOBID",
        "PBS_JOBID",
    ):
        if environ.get(name) and ("PMI_RANK" in environ or "OMPI_COMM_WORLD_RANK" in environ):
            return f"mpi:{environ[name]}"
    return None


def _launcher_key(environ: Mapping[str, str]) -> str:
    """Which launcher process started this one: the nearest ancestor that does not itself carry this rank's
    variables."""
    mine = [environ.get(name) for name in _PER_RANK]
    pid = os.getppid()
    while pid > 1:
        theirs = _environment_of(pid)
        above = machine.parent_of(pid)
        if theirs is None or not above or [theirs.get(name) for name in _PER_RANK] != mine:
            break
        pid = above
    started = machine.process_start(pid)
    port = environ.get("MASTER_PORT", "")
    return f"launcher:{machine.boot_id() or machine.host_name()}:{machine.pid_namespace() or 0}:{pid}:{started or 0}:{port}"


def _own_key() -> str:
    pid = os.getpid()
    return f"process:{machine.boot_id() or machine.host_name()}:{pid}:{machine.process_start(pid) or 0}"


def _environment_of(pid: int) -> dict[str, str] | None:
    """The environment that a process was started with; None if it is not ours to read."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    return dict(item.split("=", 1) for item in data.decode("utf-8", "replace").split("\0") if "=" in item)


# --- Slurm, and tasks that start again


def _slurm_step(environ: Mapping[str, str]) -> int | None:
    step = environ.get("SLURM_STEP_ID", "")
    if not step.isdigit() or int(step) >= _BATCH_STEP or not environ.get("SLURM_JOB_ID"):
        return None
    return int(step)


def _slurm_job(environ: Mapping[str, str]) -> str:
    return f"{environ.get('SLURM_CLUSTER_NAME', '')}:{environ.get('SLURM_JOB_ID', '')}"


def _group(environ: Mapping[str, str]) -> str | None:
    """All tasks of a Slurm array are one group."""
    array = environ.get("SLURM_ARRAY_JOB_ID")
    if not array:
        return None
    name = environ.get("SLURM_JOB_NAME")
    return f"{name}-{array}" if name else array


def _seed(rank: int, key: str, environ: Mapping[str, str], argv: list[str]) -> str | None:
    """What a restart of this launch has in common with its first start: elastic restarts and requeued jobs."""
    if rank != 0 or key.startswith("run:"):
        return None  # only rank 0 makes a run; or the id is given
    if environ.get("SLURM_JOB_ID"):
        return _slurm_seed(environ, argv, key if key.startswith("launcher:") else _launcher_key(environ))
    return f"{key}:{_fingerprint(argv)}" if "TORCHELASTIC_RESTART_COUNT" in environ else None


def _slurm_seed(environ: Mapping[str, str], argv: list[str], starter: str) -> str | None:
    """Job, step, command, and the how-manieth start of this command in the job; the same after a requeue.

    The job id survives a requeue; every task of an array has its own. A batch script may run one command
    several times; only a count that is kept on this node, and that a requeue starts anew, tells these apart.
    `starter`: what is the same for all processes of one start, and for those that replace them.
    """
    if not environ.get("SLURM_JOB_ID") or environ.get("FARWATCH_RUN_ID"):
        return None
    step = _slurm_step(environ)
    seed = f"slurm:{_slurm_job(environ)}:{'batch' if step is None else step}:{_fingerprint(argv)}"
    folder = environ.get("SLURM_TMPDIR") or "/tmp"
    count = _count_start(f"{seed}:{environ.get('SLURM_RESTART_COUNT', '0')}", folder, starter)
    return None if count is None else f"{seed}:{count}"


def _fingerprint(argv: list[str]) -> str:
    return _sha256("\0".join([os.getcwd(), *argv]).encode("utf-8", "surrogateescape")).hex()[:16]


def _count_start(seed: str, folder: str, starter: str) -> int | None:
    """How many starters before this one have started this command since the job was (re)started; None if
    unknown."""
    home = Path(folder, f"farwatch-{os.getuid() if hasattr(os, 'getuid') else 'user'}")
    mark = _sha256(seed.encode()).hex()[:24]
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(home, 0o700)
        if not place.is_private(home):
            return None
        for count in range(10_000):
            path = home / f"start-{mark}-{count}"
            try:
                with open(path, "x", encoding="utf-8") as file:
                    file.write(starter)
            except FileExistsError:
                if path.read_text(encoding="utf-8") != starter:
                    continue
            return count
    except OSError:
        return None
    return None


def _sha256(data: bytes) -> bytes:
    import hashlib  # only schedulers' tasks need it, and it loads OpenSSL

    return hashlib.sha256(data).digest()
