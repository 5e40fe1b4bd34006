"""A run in this process whose journal is read back as a server would read it."""

import time
from pathlib import Path
from typing import Any

import farwatch
from farwatch.agent.outbox import Outbox
from farwatch.store.base import Decoded, Writer
from farwatch.store.decode import decode
from farwatch.wire import segment
from farwatch.wire.commands import Op, Order
from farwatch.wire.records import Kind


class Logged:
    """A run and what stands in its journal."""

    def __init__(self, run: farwatch.Run, state: Path) -> None:
        self.run = run
        (self.folder,) = (state / "journals").iterdir()
        self._outbox = Outbox(self.folder, self.folder.name)
        self._seq = 0

    def decoded(self) -> Decoded:
        data = b""
        for path in segment.list_segments(self.folder):
            whole = path.read_bytes()
            header = segment.SegmentHeader.decode(whole)
            found = segment.scan(whole, segment.HEADER_SIZE, header.seed)
            data += whole[segment.HEADER_SIZE : found.end]
        return decode(data, Writer(self.folder.name, "r", wall_us=0), {}, 0)

    def names(self) -> set[str]:
        return set(self.decoded().names)

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Steps and values of a metric, in order."""
        decoded = self.decoded()
        if name not in decoded.names:
            return [], []
        mine = decoded.index == decoded.names.index(name)
        return decoded.points.steps[mine].tolist(), decoded.points.values[mine].tolist()

    def bodies(self, kind: Kind) -> list[dict[str, Any]]:
        return [record.body() for record in segment.read_journal(self.folder) if record.kind == kind]

    def texts(self) -> dict[str, str]:
        return {body["name"]: body["text"] for body in self.bodies(Kind.POINT) if body["type"] == "text"}

    def ask(self, op: str, **args: Any) -> str:
        """Ask something of the run, as the agent of this machine delivers it; returns the id of the command."""
        self._seq += 1
        until_us = time.monotonic_ns() // 1000 + 60_000_000
        order = Order(f"c{self._seq}", self._seq, Op(op), args, "Ann", "page", until_us)
        assert self._outbox.put(order), "the inbox is full"
        return order.id

    def ended(self, command: str) -> dict[str, Any]:
        """What the journal says of the end of a command."""
        (found,) = [one for one in self.bodies(Kind.EVENT) if one.get("command") == command and one["event"] == "ended"]
        return found

    def steer(self) -> dict[str, Any]:
        """What people may do with the run, as it was told last."""
        found: dict[str, Any] = {}
        for body in self.bodies(Kind.PATCH):
            for name, told in body.get("steer", {}).items():
                found[name] = {**found[name], **told} if isinstance(told, dict) and name in found else told
        return found
