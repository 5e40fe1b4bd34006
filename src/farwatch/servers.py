"""Which server, and what proves who asks: credentials and the local server's file.

Both are private files in the state folder (owner checked, symbolic links refused). `credentials.json` is
`{"default": address, address: {"token": …}, …}`: `default` is what `farwatch login` has chosen; a token that came with one run's
environment is kept for its agent and chooses nothing. `server.json` is written by this user's running local server.
"""

import json
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farwatch.errors import DataError
from farwatch.machine import process_start
from farwatch.settings import Settings, state_dir

CREDENTIALS = "credentials.json"
LOCAL_SERVER = "server.json"
MAX_PRIVATE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Credential:
    """What proves who asks. `prove`: the server must first prove that it knows `token` itself (this user's own server)."""

    token: str = field(repr=False)
    prove: bool = False


def read_private(path: Path) -> dict[str, Any] | None:
    """Read a private JSON file; None if it does not exist.

    Raises `DataError` if it is a link, not this user's, readable by others, or no JSON object.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"cannot read `{path.name}`: {error.strerror}", hint="it must be a plain file of yours") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"`{path.name}` is no plain file")
        if sys.platform != "win32":
            if found.st_uid != os.geteuid():
                raise DataError(f"`{path.name}` belongs to somebody else")
            if found.st_mode & 0o077:
                raise DataError(f"`{path.name}` can be read by others", hint=f"run: chmod 600 {path.name}")
        data = file.read(MAX_PRIVATE_BYTES)
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise DataError(f"`{path.name}` is no JSON object")
    return value


def credentials(folder: Path) -> Mapping[str, Any]:
    """The stored credentials, empty if there are none."""
    return read_private(folder / CREDENTIALS) or {}


def default_server(folder: Path) -> str | None:
    """The address that `farwatch login` stored, if any."""
    named = credentials(folder).get("default")
    return named if isinstance(named, str) and named else None


def local_server(folder: Path) -> tuple[str, Credential] | None:
    """This user's own running server, by its file; None if there is none or its process has gone."""
    told = read_private(folder / LOCAL_SERVER)
    if told is None or not isinstance(told.get("secret"), str) or not told["secret"]:
        return None
    pid, started = told.get("pid"), told.get("pid_start")
    if isinstance(pid, int) and sys.platform == "linux":
        now = process_start(pid)
        if now is None or (isinstance(started, int) and now != started):
            return None
    return str(told["address"]).rstrip("/"), Credential(told["secret"], prove=True)


def credential_for(folder: Path, address: str, *, key: str | None = None, token: str = "") -> Credential | None:
    """What to show to a given address.

    `token` where given; the local server's secret if it is the local server (then it must prove itself); else what
    is stored under `key` or the address; None: nothing.
    """
    address = address.rstrip("/")
    if token:
        return Credential(token)
    local = local_server(folder)
    if local is not None and same_address(local[0], address):
        return local[1]
    stored = credentials(folder)
    for name in (key, address, address + "/"):
        entry = stored.get(name) if name else None
        if isinstance(entry, dict) and entry.get("token"):
            return Credential(str(entry["token"]))
    return None


def find_server(settings: Settings) -> tuple[str, Credential | None] | None:
    """The server that this user means: `FARWATCH_SERVER`, else the one of `farwatch login`, else their own local one.

    None if there is none. Raises `DataError` for a private file that others could read or have written.
    """
    folder = state_dir(settings)
    if settings.server:
        address = settings.server.rstrip("/")
        address = address if "://" in address else "http://" + address
        return address, credential_for(folder, address, token=settings.token)
    stored = default_server(folder)
    if stored is not None:
        return stored.rstrip("/"), credential_for(folder, stored, token=settings.token)
    return local_server(folder)


def store_credential(folder: Path, address: str, token: str, *, default: bool = False) -> None:
    """Keep a token for an address in the private file; `default` makes it the server that is meant from now on.

    Raises `DataError` if the file there is not ours to trust, `OSError` if it cannot be written.
    """
    stored = dict(credentials(folder))
    entry = {"token": token}
    if stored.get(address) == entry and not default:
        return
    stored[address] = entry
    if default:
        stored["default"] = address
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / f"{CREDENTIALS}.{os.getpid()}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(stored, file)
    os.replace(fresh, folder / CREDENTIALS)


def same_address(one: str, other: str) -> bool:
    """Whether two addresses mean one server, however loopback is written."""
    return _plain(one) == _plain(other)


def _plain(address: str) -> str:
    return address.rstrip("/").lower().replace("//localhost", "//127.0.0.1").replace("//[::1]", "//127.0.0.1")
