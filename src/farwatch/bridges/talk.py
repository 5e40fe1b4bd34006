"""What people write, understood and answered: who they are, whether it is for us, which run they mean, what is done.

Deny by default: a stranger gets no answer, whatever they write, and nothing that is forwarded, edited or older than its command may be
does anything. Each message is done once, however often its service delivers it.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from farwatch.bridges import chat_settings, compose
from farwatch.bridges.alarms import Alarms
from farwatch.bridges.answers import Answers
from farwatch.bridges.asking import Ask, Asker, Question, Questions
from farwatch.bridges.audience import credits_left
from farwatch.bridges.base import Button, Incoming, Message, Part, plain
from farwatch.bridges.curves import Curves
from farwatch.bridges.doing import Doing, Turn
from farwatch.bridges.language import amounts, grammar
from farwatch.bridges.language.asked import Asked
from farwatch.bridges.language.misread import Misread
from farwatch.bridges.language.words import READS, Verb, help_text
from farwatch.bridges.phrases import told
from farwatch.bridges.selection import Selection
from farwatch.bridges.switchboard import Switchboard
from farwatch.errors import CommandError, FarwatchError
from farwatch.service.asking import nearest
from farwatch.service.people import ChatRow, Person
from farwatch.service.runs import RunRow
from farwatch.wire.commands import EXPIRES_S, Op

if TYPE_CHECKING:
    from farwatch.bridges.office import Parts

log = logging.getLogger("farwatch.bridges")

PER_MINUTE = 20
SEEN_MAX = 5_000
READ_AGE_S = 600.0  # a question that is older is not answered any more
SET_AGE_S = 600.0
OPS = {
    Verb.STOP: Op.STOP, Verb.PAUSE: Op.PAUSE, Verb.UNPAUSE: Op.UNPAUSE, Verb.CHECKPOINT: Op.CHECKPOINT, Verb.KILL: Op.KILL,
    Verb.SET: Op.SET, Verb.SCALE: Op.SET, Verb.CALL: Op.CALL, Verb.START: Op.START,
}  # fmt: skip
NAMED = frozenset({Verb.PARAMS, Verb.PLOT, Verb.LOG, Verb.GPU})  # names and values are all that their answers hold
OF_A_RUN = frozenset({*OPS, Verb.STATUS, Verb.PARAMS, Verb.PLOT, Verb.LOG, Verb.GPU}) - {Verb.START}


@dataclass(slots=True)
class _Context:
    """What one person was last asked or shown in a chat. `runs`: a numbered list; `waits`: what the choice is for."""

    runs: list[str] = field(default_factory=list)
    waits: Asked | None = None
    asked_us: deque[int] = field(default_factory=deque)
    warned: bool = False
    late_us: int | None = None  # when a question that had waited for too long was last said to be so


class Talk:
    """Answers people. *Threads*: the switchboard's loop; what reads the database is done beside it."""

    def __init__(
        self, parts: "Parts", board: Switchboard, alarms: Alarms, curves: Curves, asker: Asker, questions: Questions,
        link: Callable[[Mapping[str, Any]], str | None],
    ) -> None:  # fmt: skip
        self._parts = parts
        self._people = parts.people
        self._runs = parts.runs
        self._board = board
        self._alarms = alarms
        self._curves = curves
        self._questions = questions
        self._link = link
        self._doing = Doing(board, parts.people, parts.runs, asker, questions, parts.clock, alarms.tell_others, alarms.done)
        self._answers = Answers(parts.runs, parts.clock)
        self._selection = Selection(parts.runs, parts.alerts)
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._contexts: dict[tuple[int, int], _Context] = {}
        alarms.ask_again = self._doing.ask_again
        board.on_gone = self._forget

    # --- one message

    async def hear(self, incoming: Incoming) -> None:
        """Take a message or a press. Each is taken once."""
        key = (incoming.channel, incoming.key)
        if key in self._seen or not incoming.trusted:
            return
        self._seen[key] = None
        while len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        person = self._people.who(incoming.channel, incoming.user)
        if person is None:
            await self._stranger(incoming)
            return
        if incoming.group and not (incoming.mentioned or incoming.button or incoming.text.lstrip().startswith(("/", "!", "！"))):
            return
        chat = await asyncio.to_thread(self._chat, incoming, person)
        self._board.dispatcher.heard(chat)
        turn = Turn(incoming, person, chat, self._people.lang_of(chat))
        try:
            if incoming.button is not None:
                await self._pressed(turn)
            elif incoming.text.strip():
                await self._written(turn)
        except Exception:  # a full disk, a fault of ours: who has written must not take silence for done
            log.exception("what was written in a chat could not be handled")
            self._doing.reply(turn, plain(told(turn.lang, "fault")))

    def _forget(self, channel: str) -> None:
        """Another bot under this name numbers its updates anew."""
        for key in [key for key in self._seen if key[0] == channel]:
            del self._seen[key]

    async def _stranger(self, incoming: Incoming) -> None:
        """Pair somebody who has sent a code; note everybody else, in silence."""
        paired = await asyncio.to_thread(
            lambda: self._people.redeem(
                incoming.channel, incoming.user, incoming.user_name, incoming.text, address=str(incoming.address), group=incoming.group,
                title=incoming.title,
            )
        )  # fmt: skip
        if paired is None:
            return
        chat = self._people.chat_at(incoming.channel, str(incoming.address))
        if chat is None:
            return
        scopes = ", ".join(one for one in ("read", "steer", "start") if one in paired.scopes)
        self._doing.reply(Turn(incoming, paired, chat, paired.lang), plain(told(paired.lang, "paired", name=paired.name, scopes=scopes)))

    def _chat(self, incoming: Incoming, person: Person) -> ChatRow:
        """Where the answer goes; a group becomes known when somebody who is paired speaks to us there."""
        address = str(incoming.address)
        known = self._people.chat_at(incoming.channel, address)
        if known is not None:
            return known
        if not incoming.group:
            return self._people.add_chat(incoming.channel, address, person_no=person.no, title=incoming.user_name)
        made = self._people.add_chat(incoming.channel, address, title=incoming.title)
        return self._people.change_chat(made.no, chat_settings.GROUP_SETTINGS, person.name)

    def _context(self, turn: Turn) -> _Context:
        return self._contexts.setdefault((turn.person.no, turn.chat.no), _Context())

    def _too_many(self, turn: Turn) -> bool:
        context, now_us = self._context(turn), self._parts.clock.mono_us()
        while context.asked_us and context.asked_us[0] < now_us - 60_000_000:
            context.asked_us.popleft()
            context.warned = False
        if len(context.asked_us) >= PER_MINUTE:
            if not context.warned:
                context.warned = True
                self._doing.reply(turn, plain(told(turn.lang, "too_many", n=PER_MINUTE)))
            return True
        context.asked_us.append(now_us)
        return False

    async def _written(self, turn: Turn) -> None:
        reply_to = turn.incoming.reply_to
        quoted = None if reply_to is None else await asyncio.to_thread(self._selection.answered, turn.chat.no, reply_to)
        active = self._selection.active()
        steers = [self._runs.meta.detail(run.no).steer for run in ([quoted] if quoted is not None else active)]
        knobs = {name: str(about.get("type") or "str") for steer in steers for name, about in (steer.get("knobs") or {}).items()}
        commands = [name for steer in steers for name in steer.get("commands") or {}]
        names = [name for run in self._selection.known() for name in (run.short, run.name, run.id)]
        asked = grammar.read(
            turn.incoming.text, prefix="!", names=self._names(turn), group=turn.incoming.group and not turn.incoming.mentioned, knobs=knobs,
            commands=commands, runs=names, lang="zh" if turn.lang == "zh" else "en",
        )  # fmt: skip
        if asked is None or self._too_many(turn):
            return
        if isinstance(asked, Misread):
            self._doing.reply(turn, plain(asked.say("zh" if turn.lang == "zh" else "en") if "lang" in turn.chat.settings else asked.say()))
            return
        if "lang" not in turn.chat.settings and "lang" not in turn.person.settings:
            turn = replace(turn, lang=asked.lang)  # nobody has chosen: whoever asks in Chinese is answered so
        if self._too_old(turn, asked):
            return
        if quoted is not None and asked.run is None and asked.verb in OF_A_RUN:
            asked = replace(asked, run=quoted.id)
        await self._do(turn, asked)

    def _names(self, turn: Turn) -> list[str]:
        """What the bot is called where this was written."""
        bridge = self._board.bridges.get(turn.incoming.channel)
        name = None if bridge is None else bridge.condition().facts.get("username")
        return [str(name)] if name else []

    def _too_old(self, turn: Turn, asked: Asked) -> bool:
        """Whether a message has waited at its service for longer than it may; what would have been done is said not to be."""
        age_s = (self._parts.clock.wall_us() // 1000 - turn.incoming.sent_ms) / 1000
        limit_s = READ_AGE_S if asked.verb in READS else EXPIRES_S[OPS[asked.verb]] if asked.verb in OPS else SET_AGE_S
        if age_s <= limit_s:
            return False
        if asked.verb in READS:  # several of them after an outage are one answer; where a clock is wrong, it is no silence
            context, now_us = self._context(turn), self._parts.clock.mono_us()
            if context.late_us is not None and now_us - context.late_us < 60_000_000:
                return True
            context.late_us = now_us
        self._doing.reply(turn, plain(told(turn.lang, "too_old", span=compose.duration(age_s, turn.lang))))
        return True

    # --- runs

    def _select(self, turn: Turn, asked: Asked) -> RunRow | None:
        """The run that is meant; None after asking which, or saying that there is none."""
        if asked.run is not None:
            found = self._selection.find(asked.run)
            if not found:
                self._doing.reply(turn, plain(told(turn.lang, "no_such_run", run=asked.run[:60])))
        else:
            found = self._selection.candidates(asked, looks=asked.verb not in OPS)
            if not found:
                self._doing.reply(turn, plain(told(turn.lang, "no_active")))
        if len(found) == 1:
            return found[0]
        if found:
            self._ask_which(turn, asked, found)
        return None

    def _ask_which(self, turn: Turn, asked: Asked, found: list[RunRow]) -> None:
        """A numbered list; a number, a name or a button answers it."""
        context = self._context(turn)
        shown = found[-9:]
        context.runs, context.waits = [run.id for run in shown], asked
        lines = [f"{place}  {self._answers.line(run, turn.lang, turn.detail)}" for place, run in enumerate(shown, 1)]
        if len(found) > len(shown):
            lines.append(told(turn.lang, "more_runs", n=len(found) - len(shown)))
        named = ["" if turn.detail == "minimal" else f" {run.name}" for run in shown]
        buttons = tuple((Button(f"{place}{named[place - 1]}"[:40], f"n.{run.short}"),) for place, run in enumerate(shown, 1))
        self._doing.reply(turn, plain("\n".join([told(turn.lang, "which"), *lines]), buttons=buttons))

    # --- doing

    async def _do(self, turn: Turn, asked: Asked) -> None:
        try:
            if asked.verb is Verb.CHOOSE:
                await self._choose(turn, asked)
            elif asked.verb in (Verb.CONFIRM, Verb.CANCEL):
                await self._confirm(turn, asked)
            elif asked.verb in chat_settings.VERBS:
                await self._chat_setting(turn, asked)
            elif asked.verb is Verb.HELP:
                self._help(turn)
            elif asked.verb is Verb.RUNS:
                await self._list(turn)
            elif asked.verb is Verb.START:
                await self._start(turn, asked)
            else:
                run = self._select(turn, asked)
                if run is not None:
                    await self._of_run(turn, asked, run)
        except FarwatchError as error:
            self._doing.reply(turn, plain(str(error)[:600]))

    async def _of_run(self, turn: Turn, asked: Asked, run: RunRow) -> None:
        if turn.detail == "minimal" and asked.verb in NAMED:
            self._doing.reply(turn, plain(told(turn.lang, "minimal")), run)
            return
        match asked.verb:
            case Verb.STATUS:
                rows = [row.title for row in self._parts.alerts.open_of(run.no) if row.state == "firing"]
                url = self._link({"short": run.short})
                said = await asyncio.to_thread(self._answers.status, run, turn.lang, turn.detail, url, rows)
                self._doing.reply(turn, self._with_credits(turn, said), run)
            case Verb.PARAMS:
                self._doing.reply(turn, await asyncio.to_thread(self._answers.params, run, turn.lang, turn.detail, asked.name), run)
            case Verb.LOG:
                self._doing.reply(turn, await asyncio.to_thread(self._answers.log, run, turn.lang, turn.detail, asked.lines), run)
            case Verb.GPU:
                self._doing.reply(turn, await asyncio.to_thread(self._answers.gpu, run, turn.lang, turn.detail), run)
            case Verb.PLOT:
                await self._plot(turn, asked, run)
            case _:
                await self._doing.command(turn, self._ask(asked, run))

    def _with_credits(self, turn: Turn, message: Message) -> Message:
        """With how many messages are left after this one, where the service counts them."""
        channel = turn.incoming.channel
        left = credits_left(self._board.bridges.get(channel), turn.chat)
        if left is None:
            return message
        return replace(message, parts=(*message.parts, Part("\n" + told(turn.lang, "credits", channel=channel, left=max(0, left - 1)))))

    async def _plot(self, turn: Turn, asked: Asked, run: RunRow) -> None:
        names, missing = await asyncio.to_thread(self._answers.known_metrics, run, asked.metrics)
        row = self._runs.describe(run)
        if missing is not None or not names:
            self._doing.reply(turn, plain(_missing(turn, row, missing)), run)
            return
        bridge = self._board.bridges.get(turn.incoming.channel)
        picture = None
        if bridge is not None and bridge.caps.picture_max_bytes:
            picture = await self._curves.of_metrics(row, names, asked.seconds, turn.lang)
        words = compose.metrics_text(await asyncio.to_thread(self._runs.summary, run), names)
        if picture is None:
            words = await asyncio.to_thread(self._answers.sparks, run, names, turn.lang) or words
        head = compose.named(row, turn.detail, turn.lang)
        self._doing.reply(turn, Message((Part(head, "bold"), Part(f" {words}" if picture else f"\n{words}")), picture), run)

    def _ask(self, asked: Asked, run: RunRow) -> Ask:
        """The command that somebody wants of a run."""
        args: dict[str, Any] = {}
        steer = self._runs.meta.detail(run.no).steer
        if asked.verb is Verb.SET:
            args = {"name": asked.name, "value": asked.value}
        elif asked.verb is Verb.SCALE:
            about = (steer.get("knobs") or {}).get(asked.name) or {}
            value, factor = about.get("value"), asked.factor
            if isinstance(value, bool) or not isinstance(value, int | float) or factor is None:
                known = steer.get("knobs") or {}
                raise CommandError(f"no knob is called `{asked.name}`, or it is no number", hint=nearest(asked.name or "", known, "knobs"))
            args = {"name": asked.name, "value": amounts.times(value, factor)}
        elif asked.verb is Verb.CALL:
            declared = [one["name"] for one in ((steer.get("commands") or {}).get(asked.name) or {}).get("args", ())]
            args = {"name": asked.name, "args": {**dict(zip(declared, asked.values, strict=False)), **dict(asked.pairs)}}
        return Ask(str(OPS[asked.verb]), run.id, args, asked.text)

    async def _start(self, turn: Turn, asked: Asked) -> None:
        """Start a function that waits for it, or a profile of a machine."""
        given = dict(asked.pairs)
        listeners = [run for run in self._selection.listeners() if asked.name in (None, run.name) or asked.name == run.short]
        profiles = [
            (machine["agent"], profile) for machine in self._parts.launching.machines() if machine["present"]
            for profile in machine["profiles"] if asked.name in (None, profile["name"])
        ]  # fmt: skip
        if len(listeners) == 1 and (asked.name is not None or not profiles):
            await self._doing.command(turn, Ask("call", listeners[0].id, {"name": "start", "args": given}, asked.text))
            return
        if len(profiles) == 1 and not listeners:
            machine, profile = profiles[0]
            args = {"machine": machine, "profile": profile["name"], "parameters": given}
            await self._doing.command(turn, Ask("start", "", args, asked.text))
            return
        names = sorted({*(run.name for run in listeners), *(str(profile["name"]) for _, profile in profiles)})
        if not names and asked.name is not None:
            names = sorted({str(one["name"]) for machine in self._parts.launching.machines() for one in machine["profiles"]})
        if not names:
            self._parts.launching.wake()
        self._doing.reply(turn, plain(told(turn.lang, "which_start", names=", ".join(names)) if names else told(turn.lang, "no_start")))

    # --- questions

    async def _confirm(self, turn: Turn, asked: Asked) -> None:
        if asked.verb is Verb.CANCEL:
            dropped = self._questions.drop(turn.person.no, turn.chat.no)
            waits, self._context(turn).waits = self._context(turn).waits, None
            self._doing.reply(turn, plain(told(turn.lang, "cancelled" if dropped or waits else "nothing_open")))
            return
        question = self._questions.take(turn.person.no, turn.chat.no, asked.code)
        await self._go_on(turn, question)

    async def _go_on(self, turn: Turn, question: Question | None) -> None:
        if question is None:
            self._doing.reply(turn, plain(told(turn.lang, "nothing_open")))
            return
        await self._doing.command(turn, question.ask, confirmed=True, key=question.key)

    async def _choose(self, turn: Turn, asked: Asked) -> None:
        context = self._context(turn)
        waits, listed = context.waits, context.runs
        chosen: str | None = asked.run
        if asked.number is not None:
            chosen = listed[asked.number - 1] if 1 <= asked.number <= len(listed) else None
            if chosen is None:
                self._doing.reply(turn, plain(told(turn.lang, "no_list" if not listed else "not_in_list", n=len(listed))))
                return
        context.waits = None
        if waits is None:
            waits = Asked(Verb.STATUS, asked.lang, asked.text)
        await self._do(turn, replace(waits, run=chosen))

    # --- buttons

    async def _pressed(self, turn: Turn) -> None:
        bridge = self._board.bridges.get(turn.incoming.channel)
        data = turn.incoming.button or ""
        said = ""
        if not self._too_many(turn):
            if data.startswith("a."):
                said = await self._alarms.press(turn.incoming, turn.person, turn.chat) or told(turn.lang, "not_yours")
            elif data.startswith("q.") and len(parts := data.split(".")) == 3:
                said = await self._answered(turn, parts[1], parts[2] == "y")
            elif data.startswith("n."):
                self._board.task(self._choose(turn, Asked(Verb.CHOOSE, "zh" if turn.lang == "zh" else "en", run=data[2:])))
        if bridge is not None:
            await bridge.acknowledge(turn.incoming, said[:190])

    async def _answered(self, turn: Turn, number: str, yes: bool) -> str:
        question = self._questions.take(turn.person.no, turn.chat.no, number)
        if question is None:
            return told(turn.lang, "not_yours")
        if not yes:
            return told(turn.lang, "cancelled")
        self._board.task(self._guarded(turn, question))
        return told(turn.lang, "yes")

    async def _guarded(self, turn: Turn, question: Question) -> None:
        try:
            await self._go_on(turn, question)
        except FarwatchError as error:
            self._doing.reply(turn, plain(str(error)[:600]))

    # --- small answers

    async def _chat_setting(self, turn: Turn, asked: Asked) -> None:
        """Mute, watch, every, language: of this chat alone."""

        def find(ref: str) -> str | None:
            found = self._selection.find(ref)
            return found[-1].id if found else None

        changes, said = chat_settings.change(turn.chat, asked, turn.lang, self._parts.clock.wall_us() // 1000, find)
        if changes:
            await asyncio.to_thread(self._people.change_chat, turn.chat.no, changes, turn.person.name)
        self._doing.reply(turn, plain(said))

    async def _list(self, turn: Turn) -> None:
        shown = self._selection.listed()
        self._context(turn).runs = [run.id for run in shown]
        self._context(turn).waits = None
        self._doing.reply(turn, await asyncio.to_thread(self._answers.listed, shown, turn.lang, turn.detail))

    def _help(self, turn: Turn) -> None:
        shown = self._selection.active() if turn.detail == "full" else []
        steers = [self._runs.meta.detail(run.no).steer for run in shown]
        knobs = sorted({name for steer in steers for name in steer.get("knobs") or {}})
        commands = sorted({name for steer in steers for name in steer.get("commands") or {}})
        self._doing.reply(turn, plain(help_text("zh" if turn.lang == "zh" else "en", knobs=knobs, commands=commands)))


def _missing(turn: Turn, row: Mapping[str, Any], name: str | None) -> str:
    """That a run has no such metric, or none at all."""
    return told(turn.lang, "no_metric", run=compose.named(row, turn.detail, turn.lang), name=(name or "")[:80])
