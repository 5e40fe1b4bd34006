"""The guide works as it stands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.faults.machine import SOURCE, Machine, until

GUIDE = Path(__file__).parents[2] / "docs" / "starting.md"
BLOCK = re.compile(r"<!-- (run|profile|file: (?P<name>[\w.]+)) -->\n```\w+\n(?P<text>.*?)```", re.S)


def test_the_guide_runs_as_it_stands(shared: Machine) -> None:
    failed, said = [], ""
    for block in BLOCK.finditer(GUIDE.read_text(encoding="utf-8")):
        if block["name"]:
            (shared.folder / block["name"]).write_text(block["text"])
        elif block[1] == "profile":
            _write_profile(shared, block["text"])
        else:
            for line in block["text"].splitlines():
                done = _shell(shared, line)
                said += done.stdout
                failed += [f"{line}\n{done.stdout}{done.stderr}"] if done.returncode else []

    assert failed == []
    assert "42" in said
    with shared.api() as api:
        assert [line.text for line in api.run("hello-1").console()] == ["from the shell", "42"]
        run = until(lambda: next((one for one in api.runs("digits") if one.state == "finished"), None))
        assert run.config["lr"] == 0.5
        again = api.run("hello-1").restart().wait(30)
        assert again.state == "applied", again.reason


def _write_profile(machine: Machine, text: str) -> None:
    """As it stands, but for this machine's Python and folder."""
    text = text.replace('"python"', f'"{sys.executable}"').replace("~/digits", str(machine.folder))
    text = text.replace("[profiles.digits.parameters]", f'environment = {{ PYTHONPATH = "{SOURCE}" }}\n\n[profiles.digits.parameters]')
    path = machine.state / "launch.toml"
    path.write_text(text)
    path.chmod(0o600)


def _shell(machine: Machine, line: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(line.removeprefix("$ "))
    assert words[0] == "farwatch"
    path = f"{Path(sys.executable).parent}:{machine.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", "farwatch.cli", *words[1:]], env={**machine.environ, "PATH": path}, cwd=machine.folder,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
