"""Simulations of shipping, thousands of rounds: nothing lost, nothing doubled, whatever dies when.

Each round is a random history of a trainer that writes, an agent that is killed at every border, a server that is
killed before or after its commit and restored from backups, and a folder that is copied. The real reader and shipper are
under test; the server is twenty lines with the rules of the contract.
"""

import random
import shutil
import zlib
from pathlib import Path

import pytest

from farwatch.agent.folder import JournalFolder
from farwatch.agent.shipper import Shipment, Shipper
from farwatch.agent.transport import Answer
from farwatch.errors import ContactError, ForkError, GapError, NotFoundError
from farwatch.wire.batch import FLAG_GAP, Batch
from farwatch.wire.ids import new_writer_id
from farwatch.wire.records import Kind, encode_head, encode_json
from farwatch.wire.segment import SegmentHeader, first_seed, frame, segment_name, split


class Killed(BaseException):
    """The agent is killed here: nothing of it runs any more."""


class Clock:
    def __init__(self) -> None:
        self.now_us = 0

    def wall_us(self) -> int:
        return self.now_us

    def mono_us(self) -> int:
        self.now_us += 40_000_000  # every wait is over at the next look
        return self.now_us

    def sleep(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)


class Trainer:
    """Numbers and writes records; each holds its own serial number, unique over all copies."""

    def __init__(self, folder: Path, serials: "list[int]") -> None:
        self.writer_id = new_writer_id()
        self.path = folder / self.writer_id
        self.path.mkdir()
        (self.path / "writer.json").write_text(f'{{"writer":"{self.writer_id}","run":"r","project":"p"}}')
        self.serials = serials
        self.crc, self.number, self.segment = first_seed(self.writer_id), 0, -1
        self.written: list[int] = []
        self.rotate()
        self.put(encode_json(Kind.HELLO, {"writer": self.writer_id}))

    def rotate(self) -> None:
        self.segment += 1
        header = SegmentHeader(self.writer_id, self.segment, self.number, self.crc, 0)
        (self.path / segment_name(self.segment)).write_bytes(header.encode())

    def put(self, payload: bytes) -> None:
        framed, self.crc = frame(payload, self.crc)
        with open(self.path / segment_name(self.segment), "ab") as file:
            file.write(framed)
        self.number += 1

    def write(self, count: int) -> None:
        for _ in range(count):
            self.serials[0] += 1
            self.written.append(self.serials[0])
            self.put(encode_head(Kind.STEP, step=self.serials[0], aux32=1))

    def copy(self, folder: Path) -> "Trainer":
        """The same process on the other side of a snapshot."""
        shutil.copytree(self.path, folder / self.writer_id)
        twin = Trainer.__new__(Trainer)
        twin.__dict__ = self.__dict__ | {"path": folder / self.writer_id, "written": list(self.written)}
        return twin


class Server:
    """Keeps payloads per writer; stores its mark with the data; refuses gaps and forks."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.epoch = 0
        self.writers: dict[str, list[bytes]] = {}
        self.crcs: dict[str, list[int]] = {}
        self.trouble = 0.0
        self.gaps = 0

    def backup(self) -> tuple[dict[str, list[bytes]], dict[str, list[int]]]:
        return {w: list(r) for w, r in self.writers.items()}, {w: list(c) for w, c in self.crcs.items()}

    def restore(self, kept: tuple[dict[str, list[bytes]], dict[str, list[int]]]) -> None:
        self.writers, self.crcs = (
            {w: list(r) for w, r in kept[0].items()},
            {w: list(c) for w, c in kept[1].items()},
        )
        self.epoch += 1

    def mark(self, writer: str) -> dict:
        return {"expected": len(self.writers[writer]), "crc": self.crcs[writer][-1], "epoch": str(self.epoch)}

    def take(self, batch: Batch) -> dict:
        if batch.writer_id not in self.writers:
            raise NotFoundError("unknown writer")
        held, crcs = self.writers[batch.writer_id], self.crcs[batch.writer_id]
        end = batch.first + batch.count
        if batch.first > len(held):
            raise GapError("gap", **self.mark(batch.writer_id))
        if batch.first < len(held):
            if crcs[batch.first] != batch.crc_before or (end <= len(held) and crcs[end] != batch.crc_after):
                raise ForkError("fork", **self.mark(batch.writer_id))
            if end > len(held):
                raise GapError("partly known", **self.mark(batch.writer_id))
            return self.mark(batch.writer_id)
        if crcs[-1] != batch.crc_before:
            raise ForkError("fork", **self.mark(batch.writer_id))
        if batch.flags & FLAG_GAP:
            self.gaps += batch.count
            held += [b""] * batch.count
            crcs += [batch.crc_after] * batch.count
        else:
            crc = batch.crc_before
            for record in split(batch.body, batch.first):
                crc = zlib.crc32(record.payload, crc)
                held.append(record.payload)
                crcs.append(crc)
            assert crc == batch.crc_after
        return self.mark(batch.writer_id)

    def serials(self) -> list[int]:
        steps = [
            int.from_bytes(p[8:16], "little")
            for held in self.writers.values()
            for p in held
            if p[:1] == b"\x03"
        ]
        return sorted(steps)


class Line:
    """A connection to the server on which everything can go wrong."""

    address = "http://model"

    def __init__(self, server: Server, *, deadly: float) -> None:
        self.server = server
        self.deadly = deadly

    def request(self, method: str, path: str, body: object = None, **_: object) -> Answer:
        import json

        self.perhaps()
        if path == "/info":
            answer = {"server_id": "s"}
        elif path == "/writers":
            assert isinstance(body, dict)
            writer = body["writer"]
            self.server.writers.setdefault(writer, [])
            self.server.crcs.setdefault(writer, [first_seed(writer)])
            answer = self.server.mark(writer)
        elif path.startswith("/agents/"):
            answer = {"epoch": str(self.server.epoch), "writers": {}}
        else:
            assert isinstance(body, bytes)
            answer = self.server.take(Batch.decode(body if body[:4] == b"FWB1" else _unpack(body)))
        self.perhaps()  # committed, and nobody hears of it
        return Answer(200, {}, json.dumps(answer).encode())

    def perhaps(self) -> None:
        if self.server.dice.random() < self.deadly:
            raise Killed
        if self.server.dice.random() < self.server.trouble:
            raise ContactError("cut")

    def close(self) -> None:
        return None


def _unpack(data: bytes) -> bytes:
    from backports import zstd

    return bytes(zstd.decompress(data))


class AgentModel:
    """An agent that is killed and started again; it keeps nothing but what is in the folders."""

    def __init__(self, trainer: Trainer, server: Server) -> None:
        self.trainer, self.server = trainer, server
        self.shipper: Shipper | None = None
        self.shipment: Shipment | None = None

    def start(self) -> None:
        self.kill()
        self.shipper = Shipper(lambda: Line(self.server, deadly=self.deadly), Clock(), agent_id="a")
        self.shipment = Shipment.of(JournalFolder(self.trainer.path))
        self.shipment.alive = True
        self.shipment.max_records = self.server.dice.choice((1, 3, 1 << 30))
        self.shipper.add(self.shipment)

    deadly = 0.05

    def turn(self) -> None:
        try:
            if self.shipper is None:
                self.start()
            assert self.shipper is not None
            self.shipper.turn()
            if self.server.dice.random() < 0.1:
                self.shipper.beat(10)
        except Killed:
            self.kill()

    def settle(self) -> None:
        """Let it finish in peace."""
        self.deadly = 0.0
        self.server.trouble = 0.0
        self.start()
        assert self.shipper is not None and self.shipment is not None
        for _ in range(300):
            sent = self.shipper.turn()
            if not sent and self.shipment.caught_up and self.shipment.registered:
                self.kill()
                return
        raise AssertionError(f"it never settles: {self.shipment}")

    def kill(self) -> None:
        if self.shipment is not None:
            self.shipment.reader.close()
            self.shipment.folder.close()
        self.shipper = self.shipment = None


def play(seed: int, folder: Path, *, restores: bool, twins: bool) -> tuple[Server, list[Trainer]]:
    dice = random.Random(seed)
    server = Server(dice)
    server.trouble = dice.choice((0.0, 0.1, 0.3))
    serials = [0]
    (folder / "a").mkdir(parents=True)
    trainers = [Trainer(folder / "a", serials)]
    agents = [AgentModel(trainers[0], server)]
    backup = server.backup()
    for round_ in range(dice.randint(5, 25)):
        trainer = dice.choice(trainers)
        trainer.write(dice.randint(0, 5))
        if dice.random() < 0.2:
            trainer.rotate()
        for agent in agents:
            for _ in range(dice.randint(0, 3)):
                agent.turn()
        if restores and dice.random() < 0.1:
            backup = server.backup()
        if restores and dice.random() < 0.1:
            server.restore(backup)
        if twins and len(trainers) == 1 and round_ > 3 and dice.random() < 0.3:
            (folder / "b").mkdir()
            trainers.append(trainers[0].copy(folder / "b"))
            agents.append(AgentModel(trainers[1], server))
    for agent in agents:
        agent.settle()
    return server, trainers


@pytest.mark.parametrize("block", range(2))
def test_no_record_is_lost_or_doubled_whoever_dies(tmp_path: Path, block: int) -> None:
    for seed in range(block * 30, block * 30 + 30):
        server, trainers = play(seed, tmp_path / str(seed), restores=False, twins=False)

        assert server.serials() == trainers[0].written, seed
        assert server.gaps == 0


@pytest.mark.parametrize("block", range(2))
def test_restored_server_ends_with_everything(tmp_path: Path, block: int) -> None:
    for seed in range(1000 + block * 30, 1000 + block * 30 + 30):
        server, trainers = play(seed, tmp_path / str(seed), restores=True, twins=False)

        assert server.serials() == trainers[0].written, seed


@pytest.mark.parametrize("block", range(2))
def test_twins_keep_all_that_either_wrote(tmp_path: Path, block: int) -> None:
    """Nothing that only one side wrote is missing; what both had before they parted may come from both."""
    for seed in range(2000 + block * 30, 2000 + block * 30 + 30):
        server, trainers = play(seed, tmp_path / str(seed), restores=False, twins=True)
        held = server.serials()
        shared = set(trainers[0].written) & set(trainers[-1].written) if len(trainers) > 1 else set()

        assert set(held) == {serial for trainer in trainers for serial in trainer.written}, seed
        assert {serial for serial in held if held.count(serial) > 1} <= shared, seed


@pytest.mark.nightly
def test_long_campaign(tmp_path: Path) -> None:
    for seed in range(10_000, 14_000):
        server, trainers = play(seed, tmp_path / str(seed), restores=seed % 2 == 0, twins=False)
        shutil.rmtree(tmp_path / str(seed))

        assert server.serials() == trainers[0].written, seed
