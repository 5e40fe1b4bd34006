"""Launch profiles: what may be started on this machine from afar, as its user has written it down in `launch.toml`.

The file is the agent's own configuration: it must belong to this user and be writable by nobody else. A server may name a
profile and give values for its parameters, checked here; it never defines one. A value becomes a part of one word of the
command's argument list, and no shell ever sees it.
"""

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farwatch.errors import DataError, UsageError
from farwatch.wire.commands import KNOB_TYPES, WrongValue, read_value
from farwatch.wire.redact import mask_argv

FILE = "launch.toml"
FILE_MAX_BYTES = 1 << 20
TEXT_MAX = 500  # characters of a text value
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PROFILE_KEYS = {
    "command": list, "folder": str, "environment": dict, "parameters": dict, "at_once": int, "title": str,
    "description": str, "project": str, "name": str,
}  # fmt: skip
_PARAMETER_KEYS = ("type", "min", "max", "choices", "default", "description", "pattern")


@dataclass(frozen=True, slots=True)
class Profile:
    """One thing that can be started. `parameters`: name -> type, min, max, choices, default, pattern, description."""

    name: str
    command: tuple[str, ...]
    folder: Path
    title: str = ""
    description: str = ""
    project: str | None = None
    run_name: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    at_once: int = 1

    def schema(self) -> dict[str, Any]:
        """What others may know of it: never a value of its environment."""
        return {
            "title": self.title or self.name,
            "description": self.description,
            "folder": str(self.folder),
            "command": mask_argv(self.command),
            "environment": sorted(self.environment),
            "parameters": {name: dict(about) for name, about in self.parameters.items()},
            "at_once": self.at_once,
        }

    def argv(self, given: Mapping[str, Any]) -> list[str]:
        """The command with the values of its parameters. Raises `UsageError` naming the one that is wrong."""
        values = read_parameters(self.parameters, given)
        return [_PIECE.sub(lambda match: _fill(match, values), word) for word in self.command]


def read_parameters(declared: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Given values as declared, defaults for the rest. Raises `UsageError`."""
    for name in given:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise UsageError(f"there is no parameter `{str(name)[:100]}`", hint=f"parameters: {known}")
    values: dict[str, Any] = {}
    for name, about in declared.items():
        value = given.get(name)
        if value is None:
            if "default" not in about:
                raise UsageError(f"the parameter `{name}` needs a value")
            value = about["default"]
        try:
            values[name] = _checked(dict(about), value, name)
        except WrongValue as error:
            raise UsageError(str(error)) from None
    return values


def _checked(about: dict[str, Any], value: Any, name: str) -> Any:
    found = read_value(about, value, name=name)
    if not isinstance(found, str) or about.get("choices"):
        return found
    if len(found) > TEXT_MAX or not found.isprintable():
        raise WrongValue(f"{name} is a text of at most {TEXT_MAX} printable characters")
    if found.startswith("-"):
        raise WrongValue(f"{name} may not begin with a dash: the program would read it as an option")
    pattern = about.get("pattern")
    if pattern is not None and re.fullmatch(pattern, found) is None:
        raise WrongValue(f"{name} must match `{pattern}`, not: `{found[:100]}`")
    return found


def _fill(match: re.Match[str], values: Mapping[str, Any]) -> str:
    if match.group() in ("{{", "}}"):
        return match.group()[0]
    value = values[match.group(1)]
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)


# --- the file


def load(state: Path) -> dict[str, Profile]:
    """The profiles of this machine's user; none without the file.

    Raises `DataError` for a file that others could have written, and `UsageError`, with line and field, for one that is wrong.
    """
    path = state / FILE
    text = _read(path)
    if text is None:
        return {}
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{FILE}: {str(error)[:1].lower()}{str(error)[1:]}") from None
    reader = _Reader(text)
    for key in told:
        if key != "profiles":
            reader.wrong((key,), "there is nothing of this name; profiles begin with [profiles.NAME]")
    profiles = told.get("profiles", {})
    if not isinstance(profiles, dict):
        reader.wrong(("profiles",), "must be a table: [profiles.NAME]")
    return {name: reader.profile(name, about) for name, about in profiles.items()}


def _read(path: Path) -> str | None:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{FILE} is not used: {error.strerror}", hint="it must be a plain file, no link") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{FILE} is not used: it is no plain file")
        if hasattr(os, "geteuid"):
            folder = os.stat(path.parent)
            for about, what in ((found, FILE), (folder, f"the folder of {FILE}")):
                if about.st_uid != os.geteuid():
                    raise DataError(f"{FILE} is not used: {what} belongs to somebody else")
                if about.st_mode & 0o022:
                    raise DataError(f"{FILE} is not used: others may write {what}", hint=f"run: chmod go-w {path.parent} {path}")
        data = file.read(FILE_MAX_BYTES + 1)
    if len(data) > FILE_MAX_BYTES:
        raise DataError(f"{FILE} is not used: it has more than {FILE_MAX_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{FILE}: byte {error.start} is no UTF-8") from None


class _Reader:
    """Checks what the file says, and knows the line of each field."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def wrong(self, where: tuple[str, ...], why: str) -> None:
        line = self._line_of(where)
        at = f" line {line}," if line else ""
        raise UsageError(f"{FILE}:{at} {'.'.join(where)}: {why}")

    def profile(self, name: str, about: Any) -> Profile:
        at = ("profiles", name)
        if not NAME.fullmatch(name):
            self.wrong(at, "a name is 1 to 64 letters, digits, `_`, `-`, `.`")
        if not isinstance(about, dict):
            self.wrong(at, "must be a table")
        for key, value in about.items():
            kind = _PROFILE_KEYS.get(key)
            if kind is None:
                self.wrong((*at, key), f"there is no such field; fields: {', '.join(_PROFILE_KEYS)}")
            elif not isinstance(value, kind) or isinstance(value, bool):
                self.wrong((*at, key), f"must be {_article(kind)}")
        parameters = {word: self._parameter((*at, "parameters", word), told) for word, told in about.get("parameters", {}).items()}
        at_once = about.get("at_once", 1)
        if not 1 <= at_once <= 64:
            self.wrong((*at, "at_once"), "is 1 to 64")
        return Profile(
            name, self._command(at, about.get("command"), parameters), self._folder(at, about.get("folder")),
            about.get("title", "")[:200], about.get("description", "")[:2_000], about.get("project"), about.get("name"),
            self._environment(at, about.get("environment", {})), parameters, at_once,
        )  # fmt: skip

    def _command(self, at: tuple[str, ...], command: Any, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        here = (*at, "command")
        if not command:
            self.wrong(at if command is None else here, 'needs a command: ["python", "train.py"]')
        used = set()
        for number, word in enumerate(command):
            if not isinstance(word, str) or "\0" in word or (not word and number == 0):
                self.wrong(here, f"word {number + 1} must be a text")
            for match in _PIECE.finditer(word):
                if match.group() in ("{{", "}}"):
                    continue
                if match.group(1) not in parameters:
                    self.wrong(here, f"`{match.group()}` is no parameter; write {{{{ and }}}} for braces")
                if number == 0:
                    self.wrong(here, "the program itself cannot be a parameter")
                used.add(match.group(1))
        for name in parameters:
            if name not in used:
                self.wrong((*at, "parameters", name), f"the command does not use it; write {{{name}}} where it belongs")
        return tuple(command)

    def _folder(self, at: tuple[str, ...], folder: Any) -> Path:
        if folder is None:
            self.wrong(at, 'needs a folder, such as "~/project"')
        path = Path(folder).expanduser()
        if not path.is_absolute():
            self.wrong((*at, "folder"), "must be absolute, or begin with ~")
        return path

    def _environment(self, at: tuple[str, ...], environment: Mapping[str, Any]) -> dict[str, str]:
        for name, value in environment.items():
            if not _VARIABLE.fullmatch(name) or not isinstance(value, str) or "\0" in value:
                self.wrong((*at, "environment", name), "must be a text under the name of a variable")
        return dict(environment)

    def _parameter(self, at: tuple[str, ...], about: Any) -> dict[str, Any]:
        name = at[-1]
        if not PARAMETER.fullmatch(name):
            self.wrong(at, "a parameter is named with letters, digits and `_`")
        if not isinstance(about, dict) or about.get("type") not in KNOB_TYPES:
            self.wrong(at, f"needs a type: {', '.join(KNOB_TYPES)}")
        for key in about:
            if key not in _PARAMETER_KEYS:
                self.wrong((*at, key), f"there is no such field; fields: {', '.join(_PARAMETER_KEYS)}")
        numeric = about["type"] in ("int", "float")
        for key in ("min", "max"):
            if key in about and (not numeric or isinstance(about[key], bool) or not isinstance(about[key], int | float)):
                self.wrong((*at, key), "must be a number, of a parameter that is one")
        if "choices" in about and (not isinstance(about["choices"], list) or not about["choices"]):
            self.wrong((*at, "choices"), "must be a list with something in it")
        if "pattern" in about:
            self._pattern((*at, "pattern"), about)
        for value in about.get("choices", ()):
            self._fits((*at, "choices"), {"type": about["type"], "choices": [value]}, value, name)
        if "default" in about:
            self._fits((*at, "default"), about, about["default"], name)
        return dict(about)

    def _pattern(self, at: tuple[str, ...], about: Mapping[str, Any]) -> None:
        if about["type"] != "str" or not isinstance(about["pattern"], str):
            self.wrong(at, "must be a regular expression, of a parameter of type str")
        try:
            re.compile(about["pattern"])
        except re.error as error:
            self.wrong(at, f"is no regular expression: {error}")

    def _fits(self, at: tuple[str, ...], about: Mapping[str, Any], value: Any, name: str) -> None:
        try:
            _checked(dict(about), value, name)
        except WrongValue as error:
            self.wrong(at, str(error))

    def _line_of(self, where: tuple[str, ...]) -> int | None:
        """The line that a field stands in, as people write it: under its table's header, or the header itself."""
        best, depth = None, 0
        table: tuple[str, ...] = ()
        for number, line in enumerate(self._lines, 1):
            words = line.strip()
            if words.startswith("["):
                table = tuple(part.strip().strip("\"'") for part in words.strip("[]").split("#")[0].strip(" ]").split("."))
                found = table
            elif "=" in words and not words.startswith("#"):
                found = (*table, *(part.strip().strip("\"'") for part in words.split("=")[0].split(".")))
            else:
                continue
            same = next((i for i, (a, b) in enumerate(zip(found, where, strict=False)) if a != b), min(len(found), len(where)))
            if same > depth and same >= min(len(found), len(where)):
                best, depth = number, same
        return best


def _article(kind: type) -> str:
    return {list: "a list of words", str: "a text", dict: "a table", int: "a whole number"}[kind]
