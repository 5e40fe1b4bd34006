"""Which services are connected, and with what: one file that only we can read, and the environment.

Secrets stand in that file and nowhere else: not in a database, not in a backup, not on a page. What the environment gives is never written.
"""

import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from farwatch.bridges import registry
from farwatch.bridges.base import Kind
from farwatch.clock import Clock
from farwatch.errors import BridgeError, NotFoundError, UsageError

FILE = "channels.json"
FOLDER = "channels"
VALUE_MAX = 4_000
RESERVED = frozenset({"buttons", "held"})  # what else lies in the folder of memories
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Channel:
    """One connected service. `values`: what a person gave, secrets included; never shown. `lasting`: it stands in the file."""

    name: str
    kind: str
    values: Mapping[str, str] = field(repr=False)
    lasting: bool = True
    created_ms: int = 0

    def shown(self, about: Kind) -> dict[str, str]:
        """The values as people may see them: secrets as their last four letters at most."""
        return {
            name: value if name not in about.secrets else f"•••{value[-4:]}" if len(value) >= 20 else "•••"
            for name, value in self.values.items()
        }


class ChannelFile:
    """The file of a server's data folder. *Threads*: any. Raises `UsageError` for a file that others can read or that is none."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path = folder / FILE
        self._memories = folder / FOLDER
        self._clock = clock
        self._lock = threading.Lock()

    def load(self) -> dict[str, Channel]:
        """All channels by name."""
        told = read_private(self._path).get("channels")
        found = {}
        for name, one in told.items() if isinstance(told, dict) else ():
            if isinstance(one, dict) and isinstance(one.get("values"), dict) and _NAME.fullmatch(name):
                values = {str(key): str(value) for key, value in one["values"].items()}
                found[name] = Channel(name, str(one.get("kind") or name), values, True, int(one.get("created_ms") or 0))
        return found

    def put(self, channel: Channel) -> Channel:
        """Keep a new or changed channel."""
        kept = replace(channel, lasting=True, created_ms=channel.created_ms or self._clock.wall_us() // 1000)
        with self._lock:
            self._save({**self.load(), channel.name: kept})
        return kept

    def remove(self, name: str) -> None:
        """Forget a channel and what its bridge remembered. Raises `NotFoundError`."""
        with self._lock:
            known = self.load()
            if name not in known:
                raise NotFoundError(f"no channel is called `{name[:60]}`", hint=f"there are: {', '.join(known) or 'none'}")
            del known[name]
            self._save(known)
        (self._memories / f"{name}.json").unlink(missing_ok=True)

    def memory(self, name: str) -> "FileMemory":
        """What the bridge of a channel remembers."""
        return FileMemory(self._memories / f"{name}.json")

    def _save(self, channels: Mapping[str, Channel]) -> None:
        listed = {
            one.name: {"kind": one.kind, "values": dict(one.values), "created_ms": one.created_ms} for one in channels.values()
        }  # fmt: skip
        write_private(self._path, {"channels": listed})


@dataclass(frozen=True, slots=True)
class FileMemory:
    """A small JSON object in a file that only we can read; see `Memory`. A file that is damaged is an empty one."""

    path: Path

    def load(self) -> dict[str, Any]:
        return read_private(self.path)

    def save(self, value: Mapping[str, Any]) -> None:
        write_private(self.path, value)


def from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Channel], list[str]]:
    """Channels that the environment gives, each named like its kind, and sentences about those that lack something."""
    found, lacking = {}, []
    for name in registry.OURS:
        if not any(key.startswith(f"FARWATCH_{name.upper().replace('-', '_')}_") for key in environ):
            continue
        about = registry.kind(name)
        values = {one.name: environ[about.env(one.name)].strip() for one in about.fields if environ.get(about.env(one.name), "").strip()}
        if not values:
            continue
        missing = [about.env(one.name) for one in about.fields if one.required and one.name not in values]
        if missing:
            lacking.append(f"{about.title} is not connected: {missing[0]} is not set")
            continue
        found[name] = Channel(name, name, values, lasting=False)
    return found, lacking


def checked(name: str, kind: str, values: Mapping[str, Any]) -> Channel:
    """A channel as a person asks for it. Raises `UsageError`, `NotFoundError` for an unknown service, `BridgeError`."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"a channel's name has small letters, digits and hyphens: `{name[:60]}`")
    if name in RESERVED:
        raise UsageError(f"no channel can be called `{name}`", hint="take another name")
    about = registry.kind(kind)
    fields = {one.name: one for one in about.fields}
    for key in values:
        if key not in fields:
            raise UsageError(f"{about.title} has no field `{str(key)[:60]}`", hint=f"it has: {', '.join(fields)}")
    given = {}
    for key, one in fields.items():
        value = values.get(key)
        if value is not None and (not isinstance(value, str) or len(value) > VALUE_MAX or any(ord(letter) < 32 for letter in value)):
            raise UsageError(f"`{key}` is a text of one line, of at most {VALUE_MAX} characters")
        if value and value.strip():
            given[key] = value.strip()
        elif one.required:
            raise UsageError(f"{about.title} needs `{key}`: {one.text}")
    return Channel(name, kind, given)


def read_private(path: Path) -> dict[str, Any]:
    """A JSON object from a file of ours; empty if there is none. Raises `UsageError` if others can read it or it is a link."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"cannot read `{path.name}`: {error.strerror}") from None
    with os.fdopen(handle, encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & 0o077):
            raise UsageError(f"`{path.name}` holds secrets and can be read by others", hint=f"chmod 600 {path.name}, in {path.parent}")
        try:
            value = json.load(file)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def write_private(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file at once by a new one that only we can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def unusable(error: Exception) -> str:
    """Why a channel cannot be opened, as people may read it."""
    return str(error) if isinstance(error, BridgeError | UsageError | NotFoundError) else f"a fault of its bridge: {type(error).__name__}"
