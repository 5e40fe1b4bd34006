"""A program on many ranks, as a launcher starts it, and somebody who asks things of its rank 0."""

import json
import os
import signal
import textwrap
import time
from pathlib import Path
from typing import Any

from farwatch.agent.outbox import Outbox
from farwatch.wire import inbox, segment
from farwatch.wire.commands import Op, Order
from farwatch.wire.records import Kind, Record
from tests.faults.machine import free_port, until

from .nursery import Nursery

# What most programs do: meet, then steps that end with a collective, as those of data-parallel training do.
BEGIN = """
import json, os, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
import atexit
atexit.register(dist.destroy_process_group)
import farwatch
rank, world = dist.get_rank(), dist.get_world_size()
told = open(f"{os.environ['TOLD']}.{rank}", "a", buffering=1)
def tell(**what): told.write(json.dumps(what) + "\\n")
one = torch.ones(1)
def train(seconds=0.005):
    time.sleep(seconds)
    dist.all_reduce(one)
def over():
    '''Whether the test has seen enough: the same on all ranks.'''
    word = torch.tensor([float(os.path.exists(os.environ["TOLD"] + ".over"))])
    dist.all_reduce(word)
    return word.item() > 0
"""


class Launch:
    """`count` processes of one program. `told`: what each rank has written down, by rank."""

    def __init__(self, nursery: Nursery, folder: Path, source: str, count: int, *, begin: str = BEGIN, **environ: str) -> None:
        self.folder = folder
        self.count = count
        script = folder / "train.py"
        script.write_text(textwrap.dedent(begin) + textwrap.dedent(source))
        shared = {
            "FARWATCH_DIR": str(folder / "state"), "FARWATCH_AGENT": "0", "FARWATCH_MODE": "offline", "FARWATCH_RANKS_WAIT_S": "2",
            "TOLD": str(folder / "told"), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()), **environ,
        }  # fmt: skip
        for rank in range(count):
            nursery.start(script, rank, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        self._seq = 0
        self._outbox: Outbox | None = None

    def told(self, rank: int) -> list[dict[str, Any]]:
        """What a rank has written down so far."""
        path = self.folder / f"told.{rank}"
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def values(self, name: str) -> list[list[Any]]:
        """What each rank has written down under a name."""
        return [[one[name] for one in self.told(rank) if name in one] for rank in range(self.count)]

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("log.*")))

    # --- asking

    def journal(self, rank: int = 0) -> Path:
        def found() -> Path | None:
            for path in (self.folder / "state" / "journals").glob("*/writer.json"):
                if json.loads(path.read_text())["rank"] == rank and (rank or (path.parent / inbox.INBOX).exists() or self.ended()):
                    return path.parent
            return None

        return until(found, 30, self.log())

    def ask(self, op: str, **args: Any) -> str:
        """Ask, as an agent delivers it."""
        if self._outbox is None:
            folder = self.journal()
            self._outbox = Outbox(folder, folder.name)
        self._seq += 1
        expires = time.monotonic_ns() // 1000 + 60_000_000
        order = Order(f"c{self._seq}", self._seq, Op(op), args, "Ann", "page", expires)
        assert self._outbox.put(order), "the inbox is full"
        return order.id

    def records(self, kind: Kind, rank: int = 0) -> list[Record]:
        return [record for record in segment.read_journal(self.journal(rank)) if record.kind == kind]

    def events(self) -> list[dict[str, Any]]:
        return [{"step": record.step, **record.body()} for record in self.records(Kind.EVENT)]

    def off(self) -> list[Any]:
        """What rank 0 has said about whether it can be steered."""
        told = [record.body().get("steer", {}) for record in self.records(Kind.PATCH)]
        return [one["off"] for one in told if "off" in one]

    def ended(self) -> bool:
        return all((self.folder / f"code.{rank}").exists() for rank in range(self.count))

    def end_of(self, command: str, limit_s: float = 60) -> dict[str, Any]:
        """How a command ended, once it has."""
        found = until(
            lambda: [one for one in self.events() if one.get("command") == command and one["event"] == "ended"],
            limit_s, f"{command}: {self.events()} {self.off()} {self.log()}",
        )  # fmt: skip
        assert len(found) == 1, found
        return found[0]

    # --- the end

    def running(self, steps: int = 3) -> "Launch":
        """Wait until every rank has come by so many steps."""
        until(lambda: all(len(one) >= steps for one in self.values("step")) or self.ended(), 30, self.log())
        assert not self.ended(), self.log()
        return self

    def over(self) -> None:
        """Tell the program to end its loop."""
        (self.folder / "told.over").touch()

    def codes(self, limit_s: float = 20) -> list[int]:
        """Exit codes, once all have ended."""
        until(self.ended, limit_s, self.log())
        return [int((self.folder / f"code.{rank}").read_text()) for rank in range(self.count)]

    def pid(self, rank: int) -> int:
        return int((self.folder / f"pid.{rank}").read_text())

    def kill(self, rank: int) -> None:
        os.kill(self.pid(rank), signal.SIGKILL)

    def kill_all(self) -> None:
        """End whatever is left."""
        for rank in range(self.count):
            if not (self.folder / f"code.{rank}").exists() and (self.folder / f"pid.{rank}").exists():
                self.kill(rank)
