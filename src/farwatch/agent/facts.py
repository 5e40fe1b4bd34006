"""Facts about the machine, the packages and the repository of a run. Each is found by itself, with limits in
time."""

import csv
import importlib.metadata
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from farwatch import settings as settings_module
from farwatch.wire.redact import mask_url

GIT_S = 10.0
DIFF_MAX_BYTES = 5_000_000
# A repository may name programs in its own configuration; none of them is run, nothing is fetched, nothing is
# locked.
_GIT = [
    "git",
    "-c",
    "core.fsmonitor=",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.pager=cat",
    "-c",
    "core.sshCommand=false",
    "-c",
    "credential.helper=",
    "-c",
    "protocol.allow=never",
    "-c",
    "diff.external=",
    "-c",
    "submodule.recurse=false",
    "-c",
    "core.quotePath=false",
    "--no-pager",
]
_NOT_IN_DIFF = tuple(
    f":(exclude,glob,icase,top)**/{name}"
    for name in (".env*", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_ed25519*", ".netrc", ".pypirc", "*secret*",
                 "*credential*")
)  # fmt: skip


# --- git


def git_facts(*folders: Path) -> tuple[dict[str, Any], bytes]:
    """The state of the first of the folders that is in a repository, and the diff of its tracked files to
    HEAD.

    Both are empty outside of one, or without git. Addresses of remotes lose what looks like a secret.
    """
    for folder in dict.fromkeys(folders):
        root = _git(folder, "rev-parse", "--show-toplevel") if folder.is_dir() else None
        if root:
            return _repository(Path(root.rstrip("\n")))
    return {}, b""


def _repository(root: Path) -> tuple[dict[str, Any], bytes]:
    facts: dict[str, Any] = {"root": root.name}
    head = _git(root, "log", "-1", "--no-show-signature", "--format=%H%x00%an <%ae>%x00%ct%x00%B", "HEAD")
    if head:
        commit, author, seconds, message = head.split("\0", 3)
        facts |= {
            "commit": commit,
            "author": author,
            "time_ms": int(seconds) * 1000,
            "message": message.strip()[:5000],
        }
    facts["branch"] = (_git(root, "symbolic-ref", "--quiet", "--short", "HEAD") or "").strip() or None
    status = _git(
        root, "status", "--porcelain=v1", "-z", "--untracked-files=normal", "--ignore-submodules=dirty"
    )
    entries = [entry for entry in (status or "").split("\0") if entry]
    untracked = sum(entry.startswith("??") for entry in entries)
    facts |= {"dirty": len(entries) > untracked, "untracked": untracked}
    facts["remotes"] = _remotes(root)
    diff = b""
    if facts["dirty"] and head:
        options = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty")
        diff = (
            _git_bytes(root, "diff", *options, "HEAD", "--", ":/", *_NOT_IN_DIFF, limit=DIFF_MAX_BYTES + 1)
            or b""
        )
        if len(diff) > DIFF_MAX_BYTES:
            diff = diff[: diff.rfind(b"\n", 0, DIFF_MAX_BYTES) + 1]
            facts["diff_truncated"] = True
    return facts, diff


def _remotes(root: Path) -> dict[str, str]:
    remotes = {}
    for line in (_git(root, "config", "--get-regexp", r"^remote\..*\.url$") or "").splitlines():
        name, _, address = line.partition(" ")
        remotes[name.removeprefix("remote.").removesuffix(".url")] = mask_url(address)
    return remotes


def _git(folder: Path, *arguments: str) -> str | None:
    found = _git_bytes(folder, *arguments, limit=1 << 20)
    return None if found is None else found.decode("utf-8", "replace")


def _git_bytes(folder: Path, *arguments: str, limit: int) -> bytes | None:
    """What a git command prints, at most `limit` bytes; None if it fails, takes too long, or there is no
    git."""
    environ = {
        name: value for name, value in settings_module.environment().items() if not name.startswith("GIT_")
    }
    environ |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "LC_ALL": "C"}
    return run_bounded([*_GIT, *arguments], folder, environ, GIT_S, limit)


def run_bounded(
    command: list[str], folder: Path, environ: dict[str, str], timeout_s: float, limit: int
) -> bytes | None:
    """Run a command and return at most `limit` bytes of what it prints; None if it fails or takes longer than
    that."""
    try:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return None
    assert process.stdout is not None
    timer = threading.Timer(timeout_s, process.kill)
    timer.start()
    with process:
        try:
            out = process.stdout.read(limit)
            cut = len(out) == limit
            if cut:
                process.kill()
            process.wait()
        finally:
            process.kill()  # no effect on what has ended; else we are being interrupted ourselves
            timer.cancel()
    return out if cut or process.returncode == 0 else None


# --- packages


def package_facts() -> dict[str, str]:
    """Installed distributions of this interpreter and their versions, sorted by name; one on the path twice
    counts once."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"] if distribution.metadata else None
        if name:
            found.setdefault(name, distribution.version or "")
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


# --- hardware


def hardware_facts() -> dict[str, Any]:
    """Processor, cores, memory, GPUs and operating system; what cannot be known is left out."""
    facts: dict[str, Any] = {
        "os": _os_name(),
        "kernel": platform.release(),
        "arch": platform.machine(),
        "python": sys.version.split("\n")[0],
        "implementation": platform.python_implementation(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "memory_limit_bytes": _memory_limit(),
        "gpus": gpu_facts(),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _os_name() -> str:
    if sys.platform == "linux":
        try:
            return platform.freedesktop_os_release().get("PRETTY_NAME") or "Linux"
        except OSError:
            return "Linux"
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return f"{platform.system()} {platform.version()}"


def _cpu_name() -> str | None:
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model") and value.strip():
            return value.strip()
    return platform.processor() or None


def _memory_bytes() -> int | None:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _memory_limit() -> int | None:
    """The limit of this process's control group, if there is one below 2^60."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        for line in _lines(path):
            if line.strip().isdigit() and int(line) < 1 << 60:
                return int(line)
    return None


def _lines(path: str) -> Iterable[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()


def gpu_facts() -> list[dict[str, Any]]:
    """The machine's NVIDIA GPUs, by `nvidia-smi`, else by `pynvml` if it is installed; empty if there are
    none."""
    query = "name,memory.total,driver_version,uuid"
    environ = dict(settings_module.environment())
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    out = run_bounded(command, Path("/") if os.name != "nt" else Path.cwd(), environ, GIT_S, 1 << 18)
    if out is None:
        return _gpus_by_library()
    gpus = []
    for row in csv.reader(out.decode("utf-8", "replace").splitlines(), skipinitialspace=True):
        if len(row) == 4:
            memory = int(row[1]) << 20 if row[1].isdigit() else None
            gpus.append({"name": row[0], "memory_bytes": memory, "driver": row[2], "uuid": row[3]})
    return gpus


def _gpus_by_library() -> list[dict[str, Any]]:
    try:
        import pynvml  # optional: installed with `farwatch[all]`, useless without a driver
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        gpus = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
            gpus.append({"name": _text(pynvml.nvmlDeviceGetName(handle)), "memory_bytes": memory, "driver": driver,
                         "uuid": _text(pynvml.nvmlDeviceGetUUID(handle))})  # fmt: skip
        return gpus
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
