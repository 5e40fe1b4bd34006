"""`farwatch serve` and `farwatch open`."""

import contextlib
import sys
import threading
import webbrowser

import click

from farwatch.api.contact import connect, quoted
from farwatch.cli.output import emit, emit_json, json_option, say, server_options
from farwatch.errors import FarwatchError, UsageError
from farwatch.sdk.spawn import start_agent
from farwatch.settings import environment, load, state_dir


@click.command()
@click.option("--host", help="Address to listen on; default 127.0.0.1: this machine only.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; default 3279, the next free one if it is taken. 0: any.",
)
@click.option(
    "--data", type=click.Path(file_okay=False), help="Data folder; default: `server` in the state folder."
)
@click.option(
    "--url", metavar="ADDRESS", help="Public address of this server, where it stands behind a proxy."
)
@click.option(
    "--open/--no-open",
    "wanted",
    default=None,
    help="Open the page in a browser; default: where there is a desktop and a terminal.",
)
@json_option
def serve(
    host: str | None, port: int | None, data: str | None, url: str | None, wanted: bool | None, as_json: bool
) -> None:
    """Start the server: one process, one folder. Ends with Ctrl-C or SIGTERM.

    Prints a link that opens the page once; your own programs on this machine find the server by themselves.
    """
    from farwatch.server.serve import Started, announce
    from farwatch.server.serve import serve as run_server

    settings = load().replace(host=host, port=port, data=data, url=url)

    def wake() -> None:
        if settings.agent:
            with contextlib.suppress(OSError):  # a trainer, or `farwatch sync`, does it as well
                start_agent(state_dir(settings), environment())

    def ready(started: Started) -> None:
        announce(started, as_json=as_json)
        if any((state_dir(settings) / name).exists() for name in ("journals", "launch.toml", "messages")):
            wake()  # for what was logged before there was a server, and for what may be started here
        if wanted or (wanted is None and not as_json and sys.stdout.isatty() and _has_desktop()):
            # A browser may take seconds to start, and this is called between requests.
            threading.Thread(target=_open, args=(started.once,), name="farwatch-open", daemon=True).start()

    run_server(settings, ready=ready, wake=wake)


@click.command("open")
@click.argument("run", required=False)
@click.option("--no-browser", is_flag=True, help="Print the link only.")
@server_options
def open_(run: str | None, no_browser: bool, as_json: bool, server: str | None) -> None:
    """Open the page, or RUN, in the browser, and print a link that does so once."""
    contact = connect(server, None)
    try:
        path = f"/r/{quoted(contact.get(f'/runs/{quoted(run)}')['short'])}" if run else "/"
        try:
            told = contact.send("POST", "/once", {})
            link = _at(told["url"], path)
        except FarwatchError as error:
            # A server with accounts hands out no such links: there the browser logs in by itself.
            if error.code not in ("forbidden", "not-found"):
                raise
            link = f"{contact.address}{path}"
    finally:
        contact.close()
    if as_json:
        emit_json({"link": link})
    else:
        emit(link)
    if not no_browser and not as_json and _has_desktop() and not _open(link):
        say("no browser could be started; open the link yourself")


def _at(url: str, path: str) -> str:
    """The same once-link, leading to `path`."""
    base, mark, code = url.partition("#")
    if not mark:
        raise UsageError("the server sent a link without a code", hint="upgrade the older side")
    return f"{base.rstrip('/')}{path}#{code}"


def _has_desktop() -> bool:
    """Whether a browser would get a window. Without this, `webbrowser` starts text browsers inside this terminal."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(environment().get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _open(link: str) -> bool:
    try:
        return webbrowser.open(link)
    except (OSError, webbrowser.Error):
        return False
