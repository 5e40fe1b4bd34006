"""A server's inside with rules, whose clock moves only when told."""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farwatch.service.alerts import Engine, Register, RuleBook
from farwatch.service.ingest import Ingest
from farwatch.service.liveness import Liveness
from farwatch.settings import load
from farwatch.store.base import Decoded, Writer
from farwatch.store.meta import AlertRow
from farwatch.store.sqlite import open_store
from tests.service.conftest import Inside, ManualClock, Process, RecordingHub

NAN = math.nan


def curve(count: int, seed: int = 0, level: float = 1.0) -> list[float]:
    noise = random.Random(seed)
    return [level * (0.1 + math.exp(-step / 50)) * (1 + 0.05 * noise.gauss(0, 1)) for step in range(count)]


def started(alerted: "Alerted", **told: object) -> Process:
    process = alerted.started(**told)
    process.send()
    alerted.turn()
    return process


class Both(RecordingHub):
    """Tells the rules what ingest and liveness tell readers."""

    def publish(self, seq: int, writer: Writer, decoded: Decoded) -> None:
        self.engine.publish(seq, writer, decoded)

    def touch(self, run_id: str) -> None:
        self.engine.touch(run_id)

    engine: Engine


class Alerted(Inside):
    """`news`: what the register told: (what, rule, title). `asked`: commands that rules asked for."""

    def open(self) -> None:
        super().open()
        self.ingest.close()
        self.hub = Both()
        self.register = Register(self.meta, self.clock)
        self.book = RuleBook(self.meta)
        self.engine = self.hub.engine = Engine(self.runs, self.book, self.register, self.settings, self.clock)
        self.engine.submit = self.submit
        self.ingest = Ingest(self.store, self.meta, self.runs, self.hub, self.settings, self.clock)
        self.liveness = Liveness(self.meta, self.runs, self.hub, self.settings, self.clock)
        self.news: list[tuple[str, str, str]] = getattr(self, "news", [])
        self.asked: list[tuple[Any, ...]] = getattr(self, "asked", [])
        self.register.on_change = self.heard

    def heard(self, row: AlertRow, what: str) -> None:
        self.news.append((what, row.rule, row.title))

    def submit(self, run_id: str, op: str, args: dict[str, Any], *, actor: str, channel: str) -> dict[str, Any]:
        self.asked.append((op, args, actor, channel))
        return {"id": f"c{len(self.asked)}"}

    def restart(self) -> None:
        self.close()
        if hasattr(self.store, "close"):
            self.store.close()
        self.open()

    def turn(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        self.engine.turn()

    def alerts(self, *states: str) -> list[AlertRow]:
        return self.register.list(None, states)

    def log(self, process: Process, values: list[float], name: str = "train/loss", every_s: float = 1.0, turns: bool = True) -> None:
        """Log values one by one, each sent, with a turn of the engine."""
        for value in values:
            self.clock.advance(every_s)
            process.log({name: value})
            if turns:
                process.send()
                self.engine.turn()
        if not turns:
            process.send()
            self.engine.turn()


@pytest.fixture
def alerted(tmp_path: Path) -> Iterator[Alerted]:
    settings = load({})
    made = Alerted(tmp_path, settings, ManualClock(), lambda folder: open_store(folder, settings, ManualClock()))
    yield made
    made.close()
    made.store.close()
