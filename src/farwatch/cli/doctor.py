"""`farwatch doctor`: what is as it should be on this machine, what is not, and what to do about it."""

import os
import platform
import shutil
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import click

from farwatch.api.contact import Contact
from farwatch.cli.output import clean, emit, emit_json, json_option, size, wrapped
from farwatch.errors import FarwatchError
from farwatch.sdk.place import filesystem_type, is_local_filesystem
from farwatch.servers import CREDENTIALS, LOCAL_SERVER, find_server, local_server, read_private
from farwatch.settings import SETTINGS, Settings, load, state_dir
from farwatch.version import VERSION

MARKS = {"ok": "✓", "note": "·", "bad": "✗"}
OPEN_FILES_MIN = 1024
SLOW_FSYNC_MS = 50.0
CLOCK_OFF_MS = 2000
# SQLite versions with the WAL-reset bug; Farwatch keeps one writing and checkpointing connection per file, which avoids it.
WAL_RESET_FIXED = (3, 51, 3)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: `level` is `ok`, `note` (worth knowing) or `bad` (does not work until mended)."""

    name: str
    level: str
    text: str
    hint: str = ""


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check this machine and this installation. Exits with 1 if something does not work.

    Changes nothing but one temporary file in the state folder. Secrets are not shown.
    """
    settings = load()
    found = [check for group in CHECKS for check in _guarded(group, settings)]
    shown = {
        s.name: {"value": _shown(settings, s.name, s.secret), "source": settings.sources[s.name]}
        for s in SETTINGS
    }
    if as_json:
        emit_json({"version": VERSION, "checks": [asdict(check) for check in found], "settings": shown})
    else:
        for check in found:
            emit(wrapped(f"{MARKS[check.level]} {check.name:<12} {clean(check.text)}", 15))
            if check.hint:
                emit(wrapped(f"  {'':<12} → {clean(check.hint)}", 17))
        given = {name: told for name, told in shown.items() if told["source"] != "default"}
        if given:
            emit("\nsettings that are not the default")
            for name, told in given.items():
                emit(f"  {name} = {clean(told['value'])} ({told['source']})")
    if any(check.level == "bad" for check in found):
        sys.exit(1)


def _guarded(group: Callable[[Settings], Iterator[Check]], settings: Settings) -> list[Check]:
    found: list[Check] = []
    try:
        found.extend(group(settings))
    except (FarwatchError, OSError) as error:
        hint = error.hint if isinstance(error, FarwatchError) else ""
        found.append(
            Check(group.__name__.strip("_"), "bad", getattr(error, "message", str(error)), hint or "")
        )
    return found


def _shown(settings: Settings, name: str, secret: bool) -> object:
    value = getattr(settings, name)
    return "•••" if secret and value else value


def _programs(_: Settings) -> Iterator[Check]:
    yield Check(
        "farwatch",
        "ok",
        f"{VERSION}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    )
    version = ".".join(str(part) for part in sqlite3.sqlite_version_info)
    if sqlite3.sqlite_version_info < WAL_RESET_FIXED:
        yield Check(
            "sqlite",
            "note",
            f"{version} has the WAL-reset bug; Farwatch does not run into it",
            "open its files with other programs only while the server is stopped",
        )
    else:
        yield Check("sqlite", "ok", version)
    if files("farwatch").joinpath("server", "web", "index.html").is_file():
        yield Check("dashboard", "ok", "in the package")
    else:
        yield Check("dashboard", "bad", "not in the package: a checkout that was not built", "make web")


def _folder(settings: Settings) -> Iterator[Check]:
    folder = state_dir(settings)
    if not folder.exists():
        yield Check("state folder", "ok", f"{folder} is made by the first run")
        return
    found = folder.lstat()
    if sys.platform != "win32" and found.st_uid != os.geteuid():
        yield Check(
            "state folder",
            "bad",
            f"{folder} belongs to somebody else",
            "set FARWATCH_DIR to a folder of yours",
        )
        return
    if stat.S_IMODE(found.st_mode) & 0o077:
        yield Check("state folder", "bad", f"others may look into {folder}", f"chmod 700 {folder}")
    else:
        yield Check("state folder", "ok", str(folder))
    for name in (CREDENTIALS, LOCAL_SERVER):
        if (folder / name).is_symlink() or (folder / name).exists():
            read_private(folder / name)
            yield Check(name, "ok", "readable by you only")
    kind = filesystem_type(folder)
    if is_local_filesystem(folder):
        yield Check("file system", "ok", f"{kind or 'unknown'}, of this machine")
    else:
        yield Check(
            "file system",
            "note",
            f"{kind or 'unknown'} may be shared: journals go to a local folder instead",
            "set FARWATCH_DIR to a folder on a local disk, and FARWATCH_DATA for a server",
        )
    yield from _disk(folder, settings)


def _disk(folder: Path, settings: Settings) -> Iterator[Check]:
    usage = shutil.disk_usage(folder)
    percent = 100 * usage.free / usage.total if usage.total else 0.0
    level = (
        "bad"
        if percent < settings.disk_stop_percent
        else "note"
        if percent < settings.disk_warn_percent
        else "ok"
    )
    yield Check(
        "disk",
        level,
        f"{size(usage.free)} free of {size(usage.total)} ({percent:.0f} %)",
        "" if level == "ok" else "free some, or set FARWATCH_DATA and FARWATCH_DIR elsewhere",
    )
    inodes = os.statvfs(folder) if hasattr(os, "statvfs") else None
    if inodes is not None and inodes.f_files and inodes.f_favail / inodes.f_files < 0.02:
        yield Check("inodes", "bad", "fewer than 2 % are left")
    times = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        for _ in range(5):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    median = sorted(times)[2]
    yield Check(
        "fsync",
        "ok" if median < SLOW_FSYNC_MS else "note",
        f"{median:.1f} ms",
        "" if median < SLOW_FSYNC_MS else "a slow or shared disk: acknowledgements wait for it",
    )


def _limits(_: Settings) -> Iterator[Check]:
    try:
        import resource  # absent on Windows
    except ImportError:
        return
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = soft == resource.RLIM_INFINITY or soft >= OPEN_FILES_MIN
    yield Check(
        "open files",
        "ok" if enough else "note",
        f"limit {soft}",
        "" if enough else "ulimit -n 4096, before farwatch serve",
    )


def _server(settings: Settings) -> Iterator[Check]:
    found = find_server(settings)
    if found is None:
        yield Check(
            "server",
            "note",
            "none is known here; runs are kept on this machine",
            "farwatch serve, or: farwatch login ADDRESS",
        )
        return
    contact = Contact(*found)
    try:
        before = time.time()
        info = contact.get("/info")
        after = time.time()
    finally:
        contact.close()
    yield Check("server", "ok", f"{contact.address}, version {info.get('version')}")
    if info.get("version") != VERSION:
        yield Check(
            "versions",
            "note",
            f"this is {VERSION}, the server {info.get('version')}",
            "upgrade the older one",
        )
    if isinstance(info.get("now_ms"), int):
        off = info["now_ms"] - (before + after) / 2 * 1000
        level = "ok" if abs(off) < CLOCK_OFF_MS else "note"
        yield Check(
            "clocks",
            level,
            f"{off:+.0f} ms between here and the server",
            "" if level == "ok" else "times of runs from here will look shifted: set this clock",
        )
    if local_server(state_dir(settings)) is None and not contact.address.startswith("https:"):
        yield Check(
            "transport",
            "note",
            "tokens travel in the clear: the address is not https",
            "put the server behind https",
        )


CHECKS: tuple[Callable[[Settings], Iterator[Check]], ...] = (_programs, _folder, _limits, _server)
