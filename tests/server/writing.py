"""What an agent sends, made by hand: registered writers, and batches of a journal in memory."""

import os
import struct
import time
import zlib
from dataclasses import dataclass, field
from typing import Any

from serving import Reply, Running

from farwatch.wire.batch import Batch
from farwatch.wire.ids import new_run_id, new_writer_id
from farwatch.wire.records import Flag, Kind, encode_head, encode_json, encode_schema
from farwatch.wire.segment import first_seed, frame


def sidecar(project: str, run: str | None = None, **more: Any) -> dict[str, Any]:
    """A writer.json as the SDK leaves it."""
    now = time.time_ns() // 1000
    return {
        "format": 1,
        "wire": 1,
        "writer": new_writer_id(),
        "run": run or new_run_id(),
        "run_given": run is not None,
        "resume": "allow",
        "from_step": None,
        "project": project,
        "name": None,
        "group": None,
        "job_type": None,
        "parent": None,
        "notes": None,
        "tags": [],
        "mode": "online",
        "server": None,
        "pid": os.getpid(),
        "pid_start": 1,
        "boot_id": os.urandom(4).hex(),  # its clock is like no other's
        "pid_ns": 1,
        "uid": os.getuid(),
        "host": "box",
        "user": "ann",
        "executable": "python",
        "cwd": "/",
        "argv": [],
        "rank": 0,
        "local_rank": 0,
        "world_size": 1,
        "rendezvous": None,
        "main": True,
        "sibling_of": None,
        "nth": 0,
        "wall_us": now,
        "mono_us": 1,
        "system": False,
        "console": True,
        "total_steps": None,
        "source": None,
        "requirements": "infer",
        "python": "3.11",
        "version": "0",
        "started_ms": now // 1000,
        **more,
    }


@dataclass
class Feeder:
    """One writer of one run, over plain HTTP."""

    server: Running
    project: str
    run: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sidecar = sidecar(self.project, self.run, **self.more)
        self.writer = self.sidecar["writer"]
        self.said = self.server.api("POST", "/writers", self.sidecar)
        assert self.said.status == 200, self.said.body
        self.run = self.said.json["run"]
        self.schemas: dict[tuple[str, ...], int] = {}
        self.expected, self.crc = 0, first_seed(self.writer)
        self.send([encode_json(Kind.HELLO, self.sidecar)])

    def batch(self, payloads: list[bytes]) -> bytes:
        """The next batch of this writer; its numbers advance."""
        first, crc, body = self.expected, self.crc, b""
        for payload in payloads:
            framed, self.crc = frame(payload, self.crc)
            body += framed
        self.expected += len(payloads)
        return Batch(self.writer, first, len(payloads), crc, self.crc, body).encode()

    def send(self, payloads: list[bytes]) -> dict[str, Any]:
        """Send records as one deflated batch; returns the acknowledgement."""
        reply = self.post(zlib.compress(self.batch(payloads)), "deflate")
        assert reply.status == 200, reply.body
        told: dict[str, Any] = reply.json
        return told

    def post(self, body: bytes, encoding: str = "identity") -> Reply:
        return self.server.api(
            "POST", f"/writers/{self.writer}/batches", headers={"Content-Encoding": encoding}, raw=body
        )

    def step(self, step: int, values: dict[str, float]) -> list[bytes]:
        """Records of one call of log()."""
        records = []
        names = tuple(values)
        if names not in self.schemas:
            self.schemas[names] = len(self.schemas)
            records.append(encode_schema(self.schemas[names], names, "f" * len(names)))
        head = encode_head(
            Kind.STEP,
            step=step,
            time=time.time_ns() // 1000,
            flags=Flag.TIME_GIVEN,
            aux32=self.schemas[names],
        )
        return [*records, head + struct.pack(f"<{len(names)}d", *values.values())]

    def log(self, step: int, **values: float) -> dict[str, Any]:
        return self.send(self.step(step, values))

    def point(self, body: dict[str, Any], step: int) -> dict[str, Any]:
        return self.send(
            [encode_json(Kind.POINT, body, step=step, time=time.time_ns() // 1000, flags=Flag.TIME_GIVEN)]
        )
