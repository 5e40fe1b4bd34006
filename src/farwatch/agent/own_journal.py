"""The agent's own journals: system metrics of a run on this machine, in the format of every other journal.

So they are shipped, kept offline, synced and restored by the same code. Written with plain `pwrite`: nobody waits for the
agent.
"""

import contextlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farwatch.agent.folder import write_private
from farwatch.clock import Clock
from farwatch.machine import boot_id, pid_namespace, process_start
from farwatch.wire.ids import new_writer_id
from farwatch.wire.records import Kind, encode_head, encode_json, encode_schema
from farwatch.wire.segment import HEADER_SIZE, SIDECAR, SegmentHeader, first_seed, frame, segment_name

SEGMENT_BYTES = 1 << 20
COPIED = tuple(  # what a journal of ours says as the one that it belongs to
    "run project name group job_type parent mode server credential host user"
    " rank local_rank world_size rendezvous nth python version".split()
)


class OwnJournal:
    """A journal with `role` `system`, for one watched writer. *Threads*: one. *Errors*: `OSError` if there is no room."""

    def __init__(self, journals: Path, watched: Mapping[str, Any], clock: Clock) -> None:
        """Begin a journal beside the one of the watched writer, for the same run, rank and server."""
        self.writer_id = new_writer_id()
        self.path = journals / self.writer_id
        self._clock = clock
        self._start_us = clock.mono_us()
        wall_us = clock.wall_us()
        pid = os.getpid()
        self.sidecar: dict[str, Any] = {name: watched[name] for name in COPIED if name in watched} | {
            "format": 1, "wire": 1, "writer": self.writer_id, "role": "system", "watches": watched["writer"],
            "run_given": True, "resume": "allow", "from_step": None, "notes": None, "tags": [], "main": False,
            "sibling_of": None, "pid": pid, "pid_start": process_start(pid), "boot_id": boot_id(),
            "pid_ns": pid_namespace(), "uid": os.getuid() if hasattr(os, "getuid") else None, "executable": "",
            "cwd": "/", "argv": [], "wall_us": wall_us, "mono_us": self._start_us, "system": False, "console": False,
            "total_steps": None, "source": None, "requirements": "infer", "started_ms": wall_us // 1000,
        }  # fmt: skip
        self._crc = first_seed(self.writer_id)
        self._number = 0
        self._segment = -1
        self._offset = 0
        self._descriptor = -1
        self._schemas: dict[tuple[str, ...], int] = {}
        os.mkdir(self.path, 0o700)
        self._rotate()
        self._append(encode_json(Kind.HELLO, {k: v for k, v in self.sidecar.items() if k != "credential"}))
        write_private(self.path / SIDECAR, json.dumps(self.sidecar, separators=(",", ":")).encode())

    def log(self, values: Mapping[str, float]) -> None:
        """Write one sample: all values at this moment, without a step."""
        if not values:
            return
        keys = tuple(values)
        schema = self._schemas.get(keys)
        if schema is None:
            schema = self._schemas[keys] = len(self._schemas) + 1
            self._append(encode_schema(schema, keys, "f" * len(keys)))
        head = encode_head(Kind.STEP, time=self._clock.mono_us() - self._start_us, aux32=schema)
        self._append(head + struct.pack(f"<{len(keys)}d", *values.values()))

    def close(self) -> None:
        """Let go of the journal; may be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _append(self, payload: bytes) -> None:
        framed, crc = frame(payload, self._crc)
        if self._offset + len(framed) > SEGMENT_BYTES and self._offset > HEADER_SIZE:
            self._rotate()
        written = os.pwrite(self._descriptor, framed, self._offset)
        if written != len(framed):
            raise OSError(28, "no room for system metrics")
        self._crc = crc
        self._offset += written
        self._number += 1

    def _rotate(self) -> None:
        header = SegmentHeader(self.writer_id, self._segment + 1, self._number, self._crc, SEGMENT_BYTES)
        path = self.path / segment_name(self._segment + 1)
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            os.pwrite(descriptor, header.encode(), 0)
            os.replace(fresh, path)
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise
        self.close()
        self._descriptor = descriptor
        self._segment += 1
        self._offset = HEADER_SIZE
