"""Blobs: a few columns of one length behind a version, and a checksum over all of it.

`version, columns, 0, numbers per column, CRC-32 of everything else`, the size of each column, the columns. A reader
takes only the columns that it needs; the checksum is compared once, when the blob is opened.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farwatch.errors import DataError
from farwatch.store.series.columns import decode_floats, decode_ints, encode_floats, encode_ints

VERSION = 1
_HEAD = struct.Struct("<BBHII")

FLOATS, INTS = "f", "i"
_ENCODE: dict[str, Callable[[NDArray[Any]], bytes]] = {FLOATS: encode_floats, INTS: encode_ints}
_DECODE: dict[str, Callable[[bytes | memoryview, int], NDArray[Any]]] = {
    FLOATS: decode_floats,
    INTS: decode_ints,
}


def encode(columns: Sequence[NDArray[Any]], kinds: str) -> bytes:
    """Pack columns of one length; `kinds` has a letter for each: `f` float64, `i` int64."""
    bodies = [_ENCODE[kind](column) for column, kind in zip(columns, kinds, strict=True)]
    sizes = struct.pack(f"<{len(bodies)}I", *map(len, bodies))
    rest = b"".join((sizes, *bodies))
    n = len(columns[0])
    crc = zlib.crc32(rest, zlib.crc32(_HEAD.pack(VERSION, len(bodies), 0, n, 0)))
    return _HEAD.pack(VERSION, len(bodies), 0, n, crc) + rest


class Blob:
    """An opened blob: `n` numbers in each column, decoded on first use and kept.

    *Threads*: any; two may decode the same column at once, with the same result. Columns belong to the blob: readers
    do not change them.
    """

    __slots__ = ("_bodies", "_decoded", "_kinds", "n", "size_bytes")

    def __init__(self, data: bytes, kinds: str) -> None:
        """Open a blob. Raises `DataError` if it is cut short, damaged, of another version, or has other columns."""
        if len(data) < _HEAD.size:
            raise DataError("a blob is cut short")
        version, count, _, n, crc = _HEAD.unpack_from(data)
        if version != VERSION:
            raise DataError(f"a blob of version {version}, this program reads {VERSION}")
        view = memoryview(data)
        if zlib.crc32(view[_HEAD.size :], zlib.crc32(_HEAD.pack(version, count, 0, n, 0))) != crc:
            raise DataError("a blob does not have the checksum that was written with it")
        if count != len(kinds):
            raise DataError(f"a blob of {count} columns where {len(kinds)} are expected")
        sizes = struct.unpack_from(f"<{count}I", data, _HEAD.size)
        at = _HEAD.size + 4 * count
        self._bodies: list[memoryview] = []
        for size in sizes:
            self._bodies.append(view[at : at + size])
            at += size
        self._kinds = kinds
        self._decoded: list[NDArray[Any] | None] = [None] * count
        self.n = n
        self.size_bytes = len(data) + 8 * n * count  # what it takes once all columns are decoded

    def column(self, number: int) -> NDArray[Any]:
        """One column, `(n,)`. Raises `DataError` if its bytes are not what an encoder writes."""
        found = self._decoded[number]
        if found is None:
            found = _DECODE[self._kinds[number]](self._bodies[number], self.n)
            self._decoded[number] = found
        return found

    def floats(self, number: int) -> NDArray[np.float64]:
        """One column as float64, converted if it holds integers."""
        return self.column(number).astype(np.float64, copy=False)
