"""Records: the messages of a journal, numbered by the process that writes them.

Every record starts with the same 24 bytes, little-endian: kind, flags, a 16-bit and a 32-bit field whose meaning
depends on the kind, the step, and the time. What follows is n 8-byte numbers (`STEP`), arrays (`EXTEND`), or JSON.
"""

import json
import struct
from dataclasses import dataclass
from enum import IntEnum

HEAD = struct.Struct("<BBHIqq")
HEAD_FLOAT_STEP = struct.Struct("<BBHIdq")
HEAD_SIZE = HEAD.size  # 24

EXACT_INT = 2**53  # integers up to this size, and no further, are exact in a float64


class Kind(IntEnum):
    """What a record says; the numbers are on disk and never change. Unknown kinds are kept as opaque bytes."""

    HELLO = 1  # JSON: who writes; always record 0
    SCHEMA = 2  # JSON {"id", "keys", "types"}: what the columns of STEP records mean
    STEP = 3  # one call of log(): n numbers under one schema
    EXTEND = 4  # many points of one metric
    POINT = 5  # JSON: one point that is no number: text, image, histogram, table, …
    PATCH = 6  # JSON: changes of config, summary, tags, notes, name, metric definitions
    CONSOLE = 7  # JSON {"s", "n", "lines", "open"}
    FILE = 8  # JSON {"path", "spool", "size", "mtime_ms"}
    SPILL = 9  # JSON {"name", "size", "crc"}: the record itself is in a file beside the journal
    EVENT = 10  # JSON: a command started or ended
    METER = 11  # JSON: what logging has cost so far
    GOODBYE = 12  # JSON: how the run ended; the last record of a writer


class Flag:
    """Bits of the flags byte."""

    STEP_FLOAT = 1  # the step field is a float64, else an int64
    STEP_RELATIVE = 2  # counted by the writer from 0; the server adds the base
    TIME_GIVEN = 4  # the time field is µs since the Unix epoch, else µs by the writer's monotonic clock
    STEP_NONE = 8  # the record has no step (system metrics); the server uses the time in ms
    HAS_STEPS = 16  # EXTEND: one step per point follows
    HAS_TIMES = 32  # EXTEND: one time per point follows
    VALUES_INT = 64  # EXTEND: values are int64
    TIME_NS = 128  # a relative time is in ns, not µs: one division less where every nanosecond counts


@dataclass(frozen=True, slots=True)
class Record:
    """One record as a reader sees it.

    `number`: its ordinal within the writer, from 0. `payload`: all bytes, header included.
    """

    number: int
    payload: bytes

    @property
    def kind(self) -> int:
        return self.payload[0]

    @property
    def flags(self) -> int:
        return self.payload[1]

    @property
    def step(self) -> float | int | None:
        """The step field as written, relative or not; None where the record has none."""
        if self.payload[1] & Flag.STEP_NONE:
            return None
        head = HEAD_FLOAT_STEP if self.payload[1] & Flag.STEP_FLOAT else HEAD
        return head.unpack_from(self.payload)[4]

    @property
    def time(self) -> int:
        """The time field as written: µs (or ns) by one of two clocks, see `Flag`."""
        return HEAD.unpack_from(self.payload)[5]

    def body(self) -> dict:
        """The JSON body of a record that has one. Raises `ValueError` for bytes that are no JSON object."""
        value = json.loads(self.payload[HEAD_SIZE:])
        if not isinstance(value, dict):
            raise ValueError("the body of a record is no object")
        return value


def encode_json(kind: Kind, body: dict, *, step: float | int | None = None, time: int = 0, flags: int = 0) -> bytes:
    """Make the payload of a JSON record.

    `time` is in µs by the writer's monotonic clock, or since the epoch with `Flag.TIME_GIVEN` in `flags`. Raises `ValueError` or
    `TypeError` for a body that JSON cannot hold; non-finite numbers must have been turned into text before.
    """
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
    return encode_head(kind, step=step, time=time, flags=flags) + text


def encode_head(
    kind: int, *, step: float | int | None = None, time: int = 0, flags: int = 0, aux16: int = 0, aux32: int = 0
) -> bytes:
    """Make the 24 bytes with which every record starts."""
    if step is None:
        return HEAD.pack(kind, flags | Flag.STEP_NONE, aux16, aux32, 0, time)
    if isinstance(step, float):
        return HEAD_FLOAT_STEP.pack(kind, flags | Flag.STEP_FLOAT, aux16, aux32, step, time)
    return HEAD.pack(kind, flags, aux16, aux32, step, time)


def encode_schema(schema_id: int, keys: tuple[str, ...], types: str) -> bytes:
    """Make a SCHEMA record: `types` has one letter per key, `f` float64, `i` int64, `b` bool (as int64 0 or 1)."""
    return encode_json(Kind.SCHEMA, {"id": schema_id, "keys": list(keys), "types": types})


def encode_extend(
    name: str,
    values: bytes,
    count: int,
    *,
    steps: bytes | None,
    step: float | int,
    times: bytes | None,
    time: int,
    flags: int,
) -> bytes:
    """Make an EXTEND record.

    `values`: count × 8 bytes, float64, or int64 with `Flag.VALUES_INT`. `steps`: count × 8 bytes, or None for
    `step`, `step + 1`, …. `times`: count × int64 µs since the epoch, or None for `time` for all.
    The name follows the header, padded to 8 bytes; then steps, times, values.
    """
    encoded = name.encode("utf-8", "surrogatepass")
    if steps is not None:
        flags |= Flag.HAS_STEPS
    if times is not None:
        flags |= Flag.HAS_TIMES
    head = encode_head(Kind.EXTEND, step=step, time=time, flags=flags, aux16=len(encoded), aux32=count)
    padding = b"\0" * (-len(encoded) % 8)
    return b"".join((head, encoded, padding, steps or b"", times or b"", values))
