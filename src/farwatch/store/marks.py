"""The one rule about which batches continue a writer, shared by all stores."""

from farwatch.errors import FarwatchError, ForkError, GapError, UsageError
from farwatch.store.base import Incoming, Mark, Writer

LONGEST_ID = 128
INT64 = 1 << 63


def judge(batch: Incoming, mark: Mark) -> FarwatchError | bool:
    """Whether a batch is new (True), known altogether (False), or why it can be neither.

    Only at the mark itself is there a chain value to compare with, so a fork shows when it reaches the mark.
    """
    end = batch.first + batch.count
    if batch.count < 0 or batch.first < 0:
        return UsageError("a batch counts records from 0")
    if batch.first > mark.expected:
        return GapError(
            f"record {mark.expected} is expected, not: `{batch.first}`",
            hint="send from the expected record on",
            expected=mark.expected,
            crc=mark.crc,
        )
    if end < mark.expected:
        return False
    if end == mark.expected:
        return False if batch.crc_after == mark.crc else _fork(batch, mark)
    if batch.first < mark.expected:
        return GapError(
            f"a batch is known up to record: `{mark.expected}`",
            hint="decode it again from there",
            expected=mark.expected,
            crc=mark.crc,
        )
    return True if batch.crc_before == mark.crc else _fork(batch, mark)


def _fork(batch: Incoming, mark: Mark) -> ForkError:
    return ForkError(
        f"two journals claim the writer `{batch.writer_id}`: they differ before record {mark.expected}",
        hint="a copied journal must go on under a new writer id",
        expected=mark.expected,
        crc=mark.crc,
    )


def check_writer(writer: Writer) -> None:
    """Raises `UsageError` for a writer whose numbers or names no store can keep."""
    numbers = (writer.rank, writer.attempt, writer.wall_us, writer.step_base)
    if not all(-INT64 <= number < INT64 for number in numbers) or writer.rank < 0 or writer.attempt < 0:
        raise UsageError(f"a writer with a number out of range: `{writer.writer_id[:LONGEST_ID]}`")
    if not writer.run or len(writer.run) > LONGEST_ID or len(writer.writer_id) != 32:
        raise UsageError("a writer needs a run id and a writer id of 32 hexadecimal digits")
