"""Nested config: merging patches, and the flat form `opt/lr` in which it is filtered and shown as columns."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from farwatch.wire.moments import DATETIME, moment_of

DEPTH_MAX = 64
FLAT_MAX = 10_000  # entries of one run that can be columns or filters
FLAT_TEXT_MAX = 1_000


def merge(old: Mapping[str, Any], new: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """`old` with `new` laid over it: mappings are merged, everything else is replaced. Shares nothing that is changed."""
    merged = dict(old)
    for key, value in new.items():
        known = merged.get(key)
        if _has_levels(known) and _has_levels(value) and depth < DEPTH_MAX:
            merged[key] = merge(known, value, depth + 1)
        else:
            merged[key] = value
    return merged


def _has_levels(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and moment_of(value) is None


def delete_path(config: Mapping[str, Any], path: str) -> dict[str, Any]:
    """`config` without the entry at `a/b`; a key that holds the slash itself is found too."""
    if path in config:
        return {key: value for key, value in config.items() if key != path}
    head, slash, rest = path.partition("/")
    below = config.get(head)
    if not slash or not isinstance(below, Mapping):
        return dict(config)
    return {**config, head: delete_path(below, rest)}


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Path -> value for everything that is no mapping; lists stay lists, datetimes as JSON has them. At most `FLAT_MAX` entries."""
    flat: dict[str, Any] = {}
    stack: list[tuple[str, Mapping[str, Any]]] = [("", config)]
    while stack:
        prefix, mapping = stack.pop()
        for key, value in mapping.items():
            path = f"{prefix}{key}"
            if value and _has_levels(value):
                stack.append((path + "/", value))
            elif len(flat) < FLAT_MAX:
                flat[path] = value[:FLAT_TEXT_MAX] if isinstance(value, str) else value
    return flat


def type_name(value: Any) -> str:
    """The type of a config value as the page calls it."""
    for kind, name in (
        (bool, "bool"),
        (int, "int"),
        (float, "float"),
        (str, "text"),
        (list, "list"),
        (type(None), "none"),
    ):
        if isinstance(value, kind):
            return name
    if moment_of(value) is not None:
        return "datetime" if DATETIME in value else "date"
    return "mapping"
