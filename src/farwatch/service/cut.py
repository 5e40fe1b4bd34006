"""Cutting batches: what the server already has is left out of a batch that overlaps it."""

from farwatch.errors import BodyError, ForkError
from farwatch.store.base import Mark
from farwatch.wire.batch import FLAG_GAP, FLAG_SPILL, Batch
from farwatch.wire.segment import scan


def cut_batch(batch: Batch, mark: Mark) -> tuple[Batch, bytes, str]:
    """The part of `batch` from record `mark.expected` on, which lies within it, with its bytes and their encoding.

    Raises `ForkError` if the part that is known has another history, `BodyError` for a batch that cannot be cut.
    """
    known = mark.expected - batch.first
    if batch.flags & FLAG_GAP:
        rest = Batch(
            batch.writer_id,
            mark.expected,
            batch.count - known,
            mark.crc,
            batch.crc_after,
            batch.body,
            batch.flags,
        )
        return rest, rest.encode(), "identity"
    if batch.flags & FLAG_SPILL:
        raise BodyError("a spill is one record and cannot be known in part")
    found = scan(batch.body, 0, batch.crc_before, limit=known)
    if found.count != known or found.damaged:
        raise BodyError("a batch has fewer records than it says")
    if found.crc != mark.crc:
        raise ForkError(
            f"two journals claim the writer `{batch.writer_id}`: they differ before record {mark.expected}",
            hint="a copied journal must go on under a new writer id",
            expected=mark.expected,
            crc=mark.crc,
        )
    rest = Batch(
        batch.writer_id,
        mark.expected,
        batch.count - known,
        mark.crc,
        batch.crc_after,
        batch.body[found.end :],
        batch.flags,
    )
    return rest, rest.encode(), "identity"
