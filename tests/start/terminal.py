"""A terminal with a program in it, as a person has one: type, read, resize, close."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from tests.faults.machine import Machine

RUN = (sys.executable, "-m", "farwatch.cli", "run")


class Terminal:
    """What it shows is collected in `shown`."""

    def __init__(self, command: list[str], environ: dict[str, str], folder: Path) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(folder)
                os.execvpe(command[0], command, environ)
            finally:
                os._exit(99)
        self.shown = ""
        self.resize(33, 101)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, text: str, limit_s: float = 60) -> str:
        """Read until the text has been shown; returns all that has been, and forgets it."""
        deadline = time.monotonic() + limit_s
        while text not in self.shown:
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown!r}"
            if not self._read(0.1):
                break
        assert text in self.shown, f"no {text!r} in {self.shown!r}"
        at = self.shown.index(text) + len(text)
        shown, self.shown = self.shown[:at], self.shown[at:]
        return shown

    def _read(self, wait_s: float) -> bool:
        """Read what there is; False at the end."""
        if not select.select([self.master], [], [], wait_s)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def modes(self) -> list[object]:
        return list(termios.tcgetattr(self.master)[:4])

    def wait(self, limit_s: float = 20) -> int:
        """The exit status of the program, once it has ended."""
        deadline = time.monotonic() + limit_s
        while True:
            self._read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                while self._read(0.05) and select.select([self.master], [], [], 0)[0]:
                    pass
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, f"it goes on: {self.shown!r}"

    def hang_up(self) -> None:
        """Close the terminal's window."""
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
        if self.master >= 0:
            self.hang_up()


def run_piped(
    machine: Machine, *command: str, options: tuple[str, ...] = (), stdin: bytes = b"", **environ: str
) -> subprocess.CompletedProcess[bytes]:
    """`farwatch run` without a terminal."""
    return subprocess.run(
        [*RUN, *options, "--", *command], env={**machine.environ, **environ}, cwd=machine.folder, input=stdin,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
