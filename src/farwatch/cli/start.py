"""`farwatch start`: starting what a machine offers."""

import contextlib
import sys
import time
from typing import Any

import click

from farwatch.agent import profiles as local
from farwatch.api import Api, Command
from farwatch.api.launch import Profile, ask_start
from farwatch.cli.output import clean, emit, emit_json, say, server_options, table
from farwatch.errors import ConfirmError, NotFoundError, UsageError
from farwatch.sdk.spawn import start_agent
from farwatch.settings import environment, load, state_dir

WAIT_S = 30.0
AGENT_S = 10.0
STEP_S = 0.2


@click.command()
@click.argument("profile", required=False)
@click.argument("parameters", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--list", "listed", is_flag=True, help="List what can be started where.")
@click.option("--machine", metavar="HOST", help="Where: a machine, or user@machine; default: the only one that offers it.")
@click.option("--yes", is_flag=True, help="Do not ask back.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the outcome.")
@server_options
def start(
    profile: str | None, parameters: tuple[str, ...], listed: bool, machine: str | None, yes: bool, no_wait: bool, as_json: bool,
    server: str | None,
) -> None:  # fmt: skip
    """Start PROFILE with values for its parameters, on the machine that offers it.

    What can be started stands in the file launch.toml of that machine's user; see the page "Starting" of the documentation.
    """
    given = dict(_pair(word) for word in parameters)
    with Api(server) as api:
        if listed or profile is None:
            _list(_profiles(api, None), as_json=as_json)
            return
        _profiles(api, profile)
        command = _ask(api, profile, machine, given, yes)
        if not no_wait:
            command.wait(WAIT_S)
        if as_json:
            emit_json(command.detail)
        else:
            _tell(api, profile, command)
        if command.state not in ("applied", "pending"):
            raise click.exceptions.Exit(1)


def _pair(word: str) -> tuple[str, str]:
    name, mark, value = word.partition("=")
    if not mark or not name:
        raise UsageError(f"a parameter is NAME=VALUE, not: `{word[:100]}`")
    return name, value


def _profiles(api: Api, wanted: str | None) -> list[Profile]:
    """What can be started. If it is not known to the server but stands in this user's own file, an agent is started and waited for."""
    settings = load()
    state = state_dir(settings)
    mine = local.load(state)  # a wrong file is said here, with its line
    deadline = time.monotonic() + AGENT_S
    asked = False
    while True:
        found = [one for one in api.profiles() if one.present]
        known = {one.name for one in found}
        if (wanted in known if wanted is not None else set(mine) <= known) or not mine or (wanted is not None and wanted not in mine):
            return found
        if not asked and settings.agent:
            asked = True
            with contextlib.suppress(OSError):
                start_agent(state, environment())
        if time.monotonic() > deadline:
            return found
        time.sleep(STEP_S)


def _ask(api: Api, profile: str, machine: str | None, given: dict[str, Any], yes: bool) -> Command:
    try:
        return ask_start(api._contact, profile, machine, given, channel="cli", confirm=yes)
    except ConfirmError as error:
        if not sys.stdin.isatty():
            raise ConfirmError(error.message, hint="confirm with --yes") from error
        click.confirm(f"{error.message}. Do it?", abort=True, err=True)
        return ask_start(api._contact, profile, machine, given, channel="cli", confirm=True)


def _tell(api: Api, profile: str, command: Command) -> None:
    if command.state == "pending":
        say(f"the start of {profile} is on its way")
        return
    if command.state != "applied":
        emit(f"start {command.state}: {clean(command.reason)}")
        return
    run = str((command.result or {}).get("run", ""))
    emit(run)
    with contextlib.suppress(NotFoundError):
        say(f"{profile} started → {api.run(run).url}")
        return
    say(f"{profile} started")


def _list(found: list[Profile], *, as_json: bool) -> None:
    if as_json:
        emit_json({"profiles": [{key: getattr(one, key) for key in Profile.__dataclass_fields__} for one in found]})
        return
    if not found:
        say("nothing can be started: no machine has told of a launch.toml")
        return
    rows = [(one.name, f"{one.user}@{one.host}", _parameters(one), one.title) for one in found]
    table(rows, ("profile", "machine", "parameters", "title"))


def _parameters(profile: Profile) -> str:
    words = []
    for name, about in profile.parameters.items():
        default = f"={about['default']}" if "default" in about else ""
        words.append(f"{name}{default}")
    return " ".join(words)
