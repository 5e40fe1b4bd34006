"""`farwatch run`: a program on a terminal that we own."""

import sys

import click

from farwatch.errors import UsageError


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--project", metavar="NAME", help="Project of the run; default: what the program says, else its folder.")
@click.option("--name", metavar="NAME", help="Name of the run.")
@click.option("--id", "run_id", metavar="ID", help="Continue this run, or make one of this id.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Tag of the run; may be given several times.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing at start and end.")
@click.option("--json", "as_json", is_flag=True, help="After the end, write one line of JSON to the error stream.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    project: str | None, name: str | None, run_id: str | None, tags: tuple[str, ...], quiet: bool, as_json: bool,
    command: tuple[str, ...],
) -> int:  # fmt: skip
    """Run COMMAND with its arguments as a run: its whole console, its exit code, its true cause of death.

    What the program and everything that it starts write is kept, C libraries included. It exits with the program's exit code,
    or 128 + n if signal n ended it. A program that calls `farwatch.init` continues this run.
    """
    if sys.platform == "win32":
        raise UsageError("`farwatch run` needs pseudo-terminals, which Windows has not", hint="start the program itself")
    from farwatch.runner.program import Asked
    from farwatch.runner.program import run as run_program

    return run_program(Asked(command, project, name, run_id, tags=tags, quiet=quiet, as_json=as_json))
