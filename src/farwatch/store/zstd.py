"""zstd with one compressor and one decompressor per thread.

The objects keep state between calls and release the GIL, so two threads on one pair write or read garbage; this was
measured with another binding, and costs nothing to avoid.
"""

import sys
import threading

if sys.version_info >= (3, 14):
    from compression import zstd as library  # ty: the standard library's
else:
    from backports import zstd as library

WINDOW_LOG_MAX = 23  # 8 MiB: what one connection may make the server allocate
ZstdError = library.ZstdError

# Digits of noisy numbers repeat by chance alone: shorter matches cost more than the digits that they stand for. Against level 6 that is
# 2 to 3 % off a list of numbers; the tables are kept smaller than the level's own, for each thread has some.
_PARAMETER = library.CompressionParameter
_FOR_DIGITS = {
    int(_PARAMETER.compression_level): 10, int(_PARAMETER.min_match): 6, int(_PARAMETER.window_log): 19,
    int(_PARAMETER.hash_log): 17, int(_PARAMETER.chain_log): 17,
}  # fmt: skip
DIGITS = -1  # a level by which `compress` means these

_local = threading.local()


def compress(data: bytes | bytearray | memoryview, level: int = 1) -> bytes:
    """One zstd frame of `data`. `level`: as zstd counts, or `DIGITS` for text that is mostly numbers."""
    try:
        compressor = _local.compressors[level]
    except AttributeError:
        _local.compressors = {level: _compressor(level)}
        compressor = _local.compressors[level]
    except KeyError:
        compressor = _local.compressors[level] = _compressor(level)
    return compressor.compress(data, library.ZstdCompressor.FLUSH_FRAME)


def _compressor(level: int) -> "library.ZstdCompressor":
    return library.ZstdCompressor(options=_FOR_DIGITS) if level == DIGITS else library.ZstdCompressor(level)


def decompress(data: bytes | memoryview) -> bytes:
    """The contents of one frame that we wrote ourselves. Raises `ZstdError` for damage."""
    return library.decompress(data)


def inflate(data: bytes | memoryview, max_bytes: int) -> bytes | None:
    """The contents of one frame of a stranger, or None if they are longer than `max_bytes`.

    Raises `ZstdError` for damage, a frame cut short, a window above 8 MiB, or bytes behind the frame.
    """
    options = {int(library.DecompressionParameter.window_log_max): WINDOW_LOG_MAX}
    machine = library.ZstdDecompressor(options=options)
    parts: list[bytes] = []
    found = 0
    while not machine.eof:
        part = machine.decompress(data, max_length=max_bytes + 1 - found)
        data = b""
        found += len(part)
        if found > max_bytes:
            return None
        parts.append(part)
        if not part and machine.needs_input and not machine.eof:
            raise ZstdError("the frame is cut short")
    if machine.unused_data:
        raise ZstdError("bytes behind the frame")
    return parts[0] if len(parts) == 1 else b"".join(parts)
