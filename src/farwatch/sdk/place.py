"""Where this process is: machine, folder, notebook, container; and where its journal may live.

Everything is read from the kernel's files and from the arguments; nothing is imported, asked over a network,
or kept.
"""

import contextlib
import math
import os
import re
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farwatch import settings as settings_module
from farwatch.machine import agent_path, parent_of, pid_namespace

INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO of the kernel: the one namespace that is no container
_LOCAL = "ext2 ext3 ext4 xfs btrfs overlay zfs apfs f2fs bcachefs jfs reiserfs ubifs fuse.fuse-overlayfs"
LOCAL_FILESYSTEMS = frozenset(_LOCAL.split())
MEMORY_FILESYSTEMS = frozenset(("tmpfs", "ramfs"))
ROOM_MIN_BYTES = 1 << 20
# What runs as process 1 of a container that lives on when one of its programs ends.
_LASTING_NAMES = (
    "systemd init sshd sleep tail supervisord s6-svscan runsvdir jupyter jupyter-lab jupyter-notebook jupyterhub"
    " code-server containerd dockerd process_api pause cat bash-login"
)
_LASTING = frozenset(_LASTING_NAMES.split())
_OUTPUT_FOLDER = re.compile(
    r"\d{4}-\d\d-\d\d([_T-].*)?|\d\d-\d\d-\d\d|\d+|outputs|multirun|job_\w+|version_\d+"
)


# --- this process and this machine


def user_name() -> str:
    """The name of this user, else the user's number."""
    if hasattr(os, "getuid"):
        import pwd  # not on Windows

        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return str(os.getuid())
    return settings_module.environment().get("USERNAME", "unknown")


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


# --- this program


def script_path() -> str | None:
    """The file that this program was started with; None in a notebook, an interactive session, or with
    `-c`."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if not isinstance(path, str) or in_notebook():
        return None
    path = os.path.abspath(path)
    return path if os.path.isfile(path) else None


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook (Jupyter, Colab, Kaggle, VS Code)."""
    ipython: Any = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython, "get_ipython"):
        return False
    shell = ipython.get_ipython()
    return any(base.__name__ == "ZMQInteractiveShell" for base in type(shell).__mro__)


def project_name(environ: Mapping[str, str], argv0: str, cwd: str) -> str:
    """The project of a program that names none: its git root's name, else its script's folder.

    Without a script (notebook, `-c`, an installed command) the working folder stands for it, but never a
    folder that a job made for its output, such as Hydra's `outputs/2024-01-31/12-00-00`. Worktrees count as
    their main repository.
    """
    folder = Path(cwd)
    if argv0 and argv0 != "-c" and not argv0.startswith("-"):
        script = Path(cwd, argv0)
        installed = {"site-packages", "dist-packages", "bin", "Scripts"} & {*script.parent.parts[-12:]}
        if script.is_file() and not installed:
            folder = script.resolve().parent
    for start in dict.fromkeys((folder, Path(cwd))):
        root = _git_root(start, environ)
        if root is not None:
            return _clean_name(root)
    return _clean_name(_out_of_outputs(folder).name)


def _git_root(folder: Path, environ: Mapping[str, str]) -> str | None:
    """The name of the repository around a folder. A home folder under version control is nobody's project."""
    home = environ.get("HOME") or environ.get("USERPROFILE")
    for level in (folder, *folder.parents):
        mark = level / ".git"
        if os.path.isdir(mark):
            return None if str(level) == home else level.name
        if os.path.isfile(mark):
            pointer = Path((_read(str(mark)) or "").removeprefix("gitdir:").strip())
            if pointer.parent.name == "worktrees" and pointer.parent.parent.name == ".git":
                return (level / pointer).resolve().parents[2].name
            return level.name
    return None


def _out_of_outputs(folder: Path) -> Path:
    levels = (folder, *folder.parents)
    marked = [index for index, level in enumerate(levels) if (level / ".hydra").is_dir()]
    inside = marked[-1] + 1 if marked else 0
    names = [level.name for level in levels]
    if not marked and not ({"outputs", "multirun"} & {*names[:4]}):
        return folder
    while inside < len(levels) - 1 and _OUTPUT_FOLDER.fullmatch(levels[inside].name):
        inside += 1
    return levels[inside]


def _clean_name(name: str) -> str:
    return "".join(letter for letter in name if letter.isprintable()).strip()[:128] or "default"


# --- the end of this process


def agent_dies_with_us(environ: Mapping[str, str] | None = None) -> bool:
    """Whether everything that this process leaves behind is ended with it, so that it must wait for the
    server.

    True in a job step of Slurm and its kin, in a CI job, on Colab and Kaggle, as process 1 and below a
    process 1 that ends with its program. A shell inside a container (`docker exec`) ends without ending the
    container.
    """
    environ = settings_module.environment() if environ is None else environ
    batch = (
        "SLURM_PROCID",
        "SLURM_STEP_ID",
        "PBS_JOBID",
        "LSB_JOBID",
        "GITHUB_ACTIONS",
        "KAGGLE_KERNEL_RUN_TYPE",
    )
    if any(environ.get(name) for name in (*batch, "COLAB_RELEASE_TAG")) or "google.colab" in sys.modules:
        return True
    if pid_namespace() in (None, INITIAL_PID_NAMESPACE):
        return False
    pid = os.getpid()
    for _ in range(64):
        if pid == 1:
            name = (_read("/proc/1/comm") or "").strip()
            return os.getpid() == 1 or name not in _LASTING
        above = parent_of(pid)
        if not above:
            return False  # started from outside of the container, whose own first process goes on
        pid = above
    return True


def agent_silence_s(state_dir: Path) -> float:
    """How long this machine's agent has given no sign of life, seconds; infinite if there is none.

    The agent touches `agents/<key>.beat` in the state folder; a lock would be no proof, forks inherit it.
    """
    try:
        touched = os.stat(agent_path(state_dir, "beat")).st_mtime
    except OSError:
        return math.inf
    return max(0.0, time.time() - touched)


# --- where a journal may live


def disk_free(path: str | os.PathLike[str]) -> int:
    """Bytes that this user may still write where `path` is. Raises `OSError`."""
    if hasattr(os, "statvfs"):
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize
    import shutil  # Windows only

    return shutil.disk_usage(path).free


def filesystem_type(path: str | os.PathLike[str]) -> str | None:
    """The type of the file system that holds a path (`ext4`, `nfs4`, …), existing or not; None if it cannot
    be known."""
    text = _read("/proc/self/mountinfo")
    if text is None:
        return None
    target = os.path.realpath(path)
    best, found = -1, None
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), fields[4])
        inside = mount == "/" or target == mount or target.startswith(mount + "/")
        if inside and len(mount) >= best:  # the later of two mounts at one point hides the earlier
            best, found = len(mount), after.split(" ")[0]
    return found


def is_local_filesystem(path: str | os.PathLike[str]) -> bool:
    """Whether a path is on a disk of this machine, by an allow-list: an unknown type may be a network. [H
    5]"""
    return _rank_of_place(path) is not None


def _rank_of_place(path: str | os.PathLike[str]) -> int | None:
    """0 for a local disk, 1 for memory (it counts against the job's limit), None for everything else."""
    kind = filesystem_type(path)
    if kind is None:
        real = os.path.realpath(path)
        return None if real.startswith(("\\\\", "//", "/Network/", "/Volumes/", "/net/")) else 0
    return 0 if kind in LOCAL_FILESYSTEMS else 1 if kind in MEMORY_FILESYSTEMS else None


def choose_journal_root(state_dir: Path, environ: Mapping[str, str]) -> Path | None:
    """The `journals` folder to write to, made with mode 0700; None if this node has no local disk that can be
    written.

    In this order: the state folder, `$SLURM_TMPDIR`, `$TMPDIR`, the system's temporary folder; memory (tmpfs)
    only after all of them, unless the state folder was chosen by the user.
    """
    chosen = state_dir != settings_module.state_dir(settings_module.load({}))
    user = os.getuid() if hasattr(os, "getuid") else "user"
    shared = [environ.get("SLURM_TMPDIR"), environ.get("TMPDIR"), "/tmp", "/var/tmp", environ.get("TEMP")]
    candidates = [(state_dir, False)]
    candidates += [
        (Path(folder, f"farwatch-{user}"), True) for folder in shared if folder and os.path.isdir(folder)
    ]
    ranked = [(_rank_of_place(path), path, foreign) for path, foreign in dict.fromkeys(candidates)]
    for wanted in (0, 1):
        for rank, path, foreign in ranked:
            if rank == wanted or (chosen and path == state_dir and rank is not None):
                root = _make_private(path, foreign)
                if root is not None:
                    return root
    return None


def _make_private(folder: Path, foreign: bool) -> Path | None:
    """Make `folder/journals`; None if that fails, or somebody else got there first in a folder that all may
    write."""
    root = folder / "journals"
    try:
        if foreign:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            if not is_private(folder):
                return None
        else:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(root, 0o700)
        if not is_private(root) or not os.access(root, os.W_OK | os.X_OK) or disk_free(root) < ROOM_MIN_BYTES:
            return None
        if stat.S_IMODE(os.stat(root).st_mode) & 0o077 and sys.platform != "win32":
            os.chmod(root, 0o700)
    except OSError:
        return None
    return root


def is_private(folder: Path) -> bool:
    """Whether a folder is a real one, no link, and this user's own. Raises `OSError` if it is not there."""
    found = os.lstat(folder)
    return stat.S_ISDIR(found.st_mode) and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid())
