"""The command line as a person, or a script, uses it beside a party."""

import subprocess
import sys
from pathlib import Path

from tests.faults.machine import Machine


def command(machine: Machine, *words: object, stdin: str | bytes = b"", **environ: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end, with this on its standard input."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(_words(words), env={**machine.environ, **environ}, input=given, capture_output=True, timeout=120)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def begin(machine: Machine, *words: object, log: Path, **environ: str) -> subprocess.Popen[bytes]:
    """A command that waits for somebody; what it says on the error stream goes into a file."""
    with open(log, "wb") as file:
        return subprocess.Popen(
            _words(words), env={**machine.environ, **environ}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file
        )


def _words(words: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", "farwatch.cli", *map(str, words)]
