"""What a kill says, and leaves behind, where nothing is left to be ended."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from farwatch.agent.folder import CHILD, KILLED
from farwatch.agent.killing import Tree, kill
from farwatch.machine import process_start


class Folder:
    """Notes of a journal, in memory."""

    def __init__(self, role: str, child: dict[str, Any]) -> None:
        self.role = role
        self.notes: dict[str, dict[str, Any]] = {CHILD: child}

    def read_note(self, name: str) -> dict[str, Any]:
        return self.notes.get(name, {})

    def write_note(self, name: str, told: dict[str, Any]) -> None:
        self.notes[name] = told


def runner_of(pid: int, pid_start: int | None) -> Any:
    """A `farwatch run` that lives, of a program that may have ended."""
    watched = SimpleNamespace(alive=True, pid=os.getpid(), started=process_start(os.getpid()))
    return SimpleNamespace(watched=watched, folder=Folder("runner", {"pid": pid, "pid_start": pid_start}))


def test_a_program_that_ended_by_itself_is_not_said_to_have_been_killed() -> None:
    """Its runner is about to write how it ended, and believes the note."""
    program = subprocess.Popen([sys.executable, "-c", "pass"])
    started = process_start(program.pid)
    program.wait(30)
    runner = runner_of(program.pid, started)

    told = kill([runner], "Ann", grace_s=0.1)

    assert (told["state"], told["reason"]) == ("refused", "no process of this run lives on this machine")
    assert KILLED not in runner.folder.notes


def test_who_killed_a_program_is_noted() -> None:
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    runner = runner_of(program.pid, process_start(program.pid))

    told = kill([runner], "Ann", grace_s=20)

    assert (told["state"], told["result"]["signal"], program.wait(30)) == ("applied", "SIGTERM", -15)
    assert runner.folder.notes[KILLED] == {"by": "Ann"}


def test_waiting_for_a_tree_does_not_look_at_the_whole_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process starts while it is being ended is found by its parent; all others are looked at once a second."""
    source = (
        "import signal, subprocess, sys, time\n"
        "def end(*_): subprocess.Popen(['sleep', '60']); print('late', flush=True); time.sleep(60)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    program = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    assert program.stdout is not None and program.stdout.readline() == b"ready\n"
    looks: list[float] = []
    look = Tree._look
    monkeypatch.setattr(Tree, "_look", lambda tree: (looks.append(time.monotonic()), look(tree))[1])
    trainer: Any = SimpleNamespace(
        watched=SimpleNamespace(alive=True, pid=program.pid, started=process_start(program.pid)), folder=Folder("trainer", {})
    )

    began = time.monotonic()
    told = kill([trainer], "Ann", grace_s=2.5)
    waited = [at for at in looks if 0.2 < at - began < 2.4]

    assert (told["state"], told["result"]) == ("applied", {"processes": 2, "signal": "SIGKILL"})
    assert len(waited) <= 3
    assert program.wait(30) == -9
    program.stdout.close()
