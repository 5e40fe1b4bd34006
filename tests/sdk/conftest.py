"""Programs that log, run as their users run them, and what stands in their journals afterwards."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from farwatch.store.base import Decoded, Writer
from farwatch.store.decode import decode
from farwatch.wire import segment
from farwatch.wire.records import Kind, Record

from .asking import Asked

SOURCE = Path(__file__).parents[2] / "src"


@dataclass
class Journal:
    """One writer's journal, read back."""

    folder: Path

    @property
    def sidecar(self) -> dict:
        return json.loads((self.folder / segment.SIDECAR).read_text())

    @property
    def records(self) -> list[Record]:
        return list(segment.read_journal(self.folder))

    def bodies(self, kind: Kind) -> list[dict]:
        return [record.body() for record in self.records if record.kind == kind]

    @property
    def decoded(self) -> Decoded:
        """All records in columns, as a server sees them."""
        data, first = b"", None
        for path in segment.list_segments(self.folder):
            whole = path.read_bytes()
            header = segment.SegmentHeader.decode(whole)
            found = segment.scan(whole, segment.HEADER_SIZE, header.seed)
            data += whole[segment.HEADER_SIZE : found.end]
            first = header.first_record if first is None else first
        return decode(data, Writer(self.folder.name, "r", wall_us=self.sidecar["wall_us"]), {}, first or 0)

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Steps and values of a metric, in order."""
        decoded = self.decoded
        if name not in decoded.names:
            return [], []
        mine = decoded.index == decoded.names.index(name)
        return decoded.points.steps[mine].tolist(), decoded.points.values[mine].tolist()

    @property
    def goodbye(self) -> dict:
        (body,) = self.bodies(Kind.GOODBYE)
        return body


@dataclass
class Ended:
    code: int
    out: str
    err: str
    journals: list[Journal]

    @property
    def journal(self) -> Journal:
        """The journal of the program's only main writer."""
        (found,) = [journal for journal in self.journals if journal.sidecar["main"]]
        return found


Program = Callable[..., Ended]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Run a Python program that logs into a state folder of its own, without an agent."""

    def run(source: str, *args: str, **environ: str) -> Ended:
        script = tmp_path / "train.py"
        script.write_text(textwrap.dedent(source))
        state = tmp_path / "state"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FARWATCH", "COV"))}
        env = {
            **kept,
            "PYTHONPATH": str(SOURCE),
            "FARWATCH_DIR": str(state),
            "FARWATCH_AGENT": "0",
            **environ,
        }
        done = subprocess.run(
            [sys.executable, str(script), *args],
            capture_output=True,
            text=True,
            env=env,
            timeout=120,
            cwd=tmp_path,
        )
        folders = sorted((state / "journals").iterdir()) if (state / "journals").is_dir() else []
        return Ended(done.returncode, done.stdout, done.stderr, [Journal(folder) for folder in folders])

    return run


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """A run of this process, steered by whoever writes into its inbox."""
    monkeypatch.setenv("FARWATCH_DIR", str(tmp_path))
    monkeypatch.setenv("FARWATCH_AGENT", "0")
    made = Asked(tmp_path)
    yield made
    made.run.finish()
