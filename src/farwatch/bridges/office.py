"""Everything about chats, wired: what a server opens and closes, and what its routes ask."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farwatch.bridges.alarms import Alarms
from farwatch.bridges.asking import Asker, Questions
from farwatch.bridges.audience import Audience
from farwatch.bridges.bars import Bars
from farwatch.bridges.base import Incoming, Receipt
from farwatch.bridges.channels import ChannelFile
from farwatch.bridges.curves import Curves
from farwatch.bridges.dispatch import Ticket
from farwatch.bridges.evening import Evening
from farwatch.bridges.logins import Logins
from farwatch.bridges.notify import Notify
from farwatch.bridges.outgoing import Outgoing
from farwatch.bridges.reporter import Contents, Reporter
from farwatch.bridges.selection import Selection
from farwatch.bridges.switchboard import Switchboard
from farwatch.bridges.talk import Talk
from farwatch.clock import Clock
from farwatch.service.alerts import Register, RuleBook
from farwatch.service.alerts.views import AlertViews
from farwatch.service.charts import Charts
from farwatch.service.launching import Launching
from farwatch.service.people import Meta, People
from farwatch.service.runs import RunRow, Runs
from farwatch.service.steer import Steer
from farwatch.settings import Settings, state_dir


@dataclass(frozen=True, slots=True)
class Parts:
    """What chats need of a server."""

    meta: Meta
    runs: Runs
    steer: Steer
    launching: Launching
    alerts: Register
    alert_views: AlertViews
    rules: RuleBook
    charts: Charts
    blobs: Contents
    people: People
    settings: Settings
    clock: Clock


class Office:
    """The chats of a server. *Threads*: `start`, `close` and the board's calls by any; see there.

    `on_told`: called by any thread with the number of an alert when it is known whom that has reached, or not.
    """

    def __init__(self, parts: Parts, data: Path, environ: Mapping[str, str]) -> None:
        file = ChannelFile(data, parts.clock)
        self._settings = parts.settings
        self._runs = parts.runs
        self._rules = parts.rules
        self._meta = parts.meta
        self._clock = parts.clock
        self.people = parts.people
        self.board = Switchboard(file, parts.people, parts.meta, parts.clock, environ)
        self.audience = Audience(parts.people, self.board, parts.clock, file.memory("held"))
        self.curves = Curves(parts.charts, parts.runs, parts.steer)
        asker = Asker(parts.steer, parts.launching)
        self.alarms = Alarms(
            self.board, self.audience, parts.people, parts.runs, parts.alerts, parts.alert_views, asker, self.curves, parts.clock,
            file.memory("buttons"), self.link,
        )  # fmt: skip
        self.reporter = Reporter(
            self.board, self.audience, parts.people, parts.runs, parts.blobs, parts.clock, self.link, self._rule_on
        )
        self.talk = Talk(parts, self.board, self.alarms, self.curves, asker, Questions(parts.clock), self.link)
        selection = Selection(parts.runs, parts.alerts)
        self.evening = Evening(self.board, self.audience, parts.people, selection, parts.clock)
        bars = Bars(self.board, parts.people, state_dir(parts.settings), parts.clock)
        self.audience.beside, self.audience.beside_chats = bars.tell, bars.chats
        self.reporter.beside = lambda: bars.wanted
        self.logins = Logins(self.board, parts.people, parts.clock)
        self.outgoing = Outgoing(data, parts.clock)
        self.notify = Notify(self.board, self.audience, parts.people, parts.meta, self.outgoing)
        self.on_told: Callable[[int], None] = lambda alert: None
        self.board.on_incoming = self._hear
        self.board.on_ready = self._ready
        self.board.on_close = self.logins.close
        self.board.dispatcher.on_receipt = self._receipt

    def start(self) -> None:
        """Open the channels."""
        self.board.start()

    def close(self) -> None:
        """Close them; may be called twice."""
        self.board.close()
        self.curves.close()

    def link(self, run: Mapping[str, Any]) -> str | None:
        """The address of a run's page, where the server has a public one: a loopback address is of no use on a phone."""
        return f"{self._settings.url.rstrip('/')}/r/{run['short']}" if self._settings.url else None

    def _rule_on(self, run: RunRow, name: str) -> bool:
        return self._rules.of(run.project, run.id)[name].on

    def _ready(self) -> None:
        self.board.task(self.reporter.work())
        self.board.task(self.evening.work())
        self.audience.begin()
        self.alarms.begin()
        now_ms = self._clock.wall_us() // 1000
        self._meta.enqueue(lambda writes: writes.people.forget_old(now_ms), durable=False)

    def _receipt(self, ticket: Ticket, receipt: Receipt) -> None:
        kind, _, no = ticket.notice.about.partition("/")
        if kind == "alert" and no.isdigit():
            # Called once the delivery is written: changes are written in the order in which they are given.
            done = self._meta.enqueue(lambda writes: None, durable=False)
            done.add_done_callback(lambda _: self.board.soon(lambda: self.board.task(asyncio.to_thread(self.on_told, int(no)))))

    async def _hear(self, incoming: Incoming) -> None:
        await self.talk.hear(incoming)
