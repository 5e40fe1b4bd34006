"""Alerts on their way to people and back: told with a picture and buttons, answered, changed wherever they stand.

An alert that fires is one message per person and group. Whatever happens to it afterwards (it heals, somebody answers, a command is
applied) changes that message without a sound. A button counts as confirmed within 90 seconds of its alarm; later it asks once more.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from farwatch.bridges import alarm_text, compose
from farwatch.bridges.alarm_text import Scene
from farwatch.bridges.asking import CONFIRM_S, Ask, Asker, key_of
from farwatch.bridges.audience import Audience, Telling, local_time
from farwatch.bridges.base import Attachment, Button, Incoming, Memory, Message, plain
from farwatch.bridges.curves import Curves
from farwatch.bridges.dispatch import Urgency
from farwatch.bridges.switchboard import Switchboard
from farwatch.clock import Clock
from farwatch.errors import ConfirmError, FarwatchError, NotFoundError
from farwatch.service.alerts.register import RESOLVED, AlertRow, Register, state_of
from farwatch.service.alerts.rules import HINT
from farwatch.service.alerts.views import AlertViews, about
from farwatch.service.people import ChatRow, People, Person
from farwatch.service.runs import Runs

SNOOZE_S = 3_600.0
FOLLOW_S = 600.0
KEPT = 500
ENDS = frozenset({"failed", "out_of_memory", "lost"})  # rules after which there is nothing left to stop
THIRD = 1 / 3
TELLS = frozenset({"fired", "again"})
CHANGES = frozenset({"resolved", "acknowledged", "snoozed", "changed"})

LABELS: dict[str, tuple[str, str]] = {
    "stop": ("■ Stop", "■ 停止"), "pause": ("❚❚ Pause", "❚❚ 暂停"), "lr3": ("{knob} ÷ 3", "{knob} ÷ 3"), "keep": ("Let it run", "继续运行"),
    "snooze": ("Snooze 1 h", "静音 1 小时"), "checkpoint": ("⤓ Checkpoint", "⤓ 存检查点"), "again": ("↻ Start again", "↻ 重新开始"),
    "seen": ("Seen", "知道了"),
}  # fmt: skip


@dataclass(slots=True)
class _Told:
    """What is known of an alert that was told: its picture by language, and who did what. `fired_us`: last told, monotonic."""

    pictures: dict[str, Attachment] = field(default_factory=dict)
    answers: tuple[dict[str, Any], ...] = ()
    fired_us: int = 0


class Alarms:
    """Tells alerts and takes answers.

    *Threads*: `changed` by any, it only leaves word; the rest in the switchboard's loop. `ask_again(incoming, person, chat, ask, said)`:
    puts a question that must be answered before something is done.
    """

    def __init__(
        self, board: Switchboard, audience: Audience, people: People, runs: Runs, register: Register, views: AlertViews, asker: Asker,
        curves: Curves, clock: Clock, memory: Memory, link: Callable[[Mapping[str, Any]], str | None],
    ) -> None:  # fmt: skip
        self._board = board
        self._audience = audience
        self._people = people
        self._runs = runs
        self._register = register
        self._views = views
        self._asker = asker
        self._curves = curves
        self._clock = clock
        self._link = link
        self._key = _signing_key(memory)
        self._told: OrderedDict[int, _Told] = OrderedDict()
        self.ask_again: Callable[[Incoming, Person, ChatRow, Ask, str], None] = lambda incoming, person, chat, ask, said: None

    # --- from the register

    def changed(self, row: AlertRow, what: str) -> None:
        """An alert has changed; `what` is as in `Register`."""
        if what in TELLS or (what in CHANGES and row.fired_ms is not None):
            self._board.soon(lambda: self._board.task(self._changed(row, what)))

    async def _changed(self, row: AlertRow, what: str) -> None:
        if not self._people.chats():
            return
        told = self._of(row.no)
        silenced = state_of(row, self._clock.wall_us() // 1000) == "silenced"
        if what in TELLS and not silenced:
            told.fired_us = self._clock.mono_us()
            run = self._run(row)
            if run is not None:
                await self._draw(told, run, row)
            urgency = Urgency.EVENT if row.level == HINT else Urgency.ALARM
            project = None if run is None else run["project"]
            words = partial(self.message, row)
            telling = Telling(urgency, about(row), words, project, about(row), partial(self._line, row))
            self._audience.tell(telling)
        else:
            self._audience.change(about(row), about(row), lambda chat: self.message(row, chat))
            if what == "resolved":
                self._tell_where_nothing_can_be_changed(row)

    async def _draw(self, told: _Told, run: Mapping[str, Any], row: AlertRow) -> None:
        """The curve, in the language of each reader."""
        for lang in sorted({self._people.lang_of(chat) for chat in self._people.chats()}):
            picture = await self._curves.of_alert(run, self._views.row(row), lang)
            if picture is not None:
                told.pictures[lang] = picture

    def _tell_where_nothing_can_be_changed(self, row: AlertRow) -> None:
        """An alarm that is over, in a line without a sound, where it was told and cannot be changed; not where each message is dear."""
        for chat in self._audience.reached(about(row)):
            bridge = self._board.bridges.get(chat.channel)
            if bridge is None or bridge.caps.edit or not bridge.caps.push_first or row.level == HINT:
                continue
            message = replace(self.message(row, chat), buttons=(), picture=None, silent=True)
            self._audience.say(chat, Telling(Urgency.EVENT, about(row), lambda chat, message=message: message))  # type: ignore[misc]

    def tell_others(self, person: Person, project: str, key: str, line: Callable[[str, str], str]) -> None:
        """Tell everybody but one person what that person did. `line`: language and detail -> words."""

        def words(chat: ChatRow) -> Message:
            return plain(line(self._people.lang_of(chat), str(chat.settings.get("detail") or "full")), silent=True)

        self._audience.tell(Telling(Urgency.EVENT, key, words, project, digest=lambda lang: line(lang, "full"), without=person.no))

    # --- words

    def message(self, row: AlertRow, chat: ChatRow) -> Message:
        """An alert as a chat shows it now."""
        lang, detail = self._people.lang_of(chat), str(chat.settings.get("detail") or "full")
        scene = self._scene(row, chat)
        told = self._of(row.no)
        message = alarm_text.message(scene, lang, detail, picture=told.pictures.get(lang), silent=row.level == HINT)
        open_still = row.state != RESOLVED and row.acknowledged_ms is None and not told.answers
        buttons = self._buttons(row, scene, chat, lang) if open_still or (row.rule in ENDS and not told.answers) else ()
        return replace(message, buttons=buttons)

    def _line(self, row: AlertRow, lang: str) -> str:
        chat = next(iter(self._people.chats()))
        return alarm_text.headline(self._scene(row, chat), lang, "full")

    def _scene(self, row: AlertRow, chat: ChatRow) -> Scene:
        run = self._run(row)
        person = None
        if chat.person_no is not None:
            try:
                person = self._people.person(chat.person_no)
            except NotFoundError:
                person = None
        values: dict[str, Any] = {}
        tail = ""
        if run is not None and row.run_no is not None:
            stored = self._runs.meta.run(row.run_no)
            values = self._runs.summary(stored) if stored is not None and run["points"] else {}
            if row.rule == "failed":
                tail = self._runs.meta.detail(row.run_no).traceback or ""
        known = self._of(row.no)
        url = None if run is None else self._link(run)
        return Scene(self._views.row(row), run, values, known.answers, tail, url, local_time(self._clock, person))

    def _run(self, row: AlertRow) -> dict[str, Any] | None:
        stored = None if row.run_no is None else self._runs.meta.run(row.run_no)
        return None if stored is None or stored.purged else self._runs.describe(stored)

    def _buttons(self, row: AlertRow, scene: Scene, chat: ChatRow, lang: str) -> tuple[tuple[Button, ...], ...]:
        """The four likely answers."""
        run = scene.run
        if run is None:
            return ((self._button(row, chat, "seen", lang), self._button(row, chat, "snooze", lang)),)
        assert row.run_no is not None
        detail = self._runs.meta.detail(row.run_no)
        if row.rule in ENDS:
            again = self._runs.detail(run["id"], summary=False)["restartable"] and row.rule != "lost"
            return ((*((self._button(row, chat, "again", lang),) if again else ()), self._button(row, chat, "seen", lang)),)
        knob = rate_knob(detail.steer)
        second = "lr3" if knob is not None and row.rule in ("nan", "spike", "plateau", "program") else "checkpoint"
        if second == "checkpoint" and "checkpoint" not in (detail.steer.get("hooks") or []):
            second = "pause"
        words = ["stop", second, "keep", "snooze"]
        made = [self._button(row, chat, one, lang, knob or "lr") for one in words]
        return (tuple(made[:2]), tuple(made[2:]))

    def _button(self, row: AlertRow, chat: ChatRow, verb: str, lang: str, knob: str = "") -> Button:
        label = LABELS[verb][1 if lang == "zh" else 0].format(knob=knob)
        return Button(label[:40], f"a.{row.no}.{verb}.{self._sign(row.no, verb, chat.no)}")

    def _sign(self, no: int, verb: str, chat_no: int) -> str:
        digest = hmac.new(self._key, f"{no}.{verb}.{chat_no}".encode(), hashlib.sha256).digest()
        return base64.b32encode(digest)[:16].decode().lower()

    # --- answers

    async def press(self, incoming: Incoming, person: Person, chat: ChatRow) -> str | None:
        """Take a press of one of our buttons; returns what to show the person, None if the button is not ours."""
        parts = (incoming.button or "").split(".")
        if len(parts) != 4 or parts[0] != "a" or not parts[1].isdigit() or len(parts[1]) > 15:
            return None
        no, verb = int(parts[1]), parts[2]
        if not hmac.compare_digest(parts[3], self._sign(no, verb, chat.no)):
            return None
        try:
            row = self._register.get(no)
        except NotFoundError:
            return _zh(chat, self._people, "That alert is gone.", "这个提醒已不存在。")
        if "steer" not in person.scopes:
            return _zh(chat, self._people, "You may look, not steer.", "你只能查看，不能操作。")
        return await self._answer(incoming, person, chat, row, verb)

    async def _answer(self, incoming: Incoming, person: Person, chat: ChatRow, row: AlertRow, verb: str) -> str:
        told = self._of(row.no)
        lang = self._people.lang_of(chat)
        if told.answers and verb in ("stop", "pause", "lr3", "checkpoint", "again"):
            first = told.answers[0]
            who, what = first["by"], first["what"]
            return _zh(chat, self._people, f"{who} has answered already: {what}", f"{who} 已经处理：{what}")
        if verb in ("keep", "seen"):
            self._note(row.no, person, "let_run" if verb == "keep" else LABELS["seen"][0].lower())
            await asyncio.to_thread(self._register.answer, row.no, {"acknowledge": True}, person.name)
            return LABELS[verb][1 if lang == "zh" else 0]
        if verb == "snooze":
            until_ms = self._clock.wall_us() // 1000 + int(SNOOZE_S * 1000)
            self._note(row.no, person, f"snoozed:{until_ms}")
            await asyncio.to_thread(self._register.answer, row.no, {"snooze_s": SNOOZE_S}, person.name)
            return LABELS[verb][1 if lang == "zh" else 0]
        ask = self._ask(row, verb, lang)
        if ask is None:
            return _zh(chat, self._people, "There is nothing to do that to any more.", "已经没有可以操作的对象。")
        fresh = self._clock.mono_us() - told.fired_us < CONFIRM_S * 1e6 and told.fired_us > 0
        if not fresh or ask.op == "restart":
            said = alarm_text.headline(self._scene(row, chat), lang, str(chat.settings.get("detail") or "full"))
            self.ask_again(incoming, person, chat, ask, said)
            return _zh(chat, self._people, "Sure?", "确定吗？")
        return await self.do(incoming, person, chat, ask, row)

    async def do(self, incoming: Incoming, person: Person, chat: ChatRow, ask: Ask, row: AlertRow) -> str:
        """Do what a button asks for, note it on the alert, and follow it."""
        try:
            command = await self._asker.put(person, incoming.channel, ask, key_of(incoming), confirmed=True)
        except ConfirmError as error:
            self.ask_again(incoming, person, chat, ask, str(error))
            return _zh(chat, self._people, "Sure?", "确定吗？")
        except FarwatchError as error:
            return str(error)[:190]
        self._note(row.no, person, ask.text)
        await asyncio.to_thread(self._register.answer, row.no, {"acknowledge": True}, person.name)
        self._board.task(self._follow(row.no, command, ask.text))
        return ask.text

    async def _follow(self, no: int, command: Mapping[str, Any], text: str) -> None:
        """Write what became of a command into every copy of its alarm."""
        ended = await self._asker.end_of(command, FOLLOW_S)
        told = self._of(no)
        what = f"{text} · {outcome(ended)}"
        told.answers = tuple({**one, "what": what} if one["what"] == text else one for one in told.answers)
        row = await asyncio.to_thread(self._register.get, no)
        self._audience.change(about(row), about(row), lambda chat: self.message(row, chat))

    def _ask(self, row: AlertRow, verb: str, lang: str) -> Ask | None:
        run = None if row.run_no is None else self._runs.meta.run(row.run_no)
        if run is None:
            return None
        knob = rate_knob(self._runs.meta.detail(run.no).steer)
        text = LABELS[verb][1 if lang == "zh" else 0].format(knob=knob or "lr") if verb in LABELS else ""
        if verb in ("stop", "pause", "checkpoint"):
            return Ask(verb, run.id, text=text)
        if verb == "lr3" and knob is not None:
            value = (self._runs.meta.detail(run.no).steer["knobs"][knob] or {}).get("value")
            if isinstance(value, int | float) and not isinstance(value, bool):
                return Ask("set", run.id, {"name": knob, "value": float(f"{value * THIRD:.6g}")}, text)
        return Ask("restart", run.id, text=text) if verb == "again" else None

    def _note(self, no: int, person: Person, what: str) -> None:
        told = self._of(no)
        told.answers = (*told.answers, {"by": person.name, "what": what, "at_ms": self._clock.wall_us() // 1000})[-4:]

    def _of(self, no: int) -> _Told:
        told = self._told.get(no)
        if told is None:
            told = self._told[no] = _Told()
            while len(self._told) > KEPT:
                self._told.popitem(last=False)
        return told


def rate_knob(steer: Mapping[str, Any]) -> str | None:
    """The knob that is the learning rate, by its name; None if the program declares none."""
    knobs = steer.get("knobs") or {}
    named = [name for name in knobs if name.lower() in ("lr", "learning_rate", "learning-rate")]
    return named[0] if named else next((name for name in knobs if name.lower().endswith(("/lr", "_lr", "learning_rate"))), None)


def outcome(command: Mapping[str, Any]) -> str:
    """What became of a command, in a few words."""
    if command["state"] == "applied":
        step = "" if command["step"] is None else f" at step {compose.number(command['step'])}"
        old, new = command.get("old"), command.get("new")
        change = f": {compose.number(old)} → {compose.number(new)}" if old is not None and new is not None else ""
        return f"applied{step}{change}"
    reason = f": {command['reason']}" if command["reason"] else ""
    return f"{command['state']}{reason}"[:200]


def _zh(chat: ChatRow, people: People, english: str, chinese: str) -> str:
    return chinese if people.lang_of(chat) == "zh" else english


def _signing_key(memory: Memory) -> bytes:
    """The key that signs buttons, made once: buttons of before a restart still count."""
    told = memory.load().get("key")
    if isinstance(told, str) and len(told) == 64:
        return bytes.fromhex(told)
    key = secrets.token_bytes(32)
    memory.save({"key": key.hex()})
    return key
