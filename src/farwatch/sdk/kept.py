"""What people changed in a run, in a file of this machine: for a replay by hand, and for the knobs of a resumed run."""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from farwatch.wire.commands import Op

IDS_KEPT = 4_096


class Kept:
    """The file `interventions.jsonl` of a run: one object per line, oldest first. `path`: None keeps nothing.

    `values`: by knob, the newest change that people made before this process. `commands`: ids of the newest commands in it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.values: dict[str, dict[str, Any]] = {}
        self.commands: dict[str, None] = {}
        for body in _read(path):
            self._note(body)

    def add(self, body: dict[str, Any]) -> None:
        """Keep what was applied; a disk that is full keeps it in the journal alone."""
        if self._path is None:
            return
        line = json.dumps({"time_ms": time.time_ns() // 1_000_000, "pid": os.getpid(), **body}) + "\n"
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(line)

    def _note(self, body: dict[str, Any]) -> None:
        try:
            command = str(body["command"])
            self.commands[command] = None
            if len(self.commands) > IDS_KEPT:
                del self.commands[next(iter(self.commands))]
            if body["op"] == Op.SET and body["channel"] != "program":
                self.values[str(body["args"]["name"])] = body
        except (TypeError, KeyError):
            return  # not ours


def _read(path: Path | None) -> list[dict[str, Any]]:
    found = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path is not None else []
    except OSError:
        lines = []
    for line in lines:
        with contextlib.suppress(ValueError):  # a line that was cut short by a full disk
            found.append(json.loads(line))
    return found
