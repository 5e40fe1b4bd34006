"""Giving memory back."""

import contextlib
import ctypes
import sys
from collections.abc import Callable


def _trimmer() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    with contextlib.suppress(OSError, AttributeError):  # a C library other than glibc gives back by itself, or cannot
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
        return trim
    return None


_trim = _trimmer()


def give_back() -> None:
    """Return what was freed to the system: a memtable is tens of megabytes in pieces, which glibc keeps for each thread."""
    if _trim is not None:
        _trim(0)
