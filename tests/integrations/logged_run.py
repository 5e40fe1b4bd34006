"""A run in this process whose journal is read back as a server would read it."""

from pathlib import Path
from typing import Any

import farwatch
from farwatch.store.base import Decoded, Writer
from farwatch.store.decode import decode
from farwatch.wire import segment
from farwatch.wire.records import Kind


class Logged:
    """A run and what stands in its journal."""

    def __init__(self, run: farwatch.Run, state: Path) -> None:
        self.run = run
        (self.folder,) = (state / "journals").iterdir()

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
