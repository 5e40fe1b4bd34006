"""In the evening: asks for a word where a service would fall asleep before the morning, while a run goes on."""

import asyncio
import logging
from datetime import datetime, timedelta

from farwatch.bridges.audience import Audience, Telling, credits_left, local_time
from farwatch.bridges.base import plain
from farwatch.bridges.dispatch import Urgency
from farwatch.bridges.phrases import told
from farwatch.bridges.selection import Selection
from farwatch.bridges.switchboard import Switchboard
from farwatch.clock import Clock
from farwatch.service.people import ChatRow, People

log = logging.getLogger("farwatch.bridges")

LOOK_S = 60.0
ASK_HOUR, ASKED_UNTIL_HOUR = 21, 23
AWAKE_HOUR = 8


class Evening:
    """Looks once a minute. *Threads*: the switchboard's loop."""

    def __init__(self, board: Switchboard, audience: Audience, people: People, selection: Selection, clock: Clock) -> None:
        self._board = board
        self._audience = audience
        self._people = people
        self._selection = selection
        self._clock = clock
        self._asked: dict[int, str] = {}  # chat -> day on which it was asked

    async def work(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.look()
            except Exception:  # one person's oddity must not leave everybody asleep
                log.exception("looking who falls asleep failed")

    def look(self) -> None:
        """Ask in each chat that would be asleep at eight, once an evening."""
        if not any(not run.final for run in self._selection.active()):
            return
        for chat in self._people.chats():
            if chat.person_no is None:
                continue
            now = local_time(self._clock, self._people.person(chat.person_no))
            day = now.date().isoformat()
            if ASK_HOUR <= now.hour < ASKED_UNTIL_HOUR and self._asked.get(chat.no) != day and self._sleeps_before_morning(chat, now):
                self._asked[chat.no] = day
                line = plain(told(self._people.lang_of(chat), "evening"))
                self._audience.say(chat, Telling(Urgency.EVENT, "evening", lambda _, line=line: line, vital=True))  # type: ignore[misc]

    def _sleeps_before_morning(self, chat: ChatRow, now: datetime) -> bool:
        bridge = self._board.bridges.get(chat.channel)
        if bridge is None or bridge.caps.reply_window_s is None or not credits_left(bridge, chat):
            return False
        known = bridge.condition().facts.get("people", {}).get(chat.address, {})
        until_ms = known.get("safe_until_ms", known.get("until_ms", 0))
        morning = (now + timedelta(days=1)).replace(hour=AWAKE_HOUR, minute=0, second=0, microsecond=0)
        return bool(until_ms < morning.timestamp() * 1000)
