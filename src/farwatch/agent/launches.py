"""Files of what was started from afar, in the state folder, this user's own and private.

`launches/<key>.json`: one start, written before anything is started, so that a command is obeyed at most once whoever dies.
`<key>.begun`: made by one process only, either the supervisor that then starts the program, or an agent that gives up on it.
`launches/<slot>.lock`: held with `flock` by everything that a start has started, so that nobody starts a second one beside it.
`commands/<run>.json`: what this user has run with `farwatch run`, to be run again; `<run>.withheld`: that it held a secret.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from farwatch.errors import DataError
from farwatch.servers import read_private
from farwatch.wire.ids import is_run_id

FOLDER = "launches"
COMMANDS = "commands"
KEPT_COMMANDS = 200
KEPT_LAUNCHES = 500


class Launches:
    """The files of one state folder. *Errors*: `OSError` if they cannot be written, `DataError` if they are somebody else's."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._folder = state / FOLDER
        self._commands = state / COMMANDS

    # --- starts

    def key(self, command_id: str) -> str:
        """The name of a start's files: its command's id comes from outside and is no name of a file."""
        return hashlib.sha256(command_id.encode()).hexdigest()[:32]

    def path(self, key: str) -> Path:
        """Where a start is written down."""
        return self._folder / f"{key}.json"

    def begin(self, key: str, record: dict[str, Any]) -> bool:
        """Write a start down. False if it has been before: then nothing may be started."""
        return _create(self._private(self._folder), self.path(key), record)

    def read(self, key: str) -> dict[str, Any]:
        """A start as it was written down; empty if it was not."""
        return read_private(self.path(key)) or {}

    def claim(self, key: str, told: dict[str, Any]) -> bool:
        """Be the one process that decides whether a start happens."""
        return _create(self._folder, self._folder / f"{key}.begun", told)

    def begun(self, key: str) -> dict[str, Any] | None:
        """What the process that decided has told; None as long as none has."""
        with contextlib.suppress(DataError):  # being written at this moment
            return read_private(self._folder / f"{key}.begun")
        return None

    def slot(self, name: str, *, shared: bool = False) -> int | None:
        """A descriptor that holds a slot as long as anybody keeps it open; None if somebody holds it already."""
        path = self._private(self._folder) / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def note(self, slot: int, told: dict[str, Any]) -> None:
        """Write into a slot that is held who holds it."""
        os.ftruncate(slot, 0)
        os.pwrite(slot, json.dumps(told).encode(), 0)

    def holder(self, name: str) -> dict[str, Any]:
        """What the holder of a slot has written into it."""
        path = self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"
        with contextlib.suppress(DataError, OSError):
            return read_private(path) or {}
        return {}

    # --- commands that this user has run

    def remember(self, run: str, told: dict[str, Any]) -> None:
        """Keep a command line of this user's own, so that it can be run again by name."""
        folder = self._private(self._commands)
        _create(folder, folder / f"{run}.json", told)
        _forget(folder.glob("*.json"), KEPT_COMMANDS)

    def withhold(self, run: str) -> None:
        """Note that a command line holds what looks like a secret, which is kept nowhere; so it cannot be run again."""
        folder = self._private(self._commands)
        _create(folder, folder / f"{run}.withheld", {})
        _forget(folder.glob("*.withheld"), KEPT_COMMANDS)

    def withheld(self, run: str) -> bool:
        """Whether a run's command line was not kept, because of a secret."""
        return is_run_id(run) and (self._commands / f"{run}.withheld").exists()

    def recall(self, run: str) -> dict[str, Any] | None:
        """A command line that was kept; None if there is none of this run."""
        return read_private(self._commands / f"{run}.json") if is_run_id(run) else None

    def remembered(self) -> list[str]:
        """The runs whose command lines are kept, newest first."""
        try:
            entries = [(entry.stat().st_mtime_ns, entry.name) for entry in os.scandir(self._commands) if entry.name.endswith(".json")]
        except OSError:
            return []
        return [name.removesuffix(".json") for _, name in sorted(entries, reverse=True)]

    def tidy(self) -> None:
        """Forget starts of long ago."""
        for suffix in ("json", "begun"):
            _forget(self._folder.glob(f"*.{suffix}"), KEPT_LAUNCHES)

    def _private(self, folder: Path) -> Path:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        return folder


def slot_of_command(argv: Sequence[str], folder: str) -> str:
    """The slot of a command line in a folder, for those that are run again."""
    return "command\0" + "\0".join([folder, *argv])


def _create(folder: Path, path: Path, told: dict[str, Any]) -> bool:
    """Make a private file with this content, all at once; False if it is there already."""
    fresh = folder / f".{path.name}.{os.getpid()}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(told, file)
            file.flush()
            os.fsync(descriptor)
        os.link(fresh, path)  # fails if it exists: of two, one wins
    except FileExistsError:
        return False
    finally:
        os.unlink(fresh)
    return True


def _forget(paths: Iterable[Path], keep: int) -> None:
    aged = []
    for path in paths:
        with contextlib.suppress(OSError):
            aged.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(aged, reverse=True)[keep:]:
        path.unlink(missing_ok=True)
