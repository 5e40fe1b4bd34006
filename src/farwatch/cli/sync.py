"""`farwatch sync` and `farwatch status`: what is kept on this machine, and sending it."""

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from farwatch.agent.messages import Kept, messages_at
from farwatch.agent.sync import Progress, WriterStatus
from farwatch.agent.sync import clear as clear_sent
from farwatch.agent.sync import retry as offer_again
from farwatch.agent.sync import status as look
from farwatch.agent.sync import sync as send
from farwatch.cli.output import clean, emit_json, json_option, moment, say, size, table
from farwatch.clock import SystemClock
from farwatch.errors import UsageError
from farwatch.settings import load, state_dir
from farwatch.wire.ids import short_id


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--watch",
    is_flag=True,
    help="Go on with what is added, until Ctrl-C: for a folder that nodes without a network write to.",
)
@click.option(
    "--retry", is_flag=True, help="Offer again what a server refused for good: once a limit was raised, or it is newer."
)
@click.option("--server", metavar="ADDRESS", help="Server to send to; default: where each run wanted to go.")
@json_option
def sync(folder: Path | None, watch: bool, retry: bool, server: str | None, as_json: bool) -> None:
    """Send what is kept on this machine, or in FOLDER: a state folder, a folder of journals, or one journal.

    Sending twice changes nothing. Exits with 1 if something was refused.
    """
    settings = load().replace(server=server)
    stop = threading.Event()
    if watch:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
    shown = ""

    def show(progress: Progress) -> None:
        nonlocal shown
        text = _progress(progress)
        if text != shown and (watch or sys.stderr.isatty()):
            shown = text
            say(text)

    if retry:
        say(f"{offer_again(folder or state_dir(settings))} records and files that were set aside are offered again")
    told = send(folder or state_dir(settings), settings, watch=watch, stop=stop, progress=show)
    if as_json:
        emit_json(asdict(told))
    elif _progress(told) != shown:
        say(_progress(told))
    for writer, reason in [*told.refused.items(), *told.left_alone.items()]:
        say(f"{writer[:8]}: {clean(reason)}")
    if told.refused or told.left_alone or told.set_aside:
        sys.exit(1)


def _progress(told: Progress) -> str:
    """One line about a sync."""
    if not told.journals:
        return "nothing to send"
    text = f"{told.complete} of {told.journals} journals complete, {told.records} records"
    if told.files_behind:
        text += f", {told.files_behind} files ({size(told.bytes_behind)}) to go"
    if told.set_aside:
        text += f", {told.set_aside} records set aside"
    return text + (f" · {clean(told.trouble)}" if told.trouble else "")


@click.command()
@click.option("--clear", is_flag=True, help="Delete journals that are fully sent and ended, after asking.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def status(clear: bool, yes: bool, as_json: bool) -> None:
    """Show active runs of this machine and what is not yet sent. Needs no server."""
    folder = state_dir(load())
    found: Sequence[WriterStatus] = look(folder) if folder.is_dir() else []
    if clear:
        _clear(found, yes, as_json, lambda: clear_sent(folder))
        return
    messages = messages_at(folder, SystemClock().wall_us() // 1000)
    if as_json:
        emit_json(
            {
                "folder": str(folder),
                "journals": [{**asdict(journal), "path": str(journal.path)} for journal in found],
                "messages": {
                    "waiting": messages.waiting,
                    "given_up": [{"made_ms": made_ms, "reason": reason} for made_ms, reason in messages.given_up],
                },
            }
        )
        return
    if found:
        _show(found)
    elif not messages.waiting:
        say(f"nothing is kept in {folder}")
    _tell(messages)


def _tell(messages: Kept) -> None:
    """What became of messages of programs without a run, where something is to be said of them."""
    if messages.waiting:
        say(f"{messages.waiting} messages wait for a server" if messages.waiting > 1 else "a message waits for a server")
    for made_ms, reason in messages.given_up:
        say(f"a message of {moment(made_ms)} was not sent: {clean(reason)}")


def _show(found: Sequence[WriterStatus]) -> None:
    """One row per journal; those that the agent writes beside a run only while something of them waits."""
    shown = [j for j in found if j.role == "trainer" or j.records_unsent or j.files_unsent or j.set_aside or j.refused]
    files = any(journal.files_unsent for journal in shown)
    rows = [
        (
            f"{short_id(journal.run)}{'' if journal.role == 'trainer' else ' ' + journal.role}",
            journal.name or "",
            journal.project,
            {True: "running", False: "ended", None: "unknown"}[journal.alive],
            journal.records,
            f"{journal.records_unsent} ({size(journal.bytes_unsent)})" if journal.records_unsent else "0",
            *([journal.files_unsent] if files else []),
            _where(journal),
        )
        for journal in shown
    ]
    head = ("run", "name", "project", "process", "records", "unsent", *(["files"] if files else []), "where")
    table(rows, head, right=frozenset(range(4, len(head) - 1)))
    for journal in shown:
        if journal.refused:
            say(f"{short_id(journal.run)} was refused: {clean(journal.refused)}")
    aside = sum(journal.set_aside for journal in shown)
    if aside:
        say(f"{aside} records were refused and set aside; once the reason is gone: farwatch sync --retry")


def _where(journal: WriterStatus) -> str:
    if journal.refused:
        return "refused"
    if journal.set_aside:
        return f"{journal.set_aside} set aside"
    if journal.mode == "offline" and not journal.complete:
        return "here: farwatch sync"
    return (journal.address or "no server yet").removeprefix("http://")


def _clear(
    found: Sequence[WriterStatus], yes: bool, as_json: bool, act: Callable[[], list[WriterStatus]]
) -> None:
    """Ask, then delete what is fully sent."""
    ready = [j for j in found if j.complete and j.alive is not True and not j.set_aside]
    if ready and not yes:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask", hint="add --yes to delete what is fully sent")
        click.confirm(
            f"Delete {len(ready)} fully sent journals? The runs stay on the server.", abort=True, err=True
        )
    cleared = act() if ready else []
    if as_json:
        emit_json({"cleared": [journal.writer_id for journal in cleared], "kept": len(found) - len(cleared)})
    else:
        say(f"{len(cleared)} journals deleted, {len(found) - len(cleared)} kept")
