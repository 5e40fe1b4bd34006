"""Columns: named arrays with a JSON head, the binary form of answers that hold many numbers.

`FWC1`, a 32-bit length, that many bytes of JSON `{"meta": …, "arrays": [[name, dtype, length], …]}` padded with
spaces so that what follows is aligned to 8, then the arrays in order, little-endian, each padded to 8 bytes.
Dtypes: `f8 f4 i8 i4 u4 u1`. A browser reads it with typed arrays, NumPy with `frombuffer`, `curl` users ask for JSON.
"""

import json
import struct
from collections.abc import Sequence

from farwatch.errors import BodyError

MAGIC = b"FWC1"
CONTENT_TYPE = "application/x-farwatch-columns"
SIZES = {"f8": 8, "f4": 4, "i8": 8, "i4": 4, "u4": 4, "u1": 1}
_LENGTH = struct.Struct("<I")


def encode(meta: dict, arrays: Sequence[tuple[str, str, bytes | memoryview]]) -> bytes:
    """Pack `meta` and `(name, dtype, little-endian bytes)` arrays into one body."""
    listed = [[name, dtype, memoryview(data).nbytes // SIZES[dtype]] for name, dtype, data in arrays]
    head = json.dumps({"meta": meta, "arrays": listed}, separators=(",", ":"), allow_nan=False).encode()
    head += b" " * (-(8 + len(head)) % 8)
    parts: list[bytes | memoryview] = [MAGIC, _LENGTH.pack(len(head)), head]
    for _, _, data in arrays:
        parts += [data, b"\0" * (-memoryview(data).nbytes % 8)]
    return b"".join(parts)


def decode(data: bytes) -> tuple[dict, dict[str, tuple[str, memoryview]]]:
    """Unpack a body: its `meta`, and for each array its dtype and a view of its bytes.

    Raises `BodyError` if the bytes are not columns or are cut short.
    """
    view = memoryview(data)
    if len(view) < 8 or bytes(view[:4]) != MAGIC:
        raise BodyError("not columns")
    offset = 8 + _LENGTH.unpack_from(view, 4)[0]
    try:
        head = json.loads(bytes(view[8:offset]))
        arrays: dict[str, tuple[str, memoryview]] = {}
        for name, dtype, length in head["arrays"]:
            size = SIZES[dtype] * length
            if offset + size > len(view):
                raise BodyError(f"columns are cut short in array: `{name}`")
            arrays[name] = (dtype, view[offset : offset + size])
            offset += size + -size % 8
        return head["meta"], arrays
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, BodyError):
            raise
        raise BodyError("columns with an unreadable head") from error
