"""The tutorial works as it stands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from e2e_server import Server

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
SOURCE = ROOT / "src"
BLOCK = re.compile(r"<!-- (background|run|file: (?P<name>[\w.]+)) -->\n```\w+\n(?P<text>.*?)```", re.S)


def test_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "work"
    state.mkdir(mode=0o700)
    folder.mkdir()
    server = Server(Path(sys.executable), state, python_path=str(SOURCE))
    failed: list[str] = []
    ran = 0
    try:
        for block in BLOCK.finditer(TUTORIAL.read_text(encoding="utf-8")):
            if block["name"]:
                (folder / block["name"]).write_text(block["text"], encoding="utf-8")
            elif block[1] == "background":
                server.start()
            else:
                for line in block["text"].splitlines():
                    done = _shell(line, server, folder)
                    ran += 1
                    if done.returncode:
                        failed.append(f"{line}\n{done.stdout}{done.stderr}")
        assert failed == []
        assert ran >= 10
        with server.api() as api:
            assert len(api.runs("tutorial")) == 4
            assert len(api.series("tutorial", "train/loss")) == 800
            assert len(api.runs("tutorial", where='"best" in tags')) == 1
    finally:
        server.close()


def _shell(line: str, server: Server, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one line of a console block: `NAME=value` settings, then `python` or `farwatch`."""
    words = shlex.split(line.removeprefix("$ "))
    environment = dict(server.environment)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    program = [sys.executable, *(["-m", "farwatch.cli"] if words[0] == "farwatch" else [])]
    return subprocess.run(
        [*program, *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
