"""`farwatch.notify` without a run: what a program leaves, and that it does nothing else."""

import json
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"


def run(folder: Path, source: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A program whose state folder is `folder`; no agent takes away what it leaves."""
    given = {"PYTHONPATH": str(SOURCE), "FARWATCH_DIR": str(folder), "FARWATCH_AGENT": "0", "PATH": "/usr/bin:/bin", **environ}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], env=given, capture_output=True, text=True, timeout=60, cwd=folder.parent
    )


def left(folder: Path) -> list[Path]:
    """The messages, oldest first."""
    return sorted(path for path in (folder / "messages").iterdir())


def test_message_is_left_whole_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")

    done = run(
        folder,
        """
        import os, farwatch
        os.umask(0)
        farwatch.notify("first", image=[[0, 255], [255, 0]], file="table.csv")
        open("table.csv", "w").write("changed afterwards")
        farwatch.notify("second")
        """,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    first, second = left(folder)
    told = json.loads((first / "message.json").read_text())
    assert (told["text"], told["server"], told["image"]["media_type"], told["file"]["name"]) == ("first", None, "image/png", "table.csv")
    assert (first / "image").read_bytes().startswith(b"\x89PNG")
    assert (first / "file").read_text() == "a,b\n1,2\n"
    assert json.loads((second / "message.json").read_text())["text"] == "second"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder / "messages", first, second)} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in [*first.iterdir(), *second.iterdir()]} == {0o600}


def test_no_socket_is_opened_and_no_thread_begun(tmp_path: Path) -> None:
    done = run(
        tmp_path / "state",
        """
        import sys, threading, farwatch

        def refuse(event, args):
            if event.startswith("socket.") or event == "_thread.start_new_thread":
                print(event)

        sys.addaudithook(refuse)
        farwatch.notify("hello")
        print(threading.active_count(), sorted(name for name in sys.modules if name in ("socket", "ssl", "numpy", "asyncio")))
        """,
    )

    assert (done.stdout.strip(), done.returncode) == ("1 []", 0)
    assert len(left(tmp_path / "state")) == 1


@pytest.mark.parametrize(
    "call", ["farwatch.notify(None)", "farwatch.notify(object(), image=object(), file=17)", "farwatch.notify('x', file='/no/such')"]
)
def test_strange_arguments_raise_nothing_and_the_words_go(tmp_path: Path, call: str) -> None:
    done = run(tmp_path / "state", f"import farwatch\n{call}\nprint('went on')")

    assert (done.returncode, done.stdout) == (0, "went on\n")
    assert "Traceback" not in done.stderr
    (message,) = left(tmp_path / "state")
    assert [path.name for path in message.iterdir()] == ["message.json"]


def test_modes_without_a_server_leave_nothing(tmp_path: Path) -> None:
    offline = run(tmp_path / "state", "import farwatch\nfarwatch.notify('x')\nfarwatch.notify('y')", FARWATCH_MODE="offline")
    disabled = run(tmp_path / "state", "import farwatch\nfarwatch.notify('x')", FARWATCH_MODE="disabled")

    assert (offline.returncode, offline.stderr.count("offline")) == (0, 1)
    assert (disabled.returncode, disabled.stderr) == (0, "")
    assert not (tmp_path / "state" / "messages").exists()


def test_loop_that_notifies_for_ever_does_not_fill_the_disk(tmp_path: Path) -> None:
    done = run(tmp_path / "state", "import farwatch\nfor n in range(1200): farwatch.notify(n)")

    assert done.returncode == 0
    assert len(left(tmp_path / "state")) == 1_000
    assert done.stderr.count("1000 messages wait already") == 1


def test_message_during_a_run_is_the_runs(tmp_path: Path) -> None:
    done = run(tmp_path / "state", "import farwatch\nfarwatch.init('p', system=False)\nfarwatch.notify('from the run')")

    assert done.returncode == 0
    assert not (tmp_path / "state" / "messages").exists()
