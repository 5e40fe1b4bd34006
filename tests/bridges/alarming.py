"""Alerts of a real register on their way to people by bridges that do as told, on a clock that jumps: no socket, no waiting."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farwatch.bridges.alarms import Alarms
from farwatch.bridges.asking import Asker
from farwatch.bridges.audience import Audience
from farwatch.bridges.base import Address, Attachment, Button, Incoming
from farwatch.bridges.dispatch import Dispatcher
from farwatch.service.alerts import Register, RuleBook
from farwatch.service.alerts.finding import Finding, Phase
from farwatch.service.alerts.views import AlertViews
from farwatch.service.people import People
from farwatch.settings import load
from farwatch.store.memory import MemoryStore
from farwatch.store.meta import AlertRow
from tests.bridges.virtual import Scripted
from tests.service.conftest import START_US, Inside, ManualClock, Process


class LoopClock(ManualClock):
    """Shows the loop's time; `jump` sets its wall clock alone."""

    @property
    def now_us(self) -> int:  # type: ignore[override]
        try:
            return START_US + int(asyncio.get_running_loop().time() * 1e6)
        except RuntimeError:
            return START_US

    @now_us.setter
    def now_us(self, value: int) -> None:
        """It moves by itself."""


class Board:
    """What alarms use of a switchboard."""

    def __init__(self, bridges: dict[str, Scripted], dispatcher: Dispatcher) -> None:
        self.bridges = bridges
        self.dispatcher = dispatcher
        self.tasks: set[Any] = set()

    def task(self, work: Any) -> Any:
        made = asyncio.get_running_loop().create_task(work)
        self.tasks.add(made)
        made.add_done_callback(self.tasks.discard)
        return made

    def soon(self, work: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_soon_threadsafe(work)


class Drawing:
    """Draws nothing, in its own time."""

    takes_s = 0.0

    async def of_alert(self, run: Any, alert: Any, lang: str) -> Attachment | None:
        await asyncio.sleep(self.takes_s)
        return None


class Commands:
    """Takes commands, and does them after a while."""

    def __init__(self) -> None:
        self.put_: list[Any] = []
        self.takes_s = 0.0
        self.done_s = 1.0
        self.end: dict[str, Any] = {"state": "applied", "step": 812, "old": 0.3, "new": 0.1, "reason": None}

    async def put(self, person: Any, channel: str, ask: Any, key: str, *, confirmed: bool) -> dict[str, Any]:
        await asyncio.sleep(self.takes_s)
        self.put_.append((person.name, ask.op, dict(ask.args)))
        return {"id": f"c{len(self.put_)}", "state": "pending"}

    async def end_of(self, command: Any, limit_s: float) -> dict[str, Any]:
        await asyncio.sleep(self.done_s)
        return {**command, **self.end}


class Kept:
    """A memory of nothing but the test."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}

    def load(self) -> dict[str, Any]:
        return self.value

    def save(self, value: Any) -> None:
        self.value = dict(value)


class Desk:
    """A register, people and alarms. Made in the loop; `restart` opens everything anew on the same folder."""

    def __init__(self, folder: Path) -> None:
        self.clock = LoopClock()
        self.store = MemoryStore()
        self.inside = Inside(folder, load({}), self.clock, lambda folder: self.store)
        self.bridges = {"tg": Scripted(), "wc": Scripted()}
        self.memory = Kept()
        self.drawing = Drawing()
        self.commands = Commands()
        self._open()

    def _open(self) -> None:
        inside = self.inside
        self.people = People(inside.meta, self.clock, owner="ann")
        self.register = Register(inside.meta, self.clock)
        self.book = RuleBook(inside.meta)
        self.board = Board(self.bridges, Dispatcher(self.bridges, inside.meta, self.clock))
        board: Any = self.board
        self.audience = Audience(self.people, board, self.clock)
        asker: Asker = self.commands  # type: ignore[assignment]
        curves: Any = self.drawing
        views = AlertViews(inside.runs, self.register.now_ms)
        self.alarms = Alarms(
            board, self.audience, self.people, inside.runs, self.register, views, asker, curves, self.clock, self.memory, lambda run: None
        )
        self.register.on_change = self.alarms.changed
        self.asked: list[tuple[str, Any, str]] = []
        self.alarms.ask_again = lambda incoming, person, chat, ask, said: self.asked.append((person.name, ask, said))

    async def restart(self) -> None:
        await self.board.dispatcher.close()
        for task in list(self.board.tasks):
            task.cancel()
        self.inside.meta.write(lambda writes: None)
        self.inside.close()
        self.inside.open()
        self._open()
        self.alarms.begin()

    def close(self) -> None:
        for task in list(self.board.tasks):
            task.cancel()
        self.inside.close()

    # --- what happens

    def person(self, name: str, *chats: tuple[str, str]) -> int:
        no = None
        for channel, address in chats:
            code, _ = self.people.offer(name, ["steer"], person_no=no)
            found = self.people.redeem(channel, address, name, code, address=address, group=False)
            assert found is not None
            no = found.no
        assert no is not None
        return no

    def run(self, **told: Any) -> Process:
        process = self.inside.started(**told)
        process.patch(steer={"knobs": {"lr": {"value": 0.3, "type": "float"}}, "hooks": ["stop", "checkpoint"]})
        process.log({"train/loss": 1.0})
        process.send()
        return process

    def fire(self, process: Process, rule: str = "nan", title: str = "train/loss is NaN") -> AlertRow:
        run = self.inside.meta.run_by_id(process.run)
        assert run is not None
        finding = Finding(rule, Phase.FIRING, title, "", "train/loss", 7.0, self.clock.wall_us())
        row = self.register.observe(run, finding, self.book.of(run.project, run.id)[rule])
        assert row is not None
        return row

    def heal(self, process: Process, rule: str = "nan") -> None:
        run = self.inside.meta.run_by_id(process.run)
        assert run is not None
        self.register.resolve(run.no, rule, "it is over", recovered=True)

    async def press(self, name: str, bridge: str, address: str, label: str) -> str | None:
        """Press a button of the newest message that has it, as this person does."""
        buttons: list[Button] = [
            one for message in self.bridges[bridge].messages for row in message.buttons for one in row if one.label == label
        ]
        chat = self.people.chat_at(bridge, address)
        person = self.people.who(bridge, address)
        assert chat is not None and person is not None and person.name == name
        split = [(one, one.data.split(".")) for one in buttons]
        mine = [one for one, (_, no, verb, signed) in split if signed == self.alarms._sign(int(no), verb, chat.no)]
        incoming = Incoming(bridge, Address(address), "1", f"{name}{len(self.commands.put_)}", address, name, 0, button=mine[-1].data)
        return await self.alarms.press(incoming, person, chat)

    def told(self, bridge: str = "tg") -> list[tuple[str, str, bool]]:
        """Every request: what, the first line, whether with a sound."""
        found = self.bridges[bridge]
        return [
            (what, text.partition("\n")[0], not message.silent)
            for (_, what, text, _), message in zip(found.log, found.messages, strict=True)
        ]
