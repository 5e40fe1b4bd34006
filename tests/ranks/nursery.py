"""Imports torch once, and forks the ranks of one test after another: an import each would take most of the time.

Started as a module; takes one JSON line per process on its input, at the end of which it leaves, and writes how each ended into
`code.<rank>`.
"""

import atexit
import json
import os
import runpy
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"
LIMIT_S = 45  # of one process, then the kernel ends it


class Nursery:
    """The process that forks."""

    def __init__(self) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("FARWATCH", "COV"))}
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ranks.nursery"], stdin=subprocess.PIPE, text=True, cwd=root,
            env=environ | {"PYTHONPATH": f"{SOURCE}:{root}", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def start(self, script: Path, rank: int, environ: dict[str, str]) -> None:
        """Start one rank of a program."""
        assert self._process.stdin is not None
        told = {"script": str(script), "rank": rank, "environ": environ}
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def live(told: dict[str, Any]) -> None:
    """Be one rank."""
    signal.alarm(LIMIT_S)
    script = Path(told["script"])
    os.chdir(script.parent)
    log = os.open(f"log.{told['rank']}", os.O_WRONLY | os.O_CREAT, 0o600)
    for number in (1, 2):
        os.dup2(log, number)
    os.environ.update(told["environ"])
    sys.argv[:] = sys.orig_argv[1:] = [str(script)]
    code = 0
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


def main() -> None:
    import torch.distributed  # noqa: F401  # once for all

    children: dict[int, Path] = {}
    buffer = b""
    while True:
        ready, _, _ = select.select([0], [], [], 0.01 if children else None)
        if ready:
            data = os.read(0, 1 << 16)
            if not data:
                break
            buffer += data
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            told = json.loads(line)
            pid = os.fork()
            if not pid:
                live(told)
            folder = Path(told["script"]).parent
            (folder / f"pid.{told['rank']}").write_text(str(pid))
            children[pid] = folder / f"code.{told['rank']}"
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            fresh = children[pid].with_suffix(".new")
            fresh.write_text(str(os.waitstatus_to_exitcode(status)))
            fresh.rename(children.pop(pid))
    for pid in children:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
