"""`farwatch run` at a terminal, and without one: the program must not notice the difference."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.faults.machine import Machine, until
from tests.start.terminal import RUN, Terminal, run_piped

Begin = Callable[..., Terminal]
TELL = "import os, sys; print([os.isatty(fd) for fd in range(3)], *os.get_terminal_size())"


def test_streams_without_a_terminal_stay_apart_and_exact(machine: Machine) -> None:
    """Bytes go through pipes unchanged, each stream to its own end, input as well."""
    program = (
        "import os, sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data * 2); os.write(2, b'\\xff\\r\\n\\0')"
    )

    done = run_piped(machine, sys.executable, "-c", program, options=("--quiet",), stdin=b"a\r\nb\0\xfe")

    assert (done.stdout, done.stderr, done.returncode) == (b"a\r\nb\0\xfe" * 2, b"\xff\r\n\0", 0)


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("import sys; sys.exit(3)", 3),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
    ],
)
def test_exit_status_is_the_one_a_shell_gives(machine: Machine, program: str, status: int) -> None:
    done = run_piped(machine, sys.executable, "-c", program)

    assert done.returncode == status


def test_what_cannot_be_run_ends_as_in_a_shell(machine: Machine) -> None:
    plain = machine.folder / "plain.txt"
    plain.write_text("no program")

    missing = run_piped(machine, "no-such-program")
    unrunnable = run_piped(machine, str(plain))

    assert (missing.returncode, unrunnable.returncode) == (127, 126)
    assert b"failed: command not found: no-such-program" in missing.stderr


def test_arguments_reach_the_program_as_they_are(machine: Machine) -> None:
    done = run_piped(machine, sys.executable, "-c", "import sys; print(sys.argv[1:])", "--name=x", "-q", "--", "--json", "")

    assert done.stdout.decode().strip() == "['--name=x', '-q', '--', '--json', '']"


def test_a_program_at_a_terminal_has_a_terminal_of_its_size(terminal: Begin) -> None:
    shown = terminal(*RUN, "--", sys.executable, "-c", "import time; time.sleep(0.3);" + TELL)

    shown.until("[True, True, True] 101 33")

    assert shown.wait() == 0


def test_a_new_size_of_the_window_reaches_the_program(terminal: Begin) -> None:
    program = (
        "import os, signal, time; signal.signal(signal.SIGWINCH, lambda *a: print('now', *os.get_terminal_size(), flush=True));"
        "print('ready', flush=True);\nwhile True: time.sleep(0.05)"
    )
    shown = terminal(*RUN, "--", sys.executable, "-c", program)
    shown.until("ready")

    shown.resize(20, 60)

    assert "now 60 20" in shown.until("now 60 20")


def test_keys_reach_the_program_and_our_terminal_is_as_before(terminal: Begin) -> None:
    """Keys come one by one, to a program that reads keys, and afterwards the terminal echoes lines again."""
    program = "import sys, tty, os; tty.setraw(0); print('ready\\r', flush=True); print(os.read(0, 1), '\\r')"
    shown = terminal(*RUN, "--", sys.executable, "-c", program)
    before = shown.modes()
    shown.until("ready")

    assert shown.modes() != before
    shown.type("\x03")

    shown.until("b'\\x03'")
    assert shown.wait() == 0
    assert shown.modes() == before


def test_ctrl_c_ends_the_program_as_interrupted(terminal: Begin) -> None:
    program = "import time; print('ready', flush=True); time.sleep(60)"
    shown = terminal(*RUN, "--", sys.executable, "-c", program)
    shown.until("ready")

    shown.type("\x03")

    shown.until("stopped: interrupted")
    assert shown.wait() == 130


def test_ctrl_z_stops_the_job_and_fg_goes_on_with_it(terminal: Begin) -> None:
    shown = terminal("bash", "--norc", "--noprofile", "-i", PS1="$ ")
    program = "import time\nprint('rea' + 'dy', flush=True)\nfor n in range(600): time.sleep(0.1); print('ti' + 'ck', n, flush=True)"
    shown.until("$ ")
    shown.type(f"{' '.join(RUN)} -q -- {sys.executable} -u -c \"{program}\"\n")
    shown.until("ready")
    shown.until("tick 2")

    shown.type("\x1a")

    assert "Stopped" in shown.until("Stopped")
    shown.until("$ ")
    shown.type("echo sh''ell; fg\n")
    shown.until("shell")
    shown.until("tick ")
    assert "tick" in shown.until("tick ")
    shown.type("\x03")
    shown.until("$ ")


def test_a_job_in_the_background_is_not_stopped(terminal: Begin) -> None:
    """It reads no key as long as the terminal is somebody else's; in the foreground it does."""
    shown = terminal("bash", "--norc", "--noprofile", "-i", PS1="$ ")
    shown.until("$ ")

    shown.type(f"{' '.join(RUN)} -q -- bash -c 'sleep 0.5; echo in''side; read line; echo got $line' &\n")

    shown.until("inside")
    shown.type("jobs\n")
    shown.until("Running")
    shown.type("fg\n")
    time.sleep(1)  # it looks twice a second whether the terminal is its own
    shown.type("words\n")
    assert "got words" in shown.until("got words")


def test_sigterm_is_passed_on_and_waited_for(machine: Machine) -> None:
    program = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *a: (print('saved', flush=True), sys.exit(5)));"
        "print('ready', flush=True); time.sleep(60)"
    )
    started = subprocess.Popen(
        [*RUN, "--", sys.executable, "-c", program], env=machine.environ, cwd=machine.folder, stdout=subprocess.PIPE
    )
    assert started.stdout is not None
    assert started.stdout.readline() == b"ready\n"

    started.terminate()

    assert started.stdout.read() == b"saved\n"
    assert started.wait(20) == 5
    started.stdout.close()


def test_a_closed_terminal_ends_the_program_but_not_with_nohup(terminal: Begin, machine: Machine) -> None:
    """As in a shell: SIGHUP goes to everybody at the terminal, and `nohup` has it ignored."""
    mark = machine.folder / "mark"
    program = f"import time; open({str(mark)!r} + '.begun', 'w'); time.sleep(3); open({str(mark)!r} + '.done', 'w')"
    plain = terminal(*RUN, "--", sys.executable, "-c", program)
    until(lambda: (machine.folder / "mark.begun").exists())
    pids = _programs(str(mark))
    plain.hang_up()
    until(lambda: not _programs(str(mark)), 3)
    assert pids
    assert not (machine.folder / "mark.done").exists()
    (machine.folder / "mark.begun").unlink()

    kept = terminal("nohup", *RUN, "--", sys.executable, "-c", program)
    until(lambda: (machine.folder / "mark.begun").exists())
    kept.hang_up()

    until(lambda: (machine.folder / "mark.done").exists())


def _programs(mark: str) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if any(mark.encode() in word for word in words) and b"farwatch.cli" not in words:
                found.append(int(name))
    return found


def test_a_reader_that_leaves_ends_the_program_as_in_a_pipeline(machine: Machine) -> None:
    command = f"{' '.join(RUN)} -q -- {sys.executable} -c 'while True: print(1)' | head -n 1; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(
        ["bash", "-c", command], env=machine.environ, cwd=machine.folder, capture_output=True, timeout=30, check=True
    )

    lines = done.stdout.split()
    assert lines[0] == b"1"
    assert lines[1] in (b"1", b"141")  # Python turns SIGPIPE into an exception; others die of the signal


def test_a_program_runs_where_nothing_can_be_kept(machine: Machine) -> None:
    """No file of ours can be written: the program, its output and its exit status are what they were."""
    command = f"ulimit -f 0; exec {' '.join(RUN)} -- {sys.executable} -c 'print(42); exit(7)'"

    done = subprocess.run(
        ["bash", "-c", command], env=machine.environ, cwd=machine.folder, capture_output=True, timeout=30, check=False
    )

    assert (done.stdout, done.returncode) == (b"42\n", 7)
    assert b"nothing of this run is kept" in done.stderr


def test_much_output_is_neither_lost_nor_held_up(machine: Machine) -> None:
    """Everything arrives, and a program that only prints takes at most a few times as long."""
    program = "import sys\nfor n in range(300000): sys.stdout.write(f'line {n} of a program that prints a lot\\n')"

    started = time.monotonic()
    done = run_piped(machine, sys.executable, "-c", program, options=("-q",), PYTHONUNBUFFERED="")
    took_s = time.monotonic() - started

    lines = done.stdout.splitlines()
    assert len(lines) == 300_000
    assert lines[-1] == b"line 299999 of a program that prints a lot"
    assert took_s < 15


def test_signals_that_were_ignored_stay_ignored(machine: Machine) -> None:
    program = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, signal.getsignal(signal.SIGTSTP).name)"

    done = subprocess.run(
        ["nohup", *RUN, "-q", "--", sys.executable, "-c", program], env=machine.environ, cwd=machine.folder,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True,
    )  # fmt: skip

    assert done.stdout == b"True SIG_DFL\n"
    assert signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
