"""The page about chats names commands, options and services that exist."""

import re
from pathlib import Path

import click

from farwatch.bridges import registry
from farwatch.cli.group import farwatch

PAGE = (Path(__file__).parents[2] / "docs" / "chat.md").read_text(encoding="utf-8")


def test_options_of_commands_exist() -> None:
    context = click.Context(farwatch)
    said = re.findall(r"farwatch (connect|pair|notify)\b([^\n`]*)", PAGE)
    options = {
        (name, option) for name, rest in said for option in re.findall(r"--[a-z-]+", rest.partition("#")[0].partition("; ")[0])
    }
    known = {
        (name, option)
        for name in ("connect", "pair", "notify")
        for parameter in (farwatch.get_command(context, name) or click.Command(name)).params
        for option in parameter.opts
    }

    assert len(options) >= 12
    assert options - known == set()


def test_every_service_of_ours_is_on_the_page() -> None:
    named = set(re.findall(r"`([a-z-]+)`", PAGE)) | set(re.findall(r"connect ([a-z]+)", PAGE))

    assert set(registry.OURS) - named == set()


def test_environment_variables_are_those_of_the_services() -> None:
    named = set(re.findall(r"`(FARWATCH_[A-Z]+_[A-Z]+)", PAGE))
    known = {registry.kind(name).env(field.name) for name in registry.OURS for field in registry.kind(name).fields}

    assert {"FARWATCH_TELEGRAM_TOKEN", "FARWATCH_TELEGRAM_CHAT"} <= named
    assert named - known == set()
