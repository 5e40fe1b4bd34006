"""Inside `farwatch run`: the first `init` joins the run that its terminal belongs to, later ones become children of it.

Every process below it inherits the same environment, so who is first is decided by a file in the runner's own journal
folder, made by one of them. (Rule 9.)
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farwatch.machine import process_start

RUNNER = "FARWATCH_RUNNER"  # the folder of the journal that `farwatch run` writes
JOINED = "joined.json"


@dataclass(frozen=True, slots=True)
class Runner:
    """The `farwatch run` that a process runs under. `joins`: this `init` continues its run, else it makes a child."""

    writer: str
    run: str
    joins: bool


def find_runner(environ: Mapping[str, str], rank: int, id: str | None, nth: int, *, elastic: bool) -> Runner | None:
    """The runner above this process, if there is one. Never raises.

    `id`: what `init` was given; a run of another id is never the runner's. `elastic`: a launcher has started this
    rank again in place of one that died, which joins anew.
    """
    folder = environ.get(RUNNER)
    if not folder:
        return None
    try:
        told = json.loads(Path(folder, "writer.json").read_bytes())
        writer, run = str(told["writer"]), str(told["run"])
        mine = told.get("role") == "runner" and told.get("uid") in (None, os.getuid())
        same_rank = told.get("rank") == rank
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    if not mine:
        return None
    if not same_rank:  # a rank of a launch within it: it follows its own rank 0
        return None
    if id is not None and id != run:
        return Runner(writer, run, False)
    return Runner(writer, run, _claim(Path(folder, JOINED), nth, elastic))


def _claim(path: Path, nth: int, elastic: bool) -> bool:
    """Be the one that joins; or be it again, after `exec` or as a rank that was started again."""
    pid = os.getpid()
    mine: dict[str, Any] = {"pid": pid, "pid_start": process_start(pid)}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return _again(path, mine, nth, elastic)
    except OSError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(mine, file)
    return True


def _again(path: Path, mine: dict[str, Any], nth: int, elastic: bool) -> bool:
    try:
        before = json.loads(path.read_bytes())
        if nth == 1 and before == mine:
            return True
        ended = process_start(int(before["pid"])) != before["pid_start"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if not (elastic and ended and nth == 1):
        return False
    fresh = path.with_suffix(f".{mine['pid']}")
    fresh.write_text(json.dumps(mine), encoding="utf-8")
    os.replace(fresh, path)
    return True
