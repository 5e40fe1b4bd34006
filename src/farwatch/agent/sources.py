"""Source files of a run: the entry script, or what globs name; never what is ignored or looks like a
secret."""

import fnmatch
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from farwatch import settings as settings_module
from farwatch.agent.facts import _GIT, run_bounded
from farwatch.wire.redact import mask_shapes

FILE_MAX_BYTES = 5_000_000
TOTAL_MAX_BYTES = 50_000_000
FILES_MAX = 2000
WALK_MAX = 200_000  # entries looked at; a data folder of millions of files is not walked to its end
_CLOSED = frozenset(
    [
        ".git",
        ".hg",
        ".svn",
        "__pycache__",
        "node_modules",
        "site-packages",
        ".tox",
        ".nox",
        ".mypy_cache",
        ".ipynb_checkpoints",
    ]
)
_SECRET = [
    ".env",
    ".env.*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.ovpn",
    "*.asc",
    "*.gpg",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    "_netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".htpasswd",
    "kubeconfig",
    "*credential*",
    "*secret*",
    "*password*",
    "token",
    "*.token",
    "*_token",
    "api_key*",
    "apikey*",
]


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its name relative to the working folder, with `/`, its bytes and when it was changed."""

    path: str
    content: bytes
    mtime_ms: int


def sources_of(patterns: Any, cwd: Path, script: Path | None, problems: list[str]) -> list[Source]:
    """The files to keep: None means the entry script, a list of globs exactly what they name below `cwd`.

    `**` matches any number of folders, itself included. Links are not followed; virtual environments, version
    control and caches are not entered; files that git ignores or whose names look like secrets are left out.
    """
    if patterns is None:
        if script is None or not script.is_file():
            return []
        real = script.resolve()
        inside = script.is_relative_to(cwd)
        name = script.relative_to(cwd).as_posix() if inside else script.name
        return [Source(name, read_plain(real, FILE_MAX_BYTES), real.stat().st_mtime_ns // 1_000_000)]
    wanted = [_compile(str(pattern), cwd) for pattern in patterns]
    if not wanted or not cwd.is_dir():
        return []
    names = [name for name in _walk(cwd, problems) if any(pattern.fullmatch(name) for pattern in wanted)]
    names = [name for name in names if not looks_secret(name)]
    ignored = _ignored(cwd, names)
    found: list[Source] = []
    total = 0
    for name in names:
        path = cwd / name
        if name in ignored or path.is_symlink():
            continue
        try:
            content = read_plain(path, FILE_MAX_BYTES)
        except (OSError, ValueError) as error:
            problems.append(f"{name}: {error}"[:200])
            continue
        total += len(content)
        if len(found) >= FILES_MAX or total > TOTAL_MAX_BYTES:
            problems.append(f"only the first {len(found)} of {len(names)} source files were kept")
            break
        found.append(Source(name, content, path.stat().st_mtime_ns // 1_000_000))
    return found


def looks_secret(name: str) -> bool:
    """Whether a file's name says that it holds a secret. Code about secrets (`secrets.py`) is code."""
    base = PurePosixPath(name).name.lower()
    if base.endswith(
        (".py", ".ipynb", ".md", ".rst", ".sh", ".c", ".cc", ".cpp", ".cu", ".h", ".rs", ".jl", ".r")
    ):
        return False
    return any(fnmatch.fnmatchcase(base, pattern) for pattern in _SECRET)


def _compile(pattern: str, cwd: Path) -> re.Pattern[str]:
    """A glob as a regular expression over names with `/`; `**/` also matches nothing."""
    if os.path.isabs(pattern) and Path(pattern).is_relative_to(cwd):
        pattern = Path(pattern).relative_to(cwd).as_posix()
    pattern = pattern.removeprefix("./")
    if pattern.endswith("/"):
        pattern += "**"
    parts: list[str] = []
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^\]]+\]|[^*?\[]+|\[", pattern):
        if token == "**/":
            parts.append("(?:[^/]+/)*")
        elif token == "**":
            parts.append(".*")
        elif token == "*":
            parts.append("[^/]*")
        elif token == "?":
            parts.append("[^/]")
        elif len(token) > 2 and token.startswith("["):
            parts.append(
                "["
                + ("^" if token[1] == "!" else "")
                + re.escape(token[1:-1].removeprefix("!")).replace(r"\-", "-")
                + "]"
            )
        else:
            parts.append(re.escape(token))
    return re.compile("".join(parts))


def _walk(cwd: Path, problems: list[str]) -> Iterator[str]:
    """The names of all plain files below a folder, sorted within each folder."""
    seen = 0
    for folder, inner, files in os.walk(cwd):
        if folder != str(cwd) and "pyvenv.cfg" in files:
            inner.clear()
            continue
        inner[:] = sorted(name for name in inner if name not in _CLOSED)
        below = Path(folder).relative_to(cwd)
        for name in sorted(files):
            yield (below / name).as_posix()
        seen += len(files) + len(inner)
        if seen > WALK_MAX:
            problems.append(
                f"more than {WALK_MAX} files below the working folder: the rest was not looked at"
            )
            return


def _ignored(cwd: Path, names: Iterable[str]) -> set[str]:
    """Which of the names git ignores; none outside of a repository or without git."""
    names = list(names)
    if not names:
        return set()
    environ = {
        name: value for name, value in settings_module.environment().items() if not name.startswith("GIT_")
    }
    command = [*_GIT, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"]
    out = run_bounded(command, cwd, environ, 10.0, 16 << 20)
    if out is None:
        return set()
    listed = [entry for entry in out.decode("utf-8", "surrogateescape").split("\0") if entry]
    folders = tuple(entry for entry in listed if entry.endswith("/"))
    files = set(listed)
    return {name for name in names if name in files or name.startswith(folders)}


def read_plain(path: Path, max_bytes: int) -> bytes:
    """The bytes of a plain file that is no link. Raises `OSError`, or `ValueError` if it is too large or no
    file."""
    flags = (
        os.O_RDONLY
        | getattr(os, "O_NOFOLLOW", 0)
        | getattr(os, "O_NONBLOCK", 0)
        | getattr(os, "O_CLOEXEC", 0)
    )
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("no plain file")
        if found.st_size > max_bytes:
            raise ValueError(f"{found.st_size} bytes are more than {max_bytes}")
        return file.read(max_bytes + 1)[:max_bytes]


def mask_bytes(content: bytes) -> bytes:
    """The content without tokens of known shapes; unchanged, byte for byte, if there are none or it is no
    text."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content
    masked = mask_shapes(text)
    return content if masked == text else masked.encode()


def notebook_file(sidecar: dict[str, Any]) -> tuple[Source | None, str | None]:
    """The notebook that a kernel runs, or why it could not be kept; neither if the process is no kernel.

    Jupyter's server tells the kernel its file in `JPY_SESSION_NAME`; other front ends tell nobody.
    """
    argv = " ".join(str(word) for word in sidecar.get("argv") or ())
    if "ipykernel" not in argv and "colab_kernel" not in argv:
        return None, None
    pid = sidecar.get("pid")
    try:
        data = Path(f"/proc/{int(pid)}/environ").read_bytes() if isinstance(pid, int) else b""
    except OSError:
        data = b""
    told = dict(item.partition(b"=")[::2] for item in data.split(b"\0"))
    name = told.get(b"JPY_SESSION_NAME", b"").decode("utf-8", "replace")
    if not name:
        return None, "this notebook's server does not say which file it is"
    cwd = Path(str(sidecar.get("cwd") or "/"))
    for path in (Path(name), cwd / name, cwd / Path(name).name):
        if path.suffix == ".ipynb" and path.is_absolute() and path.is_file():
            real = path.resolve()
            return Source(
                path.name, read_plain(real, FILE_MAX_BYTES), real.stat().st_mtime_ns // 1_000_000
            ), None
    return None, f"`{name[:200]}` was not found from the kernel's folder"
