"""Decoding batches: equal to a decoder that goes record by record, and closed to everything else."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farwatch.errors import BodyError, LimitError
from farwatch.store import zstd
from farwatch.store.base import Writer
from farwatch.store.decode import decode, decode_batch, unpack
from farwatch.testing.journal import WALL_US, Journal
from farwatch.wire.batch import FLAG_GAP, FLAG_SPILL, Batch
from farwatch.wire.records import (
    HEAD,
    HEAD_FLOAT_STEP,
    Flag,
    Kind,
    Record,
    encode_extend,
    encode_head,
    encode_json,
    encode_schema,
)
from farwatch.wire.segment import frame

WRITER = Writer("ab" * 16, "run", 0, 1, WALL_US + 777, 5_000)
ints = st.integers(-(2**53), 2**53)
floats = st.floats(allow_nan=True)
steps = st.one_of(st.none(), ints, st.floats(allow_nan=False, allow_infinity=False))
times = st.integers(-(10**9), 10**12)


def framed(payloads: list[bytes]) -> bytes:
    seed, parts = 0, []
    for payload in payloads:
        part, seed = frame(payload, seed)
        parts.append(part)
    return b"".join(parts)


@st.composite
def journals(draw: st.DrawFn) -> Journal:
    journal = Journal(WRITER)
    shapes: list[dict[str, st.SearchStrategy]] = [
        {"loss": floats, "n": ints, "ok": st.booleans()},
        {"loss": floats, "acc": floats},
        {"n": st.floats()},
        {f"m/{i}": floats for i in range(9)},
    ]
    for _ in range(draw(st.integers(0, 12))):
        what = draw(st.sampled_from(["step", "steps", "extend", "other", "unknown"]))
        flags = draw(st.sampled_from([0, Flag.STEP_RELATIVE, Flag.TIME_GIVEN]))
        if what == "step":
            shape = draw(st.sampled_from(shapes))
            journal.step(
                {name: draw(value) for name, value in shape.items()}, draw(steps), draw(times), flags
            )
        elif what == "steps":
            for i in range(draw(st.integers(1, 70))):
                journal.step({"loss": float(i), "acc": i / 7}, i, 1000 * i + 1, flags)
        elif what == "extend":
            values = draw(st.lists(floats, max_size=5))
            given_steps = draw(st.booleans())
            given_times = draw(st.booleans())
            journal.extend(
                draw(st.sampled_from(["loss", "é", "a" * 8])),
                values,
                step=draw(st.integers(0, 9)),
                steps=[float(i) for i in range(len(values))] if given_steps else None,
                times=[5 * i for i in range(len(values))] if given_times else None,
            )
        elif what == "other":
            journal.add(encode_json(Kind.CONSOLE, {"n": 1}, step=draw(steps), time=draw(times), flags=flags))
        else:
            journal.add(encode_head(200, step=1, time=5) + draw(st.binary(max_size=20)))
    return journal


@settings(max_examples=150, deadline=None)
@given(journals(), st.integers(0, 1 << 40))
def test_decode_equals_going_record_by_record(journal: Journal, first: int) -> None:
    payloads = journal.payloads
    expected = slow_points(payloads, WRITER, {})

    decoded = decode(framed(payloads), WRITER, {}, first, count=len(payloads))

    points = decoded.points
    found = [
        (decoded.names[i], s, t, struct.pack("<d", v))
        for i, s, t, v in zip(
            decoded.index.tolist(),
            points.steps.tolist(),
            points.times.tolist(),
            points.values.tolist(),
            strict=True,
        )
    ]
    assert found == [(name, s, t, struct.pack("<d", v)) for name, s, t, v in expected]
    others = [
        (first + i, p) for i, p in enumerate(payloads) if p[0] not in (Kind.STEP, Kind.EXTEND, Kind.SCHEMA)
    ]
    assert [(other.record.number, other.record.payload) for other in decoded.others] == others
    assert len(decoded.names) == len(decoded.kinds) == len(set(decoded.names))


def test_decode_uses_schemas_of_earlier_batches_and_returns_only_new_ones() -> None:
    journal = Journal(WRITER)
    journal.step({"a": 1.0}, 1)
    journal.step({"b": 2}, 2)

    known = decode_batch(journal.batch(0, 2), WRITER, {}).schemas
    decoded = decode_batch(journal.batch(2), WRITER, known)

    assert known == {0: (["a"], "f")}
    assert decoded.schemas == {1: (["b"], "i")}
    assert (decoded.names, decoded.kinds, decoded.points.values.tolist()) == (["b"], "i", [2.0])


def test_decode_makes_steps_and_times_absolute() -> None:
    journal = Journal(WRITER)
    journal.step({"a": 1.0}, 3, time=1_999, flags=Flag.STEP_RELATIVE)
    journal.step({"a": 1.0}, 4, time=1_234_567, flags=Flag.TIME_GIVEN)
    journal.step({"a": 1.0}, None, time=5_000)

    points = decode_batch(journal.batch(), WRITER, {}).points

    assert points.times.tolist() == [WALL_US + 2_000, 1_234_567, WALL_US + 5_000]
    assert points.steps.tolist() == [5_003.0, 4.0, (WALL_US + 5_000) / 1000]


def test_decode_of_a_gap_is_empty() -> None:
    decoded = decode_batch(Batch(WRITER.writer_id, 5, 100, 1, 2, b"gone", FLAG_GAP), WRITER, {})

    assert (len(decoded.index), decoded.others) == (0, [])


def test_decode_of_a_spill_gives_the_record_in_the_file() -> None:
    inner = encode_extend(
        "big", struct.pack("<3d", 1, 2, 3), 3, steps=None, step=0, times=None, time=0, flags=0
    )
    told = encode_json(Kind.SPILL, {"name": "x", "size": len(inner), "crc": zlib.crc32(inner)})
    body, crc = frame(told, 99)

    decoded = decode_batch(Batch(WRITER.writer_id, 5, 1, 99, crc, body + inner, FLAG_SPILL), WRITER, {})

    assert (decoded.names, decoded.points.values.tolist()) == (["big"], [1, 2, 3])
    with pytest.raises(BodyError, match="damaged or cut short"):
        decode_batch(Batch(WRITER.writer_id, 5, 1, 99, crc, body + inner[:-1], FLAG_SPILL), WRITER, {})


def slow_points(
    payloads: list[bytes], writer: Writer, schemas: dict[int, tuple[list[str], str]]
) -> list[tuple[str, float, int, float]]:
    """Every point (name, step, time in µs, value), one by one."""
    found: list[tuple[str, float, int, float]] = []
    schemas = dict(schemas)
    for number, payload in enumerate(payloads):
        kind, flags, aux16, aux32, step, time = HEAD.unpack_from(payload)
        if flags & Flag.STEP_FLOAT:
            step = HEAD_FLOAT_STEP.unpack_from(payload)[4]
        if not flags & Flag.TIME_GIVEN:
            time = (time + writer.wall_us) // 1000 * 1000
        base = writer.step_base if flags & Flag.STEP_RELATIVE else 0
        step = float(time // 1000 if flags & Flag.STEP_NONE else step + base)
        rest = payload[24:]
        if kind == Kind.SCHEMA:
            body = Record(number, payload).body()
            schemas[body["id"]] = (body["keys"], body["types"])
        elif kind == Kind.STEP:
            names, types = schemas[aux32]
            numbers = struct.unpack("<" + "".join("d" if t == "f" else "q" for t in types), rest)
            found += [(name, step, time, float(value)) for name, value in zip(names, numbers, strict=True)]
        elif kind == Kind.EXTEND:
            name = rest[:aux16].decode()
            rest = rest[aux16 + -aux16 % 8 :]
            steps = [step + i if not flags & Flag.STEP_NONE else step for i in range(aux32)]
            times = [time] * aux32
            if flags & Flag.HAS_STEPS:
                letter = "d" if flags & Flag.STEP_FLOAT else "q"
                steps = [float(s) + base for s in struct.unpack(f"<{aux32}{letter}", rest[: 8 * aux32])]
                rest = rest[8 * aux32 :]
            if flags & Flag.HAS_TIMES:
                times = list(struct.unpack(f"<{aux32}q", rest[: 8 * aux32]))
                rest = rest[8 * aux32 :]
                if flags & Flag.STEP_NONE and not flags & Flag.HAS_STEPS:
                    steps = [float(t // 1000) for t in times]
            numbers = struct.unpack(f"<{aux32}{'q' if flags & Flag.VALUES_INT else 'd'}", rest)
            found += [(name, s, t, float(v)) for s, t, v in zip(steps, times, numbers, strict=True)]
    return found


STEP = encode_head(Kind.STEP, step=1, aux32=0)
SCHEMA = encode_schema(0, ("a",), "f")


@pytest.mark.parametrize(
    "payloads",
    [
        [STEP + b"\0" * 8],
        [SCHEMA, STEP + b"\0" * 16],
        [SCHEMA, encode_schema(0, ("b",), "f")],
        [encode_schema(0, ("a", "a"), "ff")],
        [encode_schema(0, ("a",), "x")],
        [encode_schema(0, ("a",), "ff")],
        [encode_head(Kind.SCHEMA) + b"[" * 50_000],
        [SCHEMA, encode_head(Kind.STEP, step=float("nan"), aux32=0) + b"\0" * 8],
        [encode_head(Kind.EXTEND, step=1, aux16=1, aux32=1 << 31) + b"a" + b"\0" * 15],
        [encode_head(Kind.EXTEND, step=1, aux16=0, aux32=1) + b"\0" * 8],
        [b"short"],
    ],
)
def test_decode_refuses_what_contradicts_itself(payloads: list[bytes]) -> None:
    with pytest.raises(BodyError):
        decode(framed(payloads), WRITER, {}, 0)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 60))
def test_decode_reads_noise_or_refuses_it_and_never_fails_otherwise(noise: bytes, cut: int) -> None:
    body = bytearray(framed([SCHEMA, *[STEP + struct.pack("<d", i) for i in range(40)]]))
    body[cut * 8 : cut * 8 + len(noise)] = noise

    try:
        decoded = decode(bytes(body), WRITER, {}, 0)
    except BodyError as error:
        assert error.message
    else:
        columns = {len(column) for column in (decoded.index, decoded.points.steps, decoded.points.values)}
        assert len(columns) == 1
        assert set(decoded.index.tolist()) <= set(range(len(decoded.names)))


@pytest.mark.parametrize("encoding", ["zstd", "deflate", "identity"])
def test_unpack_counts_while_it_inflates(encoding: str) -> None:
    data = bytes(100_000)
    packed = {"zstd": zstd.compress, "deflate": zlib.compress, "identity": bytes}[encoding](data)

    assert unpack(packed, encoding, 100_000) == data
    with pytest.raises(LimitError):
        unpack(packed, encoding, 99_999)


@pytest.mark.parametrize("encoding", ["zstd", "deflate"])
def test_unpack_refuses_damage_and_trailing_bytes(encoding: str) -> None:
    packed = {"zstd": zstd.compress, "deflate": zlib.compress}[encoding](np.arange(1000).tobytes())

    for wrong in (packed[:-3], packed + b"x", b"junk", b""):
        with pytest.raises(BodyError):
            unpack(wrong, encoding, 1 << 20)


def test_unpack_refuses_a_large_window_and_unknown_encodings() -> None:
    options = {
        zstd.library.CompressionParameter.window_log: 27,
        zstd.library.CompressionParameter.enable_long_distance_matching: 1,
    }
    packed = zstd.library.ZstdCompressor(options=options)
    stream = packed.compress(b"x" * 100) + packed.flush()

    with pytest.raises(BodyError):
        unpack(stream, "zstd", 1 << 20)
    with pytest.raises(BodyError, match="unknown content encoding"):
        unpack(b"", "br", 10)
