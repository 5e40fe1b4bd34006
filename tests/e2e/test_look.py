"""How the pages look, measured: contrast of every word, nothing that jumps, all within reach of the keyboard, few charts at once."""

from collections.abc import Iterator

import pytest
from e2e_server import Server, wait_until
from playwright.sync_api import Browser, BrowserContext, Page, expect

PROJECT = "look"
SCRIPT = """
import math, sys, time, farwatch

run = farwatch.init(project="look", name="calm-heron", tags=["a-tag"], config={"lr": 1e-3}, total_steps=100_000)
lr = run.knob("lr", 1e-3, min=1e-6, max=1, log=True)

@run.command
def evaluate(n: int = 10):
    return n

print("begun")
for step in range(100_000):
    run.log({"train/loss": float("nan") if step > 60 else 1 / (step + 1), "val/loss": 2 / (step + 1), "lr": lr.value}, step=step)
    time.sleep(0.02)
"""
WIDE = """
import sys, farwatch

run = farwatch.init(project=sys.argv[1], system=False)
for step in range(50):
    run.log({f"grad/layer{k // 20:02d}/p{k % 20}": step * k for k in range(200)}, step=step)
run.finish()
"""

# Every page, and what is there once it is drawn.
PLACES = {
    "": "a[href$='p/look']",
    "p/look": ".u-over",
    "r/{run}": ".u-over",
    "r/{run}/console": ".line",
    "r/{run}/system": ".u-over",
    "r/{run}/config": "dd .type",
    "r/{run}/history": "ol.commands li",
    "alerts": "article footer",
    "alerts/rules": "input[role=switch]",
    "launch?again={run}": "section pre",
    "settings": "main h3",
    "settings/people": "main h2",
    "settings/deliveries": "main ol",
    "settings/server": "main dd",
}

# Words with less than 4.5 : 1, with all the opacity and the backgrounds behind them; what moves or is switched off is left out.
FAINT = """() => {
    const parts = colour => {
        const [red, green, blue, alpha = 1] = colour.match(/[\\d.]+/g).map(Number);
        return colour.startsWith('color(') ? [red * 255, green * 255, blue * 255, alpha] : [red, green, blue, alpha];
    };
    const linear = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const light = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    const over = (top, under) => [0, 1, 2].map(k => top[k] * top[3] + under[k] * (1 - top[3]));
    const faint = [];
    for (const element of document.querySelectorAll('body *')) {
        const box = element.getBoundingClientRect();
        const said = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
        if (!said || !box.width || element.closest('.sr, :disabled') || element.getAnimations().length) continue;
        const grounds = [];
        let opacity = 1;
        for (let at = element; at; at = at.parentElement) {
            opacity *= Number(getComputedStyle(at).opacity);
            grounds.push(parts(getComputedStyle(at).backgroundColor));
        }
        const ground = grounds.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
        const ink = parts(getComputedStyle(element).color);
        const [low, high] = [light(ground), light(over([...ink.slice(0, 3), ink[3] * opacity], ground))].sort((a, b) => a - b);
        const contrast = (high + 0.05) / (low + 0.05);
        if (contrast < 4.5) faint.push(`${element.className} ${element.textContent.trim().slice(0, 30)}: ${contrast.toFixed(2)}`);
    }
    return faint;
}"""

SHIFTS = """
window.shifts = [];
new PerformanceObserver(list => {
    for (const { value, hadRecentInput, sources } of list.getEntries()) if (!hadRecentInput) shifts.push(
        [value, sources.map(({ node, previousRect, currentRect }) => `${node?.className} ${previousRect.top} to ${currentRect.top}`)]);
}).observe({ type: 'layout-shift', buffered: true });
"""

# Resolves after sixty drawn frames: a second, or as long as the machine needs.
FRAMES = """() => new Promise(done => {
    let left = 60;
    const next = () => (left-- ? requestAnimationFrame(next) : done());
    next();
})"""

# What a mouse can click and a keyboard cannot reach.
UNREACHED = """() => [...document.querySelectorAll('body *')].filter(element =>
    getComputedStyle(element).cursor === 'pointer' && element.getBoundingClientRect().width
    && !element.closest('a, button, input, select, label, summary, [tabindex]')
).map(element => `${element.tagName}.${element.className}`)"""

# Scrolls to the end by 300 px at a time; how many plots there were at each place, and whether each chart in view was drawn.
SCROLL = """async () => {
    const plots = [];
    const cells = [...document.querySelectorAll('.cell')];
    const seen = new Set();
    for (let y = 0; y < document.documentElement.scrollHeight; y += 300) {
        scrollTo(0, y);
        for (let frame = 0; frame < 6; frame += 1) await new Promise(requestAnimationFrame);
        plots.push(document.querySelectorAll('.uplot').length);
        for (const cell of cells) {
            const { top, bottom } = cell.getBoundingClientRect();
            if (top < innerHeight && bottom > 0 && cell.querySelector('.uplot')) seen.add(cell);
        }
    }
    return { most: Math.max(...plots), seen: seen.size };
}"""


@pytest.fixture(scope="module")
def run(server: Server) -> Iterator[str]:
    """The short id of a live run that has an alert and a command, until the end of the module."""
    trainer = server.training(SCRIPT)
    with server.api() as api:
        wait_until(lambda: api.runs(PROJECT) and api.runs(PROJECT)[0].detail["step"], "points have come")
        found = api.runs(PROJECT)[0]
        assert server.command("set", found.id, "lr", "0.003").returncode == 0
        wait_until(lambda: api.run(found.id).detail["alerts"], "its loss is NaN")
        wait_until(lambda: found.metrics("^system/"), "the machine was looked at")
        yield found.id[:7]
        trainer.kill()


def _context(browser: Browser, *, phone: bool = False, theme: str = "light") -> BrowserContext:
    width, height = (390, 844) if phone else (1440, 900)
    return browser.new_context(
        viewport={"width": width, "height": height}, is_mobile=phone, has_touch=phone,
        color_scheme="dark" if theme == "dark" else "light",
    )  # fmt: skip


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_word_can_be_read_and_everything_reached_by_keys(
    server: Server, browser: Browser, run: str, theme: str
) -> None:
    context = _context(browser, theme=theme)
    page = context.new_page()
    for path, there in PLACES.items():
        page.goto(f"{server.address}/{path.format(run=run)}")
        expect(page.locator(there).first).to_be_visible()
        assert (path, page.evaluate(FAINT)) == (path, [])
        assert (path, page.evaluate(UNREACHED)) == (path, [])
    context.close()


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_nothing_jumps_while_a_page_comes(server: Server, browser: Browser, run: str, phone: bool) -> None:
    """The sum of a page's layout shifts; 0.1 is what is felt. A line that comes later and pushes the charts down makes 0.14."""
    context = _context(browser, phone=phone)
    for path, there in PLACES.items():
        page = context.new_page()
        page.add_init_script(SHIFTS)
        page.goto(f"{server.address}/{path.format(run=run)}")
        expect(page.locator(there).first).to_be_visible()
        page.evaluate(FRAMES)  # what comes late comes within these
        shifts = page.evaluate("shifts")
        assert sum(value for value, _ in shifts) < 0.06, (path, shifts)
        page.close()
    context.close()


def test_charts_stay_where_they_are_when_a_run_ends(server: Server, page: Page, project: str) -> None:
    """The strip of an open run has its room from the first frame, and leaves it when it goes."""
    with server.driven(project) as driver:
        driver.log(0, loss=1.0)
        page.goto(f"{server.address}/r/{driver.run_id[:7]}")
        expect(page.get_by_role("toolbar")).to_be_visible()
        chart = page.locator(".cell").first
        before = chart.bounding_box()
        assert before is not None
    expect(page.locator("header .state")).to_contain_text("finished")
    expect(page.get_by_role("toolbar")).to_have_count(0, timeout=15_000)

    assert chart.bounding_box() == before


def test_strip_covers_no_chart_of_the_first_two_rows(server: Server, page: Page, project: str) -> None:
    """Six charts are visible without scrolling, and the first stands above 180."""
    with server.driven(project) as driver:
        driver.log(0, **{f"metric-{k}": 1.0 for k in range(6)})
        page.goto(f"{server.address}/r/{driver.run_id[:7]}")
        expect(page.locator(".cell")).to_have_count(6)
        strip = page.get_by_role("toolbar").bounding_box()
        cells = [box for cell in page.locator(".cell").all() if (box := cell.bounding_box())]

    assert strip is not None
    assert cells[0]["y"] < 180
    assert max(box["y"] + box["height"] for box in cells) <= strip["y"]


def test_of_two_hundred_charts_only_those_near_the_window_are_drawn(
    server: Server, page: Page, project: str
) -> None:
    """What keeps frames short while all are scrolled past, counted: a clock would measure the machine."""
    server.train(WIDE, project)
    with server.api() as api:
        (wide,) = server.ended(api, project)
    page.goto(f"{server.address}/r/{wide.id[:7]}?filter=grad")
    page.get_by_role("button", name="Show 80 more").click()
    expect(page.locator(".cell")).to_have_count(200)

    drawn = page.evaluate(SCROLL)

    assert drawn["seen"] == 200
    assert drawn["most"] < 40
