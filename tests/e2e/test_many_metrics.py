"""A run with a hundred thousand metrics opens like any other."""

import json
import urllib.parse
import urllib.request

import pytest
from e2e_server import Server, wait_until
from playwright.sync_api import Page, expect

from tests import pace

COUNT = 99_998  # and two: as many new names as a run may have in a minute, behind which its journal waits for the next
WIDE = """
import sys, farwatch

count = int(sys.argv[2])
with farwatch.init(project=sys.argv[1], system=False, console=False) as run:
    run.log({"train/loss": 0.5, "val/loss": 0.7}, step=0)
    for first in range(0, count, 10_000):
        run.log({f"grad/layer.{k // 100}/w.{k % 100}": k / count for k in range(first, min(count, first + 10_000))}, step=0)
    assert run.wait(240)
"""


@pytest.fixture(scope="module")
def wide(server: Server) -> str:
    server.train(WIDE, "wide", str(COUNT))
    with server.api() as api:
        run = server.ended(api, "wide")[0]
        wait_until(
            lambda: run._contact.get(f"/runs/{run.id}/metrics", limit=0)["total"] == COUNT + 2, "all names"
        )
        return run.id[:7]


def test_page_of_a_hundred_thousand_metrics_draws_its_first_charts_within_a_second(
    server: Server, page: Page, wide: str
) -> None:
    page.goto(server.address)
    expect(page.get_by_role("link", name="wide").first).to_be_visible()

    def open_run() -> None:
        page.goto(f"{server.address}/r/{wide}", wait_until="commit")
        expect(page.get_by_role("figure", name="loss").locator("output").first).to_have_text("0.5")

    pace.within(1.0, open_run)


def test_name_among_a_hundred_thousand_is_found_within_a_tenth_of_a_second(
    server: Server, page: Page, wide: str
) -> None:
    told = json.loads((server.folder / "server.json").read_text())
    asked = urllib.parse.quote(r"layer\.7[0-9]{2}/w\.42$")
    request = urllib.request.Request(
        f"{told['address']}/api/v1/runs/{wide}/metrics?match={asked}&limit=500",
        headers={"Authorization": f"Bearer {told['secret']}"},
    )

    def find() -> int:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(json.load(answer)["total"])

    assert find() == 100
    pace.within(0.1, find)

    page.goto(f"{server.address}/r/{wide}")
    page.get_by_placeholder("Find metrics").fill(r"layer\.77/w\.42$")  # at once, while names are still coming
    expect(page.get_by_role("figure")).to_have_count(1)
    expect(page.get_by_role("figure", name="grad/layer.77/w.42")).to_be_visible()
    expect(page.get_by_role("figure").locator("output.value")).to_have_text("0.07742")
