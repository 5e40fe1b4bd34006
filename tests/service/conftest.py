"""A server's inside without HTTP: meta database, store, runs and ingest, fed by writers that encode real batches."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from farwatch.service.ingest import Ingest
from farwatch.service.liveness import Liveness
from farwatch.service.runs import Runs
from farwatch.settings import Settings, load
from farwatch.store.base import Decoded, Store, Writer
from farwatch.store.memory import MemoryStore
from farwatch.store.meta import Meta
from farwatch.wire.batch import FLAG_GAP, Batch
from farwatch.wire.ids import new_run_id, new_writer_id
from farwatch.wire.records import Flag, Kind, encode_head, encode_json, encode_schema
from farwatch.wire.segment import first_seed, frame

START_US = 1_800_000_000_000_000


class ManualClock:
    """Stands still until told to move; sleeping moves it. `jump` sets its wall clock, as people and time servers do."""

    def __init__(self) -> None:
        self.now_us = START_US
        self.jumped_us = 0

    def wall_us(self) -> int:
        return self.now_us + self.jumped_us

    def jump(self, seconds: float) -> None:
        self.jumped_us += int(seconds * 1e6)

    def mono_us(self) -> int:
        return self.now_us - START_US + 1

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)


class RecordingHub:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.published: list[tuple[int, Writer, Decoded]] = []
        self.touched: list[str] = []

    def publish(self, seq: int, writer: Writer, decoded: Decoded) -> None:
        self.published.append((seq, writer, decoded))

    def touch(self, run_id: str) -> None:
        self.touched.append(run_id)


@dataclass
class Process:
    """A training process: registers, logs, and sends what it has logged."""

    inside: "Inside"
    sidecar: dict[str, Any]
    payloads: list[bytes] = field(default_factory=list)
    schemas: dict[tuple[str, ...], int] = field(default_factory=dict)
    sent: int = 0
    step: int = 0

    @property
    def id(self) -> str:
        return str(self.sidecar["writer"])

    @property
    def run(self) -> str:
        return str(self.inside.meta.writer(self.id).run)  # type: ignore[union-attr]

    def register(self) -> dict[str, Any]:
        return self.inside.runs.register(self.sidecar, "ann")

    def _time(self) -> int:
        return self.inside.clock.mono_us()

    def add(self, kind: Kind, body: dict[str, Any], step: float | int | None = None) -> "Process":
        self.payloads.append(encode_json(kind, body, step=step, time=self._time()))
        return self

    def patch(self, **body: Any) -> "Process":
        return self.add(Kind.PATCH, body)

    def log(self, values: dict[str, float], step: float | int | None = None) -> "Process":
        """One call of `run.log`; without `step` the step is relative, as the SDK writes it."""
        keys = tuple(values)
        if keys not in self.schemas:
            self.schemas[keys] = len(self.schemas)
            self.payloads.append(encode_schema(self.schemas[keys], keys, "f" * len(keys)))
        flags = 0
        if step is None:
            step, flags = self.step, Flag.STEP_RELATIVE
        self.step = int(step) + 1
        head = encode_head(Kind.STEP, step=step, time=self._time(), flags=flags, aux32=self.schemas[keys])
        self.payloads.append(head + struct.pack(f"<{len(keys)}d", *values.values()))
        return self

    def goodbye(self, state: str = "finished", reason: str = "", **more: Any) -> "Process":
        return self.add(Kind.GOODBYE, {"state": state, "reason": reason, **more})

    def batch(self, first: int, end: int) -> Batch:
        crc = before = first_seed(self.id)
        parts = []
        for number, payload in enumerate(self.payloads[:end]):
            framed, crc = frame(payload, crc)
            if number < first:
                before = crc
            else:
                parts.append(framed)
        return Batch(self.id, first, end - first, before, crc, b"".join(parts))

    def post(self, first: int, end: int) -> "Future[dict[str, Any]]":
        return self.inside.ingest.submit(
            self.id, zlib.compress(self.batch(first, end).encode(), 1), "deflate"
        )

    def send(self) -> dict[str, Any]:
        """Send what has not been sent, and wait for the acknowledgement."""
        answer = self.post(self.sent, len(self.payloads)).result(10)
        self.sent = answer["expected"]
        return answer

    def lose(self, count: int, reason: str) -> None:
        """Tell the server that the next records are gone."""
        crc = first_seed(self.id)
        for payload in self.payloads[: self.sent]:
            crc = frame(payload, crc)[1]
        for _ in range(count):
            self.payloads.append(encode_json(Kind.METER, {"calls": len(self.payloads)}))
        after = crc
        for payload in self.payloads[self.sent :]:
            after = frame(payload, after)[1]
        batch = Batch(self.id, self.sent, count, crc, after, reason.encode(), FLAG_GAP)
        self.sent = self.inside.ingest.submit(self.id, batch.encode(), "identity").result(10)["expected"]


class Inside:
    """Everything of a server but HTTP, on one folder; `restart` closes and opens it."""

    def __init__(
        self, folder: Path, settings: Settings, clock: ManualClock, store: Callable[[Path], Store]
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.clock = clock
        self.make_store = store
        self.open()

    def open(self) -> None:
        self.hub = RecordingHub()
        self.meta = Meta(self.folder / "meta.db", self.clock)
        self.store = self.make_store(self.folder)
        self.runs = Runs(self.meta, self.store, self.settings, self.clock)
        self.ingest = Ingest(self.store, self.meta, self.runs, self.hub, self.settings, self.clock)
        self.liveness = Liveness(self.meta, self.runs, self.hub, self.settings, self.clock)

    def close(self) -> None:
        self.ingest.close()
        self.meta.close()

    def process(self, **told: Any) -> Process:
        """A process that has not registered; `told` replaces what its sidecar says."""
        now_us = self.clock.wall_us()
        zero_us = now_us - self.clock.mono_us()
        sidecar = {
            "format": 1, "wire": 1, "writer": new_writer_id(), "run": new_run_id(), "run_given": "run" in told, "resume": "allow",
            "from_step": None, "project": "digits", "name": None, "group": None, "job_type": None, "parent": None, "notes": None,
            "tags": [], "pid": 1, "boot_id": "boot", "pid_ns": 1, "host": "box", "user": "ann", "argv": ["train.py"], "rank": 0,
            "world_size": 1, "rendezvous": None, "main": True, "sibling_of": None, "nth": 1, "wall_us": zero_us,
            "started_ms": now_us // 1000, "total_steps": None, "python": "3.11.7",
        }  # fmt: skip
        return Process(self, {**sidecar, **told})

    def started(self, **told: Any) -> Process:
        """A process that has registered and said hello."""
        process = self.process(**told)
        process.register()
        return process.add(Kind.HELLO, {"run": process.sidecar["run"]})

    def beat(self, *processes: Process, agent: str = "agent-1", **told: Any) -> dict[str, Any]:
        """One beat of an agent that says the same of some processes."""
        said = {"alive": True, "records_behind": 0, "bytes_behind": 0, **told}
        body = {
            "writers": {process.id: said for process in processes},
            "next_s": 10,
            "host": "box",
            "version": "1",
        }
        return self.liveness.beat(agent, body, "ann")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def settings() -> Settings:
    return load({})


@pytest.fixture
def inside(tmp_path: Path, clock: ManualClock, settings: Settings) -> Iterator[Inside]:
    made = Inside(tmp_path, settings, clock, lambda folder: MemoryStore())
    yield made
    made.close()


def spelled(value: Any) -> Any:
    """What a client gets: the value through JSON."""
    return json.loads(json.dumps(value, allow_nan=False))
