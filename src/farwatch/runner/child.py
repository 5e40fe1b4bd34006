"""Starting a program in a session of its own, on a pseudo-terminal, on pipes, or on some of both.

Which it gets follows from what we were given. At a terminal it gets a terminal. Where we write into a pipe or a file it
gets a pipe, so that it draws no progress bars into files and starts no pager; where nobody reads (the null device) it
gets a terminal, because then programs write line by line, and the page is live.
"""

import contextlib
import errno
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SIZE = struct.Struct("HHHH")  # struct winsize: rows, columns, pixels
NO_SIZE = (24, 80, 0, 0)
RESET = (signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores them; programs expect the default
_OUT = (1, 2)
_STREAMS = {1: "stdout", 2: "stderr"}


@dataclass(slots=True)
class Child:
    """A started program and our ends of its streams.

    `master`: our end of its terminal, -1 without one. `interactive`: a person types at our terminal, and it goes to
    the program's. `sources`: what we read: descriptor -> (name of the stream, descriptor that it goes on to).
    """

    pid: int
    master: int = -1
    interactive: bool = False
    sources: dict[int, tuple[str, int]] = field(default_factory=dict)


def start(
    command: Sequence[str], environ: Mapping[str, str], *, ignored: frozenset[int] = frozenset(), handled: Sequence[int] = ()
) -> Child:
    """Start a program. Call before there are threads.

    `ignored`: signals that were ignored when we started, and stay so for it (`nohup`). `handled`: signals that we
    handle, and that are reset for it. Raises `OSError` if it cannot be run.
    """
    interactive = os.isatty(0) and os.isatty(1)
    on_terminal = {fd: _wants_terminal(fd) for fd in _OUT}
    child = Child(0, interactive=interactive)
    wiring: dict[int, int] = {}  # the program's descriptor -> what it becomes a copy of
    ours: list[int] = []  # ends that only the program keeps
    slave = -1
    if any(on_terminal.values()):
        child.master, slave = os.openpty()
        ours.append(slave)
        _prepare(slave, interactive)
        if interactive:
            wiring[0] = slave
    for fd in _OUT:
        if on_terminal[fd]:
            wiring[fd] = slave
            child.sources.setdefault(child.master, ("stdout" if on_terminal[1] else "stderr", fd))
        else:
            reading, writing = os.pipe()
            wiring[fd] = writing
            ours.append(writing)
            child.sources[reading] = (_STREAMS[fd], fd)
    try:
        child.pid = _fork(list(command), dict(environ), wiring, slave, ignored, handled)
    except BaseException:
        for fd in {*child.sources, child.master} - {-1}:
            os.close(fd)
        raise
    finally:
        for fd in ours:
            os.close(fd)
    for fd in child.sources:
        os.set_blocking(fd, False)
    return child


def _wants_terminal(fd: int) -> bool:
    """Whether what goes to this descriptor of ours comes from a terminal."""
    try:
        return os.isatty(fd) or os.path.samestat(os.fstat(fd), os.stat(os.devnull))
    except OSError:
        return True  # closed: nobody reads


def _prepare(slave: int, interactive: bool) -> None:
    """Set up a new terminal: as ours is, or, where nobody types, one that echoes and changes nothing."""
    if interactive:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(0))
        set_size(slave, size_of_ours())
        return
    modes = termios.tcgetattr(slave)
    modes[1] &= ~termios.OPOST  # line ends stay as they are written
    modes[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    set_size(slave, size_of_ours())


def size_of_ours() -> tuple[int, ...]:
    """Rows, columns and pixels of the terminal that we stand at; 24 × 80 without one."""
    for fd in (1, 2, 0):
        with contextlib.suppress(OSError):
            found = SIZE.unpack(fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(SIZE.size)))
            if found[0] and found[1]:
                return found
    return NO_SIZE


def set_size(terminal: int, size: tuple[int, ...]) -> None:
    """Give a terminal a size; its programs get SIGWINCH from the kernel if it has changed."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, SIZE.pack(*size))


def _fork(
    command: list[str],
    environ: dict[str, str],
    wiring: Mapping[int, int],
    slave: int,
    ignored: frozenset[int],
    handled: Sequence[int],
) -> int:
    """Fork and run. A pipe that closes at `exec` brings the error if there is one."""
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if slave >= 0:
                fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for fd, source in wiring.items():
                os.dup2(source, fd)
            for number in {*handled, *RESET}:
                signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvpe(command[0], command, environ)
        except OSError as error:
            os.write(tells, struct.pack("i", error.errno or errno.ENOEXEC))
        except BaseException:
            os.write(tells, struct.pack("i", errno.ENOEXEC))  # a null byte in a word, for one
        finally:
            os._exit(127)
    os.close(tells)
    with os.fdopen(told, "rb") as answer:
        failed = answer.read(4)
    if not failed:
        return pid
    os.waitpid(pid, 0)
    number = struct.unpack("i", failed)[0]
    raise OSError(number, os.strerror(number))
