"""A run of this process, and somebody who asks things of it."""

import time
from pathlib import Path
from typing import Any

import farwatch
from farwatch.agent.outbox import Outbox
from farwatch.wire import segment
from farwatch.wire.commands import Op, Order
from farwatch.wire.records import Kind

LATER_US = 60_000_000


class Asked:
    """A run of this process, and somebody who asks things of it as an agent delivers them."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        self.run = farwatch.init("p", mode="offline", console=False, system=False, **more)
        newest = max((folder / "journals").iterdir(), key=lambda path: path.stat().st_ctime_ns)
        self.journal = newest
        self.outbox = Outbox(newest, newest.name)
        self.seq = 0

    def ask(self, op: str, *, expires_us: int = LATER_US, channel: str = "page", **args: Any) -> str:
        self.seq += 1
        order = Order(f"c{self.seq}", self.seq, Op(op), args, "Ann", channel, time.monotonic_ns() // 1000 + expires_us)
        assert self.outbox.put(order), "the inbox is full"
        return order.id

    def steps(self, n: int = 1) -> None:
        for _ in range(n):
            self.run.log({"loss": 1.0})

    def events(self) -> list[dict[str, Any]]:
        return [record.body() for record in segment.read_journal(self.journal) if record.kind == Kind.EVENT]

    def ended(self, command: str) -> dict[str, Any]:
        """What the journal says of the end of a command."""
        found = [one for one in self.events() if one.get("command") == command and one["event"] == "ended"]
        assert len(found) == 1, f"{command} ended {len(found)} times"
        return found[0]
