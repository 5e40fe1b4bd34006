"""The start of a run as its person sees it: does it exist, and where is it to be seen."""

import time
from pathlib import Path

from farwatch.errors import UsageError
from farwatch.sdk import notebook
from farwatch.sdk.run import Run
from farwatch.sdk.say import say
from farwatch.wire.ids import short_id
from farwatch.wire.states import State


def ask(run: Run, resume: str, wait_s: float) -> None:
    """Wait for the agent to have asked the server whether the run exists. The one wait of `init`. [H 8]"""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        answer = run._writer.answer()
        if answer.get("error"):
            error = answer["error"]
            run._end(State.FAILED, str(error.get("message", "refused")))
            raise UsageError(str(error.get("message", "the server refuses this run")), hint=error.get("hint"))
        if answer.get("run"):
            return
        time.sleep(0.02)
    say(f"the server did not say within {wait_s:g} s whether {run.id} exists; the run goes on")


def announce(run: Run, *, mode: str, state_dir: Path) -> None:
    """Say in one line where the run is, or how it gets there."""
    url = run.url
    if url is not None:
        if not notebook.link(f"{run.name} {short_id(run.id)} →", url):
            say(f"{run.name} {short_id(run.id)} → {url}")
    elif mode == "offline":
        say(f"{run.name} {short_id(run.id)}, offline, kept here; deliver it with: farwatch sync {state_dir}")
    else:
        say(f"{run.name} {short_id(run.id)}, kept here; see it with: farwatch serve")
