"""Compression of batches: zstd where Python has it, else zlib; level 1 of either, because the agent lives beside a training."""

import zlib
from collections.abc import Callable

SMALL_BYTES = 256  # below, compression gains nothing


def _find_zstd() -> Callable[[bytes, int], bytes] | None:
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            return None
    return lambda data, level: bytes(zstd.compress(data, level))


_ZSTD = _find_zstd()


def pack(data: bytes) -> tuple[bytes, str]:
    """Compress a batch. Returns the bytes and their `Content-Encoding`; safe in any thread."""
    if len(data) < SMALL_BYTES:
        return data, "identity"
    if _ZSTD is not None:
        return _ZSTD(data, 1), "zstd"
    return zlib.compress(data, 1), "deflate"
