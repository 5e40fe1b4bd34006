"""Turning what people log into numbers: Python, NumPy, torch, JAX and TensorFlow scalars, without importing any of them.

Values are recognised by where their type comes from. A value on a device is not read here, see `farwatch.sdk.device`.
"""

import math
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from farwatch.wire import moments
from farwatch.wire.records import EXACT_INT

UNNAMED = "unnamed"
NAME_MAX_BYTES = 4096
SEPARATOR = "/"


_READERS: dict[type, Callable[[Any], Any]] = {float: float, int: int, bool: bool}  # types seen before, by exact type


class NotANumber(Exception):
    """A value that cannot be a number; the text says why and what to use instead."""


def metric_name(key: object) -> str:
    """The name under which a key is kept: text, never empty, at most 4 KiB, without lone surrogates."""
    name = key if isinstance(key, str) else str(key)
    encoded = name.encode("utf-8", "replace")
    if len(encoded) > NAME_MAX_BYTES:
        encoded = encoded[:NAME_MAX_BYTES]
    return encoded.decode("utf-8", "ignore") or UNNAMED


def walk(data: Mapping[Any, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Each (name, value) of a mapping; nested mappings are joined with `/`, 32 levels deep."""
    for key, value in data.items():
        name = prefix + metric_name(key)
        if isinstance(value, Mapping) and depth < 32:
            yield from walk(value, name + SEPARATOR, depth + 1)
        else:
            yield name, value


def numbers(row: tuple[Any, ...]) -> tuple[float | int | bool, ...] | None:
    """A row of scalars that all live in this process's memory and whose types were seen before; else None.

    *Cost*: about 0.3 µs a NumPy scalar or CPU tensor.
    """
    found = []
    for value in row:
        reader = _READERS.get(type(value))
        if reader is None:
            return None
        item = reader(value)
        if item is None or (type(item) is int and not -EXACT_INT <= item <= EXACT_INT):
            return None
        found.append(item)
    return tuple(found)


def _learn(value: Any) -> None:
    """Remember how to read a type whose every value is a scalar, or says cheaply whether it is one."""
    kind = type(value)
    module = kind.__module__
    if module == "numpy" and hasattr(value, "item") and getattr(value, "ndim", None) == 0 and kind.__name__ != "ndarray":
        _READERS[kind] = kind.item
    elif module == "torch" and kind.__name__ in ("Tensor", "Parameter"):
        _READERS[kind] = _torch_scalar


def _torch_scalar(tensor: Any) -> float | int | bool | None:
    if tensor.is_cpu and tensor.numel() == 1:
        found = tensor.item()
        return None if isinstance(found, complex) else found
    return None


def moment(value: Any) -> date | None:
    """A `datetime` or `date` of any library as Python's own, without its subclass; None for anything else.

    What has nanoseconds is none: it would be rounded.
    """
    if type(value).__name__ == "datetime64":
        value = value.astype("datetime64[us]").item() if value.astype("datetime64[us]") == value else None
    return moments.exact(value) if isinstance(value, date) else None


def number(value: Any) -> float | int | bool:
    """Read a scalar that lives in this process's memory. Raises `NotANumber` for anything else.

    Zero-dimensional arrays and arrays of one element count as scalars, whatever library they are from.
    """
    kind = type(value)
    if kind is float or kind is int or kind is bool:
        return value
    if isinstance(value, bool | int | float):  # subclasses, and np.float64
        _learn(value)
        return float(value) if isinstance(value, float) else int(value)
    size = len(value) if isinstance(value, list | tuple) else size_of(value)
    if size is not None and (size != 1 or isinstance(value, list | tuple)):
        raise NotANumber(f"{size} values in one; use farwatch.Histogram(values) or run.extend(name, values)")
    item = getattr(value, "item", None)
    if kind.__name__ in ("datetime64", "timedelta64"):
        raise NotANumber(f"a value of type {kind.__module__}.{kind.__qualname__}")  # its `item` may be a count of nanoseconds
    if item is not None:
        detach = getattr(value, "detach", None)
        found = detach().item() if detach is not None else item()
    elif hasattr(value, "numpy"):
        found = value.numpy().item()  # TensorFlow
    elif hasattr(value, "__float__") and not isinstance(value, str | bytes):
        found = float(value)
    else:
        raise NotANumber(f"a value of type {kind.__module__}.{kind.__qualname__}")
    if isinstance(found, complex):
        raise NotANumber("a complex number; log its real and imaginary part")
    _learn(value)
    return found if isinstance(found, bool | int) else float(found)


def size_of(value: Any) -> int | None:
    numel = getattr(value, "numel", None)
    if callable(numel):
        return int(numel())
    size = getattr(value, "size", None)
    if isinstance(size, int):
        return size
    shape = getattr(value, "shape", None)
    return math.prod(shape) if isinstance(shape, tuple) else None


def step_number(step: Any) -> float | int:
    """The step of a call: an int where it is whole and exact, else a float64. Raises `NotANumber` if it is not finite."""
    found = number(step)
    if isinstance(found, bool):
        return int(found)
    if isinstance(found, int):
        return found if -EXACT_INT <= found <= EXACT_INT else float(found)
    if not math.isfinite(found):
        raise NotANumber(f"step must be finite, not {found}")
    return int(found) if found.is_integer() and abs(found) <= EXACT_INT else found


def time_us(time: Any) -> int:
    """Microseconds since the epoch from a `datetime`, integer milliseconds, or seconds as `time.time()` gives them.

    A naive `datetime` is local time. Raises `NotANumber` for anything else.
    """
    if isinstance(time, datetime):
        moment = time.astimezone(UTC)
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    found = number(time)
    if isinstance(found, int):
        return found * 1000
    if not math.isfinite(found):
        raise NotANumber(f"time must be finite, not {found}")
    # Seconds pass 1e11 in the year 5138; a larger float is milliseconds that somebody divided or averaged.
    return round(found * 1_000_000) if abs(found) < 1e11 else round(found * 1000)


def column(values: Any) -> tuple[bytes, int, bool]:
    """Bytes of a column for `extend`: n × 8 bytes, n, and whether they are int64 (else float64).

    NumPy arrays and CPU tensors go through NumPy, which is loaded then; everything else through `array`.
    Raises `NotANumber` for what is not one-dimensional or holds no numbers.
    """
    detach = getattr(values, "detach", None)
    if detach is not None:
        values = detach().cpu().numpy()
    elif hasattr(values, "__array__") and "numpy" in sys.modules:
        values = sys.modules["numpy"].asarray(values)
    if hasattr(values, "astype") and hasattr(values, "dtype"):
        if values.ndim != 1:
            raise NotANumber(f"an array of {values.ndim} dimensions; extend takes one")
        kind = values.dtype.kind
        if kind in "iub" and _exact(values):
            return values.astype("<i8").tobytes(), len(values), kind != "b"
        if kind not in "fiub":
            raise NotANumber(f"an array of dtype {values.dtype}")
        return values.astype("<f8").tobytes(), len(values), False
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        raise NotANumber(f"a value of type {type(values).__qualname__}; extend takes a list or an array")
    found = [number(value) for value in values]
    if found and all(type(value) is int and -EXACT_INT <= value <= EXACT_INT for value in found):
        return array("q", found).tobytes(), len(found), True
    return array("d", found).tobytes(), len(found), False


def _exact(values: Any) -> bool:
    return not len(values) or (int(values.max()) <= EXACT_INT and int(values.min()) >= -EXACT_INT)


def time_column(times: Any) -> bytes:
    """Bytes of a column of times, int64 µs since the epoch; see `time_us` for what counts as a time."""
    if hasattr(times, "dtype") and getattr(times.dtype, "kind", "") == "M":
        return times.astype("datetime64[us]").astype("<i8").tobytes()
    return array("q", [time_us(value) for value in times]).tobytes()
