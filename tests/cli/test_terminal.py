"""What commands look like in a terminal: `watch` is a screen that fits, tables and findings stay inside the edges."""

import re
import sys
from collections.abc import Callable, Iterator

import pytest

from farwatch.cli.output import wide
from farwatch.cli.watch import _layout
from tests.faults.machine import Machine, until
from tests.rows.program import ended
from tests.start.terminal import Terminal

RUN = """
import farwatch, time, os
with farwatch.init("watched", id="watched", total_steps=400, system=False) as run:
    for step in range(400):
        run.log({"train/loss": 1 / (step + 1), "val/loss": 2.0, "a/very/long/name/of/a/metric/that/goes/on": 1.0, "lr": 0.1}, step=step)
        print(f"step {step} " + "on and on " * 30)
    while not os.path.exists("go"):
        run.log({"train/loss": 0.5})
        time.sleep(0.05)
"""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with a server, and a run that goes on until there is a file `go`."""
    with Machine(tmp_path_factory.mktemp("terminal") / "machine") as made:
        made.start_server()
        made.train(RUN)
        with made.api() as api:
            until(lambda: [run for run in api.runs("watched") if (run.step or 0) >= 399], 60)
        yield made


Open = Callable[..., Terminal]


@pytest.fixture
def window(machine: Machine) -> Iterator[Open]:
    """A command in a window of so many columns and lines."""
    opened: list[Terminal] = []

    def open_(*words: str, columns: int = 80, lines: int = 24) -> Terminal:
        # The program begins when its window has its size, as in a terminal.
        script = f"stty cols {columns} rows {lines}; exec {sys.executable} -m farwatch.cli {' '.join(words)}"
        # A test runner may say how wide it is; the window is to be asked.
        kept = {name: value for name, value in machine.environ.items() if name not in ("COLUMNS", "LINES")}
        made = Terminal(["/bin/sh", "-c", script], {**kept, "TERM": "xterm", "LANG": "C.UTF-8"}, machine.folder)
        made.resize(lines, columns)
        opened.append(made)
        return made

    yield open_
    for terminal in opened:
        terminal.close()


def text(shown: str) -> list[str]:
    return _CONTROL.sub("", shown).replace("\r", "").splitlines()


@pytest.mark.parametrize(("columns", "lines"), [(120, 40), (60, 20), (80, 24), (40, 10), (20, 4)])
def test_watch_fits_its_window(window: Open, columns: int, lines: int) -> None:
    screen = window("watch", "watched", "--once", columns=columns, lines=lines)
    code = screen.wait(30)

    drawn = text(screen.shown)
    assert code == 0
    assert "watched" in drawn[0] or columns < 40
    assert (len(drawn) <= lines, max(map(wide, drawn)) <= columns) == (True, True), drawn
    if lines >= 20:
        assert sum(line.count("╭") for line in drawn) == 4
        assert "│" not in drawn[-1]  # room is left for what the program prints


def test_watch_follows_a_run_to_its_end_and_gives_the_screen_back(machine: Machine, window: Open) -> None:
    screen = window("watch", "watched", columns=100, lines=30)
    screen.until("\x1b[?1049h")
    screen.until("running")
    screen.until("train/loss")

    (machine.folder / "go").touch()
    code = screen.wait(60)

    with machine.api() as api:
        ended(api, "watched")
    before, _, after = screen.shown.rpartition("\x1b[?1049l")
    assert (code, bool(before)) == (0, True)
    assert "finished" in text(after)[-1]


def test_ctrl_c_ends_the_watching_only(machine: Machine, window: Open) -> None:
    machine.train(RUN.replace('"watched"', '"other"').replace('"go"', '"never"'))
    with machine.api() as api:
        until(lambda: api.runs("other"), 60)
    screen = window("watch", "other", columns=100, lines=30)
    screen.until("running")

    screen.type("\x03")
    code = screen.wait(20)

    with machine.api() as api:
        assert (code, api.run("other").state) == (130, "running")
    assert "\x1b[?1049l" in screen.shown
    assert "Traceback" not in screen.shown


@pytest.mark.parametrize("words", [("status",), ("doctor",), ("runs",), ("show", "watched")])
def test_commands_stay_inside_the_edges_of_a_terminal(window: Open, words: tuple[str, ...]) -> None:
    terminal = window(*words, columns=80)
    terminal.wait(30)

    drawn = text(terminal.shown)
    # A path that is longer than a line cannot be broken.
    assert [line for line in drawn if wide(line) > 80 and max(map(wide, line.split())) < 50] == []


@pytest.mark.parametrize("charts", range(1, 25))
@pytest.mark.parametrize(("width", "height"), [(120, 36), (60, 16), (30, 16), (80, 5), (80, 4), (80, 0), (80, -3)])
def test_charts_never_take_more_lines_than_there_are(charts: int, width: int, height: int) -> None:
    columns, rows, inside = _layout(charts, width, height)

    assert rows * (inside + 2) <= max(0, height)
    assert rows == 0 or inside >= 3
    assert (rows - 1) * columns < charts
