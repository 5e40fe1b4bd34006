"""The tools of a chart, each used as a person would, each with what it must change."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_server import Server
from playwright.sync_api import Locator, Page, expect

from farwatch.api import Run

SCRIPT = """
import math, sys, farwatch

with farwatch.init(project=sys.argv[1], name="tools", system=False) as run:
    for step in range(200):
        run.log({"loss": 1 + step, "val_loss": 1.5 + step, "wave": math.sin(step / 5), "epoch": step / 10}, step=step)
    run.log({"loss": 1.0, "val_loss": 1.5}, step=200)
"""


@pytest.fixture(scope="module")
def tools(server: Server) -> Iterator[Run]:
    server.train(SCRIPT, "chart-tools")
    with server.api() as api:
        yield server.ended(api, "chart-tools")[0]


@pytest.fixture
def loss(server: Server, page: Page, tools: Run) -> Locator:
    """The chart of the losses, drawn."""
    page.goto(f"{server.address}/r/{tools.id[:7]}")
    figure = page.get_by_role("figure", name="loss", exact=True)
    expect(figure.locator("output").first).to_be_visible()
    expect(figure.locator("canvas")).to_be_visible()
    return figure


def _over(figure: Locator, share: float) -> tuple[float, float]:
    box = figure.locator(".u-over").bounding_box()
    assert box is not None
    return box["x"] + 1 + share * (box["width"] - 2), box["y"] + box["height"] / 2


def test_training_and_validation_share_a_chart_and_the_cursor_reads_both(page: Page, loss: Locator) -> None:
    assert page.get_by_role("figure").count() == 2  # what counts, like the epoch, is folded away

    page.mouse.move(*_over(loss, 1.0))

    expect(loss.locator("output").nth(0)).to_have_text("1")
    expect(loss.locator("output").nth(1)).to_have_text("1.5")
    page.mouse.move(*_over(loss, 0.5))
    expect(loss.locator("output").nth(0)).to_have_text(re.compile("^10[0-2]$"))


def test_axis_choice_changes_what_the_cursor_reads(page: Page, loss: Locator) -> None:
    page.mouse.move(*_over(loss, 0.5))
    expect(loss.locator(".at")).to_have_text(re.compile("^(99|100|101)"))

    page.get_by_label("x axis").first.select_option("epoch")
    expect(page).to_have_url(re.compile("x=epoch"))
    page.mouse.move(*_over(loss, 0.501))

    expect(loss.locator(".at")).to_have_text(re.compile(r"^(9\.\d|10)"))


def test_drag_zooms_every_chart_and_zoom_out_undoes_it(page: Page, loss: Locator) -> None:
    page.mouse.move(*_over(loss, 0.25))
    page.mouse.down()
    page.mouse.move(*_over(loss, 0.5), steps=5)
    page.mouse.up()

    expect(page).to_have_url(re.compile(r"zoom=(49|50|51)[\d.]*~(99|100|101)"))
    page.mouse.move(*_over(loss, 0.0))
    expect(loss.locator(".at")).to_have_text(re.compile("^5[01]|^49"))
    page.get_by_role("button", name="Zoom out").first.click()
    expect(page).not_to_have_url(re.compile("zoom="))


def test_shift_drag_pans(page: Page, loss: Locator) -> None:
    page.goto(page.url + "?zoom=50~100")
    expect(loss.locator("output").first).to_be_visible()
    page.mouse.move(*_over(loss, 0.8))
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(*_over(loss, 0.4), steps=5)
    page.mouse.up()
    page.keyboard.up("Shift")

    expect(page).to_have_url(re.compile(r"zoom=(69|70|71)"))


def test_legend_isolates_a_line(page: Page, loss: Locator) -> None:
    entry = loss.get_by_role("listitem").get_by_role("button").first

    entry.click()

    expect(entry).to_have_attribute("aria-pressed", "true")
    entry.click()
    expect(entry).to_have_attribute("aria-pressed", "false")


def test_smoothing_and_logarithm_stand_in_the_address_and_change_the_picture(
    page: Page, loss: Locator
) -> None:
    plain = loss.screenshot()

    page.get_by_role("slider", name="smooth").first.fill("0.9")
    expect(page).to_have_url(re.compile("smooth=0.9"))
    smooth = loss.screenshot()
    page.get_by_role("button", name="log y").first.click()
    expect(page).to_have_url(re.compile("log=1"))
    logarithmic = loss.screenshot()

    assert len({plain, smooth, logarithmic}) == 3


def test_filter_leaves_only_matching_charts(page: Page, loss: Locator) -> None:
    page.get_by_placeholder("Find metrics").first.fill("^wa.e$")

    expect(page.get_by_role("figure")).to_have_count(1)
    expect(page.get_by_role("figure", name="wave")).to_be_visible()
    expect(page).to_have_url(re.compile("filter="))


@pytest.mark.parametrize(
    ("item", "ending", "start"), [("Save PNG", ".png", b"\x89PNG"), ("Save SVG", ".svg", b"<svg")]
)
def test_picture_of_a_chart_is_saved(page: Page, loss: Locator, item: str, ending: str, start: bytes) -> None:
    loss.hover()
    loss.get_by_role("button", name="More").click()

    with page.expect_download() as saving:
        page.get_by_role("menuitem", name=item).click()

    assert saving.value.suggested_filename.endswith(ending)
    data = Path(saving.value.path()).read_bytes()
    assert (data.startswith(start), len(data) > 1000) == (True, True)


def test_csv_of_the_page_has_the_rows_of_the_api(page: Page, loss: Locator, tools: Run) -> None:
    loss.hover()
    loss.get_by_role("button", name="More").click()

    with page.expect_download() as saving:
        page.get_by_role("menuitem", name="Save CSV").click()

    with open(saving.value.path(), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("loss", "val_loss"):
        series = tools.series(name)
        found = [
            (float(r["step"]), int(r["time_ms"]), float(r["value"])) for r in rows if r["metric"] == name
        ]
        assert found == list(
            zip(series.steps.tolist(), series.times.tolist(), series.values.tolist(), strict=True)
        )
    assert len(rows) == 402
