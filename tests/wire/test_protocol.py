"""`docs/protocol.md` is the contract of several programs: every number in it is held against the code."""

import re
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farwatch.errors import BodyError, DataError
from farwatch.wire import batch, columns, segment
from farwatch.wire.ids import is_run_id, new_run_id, new_writer_id, run_name, short_id
from farwatch.wire.records import HEAD_SIZE, Flag, Kind, Record, encode_extend, encode_head, encode_json

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
WRITER = "00112233445566778899aabbccddeeff"


def test_page_lists_every_kind_with_its_number() -> None:
    listed = dict(re.findall(r"^\| `([A-Z]+)` \| (\d+) \|", PAGE, re.MULTILINE))

    kinds = {name: number for name, number in listed.items() if name in Kind.__members__}

    assert kinds == {kind.name: str(kind.value) for kind in Kind}


def test_page_lists_every_flag_with_its_bit() -> None:
    listed = dict(re.findall(r"^\| `([A-Z_]+)` \| (\d+) \| [a-z`]", PAGE, re.MULTILINE))

    flags = {name: value for name, value in vars(Flag).items() if name.isupper()}

    assert {name: int(bit) for name, bit in listed.items() if name in flags} == flags


def test_segment_header_stands_where_the_page_says() -> None:
    data = segment.SegmentHeader(WRITER, 3, 1000, 0xDEADBEEF, 65536).encode()

    assert len(data) == 64
    assert data[0:8] == b"FWJRNL\0\x01"
    assert data[8:24] == bytes.fromhex(WRITER)
    assert struct.unpack_from("<QQ", data, 24) == (3, 1000)
    assert struct.unpack_from("<I", data, 40)[0] == 0xDEADBEEF
    assert struct.unpack_from("<Q", data, 48)[0] == 65536
    assert struct.unpack_from("<I", data, 56)[0] == zlib.crc32(data[:56])


def test_batch_header_stands_where_the_page_says() -> None:
    data = batch.Batch(WRITER, 7, 2, 11, 22, b"body", flags=1).encode()

    assert data[0:4] == b"FWB1"
    assert struct.unpack_from("<HH", data, 4) == (1, 1)
    assert data[8:24] == bytes.fromhex(WRITER)
    assert struct.unpack_from("<Q", data, 24)[0] == 7
    assert struct.unpack_from("<IIII", data, 32) == (2, 11, 22, zlib.crc32(b"body"))
    assert data[48:] == bytes(8) + b"body"


def test_record_head_stands_where_the_page_says() -> None:
    head = encode_head(Kind.EXTEND, step=2.5, time=9, flags=Flag.HAS_STEPS, aux16=3, aux32=4)

    assert len(head) == HEAD_SIZE == 24
    assert (head[0], head[1]) == (4, Flag.HAS_STEPS | Flag.STEP_FLOAT)
    assert struct.unpack_from("<HI", head, 2) == (3, 4)
    assert struct.unpack_from("<dq", head, 8) == (2.5, 9)


def test_extend_pads_its_name() -> None:
    payload = encode_extend("loss", b"v" * 16, 2, steps=b"s" * 16, step=0, times=None, time=0, flags=0)

    assert payload[24:32] == b"loss\0\0\0\0"
    assert payload[32:48] == b"s" * 16
    assert payload[48:] == b"v" * 16


def test_records_carry_their_step_and_body() -> None:
    record = Record(0, encode_json(Kind.POINT, {"name": "é"}, step=-3, time=5))

    assert (record.kind, record.step, record.time, record.body()) == (Kind.POINT, -3, 5, {"name": "é"})
    assert Record(0, encode_head(Kind.STEP)).step is None


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=30), st.integers(0, 2**32 - 1))
def test_scan_and_split_give_back_what_was_framed(payloads: list[bytes], seed: int) -> None:
    data, crc = b"", seed
    for payload in payloads:
        framed, crc = segment.frame(payload, crc)
        data += framed

    found = segment.scan(data, 0, seed)

    assert (found.end, found.count, found.crc, found.damaged) == (len(data), len(payloads), crc, False)
    assert [record.payload for record in segment.split(data, 0)] == payloads


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_scan_believes_no_garbage(data: bytes, seed: int) -> None:
    found = segment.scan(data, 0, seed)

    assert found.end <= len(data)
    assert found.count == 0 or found.crc != seed


@given(st.binary(max_size=200))
def test_garbage_is_no_batch_no_segment_and_no_columns(data: bytes) -> None:
    with pytest.raises(BodyError):
        batch.Batch.decode(data)
    with pytest.raises(DataError):
        segment.SegmentHeader.decode(data)
    with pytest.raises(BodyError):
        columns.decode(data)


def test_a_damaged_batch_is_refused() -> None:
    data = bytearray(batch.Batch(WRITER, 0, 1, 0, 0, b"0123456789").encode())
    data[-1] ^= 1

    with pytest.raises(BodyError, match="damaged"):
        batch.Batch.decode(bytes(data))


def test_columns_keep_arrays_and_meta() -> None:
    body = columns.encode({"seq": 4}, [("x", "f8", struct.pack("<2d", 1, 2)), ("n", "u1", b"\x07")])

    meta, arrays = columns.decode(body)

    assert meta == {"seq": 4}
    assert arrays["x"][1].cast("d").tolist() == [1, 2]
    assert (arrays["n"][0], bytes(arrays["n"][1])) == ("u1", b"\x07")


def test_ids_are_told_apart_by_their_first_letters() -> None:
    made = [new_run_id() for _ in range(2000)]

    assert len({short_id(run_id) for run_id in made}) == 2000
    assert all(is_run_id(run_id) and len(run_id) == 16 for run_id in made)
    assert short_id("my-own-run-1") == "my-own-run-1"
    assert run_name(made[0]) == run_name(made[0])
    assert new_writer_id() != new_writer_id()
