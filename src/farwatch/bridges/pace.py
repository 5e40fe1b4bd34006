"""When the next request to a service may go, by the service's own limits."""

from collections import deque
from collections.abc import Iterable

from farwatch.bridges.base import Rate

SPARE = 0.3  # of each limit, kept from what can wait: a flood earned by edits would hold up an alarm


class Pace:
    """Sliding windows for one channel. Times are seconds of one clock. *Threads*: one."""

    def __init__(self, rates: Iterable[Rate]) -> None:
        self._rates = tuple(rates)
        self._sent: dict[tuple[Rate, str], deque[float]] = {}
        self._until: dict[str, float] = {}  # chat, or "" for the whole channel -> when the service answers again

    def wait_s(self, chat: str, now_s: float, *, group: bool = False, spare: bool = False) -> float:
        """Seconds until a request to a chat may go; 0 if now. `spare`: leave room for what is more urgent."""
        waits = [self._until.get(chat, 0.0) - now_s, self._until.get("", 0.0) - now_s]
        for rate in self._that_count(group):
            sent = self._window(rate, chat, now_s)
            most = max(1, rate.count - round(rate.count * SPARE)) if spare else rate.count
            if len(sent) >= most:
                waits.append(sent[-most] + rate.per_s - now_s)
        return max(0.0, *waits)

    def took(self, chat: str, now_s: float, *, group: bool = False) -> None:
        """Note a request that goes out now."""
        for rate in self._that_count(group):
            self._window(rate, chat, now_s).append(now_s)

    def hold(self, chat: str, until_s: float) -> None:
        """Note that the service asks for silence in a chat (`""`: on the whole channel) until then."""
        self._until[chat] = max(until_s, self._until.get(chat, 0.0))

    def _that_count(self, group: bool) -> list[Rate]:
        return [rate for rate in self._rates if group or rate.scope != "group"]

    def _window(self, rate: Rate, chat: str, now_s: float) -> deque[float]:
        sent = self._sent.setdefault((rate, "" if rate.scope == "channel" else chat), deque(maxlen=rate.count))
        while sent and sent[0] <= now_s - rate.per_s:
            sent.popleft()
        return sent
