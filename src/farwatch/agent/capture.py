"""What a run was made from: code, packages, machine. `python -P -m farwatch.agent.capture JOURNAL`.

Run once per run by the agent, with the trainer's own interpreter, so that the packages are the trainer's and
no time of the training is spent. Writes a journal of its own beside the trainer's (role `capture`), which is
shipped like any other. Nothing here may fail for good: what cannot be found is left out, with a line in
`problems`.
"""

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from farwatch.agent.facts import git_facts, hardware_facts, package_facts
from farwatch.agent.folder import JournalFolder, write_private
from farwatch.agent.own_journal import COPIED
from farwatch.agent.sources import FILE_MAX_BYTES, Source, mask_bytes, notebook_file, read_plain, sources_of
from farwatch.errors import FarwatchError
from farwatch.machine import boot_id, pid_namespace, process_start
from farwatch.wire.ids import new_writer_id
from farwatch.wire.records import Kind, encode_json
from farwatch.wire.segment import HEADER_SIZE, SIDECAR, SegmentHeader, first_seed, frame, segment_name

STAGING = ".capture-"  # no reader takes a folder of this name for a journal


class Captured:
    """A journal being made: hidden until it is complete, then renamed to its place."""

    def __init__(self, journals: Path, watched: dict[str, Any]) -> None:
        self.writer_id = new_writer_id()
        self.staging = journals / f"{STAGING}{self.writer_id}"
        self.path = journals / self.writer_id
        self._started_ns = time.monotonic_ns()
        wall_us = time.time_ns() // 1000
        pid = os.getpid()
        self.sidecar: dict[str, Any] = {name: watched[name] for name in COPIED if name in watched} | {
            "format": 1, "wire": 1, "writer": self.writer_id, "role": "capture", "watches": watched["writer"],
            "sibling_of": watched["writer"], "run_given": True, "resume": "allow", "from_step": None, "notes": None,
            "tags": [], "main": False, "pid": pid, "pid_start": process_start(pid), "boot_id": boot_id(),
            "pid_ns": pid_namespace(), "uid": os.getuid() if hasattr(os, "getuid") else None, "executable": "",
            "cwd": "/", "argv": [], "wall_us": wall_us, "mono_us": self._started_ns // 1000, "system": False,
            "console": False, "total_steps": None, "source": None, "requirements": "infer",
            "started_ms": wall_us // 1000,
        }  # fmt: skip
        self._payloads: list[bytes] = []
        self._spooled = 0
        os.mkdir(self.staging, 0o700)
        os.mkdir(self.staging / "spool", 0o700)
        self._append(Kind.HELLO, {key: value for key, value in self.sidecar.items() if key != "credential"})

    def patch(self, captured: dict[str, Any]) -> None:
        self._append(Kind.PATCH, {"capture": captured})

    def spool(self, content: bytes, suffix: str) -> dict[str, Any]:
        """Keep a file; returns what a record says of it."""
        name = f"{self._spooled:08d}{suffix}"
        self._spooled += 1
        write_private(self.staging / "spool" / name, content)
        return {"spool": name, "size": len(content)}

    def finish(self) -> Path:
        self._append(Kind.GOODBYE, {"state": "finished", "reason": ""})
        framed, crc = [], first_seed(self.writer_id)
        for payload in self._payloads:
            data, crc = frame(payload, crc)
            framed.append(data)
        body = b"".join(framed)
        header = SegmentHeader(self.writer_id, 0, 0, first_seed(self.writer_id), HEADER_SIZE + len(body))
        write_private(self.staging / segment_name(0), header.encode() + body)
        write_private(self.staging / SIDECAR, json.dumps(self.sidecar, separators=(",", ":")).encode())
        os.rename(self.staging, self.path)
        return self.path

    def discard(self) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)

    def _append(self, kind: Kind, body: dict[str, Any]) -> None:
        self._payloads.append(encode_json(kind, body, time=(time.monotonic_ns() - self._started_ns) // 1000))


def capture(journal: Path) -> Path:
    """Capture what the run of this journal was made from; returns the folder of the new journal.

    Raises `DataError` for a journal that is none, or not ours, and `OSError` if nothing can be written beside
    it.
    """
    folder = JournalFolder(journal)
    try:
        sidecar = folder.sidecar
    finally:
        folder.close()
    made = Captured(journal.parent, sidecar)
    problems: list[str] = []
    try:
        made.patch({"hardware": _guarded(hardware_facts, _NO_FACTS, problems)})  # first what is quick
        made.patch(_packages(made, sidecar, problems))
        cwd = Path(str(sidecar.get("cwd") or "/"))
        script = Path(sidecar["script"]) if isinstance(sidecar.get("script"), str) else None
        git, diff = _guarded(
            lambda: git_facts(script.parent if script else cwd, cwd), _NO_REPOSITORY, problems
        )
        found: dict[str, Any] = {"git": git} if git else {}
        if diff:
            kept = made.spool(mask_bytes(diff), ".diff")
            found |= {"diff_spool": kept["spool"], "size": kept["size"]}
        if found:
            made.patch(found)
        _sources(made, sidecar, cwd, script, problems)
        if problems:
            made.patch({"capture_problems": problems[:20]})
        return made.finish()
    except BaseException:
        made.discard()
        raise


_NO_FACTS: dict[str, Any] = {}
_NO_PACKAGES: dict[str, str] = {}
_NO_REPOSITORY: tuple[dict[str, Any], bytes] = ({}, b"")
_NO_NOTEBOOK: tuple[Source | None, str | None] = (None, "the notebook could not be looked for")
_T = TypeVar("_T")


def _guarded(call: Callable[[], _T], default: _T, problems: list[str]) -> _T:
    # A border: facts come from foreign programs and foreign files; one that is missing must not cost the
    # others.
    try:
        return call()
    except Exception as error:
        problems.append(f"{type(error).__name__}: {error}"[:500])
        return default


def _packages(made: Captured, sidecar: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    wanted = sidecar.get("requirements") or "infer"
    if wanted == "infer":
        return {"packages": _guarded(package_facts, _NO_PACKAGES, problems)}
    path = Path(str(sidecar.get("cwd") or "/"), str(wanted))
    content = _guarded(lambda: read_plain(path, FILE_MAX_BYTES), None, problems)
    if content is None:
        return {"packages": _guarded(package_facts, _NO_PACKAGES, problems)}
    kept = made.spool(mask_bytes(content), ".txt")
    return {"requirements_spool": kept["spool"], "size": kept["size"]}


def _sources(
    made: Captured, sidecar: dict[str, Any], cwd: Path, script: Path | None, problems: list[str]
) -> None:
    patterns = sidecar.get("source")
    nothing: list[Source] = []
    found = _guarded(lambda: sources_of(patterns, cwd, script, problems), nothing, problems)
    if found:
        listed = []
        for source in found:
            kept = made.spool(mask_bytes(source.content), Path(source.path).suffix[:16])
            listed.append({"path": source.path, **kept, "mtime_ms": source.mtime_ms})
        made.patch({"source": listed})
    if patterns is None and script is None:
        notebook, why = _guarded(lambda: notebook_file(sidecar), _NO_NOTEBOOK, problems)
        if notebook is not None:
            kept = made.spool(mask_bytes(notebook.content), ".ipynb")
            made.patch({"notebook_spool": kept["spool"], "size": kept["size"]})
        elif why:
            made.patch({"notebook": why})


def main(arguments: list[str]) -> int:
    """Capture for one journal; 0 if it worked."""
    if len(arguments) != 1:
        print("usage: python -P -m farwatch.agent.capture JOURNAL", file=sys.stderr)
        return 2
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)
    try:
        print(capture(Path(arguments[0]).absolute()))
    except (OSError, FarwatchError) as error:
        print(f"farwatch: nothing captured: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
