"""A lane: everything that goes to and comes from one server, on three threads, so that no server, no file and no wait holds up another."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from farwatch.agent.files import FileSender
from farwatch.agent.orders import Obey, OrderDesk
from farwatch.agent.shipper import Connect, Shipper
from farwatch.clock import Clock

LOG = logging.getLogger("farwatch.agent")
BEAT_S = 10.0
BUSY_US = 10_000_000  # after the last record, so long the journals are looked at as often as `poll_s` says
QUIET_FACTOR = 5  # then so much more rarely
FAILURE_S = 1.0


class Lane:
    """Ships to one server until it is closed.

    *Threads*: `start`, `close` and the properties may be used from another than its own.
    """

    def __init__(
        self,
        name: str,
        connect: Connect,
        clock: Clock,
        *,
        poll_s: float,
        agent_id: str,
        host: str,
        version: str,
        obey: Obey | None = None,
        profiles: Callable[[], dict[str, Any]] | None = None,
    ):
        self.name = name
        self.shipper = Shipper(connect, clock, agent_id=agent_id, host=host, version=version)
        self._files = FileSender(connect, clock)
        self._desk = OrderDesk(
            connect, clock, agent_id=agent_id, shipments=lambda: self.shipper.shipments, obey=obey, profiles=profiles
        )
        self._clock = clock
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._beat_now = threading.Event()
        self._threads = [
            threading.Thread(
                daemon=True,
                target=self._run,
                args=(self._ship, self._wake, self.shipper),
                name=f"ship {name}",
            ),
            threading.Thread(
                daemon=True,
                target=self._run,
                args=(self._send_files, self._stop, self._files),
                name=f"files {name}",
            ),
            threading.Thread(
                daemon=True,
                target=self._run,
                args=(self._desk.turn, self._stop, self._desk),
                name=f"orders {name}",
            ),
        ]
        self._sent_us = clock.mono_us()
        self._beat_us = 0

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def hurry(self) -> None:
        """Look now, and tell the server now: somebody was born or died."""
        self._beat_now.set()
        self._wake.set()

    def tell(self) -> None:
        """Tell the server at once what can be started here. Does not wait for it."""
        threading.Thread(target=self._desk.tell, name=f"profiles {self.name}", daemon=True).start()

    def close(self, timeout_s: float = 5.0) -> None:
        """End all threads and connections; may be called twice. A thread that hangs in a request is left to its end."""
        self._stop.set()
        self._wake.set()
        for thread in self._threads[:2]:  # the third waits for the server most of its life, and holds nothing that is not kept there
            if thread.is_alive():
                thread.join(timeout_s)
        if any(thread.is_alive() for thread in self._threads[:2]):
            LOG.info("lane %s is left in the middle of a request", self.name)

    @property
    def sent_us(self) -> int:
        """When something was last sent, on the monotonic clock."""
        return self._sent_us

    def _run(self, turn: Callable[[], float], event: threading.Event, owner: Shipper | FileSender | OrderDesk) -> None:
        while not self._stop.is_set():
            try:
                wait_s = turn()
            except Exception:  # the agent's loop: one defect must not end the watch over every run
                LOG.exception("lane %s", self.name)
                wait_s = FAILURE_S
            event.wait(wait_s)
            if event is not self._stop:
                event.clear()
        if isinstance(owner, Shipper):
            owner.finish()
        else:
            owner.close()

    def _ship(self) -> float:
        sent = self.shipper.turn()
        now_us = self._clock.mono_us()
        if sent:
            self._sent_us = now_us
        if self._beat_now.is_set() or self.shipper.owes or now_us - self._beat_us >= BEAT_S * 1e6:
            told = self._beat_now.is_set()
            self._beat_now.clear()
            if self.shipper.beat(BEAT_S):
                self._beat_us = now_us
            elif told:
                self._beat_now.set()
        if sent:
            return 0.0 if any(not s.caught_up for s in self.shipper.shipments) else self._poll_s
        busy = now_us - self._sent_us < BUSY_US
        return self._poll_s if busy else QUIET_FACTOR * self._poll_s

    def _send_files(self) -> float:
        return 0.0 if self._files.turn(self.shipper.shipments) else max(0.1, self._poll_s)
