"""What every area of the tests needs: nothing that a test started outlives it."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A shell that starts the tests in the background has them ignore Ctrl-C, and `nohup` a terminal that closes; every program that
# they start would inherit that. With a handler of our own, those begin with the default.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)


# Folders whose files take the longest, first: where files are handed to several workers, none is left with a long one at the end.
LONG = ("faults", "rows", "models", "integrations", "e2e", "ranks", "cli", "start", "steer", "server")


# The daily tests try the same examples each time, so that a change is judged by what it changed; the nightly ones look for new ones.
settings.register_profile("daily", derandomize=True)


def pytest_configure(config: pytest.Config) -> None:
    """Choose how properties are tried."""
    if config.getoption("markexpr") == "not nightly":
        settings.load_profile("daily")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the long files forward, each whole and in its own order."""
    items.sort(key=lambda item: _rank(item.path))


def _rank(path: Path) -> int:
    below = path.relative_to(Path(__file__).parent).parts[0]
    return LONG.index(below) if below in LONG else len(LONG)


@pytest.fixture(autouse=True)
def no_agent_outlives_its_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the agents of state folders below this test's own folder.

    An agent with something to deliver waits for its server for a day, which is right for people and wrong for a
    machine that runs two thousand tests.
    """
    yield
    folder = request.node.funcargs.get("tmp_path")
    if folder is not None and os.path.isdir("/proc"):
        end_agents(folder)


def end_agents(folder: Path) -> None:
    """Kill every agent whose state folder lies below `folder`."""
    below = os.fsencode(folder)
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            if b"farwatch.agent" in words and any(word.startswith(below) for word in words):
                os.kill(int(name), signal.SIGKILL)
