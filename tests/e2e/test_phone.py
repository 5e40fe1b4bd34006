"""The pages on a phone."""

import pytest
from e2e_server import Server
from playwright.sync_api import Page, expect

SCRIPT = """
import sys, farwatch
with farwatch.init(project=sys.argv[1], name="a-run-with-a-rather-long-name-for-a-small-screen", system=False,
                   config={"optimizer/with/a/deep/name": "x" * 200}) as run:
    for step in range(50):
        run.log({f"section-{k}/a-metric-with-a-long-name-{k}": step * k for k in range(6)}, step=step)
    print("y" * 300)
"""

WIDER = """() => [...document.querySelectorAll('body *')].filter(element => {
    const box = element.getBoundingClientRect();
    if (!box.width || getComputedStyle(element).position === 'fixed') return false;
    for (let parent = element.parentElement; parent; parent = parent.parentElement) {
        if (/auto|scroll|hidden|clip/.test(getComputedStyle(parent).overflowX) && parent !== document.body) return false;
    }
    return box.right > innerWidth + 1 || box.left < -1;
}).map(element => `${element.tagName}.${element.className}`)"""


@pytest.fixture(scope="module")
def short(server: Server) -> str:
    server.train(SCRIPT, "phone")
    with server.api() as api:
        return server.ended(api, "phone")[0].id[:7]


@pytest.mark.parametrize("path", ["", "p/phone", "r/{run}", "r/{run}/console", "r/{run}/config"])
def test_nothing_is_wider_than_the_screen(server: Server, phone_page: Page, short: str, path: str) -> None:
    phone_page.goto(f"{server.address}/{path.format(run=short)}")
    expect(phone_page.get_by_text("phone").or_(phone_page.get_by_text("a-run")).first).to_be_visible()

    assert phone_page.evaluate(WIDER) == []
    assert phone_page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_charts_stand_in_one_column(server: Server, phone_page: Page, short: str) -> None:
    phone_page.goto(f"{server.address}/r/{short}")
    figures = phone_page.get_by_role("figure")
    expect(figures.first).to_be_visible()

    boxes = [box for figure in figures.all() if (box := figure.bounding_box())]

    assert len(boxes) >= 2
    assert len({round(box["x"]) for box in boxes}) == 1
    assert all(box["width"] > 300 for box in boxes)
