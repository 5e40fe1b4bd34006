"""What may be started on a machine is started from the page (K1)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from e2e_server import Server, wait_until
from playwright.sync_api import Page, expect

PROGRAM = """
import sys, farwatch

run = farwatch.init(project=sys.argv[1], name="started-" + sys.argv[3], config={"lr": float(sys.argv[2])}, system=False)
for step in range(5):
    run.log({"loss": 1.0 / (step + 1)}, step=step)
run.finish()
"""


@contextmanager
def profiles(server: Server, project: str) -> Iterator[None]:
    """What this server's own machine offers for a while."""
    (server.folder / "program.py").write_text(PROGRAM)
    path = server.folder / "launch.toml"
    path.write_text(f"""
        [profiles.digits]
        title = "Train the digits"
        command = ["{server.python}", "program.py", "{project}", "{{lr}}", "{{mark}}"]
        folder = "{server.folder}"
        [profiles.digits.parameters]
        lr = {{ type = "float", min = 0, max = 1, default = 0.1, description = "learning rate" }}
        mark = {{ type = "str" }}
        """)
    path.chmod(0o600)
    try:
        server.command("start", "--list")  # starts an agent
        with server.api() as api:
            wait_until(api.profiles, "the agent has told its profiles")
        yield
    finally:
        path.unlink()


@pytest.mark.parametrize("device", ["page", "phone_page"])
def test_profile_is_started_with_its_parameters(
    server: Server, request: pytest.FixtureRequest, project: str, device: str
) -> None:
    page: Page = request.getfixturevalue(device)
    with profiles(server, project), server.api() as api:
        page.goto(f"{server.address}/launch")
        page.get_by_role("button", name="Train the digits").click()
        form = page.get_by_role("form", name="Train the digits")
        expect(form).to_contain_text(re.compile(r"Will run on \S+, in \S+, as \S+"))
        expect(form.get_by_role("textbox", name="lr")).to_have_value("0.1")

        form.get_by_role("textbox", name="lr").fill("3")
        form.get_by_role("button", name="Start").click()
        expect(form).to_contain_text("This has to be in 0 … 1.")
        form.get_by_role("textbox", name="lr").fill("0.5")
        form.get_by_role("textbox", name="mark").fill("here")
        expect(form.locator(".command")).to_contain_text("0.5 here")
        form.get_by_role("button", name="Start").click()
        question = page.get_by_role("dialog", name="Are you sure?")
        expect(question).to_contain_text("Train the digits")
        assert len(api.runs(project)) == 0
        question.get_by_role("button", name="Start").click()

        form.get_by_role("link", name="Started: open its run").click()
        expect(page.get_by_role("heading", name=re.compile("started-here"))).to_be_visible()
        (run,) = server.ended(api, project)
        assert run.config["lr"] == 0.5


test_profile_is_started_with_its_parameters.expected_troubles = "409|404"  # type: ignore[attr-defined]


def test_page_without_profiles_teaches_the_file(server: Server, page: Page) -> None:
    page.route("**/launch/profiles", lambda route: route.fulfill(json={"machines": []}))
    page.goto(f"{server.address}/launch")

    expect(page.get_by_role("heading", name="Nothing to start yet")).to_be_visible()
    expect(page.get_by_text("[profiles.digits]")).to_be_visible()
