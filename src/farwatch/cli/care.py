"""`farwatch fsck`, `backup` and `restore`: of a data folder, without asking its server."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from farwatch.cli.output import clean, emit, emit_json, json_option, say, size
from farwatch.errors import NotFoundError
from farwatch.settings import Settings, load, state_dir

NOT_COPIED = "channels.json, channels/"
DATA_HELP = "Data folder; default: this user's own."


def _data(given: Path | None, settings: Settings | None = None) -> Path:
    """The data folder that is meant. Raises `NotFoundError` if it does not exist."""
    settings = settings or load()
    folder = given or (Path(settings.data).expanduser() if settings.data else state_dir(settings) / "server")
    if not folder.is_dir():
        raise NotFoundError(
            f"no such data folder: `{folder}`", hint="name it with --data, or set FARWATCH_DATA"
        )
    return folder.absolute()


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help=DATA_HELP)
@click.option("--no-files", is_flag=True, help="Leave out reading every saved file.")
@json_option
def fsck(data: Path | None, no_files: bool, as_json: bool) -> None:
    """Check a data folder for damage; a server may be using it. Changes nothing. Exits with 1 if anything is damaged."""
    from farwatch.store.sqlite.fsck import fsck as check

    report = check(_data(data), blobs=not no_files)
    if as_json:
        emit_json({**asdict(report), "series": [key._asdict() for key in report.series], "ok": report.ok})
    else:
        for problem in report.problems:
            emit(clean(problem))
        say(
            f"{report.runs} runs, {report.points} points, {report.batches} batches, {report.blobs} files: "
            + ("whole" if report.ok else f"{len(report.problems)} problems; what is not named above is whole")
        )
    if not report.ok:
        sys.exit(1)


@click.command()
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help=DATA_HELP)
@json_option
def backup(target: Path, data: Path | None, as_json: bool) -> None:
    """Copy a data folder to TARGET, which must not exist or be empty. The server may go on working.

    Credentials of chat services are left out.
    """
    from farwatch.store.sqlite.care import backup as copy

    manifest = copy(_data(data), target)
    if as_json:
        emit_json({**manifest, "folder": str(target.absolute())})
    else:
        total = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        say(f"{size(total)} → {target}; to use it: farwatch restore {target} --data FOLDER")
        say(f"credentials of chat services ({NOT_COPIED}) are in no backup")


@click.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to make; must not exist or be empty.",
)
@json_option
def restore(source: Path, data: Path, as_json: bool) -> None:
    """Make a data folder from the backup SOURCE.

    Machines that still have what was logged since then send it again when a server runs on it; what is gone is shown as
    a gap. People and their chats come back; the services behind them must be connected again.
    """
    from farwatch.store.sqlite.care import restore as make

    epoch = make(source, data)
    if as_json:
        emit_json({"folder": str(data.absolute()), "epoch": epoch})
    else:
        say(f"restored to {data}; start it with: farwatch serve --data {data}")
        say("chat services must be connected again, if there were any: farwatch connect")
