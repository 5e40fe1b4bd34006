"""What goes over HTTP, written as Python types and read as JSON Schema.

A shape is an annotation: `str`, `int`, `float`, `bool`, `None`, unions of these, `list[…]`, `dict[str, …]`, `Literal[…]`, a `StrEnum`, or
a `TypedDict`, whose name becomes a component and whose docstring describes it; `NotRequired` marks what may be missing. `Annotated[shape,
"sentence"]` describes one place. `Annotated[shape, Named("Num", "sentence")]` makes a component of something that is no class.
"""

import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from farwatch.errors import UsageError

Schema = dict[str, Any]

_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    None: {"type": "null"},
    Any: {},
}
_OPEN = "_farwatch_open"


@dataclass(frozen=True, slots=True)
class Named:
    """The name of a component; `schema`: in place of the one that the annotation would give, for what refers to itself."""

    name: str
    text: str
    schema: Mapping[str, Any] | None = None

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes in place of JSON, and what they are."""

    text: str


def open_ended(kind: type) -> type:
    """Mark a `TypedDict` that may hold more than it names, because programs of strangers fill it."""
    setattr(kind, _OPEN, True)
    return kind


def schema(shape: Any, components: dict[str, Schema]) -> Schema:
    """The JSON Schema of a shape; what has a name goes to `components` and is referred to.

    Raises `UsageError` for an annotation that is no shape, and for two different ones of one name.
    """
    if shape in _PLAIN:
        return dict(_PLAIN[shape])
    origin, args = get_origin(shape), get_args(shape)
    if origin is Annotated:
        return _annotated(args[0], args[1:], components)
    if origin is NotRequired:
        return schema(args[0], components)
    if origin is Literal:
        return {"type": "string", "enum": list(args)} if _texts(args) else {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return _union([schema(one, components) for one in args])
    if origin is list:
        return {"type": "array", "items": schema(args[0], components)}
    if origin is dict and args[0] is str:
        return {"type": "object", "additionalProperties": schema(args[1], components)}
    if is_typeddict(shape):
        return _component(shape.__name__, lambda: _object(shape, components), shape, components)
    if isinstance(shape, type) and issubclass(shape, StrEnum):
        made = {"type": "string", "enum": [str(one) for one in shape], "description": _doc(shape)}
        return _component(shape.__name__, lambda: made, shape, components)
    raise UsageError(f"no shape of JSON: `{shape}`")


def _annotated(shape: Any, notes: tuple[Any, ...], components: dict[str, Schema]) -> Schema:
    made: Schema | None = None
    text = None
    for note in notes:
        if isinstance(note, Named):
            named = note

            def make(named: Named = named) -> Schema:
                inner = schema(shape, components) if named.schema is None else dict(named.schema)
                return {**inner, "description": named.text}

            made = _component(named.name, make, named, components)
        elif isinstance(note, str):
            text = note
    made = made if made is not None else schema(shape, components)
    return made if text is None else {**made, "description": text}


def _component(name: str, make: Any, source: Any, components: dict[str, Schema]) -> Schema:
    """A reference to a component, which is made on first use. A mark holds its place meanwhile, so that it may refer to itself."""
    mark = f"{getattr(source, '__module__', '')}.{name}"
    known = components.get(name)
    if known is None:
        components[name] = {"x-from": mark}
        components[name] = {**make(), "x-from": mark}
    elif known["x-from"] != mark:
        raise UsageError(f"two shapes of one name: `{name}`")
    return {"$ref": f"#/components/schemas/{name}"}


def _object(shape: Any, components: dict[str, Schema]) -> Schema:
    hints = get_type_hints(shape, include_extras=True)
    made: Schema = {
        "type": "object",
        "description": _doc(shape),
        "properties": {name: schema(hint, components) for name, hint in hints.items()},
        "required": [name for name in hints if name in shape.__required_keys__],
    }
    if getattr(shape, _OPEN, False):
        made["additionalProperties"] = True
    return made


def _union(parts: list[Schema]) -> Schema:
    """`{"type": ["string", "null"]}` where that says it all, else `anyOf`."""
    if all(list(part) == ["type"] for part in parts):
        return {"type": [part["type"] for part in parts]}
    return {"anyOf": parts}


def _texts(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, str) for value in values)


def _doc(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "")
