"""SIGTERM and SIGUSR1 as commands, where the program asked for it (rule 16).

A handler only notes that its signal came; a safe point acts. The one before it is called as well, and none of the program's own is ever
replaced. [H 26]
"""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

NAMES = ("SIGTERM", "SIGUSR1")


class Signals:
    """The signals of one run. *Threads*: made, `listen`, `take` and `leave` are for the main thread; elsewhere they do nothing.

    `ring`: called in the handler, when one has come.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._come: list[int] = []
        self._before: dict[int, Any] = {}  # handlers that stood there
        self._left = False
        self._pid = os.getpid()

    def __bool__(self) -> bool:
        """Whether one has come that nobody has taken."""
        return bool(self._come)

    def listen(self) -> None:
        """Take over where the default stands, or another run of this process."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in NAMES:
            number = getattr(signal, name, None)  # Windows has no SIGUSR1
            if number is None or number in self._before:
                continue
            before = signal.getsignal(number)
            if before is signal.SIG_DFL or isinstance(getattr(before, "__self__", None), Signals):
                self._before[number] = before
                signal.signal(number, self._on_signal)

    def take(self) -> list[str]:
        """The names of those that have come, in order."""
        come, self._come = self._come, []
        return [signal.Signals(number).name for number in come]

    def listen_again(self, name: str) -> None:
        """Wait for another one of this name, which asked for no end."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(getattr(signal, name), self._on_signal)

    def leave(self) -> None:
        """Give back what is still ours: nobody is left who would come to a safe point."""
        self._left = True
        if threading.current_thread() is not threading.main_thread():
            return
        for number in self._before:
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, self._living(number))

    def _living(self, number: int) -> Any:
        """The handler before this one, passing over runs that have ended."""
        before = self._before.get(number, signal.SIG_DFL)
        owner = getattr(before, "__self__", None)
        if isinstance(owner, Signals) and owner._left:
            return owner._living(number)
        return before

    def _on_signal(self, number: int, frame: Any) -> None:
        if os.getpid() != self._pid:  # a forked worker comes to no safe point, and is ended by its parent in this way
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._come.append(number)
        self._ring()
        before = self._living(number)
        if callable(before):
            before(number, frame)
        signal.signal(number, signal.SIG_DFL)  # the second one has the default action
