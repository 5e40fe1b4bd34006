"""V9: the page shows n/total, percent, elapsed, remaining and rate as the bar of the program does."""

import contextlib
import re
import time

import pytest
from e2e_server import Server, wait_until
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, Route, expect

SCRIPT = """
import farwatch, sys, time

run = farwatch.init(sys.argv[1], system=False, console=False)
bar = run.progress(total=20, desc="epoch", unit="batch", postfix={"loss": 1.5})
inner = None
print(run.id, flush=True)
for line in sys.stdin:
    if line.startswith("step"):
        bar.update(int(line.split()[1]))
    elif line.startswith("inner"):
        inner = run.progress(total=8, desc="part")
        inner.update(2)
    time.sleep(0.55)  # past the half second between two reports
    bar.refresh()
    print(bar, flush=True)
bar.close()
run.finish()
"""


def test_page_shows_what_the_bar_of_the_program_says(server: Server, page: Page, project: str) -> None:
    training = server.training(SCRIPT, project)
    assert training.stdin is not None and training.stdout is not None

    def says(order: str) -> str:
        assert training.stdin is not None and training.stdout is not None
        training.stdin.write(order + "\n")
        training.stdin.flush()
        return training.stdout.readline().strip()

    run_id = training.stdout.readline().strip()
    says("wait")
    with server.api() as api:
        wait_until(lambda: api.runs(project), "the run is on the server")
    page.goto(f"{server.address}/r/{run_id[:7]}")
    expect(page.get_by_text("0/20")).to_be_visible()

    said = time.monotonic()
    line = says("step 4")
    told = re.fullmatch(r"epoch:  20%\|██        \| 4/20 \[(.+)<(.+), (.+), loss=1.5\]", line)
    assert told is not None, line
    expect(page.get_by_text("4/20", exact=True)).to_be_visible()
    head = page.locator(".line", has=page.get_by_text("4/20", exact=True))
    expect(head).to_contain_text(re.compile(r"20\s%"))
    asked = time.monotonic() - said
    shown, left = _seconds(head.locator(".times").inner_text())
    bar_shown, bar_left = _seconds(f"{told[1]}, {told[2]} left")
    assert -1 <= shown - bar_shown <= asked + 3, "the bar's text is as old as the question"
    assert -asked - 1 <= left - bar_left <= 1
    assert _rate(head.locator(".pace").inner_text()) == _rate(told[3])
    expect(head.locator(".times")).not_to_have_text(head.locator(".times").inner_text())

    says("inner")
    expect(page.get_by_text("› 2/8")).to_be_visible()
    expect(head.locator("[title*='epoch · 4/20 · loss=1.5']")).to_have_count(1)

    says("step 16")
    training.communicate(timeout=60)
    expect(page.get_by_text("20/20", exact=True)).to_be_visible()
    times = page.locator(".line", has=page.get_by_text("20/20", exact=True)).locator(".times")
    stands = times.inner_text()
    page.wait_for_timeout(2_100)  # two ticks of the page's clock, which an ended bar does not follow
    expect(times).to_have_text(stands)


@pytest.mark.parametrize(("path", "place"), [("r/{run}", "header"), ("p/{project}", "tbody td.state")])
def test_change_before_the_first_live_answer_is_shown(server: Server, page: Page, project: str, path: str, place: str) -> None:
    training = server.training(SCRIPT, project)
    assert training.stdin is not None and training.stdout is not None
    run = training.stdout.readline().strip()
    held: list[Route] = []
    page.route("**/api/v1/live", lambda route: held.append(route))  # a bound method cannot be wrapped

    with server.api() as api:
        wait_until(lambda: [found for found in api.runs(project) if found.detail["progress"]], "the bar is on the server")
        page.goto(f"{server.address}/{path.format(run=run, project=project)}")
        expect(page.locator(place).first).to_contain_text(re.compile(r"(?<!\d)0\s%"))
        training.stdin.write("step 10\n")
        training.stdin.flush()
        wait_until(lambda: api.run(run).detail["progress"]["n"] == 10, "the step is on the server")
    page.unroute("**/api/v1/live")
    for route in held:
        with contextlib.suppress(PlaywrightError):  # the page has taken this question back
            route.continue_()

    expect(page.locator(place).first).to_contain_text(re.compile(r"50\s%"), timeout=10_000)
    training.communicate(timeout=60)


def test_rows_show_how_far_and_how_long(server: Server, page: Page, project: str) -> None:
    training = server.training(SCRIPT, project)
    assert training.stdin is not None and training.stdout is not None
    training.stdout.readline()
    training.stdin.write("step 4\n")
    training.stdin.flush()
    training.stdout.readline()

    page.goto(f"{server.address}/p/{project}")

    expect(page.locator("tbody td.state")).to_have_text(re.compile(r"20\s%\s·\s\d+\s?(s|min)"))
    training.communicate(timeout=60)


def _seconds(text: str) -> tuple[int, int]:
    """Elapsed and remaining seconds in `00:04, 00:16 left`."""
    elapsed, left = re.findall(r"(\d+):(\d+)", text)
    return int(elapsed[0]) * 60 + int(elapsed[1]), int(left[0]) * 60 + int(left[1])


def _rate(text: str) -> str:
    """`1.64batch/s` as three digits and its unit."""
    found = re.fullmatch(r"([\d.]+)\s*([a-z/]+)", text)
    assert found is not None, text
    return f"{float(found[1]):.2g} {found[2]}"
