"""The supervisor of a program that was started from afar: reads what the agent has written down, and runs it.

It belongs to nobody: an agent that dies takes nothing with it. The slot that it holds at descriptor 3 is inherited by the
program, so that it is free when the last of them has gone.
"""

import contextlib
import os
from pathlib import Path

from farwatch import settings as settings_module
from farwatch.agent.launcher import SLOT
from farwatch.agent.launches import Launches
from farwatch.machine import process_start
from farwatch.runner.program import Asked, run


def run_launched(record: Path) -> int:
    """Run what a start's file says, unless somebody has decided that it does not happen."""
    launches = Launches(record.parent.parent)
    key = record.stem
    told = launches.read(key)
    with contextlib.suppress(OSError):
        os.setsid()
    os.umask(0o077 if not told else 0o022)
    pid = os.getpid()
    if not told or not launches.claim(key, {"pid": pid, "pid_start": process_start(pid), "run": told["run"]}):
        return 1
    environment = {name: value for name, value in told["environment"].items() if isinstance(value, str)}
    settings_module.replace_environment(environment)
    os.set_inheritable(SLOT, True)
    os.chdir(told["folder"])
    asked = Asked(told["argv"], project=told["project"], name=told["name"], run_id=told["run"], origin=told["origin"], quiet=True)
    return run(asked)
