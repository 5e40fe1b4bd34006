"""The pages on a phone."""

import pytest
from e2e_server import Server, wait_until
from playwright.sync_api import Page, expect

SCRIPT = """
import sys, time, farwatch
import numpy as np

run = farwatch.init(project=sys.argv[1], name="a-run-with-a-rather-long-name-for-a-small-screen", tags=["a-tag", "another-one"],
                    notes="word " * 80, config={"optimizer/with/a/deep/name": "x" * 200, "plain": 1})
for step in range(50):
    run.log({f"section-{k}/a-metric-with-a-long-name-{k}": step * k for k in range(6)}, step=step)
print("y" * 300)
for step in range(3):
    run.log({"pictures/with-a-long-name": farwatch.Image(np.random.rand(16, 64, 3), caption="c" * 90)}, step=step)
run.log({
    "table": farwatch.Table([{f"column-{k}": "z" * 30 for k in range(9)}]), "text": "w" * 400,
    "weights": farwatch.Histogram(np.arange(100.0)), "page": farwatch.Html("<p style='width: 900px'>wide</p>"),
}, step=3)
open("a-file-with-a-long-name-" + "n" * 60 + ".bin", "wb").write(b"x" * 100)
run.save("a-file-with-a-long-name-" + "n" * 60 + ".bin")
sys.stdin.readline()
raise RuntimeError("a long reason " + "r" * 200)
"""

MANY = """
import sys, farwatch

for k in range(20):
    run = farwatch.init(project=sys.argv[1], name=f"one-of-many-runs-{k}", system=False)
    for step in range(10):
        run.log({"loss": 1.0 / (step + k + 1)}, step=step)
    run.finish()
"""

# Every page, and what is there once it is drawn.
PLACES = {
    "": "a[href$='p/phone']",
    "p/phone": ".u-over",
    "p/phone?list=1": "input[type=checkbox]",
    "r/{run}": ".u-over",
    "r/{run}/samples": "iframe",
    "r/{run}/console": ".line",
    "r/{run}/system": ".u-over",
    "r/{run}/config": "dd .type",
    "r/{run}/files": "td a",
    "r/{run}/history": "#traceback",
    "alerts/resolved": "article, .none",
    "alerts/rules": "input[role=switch]",
    "launch": "pre, form, li",
}

WIDER = """() => [...document.querySelectorAll('body *')].filter(element => {
    const box = element.getBoundingClientRect();
    if (!box.width || getComputedStyle(element).position === 'fixed') return false;
    for (let parent = element.parentElement; parent; parent = parent.parentElement) {
        if (/auto|scroll|hidden|clip/.test(getComputedStyle(parent).overflowX) && parent !== document.body) return false;
    }
    return box.right > innerWidth + 1 || box.left < -1;
}).map(element => `${element.tagName}.${element.className}`)"""

# A finger needs 40 px, but for links in running text;
# where the drawing is smaller, what is around it belongs to it (a label, a pseudo-element).
SMALL = """() => [...document.querySelectorAll('button, a, input, select, summary')].filter(element => {
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height || element.disabled || element.closest('.sr')) return false;
    if (getComputedStyle(element).display === 'inline') return false;
    const around = (element.closest('label') ?? element).getBoundingClientRect();
    const more = getComputedStyle(element, '::after');
    const grown = more.content !== 'none' && more.position === 'absolute' ? parseFloat(more.height) : 0;
    return Math.max(box.height, around.height, grown) < 40 || Math.max(box.width, around.width, grown) < 24;
}).map(element => `${element.tagName} ${element.textContent.trim() || element.ariaLabel} ${element.getBoundingClientRect().height}`)"""


@pytest.fixture(scope="module")
def short(server: Server) -> str:
    """The short id of a run that has something on every tab."""
    trainer = server.training(SCRIPT, "phone")
    with server.api() as api:
        wait_until(
            lambda: any(run.metrics("^system/") for run in api.runs("phone")), "the machine was looked at"
        )
        trainer.communicate("end\n", timeout=60)
        return server.ended(api, "phone")[0].id[:7]


@pytest.mark.parametrize("path", PLACES)
def test_nothing_is_wider_than_the_screen_and_all_can_be_tapped(
    server: Server, phone_page: Page, short: str, path: str
) -> None:
    """M1."""
    phone_page.goto(f"{server.address}/{path.format(run=short)}")
    expect(phone_page.locator(PLACES[path]).first).to_be_visible()

    assert phone_page.evaluate(WIDER) == []
    assert phone_page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert phone_page.evaluate(SMALL) == []


def test_many_runs_make_no_page_wider(server: Server, phone_page: Page, project: str) -> None:
    """M1. Words for screen readers in a list that scrolls sideways belong to the list."""
    server.train(MANY, project)
    with server.api() as api:
        runs = server.ended(api, project, 20)
    shown = ",".join(run.id[:7] for run in runs)
    phone_page.goto(f"{server.address}/p/{project}?runs={shown}")
    expect(phone_page.locator(".u-over").first).to_be_visible()

    assert phone_page.evaluate(WIDER) == []
    assert phone_page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("path", "top"), [("p/phone", 220), ("r/{run}", 220), ("r/{run}/system", 220)])
def test_charts_stand_in_one_column_and_the_first_is_near_the_top(
    server: Server, phone_page: Page, short: str, path: str, top: int
) -> None:
    """M1."""
    phone_page.goto(f"{server.address}/{path.format(run=short)}")
    figures = phone_page.get_by_role("figure")
    expect(figures.nth(1)).to_be_visible()

    boxes = [box for figure in figures.all() if (box := figure.bounding_box())]

    assert len(boxes) >= 2
    assert len({round(box["x"]) for box in boxes}) == 1
    assert all(box["width"] > 300 for box in boxes)
    assert boxes[0]["y"] < top


def test_list_and_charts_of_a_project_are_a_tap_apart(server: Server, phone_page: Page, short: str) -> None:
    phone_page.goto(f"{server.address}/p/phone")
    expect(phone_page.get_by_role("figure").first).to_be_visible()
    expect(phone_page.get_by_role("checkbox")).to_have_count(0)

    phone_page.get_by_role("link", name="Runs").tap()
    expect(phone_page.get_by_role("checkbox")).to_be_checked()
    phone_page.get_by_role("checkbox").tap()
    phone_page.get_by_role("link", name="Charts").tap()
    expect(phone_page.get_by_text("Select runs in the list")).to_be_visible()
    phone_page.go_back()
    phone_page.get_by_role("checkbox").tap()
    phone_page.get_by_role("link", name="Charts").tap()

    expect(phone_page.get_by_role("figure").first).to_be_visible()
    phone_page.get_by_role("link", name="a-run-with").tap()
    expect(phone_page).to_have_url(f"{server.address}/r/{short}")
