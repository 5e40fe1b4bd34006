"""Rows M4 and I7, rule 13: real kernels, executed headless with a closed stdin."""

import base64
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from farwatch.wire import segment
from farwatch.wire.records import Kind
from tests.faults.machine import Machine, until
from tests.rows.program import ended

EXECUTE = """
import asyncio, json, sys
import nbclient, nbformat
book = nbformat.read(sys.argv[1], 4)
told = []
class Client(nbclient.NotebookClient):
    def process_message(self, msg, cell, index):
        told.append([index, msg["header"]["msg_type"], msg["content"]])
        return super().process_message(msg, cell, index)
Client(book, allow_errors=True, timeout=90, kernel_name="python3").execute()
json.dump({"told": told, "cells": [cell.get("outputs", []) for cell in book.cells]}, open(sys.argv[2], "w"))
"""


@dataclass
class Executed:
    """A notebook that has been run: the outputs of each cell, and every message that its kernel sent."""

    outputs: list[list[dict]]
    messages: list[tuple[int, str, dict]]
    state: Path

    def shown(self, cell: int, kind: str = "text/html") -> list[str]:
        """What a cell shows in the end."""
        return ["".join(output["data"][kind]) for output in self.outputs[cell] if kind in output.get("data", {})]

    def said(self, cell: int) -> str:
        return "".join("".join(output["text"]) for output in self.outputs[cell] if output["output_type"] == "stream")

    def journals(self) -> list[Path]:
        """Journals of training processes, oldest first."""
        folders = [path for path in (self.state / "journals").iterdir() if (path / "writer.json").exists()]
        about = {path: json.loads((path / "writer.json").read_text()) for path in folders}
        return sorted((p for p in folders if about[p].get("role", "trainer") == "trainer"), key=lambda p: about[p]["nth"])

    def bodies(self, kind: Kind, nth: int = 0) -> list[dict]:
        return [record.body() for record in segment.read_journal(self.journals()[nth]) if record.kind == kind]


Execute = Callable[..., Executed]


def execute(folder: Path, environ: dict[str, str], cells: tuple[str, ...]) -> Executed:
    book = folder / "book.ipynb"
    code = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "execution_count": None, "outputs": [],
         "source": textwrap.dedent(cell).strip()}
        for n, cell in enumerate(cells)
    ]
    book.write_text(json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    (folder / "execute.py").write_text(EXECUTE)
    done = subprocess.run(
        [sys.executable, "execute.py", "book.ipynb", "done.json"],
        env=environ, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads((folder / "done.json").read_text())
    return Executed(told["cells"], told["told"], Path(environ["FARWATCH_DIR"]))


@pytest.fixture
def notebook(tmp_path: Path) -> Execute:
    """Execute a notebook without a server or an agent."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FARWATCH", "COV"))}
    environ = {
        **kept,
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "FARWATCH_DIR": str(tmp_path / "state"),
        "FARWATCH_AGENT": "0",
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter"),
    }

    return lambda *cells, **more: execute(tmp_path, {**environ, **more}, cells)


def test_a_notebook_logs_and_shows_its_address_as_a_link(machine: Machine) -> None:
    """M4: executed headless with closed stdin it logs normally and prints the run address as a link."""
    machine.start_server()

    done = execute(
        machine.folder,
        {**machine.environ, "FARWATCH_SERVER": ""},
        (
            'import farwatch\nrun = farwatch.init("books", id="m4")',
            "for step in range(50):\n    run.log({'loss': 1 / (step + 1)})",
            "print(input('?'))",
            "run.finish()",
        ),
    )

    address = f"{machine.address}/r/m4"
    assert [f'href="{address}"' in page for page in done.shown(0)] == [True]
    assert [line.endswith(f" m4 → {address}") for line in done.shown(0, "text/plain")] == [True]
    assert "farwatch:" not in done.said(0)  # one line, not two
    with machine.api() as api:
        run = ended(api, "m4")
        assert len(run.series("loss")) == 50
        assert run.detail["traceback"] is None


def test_a_cell_that_raises_leaves_the_run_open_and_is_told(machine: Machine) -> None:
    """Rule 13, through to the page: the state stays, the reason names the error, and the next cell goes on."""
    machine.start_server()
    look = """
    import time
    def told():
        with farwatch.Api() as api:
            found = api.run("r13")
            return found.state, found.reason
    def wait(wanted):
        deadline = time.monotonic() + 30
        while told()[1] != wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        return told()
    """

    done = execute(
        machine.folder,
        {**machine.environ, "FARWATCH_SERVER": ""},
        (
            'import farwatch\nrun = farwatch.init("books", id="r13")\n' + textwrap.dedent(look),
            "run.log({'loss': 1.0})\nraise ValueError('no such batch')",
            "run.wait()\nwait('last cell raised: ValueError: no such batch')",
            "run.log({'loss': 0.5})\nwait('')",
        ),
    )

    assert done.shown(2, "text/plain") == ["('running', 'last cell raised: ValueError: no such batch')"]
    assert done.shown(3, "text/plain") == ["('running', '')"]
    with machine.api() as api:
        run = ended(api, "r13")
        assert run.series("loss").values.tolist() == [1.0, 0.5]
        assert "ValueError: no such batch" in [line.text for line in run.console()]


def test_the_traceback_of_a_cell_stands_in_the_console_without_ipython_in_it(notebook: Execute) -> None:
    done = notebook(
        'import farwatch\nrun = farwatch.init("books")', "def f():\n    raise KeyError('x')\nf()", "run.finish()"
    )

    lines = [line for body in done.bodies(Kind.CONSOLE) for line in body["lines"]]
    begin = lines.index("Traceback (most recent call last):")
    assert lines[begin + 2 : begin + 3] == ["    f()"]
    assert lines[begin + 4 : begin + 6] == ["    raise KeyError('x')", "KeyError: 'x'"]


def test_texts_of_errors_are_kept_back_where_tracebacks_are_unwanted(notebook: Execute) -> None:
    done = notebook(
        'import farwatch\nrun = farwatch.init("books", traceback=False)', "raise ValueError('my password')", "run.finish()"
    )

    assert {"capture": {"cell_error": "ValueError"}} in done.bodies(Kind.PATCH)
    assert "my password" not in str(done.bodies(Kind.CONSOLE))


def test_a_second_init_closes_the_run_of_a_cell_that_raised_as_failed(notebook: Execute) -> None:
    done = notebook(
        'import farwatch\nfarwatch.init("books", name="first")',
        "raise ValueError('no')",
        'farwatch.init("books", name="second")',
    )

    (first,), (second,) = done.bodies(Kind.GOODBYE, 0), done.bodies(Kind.GOODBYE, 1)
    assert (first["state"], first["reason"]) == ("failed", "ValueError: no")
    assert second["state"] == "finished"


@pytest.mark.parametrize(
    ("last", "ending"),
    [
        ("1 / 0", ("failed", "ZeroDivisionError: division by zero")),
        ("def", ("failed", "SyntaxError: invalid syntax")),
        ("raise KeyboardInterrupt", ("stopped", "interrupted")),
        ("import sys; sys.exit(0)", ("finished", "")),
        ("1 + 1", ("finished", "")),
    ],
)
def test_the_end_of_the_kernel_closes_the_run_as_the_last_cell_left_it(
    notebook: Execute, last: str, ending: tuple[str, str]
) -> None:
    done = notebook('import farwatch\nrun = farwatch.init("books")', "1 / 0", "run.log({'a': 1.0})", last)

    (goodbye,) = done.bodies(Kind.GOODBYE)
    assert (goodbye["state"], goodbye["reason"].partition(" (")[0]) == ending


def test_one_call_shows_a_chart_that_moves_while_a_loop_runs(notebook: Execute) -> None:
    """I7: without a server; redrawn by `log` about once a second, and once more at the end of the cell."""
    done = notebook(
        """
        import farwatch, time
        run = farwatch.init("books")
        farwatch.show()
        end = time.monotonic() + 3.5
        step = 0
        while time.monotonic() < end:
            run.log({"train/loss": 1 / (step + 1), "val/loss": 2 / (step + 1)}, step=step)
            step += 1
            time.sleep(0.002)
        print(step)
        """,
    )

    (page,) = done.shown(0)
    text = done.shown(0, "text/plain")[0]
    moved = [content for _, kind, content in done.messages if kind == "update_display_data"]
    assert 2 <= len(moved) <= 5
    assert len({content["transient"]["display_id"] for content in moved}) == 1
    assert "<script" not in page
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["train/loss", "val/loss"]
    assert f">{int(done.said(0).split()[-1]) - 1}</text>" in pictures(page)[0]  # the newest step is at the right edge


def test_pictures_go_on_in_the_next_cell_and_stand_still_when_asked(notebook: Execute) -> None:
    done = notebook(
        'import farwatch\nrun = farwatch.init("books")\nfarwatch.show()',
        'run.log({"a": 1.0}, step=7)\nfarwatch.show(live=False)',
        'run.log({"a": 3.0}, step=8)',
        "run.finish()",
    )

    moved = [(cell, content["data"]["text/plain"]) for cell, kind, content in done.messages if kind == "update_display_data"]
    assert [cell for cell, _ in moved] == [0, 1, 2, 3]
    assert moved[2][1].splitlines()[1].split()[:2] == ["a", "3"]
    assert moved[3][1].splitlines()[0].endswith("· finished")
    assert done.shown(1, "text/plain")[0].splitlines()[1].split()[:2] == ["a", "1"]


def test_a_run_of_an_earlier_kernel_is_shown_by_its_id(notebook: Execute) -> None:
    notebook('import farwatch\nrun = farwatch.init("books", id="before")\nrun.log({"a": 1.0})\nrun.log({"a": 2.0})')

    done = notebook('import farwatch\nfarwatch.show("before")', 'farwatch.show("never")', "farwatch.show()")

    assert done.shown(0, "text/plain")[0].splitlines()[1].split()[:2] == ["a", "2"]
    assert [done.outputs[cell][0]["ename"] for cell in (1, 2)] == ["NotFoundError", "UsageError"]


def pictures(page: str) -> list[str]:
    return [base64.b64decode(found).decode() for found in re.findall(r"base64,([^\"]+)", page)]


def test_an_agent_takes_a_kernel_for_alive(machine: Machine) -> None:
    """The kernel is a process like every other: while it idles the run is running."""
    machine.start_server()
    done = execute(
        machine.folder,
        {**machine.environ, "FARWATCH_SERVER": ""},
        ('import farwatch\nrun = farwatch.init("books", id="alive")\nrun.log({"a": 1.0})\nrun.wait()', "run.state"),
    )

    assert done.shown(1, "text/plain") == ["'running'"]
    with machine.api() as api:
        assert until(lambda: api.run("alive").detail["capture"].get("in_notebook"))


def test_a_stop_ends_the_run_with_its_cell(machine: Machine) -> None:
    """In a script `Stopped` ends the program, and so the run; in a notebook no exit follows, so the cell's end is the run's."""
    machine.start_server()
    done = execute(
        machine.folder,
        {**machine.environ, "FARWATCH_SERVER": ""},
        (
            'import farwatch, time\nrun = farwatch.init("books", id="stopped")\nrun.log({"a": 1.0})\nrun.wait()',
            """
            asked = farwatch.Api().run("stopped").stop()
            end = time.monotonic() + 30
            while time.monotonic() < end:
                run.log({"a": 2.0})
                time.sleep(0.01)
            """,
            "run.state",
        ),
    )

    assert done.shown(2, "text/plain") == ["'stopped'"]
    with machine.api() as api:
        assert until(lambda: api.run("stopped").state == "stopped")
