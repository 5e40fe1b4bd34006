"""Turn any value of any library into what JSON can hold, without importing the library and without ever
raising.

Foreign types are recognised by what their class says about itself, never by an import. What is no data (a
model, an open file) becomes a short text. Nothing here waits for a device except for arrays of at most
`ARRAY_MAX` elements.
"""

import dataclasses
import datetime
import enum
import math
import os
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, TypeVar

from farwatch.wire import moments
from farwatch.wire.redact import MASK

DEPTH_MAX = 32  # half of the server's `json_depth_max`, so that a config always fits into a request
NODES_MAX = 200_000  # about half a second of conversion; a config of this size is data, not a config
ARRAY_MAX = 1000  # elements of an array that is kept as a list; larger ones are described
TEXT_MAX = 1000  # characters of a description
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_INT_DIGITS_BITS = 14_000  # Python refuses to print integers of more than 4,300 digits = 14,284 bits
_T = TypeVar("_T")


def plain(value: object) -> object:
    """The value as None, bool, int, float, str, datetime, date, list or dict with text keys; floats may be non-finite.

    Enums become their text value or name, paths and times of day text, sets sorted lists, named tuples
    and records (dataclass, attrs, pydantic, …) dicts, functions and classes their dotted name, NumPy and
    tensor values numbers or lists. A key with slashes opens levels: `{"opt/lr": 1}` is `{"opt": {"lr": 1}}`.
    """
    return _Plainer().convert(value, 0)


def is_data(value: object) -> bool:
    """Whether the value is a table, an array or a model: something whose fields are data, not settings."""
    return _library(value) in _NO_CONFIG | _ARRAY_LIBRARIES


def fields_of(value: object) -> dict[object, object] | None:
    """The named fields of a config-like object, one level deep; None if it has none that we know how to
    read."""
    for reader in (_read_mapping, _read_foreign, _read_record):
        found = _guarded(reader, value, None)
        if found is not None:
            return found
    return None


def finite(value: object, *, typed: bool = False) -> object:
    """A plain value as JSON wants it: non-finite numbers are the texts `NaN`, `Infinity`, `-Infinity`.

    Datetimes and dates are ISO text, or `{"$datetime": …}`, `{"$date": …}` if `typed`: where they shall be read back as such.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: finite(item, typed=typed) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item, typed=typed) for item in value]
    if isinstance(value, datetime.date):
        return moments.as_json(value) if typed else value.isoformat()
    return value


def describe(value: object) -> str:
    """A short text for something that is no data; without memory addresses, so that two runs compare
    equal."""
    text = _guarded(repr, value, f"<{type(value).__qualname__}: its repr fails>")
    text = _ADDRESS.sub("", clean(text))
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"


def clean(text: str) -> str:
    """The text as an exact `str` that UTF-8 can hold; lone surrogates are written out as `\\udc80`."""
    text = str.__str__(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "backslashreplace").decode()
    return text


def key_text(key: object) -> str:
    """The name that a key of any type gets; an empty one becomes `unnamed`."""
    if isinstance(key, enum.Enum):
        key = _enum(key)
    if isinstance(key, bytes):
        key = key.decode("utf-8", "backslashreplace")
    text = clean(key) if isinstance(key, str) else clean(_guarded(str, key, type(key).__qualname__))
    return text[:TEXT_MAX] or "unnamed"


def merge(target: dict[str, Any], patch: Mapping[str, Any]) -> None:
    """Put a nested patch into a nested mapping: mappings are merged, everything else is replaced."""
    for key, item in patch.items():
        there = target.get(key)
        if isinstance(item, Mapping) and isinstance(there, dict):
            merge(there, item)
        else:
            target[key] = item


def _guarded(call: Callable[[Any], _T], value: object, default: _T) -> _T:
    # A border: `call` runs foreign code (`__repr__`, `to_dict`, properties), which may raise anything, and a
    # config is not worth a training.
    try:
        return call(value)
    except Exception:
        return default


class _Plainer:
    """One conversion: remembers the containers it is in (cycles) and how much it has converted."""

    def __init__(self) -> None:
        self.inside: set[int] = set()
        self.nodes = 0

    def convert(self, value: object, depth: int) -> object:
        self.nodes += 1
        kind = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is str:
            return clean(value)  # type: ignore[arg-type]
        if kind is int:
            return _integer(value)  # type: ignore[arg-type]
        if self.nodes > NODES_MAX or depth > DEPTH_MAX:
            return f"… {kind.__qualname__}"
        scalar = _guarded(_scalar, value, _MISSING)
        if scalar is not _MISSING:
            return scalar
        if id(value) in self.inside:
            return f"<cycle: {kind.__qualname__}>"
        self.inside.add(id(value))
        try:
            return self.container(value, depth)
        except RecursionError:
            return f"<too deep: {kind.__qualname__}>"
        finally:
            self.inside.discard(id(value))

    def container(self, value: object, depth: int) -> object:
        array = _guarded(_array, value, _MISSING)
        if array is not _MISSING:
            return self.convert(array, depth + 1) if isinstance(array, list) else array
        known = isinstance(value, Mapping) or not isinstance(value, type | types.ModuleType)
        fields = fields_of(value) if known and not isinstance(value, list | Set) else None
        if fields is not None:
            return self.mapping(fields, depth)
        if isinstance(value, Set):
            items: list[object] = _guarded(list, value, [])
            return sorted(
                (self.convert(item, depth + 1) for item in items),
                key=lambda item: (str(type(item)), repr(item)),
            )
        if isinstance(value, Sequence) and not isinstance(value, range | memoryview):
            listed: list[object] = _guarded(list, value, [])
            return [self.convert(item, depth + 1) for item in listed]
        return describe(value)

    def mapping(self, fields: Mapping[object, object], depth: int) -> dict[str, object]:
        result: dict[str, object] = {}
        sources: dict[str, object] = {}
        for key, item in fields.items():
            name = key_text(key)
            if name in sources and sources[name] != key:
                name = f"{name} ({type(key).__name__})"  # {1: …, "1": …}: keep both
            sources[name] = key
            _put(result, name, self.convert(item, depth + 1))
        return result


def _put(result: dict[str, object], name: str, item: object) -> None:
    """Set `result["a"]["b"]` for the name `a/b`; a name that does not split cleanly stays as it is."""
    parts = name.split("/")
    level = result
    if len(parts) > 1 and all(parts) and len(parts) <= DEPTH_MAX:
        for part in parts[:-1]:
            below = level.get(part, {})
            if not isinstance(below, dict):
                level, parts = result, [name]  # {"a": 1, "a/b": 2}: `a` is a value, so `a/b` is a plain name
                break
            level[part] = below
            level = below
        name = parts[-1]
    there = level.get(name)
    if isinstance(there, dict) and isinstance(item, dict):
        merge(there, item)
    else:
        level[name] = item


_MISSING: Any = object()
_ARRAY_LIBRARIES = frozenset(("numpy", "torch", "jax", "jaxlib", "tensorflow", "cupy", "mlx", "paddle"))
_NO_CONFIG = frozenset(
    ("pandas", "polars", "pyarrow", "torch", "datasets", "xarray")
)  # their `to_dict` is data


def _library(value: object) -> str:
    return (type(value).__module__ or "").partition(".")[0]


def _integer(value: int) -> object:
    value = int.__int__(value)
    return value if value.bit_length() <= _INT_DIGITS_BITS else f"{value:#x}"[:TEXT_MAX] + "…"


def _enum(value: enum.Enum) -> object:
    return clean(value.value) if isinstance(value.value, str) else value.name or str(value)


def _scalar(value: object) -> object:
    """The plain form of a value that holds no others, or `_MISSING`."""
    if isinstance(value, enum.Enum):
        return _enum(value)
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, datetime.date):
        return moments.exact(value) or value.isoformat()
    if isinstance(value, datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta | complex) or _is_exact(value):
        return str(value)
    if isinstance(value, os.PathLike):
        path = os.fspath(value)
        return clean(os.fsdecode(path))
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(bytes(value))
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}".removeprefix("builtins.")
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return f"{value.__module__}.{value.__qualname__}".removeprefix("__main__.")
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, re.Pattern):
        return clean(str(value.pattern))
    if _library(value) == "pydantic" and type(value).__name__.startswith("Secret"):
        return MASK
    return _MISSING


def _is_exact(value: object) -> bool:
    """Whether a value is a `Decimal`, `Fraction` or `UUID`; their modules are loaded if it is, and costly if not."""
    for module, name in (("decimal", "Decimal"), ("fractions", "Fraction"), ("uuid", "UUID")):
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(value, getattr(loaded, name)):
            return True
    return False


def _bytes(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and (text or not value) and len(text) <= TEXT_MAX:
        return text
    return f"{len(value)} bytes: {value[:32].hex()}{'…' if len(value) > 32 else ''}"


def _array(value: object) -> object:
    """A NumPy-like value as a Python scalar or list of scalars, a large one described; `_MISSING` if it is
    none."""
    if _library(value) not in _ARRAY_LIBRARIES:
        return _MISSING
    if type(value).__name__.lower().endswith(("dtype", "device", "size")):
        return clean(str(value))
    if not hasattr(type(value), "shape") or isinstance(value, type):
        return _MISSING  # a layer or an optimizer: described by the caller
    array: Any = value
    array = array.detach() if hasattr(array, "detach") else array
    shape = tuple(int(size) for size in array.shape)
    if math.prod(shape) > ARRAY_MAX:
        return f"{type(array).__name__} {array.dtype} {shape}".replace("torch.", "")
    array = array.numpy() if _library(array) == "tensorflow" else array
    if getattr(array.dtype, "kind", "") == "M":  # as datetimes, and not as the counts of nanoseconds that `tolist` gives
        whole = array.astype("datetime64[us]")
        array = whole if bool((whole == array).all()) else array.astype(str)
    listed = array.tolist() if hasattr(array, "tolist") else array.item()
    if isinstance(listed, list):
        return listed
    return _Plainer().convert(listed, 0) if type(listed) is not type(array) else float(listed)


def _read_mapping(value: object) -> dict[object, object] | None:
    if isinstance(value, Mapping) and _library(value) != "omegaconf":
        return {key: value[key] for key in list(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=False))
    return None


def _read_foreign(value: object) -> dict[object, object] | None:
    """OmegaConf, absl flags and `ml_collections.ConfigDict`, each by its own way of being read."""
    library = _library(value)
    if library == "omegaconf":
        return _read_omegaconf(value)
    if library == "absl" and hasattr(value, "flag_values_dict"):
        flags: Any = value
        if not flags.is_parsed():
            flags.mark_as_parsed()
        names = [
            name for name in flags if not str(flags.find_module_defining_flag(name) or "").startswith("absl.")
        ]
        return {name: flags[name].value for name in names}
    if library == "ml_collections" and hasattr(value, "keys"):
        config: Any = value
        return {key: config[key] for key in list(config.keys())}
    return None


def _read_omegaconf(value: object) -> dict[object, object] | None:
    omegaconf: Any = sys.modules.get("omegaconf")
    if omegaconf is None or not omegaconf.OmegaConf.is_dict(value):
        return None
    for resolve in (True, False):  # an interpolation that does not resolve stays as it is written
        try:
            container = omegaconf.OmegaConf.to_container(value, resolve=resolve, throw_on_missing=False)
        except omegaconf.errors.OmegaConfBaseException:
            continue
        return dict(container)
    return None


def _read_record(value: object) -> dict[object, object] | None:
    """Objects that name their fields: dataclasses, attrs, pydantic 1 and 2, `to_dict`, argparse and simple
    namespaces."""
    kind = type(value)
    any_value: Any = value
    if isinstance(value, type) or _library(value) in _NO_CONFIG:
        return None
    if callable(getattr(kind, "to_dict", None)):  # TrainingArguments hide their tokens in it
        found = _guarded(lambda one: one.to_dict(), any_value, None)
        if isinstance(found, Mapping):
            return dict(found)
    if dataclasses.is_dataclass(value):
        return _attributes(value, [field.name for field in dataclasses.fields(value)])
    if hasattr(kind, "__attrs_attrs__"):
        return _attributes(value, [field.name for field in kind.__attrs_attrs__])
    for known in ("model_fields", "__fields__"):
        names = getattr(kind, known, None)
        if isinstance(names, Mapping):
            extra = getattr(value, "model_extra", None)
            return _attributes(value, list(names)) | dict(extra.items() if isinstance(extra, Mapping) else ())
    if any(base.__name__ in ("Namespace", "SimpleNamespace") for base in kind.__mro__):
        return dict(vars(value).items())
    return None


def _attributes(value: object, names: Sequence[str]) -> dict[object, object]:
    return {name: getattr(value, name) for name in names if hasattr(value, name)}
