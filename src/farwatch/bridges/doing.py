"""Doing what somebody asked for in a chat: put as a command, confirmed where that is due, answered, followed to its end, told to others."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from farwatch.bridges import compose
from farwatch.bridges.asking import Ask, Asker, Questions, key_of
from farwatch.bridges.base import Button, Incoming, Message, plain
from farwatch.bridges.dispatch import Notice, Ticket, Urgency
from farwatch.bridges.phrases import told
from farwatch.bridges.selection import LISTENER
from farwatch.bridges.switchboard import Switchboard
from farwatch.clock import Clock
from farwatch.errors import ConfirmError
from farwatch.service.people import ChatRow, People, Person
from farwatch.service.runs import RunRow, Runs
from farwatch.wire.commands import EXPIRES_S, Op
from farwatch.wire.ids import is_run_id, run_name

ANSWER_S = 120.0  # how long an answer is worth sending
QUICK_S, QUICK_ONCE_S = 1.2, 6.0  # how long an answer waits for its command's end; longer where it cannot be changed
FOLLOW_S = 3_700.0
PATIENCE_S = 30.0

TellOthers = Callable[[Person, str, str, Callable[[str, str], str]], None]  # person, project, about, line(language, detail)
OnPut = Callable[[Person, Ask, Mapping[str, Any]], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of one person, with where the answer goes."""

    incoming: Incoming
    person: Person
    chat: ChatRow
    lang: str

    @property
    def detail(self) -> str:
        return str(self.chat.settings.get("detail") or "full")


class Doing:
    """Commands from chats. *Threads*: the switchboard's loop. `tell_others`: tells everybody but one person what that person did.

    `on_put`: told of each command that was given.
    """

    def __init__(
        self, board: Switchboard, people: People, runs: Runs, asker: Asker, questions: Questions, clock: Clock, tell_others: TellOthers,
        on_put: OnPut,
    ) -> None:  # fmt: skip
        self._board = board
        self._people = people
        self._runs = runs
        self._asker = asker
        self._questions = questions
        self._clock = clock
        self._tell = tell_others
        self._on_put = on_put

    async def command(self, turn: Turn, ask: Ask, *, confirmed: bool = False, key: str = "") -> None:
        """Put a command, say what became of it, and tell the others."""
        try:
            command = await self._asker.put(
                turn.person, turn.incoming.channel, ask, key or key_of(turn.incoming), confirmed=confirmed,
                expires_s=self._left_s(turn, ask),
            )  # fmt: skip
        except ConfirmError as error:
            self.ask_again(turn.incoming, turn.person, turn.chat, ask, error.message)
            return
        self._board.task(self._on_put(turn.person, ask, command))
        bridge = self._board.bridges.get(turn.incoming.channel)
        edits = bridge is not None and bridge.caps.edit
        command = await self._asker.end_of(command, QUICK_S if edits else QUICK_ONCE_S)
        key = f"command/{command['id']}"
        self.reply(turn, plain(self._outcome(turn, ask, command)), key=key)
        if command["state"] == "pending":
            self._board.task(self._follow(turn, ask, command, key, edits))
        else:
            self._tell_others(turn, ask, command)

    def _left_s(self, turn: Turn, ask: Ask) -> float | None:
        """How long a command may wait: it counts from when it was written."""
        if ask.op == "restart":
            return None
        age_s = max(0.0, (self._clock.wall_us() // 1000 - turn.incoming.sent_ms) / 1000)
        return max(5.0, EXPIRES_S[Op(ask.op)] - age_s)

    async def _follow(self, turn: Turn, ask: Ask, command: Mapping[str, Any], key: str, edits: bool) -> None:
        """Change the answer, or say more, once it is known what became of a command."""
        waiting = await self._asker.end_of(command, PATIENCE_S)
        if waiting["state"] == "pending" and edits:
            self.reply(turn, plain(self._outcome(turn, ask, waiting, late=True), silent=True), key=key)
        ended = await self._asker.end_of(waiting, FOLLOW_S)
        if ended["state"] == "pending":
            return
        bridge = self._board.bridges.get(turn.incoming.channel)
        if edits or (bridge is not None and bridge.caps.push_first):
            self.reply(turn, plain(self._outcome(turn, ask, ended)), key=key)
        self._tell_others(turn, ask, ended)

    def _outcome(self, turn: Turn, ask: Ask, command: Mapping[str, Any], *, late: bool = False) -> str:
        """A command and what became of it, in one line or two."""
        run = self._runs.meta.run_by_id(ask.run) if ask.run else None
        who = "" if run is None else compose.named({"name": run.name, "number": run.number}, turn.detail, turn.lang)
        what = words_of(ask, turn.lang) if turn.detail == "full" else told(turn.lang, f"op_{ask.op}")
        state = command["state"]
        if state == "pending":
            if not late:
                return told(turn.lang, "waiting", run=who, what=what)
            age_s = 0.0 if run is None else (self._clock.wall_us() // 1000 - self._runs.describe(run)["contact_ms"]) / 1000
            return told(turn.lang, "still_waiting", run=who, what=what, span=compose.duration(age_s, turn.lang))
        old, new, result = command.get("old"), command.get("new"), command.get("result")
        if state != "applied":
            why = "…" if turn.detail == "minimal" else command["reason"]
            return told(turn.lang, "not_done", run=who, what=what, state=told(turn.lang, f"state_{state}"), why=why)
        listened = turn.detail == "full" and run is not None and run.job_type == LISTENER
        if listened and isinstance(result, dict) and is_run_id(str(result.get("run"))):
            return told(turn.lang, "started", run=run_name(str(result["run"])), values=_result(result.get("parameters") or {}))
        step = "" if command["step"] is None else " · " + compose.say(turn.lang, "step", step=compose.number(command["step"]))
        change = f": {compose.number(old)} → {compose.number(new)}" if old is not None and new is not None else ""
        more = "" if result is None or turn.detail == "minimal" else f"\n{_result(result)}"
        return told(turn.lang, "done", run=who, what=what) + (change if turn.detail == "full" else "") + step + more

    def _tell_others(self, turn: Turn, ask: Ask, command: Mapping[str, Any]) -> None:
        """Whoever else may steer is told what somebody changed."""
        run = self._runs.meta.run_by_id(ask.run) if ask.run else None
        if command["state"] != "applied" or run is None or len(self._people.persons()) < 2:
            return
        line = partial(self._others_line, turn, ask, command)
        self._tell(turn.person, run.project, f"run/{run.no}", line)

    def _others_line(self, turn: Turn, ask: Ask, command: Mapping[str, Any], lang: str, detail: str) -> str:
        said = self._outcome(replace(turn, lang=lang, chat=replace(turn.chat, settings={"detail": detail})), ask, command)
        return said.partition("\n")[0] if detail == "minimal" else f"{turn.person.name}: {said}".partition("\n")[0]

    def ask_again(self, incoming: Incoming, person: Person, chat: ChatRow, ask: Ask, said: str) -> None:
        """Ask whether somebody means it; the answer counts for ninety seconds."""
        turn = Turn(incoming, person, chat, self._people.lang_of(chat))
        question = self._questions.put(person.no, chat.no, ask, said, key_of(incoming, "confirmed"))
        bridge = self._board.bridges.get(incoming.channel)
        yes, no = told(turn.lang, "yes"), told(turn.lang, "no")
        buttons = ((Button(yes, f"q.{question.number}.y"), Button(no, f"q.{question.number}.n")),)
        typed = ask.op in ("kill", "start") or (ask.op == "set" and ask.alert is None)  # what is set asks back at ten times the value
        usable = bridge is not None and bridge.caps.buttons and not typed
        text = f"{said}\n" + told(turn.lang, "confirm_press" if usable else "confirm", number=question.number)
        self.reply(turn, plain(text, buttons=buttons if usable else ()))

    def reply(self, turn: Turn, message: Message, run: RunRow | None = None, *, key: str | None = None) -> Ticket:
        """Answer where somebody wrote. In a group the answer quotes what it answers."""
        if turn.incoming.group:
            message = replace(message, reply_to=turn.incoming.message_id)
        about = f"run/{run.no}" if run is not None else key or "answer"
        return self._board.dispatcher.post(turn.chat, Notice(Urgency.EVENT, about, message, key=key, ahead=True, keep_s=ANSWER_S))


def words_of(ask: Ask, lang: str) -> str:
    """A command in words: `lr = 0.001`, `stop`, `evaluate`."""
    if ask.op == "set":
        return f"{ask.args['name']} = {compose.number(ask.args['value'])}"
    if ask.op == "call":
        return str(ask.args["name"])
    if ask.op == "start":
        return f"{told(lang, 'op_start')} {ask.args.get('profile')}"
    return told(lang, f"op_{ask.op}")


def _result(result: Any) -> str:
    if isinstance(result, dict):
        return ", ".join(f"{key}: {compose.number(value)}" for key, value in list(result.items())[:12])[:1_000]
    return str(result)[:1_000]
