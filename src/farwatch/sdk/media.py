"""What a run logs besides numbers: pictures, histograms, tables, sound, video, HTML.

An object only holds what it was given; the work is done in `render`, when it is logged. `render` raises
`UsageError` for data that cannot be what it should be, and `OSError` for a file that cannot be read.
"""

import io
import json
import math
import os
import struct
import sys
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from farwatch.errors import UsageError
from farwatch.sdk import pixels
from farwatch.sdk.plain import clean, finite, plain
from farwatch.sdk.png import encode_apng, encode_png, picture_size, picture_type

PREVIEW_ROWS = 100
PREVIEW_CHARS = 32_768
BINS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Rendered:
    """A value ready for the journal: the body of its POINT record, and what goes beside it, if anything.

    `content`: bytes, or the path of a file to copy; of `media_type`, with a name that ends in `suffix`.
    """

    body: dict[str, Any]
    content: bytes | Path | None = None
    media_type: str | None = None
    suffix: str = ""


class Image:
    """A picture: array, tensor, PIL image, path, or the bytes of a PNG, JPEG, GIF, WebP, AVIF or SVG.

    Arrays are (H, W), (H, W, C) or (C, H, W) with 1 to 4 channels; a batch becomes a grid. Floats up to 1
    mean 0..1, all other numbers 0..255. Files and their bytes are kept unchanged.
    """

    def __init__(self, data: Any, caption: str | None = None) -> None:
        self.data = data
        self.caption = caption

    def render(self) -> Rendered:
        body: dict[str, Any] = {"type": "image", **_caption(self.caption)}
        data = self.data
        if isinstance(data, Image):
            data = data.data
        if isinstance(data, str | os.PathLike | bytes | bytearray | memoryview):
            return _picture_file(data, body)
        if (type(data).__module__ or "").partition(".")[0] == "PIL" and hasattr(data, "save"):
            return _pil(data, body)
        found = pixels.picture(data)
        content = encode_png(found.scanlines, found.width, found.height, found.channels)
        return Rendered({**body, "width": found.width, "height": found.height}, content, "image/png", ".png")


class Histogram:
    """How often values fall into bins, either counted here or given.

    Non-finite values are counted apart. `bins`: how many bins of equal width, or their edges.
    """

    def __init__(
        self,
        values: Any = None,
        bins: int | Sequence[float] = 64,
        *,
        counts: Sequence[float] | None = None,
        edges: Sequence[float] | None = None,
    ) -> None:
        """Take values, or `counts` with `edges`, which are one more. Raises `UsageError` for anything
        else."""
        if (values is None) == (counts is None) or (counts is None) != (edges is None):
            raise UsageError("a histogram needs values, or counts with edges")
        if counts is not None and edges is not None and len(edges) != len(counts) + 1:
            raise UsageError(f"{len(counts)} counts need {len(counts) + 1} edges, not {len(edges)}")
        if isinstance(bins, int) and not 1 <= bins <= BINS_MAX:
            raise UsageError(f"a histogram has 1 to {BINS_MAX} bins, not {bins}")
        self.values = values
        self.bins = bins
        self.counts = counts
        self.edges = edges

    def render(self) -> Rendered:
        if self.counts is not None and self.edges is not None:
            counts = [_number(count) for count in self.counts]
            edges = [float(edge) for edge in self.edges]
            return Rendered({"type": "histogram", "counts": counts, "edges": finite(edges), "nonfinite": 0})
        array = pixels.host_array(self.values)
        numpy = pixels.numpy_module()
        count = _count_with_numpy if numpy is not None else _count_in_python
        found, borders, missing = count(array, self.bins)
        return Rendered({"type": "histogram", "counts": found, "edges": borders, "nonfinite": missing})


class Table:
    """Rows and columns: a list of rows or of dicts, a dict of columns, a data frame, or a 2-D array.

    A large table is kept as a file with its first rows as a preview.
    """

    def __init__(self, data: Any = None, columns: Sequence[str] | None = None) -> None:
        self.data = [] if data is None else data
        self.columns = None if columns is None else [clean(str(column)) for column in columns]

    def add_row(self, *cells: Any) -> None:
        """Add a row to a table that was made from a list of rows, or from nothing. Raises `UsageError` for
        others."""
        if not isinstance(self.data, list):
            raise UsageError("rows can only be added to a table of rows")
        self.data.append(list(cells))

    def render(self) -> Rendered:
        columns, raw = _table(self.data, self.columns)
        rows = finite([[plain(cell) for cell in row] for row in raw])
        assert isinstance(rows, list)
        preview, size = [], 0
        for row in rows[:PREVIEW_ROWS]:
            size += len(json.dumps(row))
            if size > PREVIEW_CHARS:
                break
            preview.append(row)
        body = {"type": "table", "columns": columns, "rows": preview, "count": len(rows)}
        if len(preview) == len(rows):
            return Rendered(body)
        content = json.dumps(
            {"columns": columns, "rows": rows}, separators=(",", ":"), allow_nan=False
        ).encode()
        return Rendered(body, content, "application/json", ".json")


class Audio:
    """Sound: an array with its `rate` in Hz, or a path or the bytes of a WAV, MP3, OGG, FLAC or MP4 file.

    Arrays are (n,), (n, channels) or (channels, n); floats mean -1..1.
    """

    def __init__(self, data: Any, rate: float | None = None, caption: str | None = None) -> None:
        self.data = data
        self.rate = rate
        self.caption = caption

    def render(self) -> Rendered:
        body: dict[str, Any] = {"type": "audio", **_caption(self.caption)}
        if isinstance(self.data, str | os.PathLike | bytes | bytearray | memoryview):
            return _file(self.data, body, _AUDIO, "a sound")
        if self.rate is None or not 1 <= self.rate <= 10_000_000:
            raise UsageError("an array of sound needs its rate in Hz: `Audio(data, rate=16000)`")
        samples, channels = _samples(self.data)
        rate = int(self.rate)
        body |= {"rate": rate, "channels": channels, "seconds": len(samples) / (2 * channels * rate)}
        head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, channels, rate,
                           2 * channels * rate, 2 * channels, 16, b"data", len(samples))  # fmt: skip
        return Rendered(body, head + samples, "audio/wav", ".wav")


class Video:
    """Moving pictures: an array (T, H, W, C) or (T, C, H, W), a list of pictures, or the path or bytes of a
    file.

    Arrays become an animated PNG with `fps` frames per second; MP4, WebM, GIF and animated PNG are kept
    unchanged.
    """

    def __init__(self, data: Any, fps: float = 8, caption: str | None = None) -> None:
        self.data = data
        self.fps = fps
        self.caption = caption

    def render(self) -> Rendered:
        body: dict[str, Any] = {"type": "video", **_caption(self.caption)}
        if isinstance(self.data, str | os.PathLike | bytes | bytearray | memoryview):
            return _file(self.data, body, _VIDEO, "a video")
        if not 0 < self.fps <= 1000:
            raise UsageError(f"fps must be above 0 and at most 1000, not {self.fps}")
        frames = pixels.video(self.data)
        first = frames[0]
        content = encode_apng(
            [frame.scanlines for frame in frames], first.width, first.height, first.channels, self.fps
        )
        body |= {"width": first.width, "height": first.height, "frames": len(frames), "fps": self.fps}
        return Rendered(body, content, "image/apng", ".apng")


class Html:
    """A piece of HTML, shown in a sandbox that reaches nothing: text, or the path of a file."""

    def __init__(self, text: str | os.PathLike[str], caption: str | None = None) -> None:
        self.text = text
        self.caption = caption

    def render(self) -> Rendered:
        body: dict[str, Any] = {"type": "html", **_caption(self.caption)}
        if isinstance(self.text, os.PathLike):
            return Rendered(body, Path(self.text), "text/html", ".html")
        if not isinstance(self.text, str):
            raise UsageError(f"HTML is text, not {type(self.text).__name__}")
        return Rendered(body, clean(self.text).encode(), "text/html", ".html")


def _caption(caption: str | None) -> dict[str, Any]:
    return {} if caption is None else {"caption": clean(str(caption))[:10_000]}


# --- files

_AUDIO = (
    (0, b"ID3", "audio/mpeg", ".mp3"),
    (0, b"\xff\xfb", "audio/mpeg", ".mp3"),
    (0, b"\xff\xf3", "audio/mpeg", ".mp3"),
    (0, b"OggS", "audio/ogg", ".ogg"),
    (0, b"fLaC", "audio/flac", ".flac"),
    (8, b"WAVE", "audio/wav", ".wav"),
    (4, b"ftyp", "audio/mp4", ".m4a"),
)
_VIDEO = (
    (4, b"ftyp", "video/mp4", ".mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm", ".webm"),
    (0, b"GIF8", "image/gif", ".gif"),
    (0, b"\x89PNG\r\n\x1a\n", "image/apng", ".apng"),
    (8, b"WEBP", "image/webp", ".webp"),
    (0, b"OggS", "video/ogg", ".ogv"),
)
_PICTURE_SUFFIX = {"image/jpeg": ".jpg", "image/svg+xml": ".svg"}
_FileLike = str | os.PathLike[str] | bytes | bytearray | memoryview


def _open_content(data: _FileLike) -> tuple[bytes | Path, bytes]:
    """The content and its first bytes. Raises `OSError` for a path that cannot be read or is no plain
    file."""
    if isinstance(data, bytes | bytearray | memoryview):
        content = bytes(data)
        return content, content
    path = Path(data)
    if not path.is_file():
        raise UsageError(f"no such file: `{path}`")
    with open(path, "rb") as file:
        return path, file.read(1 << 16)


def _file(
    data: _FileLike, body: dict[str, Any], known: Sequence[tuple[int, bytes, str, str]], what: str
) -> Rendered:
    content, head = _open_content(data)
    for offset, magic, media_type, suffix in known:
        if head[offset : offset + len(magic)] == magic:
            return Rendered(body, content, media_type, suffix)
    raise UsageError(f"this is not {what} of a known kind: it begins with `{head[:8]!r}`")


def _picture_file(data: _FileLike, body: dict[str, Any]) -> Rendered:
    content, head = _open_content(data)
    media_type = picture_type(head[:1024])
    if media_type is None:
        opened = _open_with_pil(content)
        if opened is None:
            raise UsageError(f"this is no picture of a known kind: it begins with `{head[:8]!r}`")
        return _pil(opened, body)
    size = picture_size(head) or (picture_size(content.read_bytes()) if isinstance(content, Path) else None)
    if size is not None:
        body |= {"width": size[0], "height": size[1]}
    suffix = _PICTURE_SUFFIX.get(media_type, "." + media_type.partition("/")[2])
    return Rendered(body, content, media_type, suffix)


def _open_with_pil(content: bytes | Path) -> Any:
    """BMP, TIFF and the like, if the program has loaded Pillow; None if it has not or cannot read it."""
    pil: Any = sys.modules.get("PIL.Image")
    if pil is None:
        return None
    try:
        return pil.open(io.BytesIO(content) if isinstance(content, bytes) else content)
    except (OSError, ValueError, SyntaxError):
        return None


def _pil(image: Any, body: dict[str, Any]) -> Rendered:
    if image.mode not in ("L", "LA", "RGB", "RGBA", "1"):
        wide = image.mode in ("I", "F") or image.mode.startswith("I;16")
        image = image.convert(
            "RGBA" if "A" in image.mode or "transparency" in image.info else "L" if wide else "RGB"
        )
    out = io.BytesIO()
    image.save(out, format="PNG", compress_level=4)
    width, height = image.size
    return Rendered({**body, "width": width, "height": height}, out.getvalue(), "image/png", ".png")


# --- histograms


def _number(value: Any) -> int | float:
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise UsageError(f"a count cannot be: `{value}`")
    return int(number) if number.is_integer() else number


def _edges(low: float, high: float, bins: int) -> list[float]:
    if low == high:
        margin = max(0.5, abs(low) * 1e-6)
        low, high = low - margin, high + margin
    # halves, because the distance of two huge numbers overflows
    return [2 * (low / 2 + (high / 2 - low / 2) * index / bins) for index in range(bins)] + [high]


def _borders(low: float, high: float, bins: int | Sequence[float]) -> list[float]:
    if isinstance(bins, int):
        return _edges(low, high, bins)
    borders = [float(edge) for edge in bins]
    if len(borders) < 2 or any(not a < b for a, b in pairwise(borders)):
        raise UsageError("the edges of bins must increase, and be at least two")
    return borders


def _count_with_numpy(array: Any, bins: int | Sequence[float]) -> tuple[list[int], list[float], int]:
    numpy = pixels.numpy_module()
    flat = array.reshape(-1)
    flat = flat.astype(
        numpy.float64 if flat.dtype.kind in "biu" or flat.dtype.itemsize > 4 else numpy.float32
    )
    kept = flat[numpy.isfinite(flat)]
    if not kept.size:
        kept = kept.astype(numpy.float64)
        return [0], [0.0, 1.0], int(flat.size)
    borders = _borders(float(kept.min()), float(kept.max()), bins)
    counts, _ = numpy.histogram(kept, numpy.asarray(borders))
    return [int(count) for count in counts], borders, int(flat.size - kept.size)


def _count_in_python(array: Any, bins: int | Sequence[float]) -> tuple[list[int], list[float], int]:
    flat = list(_flatten(array))
    kept = [value for value in flat if math.isfinite(value)]
    if not kept:
        return [0], [0.0, 1.0], len(flat)
    borders = _borders(min(kept), max(kept), bins)
    counts = [0] * (len(borders) - 1)
    for value in kept:
        if borders[0] <= value <= borders[-1]:
            counts[min(len(counts) - 1, bisect_right(borders, value) - 1)] += 1
    return counts, borders, len(flat) - len(kept)


def _flatten(array: Any) -> Iterable[float]:
    if isinstance(array, list):
        for item in array:
            yield from _flatten(item)
    else:
        yield array


# --- tables


def _table(data: Any, columns: list[str] | None) -> tuple[list[str], list[Sequence[Any]]]:
    library = (type(data).__module__ or "").partition(".")[0]
    found: list[str] | None = None
    rows: list[Sequence[Any]]
    if isinstance(data, Table):
        found, rows = _table(data.data, data.columns)
    elif library == "pandas" and hasattr(data, "itertuples"):
        plain_index = type(data.index).__name__ == "RangeIndex"
        found = [str(name) for name in data.columns]
        rows = [list(row) for row in data.itertuples(index=not plain_index, name=None)]
        found = found if plain_index else [str(data.index.name or "index"), *found]
    elif library == "polars" and hasattr(data, "rows"):
        found, rows = list(data.columns), list(data.rows())
    elif library == "pyarrow" and hasattr(data, "to_pydict"):
        found, rows = _from_columns(data.to_pydict())
    elif isinstance(data, Mapping):
        found, rows = _from_columns(data)
    elif hasattr(data, "shape"):
        listed = (
            pixels.host_array(data).tolist() if getattr(data.dtype, "names", None) is None else data.tolist()
        )
        found = list(data.dtype.names) if getattr(data.dtype, "names", None) else None
        rows = [row if isinstance(row, list | tuple) else [row] for row in listed]
    else:
        listed = list(data)
        if listed and all(isinstance(row, Mapping) for row in listed):
            found = list(dict.fromkeys(str(key) for row in listed for key in row))
            rows = [[{str(k): v for k, v in row.items()}.get(name) for name in found] for row in listed]
        else:
            rows = [row if isinstance(row, list | tuple) else [row] for row in listed]
    width = max((len(row) for row in rows), default=len(columns or found or ()))
    if (
        columns is not None
        and found is not None
        and set(columns) <= set(found)
        and len(columns) != len(found)
    ):
        places = [found.index(name) for name in columns]
        rows, width = [[row[place] for place in places] for row in rows], len(columns)
    names = columns or found or [str(index) for index in range(width)]
    if len(names) != width:
        raise UsageError(f"{len(names)} column names for {width} columns")
    return [clean(name) for name in names], [[*row, *[None] * (width - len(row))] for row in rows]


def _from_columns(data: Mapping[Any, Any]) -> tuple[list[str], list[Sequence[Any]]]:
    values = [list(column.tolist() if hasattr(column, "tolist") else column) for column in data.values()]
    if len({len(column) for column in values}) > 1:
        raise UsageError(
            f"the columns of a table are of different lengths: {[len(column) for column in values]}"
        )
    return [str(name) for name in data], list(zip(*values, strict=True))


# --- sound


def _samples(data: Any) -> tuple[bytes, int]:
    """Interleaved 16-bit samples, little-endian, and the number of channels."""
    array = pixels.host_array(data)
    shape = pixels.shape_of(array)
    if len(shape) == 1:
        shape = (shape[0], 1)
        across = False
    elif len(shape) == 2 and min(shape) <= 32:
        across = shape[0] < shape[1] and shape[0] <= 32
    else:
        raise UsageError(f"sound is (n,), (n, channels) or (channels, n), this has the shape {shape}")
    numpy = pixels.numpy_module()
    if numpy is None:
        columns = [list(channel) for channel in zip(*array, strict=True)] if across else array
        return _samples_in_python(columns), shape[0] if across else shape[1]
    array = array.T if across else array
    if array.dtype.kind == "f":
        array = numpy.nan_to_num(array.astype(numpy.float32, copy=False), nan=0.0, posinf=1.0, neginf=-1.0)
        peak = float(numpy.abs(array).max(initial=0.0))
        array = (array * (32_767.0 if peak <= 2.0 else 1.0)).round().clip(-32_768, 32_767)
    elif array.dtype == numpy.uint8:
        array = (array.astype(numpy.int16) - 128) * 256
    elif array.dtype == numpy.int32:
        array = array >> 16
    else:
        array = array.clip(-32_768, 32_767)
    return array.astype("<i2").tobytes(), shape[0] if across else shape[1]


def _samples_in_python(rows: Any) -> bytes:
    values = [float(value) for value in _flatten(rows)]
    peak = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    scale = 32_767 if peak <= 2.0 else 1
    levels = [
        max(-32_768, min(32_767, round(value * scale))) if math.isfinite(value) else 0 for value in values
    ]
    return struct.pack(f"<{len(levels)}h", *levels)
