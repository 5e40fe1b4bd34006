"""What users learn, as plain text: public names, settings, commands, HTTP paths, errors and dependencies.

The snapshots in `tests/snapshots/` and the pages in `docs/reference/` are made from this, so that a change of the
surface shows as a change of one text file.
"""

import importlib
import inspect
import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import click

from farwatch import errors
from farwatch.settings import SETTINGS

PUBLIC_MODULES = ("farwatch", "farwatch.api", "farwatch.errors", "farwatch.tqdm")


def public_names() -> list[str]:
    """Names of the public modules, with the parameters of what can be called; one line each."""
    lines = []
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module(module_name)
        names = getattr(module, "__all__", None) or [
            n for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module_name
        ]
        for name in sorted(names):
            try:
                value = getattr(module, name)
            except errors.UsageError:  # `farwatch.config` and its like belong to the current run, and there is none
                value = None
            lines.append(f"{module_name}.{name}{_shape(value)}")
            if inspect.isclass(value) and not issubclass(value, BaseException):
                lines += [f"{module_name}.{name}.{member}" for member in _members(value)]
    return lines


def _members(kind: type) -> Iterator[str]:
    """Public attributes of a class with their parameters, inherited ones of ours included."""
    for name in sorted(dir(kind)):
        if name.startswith("_"):
            continue
        owner = next((base for base in kind.__mro__ if name in vars(base)), kind)
        if not owner.__module__.startswith("farwatch"):
            continue
        yield name + _shape(inspect.getattr_static(kind, name))


def _shape(value: Any) -> str:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if not callable(value) or (inspect.isclass(value) and issubclass(value, BaseException)):
        return ""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return "(…)"
    bare = [p.replace(annotation=inspect.Parameter.empty, default=_default(p)) for p in parameters if p.name != "self"]
    return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.Signature(bare)))


class _Elided:
    """Stands for a default that is too long to read."""

    def __repr__(self) -> str:
        return "…"


def _default(parameter: inspect.Parameter) -> Any:
    return _Elided() if len(repr(parameter.default)) > 60 and parameter.default is not parameter.empty else parameter.default


def settings_table() -> list[str]:
    """One line per setting: environment name, type, default and who reads it."""
    return [
        f"{s.env} {s.kind.__name__} {s.default!r} {s.scope}{' secret' if s.secret else ''}" for s in SETTINGS
    ]


def cli_tree() -> list[str]:
    """One line per command with its arguments and options."""
    lines = []
    for name, command in commands():
        parameters = []
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                parameters.append(parameter.make_metavar(click.Context(command)))
            elif isinstance(parameter, click.Option) and "--help" not in parameter.opts:
                parameters.append("/".join([*parameter.opts, *parameter.secondary_opts]))
        lines.append(" ".join([name, *parameters]))
    return lines


def commands() -> list[tuple[str, click.Command]]:
    """All commands in the order of the help."""
    from farwatch.cli.group import MODULES, farwatch

    context = click.Context(farwatch)
    found = [(name, farwatch.get_command(context, name)) for name in MODULES]
    return [(name, command) for name, command in found if command is not None]


def http_paths() -> list[str]:
    """One line per endpoint: method, path and the scope that it needs."""
    return sorted(
        (f"{e.method} {e.path} {e.scope}" for e in endpoints()), key=lambda line: line.split()[1::-1]
    )


def endpoints() -> list[Any]:
    """All endpoints of the server below `/api/v1`."""
    from farwatch.server.app import ENDPOINTS

    return list(ENDPOINTS)


def openapi() -> dict[str, Any]:
    """The server's OpenAPI document, without its version, which is no change of the surface."""
    from farwatch.server.openapi import document
    from farwatch.server.routes.system import PROBES

    return document(endpoints(), "", probes=PROBES)


def openapi_lines() -> list[str]:
    """The same as text, about a field to a line, so that a change shows where it is."""
    return list(_spread(openapi()))


def _spread(value: Any, indent: str = "", key: str = "") -> Iterator[str]:
    """JSON in lines of at most 140 characters where its values allow that."""
    text = key + json.dumps(value, ensure_ascii=False)
    if len(indent + text) < 140 or not isinstance(value, dict | list):
        yield indent + text
        return
    left, right = "{}" if isinstance(value, dict) else "[]"
    pairs = value.items() if isinstance(value, dict) else (("", one) for one in value)
    yield f"{indent}{key}{left}"
    parts = [list(_spread(one, indent + " ", f"{json.dumps(name)}: " if name else "")) for name, one in pairs]
    for part in parts[:-1]:
        yield from [*part[:-1], part[-1] + ","]
    yield from parts[-1]
    yield indent + right


def error_classes() -> list[type[errors.FarwatchError]]:
    """Every error of ours, parents before children."""
    found: list[type[errors.FarwatchError]] = []

    def visit(kind: type[errors.FarwatchError]) -> None:
        if kind.__module__ == "farwatch.errors" and kind not in found:
            found.append(kind)
        for child in kind.__subclasses__():
            visit(child)

    visit(errors.FarwatchError)
    return found


def dependencies() -> list[str]:
    """What an installation requires, and what each extra adds; from the checkout, else from the installed package."""
    project = Path(__file__).parents[3] / "pyproject.toml"
    if not project.exists():
        return sorted(requires("farwatch") or ())
    told = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    extras = told["optional-dependencies"].items()
    return [*sorted(told["dependencies"]), *sorted(f"[{extra}] {one}" for extra, many in extras for one in many)]


SNAPSHOTS = {
    "public_names": public_names,
    "settings": settings_table,
    "cli": cli_tree,
    "http_paths": http_paths,
    "dependencies": dependencies,
    "openapi": openapi_lines,
}


def file_name(snapshot: str) -> str:
    """Where a snapshot stands in its folder."""
    return f"{snapshot}.json" if snapshot == "openapi" else f"{snapshot}.txt"


def write_snapshots(folder: Path) -> None:
    """Write every snapshot into a folder."""
    for name, make in SNAPSHOTS.items():
        (folder / file_name(name)).write_text("\n".join(make()) + "\n", encoding="utf-8")
