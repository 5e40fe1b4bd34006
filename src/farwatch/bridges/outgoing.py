"""Files on their way to chats: kept on disk while they are worth sending, and only we can read them.

They belong to no run and to no backup. What a message needs stays as long as its delivery may be tried; what nobody has used in ten
minutes is gone, and so is everything after a restart.
"""

import os
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farwatch.bridges.base import Attachment
from farwatch.bridges.dispatch import KEEP_TRYING_S
from farwatch.clock import Clock
from farwatch.errors import BusyError, LimitError, NotFoundError

FOLDER = "outgoing"
FILE_MAX_BYTES = 64 << 20
WHOLE_MAX_BYTES = 1 << 30
FILES_MAX = 5_000
UNUSED_S = 600.0
SENDING_S = KEEP_TRYING_S + 300.0
PIECE_BYTES = 1 << 20

Runner = Callable[..., Awaitable[Any]]


@dataclass(slots=True)
class _File:
    """`ends_us`: on the monotonic clock."""

    name: str
    media_type: str
    size: int
    ends_us: int


class Outgoing:
    """*Threads*: any; each call may wait for the disk."""

    def __init__(self, data: Path, clock: Clock) -> None:
        self._folder = data / FOLDER
        self._clock = clock
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()  # over `_files`
        shutil.rmtree(self._folder, ignore_errors=True)  # of a server before us: nobody knows what was to become of it

    def put(self, name: str, media_type: str, content: bytes) -> str:
        """Keep a file; returns the id by which it is sent. Raises `LimitError` for one too large, `BusyError` where too many wait."""
        key = self._begin(name, media_type)
        self._more(key, content)
        return key

    async def receive(self, name: str, media_type: str, pieces: AsyncIterator[bytes], run: Runner) -> str:
        """The same for a file that comes in pieces. `run`: makes a blocking call in a thread."""
        key = await run(self._begin, name, media_type)
        held = bytearray()
        try:
            async for piece in pieces:
                held += piece
                if len(held) >= PIECE_BYTES:
                    await run(self._more, key, bytes(held))
                    held.clear()
            await run(self._more, key, bytes(held))
        except BaseException:
            self._drop([key])
            raise
        return key

    def attachment(self, key: str, name: str | None = None, media_type: str | None = None, caption: str = "") -> Attachment:
        """A file for a message, kept as long as that may be tried. Raises `NotFoundError` for one that is not, or no longer, there."""
        self.sweep()
        with self._lock:
            found = self._files.get(key)
            if found is None:
                raise NotFoundError("this upload is not there", hint=f"uploads are kept for {UNUSED_S / 60:.0f} minutes; upload it again")
            found.ends_us = max(found.ends_us, self._clock.mono_us() + int(SENDING_S * 1e6))
        return Attachment(name or found.name, media_type or found.media_type, self._folder / key, caption)

    def sweep(self) -> None:
        """Delete what is too old."""
        now_us = self._clock.mono_us()
        with self._lock:
            gone = [key for key, one in self._files.items() if one.ends_us <= now_us]
        if gone:
            self._drop(gone)

    def _begin(self, name: str, media_type: str) -> str:
        self.sweep()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = secrets.token_urlsafe(16)
        with self._lock:
            if len(self._files) >= FILES_MAX:
                raise BusyError("too many files are on their way to chats", hint="wait until some have gone", retry_after_s=60)
            self._files[key] = _File(name, media_type, 0, self._clock.mono_us() + int(UNUSED_S * 1e6))
        os.close(os.open(self._folder / key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        return key

    def _more(self, key: str, content: bytes) -> None:
        with self._lock:
            whole = sum(one.size for one in self._files.values()) + len(content)
            mine = self._files[key].size + len(content)
            if mine <= FILE_MAX_BYTES and whole <= WHOLE_MAX_BYTES:
                self._files[key].size = mine
        if mine > FILE_MAX_BYTES:
            self._drop([key])
            raise LimitError(f"a file may have {FILE_MAX_BYTES} bytes")
        if whole > WHOLE_MAX_BYTES:
            self._drop([key])
            raise BusyError("too many files are on their way to chats", hint="wait until some have gone", retry_after_s=60)
        with open(self._folder / key, "ab") as file:
            file.write(content)

    def _drop(self, keys: list[str]) -> None:
        with self._lock:
            for key in keys:
                self._files.pop(key, None)
        for key in keys:
            (self._folder / key).unlink(missing_ok=True)
