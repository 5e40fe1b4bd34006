"""`farwatch login`: where runs go, and the token for it."""

import sys

import click

from farwatch.api import Api
from farwatch.cli.output import emit, emit_json, json_option, say
from farwatch.errors import UsageError
from farwatch.servers import CREDENTIALS, store_credential
from farwatch.settings import load, state_dir


@click.command()
@click.argument("address")
@click.option(
    "--token-stdin", is_flag=True, help="Read the token from standard input instead of asking for it."
)
@json_option
def login(address: str, token_stdin: bool, as_json: bool) -> None:
    """Store ADDRESS and a token for it, in a file that only you can read.

    The token is asked for, or read from standard input: as an argument, everybody on this machine could see it.
    """
    settings = load()
    address = (address if "://" in address else f"https://{address}").rstrip("/")
    token = settings.token or (sys.stdin.readline().strip() if token_stdin else _ask(address))
    if not token:
        raise UsageError(
            "no token was given", hint="make one on the page, under Settings; then: farwatch login " + address
        )
    with Api(address, token) as api:  # a wrong one is refused here, not in the middle of a night
        info = api.info()
        who = api._contact.get("/session")["actor"]
    folder = state_dir(settings)
    store_credential(folder, address, token, default=True)
    path = folder / CREDENTIALS
    if as_json:
        emit_json({"server": address, "actor": who, "version": info.get("version"), "stored": str(path)})
        return
    emit(f"{address}: {who['name']} ({', '.join(who['scopes'])})")
    say(f"stored in {path}; runs on this machine go there from now on")


def _ask(address: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the token",
            hint=f"pipe it: farwatch login {address} --token-stdin < file",
        )
    answer: str = click.prompt(f"Token for {address}", hide_input=True, err=True)
    return answer.strip()
