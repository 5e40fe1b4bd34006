"""Commands on the agent's side: one long poll per server, from there into the inboxes of trainers.

A command is put into an inbox at most once (`Outbox`), and told as delivered afterwards; an agent that dies in between leaves that
to the next one. What the agent does itself (kill, start) is told with its outcome.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from farwatch.agent.backoff import DENIED_S, Backoff
from farwatch.agent.outbox import Outbox
from farwatch.agent.shipper import Connect, Shipment
from farwatch.agent.transport import Transport
from farwatch.clock import Clock
from farwatch.errors import DataError, DeniedError, FarwatchError
from farwatch.wire.commands import BY_AGENT, Op, Order

LOG = logging.getLogger("farwatch.agent")

WAIT_S = 25.0
SLACK_S = 10.0  # more than the server's wait, before a connection counts as dead
QUIET_S = 0.25  # how often to look whether there is anything to ask for
BUSY_S = 0.05  # until a full inbox is tried again; then doubled
BUSY_MAX_S = 0.4
OWN = ""  # stands for the agent itself where writers are named

Ended = dict[str, Any]
Obey = Callable[[dict[str, Any]], Ended | None]
"""Does what the agent itself is asked: gets the order as it came; returns `{"state", "reason", "result"}`, or None if it is another's."""


class OrderDesk:
    """Fetches the commands of one server and hands them out.

    *Threads*: one calls `turn`. *Errors*: none get out; a server that is away is asked again later.
    """

    def __init__(
        self,
        connect: Connect,
        clock: Clock,
        *,
        agent_id: str,
        shipments: Callable[[], tuple[Shipment, ...]],
        obey: Obey | None = None,
        profiles: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._agent_id = agent_id
        self._shipments = shipments
        self._obey = obey
        self._profiles = profiles
        self._transport: Transport | None = None
        self._outboxes: dict[str, Outbox] = {}
        self._delivered: list[dict[str, Any]] = []
        self._ended: list[dict[str, Any]] = []
        self._doing: set[str] = set()  # kills under way, and those whose end the server has not heard
        self._done: deque[dict[str, Any]] = deque()  # what has ended, from any thread
        self._full: set[str] = set()  # writers that cannot be given what has come for them
        self._busy_s = 0.0
        self.backoff = Backoff()

    def turn(self) -> float:
        """Ask once, and deliver what comes. Returns for how many seconds there is nothing to do."""
        profiles = self._profiles() if self._profiles is not None else {}
        if not (profiles or self._delivered or self._ended or self._done or self._doing or any(map(_takes_commands, self._shipments()))):
            return QUIET_S
        now_us = self._clock.mono_us()
        if not self.backoff.ready(now_us):
            return min(1.0, (self.backoff.until_us - now_us) / 1e6)
        while self._done:
            self._ended.append(self._done.popleft())
        delivered, ended = self._delivered, self._ended
        body: dict[str, Any] = {"wait_s": 0.0 if self._full else WAIT_S, "delivered": delivered, "ended": ended}
        if self._profiles is not None:
            body["profiles"] = profiles
        try:
            answer = self._ask(body)
        except FarwatchError as error:
            self._away(error)
            return QUIET_S
        self._delivered, self._ended = self._delivered[len(delivered) :], self._ended[len(ended) :]
        self._doing -= {str(one["id"]) for one in ended}
        orders = answer.get("commands")
        self._full.clear()
        for order in orders if isinstance(orders, list) else ():
            if isinstance(order, dict):
                self._take(order)
        self._forget_the_dead()
        # The server answers at once as long as it has something, so what cannot be handed over now is not asked for in a hurry.
        self._busy_s = min(BUSY_MAX_S, 2 * self._busy_s or BUSY_S) if self._full else 0.0
        return 0.0 if self._done else self._busy_s

    def tell(self) -> None:
        """Say at once what can be started here: the next question may be 25 s away. From any thread."""
        transport = self._connect() if self._profiles is not None else None
        if transport is None or self._profiles is None:
            return
        try:  # what it answers is fetched again by the question that is under way
            transport.request(
                "POST", f"/agents/{self._agent_id}/commands", {"profiles": self._profiles(), "wait_s": 0.0}, timeout_s=SLACK_S
            )
        except FarwatchError as error:
            LOG.info("the profiles are told with the next question: %s", error)
        finally:
            transport.close()

    def close(self) -> None:
        """Let go of connections and inboxes; may be called twice."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        while self._outboxes:
            self._outboxes.popitem()[1].close()

    def _take(self, told: dict[str, Any]) -> None:
        try:
            op = Op(told["op"])
            order = Order(
                str(told["id"]), int(told["seq"]), op, dict(told["args"]), str(told["actor"]), str(told["channel"]),
                self._clock.mono_us() + int(told["expires_in_ms"]) * 1000,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError):
            LOG.warning("a command that is none: id %.64s, op %.20s", told.get("id"), told.get("op"))
            return
        if op in BY_AGENT:
            self._do(told)
            return
        writer = str(told.get("writer"))
        if writer in self._full:
            return  # what came before it for the same run is still waiting, and is to be first
        try:
            outbox = self._outbox(writer)
            if outbox is not None and outbox.put(order):
                self._delivered.append({"id": order.id})
            else:
                # The trainer takes no more for now; or its journal is not here, or not any more. The server keeps the order.
                self._full.add(writer)
        except FileNotFoundError:
            self._ended.append({"id": order.id, "state": "refused", "reason": "the run takes no commands any more"})
        except (DataError, OSError) as error:
            LOG.warning("command %s was not delivered: %s", order.id, error)
            self._ended.append({"id": order.id, "state": "refused", "reason": f"not delivered: {error}"[:500]})

    def _do(self, told: dict[str, Any]) -> None:
        if self._obey is None:
            return
        if told["op"] != Op.KILL:
            self._obey_now(told, self._obey)
            return
        # A kill may wait for a process for its whole grace; commands of other runs are not to wait for that.
        self._full.add(OWN)
        command_id = str(told["id"])
        if command_id not in self._doing:
            self._doing.add(command_id)
            name = f"kill {command_id[:8]}"
            threading.Thread(target=self._obey_now, args=(told, self._obey), name=name, daemon=True).start()

    def _obey_now(self, told: dict[str, Any], obey: Obey) -> None:
        try:
            ended = obey(told)
        except Exception as error:  # the agent's loop: a start that fails must not end the delivery of commands
            LOG.exception("command %s", told.get("id"))
            ended = {"state": "refused", "reason": f"the agent failed: {error}"[:500]}
        if ended is not None:
            self._done.append({"id": told["id"], **ended})

    def _outbox(self, writer_id: str) -> Outbox | None:
        found = self._outboxes.get(writer_id)
        if found is None:
            shipment = next((one for one in self._shipments() if one.writer_id == writer_id), None)
            if shipment is None or shipment.ended:
                return None
            found = self._outboxes[writer_id] = Outbox(shipment.folder.path, shipment.folder.writer_id)
        return found

    def _forget_the_dead(self) -> None:
        living = {one.writer_id for one in self._shipments() if not one.ended}
        for writer_id in [one for one in self._outboxes if one not in living]:
            self._outboxes.pop(writer_id).close()

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        if self._transport is None:
            self._transport = self._connect()
            if self._transport is None:
                raise DataError("no server yet")
        path = f"/agents/{self._agent_id}/commands"
        answer = self._transport.request("POST", path, body, timeout_s=float(body["wait_s"]) + SLACK_S).json()
        self.backoff.succeeded()
        return answer

    def _away(self, error: FarwatchError) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        now_us = self._clock.mono_us()
        if isinstance(error, DeniedError):
            self.backoff.failed(now_us, error, at_most_s=DENIED_S)
        else:
            self.backoff.failed(now_us, error)


def _takes_commands(shipment: Shipment) -> bool:
    """Whether a journal's process lives and could be asked for something."""
    return shipment.registered and not shipment.ended and shipment.folder.role == "trainer"
