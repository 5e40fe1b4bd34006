"""The config of a run: read from whatever people keep their settings in, and changed through `run.config`."""

import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from farwatch.errors import UsageError
from farwatch.sdk.plain import fields_of, finite, is_data, key_text, merge, plain

_HINT = "pass a mapping, a Namespace, a dataclass, or an object whose attributes are the settings"


def to_mapping(config: object) -> dict[str, Any]:
    """Read a config of any usual kind as a nested mapping that JSON can hold.

    Takes mappings, `argparse.Namespace`, dataclasses, attrs, pydantic 1 and 2, OmegaConf, absl flags,
    `ConfigDict`, `TrainingArguments`, objects with `to_dict`, modules, and classes or objects with plain
    attributes; None is empty. Values are converted by `farwatch.sdk.plain.plain`; non-finite numbers become
    text, and datetimes are marked as such (`farwatch.wire.moments`).

    Raises:
        UsageError: for something that has no named settings, such as a list or the name of a file.
    """
    return as_json(read(config))


def read(config: object) -> dict[str, Any]:
    """As `to_mapping`, with numbers and datetimes as they are."""
    result = plain(_top_level(config))
    assert isinstance(result, dict)
    return result


def as_json(config: dict[str, Any]) -> dict[str, Any]:
    """What `read` gave, as JSON can hold it."""
    result = finite(config, typed=True)
    assert isinstance(result, dict)
    return result


def json_safe(value: object, *, typed: bool = False) -> object:
    """Any value as JSON can hold it, see `farwatch.sdk.plain.plain` and, for `typed`, `finite`. Never raises."""
    return finite(plain(value), typed=typed)


def named_safe(told: object) -> object:
    """As `json_safe`, with the names of a mapping as they are: a slash in one means no nesting."""
    return {name: json_safe(item) for name, item in told.items()} if isinstance(told, dict) else json_safe(told)


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Join the names of nested mappings with `/`; lists stay values, and so does an empty mapping."""
    flat: dict[str, Any] = {}
    for key, item in config.items():
        if isinstance(item, Mapping) and item:
            for name, value in flatten(item).items():
                flat[f"{key}/{name}"] = value
        else:
            flat[str(key)] = item
    return flat


def _top_level(config: object) -> dict[object, object]:
    if config is None:
        return {}
    if isinstance(config, str | bytes | bytearray):
        raise UsageError(
            f"a config cannot be a {type(config).__name__}", hint=f"load the file first; {_HINT}"
        )
    fields = None if isinstance(config, type | types.ModuleType) else fields_of(config)
    if fields is None:
        fields = _public_attributes(config)
    if fields is None:
        raise UsageError(f"a config cannot be a {type(config).__qualname__}", hint=_HINT)
    return fields


def _public_attributes(config: object) -> dict[object, object] | None:
    """Settings written as `class Config: lr = 0.1`, used as a class, as an object, or as a module."""
    if isinstance(
        config, int | float | complex | list | tuple | set | frozenset | range | types.GeneratorType
    ):
        return None
    if isinstance(config, types.FunctionType | types.MethodType | types.BuiltinFunctionType) or is_data(
        config
    ):
        return None
    layers: list[Mapping[str, object]]
    if isinstance(config, types.ModuleType):
        layers = [vars(config)]
    elif isinstance(config, type):
        layers = [vars(base) for base in reversed(config.__mro__) if base is not object]
    elif hasattr(config, "__dict__"):
        layers = [vars(base) for base in reversed(type(config).__mro__) if base is not object] + [
            vars(config)
        ]
    else:
        return None
    dull: tuple[type, ...] = (
        types.ModuleType,
        types.FunctionType,
        classmethod,
        staticmethod,
        property,
        types.GetSetDescriptorType,
    )
    if isinstance(config, types.ModuleType):
        dull += (type, types.BuiltinFunctionType)
    merged = {name: value for layer in layers for name, value in layer.items()}
    return {
        name: value
        for name, value in merged.items()
        if not name.startswith("_") and not isinstance(value, dull)
    }


class Config(dict[str, Any]):
    """The config of a run as a nested dict that reports each change.

    `config["opt"]["lr"]`, `config["opt/lr"]` and `config.opt.lr` are the same value, for reading and for
    setting. Assigning replaces, `update` merges. Values are plain (what JSON can hold, non-finite floats,
    and datetimes).

    *Threads*: as a dict; each change is reported once, in the thread that made it, after it was made.
    """

    __slots__ = ("_above", "_on_change", "_on_delete")

    def __init__(
        self,
        config: object = None,
        on_change: Callable[[dict[str, Any]], None] | None = None,
        on_delete: Callable[[list[str]], None] | None = None,
    ) -> None:
        """Read `config` without reporting it. `on_change` gets nested patches for JSON, `on_delete` names
        like `a/b`."""
        super().__init__()
        object.__setattr__(self, "_on_change", on_change)
        object.__setattr__(self, "_on_delete", on_delete)
        object.__setattr__(self, "_above", None)
        self._fill(plain(_top_level(config)))

    # -- reading

    def __getitem__(self, key: object) -> Any:
        level, name = self._find(key)
        if level is not None and dict.__contains__(level, name):
            return dict.__getitem__(level, name)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        level, name = self._find(key)
        return level is not None and dict.__contains__(level, name)

    def get(self, key: object, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        raise AttributeError(f"no config value of this name: `{name}`")

    def to_dict(self) -> dict[str, Any]:
        """A copy in ordinary dicts and lists."""
        copied = _copy(self)
        assert isinstance(copied, dict)
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        return Config, (self.to_dict(),)  # a copy in another process reports to nobody

    def __copy__(self) -> dict[str, Any]:
        return self.to_dict()

    def __deepcopy__(self, memo: object) -> dict[str, Any]:
        return self.to_dict()

    copy = to_dict

    def __or__(self, other: Any) -> dict[str, Any]:  # type: ignore[override]
        return self.to_dict() | dict(other)

    # -- changing

    def __setitem__(self, key: object, value: Any) -> None:
        name = key_text(key)
        new = plain(value)
        there = self.get(name)
        gone = (
            [path for path in flatten(there) if path not in _paths(new)] if isinstance(there, Config) else []
        )
        if gone:
            self._report_deleted([f"{name}/{path}" for path in gone])
        self._set(name, new)
        if there is not None and not isinstance(there, dict) and there == new and type(there) is type(new):
            return  # nothing has changed
        self._report(_nest(name, new))

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def update(self, *others: object, **values: Any) -> None:
        """Merge mappings or anything else that `init(config=…)` takes, level by level.

        Raises `UsageError` for something without named settings.
        """
        patch: dict[str, Any] = {}
        for other in (*others, values):
            if isinstance(other, list | tuple) and all(
                isinstance(item, tuple) and len(item) == 2 for item in other
            ):
                other = dict(other)
            merge(patch, plain(_top_level(other)))  # type: ignore[arg-type]
        if patch:
            self._merge(patch)
            self._report(patch)

    def __ior__(self, other: Any) -> "Config":  # type: ignore[override]
        self.update(other)
        return self

    def setdefault(self, key: object, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def __delitem__(self, key: object) -> None:
        level, name = self._find(key)
        if level is None or not dict.__contains__(level, name):
            raise KeyError(key)
        dict.__delitem__(level, name)
        self._report_deleted([key_text(key)])

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None

    def pop(self, key: object, *default: Any) -> Any:
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        if not self:
            raise KeyError("the config is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    def clear(self) -> None:
        names = list(self)
        super().clear()
        self._report_deleted(names)

    # -- inside

    def _find(self, key: object) -> tuple["Config | None", str]:
        """The level on which a name stands, and its name there."""
        name = key_text(key)
        if dict.__contains__(self, name) or "/" not in name:
            return self, name
        head, _, rest = name.partition("/")
        below = dict.get(self, head)
        return below._find(rest) if isinstance(below, Config) else (None, name)

    def _below(self, name: str) -> "Config":
        child = Config()
        object.__setattr__(child, "_above", (self, name))
        dict.__setitem__(self, name, child)
        return child

    def _fill(self, values: object) -> None:
        assert isinstance(values, dict)
        for name, value in values.items():
            if isinstance(value, dict):
                self._below(name)._fill(value)
            else:
                dict.__setitem__(self, name, value)

    def _merge(self, patch: Mapping[str, Any]) -> None:
        for name, value in patch.items():
            there = dict.get(self, name)
            if isinstance(value, Mapping) and isinstance(there, Config):
                there._merge(value)
            else:
                self._set(name, value)

    def _set(self, name: str, value: object) -> None:
        level = self
        parts = name.split("/")
        if not dict.__contains__(self, name) and len(parts) > 1 and all(parts):
            for part in parts[:-1]:
                below = dict.get(level, part)
                level = below if isinstance(below, Config) else level._below(part)
            name = parts[-1]
        replaced = dict.get(level, name)
        if isinstance(replaced, Config):
            object.__setattr__(
                replaced, "_above", None
            )  # somebody may hold it; it reports to nobody from here on
        if isinstance(value, dict):
            level._below(name)._fill(value)
        else:
            dict.__setitem__(level, name, value)

    def _report(self, patch: dict[str, Any]) -> None:
        if self._above is not None:
            above, name = self._above
            above._report({name: patch})
        elif self._on_change is not None:
            self._on_change(finite(patch, typed=True))

    def _report_deleted(self, paths: Iterable[str]) -> None:
        if self._above is not None:
            above, name = self._above
            above._report_deleted([f"{name}/{path}" for path in paths])
        elif self._on_delete is not None:
            self._on_delete(list(paths))


def _paths(value: object) -> Iterable[str]:
    return flatten(value) if isinstance(value, dict) else ()


def _nest(name: str, value: object) -> dict[str, Any]:
    parts = name.split("/")
    if not all(parts):
        parts = [name]
    nested: Any = value
    for part in reversed(parts):
        nested = {part: nested}
    result: dict[str, Any] = nested
    return result


def _copy(value: object) -> object:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
