"""The agent's end of a trainer's inbox."""

import contextlib
import json
import mmap
import os
import zlib
from pathlib import Path

from farwatch.errors import DataError
from farwatch.wire import inbox as wire
from farwatch.wire.commands import Order

PUT_KEPT = 4_096  # ids; what the ring has lost of them when an agent dies, the trainer still knows


class Outbox:
    """Writes commands into the inbox of one writer. *Threads*: one. May be opened again by a later agent.

    Raises `FileNotFoundError` if the writer has none, and `DataError` for a file that is no inbox.
    """

    def __init__(self, folder: Path, writer_id: str) -> None:
        descriptor = os.open(folder / wire.INBOX, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            status = os.fstat(descriptor)
            if status.st_size != wire.SIZE or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
                raise DataError(f"not an inbox of this user: {folder / wire.INBOX}")
            self._mapping = mmap.mmap(descriptor, wire.SIZE)
        finally:
            os.close(descriptor)
        self._words = memoryview(self._mapping).cast("Q")
        self._writer_id = writer_id
        if self._words[wire.MAGIC_WORD] != wire.MAGIC:
            self.close()
            raise DataError(f"not an inbox: {folder / wire.INBOX}")
        self._put = dict.fromkeys(self._in_ring())

    def put(self, order: Order) -> bool:
        """Write a command behind the others; False if the trainer has left no room. One that is there already is not written twice.

        Which are there is told by their ids, not by `seq`: a server that was restored from a backup counts from an older one.
        """
        words = self._words
        if order.id in self._put:
            return True
        number = words[wire.WRITTEN]
        if number - words[wire.TAKEN] >= wire.SLOTS:
            return False
        payload = json.dumps(order.body(), separators=(",", ":"), ensure_ascii=False).encode()
        if len(payload) > wire.PAYLOAD_MAX:
            raise DataError(f"a command of {len(payload)} bytes does not fit an inbox")
        at = wire.word_at(number)
        words[at] = 0
        self._mapping[at * 8 + 8 : at * 8 + 8 + len(payload)] = payload
        words[at] = len(payload) << 32 | zlib.crc32(payload, wire.seed(self._writer_id, number))
        words[wire.WRITTEN] = number + 1
        self._put[order.id] = None
        if len(self._put) > PUT_KEPT:
            del self._put[next(iter(self._put))]
        return True

    def _in_ring(self) -> list[str]:
        """Ids of the commands in the ring, which an agent before this one may have written."""
        found = []
        written = self._words[wire.WRITTEN]
        for number in range(max(0, written - wire.SLOTS), written):
            at = wire.word_at(number)
            length = min(self._words[at] >> 32, wire.PAYLOAD_MAX)
            with contextlib.suppress(ValueError, TypeError, KeyError):
                found.append(str(json.loads(self._mapping[at * 8 + 8 : at * 8 + 8 + length])["id"]))
        return found

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        self._words.release()
        self._mapping.close()
