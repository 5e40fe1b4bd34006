"""The tree of commands, each imported when it is called, and the one place where errors become messages."""

import importlib
import json
import os
import sys
from collections.abc import Sequence

import click

from farwatch.cli.output import clean, say
from farwatch.errors import FarwatchError, UsageError

# section -> (command, module below farwatch.cli, what it does)
COMMANDS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "See",
        (
            ("serve", "serve", "Start the server and open the page."),
            ("open", "serve", "Open the page, or one run, in the browser."),
            ("demo", "demo", "Show a real model training on real data."),
            ("runs", "runs", "List runs, with a query if you like."),
            ("show", "runs", "Show everything about one run."),
            ("watch", "watch", "Watch a run live in this terminal."),
        ),
    ),
    (
        "Steer",
        (
            ("stop", "steer", "Stop a run at its next safe point."),
            ("pause", "steer", "Hold a run."),
            ("unpause", "steer", "Let a paused run go on."),
            ("checkpoint", "steer", "Let a run save."),
            ("set", "steer", "Give a knob of a run another value."),
            ("call", "steer", "Call a command of a run."),
            ("kill", "steer", "End a run at once, without saving."),
            ("start", "start", "Start what a machine offers to start."),
            ("run", "run", "Run a program and keep its whole console and its true end."),
        ),
    ),
    (
        "Move",
        (
            ("sync", "sync", "Send what is kept on this machine."),
            ("export", "export", "Write points as CSV, JSON lines or Parquet."),
        ),
    ),
    (
        "Connect",
        (
            ("login", "login", "Store the address of a server and a token for it."),
            ("connect", "connect", "Connect Telegram, WeChat, Slack, mail, … to be told and to answer."),
            ("pair", "pair", "Say who may be told and ask in chats."),
            ("notify", "notify", "Send a message to the chats that are connected."),
        ),
    ),
    (
        "Care",
        (
            ("status", "sync", "Show active runs and what is not yet sent."),
            ("doctor", "doctor", "Check this machine and this installation."),
            ("fsck", "care", "Check a data folder for damage."),
            ("backup", "care", "Copy a data folder, while the server runs."),
            ("restore", "care", "Make a data folder from a backup."),
        ),
    ),
)
MODULES = {name: module for _, commands in COMMANDS for name, module, _ in commands}


class Tree(click.Group):
    """A group that imports a command when it is asked for, and lists commands by section."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = MODULES.get(cmd_name)
        if module is None:
            return None
        # `open` is a word of Python; its function ends with an underscore.
        found = importlib.import_module(f"farwatch.cli.{module}")
        command: click.Command = getattr(found, cmd_name, None) or getattr(found, f"{cmd_name}_")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in COMMANDS:
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, _, text in commands], col_max=12)


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from farwatch.version import VERSION

        click.echo(f"farwatch {VERSION}")
        ctx.exit()


@click.group(cls=Tree, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the version and exit.",
)
def farwatch() -> None:
    """Watch and steer your training from afar."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    as_json = "--json" in arguments
    try:
        code = farwatch.main(list(arguments), prog_name="farwatch", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Abort:
        return 130
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has left (`| head`); a second error while Python closes stdout would only confuse.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except FarwatchError as error:
        _report(error, as_json)
        return 2 if isinstance(error, UsageError) and not isinstance(error, LookupError) else 1
    except Exception as error:  # the border: a person sees one line, and whoever mends it finds the rest
        _report(
            FarwatchError(
                f"{type(error).__name__}: {error}",
                hint="this is a bug of farwatch; see it with FARWATCH_STRICT=1",
            ),
            as_json,
        )
        from farwatch.settings import load

        if load().strict:
            raise
        return 1


def _report(error: FarwatchError, as_json: bool) -> None:
    if as_json:
        told = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
        print(json.dumps(told), file=sys.stderr)
        return
    say(clean(error.message))
    if error.hint:
        say(clean(error.hint))
