"""The trainer's end of the inbox: one integer to compare, and now and then a command to take."""

import contextlib
import errno
import json
import mmap
import os
import zlib
from pathlib import Path

from farwatch.wire import inbox as wire
from farwatch.wire.commands import Order


class Inbox:
    """The inbox of one writer.

    *Threads*: `bell` may be read by any; `take` by one. *Cost*: reading `bell[0]` and comparing it, some 30 ns.

    `bell`: a view of one word, how many commands the agent has written. Raises `OSError` if the file cannot be made.
    """

    def __init__(self, folder: Path, writer_id: str) -> None:
        path = self._path = folder / wire.INBOX
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, flags, 0o600)
        try:
            if os.write(descriptor, bytes(wire.SIZE)) < wire.SIZE:  # really there: a full disk is an error now, and no SIGBUS later
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            mapping = mmap.mmap(descriptor, wire.SIZE)
        finally:
            os.close(descriptor)
        self._mapping = mapping
        self._words = memoryview(mapping).cast("Q")
        self._writer_id = writer_id
        self._taken = 0
        self.bell = self._words[wire.WRITTEN : wire.WRITTEN + 1]
        self._words[wire.MAGIC_WORD] = wire.MAGIC

    def close(self) -> None:
        """Take no more: the run has ended. The file goes; an agent that has it open loses nothing by it. May be called twice."""
        self._path.unlink(missing_ok=True)

    @property
    def taken(self) -> int:
        """How many commands have been taken; `bell[0]` differs if there are more."""
        return self._taken

    def take(self, orders: list[Order]) -> None:
        """Add everything that has come, oldest first. What does not fit its CRC is left until it does; what is no command is passed over.

        An exception that a signal throws in here loses none; the last may then come again.
        """
        while self._taken < self._words[wire.WRITTEN]:
            at = wire.word_at(self._taken)
            word = self._words[at]
            length, crc = word >> 32, word & 0xFFFFFFFF
            if length > wire.PAYLOAD_MAX:
                break
            payload = bytes(self._mapping[at * 8 + 8 : at * 8 + 8 + length])
            if zlib.crc32(payload, wire.seed(self._writer_id, self._taken)) != crc:
                break
            # What is none is of a later version; its sender is told by its expiry.
            with contextlib.suppress(ValueError, TypeError, KeyError):
                orders.append(Order.of(json.loads(payload)))
            self._taken += 1
            self._words[wire.TAKEN] = self._taken
