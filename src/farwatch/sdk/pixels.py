"""Arrays of any library as pixels: 8 bits a channel, ready for `farwatch.sdk.png`.

NumPy is used where the program has loaded it, never imported; nested lists work without it.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any

from farwatch.errors import UsageError

UNIT_MAX = 1.5  # a float picture up to here means 0..1 with some overshoot; as 0..255 it would be black
CHANNELS = (1, 2, 3, 4)
GRID_GAP = 2  # pixels between the pictures of a batch
SIZE_MAX = 16_384  # pixels a side


@dataclass(frozen=True, slots=True)
class Pixels:
    """One picture. `scanlines`: per row a PNG filter byte and `width * channels` bytes."""

    width: int
    height: int
    channels: int
    scanlines: bytes


def numpy_module() -> Any:
    """NumPy if this program has loaded it, else None."""
    return sys.modules.get("numpy")


def host_array(data: Any) -> Any:
    """A tensor or array of any library as a NumPy array, or as nested lists where there is no NumPy.

    Waits for a device if the data is on one. Raises `UsageError` for what is no array.
    """
    numpy = numpy_module()
    if hasattr(data, "detach"):  # torch
        data = data.detach()
        if str(getattr(data, "dtype", "")) in ("torch.bfloat16", "torch.float8_e4m3fn", "torch.float8_e5m2"):
            data = data.float()
        data = data.cpu()
        data = data.resolve_conj().resolve_neg() if hasattr(data, "resolve_conj") else data
        return data.numpy() if numpy is not None else data.tolist()
    if numpy is not None:
        if hasattr(data, "numpy") and not isinstance(data, numpy.ndarray):  # TensorFlow
            data = data.numpy()
        try:
            array = numpy.asarray(data)
        except ValueError as error:
            raise UsageError("the rows of an array must be of one length") from error
        if array.dtype.kind not in "biuf":
            if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and kin of ml_dtypes
                return array.astype(numpy.float32)
            raise UsageError(f"an array of numbers is needed, not {array.dtype} of {type(data).__name__}")
        return array
    return data.tolist() if hasattr(data, "tolist") else _to_lists(data)


def _to_lists(data: Any) -> Any:
    if isinstance(data, list | tuple | range):
        return [_to_lists(item) for item in data]
    if isinstance(data, bool | int | float):
        return data
    raise UsageError(f"an array of numbers is needed, not {type(data).__name__}")


def shape_of(data: Any) -> tuple[int, ...]:
    """The shape of a NumPy array or of nested lists. Raises `UsageError` if these are ragged."""
    if hasattr(data, "shape"):
        return tuple(int(size) for size in data.shape)
    if not isinstance(data, list):
        return ()
    inner = {shape_of(item) for item in data}
    if len(inner) > 1:
        raise UsageError("the rows of a picture must be of one length")
    return (len(data), *(inner.pop() if inner else ()))


def channels_first(shape: tuple[int, ...], tensor: bool) -> bool:
    """Whether the last three axes are (C, H, W). Where both readings fit, tensors of torch are, arrays are
    not."""
    usual = (1, 3, 4)
    first, last = shape[-3] in usual, shape[-1] in usual
    if not first and not last:  # grey and alpha is rare, so it counts only where nothing else fits
        first, last = shape[-3] == 2, shape[-1] == 2
    if first and last:
        return tensor
    if not first and not last:
        raise UsageError(f"a picture has 1 to 4 channels, this one has the shape {shape}")
    return first


def picture(data: Any) -> Pixels:
    """One picture from (H, W), (H, W, C) or (C, H, W); a batch of them becomes a grid.

    Floats up to 1.5 mean 0..1, others 0..255, clipped; non-finite ones are black. Integers up to 1 are a
    mask, above 255 16 bits. Raises `UsageError` for another shape.
    """
    tensor = hasattr(data, "detach")
    array = host_array(data)
    shape = shape_of(array)
    if len(shape) not in (2, 3, 4) or 0 in shape:
        raise UsageError(f"a picture is (H, W), (H, W, C) or (C, H, W), this one has the shape {shape}")
    if numpy_module() is None:
        return _from_lists(array, shape, tensor)
    frames = _as_frames(array, shape, tensor)
    return _encode(frames[0] if len(frames) == 1 else _grid(frames))


def video(data: Any) -> list[Pixels]:
    """The frames of (T, H, W, C), (T, C, H, W) or (T, H, W), or of a list of pictures. Raises
    `UsageError`."""
    if isinstance(data, list | tuple):
        frames = [picture(frame) for frame in data]
        if len({(frame.width, frame.height, frame.channels) for frame in frames}) != 1:
            raise UsageError("a video needs frames, all of one size")
        return frames
    tensor = hasattr(data, "detach")
    array = host_array(data)
    shape = shape_of(array)
    if len(shape) == 3 and numpy_module() is not None:
        array, shape = array[..., None], (*shape, 1)
    if len(shape) != 4 or 0 in shape:
        raise UsageError(f"a video is (T, H, W, C) or (T, C, H, W), this one has the shape {shape}")
    return [_encode(frame) for frame in _as_frames(array, shape, tensor)]


def _as_frames(array: Any, shape: tuple[int, ...], tensor: bool) -> Any:
    """(N, H, W, C) uint8."""
    levels = _levels(array)
    if len(shape) == 2:
        return levels[None, :, :, None]
    if len(shape) == 4 or shape[0] in CHANNELS or shape[2] in CHANNELS:
        levels = levels if len(shape) == 4 else levels[None]
        return levels.transpose(0, 2, 3, 1) if channels_first(shape, tensor) else levels
    return levels[..., None]  # (N, H, W): a batch of grey pictures


def _levels(array: Any) -> Any:
    """Numbers of any type and range as uint8."""
    numpy = numpy_module()
    kind = array.dtype.kind
    if kind == "b":
        return array.astype(numpy.uint8) * numpy.uint8(255)
    if array.dtype == numpy.uint8:
        return array
    if kind in "iu":
        top = int(array.max())
        if top <= 1:
            return array.clip(0, 1).astype(numpy.uint8) * numpy.uint8(255)
        if top > 255 and array.dtype == numpy.uint16:
            return (array >> 8).astype(numpy.uint8)
        return array.clip(0, 255).astype(numpy.uint8)
    array = numpy.nan_to_num(array.astype(numpy.float32, copy=False), nan=0.0, posinf=0.0, neginf=0.0)
    scale = 255.0 if float(array.max()) <= UNIT_MAX else 1.0
    return (array * scale + 0.5).clip(0, 255).astype(numpy.uint8)


def _grid(frames: Any) -> Any:
    """Put pictures side by side in about a square, row by row."""
    numpy = numpy_module()
    count, height, width, channels = frames.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    size = (rows * (height + GRID_GAP) - GRID_GAP, columns * (width + GRID_GAP) - GRID_GAP, channels)
    grid = numpy.zeros(size, numpy.uint8)
    for index in range(count):
        top, left = index // columns * (height + GRID_GAP), index % columns * (width + GRID_GAP)
        grid[top : top + height, left : left + width] = frames[index]
    return grid


def _encode(frame: Any) -> Pixels:
    """(H, W, C) uint8 as scanlines with the Sub filter, which makes photographs a third smaller."""
    numpy = numpy_module()
    height, width, channels = frame.shape
    if max(height, width) > SIZE_MAX:
        raise UsageError(
            f"a picture of {width} x {height} pixels is too large", hint=f"at most {SIZE_MAX} a side"
        )
    lines = numpy.empty((height, 1 + width * channels), numpy.uint8)
    lines[:, 0] = 1
    body = lines[:, 1:].reshape(height, width, channels)
    body[:] = frame
    body[:, 1:] -= frame[:, :-1]
    lines[:, 1:] = body.reshape(height, -1)
    return Pixels(width, height, channels, lines.tobytes())


def _from_lists(rows: list[Any], shape: tuple[int, ...], tensor: bool) -> Pixels:
    """The same without NumPy, for one picture."""
    if len(shape) == 4:
        raise UsageError("a batch of pictures needs NumPy")
    if len(shape) == 2:
        rows = [[[value] for value in row] for row in rows]
    elif channels_first(shape, tensor):
        rows = [[list(pixel) for pixel in zip(*planes, strict=True)] for planes in zip(*rows, strict=True)]
    values = [value for row in rows for pixel in row for value in pixel]
    finite = [value for value in values if isinstance(value, int) or math.isfinite(value)]
    integers = all(isinstance(value, int) for value in values)
    top = max(finite, default=0)
    scale = 255 if top <= (1 if integers else UNIT_MAX) else 1

    def level(value: float) -> int:
        return min(255, max(0, int(value * scale + (0 if integers else 0.5)))) if math.isfinite(value) else 0

    lines = b"".join(b"\0" + bytes(level(value) for pixel in row for value in pixel) for row in rows)
    return Pixels(len(rows[0]), len(rows), len(rows[0][0]), lines)
