"""The columns of a call of `log`, and the page that tells a process from its forks."""

import mmap
import os
import struct
from typing import Any

from farwatch.wire.records import Flag, Kind, encode_schema

FEW = 16  # up to here a loop checks the types of a call faster than a map does
_FORK_PAGE = 18  # MADV_WIPEONFORK: the kernel zeroes the page in a child, also after a fork that Python did not see
_LETTERS = {float: "f", int: "i", bool: "b"}


class Schema:
    """The columns of one tuple of keys: how to pack a call, and the values of the last one.

    `head`: the first 8 bytes of its records (kind, flags, schema) as one number; packing one is cheaper than four.
    `word`: length of its records, where a commit word has it. `span`: bytes from one record to the next. `home`: the mapping in which
    its SCHEMA record stands, so that each segment can be read by itself.
    """

    __slots__ = ("few", "head", "home", "id", "keys", "last", "pack", "span", "types", "word")

    def __init__(self, number: int, keys: tuple[str, ...], types: tuple[type, ...]) -> None:
        letters = "".join("d" if kind is float else "q" for kind in types)
        packer = struct.Struct("<Qqq" + letters)
        self.id = number
        self.keys = keys
        self.types = types
        self.few = len(keys) <= FEW and set(types) == {float}
        self.pack = packer.pack
        self.head = Kind.STEP | Flag.TIME_NS << 8 | number << 32
        self.word = packer.size << 32
        self.span = packer.size + 8
        self.home: object = None
        self.last: tuple[Any, ...] = ()

    def record(self) -> bytes:
        return encode_schema(self.id, self.keys, "".join(_LETTERS[kind] for kind in self.types))

    def row(self, row: tuple[Any, ...], step: float | int, flags: int, time: int) -> bytes:
        """The payload of one call, for the paths that need not hurry."""
        if isinstance(step, float):
            flags |= Flag.STEP_FLOAT
            step = struct.unpack("<q", struct.pack("<d", step))[0]
        return self.pack(Kind.STEP | flags << 8 | self.id << 32, step, time, *row)


def fork_page() -> mmap.mmap:
    """A page whose first byte is 1 in this process and 0 in every fork of it."""
    if os.name == "nt":
        page = mmap.mmap(-1, mmap.PAGESIZE)
    else:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page[0] = 1
    try:
        page.madvise(_FORK_PAGE)
    except (AttributeError, OSError, ValueError):
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: page.__setitem__(0, 0))
    return page
