"""`farwatch stop | pause | unpause | checkpoint | set | call | kill`: asking something of a run from a terminal."""

import sys
from typing import Any

import click

from farwatch.api import Api, Command, Run
from farwatch.cli.output import clean, emit, emit_json, say, server_options
from farwatch.errors import CommandError, ConfirmError, UsageError

WAIT_S = 30.0


def steer_options(function: Any) -> Any:
    """Options of every command here."""
    function = click.option("--no-wait", is_flag=True, help="Do not wait for the outcome.")(function)
    function = click.option(
        "--timeout", "timeout_s", type=click.FloatRange(0.1), default=WAIT_S, show_default=True, help="Wait at most so many seconds."
    )(function)
    return server_options(function)


def yes_option(function: Any) -> Any:
    """Of commands that may ask back."""
    return click.option("--yes", is_flag=True, help="Do not ask back.")(function)




def _do(
    ref: str, op: str, args: dict[str, Any], *, server: str | None, as_json: bool, no_wait: bool, timeout_s: float, yes: bool = False
) -> None:
    with Api(server) as api:
        run = api.run(ref)
        command = _ask(run, op, args, yes)
        if not no_wait:
            command.wait(timeout_s)
        if as_json:
            emit_json(command.detail)
        else:
            _tell(run, command, no_wait)
        if command.state not in ("applied", "pending"):
            raise click.exceptions.Exit(1)


def _ask(run: Run, op: str, args: dict[str, Any], yes: bool) -> Command:
    try:
        return run._ask(op, args, confirm=yes, channel="cli")
    except ConfirmError as error:
        if not sys.stdin.isatty():
            raise ConfirmError(error.message, hint="confirm with --yes") from error
        click.confirm(f"{error.message}. Do it?", abort=True, err=True)
        return run._ask(op, args, confirm=True, channel="cli")


def _tell(run: Run, command: Command, no_wait: bool) -> None:
    at = f" at step {command.step:g}" if command.step is not None else ""
    if command.state == "pending":
        why = "" if no_wait else ": it has not come to a safe point yet"
        say(f"{command.op} of {run.name} is on its way{why}; see it with: farwatch show {run.id[:7]}")
        return
    change = f": {_short(command.old)} → {_short(command.new)}" if command.new is not None else ""
    reason = f" ({clean(command.reason)})" if command.reason else ""
    emit(f"{command.op} {command.state}{at}{change}{reason}")
    if command.result is not None:
        emit(clean(command.result) if isinstance(command.result, str) else clean(repr(command.result)))


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(name: str, text: str) -> click.Command:
    @click.command(name, help=text)
    @click.argument("run")
    @steer_options
    def command(run: str, **options: Any) -> None:
        _do(run, name, {}, **options)

    return command


stop = _plain("stop", "Stop RUN at its next safe point, after its save hooks.")
pause = _plain("pause", "Hold RUN at its next safe point; it keeps its memory.")
unpause = _plain("unpause", "Let a paused RUN go on.")
checkpoint = _plain("checkpoint", "Let RUN save, and print what its hook returned.")


@click.command("set")
@click.argument("run")
@click.argument("name", required=False)
@click.argument("value", required=False)
@yes_option
@steer_options
def set_(run: str, name: str | None, value: str | None, server: str | None, as_json: bool, **options: Any) -> None:
    """Give the knob NAME of RUN another VALUE; without them, list its knobs."""
    if name is None:
        _list_knobs(run, server, as_json)
        return
    if value is None:
        raise UsageError(f"which value for `{name}`?", hint=f"farwatch set {run} {name} VALUE")
    _do(run, "set", {"name": name, "value": value}, server=server, as_json=as_json, **options)


def _list_knobs(ref: str, server: str | None, as_json: bool) -> None:
    from farwatch.cli.output import table

    with Api(server) as api:
        knobs = api.run(ref).knobs
    if as_json:
        emit_json({name: {field: getattr(knob, field) for field in knob.__dataclass_fields__} for name, knob in knobs.items()})
        return
    if not knobs:
        say("this run has no knobs; its program declares them with run.knob()")
        return
    rows = []
    for knob in knobs.values():
        limits = ", ".join(map(_short, knob.choices)) if knob.choices else f"{_edge(knob.min)} to {_edge(knob.max)}"
        coming = "" if knob.pending is None else _short(knob.pending)
        rows.append([knob.name, _short(knob.value), coming, knob.type, "" if knob.type in ("bool", "str") and not knob.choices else limits])
    table(rows, ("knob", "value", "pending", "type", "takes"), right=frozenset({1, 2}))


def _edge(limit: float | None) -> str:
    return "any" if limit is None else _short(limit)


@click.command()
@click.argument("run")
@click.argument("name")
@click.argument("arguments", nargs=-1, metavar="[ARGUMENT=VALUE]...")
@steer_options
def call(run: str, name: str, arguments: tuple[str, ...], **options: Any) -> None:
    """Call the command NAME that the program of RUN declares, and print what it returns."""
    given: dict[str, str] = {}
    for word in arguments:
        key, sign, value = word.partition("=")
        if not sign or not key:
            raise CommandError(f"an argument is written NAME=VALUE, not: `{word[:100]}`")
        given[key] = value
    _do(run, "call", {"name": name, "args": given}, **options)


@click.command()
@click.argument("run")
@yes_option
@steer_options
def kill(run: str, **options: Any) -> None:
    """End all processes of RUN at once, without saving."""
    _do(run, "kill", {}, **options)
