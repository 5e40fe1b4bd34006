"""A server from the built wheel, in an environment without the source tree, and a browser in front of it."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_server import Server
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "build" / "e2e"
PATIENCE_MS = 30_000  # of a page that is to show something, where nothing is promised about when; tests beside it may fill the machine
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"]


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The wheel that users would get, as `make wheel` builds it."""
    with _one_at_a_time("wheel"):
        subprocess.run(
            ["make", "--no-print-directory", "-s", "wheel"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
        )
    return next((ROOT / "build" / "wheel").glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path) -> Path:
    """The Python of an environment that holds this wheel and its dependencies, and nothing of the checkout."""
    name = f"farwatch-e2e-{hashlib.sha256(wheel.read_bytes()).hexdigest()[:12]}-{os.getuid()}"
    folder = Path(tempfile.gettempdir()) / name
    python = folder / "bin" / "python"
    with _one_at_a_time(name):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
            pip = [
                sys.executable,
                "-m",
                "pip",
                "--python",
                str(python),
                "install",
                "-q",
                "-c",
                str(ROOT / "constraints.txt"),
            ]
            subprocess.run(
                [*pip, str(wheel)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder
            )
            (folder / "complete").touch()
    return python


@contextlib.contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """Keep the other test processes out while this one builds."""
    with open(Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def server(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the session; a test takes a project of its own."""
    folder = tmp_path_factory.mktemp("server")
    folder.chmod(0o700)
    running = Server(installed, folder)
    running.start()
    yield running
    running.close()


@pytest.fixture
def own_server(installed: Path, tmp_path: Path) -> Iterator[Server]:
    """A server that a test may stop, kill and move."""
    tmp_path.chmod(0o700)
    running = Server(installed, tmp_path)
    running.start()
    yield running
    running.close()


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project name that no other test uses."""
    return re.sub(r"\W+", "-", request.node.name)[:40].strip("-") + "-" + uuid.uuid4().hex[:6]


@pytest.fixture(scope="module")  # a loop of its own runs while it is open, and tests of other files run theirs
def browser() -> Iterator[Browser]:
    found = (
        os.environ.get("CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A desktop page that fails the test for every error in its console."""
    yield from _page(browser.new_context(viewport={"width": 1440, "height": 900}), server, request)


@pytest.fixture
def phone_page(browser: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A touch screen of 390 x 844."""
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2
    )
    yield from _page(context, server, request)


def _page(context: BrowserContext, server: Server, request: pytest.FixtureRequest) -> Iterator[Page]:
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    opened = context.new_page()
    troubles: list[str] = []
    foreign: list[str] = []
    opened.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on(
        "request",
        lambda asked: (
            foreign.append(asked.url)
            if not asked.url.startswith((server.address, "data:", "blob:"))
            else None
        ),
    )
    yield opened
    PICTURES.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(Exception):  # a page that the test has closed leaves no picture
        opened.screenshot(path=PICTURES / f"{request.node.name}.png")
    context.close()
    expected = getattr(request.function, "expected_troubles", None)  # what this test provokes
    assert [text for text in troubles if not (expected and re.search(expected, text))] == []
    assert foreign == [], "the page loads nothing from other hosts"
