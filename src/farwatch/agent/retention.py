"""What of the journals may go: only what a server has acknowledged, and only when it is old or the disk cap is reached.

Acknowledged journals stay for a while, so that a restored server can ask for them again. What was not sent stays for ever.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from farwatch.agent.folder import SPOOL, JournalFolder
from farwatch.agent.tracking import Tracked
from farwatch.wire.segment import HEADER_SIZE, SegmentHeader, segment_name


@dataclass(frozen=True, slots=True)
class _Entry:
    tracked: Tracked
    acknowledged_ms: int
    size: int


def trim(all_tracked: Iterable[Tracked], *, now_ms: int, keep_s: float, keep_bytes: int) -> list[Tracked]:
    """Delete what may go; returns the journals that are gone as a whole.

    Ended and complete journals go after `keep_s`, or oldest first while all of them take more than `keep_bytes`. Only if
    that is not enough, acknowledged segments and files of living journals go.
    """
    complete: list[_Entry] = []
    living: list[Tracked] = []
    total = 0
    for tracked in all_tracked:
        answer = tracked.folder.answer()
        size = tracked.folder.bytes_on_disk()
        if (
            tracked.ended
            and answer.get("complete")
            and (tracked.shipment is None or tracked.shipment.dormant)
        ):
            complete.append(_Entry(tracked, int(answer.get("contact_ms") or 0), size))
            total += size
        elif answer.get("expected"):
            living.append(tracked)
            total += size
    gone: list[Tracked] = []
    for entry in sorted(complete, key=lambda e: e.acknowledged_ms):
        if now_ms - entry.acknowledged_ms < keep_s * 1000 and total <= keep_bytes:
            continue
        entry.tracked.folder.remove()
        total -= entry.size
        gone.append(entry.tracked)
    for tracked in living:
        if total <= keep_bytes:
            break
        total -= _trim_living(tracked)
    return gone


def _trim_living(tracked: Tracked) -> int:
    """Delete acknowledged segments but the last, and files that arrived; returns the bytes that are free now."""
    folder = tracked.folder
    answer = folder.answer()
    expected = int(answer.get("expected") or 0)
    freed = 0
    if tracked.shipment is not None and tracked.shipment.writer_id == folder.writer_id:
        segments = folder.segments()
        for number, following in pairwise(segments):
            first = _first_record(folder, following)
            if first is None or first > expected:
                break
            freed += _unlink(str(folder.path / segment_name(number)))
    for name in folder.files_sent(str(answer.get("epoch"))):
        if not os.path.islink(folder.path / SPOOL):
            freed += _unlink(str(folder.path / SPOOL / name))
    return freed


def _first_record(folder: JournalFolder, number: int) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        descriptor = folder.open_segment(number)
        with os.fdopen(descriptor, "rb") as file:
            return SegmentHeader.decode(file.read(HEADER_SIZE)).first_record
    return None


def _unlink(path: str) -> int:
    with contextlib.suppress(OSError):
        size = os.lstat(path).st_size
        os.unlink(path)
        return size
    return 0
