"""What logging costs and what is still on its way stand on the page of the run."""

import json
import re
import time
import urllib.request
import uuid
from typing import Any

from e2e_server import Server
from playwright.sync_api import Page, expect

SLOW = """
import sys, farwatch

with farwatch.init(project=sys.argv[1], system=False, console=False) as run:
    for step in range(500):
        run.log({"loss": 1.0 / (step + 1)}, step=step)
"""


def test_cost_of_logging_is_told_in_full_by_a_click_and_on_a_phone(
    server: Server, page: Page, phone_page: Page, project: str
) -> None:
    """Total time in `log()`, its share of wall time, the worst call, and that no point was dropped: as the API says it."""
    server.train(SLOW, project)
    with server.api() as api:
        run = server.ended(api, project)[0]
        meter = run.detail["meter"]
    assert 480 <= meter["calls"] <= 500, "some calls stand for those since the one before"
    assert meter["dropped"] == 0
    page.goto(f"{server.address}/r/{run.id[:7]}")

    page.get_by_role("button", name="cost of logging").click()

    costs = page.locator("#cost-of-logging")
    expect(costs).to_be_visible()
    said = dict(
        zip(costs.locator("dt").all_inner_texts(), costs.locator("dd").all_inner_texts(), strict=True)
    )
    assert list(said) == ["calls", "in log() altogether", "of wall time", "worst call", "points dropped"]
    assert (said["calls"], said["points dropped"]) == (str(meter["calls"]), "0")
    assert _close(said["in log() altogether"], meter["total_ns"] / 1e6)
    assert _close(said["of wall time"], 100 * meter["total_ns"] / meter["wall_ns"])
    assert _close(said["worst call"], meter["worst_ns"] / 1e3)

    phone_page.goto(f"{server.address}/r/{run.id[:7]}/history")
    section = phone_page.locator("section").filter(has_text="Cost of logging")
    expect(section).to_contain_text(said["calls"])
    expect(section).to_contain_text(said["worst call"])


def _close(said: str, value: float) -> bool:
    """Whether a number that is written with two or three digits is this one: of two, 1.5 may stand for 1.45."""
    return abs(float(re.sub(r"[^\d.]", "", said)) - value) <= 0.05 * value


class Agent:
    """An agent that has records which the server has not, played over HTTP."""

    def __init__(self, server: Server, project: str) -> None:
        told = json.loads((server.folder / "server.json").read_text())
        self.address, self.secret = told["address"], told["secret"]
        self.writer = uuid.uuid4().hex
        now = time.time_ns() // 1000
        sidecar = {
            "format": 1, "wire": 1, "writer": self.writer, "run": f"lag-{project}"[:60], "run_given": True, "resume": "allow",
            "from_step": None, "project": project, "name": "behind", "group": None, "job_type": None, "parent": None, "notes": None,
            "tags": [], "mode": "online", "server": None, "pid": 1, "pid_start": 1, "boot_id": "b", "pid_ns": 1, "uid": 1, "host": "box",
            "user": "ann", "executable": "python", "cwd": "/", "argv": [], "rank": 0, "local_rank": 0, "world_size": 1,
            "rendezvous": None, "main": True, "sibling_of": None, "nth": 0, "wall_us": now, "mono_us": 1, "system": False,
            "console": True, "total_steps": None, "source": None, "requirements": "infer", "python": "3.11", "version": "0",
            "started_ms": now // 1000,
        }  # fmt: skip
        self.run: str = self.post("writers", sidecar)["run"]

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.address}/api/v1/{path}",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def beat(self, records: int, size: int) -> None:
        told = {"alive": True, "records_behind": records, "bytes_behind": size}
        self.post(
            "agents/played/beat",
            {"writers": {self.writer: told}, "next_s": 10, "host": "box", "version": "0"},
        )


def test_records_on_their_way_are_shown_and_go_as_they_arrive(
    server: Server, page: Page, phone_page: Page, project: str
) -> None:
    agent = Agent(server, project)
    agent.beat(1234, 99_000)
    for opened in (page, phone_page):
        opened.goto(f"{server.address}/r/{agent.run}")
        expect(opened.get_by_text("1,234 records on the way")).to_be_visible()

    agent.beat(56, 4_000)
    for opened in (page, phone_page):
        expect(opened.get_by_text("56 records on the way")).to_be_visible()

    agent.beat(0, 0)
    for opened in (page, phone_page):
        expect(opened.get_by_text("records on the way")).to_have_count(0)
