"""Batches in columns: from the bytes of a journal to arrays of points, without a loop over points or steps.

Records of one schema have one width, so a run of them is a matrix. Neighbours of one width are found by comparing a
column of lengths, what they are by comparing a column of heads; only records that are no numbers are touched one by
one. The body has been proved whole by the batch's checksum; here its structure is checked, because anybody who may
log can send anything.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farwatch.errors import BodyError, LimitError
from farwatch.store import zstd
from farwatch.store.base import Decoded, Other, Points, Writer
from farwatch.wire.batch import FLAG_GAP, FLAG_SPILL, Batch
from farwatch.wire.records import HEAD_SIZE, Flag, Kind, Record
from farwatch.wire.segment import frame

Schemas = Mapping[int, tuple[list[str], str]]
Words = NDArray[np.uint64]
Longs = NDArray[np.int64]

HEAD_WORDS = HEAD_SIZE // 8
FIRST_LOOK = 32  # rows compared at first when two neighbours have one width; doubled while all fit
TICK_US = 1000  # times that the SDK takes by itself are kept in whole milliseconds
TYPES = frozenset("fib")
STEP, EXTEND, SCHEMA, SPILL = int(Kind.STEP), int(Kind.EXTEND), int(Kind.SCHEMA), int(Kind.SPILL)
KNOWN = np.array([int(kind) for kind in Kind], np.uint8)


def unpack(packed: bytes | memoryview, encoding: str, max_bytes: int) -> bytes:
    """Undo the content encoding of a request body, counting while it inflates.

    `encoding`: `zstd`, `deflate` (zlib) or `identity`. Raises `LimitError` for more than `max_bytes`, without having
    allocated much more; `BodyError` for an unknown encoding, damage, or bytes behind the end.
    """
    try:
        if encoding == "identity":
            data = bytes(packed) if len(packed) <= max_bytes else None
        elif encoding == "deflate":
            machine = zlib.decompressobj()
            data = machine.decompress(packed, max_bytes + 1)
            if len(data) > max_bytes:
                data = None
            elif not machine.eof or machine.unused_data:
                raise BodyError("a compressed body was cut short, or has bytes behind its end")
        elif encoding == "zstd":
            data = zstd.inflate(packed, max_bytes)
        else:
            raise BodyError(
                f"unknown content encoding: `{encoding[:40]}`", hint="use zstd, deflate or identity"
            )
    except (zlib.error, zstd.ZstdError) as error:
        raise BodyError(f"a compressed body does not unpack: {error}") from error
    if data is None:
        raise LimitError(
            f"a body has more than {max_bytes} bytes after unpacking", hint="send smaller batches"
        )
    return data


def decode_batch(batch: Batch, writer: Writer, schemas: Schemas) -> Decoded:
    """Decode a whole batch, whatever its flags say. Raises `BodyError` as `decode` does.

    A gap gives no points. A spill gives the record that was too large for the journal, numbered as the one naming it.
    """
    if batch.flags & FLAG_GAP:
        return Decoded([], "", np.empty(0, np.int32), _no_points(), [])
    body = memoryview(batch.body)
    if batch.flags & FLAG_SPILL:
        return _decode_spill(batch, body, writer, schemas)
    return decode(body, writer, schemas, batch.first, count=batch.count, crc_after=batch.crc_after)


def decode(
    body: bytes | memoryview,
    writer: Writer,
    schemas: Schemas,
    first: int,
    *,
    count: int | None = None,
    crc_after: int | None = None,
) -> Decoded:
    """Decode consecutive journal records, commit words included, the first of which is number `first`.

    `schemas`: what is known of the writer; schemas in the body are known from their own record on. `count`,
    `crc_after`: how many records there must be, and the chain value of the last.

    Relative steps get the writer's `step_base`, relative times its `wall_us`, cut to whole milliseconds; given times
    keep their microseconds. A record without step gets its time in ms as step. Integers beyond 2^53 lose their last
    digits; the SDK sends those as text. Records of an unknown kind come as `others`.

    Raises `BodyError` for bytes that are no records, a schema that is unknown or told twice differently, a record
    shorter or longer than its contents, or a step that is no finite number.
    """
    batch = _Columns(body, writer, first)
    if count is not None and batch.count != count:
        raise BodyError(f"a batch of {count} records has: `{batch.count}`")
    if crc_after is not None and batch.count and int(batch.words[batch.at[-1]]) & 0xFFFFFFFF != crc_after:
        raise BodyError("the last record of a batch is not the one that it names")
    known = {**schemas, **batch.fresh_schemas(schemas)}
    pieces = batch.steps(known) + batch.extends()
    others = batch.others()
    return _assemble(
        batch, pieces, others, {number: known[number] for number in known if number not in schemas}
    )


def _decode_spill(batch: Batch, body: memoryview, writer: Writer, schemas: Schemas) -> Decoded:
    """The record in the file behind the one SPILL record of a batch."""
    if len(body) < 8 + HEAD_SIZE:
        raise BodyError("a spill without its record")
    word = int.from_bytes(body[:8], "little")
    end = 8 + (word >> 32)
    start = (end + 7) & ~7
    if batch.count != 1 or end > len(body) or word & 0xFFFFFFFF != batch.crc_after or body[8] != SPILL:
        raise BodyError("a spill is one record and one file")
    payload = bytes(body[start:])
    try:
        told = Record(batch.first, bytes(body[8:end])).body()
        size, crc = told["size"], told["crc"]
    except (ValueError, KeyError, RecursionError) as error:
        raise BodyError("a spill that does not say what it names") from error
    if len(payload) != size or zlib.crc32(payload) != crc:
        raise BodyError("a spilled record was damaged or cut short")
    return decode(frame(payload, 0)[0], writer, schemas, batch.first, count=1)


@dataclass(slots=True)
class _Piece:
    """Points of records of one shape: `rows` (m,) record ordinals, `ids` (k,) or (m, k), the rest (m, k) or (m, 1)."""

    rows: Longs
    names: list[str]
    kinds: str
    ids: NDArray[np.int32]
    steps: NDArray[np.float64]
    times: Longs
    values: NDArray[np.float64]


@dataclass(slots=True)
class _Columns:
    """The heads of all records of a body, as columns.

    `words`: (w,) the body; `at`: (n,) where each record's commit word is; `sizes`: (n,) payload bytes.
    """

    body: bytes | memoryview
    writer: Writer
    first: int
    words: Words = field(init=False)
    at: Longs = field(init=False)
    sizes: Longs = field(init=False)
    head: Words = field(init=False)
    kind: NDArray[np.uint8] = field(init=False)
    flags: NDArray[np.uint8] = field(init=False)
    times: Longs = field(init=False)
    fields: Longs = field(init=False)
    count: int = field(init=False)

    def __post_init__(self) -> None:
        if len(self.body) % 8:
            raise BodyError("a batch ends within a record")
        self.words = np.frombuffer(self.body, np.uint64)
        self.at = _find_records(self.words)
        self.count = len(self.at)
        self.sizes = (self.words[self.at] >> np.uint64(32)).astype(np.int64)
        if self.count and int(self.sizes.min()) < HEAD_SIZE:
            raise BodyError("a record shorter than its head")
        self.head = self.words[self.at + 1]
        self.kind = self.head.astype(np.uint8)
        self.flags = (self.head >> np.uint64(8)).astype(np.uint8)
        self.fields = self.words[self.at + 2].view(np.int64)
        self.times = self._absolute_times()

    def _absolute_times(self) -> Longs:
        """(n,) µs since the epoch."""
        raw = self.words[self.at + 3].view(np.int64)
        given = self.flags & Flag.TIME_GIVEN
        nanoseconds = (self.flags & Flag.TIME_NS).astype(bool)
        if nanoseconds.any():
            raw = np.where(nanoseconds, raw // 1000, raw)
        relative = (raw + self.writer.wall_us) // TICK_US * TICK_US
        return np.where(given, raw, relative) if given.any() else relative

    def absolute_steps(self, rows: Longs) -> NDArray[np.float64]:
        """(m,) steps of some records, that of a record without step being its time in ms."""
        flags = self.flags[rows]
        raw = self.fields[rows]
        steps = raw.astype(np.float64)
        if (flags & Flag.STEP_FLOAT).any():
            floats = raw.view(np.float64)
            steps = np.where(flags & Flag.STEP_FLOAT, floats, steps)
            if not np.isfinite(steps).all():
                raise BodyError("a step is not finite")
        if self.writer.step_base and (flags & Flag.STEP_RELATIVE).any():
            steps = np.where(flags & Flag.STEP_RELATIVE, steps + self.writer.step_base, steps)
        if (flags & Flag.STEP_NONE).any():
            steps = np.where(flags & Flag.STEP_NONE, (self.times[rows] // 1000).astype(np.float64), steps)
        return steps

    def payload(self, row: int) -> bytes:
        start = (int(self.at[row]) + 1) * 8
        return bytes(memoryview(self.body)[start : start + int(self.sizes[row])])

    def matrix(self, rows: Longs, width: int) -> Words:
        """(m, width) words from the commit word on, of records of one size; a view if they are neighbours."""
        at = self.at[rows]
        if len(at) == 1 or int(at[-1]) - int(at[0]) == (len(at) - 1) * width:
            start = int(at[0])
            return self.words[start : start + len(at) * width].reshape(len(at), width)
        return self.words[at[:, None] + np.arange(width)]

    def fresh_schemas(self, known: Schemas) -> dict[int, tuple[list[str], str]]:
        """Schemas told in this body. Raises `BodyError` for one that contradicts itself or what is known."""
        found: dict[int, tuple[list[str], str]] = {}
        for row in np.flatnonzero(self.kind == SCHEMA).tolist():
            number, keys, types = _read_schema(self.payload(row))
            told = known.get(number) or found.get(number)
            if told is None:
                found[number] = (keys, types)
            elif told[0] != keys or told[1] != types:
                raise BodyError(f"a schema was told twice, differently: `{number}`")
        return found

    def steps(self, schemas: Schemas) -> list[_Piece]:
        """Points of all STEP records, a piece per schema."""
        rows = np.flatnonzero(self.kind == STEP)
        if not len(rows):
            return []
        numbers = (self.head[rows] >> np.uint64(32)).astype(np.int64)
        if (numbers == numbers[0]).all():
            return [self._steps_of(int(numbers[0]), rows, schemas)]
        order = np.argsort(numbers, kind="stable")
        cuts = np.flatnonzero(np.diff(numbers[order])) + 1
        groups = np.split(rows[order], cuts)
        return [self._steps_of(int(self.head[group[0]] >> np.uint64(32)), group, schemas) for group in groups]

    def _steps_of(self, number: int, rows: Longs, schemas: Schemas) -> _Piece:
        if number not in schemas:
            raise BodyError(f"a step of a schema that was never told: `{number}`")
        names, types = schemas[number]
        k = len(names)
        if (self.sizes[rows] != HEAD_SIZE + 8 * k).any():
            raise BodyError(f"a step whose length does not fit its schema: `{number}`")
        raw = self.matrix(rows, 1 + HEAD_WORDS + k)[:, 1 + HEAD_WORDS :]
        if "i" not in types and "b" not in types:
            values = raw.view(np.float64)
        elif "f" not in types:
            values = raw.view(np.int64).astype(np.float64)
        else:
            whole = np.frombuffer(types.encode(), np.uint8) != ord("f")
            values = raw.view(np.float64).copy()
            values[:, whole] = raw.view(np.int64)[:, whole]
        steps, times = self.absolute_steps(rows)[:, None], self.times[rows][:, None]
        return _Piece(rows, names, types, np.arange(k, dtype=np.int32), steps, times, values)

    def extends(self) -> list[_Piece]:
        """Points of all EXTEND records, a piece per shape and name."""
        pieces: list[_Piece] = []
        rows = np.flatnonzero(self.kind == EXTEND)
        if not len(rows):
            return pieces
        heads = self.head[rows]
        shapes = {int(head) for head in heads} if len(rows) < 64 else set(np.unique(heads).tolist())
        for shape in shapes:
            alike = rows[heads == shape]
            name_size, n, flags = shape >> 16 & 0xFFFF, shape >> 32, shape >> 8 & 0xFF
            name_words = (name_size + 7) // 8
            width = HEAD_WORDS + name_words + n * _arrays(flags)
            if (self.sizes[alike] != 8 * width).any():
                raise BodyError("an array of points whose length does not fit its head")
            matrix = self.matrix(alike, 1 + width)[:, 1 + HEAD_WORDS :]
            for group in _alike(matrix[:, :name_words]):
                rows_ = alike if len(group) == len(alike) else alike[group]
                data = matrix if len(group) == len(alike) else matrix[group]
                name = _read_name(data[0, :name_words].tobytes()[:name_size])
                pieces.append(self._extend_of(name, flags, n, rows_, data[:, name_words:]))
        return pieces

    def _extend_of(self, name: str, flags: int, n: int, rows: Longs, data: Words) -> _Piece:
        steps = self.absolute_steps(rows)[:, None]
        if flags & Flag.HAS_STEPS:
            raw, data = data[:, :n], data[:, n:]
            steps = raw.view(np.float64) if flags & Flag.STEP_FLOAT else raw.view(np.int64).astype(np.float64)
            if flags & Flag.STEP_FLOAT and not np.isfinite(steps).all():
                raise BodyError(f"a step is not finite in the points of: `{name[:200]}`")
            if flags & Flag.STEP_RELATIVE:
                steps = steps + self.writer.step_base
        elif not flags & Flag.STEP_NONE:
            steps = steps + np.arange(n)
        times = self.times[rows][:, None]
        if flags & Flag.HAS_TIMES:
            times, data = data[:, :n].view(np.int64), data[:, n:]
            if flags & Flag.STEP_NONE and not flags & Flag.HAS_STEPS:
                steps = (times // 1000).astype(np.float64)
        if flags & Flag.VALUES_INT:
            return _Piece(
                rows, [name], "i", np.zeros(n, np.int32), steps, times, data.view(np.int64).astype(np.float64)
            )
        return _Piece(rows, [name], "f", np.zeros(n, np.int32), steps, times, data.view(np.float64))

    def others(self) -> list[Other]:
        """Every record that is neither points nor a schema, in order."""
        rows = np.flatnonzero((self.kind != STEP) & (self.kind != EXTEND) & (self.kind != SCHEMA))
        if not len(rows):
            return []
        known = np.isin(self.kind[rows], KNOWN)
        safe = rows[known]  # of an unknown kind nothing but the head's first bytes is understood
        steps = dict(zip(safe.tolist(), self.absolute_steps(safe).tolist(), strict=True))
        none = self.flags & Flag.STEP_NONE
        return [
            Other(
                Record(self.first + row, self.payload(row)),
                None if none[row] else steps.get(row),
                int(self.times[row]),
            )
            for row in rows.tolist()
        ]


def _find_records(words: Words) -> Longs:
    """(n,) where the commit word of each record stands. Raises `BodyError` if they do not fill the body exactly."""
    parts: list[Longs] = []
    singles: list[int] = []
    total, at, previous = len(words), 0, -1
    while at < total:
        length = int(words[at]) >> 32
        width = 1 + (length + 7 >> 3)
        if not length or at + width > total:
            raise BodyError("a batch ends within a record, or holds an empty one")
        if length != previous:
            singles.append(at)
            at += width
            previous = length
            continue
        run = _run_length(words, at, width, length)
        parts += [np.array(singles, np.int64), np.arange(at, at + run * width, width, dtype=np.int64)]
        singles = []
        at += run * width
        previous = -1
    parts.append(np.array(singles, np.int64))
    return np.concatenate(parts)


def _run_length(words: Words, at: int, width: int, length: int) -> int:
    """How many records from `at` on have one length; at least one."""
    run, look = 1, FIRST_LOOK
    available = (len(words) - at) // width
    while run < available:
        end = min(available, run + look)
        fits = words[at + run * width : at + (end - 1) * width + 1 : width] >> np.uint64(32) == length
        if not fits.all():
            return run + int(np.argmin(fits))
        run, look = end, 2 * look
    return run


def _read_schema(payload: bytes) -> tuple[int, list[str], str]:
    try:
        body = json.loads(payload[HEAD_SIZE:])
        number, keys, types = body["id"], body["keys"], body["types"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BodyError("an unreadable schema") from error
    if not (
        type(number) is int
        and 0 <= number < 1 << 32
        and isinstance(keys, list)
        and isinstance(types, str)
        and len(keys) == len(types)
        and TYPES.issuperset(types)
        and all(type(key) is str and key for key in keys)
        and len(set(keys)) == len(keys)
    ):
        raise BodyError("a schema whose names and types do not fit")
    return number, [_clean(key) for key in keys], types


def _clean(name: str) -> str:
    """A name that every database and browser can hold: lone surrogates become question marks."""
    return name if name.isascii() else name.encode("utf-8", "replace").decode()


def _read_name(data: bytes) -> str:
    if not data:
        raise BodyError("points without a name")
    return _clean(data.decode("utf-8", "replace"))


def _arrays(flags: int) -> int:
    """How many arrays an EXTEND record has."""
    return 1 + bool(flags & Flag.HAS_STEPS) + bool(flags & Flag.HAS_TIMES)


def _alike(names: Words) -> list[Longs]:
    """Row numbers grouped by equal rows, each group in order."""
    if not (names != names[0]).any():
        return [np.arange(len(names))]
    groups: dict[bytes, list[int]] = {}
    for row, name in enumerate(names):
        groups.setdefault(name.tobytes(), []).append(row)
    return [np.array(group) for group in groups.values()]


def _no_points() -> Points:
    return Points(np.empty(0), np.empty(0, np.int64), np.empty(0))


def _assemble(
    batch: _Columns, pieces: list[_Piece], others: list[Other], fresh: dict[int, tuple[list[str], str]]
) -> Decoded:
    """Put pieces into record order."""
    if not pieces:
        return Decoded([], "", np.empty(0, np.int32), _no_points(), others, fresh)
    if len(pieces) == 1:
        piece = pieces[0]
        shape = piece.values.shape
        index = np.tile(piece.ids, shape[0])
        points = Points(
            _full(piece.steps, shape), _full(piece.times, shape), np.ascontiguousarray(piece.values).ravel()
        )
        return Decoded(piece.names, piece.kinds, index, points, others, fresh)
    names, kinds, pieces = _one_table(pieces)
    sizes = np.zeros(batch.count, np.int64)
    for piece in pieces:
        sizes[piece.rows] = piece.values.shape[1]
    starts = np.cumsum(sizes) - sizes
    n = int(sizes.sum())
    index = np.empty(n, np.int32)
    points = Points(np.empty(n), np.empty(n, np.int64), np.empty(n))
    for piece in pieces:
        target = (starts[piece.rows][:, None] + np.arange(piece.values.shape[1])).ravel()
        shape = piece.values.shape
        index[target] = np.tile(piece.ids, shape[0])
        points.steps[target] = _full(piece.steps, shape)
        points.times[target] = _full(piece.times, shape)
        points.values[target] = piece.values.ravel()
    return Decoded(names, kinds, index, points, others, fresh)


def _full(column: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A column of its own with one entry per point."""
    return np.array(np.broadcast_to(column, shape)).ravel()


def _one_table(pieces: list[_Piece]) -> tuple[list[str], str, list[_Piece]]:
    """Number the names of all pieces together. A name of several kinds is `f`."""
    numbers: dict[str, int] = {}
    kinds: list[str] = []
    result: list[_Piece] = []
    for piece in pieces:
        local = np.empty(len(piece.names), np.int32)
        for i, (name, kind) in enumerate(zip(piece.names, piece.kinds, strict=True)):
            number = numbers.setdefault(name, len(kinds))
            if number == len(kinds):
                kinds.append(kind)
            elif kinds[number] != kind:
                kinds[number] = "f"
            local[i] = number
        result.append(replace(piece, ids=local[piece.ids]))
    return list(numbers), "".join(kinds), result
