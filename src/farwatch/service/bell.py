"""Waking those who wait for something by name. Only that it happened is told; what it is, they read themselves."""

import asyncio
import contextlib
import threading
from collections.abc import Iterable


class Bell:
    """Wakes waiting requests.

    *Threads*: `ring` by any; `wait` on the loop that `attach` named. *Cost*: ringing for nobody is one look at a dictionary.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._lock = threading.Lock()  # over `_waiting`; held for memory operations only
        self._closed = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop on which requests wait."""
        self._loop = loop

    def ring(self, key: str) -> None:
        """Wake everybody who waits for `key`."""
        loop = self._loop
        with self._lock:
            events = list(self._waiting.get(key, ()))
        if loop is None or not events:
            return
        for event in events:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everybody who waited
                loop.call_soon_threadsafe(event.set)

    def listen(self, keys: Iterable[str]) -> "Listening":
        """Hear what rings from now on; a context manager."""
        return Listening(self, tuple(keys))

    def close(self) -> None:
        """Wake everybody, and let nobody wait any more. Called on the loop."""
        self._closed = True
        with self._lock:
            events = [event for group in self._waiting.values() for event in group]
        for event in events:
            event.set()


class Listening:
    """One request that waits: look first, then `wait`, then look again."""

    def __init__(self, bell: Bell, keys: tuple[str, ...]) -> None:
        self._bell = bell
        self._keys = keys
        self._event = asyncio.Event()

    def __enter__(self) -> "Listening":
        with self._bell._lock:
            for key in self._keys:
                self._bell._waiting.setdefault(key, set()).add(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        with self._bell._lock:
            for key in self._keys:
                group = self._bell._waiting.get(key)
                if group is not None:
                    group.discard(self._event)
                    if not group:
                        del self._bell._waiting[key]

    async def wait(self, timeout_s: float) -> bool:
        """Wait until it rings, at most so long; whether it has. Afterwards it can ring again."""
        if self._bell._closed:
            return False
        try:
            await asyncio.wait_for(self._event.wait(), timeout_s)
        except TimeoutError:
            return False
        self._event.clear()
        return not self._bell._closed
