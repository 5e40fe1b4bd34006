"""The agent's desk: commands go into inboxes in order, once, and never in a hurry where they cannot."""

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from farwatch.agent.orders import OrderDesk
from farwatch.agent.transport import Answer
from farwatch.clock import SystemClock
from farwatch.sdk.inbox import Inbox
from farwatch.wire.commands import Order
from farwatch.wire.ids import new_writer_id


class Server:
    """Offers what has not been delivered."""

    address = "http://model"

    def __init__(self, writer: str, count: int) -> None:
        self.pending = [
            {"id": f"command-{n}", "seq": n, "op": "call", "args": {"name": "f"}, "actor": "Ann", "channel": "api", "writer": writer,
             "expires_in_ms": 60_000, "run": "r"} for n in range(count)
        ]  # fmt: skip
        self.asked: list[dict[str, Any]] = []

    def request(self, method: str, path: str, body: dict[str, Any], **_: object) -> Answer:
        self.asked.append(json.loads(json.dumps(body)))
        done = {one["id"] for one in (*body["delivered"], *body["ended"])}
        self.pending = [one for one in self.pending if one["id"] not in done]
        return Answer(200, {}, json.dumps({"commands": self.pending}).encode())

    def close(self) -> None: ...


def desk_of(folder: Path, writer: str, server: Server, obey: Any = None) -> OrderDesk:
    journal = SimpleNamespace(path=folder, writer_id=writer, role="trainer")
    shipment = SimpleNamespace(writer_id=writer, ended=False, registered=True, folder=journal)
    return OrderDesk(lambda: server, SystemClock(), agent_id="a", shipments=lambda: (shipment,), obey=obey)  # type: ignore[arg-type,return-value]


def test_no_command_overtakes_one_that_found_the_inbox_full(tmp_path: Path) -> None:
    writer = new_writer_id()
    inbox = Inbox(tmp_path, writer)
    server = Server(writer, 100)
    taken: list[Order] = []
    desk = desk_of(tmp_path, writer, server)
    put = 0

    class Slow(SystemClock):
        def mono_us(self) -> int:
            nonlocal put
            put += 1
            if put % 19 == 0:  # in the middle of handing over, and now and then
                inbox.take(taken)
            return super().mono_us()

    desk._clock = Slow()
    deadline = time.monotonic() + 10
    while server.pending and time.monotonic() < deadline:
        desk.turn()
    inbox.take(taken)

    assert [one.seq for one in taken] == list(range(100))


def test_order_that_nobody_here_can_take_is_not_asked_for_in_a_hurry(tmp_path: Path) -> None:
    writer = new_writer_id()
    Inbox(tmp_path, writer)
    server = Server(new_writer_id(), 1)
    desk = desk_of(tmp_path, writer, server)

    waits = [desk.turn() for _ in range(5)]

    assert all(wait >= 0.05 for wait in waits) and waits[-1] > waits[0]
    assert server.pending != []


def test_run_whose_inbox_is_gone_takes_no_commands_any_more(tmp_path: Path) -> None:
    writer = new_writer_id()
    server = Server(writer, 1)
    desk = desk_of(tmp_path, writer, server)

    desk.turn()
    desk.turn()

    assert server.asked[1]["ended"] == [{"id": "command-0", "state": "refused", "reason": "the run takes no commands any more"}]


def test_kill_that_waits_for_its_process_holds_up_nobody_else(tmp_path: Path) -> None:
    writer = new_writer_id()
    inbox = Inbox(tmp_path, writer)
    server = Server(writer, 2)
    server.pending[0] |= {"op": "kill", "writer": None}
    gone, calls = threading.Event(), []

    def obey(order: dict[str, Any]) -> dict[str, Any]:
        calls.append(order["id"])
        gone.wait(10)
        return {"state": "applied", "reason": ""}

    desk = desk_of(tmp_path, writer, server, obey)
    began = time.monotonic()
    for _ in range(3):
        desk.turn()
    taken: list[Order] = []
    inbox.take(taken)
    meanwhile_s = time.monotonic() - began
    gone.set()
    while server.pending and time.monotonic() - began < 8:
        desk.turn()

    assert [one.id for one in taken] == ["command-1"] and meanwhile_s < 5
    assert calls == ["command-0"]
    assert [one for body in server.asked for one in body["ended"]] == [{"id": "command-0", "state": "applied", "reason": ""}]
