"""Alerts on their way to people and back: told with a picture and buttons, answered, changed wherever they stand.

An alert that fires is one message per person and group. Whatever happens to it afterwards (it heals, somebody answers, a command is
applied) changes that message without a sound. It rings again, in a message of its own, when a program says it once more, when a snooze
is over, and when it has come back and ten minutes have passed since it rang. Many of one group and rule are one message. A button counts
as confirmed within 90 seconds of its alarm; later it asks once more.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from farwatch.bridges import alarm_text
from farwatch.bridges.alarm_text import Scene
from farwatch.bridges.asking import CONFIRM_S, Ask, Asker, key_of
from farwatch.bridges.audience import Audience, Telling, local_time
from farwatch.bridges.base import Attachment, Button, Incoming, Memory, Message, Outcome, plain
from farwatch.bridges.curves import DRAW_S, Curves
from farwatch.bridges.dispatch import Urgency
from farwatch.bridges.folding import Folding
from farwatch.bridges.switchboard import Switchboard
from farwatch.clock import Clock
from farwatch.errors import ConfirmError, FarwatchError, NotFoundError
from farwatch.service.alerts.register import FIRING, RESOLVED, SILENCED, AlertRow, Register, state_of
from farwatch.service.alerts.rules import HINT, PROGRAM
from farwatch.service.alerts.views import AlertViews, about
from farwatch.service.people import ChatRow, People, Person
from farwatch.service.runs import Runs

SNOOZE_S = 3_600.0
RING_AGAIN_S = 600.0  # an alert that heals and comes back rings no oftener
FRESH_MS = 3_600_000  # an alarm that nobody was told of, because the server ended, is told for so long
FOLLOW_S = 600.0
KEPT = 2_000  # alerts of which it is known how they are
PICTURES_KEPT = 100  # alerts whose pictures are at hand, some 50 kB each
ENDS = frozenset({"failed", "out_of_memory", "lost"})  # rules after which there is nothing left to stop
THIRD = 1 / 3
TELLS = frozenset({"fired", "again"})
CHANGES = frozenset({"resolved", "acknowledged", "snoozed", "changed"})

@dataclass(slots=True)
class _Told:
    """What is known of an alert that was told: how it is, its picture by language, and who did what; None before that was looked up.

    `fired_us`: when it last rang, monotonic. `busy`: whose answer is being done.
    """

    row: AlertRow | None = None
    pictures: dict[str, Attachment] = field(default_factory=dict)
    answers: tuple[dict[str, Any], ...] | None = None
    fired_us: int = 0
    busy: str = ""


Group = tuple[str, str, str]  # project, group or nothing, rule


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
        self._drawn: deque[int] = deque()  # alerts with pictures, the oldest first
        self._folding: Folding[Group, int] = Folding(self._fold_closed, self._fold_grown)
        self.ask_again: Callable[[Incoming, Person, ChatRow, Ask, str], None] = lambda incoming, person, chat, ask, said: None

    # --- from the register

    def changed(self, row: AlertRow, what: str) -> None:
        """An alert has changed; `what` is as in `Register`."""
        if what in TELLS or (what in CHANGES and row.fired_ms is not None):
            self._board.soon(partial(self._took, row, what))

    def begin(self) -> None:
        """After a start: alarms that nobody was told of, because the server ended before, are told; those that were do not ring again."""
        now_ms = self._clock.wall_us() // 1000
        for row in self._register.all_open():
            if row.state == FIRING and row.fired_ms is not None:
                self._of(row.no).row = row
                if state_of(row, now_ms) == SILENCED:
                    self._board.task(self._ring_later(row.no, self._until_s(row)))
                elif row.acknowledged_ms is None and now_ms - row.fired_ms < FRESH_MS:
                    self._board.task(self._ring_if_unheard(row))

    def _took(self, row: AlertRow, what: str) -> None:
        self._of(row.no).row = row  # in the order of the changes, whatever is being drawn meanwhile
        self._board.task(self._changed(row, what))

    async def _changed(self, row: AlertRow, what: str) -> None:
        if not self._people.chats():
            return
        told = self._of(row.no)
        silenced = state_of(row, self._clock.wall_us() // 1000) == SILENCED
        if silenced and what in (*TELLS, "snoozed"):
            self._board.task(self._ring_later(row.no, self._until_s(row)))
        if what == "fired" and not silenced:
            if self._alone(row):
                await self._ring(row)
            return
        if what == "again" and not silenced and row.acknowledged_ms is None:
            left_s = 0.0 if row.rule == PROGRAM else RING_AGAIN_S - (self._clock.mono_us() - told.fired_us) / 1e6
            if left_s <= 0 or not told.fired_us:
                await self._forget_answers(row)
                await self._ring(row, anew=True)
                return
            self._board.task(self._ring_later(row.no, left_s))
        self._show(row)
        if what == "resolved":
            self._tell_where_nothing_can_be_changed(row)

    async def _ring(self, row: AlertRow, *, anew: bool = False) -> None:
        """Tell people, with a sound if it still fires when its picture has been drawn."""
        told = self._of(row.no)
        told.fired_us = self._clock.mono_us()
        run = self._run(row)
        if run is not None:
            await self._draw(told, run, row)
        over = self._now(row).state == RESOLVED
        urgency = Urgency.EVENT if over or row.level == HINT else Urgency.ALARM
        project = None if run is None else run["project"]
        telling = Telling(
            urgency, about(row), partial(self._words, row), project, about(row), partial(self._line, row), anew=anew and not over
        )
        self._audience.tell(telling)

    def _words(self, row: AlertRow, chat: ChatRow) -> Message:
        """An alert as it is when a chat's turn comes: what is over by then makes no sound."""
        now = self._now(row)
        message = self.message(now, chat)
        return replace(message, silent=True) if now.state == RESOLVED else message

    def _show(self, row: AlertRow) -> None:
        """Change an alert wherever it stands or waits."""
        self._audience.change(about(row), about(row), partial(self.message, self._now(row)), over=self._now(row).state == RESOLVED)

    async def _ring_later(self, no: int, wait_s: float) -> None:
        """Ring again after a while, if it still fires and nobody has answered."""
        asked_us = self._clock.mono_us()
        await asyncio.sleep(max(0.0, wait_s) + 0.5)
        told = self._of(no)
        row = told.row if told.row is not None else await asyncio.to_thread(self._register.get, no)
        fires = state_of(row, self._clock.wall_us() // 1000) == FIRING and row.acknowledged_ms is None
        if fires and told.fired_us <= asked_us:
            await self._forget_answers(row)
            await self._ring(self._now(row), anew=True)

    async def _ring_if_unheard(self, row: AlertRow) -> None:
        done = await asyncio.to_thread(self._deliveries, row)
        stands = any(self._board.dispatcher.has(chat.no, about(row)) for chat in self._people.chats())
        if not (done or stands or self._of(row.no).fired_us) and self._alone(row):
            await self._ring(row)

    def _deliveries(self, row: AlertRow) -> bool:
        """Whether anybody was told of an alert, or may have been."""
        with self._runs.meta.read() as reads:
            rows = reads.people.deliveries_of([about(row)])
        return any(one.outcome in (Outcome.SENT, Outcome.UNCHANGED, Outcome.UNSURE) for one in rows)

    def _until_s(self, row: AlertRow) -> float:
        return ((row.snoozed_until_ms or 0) - self._clock.wall_us() // 1000) / 1000

    async def _draw(self, told: _Told, run: Mapping[str, Any], row: AlertRow) -> None:
        """The curve, in the language of each reader; in all, the words wait no longer than for one picture."""
        self._drawn.append(row.no)
        while len(self._drawn) > PICTURES_KEPT:
            self._of(self._drawn.popleft()).pictures.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAW_S):
                for lang in sorted({self._people.lang_of(chat) for chat in self._people.chats()}):
                    picture = await self._curves.of_alert(run, self._views.row(row), lang)
                    if picture is not None:
                        told.pictures[lang] = picture

    # --- many at once

    def _alone(self, row: AlertRow) -> bool:
        """Whether an alert is told by itself; else it is one of many, in one message."""
        run = None if row.run_no is None else self._runs.meta.run(row.run_no)
        if run is None:
            return True
        name = (run.project, run.group_name or "", row.rule)
        return self._folding.take(name, bool(run.group_name), row.no, asyncio.get_running_loop())

    def _fold_grown(self, name: Group, numbers: list[int]) -> None:
        self._tell_folded(name, list(numbers), growing=True)

    def _fold_closed(self, name: Group, numbers: list[int]) -> None:
        self._tell_folded(name, list(numbers), growing=False)

    def _tell_folded(self, name: Group, numbers: list[int], *, growing: bool) -> None:
        """Many alerts as one message, which grows where it can be changed and elsewhere is said when the window closes."""
        project, group, rule = name
        key = f"alerts/{numbers[0]}"
        rows = [row for row in (self._of(no).row for no in numbers) if row is not None]
        runs = [(row, run) for row in rows if (run := self._run(row)) is not None]

        def words(chat: ChatRow) -> Message | None:
            bridge = self._board.bridges.get(chat.channel)
            if growing and (bridge is None or not bridge.caps.edit):
                return None
            return alarm_text.folded(group or project, rule, runs, self._people.lang_of(chat), _detail(chat))

        def line(lang: str, detail: str) -> str:
            return alarm_text.folded_line(group or project, rule, runs, lang, detail)

        if not runs:
            return
        rings = any(row.level != HINT and row.state == FIRING for row in rows)
        self._audience.tell(Telling(Urgency.ALARM if rings else Urgency.EVENT, key, words, project, key, line))

    def _tell_where_nothing_can_be_changed(self, row: AlertRow) -> None:
        """An alarm that is over, in a line without a sound, where it was told and cannot be changed; not where each message is dear."""
        for chat in self._audience.reached(about(row)):
            bridge = self._board.bridges.get(chat.channel)
            if bridge is None or bridge.caps.edit or not bridge.caps.push_first or row.level == HINT:
                continue
            message = replace(self.message(self._now(row), chat), buttons=(), picture=None, silent=True)
            self._audience.say(chat, Telling(Urgency.EVENT, about(row), lambda chat, message=message: message))  # type: ignore[misc]

    def tell_others(self, person: Person, project: str, key: str, line: Callable[[str, str], str]) -> None:
        """Tell everybody but one person what that person did. `line`: language and detail -> words."""

        def words(chat: ChatRow) -> Message:
            return plain(line(self._people.lang_of(chat), _detail(chat)), silent=True)

        self._audience.tell(Telling(Urgency.EVENT, key, words, project, digest=line, without=person.no))

    # --- words

    def message(self, row: AlertRow, chat: ChatRow) -> Message:
        """An alert as a chat shows it now."""
        lang, detail = self._people.lang_of(chat), _detail(chat)
        scene = self._scene(row, chat)
        message = alarm_text.message(scene, lang, detail, picture=self._of(row.no).pictures.get(lang), silent=row.level == HINT)
        open_still = (row.state != RESOLVED or row.rule in ENDS) and not scene.answers
        return replace(message, buttons=self._buttons(row, scene, chat, lang) if open_still else ())

    def _line(self, row: AlertRow, lang: str, detail: str) -> str:
        return alarm_text.headline(self._scene(self._now(row), None), lang, detail)

    def _now(self, row: AlertRow) -> AlertRow:
        """An alert as it is by now."""
        return self._of(row.no).row or row

    def _answers(self, row: AlertRow) -> tuple[Mapping[str, Any], ...]:
        """Who did what about it, also before a restart and on the page."""
        told = self._of(row.no)
        if told.answers is None:
            told.answers = tuple(one for one in row.facts.get("answers") or () if isinstance(one, dict))
        if not told.answers and row.acknowledged_by is not None:
            return ({"by": row.acknowledged_by, "what": "seen", "at_ms": row.acknowledged_ms},)
        return told.answers

    def _scene(self, row: AlertRow, chat: ChatRow | None) -> Scene:
        run = self._run(row)
        person = None
        if chat is not None and chat.person_no is not None:
            with contextlib.suppress(NotFoundError):
                person = self._people.person(chat.person_no)
        values: dict[str, Any] = {}
        tail = ""
        if run is not None and row.run_no is not None:
            stored = self._runs.meta.run(row.run_no)
            values = self._runs.summary(stored) if stored is not None and run["points"] else {}
            if row.rule == "failed":
                tail = self._runs.meta.detail(row.run_no).traceback or ""
        url = None if run is None else self._link(run)
        return Scene(self._views.row(row), run, values, self._answers(row), tail, url, local_time(self._clock, person))

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
        made = [self._button(row, chat, one, lang, "" if _detail(chat) == "minimal" else knob or "lr") for one in words]
        return (tuple(made[:2]), tuple(made[2:]))

    def _button(self, row: AlertRow, chat: ChatRow, verb: str, lang: str, knob: str = "") -> Button:
        return Button(alarm_text.label(lang, verb, knob)[:40], f"a.{row.no}.{verb}.{self._sign(row.no, verb, chat.no)}")

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
        lang, detail = self._people.lang_of(chat), _detail(chat)
        first = next(iter(self._answers(row)), None)
        if (first is not None or told.busy) and verb in ("stop", "pause", "lr3", "checkpoint", "again"):
            # Two people at once: what the first one chose is done, not both.
            if first is None:
                return _zh(chat, self._people, f"{told.busy} has answered already", f"{told.busy} 已经处理")
            what = alarm_text.answer_text(first, lang, local_time(self._clock, person), detail)
            return _zh(chat, self._people, f"{first['by']} has answered already: {what}", f"{first['by']} 已经处理：{what}")
        if verb in ("keep", "seen"):
            await self._settle(row, person, "let_run" if verb == "keep" else "seen", {"acknowledge": True})
            return alarm_text.label(lang, verb)
        if verb == "snooze":
            until_ms = self._clock.wall_us() // 1000 + int(SNOOZE_S * 1000)
            await self._settle(row, person, f"snoozed:{until_ms}", {"snooze_s": SNOOZE_S})
            return alarm_text.label(lang, verb)
        ask = self._ask(row, verb, lang)
        if ask is None:
            return _zh(chat, self._people, "There is nothing to do that to any more.", "已经没有可以操作的对象。")
        fresh = self._clock.mono_us() - told.fired_us < CONFIRM_S * 1e6 and told.fired_us > 0
        if not fresh or ask.op == "restart":
            said = alarm_text.headline(self._scene(row, chat), lang, detail)
            self.ask_again(incoming, person, chat, ask, said)
            return _zh(chat, self._people, "Sure?", "确定吗？")
        told.busy = person.name
        try:
            return await self._do(incoming, person, chat, ask)
        finally:
            told.busy = ""

    async def _do(self, incoming: Incoming, person: Person, chat: ChatRow, ask: Ask) -> str:
        """Do what a button asks for."""
        try:
            command = await self._asker.put(person, incoming.channel, ask, key_of(incoming), confirmed=True)
        except ConfirmError as error:
            self.ask_again(incoming, person, chat, ask, str(error))
            return _zh(chat, self._people, "Sure?", "确定吗？")
        except FarwatchError as error:
            return str(error)[:190]
        await self.done(person, ask, command)
        return ask.text

    async def done(self, person: Person, ask: Ask, command: Mapping[str, Any]) -> None:
        """Note a command that somebody gave by an alarm's button, confirmed by the press or afterwards, and follow it."""
        if ask.alert is None:
            return
        with contextlib.suppress(NotFoundError):
            row = await asyncio.to_thread(self._register.get, ask.alert)
            self._board.task(self._follow(row, command))
            more = {"command": command["id"], "knob": ask.args.get("name")}
            await self._settle(row, person, ask.verb, {"acknowledge": True}, **more)

    async def _follow(self, row: AlertRow, command: Mapping[str, Any]) -> None:
        """Write what became of a command into every copy of its alarm."""
        ended = await self._asker.end_of(command, FOLLOW_S)
        told = self._of(row.no)
        end = {key: ended.get(key) for key in ("state", "step", "old", "new", "reason")}
        told.answers = tuple({**one, **end} if one.get("command") == command["id"] else one for one in told.answers or ())
        await self._keep_answers(row)

    def _ask(self, row: AlertRow, verb: str, lang: str) -> Ask | None:
        run = None if row.run_no is None else self._runs.meta.run(row.run_no)
        if run is None:
            return None
        knob = rate_knob(self._runs.meta.detail(run.no).steer)
        text = alarm_text.label(lang, verb, knob or "lr") if verb in alarm_text.LABELS else ""
        if verb in ("stop", "pause", "checkpoint"):
            return Ask(verb, run.id, text=text, alert=row.no, verb=verb)
        if verb == "lr3" and knob is not None:
            value = (self._runs.meta.detail(run.no).steer["knobs"][knob] or {}).get("value")
            if isinstance(value, int | float) and not isinstance(value, bool):
                return Ask("set", run.id, {"name": knob, "value": float(f"{value * THIRD:.6g}")}, text, row.no, verb)
        return Ask("restart", run.id, text=text, alert=row.no, verb=verb) if verb == "again" else None

    async def _settle(self, row: AlertRow, person: Person, what: str, asked: Mapping[str, Any], **more: Any) -> None:
        """Note what somebody has done about an alert, and what that means for it."""
        told = self._of(row.no)
        entry = {"by": person.name, "what": what, "at_ms": self._clock.wall_us() // 1000, **more}
        told.answers = (*(told.answers or ()), entry)[-4:]
        await self._keep_answers(row)
        with contextlib.suppress(FarwatchError):  # its run may be gone for good by now
            await asyncio.to_thread(self._register.answer, row.no, asked, person.name)

    async def _forget_answers(self, row: AlertRow) -> None:
        """It rings anew: what was answered before is no answer to that."""
        if self._answers(row):
            self._of(row.no).answers = ()
            await self._keep_answers(row)

    async def _keep_answers(self, row: AlertRow) -> None:
        """Write down who did what, for after a restart, and show it."""
        answers = list(self._of(row.no).answers or ())
        with contextlib.suppress(FarwatchError):
            if await asyncio.to_thread(self._register.update, row, answers=answers) is not None:
                return  # which is a change that is shown
        self._show(row)

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


def _detail(chat: ChatRow) -> str:
    return str(chat.settings.get("detail") or "full")


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
