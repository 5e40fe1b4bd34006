"""The agent: one quiet process per (boot, PID namespace, user, wire major) that does everything training must not.

`python -P -m farwatch.agent --state DIR`. A second one fails to take the lock and leaves before it has imported anything
heavy. It stays while a process writes, and while something can still be sent; a trainer or `farwatch serve` starts the
next.
"""

import argparse
import contextlib
import logging
import logging.handlers
import os
import signal
import threading
from pathlib import Path

from farwatch import settings as settings_module
from farwatch.agent.place import Alive, Lock, agent_file
from farwatch.settings import Settings

LOG = logging.getLogger("farwatch.agent")
LOG_BYTES = 2 << 20
LOG_FILES = 5
NICE = 5
OOM_SCORE = "500"  # under memory pressure the agent goes before the training that it watches


def main(arguments: list[str]) -> int:
    """Run the agent until it has nothing to do. Returns the exit status; 0 also if another one runs."""
    parser = argparse.ArgumentParser(
        prog="farwatch.agent", description="ship journals, see deaths, measure the machine"
    )
    parser.add_argument("--state", type=Path, help="the state folder, with `journals` in it")
    given = parser.parse_args(arguments)
    settings = settings_module.load()
    state = (given.state or settings_module.state_dir(settings)).absolute()
    settings = settings.replace(dir=str(state))
    lock = Lock(agent_file(state, "lock"))
    if not lock.take():
        return 0
    settle()
    write_log(agent_file(state, "log"))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    return run(state, settings, lock, stop)


def run(state: Path, settings: Settings, lock: Lock, stop: threading.Event) -> int:
    """Work while there is work; the lock is held, and given back at the end."""
    from farwatch.agent.loop import Agent  # after the lock: a second agent should cost next to nothing

    alive = Alive(agent_file(state, "beat"))
    try:
        while True:
            agent = Agent(state, settings, lock=lock, alive=alive, stop=stop)
            try:
                agent.run()
            finally:
                agent.close()
            lock_is_ours = lock.holds()
            if lock_is_ours:
                alive.close()
            lock.release()
            # A journal born between our last look and the unlocking would be nobody's: look again. [H 12]
            if stop.is_set() or not lock_is_ours or not agent.anything_new() or not lock.take():
                return 0
            LOG.info("a journal was born while leaving: staying")
            alive = Alive(agent_file(state, "beat"))
    except (
        Exception
    ):  # the agent's loop is the border: say why in the log, and let the next trainer start another
        LOG.exception("the agent ends with a defect")
        return 1
    finally:
        if lock.holds():
            alive.close()
        lock.release()


def settle() -> None:
    """Become a process that disturbs nobody: low priority, first to die, all cores, no terminal, no working folder."""
    with contextlib.suppress(OSError):
        os.chdir("/")
    with contextlib.suppress(OSError, AttributeError):
        os.setsid()
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    with contextlib.suppress(OSError, AttributeError):
        # The launcher may have pinned rank 0, and us with it, to one core.
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    os.umask(0o077)


def write_log(path: Path) -> None:
    """Log to a file of bounded size."""
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1, delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
