"""Writes the reference pages: `python -m farwatch.testing.reference docs/reference [tests/snapshots [web/src/api]]`.

A test makes them again and compares, so that a page cannot say what the program does not do, and the dashboard cannot be built with
types that the server does not speak.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from farwatch.cli.group import farwatch
from farwatch.settings import SETTINGS
from farwatch.testing import surface, typescript
from farwatch.testing.http_page import http_page

MADE = "<!-- made by `make docs`; change the program, not this page -->\n\n"
SCOPES = {
    "client": "In the training process, and for commands",
    "agent": "In the agent, one per machine and user",
    "server": "In the server",
}


def settings_page() -> str:
    """Every setting under a heading of its environment name."""
    parts = [
        "# Settings\n",
        "Each is an environment variable. The environment is read once, at the start; `farwatch doctor` shows what",
        "is in force and where it came from. Sizes are bytes, times seconds.",
    ]
    for scope, title in SCOPES.items():
        parts += ["", f"## {title}"]
        for setting in SETTINGS:
            if setting.scope == scope:
                default = "" if setting.default == "" else f", default `{_default(setting.default)}`"
                secret = " Secret: never shown." if setting.secret else ""
                parts += [
                    "",
                    f"### {setting.env}",
                    "",
                    f"{_sentence(setting.text)}{secret}",
                    "",
                    f"Type `{setting.kind.__name__}`{default}.",
                ]
    return "\n".join(parts) + "\n"


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _sentence(text: str) -> str:
    start = text if text.startswith("`") else text[:1].upper() + text[1:]
    return start if start.endswith(".") else start + "."


def cli_page() -> str:
    """Every command with what `--help` says."""
    parts = [
        "# Command line\n",
        "Every command has `--json`, works without a terminal, writes data to stdout and the rest to stderr, and exits with a",
        "code other than 0 when it failed: 1 for a trouble, 2 for a wrong call, 130 for Ctrl-C.",
    ]
    for name, command in surface.commands():
        # A command keeps the first help option that it was asked with, so this one has to be that of the program.
        context = click.Context(
            command,
            info_name=f"farwatch {name}",
            max_content_width=100,
            terminal_width=100,
            help_option_names=farwatch.context_settings["help_option_names"],
        )
        parts += ["", f"## farwatch {name}", "", "```text", command.get_help(context).rstrip(), "```"]
    return "\n".join(parts) + "\n"


def errors_page() -> str:
    """Every error class with its code."""
    parts = [
        "# Errors\n",
        'Over HTTP an error is its status and `{"error": {"code", "message", "hint", "id"}}`. In Python it is one of these',
        "classes of `farwatch.errors`, with `code`, `message`, `hint` and `details`. The codes are stable. Where the last",
        "column says yes, trying again may help.",
        "",
        "| code | class | HTTP | when | again |",
        "|---|---|---|---|---|",
    ]
    for kind in surface.error_classes():
        text = (kind.__doc__ or "").strip().split("\n")[0].removeprefix("Raised ").rstrip(".")
        parts.append(
            f"| `{kind.code}` | `{kind.__name__}` | {kind.http_status} | {text} | {'yes' if kind.retryable else 'no'} |"
        )
    return "\n".join(parts) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings": settings_page,
    "cli": cli_page,
    "errors": errors_page,
    "http": http_page,
}


def main(arguments: list[str]) -> None:
    """Write pages into the first folder, snapshots into the second and the dashboard's types into the third, where given."""
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (folder / f"{name}.md").write_text(MADE + make(), encoding="utf-8")
    if len(arguments) > 1:
        surface.write_snapshots(Path(arguments[1]))
    if len(arguments) > 2:
        (Path(arguments[2]) / "types.ts").write_text(typescript.types(surface.openapi()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
