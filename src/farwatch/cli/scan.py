"""Logging in to a service by scanning a code, in a terminal."""

import sys
from typing import Any

import click

from farwatch.api.contact import Contact, quoted
from farwatch.cli.output import clean, say
from farwatch.cli.qr import draw_qr
from farwatch.clock import Clock, SystemClock
from farwatch.errors import FarwatchError

GOOD = frozenset({"confirmed", "already-bound"})
PAUSE_S = 1.0  # the server holds each question itself


def log_in(contact: Contact, name: str, *, ask: bool, clock: Clock | None = None) -> None:
    """Show codes until one was scanned and confirmed. `ask`: whether somebody can type the number that the phone may show.

    Raises `FarwatchError` if it ends without a session.
    """
    clock = clock or SystemClock()
    path = f"/channels/{quoted(name)}/login"
    state = contact.send("POST", path, {"again": True})
    say(clean(state["text"]))
    drawn, said = "", state["text"]
    while True:
        if state["link"] and state["link"] != drawn:
            drawn = state["link"]
            _show(drawn)
        code = state["state"]
        if code in GOOD:
            say(clean(state["text"]))
            return
        body: dict[str, Any] = {}
        if code == "blocked" or (code == "expired" and not state["link"]):
            if not (ask and click.confirm(f"{clean(state['text'])}. Show another code?", default=True, err=True)):
                raise FarwatchError(clean(state["text"]), hint=f"farwatch connect {name}, to begin again")
            body, drawn = {"again": True}, ""
        elif code == "needs-digits":
            say(clean(state["text"]))
            body = {"digits": _digits(ask)}
        elif state["text"] not in (said, ""):
            said = state["text"]
            say(clean(said))
        if not body:
            clock.sleep(PAUSE_S)
        state = contact.send("POST", path, body)


def _show(link: str) -> None:
    if not draw_qr(link):
        say("this terminal cannot draw the code; draw it with any program for QR codes, or use the server's page")
    say(clean(link))


def _digits(ask: bool) -> str:
    """The number that the phone shows: typed, or the next line of standard input."""
    if ask:
        answer: str = click.prompt("Number", err=True)
        return answer.strip()
    line = sys.stdin.readline().strip() if sys.stdin is not None else ""
    if not line:
        raise FarwatchError("the phone shows a number, and nobody is here to type it", hint="run this in a terminal, or pipe the number in")
    return line
