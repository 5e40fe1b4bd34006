"""Offering again what a server refused for good: after a limit was raised, or a newer server has come.

The server was told that those records will not come, and went on behind them; their numbers are gone. So they become a
journal of their own beside the first, as a sibling of its writer: who it is, what its columns mean, and the records as
they were. The id of that journal follows from what is in it, so that a retry that breaks off and is begun again makes
the same journal, and nothing is sent twice.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from farwatch.agent.folder import ANSWER, ASIDE, SPILL, SPOOL, JournalFolder, write_private
from farwatch.agent.reader import NAMED, Reader, records_of
from farwatch.errors import BodyError, DataError
from farwatch.wire.batch import FLAG_SPILL, Batch
from farwatch.wire.records import Kind, encode_json
from farwatch.wire.segment import (
    HEADER_SIZE,
    SIDECAR,
    WORD,
    SegmentHeader,
    first_seed,
    frame,
    padded,
    segment_name,
)

BATCH_SUFFIX = ".fwb"
FILE_PREFIX = "file-"
MAX_BYTES = 1 << 30  # of a batch that was set aside: its one record may be as large
BESIDE = {"main": False, "run_given": True, "resume": "allow", "from_step": None, "notes": None, "tags": []}


def offer_again(folder: JournalFolder) -> int:
    """Put what was set aside of a journal on its way again; returns how many records and files that are.

    Nothing of it is deleted before it stands in the new journal. Records that cannot be read stay where they are. Raises `OSError`
    if there is no room.
    """
    names = folder.aside()
    batches = {name: batch for name in names if name.endswith(BATCH_SUFFIX) and (batch := _batch(folder, name)) is not None}
    marks = [name for name in names if name.startswith(FILE_PREFIX)]
    if batches:
        _make_journal(folder, list(batches.values()))
    for name in batches:
        _unlink(folder.path / ASIDE / name)
        _unlink(folder.path / ASIDE / (name + ".json"))
    for name in marks:
        _unlink(folder.path / ASIDE / name)
    offered = sum(batch.count for batch in batches.values()) + len(marks)
    if offered:
        # The journal itself is looked at again: the server names the files that it lacks.
        note = folder.answer()
        left = max(0, (note.get("set_aside") or 0) - offered)
        folder.write_note(ANSWER, {**note, "set_aside": left, "complete": bool(note.get("complete")) and not marks})
    return offered


def _batch(folder: JournalFolder, name: str) -> Batch | None:
    try:
        return Batch.decode(folder.read(name, MAX_BYTES, ASIDE))
    except (BodyError, DataError, OSError):
        return None


def _make_journal(folder: JournalFolder, batches: list[Batch]) -> None:
    """Write the journal of what was set aside, sidecar last, as every journal is made."""
    known_as = batches[0].writer_id  # of a clone it is not the name of the folder
    digest = hashlib.sha256(b"again")
    for batch in batches:
        digest.update(batch.encode())
    writer = digest.hexdigest()[:32]
    path = folder.path.parent / writer
    if (path / SIDECAR).exists():
        return  # made by a retry that was interrupted behind this point
    role = folder.role if folder.role == "system" else "again"
    sidecar: dict[str, Any] = {**folder.sidecar, **BESIDE, "writer": writer, "role": role, "watches": known_as, "sibling_of": known_as}
    path.mkdir(mode=0o700, exist_ok=True)
    hello = encode_json(Kind.HELLO, {key: value for key, value in sidecar.items() if key != "credential"})
    payloads = [hello, *_schemas(folder)]
    for batch in batches:
        payloads += _payloads(folder, batch, path)
    delivered = [{"writer": known_as, "first": batch.first, "count": batch.count} for batch in batches]
    payloads.append(encode_json(Kind.PATCH, {"delivered": delivered}))  # behind them: then those gaps are none any more
    payloads.append(encode_json(Kind.GOODBYE, {"state": "finished", "reason": ""}))
    crc, parts = first_seed(writer), []
    for payload in payloads:
        framed, crc = frame(payload, crc)
        parts.append(framed)
    body = b"".join(parts)
    header = SegmentHeader(writer, 0, 0, first_seed(writer), HEADER_SIZE + len(body))
    write_private(path / segment_name(0), header.encode() + body)
    write_private(path / SIDECAR, json.dumps(sidecar, separators=(",", ":")).encode())


def _schemas(folder: JournalFolder) -> Iterator[bytes]:
    """What the columns of the journal mean, each schema once."""
    seen: set[bytes] = set()
    source = Reader(folder)
    try:
        while (batch := source.cut(1 << 20, now_us=0, ended=True)) is not None:
            for record in records_of(batch):
                if record.kind == Kind.SCHEMA and record.payload not in seen:
                    seen.add(record.payload)
                    yield record.payload
    finally:
        source.close()


def _payloads(folder: JournalFolder, batch: Batch, path: Path) -> list[bytes]:
    """The records of a batch as they stood in their journal; what they name is put beside the new one."""
    if not batch.flags & FLAG_SPILL:
        found = [record.payload for record in records_of(batch) if record.kind not in (Kind.HELLO, Kind.GOODBYE)]
        for payload in found:
            _link(folder, path, SPOOL, [name.decode() for name in NAMED.findall(payload)])
        return found
    length = WORD.unpack_from(batch.body)[0] >> 32
    spill = bytes(batch.body[8 : 8 + length])
    name = os.path.basename(str(json.loads(spill[24:])["name"]))
    (path / SPILL).mkdir(mode=0o700, exist_ok=True)
    content = bytes(batch.body[8 + padded(length) :])
    write_private(path / SPILL / name, content)
    _link(folder, path, SPOOL, [found.decode() for found in NAMED.findall(content)])
    return [spill]


def _link(folder: JournalFolder, path: Path, inside: str, names: list[str]) -> None:
    """Give the new journal the files that its records name, without a copy. A file that is gone has been sent."""
    for name in names:
        try:
            os.close(folder.open(name, inside))  # a plain file of ours, and no link to somewhere else
            (path / inside).mkdir(mode=0o700, exist_ok=True)
            os.link(folder.path / inside / name, path / inside / name)
        except (FileNotFoundError, FileExistsError, DataError):
            continue


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
