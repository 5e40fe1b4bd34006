"""A stop from the page lets the program save before it ends (W6), and a kill leaves nothing of it (K3)."""

import os
import re
from pathlib import Path

from e2e_server import Server, wait_until
from playwright.sync_api import Page, expect
from test_steer import commands, open_run, trained

SAVES = """
import os, sys, time, farwatch

run = farwatch.init(project=sys.argv[1], name=sys.argv[2], system=False, console=False)
step = 0

@run.on("stop")
def save():
    with open(run.config["to"], "w") as file:
        file.write(str(step))

run.config["to"] = os.path.abspath(f"{run.id}.saved")
for step in range(100_000):
    run.log({"loss": 1.0 / (step + 1)}, step=step)
    time.sleep(0.02)
"""

FAMILY = """
import os, signal, subprocess, sys, time, farwatch

run = farwatch.init(project=sys.argv[1], name=sys.argv[2], system=False, console=False)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
run.config["children"] = [subprocess.Popen(["sleep", "600"]).pid, subprocess.Popen(["sh", "-c", "sleep 600; true"]).pid]
for step in range(100_000):
    run.log({"loss": 1.0}, step=step)
    time.sleep(0.02)
"""


def test_stop_from_the_page_has_saved_before_the_program_ends(server: Server, page: Page, project: str) -> None:
    with trained(server, project, SAVES) as (run, process), server.api() as api:
        open_run(page, server, run)
        page.keyboard.press(".")
        page.get_by_role("button", name="Stop", exact=True).focus()
        page.keyboard.press("Enter")
        page.get_by_role("dialog", name="Stop calm-heron?").get_by_role("button", name="Stop").click()

        assert process.wait(30) == 0
        wait_until(lambda: api.run(run.id).detail["state"] == "stopped", "the run is stopped")
        (stop,) = commands(server, run)
        saved = Path(str(api.run(run.id).config["to"]))
        assert saved.read_text() == f"{stop['step']:g}"
        saved.unlink()


def test_kill_from_the_page_leaves_nothing_of_the_program(server: Server, page: Page, project: str) -> None:
    with trained(server, project, FAMILY) as (run, process), server.api() as api:
        children = api.run(run.id).config["children"]
        assert all(os.path.exists(f"/proc/{pid}") for pid in children)
        open_run(page, server, run)
        page.locator("header").first.get_by_role("button", name="More").click()
        page.get_by_role("menuitem", name="Kill…").click()
        sure = page.get_by_role("dialog", name="Kill calm-heron?")
        sure.get_by_role("textbox").fill("calm-heron")
        sure.get_by_role("button", name="Kill").click()

        assert process.wait(10) != 0
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), "its children are gone")
        (kill,) = commands(server, run)
        wait_until(lambda: api.run(run.id).detail["state"] == "stopped", "the run is killed")
        assert api.run(run.id).detail["reason"] == f"killed by {kill['actor']}"
        expect(page.locator("header .state")).to_contain_text(re.compile("stopped"))
