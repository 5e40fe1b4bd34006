"""Between a program's terminal and ours: bytes both ways, the window's size, signals, Ctrl-Z, until the program ends.

What the program writes goes on at once and unchanged; whoever keeps it (`take`) gets a copy and never holds it up. Our
terminal is raw while a person types at it, and as it was before at every moment when somebody else may use it.
"""

import contextlib
import errno
import os
import select
import signal
import termios
import time
import tty
from collections.abc import Callable
from types import FrameType
from typing import Any

from farwatch.runner.child import Child, set_size, size_of_ours

CHUNK = 64 << 10
LATE_S = 0.1  # silence after the program's end, with something of it still running, after which we are done
LATE_MAX_S = 1.0
BACKGROUND_S = 0.5  # how often a job in the background looks whether it has come to the foreground
STOP_WAIT_S = 0.1
GROUP = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)  # what a terminal sends to everybody at it
ALONE = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # what is sent to one program
HANDLED = (*GROUP, *ALONE, signal.SIGTSTP, signal.SIGWINCH, signal.SIGCHLD, signal.SIGTTOU, signal.SIGTTIN)


class Signals:
    """Signals that come to us, and what was to be done with them when we started.

    Installed before the program starts, so that none is lost; they are passed on once `to` is set.
    """

    def __init__(self) -> None:
        self.ignored = frozenset(number for number in HANDLED if signal.getsignal(number) is signal.SIG_IGN)
        self.asked: set[int] = set()
        self.stop_asked = False
        self.resized = False
        self._pid = 0
        self._before: dict[int, Any] = {}
        reading, writing = os.pipe()
        for fd in (reading, writing):
            os.set_blocking(fd, False)
        self.wake = reading
        self._writing = writing
        self._wake_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in HANDLED:
            if number in (signal.SIGTTOU, signal.SIGTTIN):
                self._before[number] = signal.signal(number, signal.SIG_IGN)  # a job in the background goes on
            elif number not in self.ignored or number == signal.SIGCHLD:
                self._before[number] = signal.signal(number, self._came)

    def pass_to(self, pid: int) -> None:
        """From now on the program gets them, and what has come before."""
        self._pid = pid
        for number in tuple(self.asked):
            self._send(number)

    def close(self) -> None:
        """Everything as it was; may be called twice."""
        for number, before in self._before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)
        self._before = {}
        if self.wake >= 0:
            signal.set_wakeup_fd(self._wake_before)
            os.close(self.wake)
            os.close(self._writing)
            self.wake = -1

    def _came(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTSTP:
            self.stop_asked = True
        elif number == signal.SIGWINCH:
            self.resized = True
        elif number != signal.SIGCHLD:
            self.asked.add(number)
            if self._pid:
                self._send(number)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number in GROUP:
                os.killpg(self._pid, number)
            else:
                os.kill(self._pid, number)


class Relay:
    """One program, until it ends. *Threads*: one, the main one."""

    def __init__(self, child: Child, signals: Signals, take: Callable[[str, bytes], None]) -> None:
        self._child = child
        self._signals = signals
        self._take = take
        self._typed = b""  # not yet taken by the program
        self._saved: list[Any] | None = None  # our terminal as it was, while it is raw
        self._listening = child.interactive
        self._poll = select.poll()
        self._poll.register(signals.wake, select.POLLIN)
        for fd in child.sources:
            self._poll.register(fd, select.POLLIN)

    def run(self) -> int:
        """Carry on until the program has ended; returns its wait status."""
        try:
            while True:
                self._look_at_terminal()
                ready = dict(self._poll.poll(self._patience_ms()))
                self._turn(ready)
                status = self._ended()
                if status is not None:
                    self._drain()
                    return status
        finally:
            self._restore()

    def _turn(self, ready: dict[int, int]) -> None:
        if self._signals.wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._signals.wake, 4096)
        if self._signals.resized:
            self._signals.resized = False
            if self._child.master >= 0:
                set_size(self._child.master, size_of_ours())
        if self._signals.stop_asked:
            self._signals.stop_asked = False
            self._suspend()
        for fd in list(self._child.sources):
            if ready.get(fd, 0) & ~select.POLLOUT:
                self._carry(fd)
        if ready.get(self._child.master, 0) & select.POLLOUT:
            self._type()
        if 0 in ready:
            self._read_typed()

    def _patience_ms(self) -> int | None:
        if self._child.interactive and self._listening and self._saved is None:
            return int(BACKGROUND_S * 1000)
        return None if self._child.sources else int(BACKGROUND_S * 1000)

    def _ended(self) -> int | None:
        try:
            pid, status = os.waitpid(self._child.pid, os.WNOHANG)
        except ChildProcessError:
            return 0  # somebody else has collected it: SIGCHLD is ignored
        return status if pid else None

    # --- from the program

    def _carry(self, fd: int) -> bool:
        """Pass on what there is to read; returns whether there was something."""
        name, onward = self._child.sources[fd]
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # the end of a terminal
                raise
            data = b""
        if not data:
            self._forget(fd)
            return False
        if onward >= 0 and not _write(onward, data):
            if fd == self._child.master:
                self._child.sources[fd] = (name, -1)  # our terminal is gone; SIGHUP says the rest
            else:
                self._forget(fd)  # the program gets SIGPIPE, as it would without us
        self._take(name, data)
        return True

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._child.sources[fd]
        if fd != self._child.master:
            os.close(fd)

    def _drain(self) -> None:
        """Take what the program has left behind. Something of it may still run and hold its streams open."""
        started = last = time.monotonic()
        while self._child.sources:
            now = time.monotonic()
            if now - last > LATE_S or now - started > LATE_MAX_S:
                break
            for fd, _ in self._poll.poll(LATE_S * 1000 / 4):
                if fd in self._child.sources and self._carry(fd):
                    last = time.monotonic()
                elif fd == self._signals.wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(fd, 4096)
        for fd in list(self._child.sources):
            self._forget(fd)
        if self._child.master >= 0:
            os.close(self._child.master)
            self._child.master = -1

    # --- from the person

    def _look_at_terminal(self) -> None:
        """Make our terminal raw if it is ours to make raw, and listen to it only then."""
        if not self._child.interactive or not self._listening or self._saved is not None or not _in_foreground():
            return
        try:
            self._saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)
        except termios.error:
            self._saved, self._listening = None, False
            return
        self._poll.register(0, select.POLLIN)

    def _restore(self) -> None:
        saved, self._saved = self._saved, None
        if saved is None:
            return
        with contextlib.suppress(KeyError):
            self._poll.unregister(0)
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(0, termios.TCSADRAIN, saved)

    def _read_typed(self) -> None:
        try:
            data = os.read(0, 1024)
        except OSError:
            data = b""
        if not data:  # hung up
            self._restore()
            self._listening = False
            return
        keys = self._special_keys()
        if keys is not None:
            interrupt, suspend = keys
            if interrupt in data:
                self._signals.asked.add(signal.SIGINT)
            before, found, after = data.partition(suspend)
            if found:
                self._typed += before + after
                self._type()
                self._suspend()
                return
        self._typed += data
        self._type()

    def _special_keys(self) -> tuple[bytes, bytes] | None:
        """The keys that interrupt and suspend, if the program leaves them to its terminal."""
        try:
            modes = termios.tcgetattr(self._child.master)
        except termios.error:
            return None
        if not modes[3] & termios.ISIG:
            return None
        return modes[6][termios.VINTR], modes[6][termios.VSUSP]

    def _type(self) -> None:
        """Give the program what was typed; as long as it takes nothing, we read nothing more."""
        if self._typed and self._child.master >= 0:
            try:
                self._typed = self._typed[os.write(self._child.master, self._typed) :]
            except BlockingIOError:
                pass
            except OSError:
                self._typed = b""
        if self._child.master in self._child.sources:
            self._poll.modify(self._child.master, select.POLLIN | (select.POLLOUT if self._typed else 0))
        if self._saved is not None:
            self._poll.register(0, 0 if self._typed else select.POLLIN)

    # --- Ctrl-Z

    def _suspend(self) -> None:
        """Stop the program, and then ourselves, so that the shell sees a stopped job; go on when it is continued.

        The program leads a session without a shell: there the kernel drops SIGTSTP unless a handler takes it. So it
        is asked first, and then stopped.
        """
        group = self._group()
        _killpg(group, signal.SIGTSTP)
        deadline = time.monotonic() + STOP_WAIT_S
        while time.monotonic() < deadline and not _is_stopped(self._child.pid):
            time.sleep(0.01)
        if not _is_stopped(self._child.pid):
            _killpg(group, signal.SIGSTOP)
        self._restore()
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(0, signal.SIGTSTP)  # everybody in our job, as the key would have
        signal.signal(signal.SIGTSTP, before)
        self._signals.resized = True
        self._look_at_terminal()
        _killpg(group, signal.SIGCONT)

    def _group(self) -> int:
        """The job that has the program's terminal, else the program's own."""
        with contextlib.suppress(OSError):
            found = os.tcgetpgrp(self._child.master) if self._child.master >= 0 else 0
            if found > 0:
                return found
        return self._child.pid


def _write(fd: int, data: bytes) -> bool:
    """Write everything; False if nobody takes it any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])  # somebody has made the file behind it non-blocking
        except OSError:
            return False
    return True


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _is_stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def _killpg(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
