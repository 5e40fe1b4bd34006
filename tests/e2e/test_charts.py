"""The tools of a chart, each used as a person would, each with what it must change."""

import base64
import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path

import drawing
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


def _whole(low: float, high: float) -> list[tuple[float, float]]:
    return [(step, 1 + step) for step in range(int(low), int(high) + 1)]


def _training(figure: Locator, folder: Path) -> tuple[drawing.Drawing, list[tuple[float, float]]]:
    """What the chart has drawn, and the points of its training line."""
    drawn = drawing.read(figure, folder)
    line = next(stroke for stroke in drawn.lines() if not stroke.dashed)
    return drawn, [(round(x), round(y)) for piece in drawn.points(line) for x, y in piece]


def test_axis_choice_changes_words_and_places(page: Page, loss: Locator, tmp_path: Path) -> None:
    drawn, points = _training(loss, tmp_path)
    assert [drawing.number(word) for word in drawn.x_words][:: len(drawn.x) - 1] == [0, 200]
    assert points[:200] == _whole(0, 199)

    page.get_by_label("x axis").first.select_option("epoch")
    expect(page).to_have_url(re.compile("x=epoch"))
    page.mouse.move(*_over(loss, 0.501))
    expect(loss.locator(".at")).to_have_text(re.compile(r"^(9\.9|10$)"))
    drawn = drawing.read(loss, tmp_path)
    assert drawing.number(drawn.x_words[0]) == 0
    assert 15 <= drawing.number(drawn.x_words[-1]) <= 19.9
    line = next(stroke for stroke in drawn.lines() if not stroke.dashed)
    assert [round(x, 1) for x, _ in drawn.points(line)[0]][:199] == [step / 10 for step in range(199)]

    page.get_by_label("x axis").first.select_option("time")
    expect(page).to_have_url(re.compile("x=time"))
    assert all(
        re.fullmatch(r"\d\d:\d\d(:\d\d(\.\d+)?)?", word) for word in drawing.read(loss, tmp_path).x_words
    )
    page.get_by_label("x axis").first.select_option("relative")
    expect(page).to_have_url(re.compile("x=relative"))
    assert all(re.fullmatch(r"[\d.]+s", word) for word in drawing.read(loss, tmp_path).x_words)


def test_hover_reads_one_step_in_all_charts(page: Page, loss: Locator) -> None:
    wave = page.get_by_role("figure", name="wave", exact=True)
    for share, step in ((0.0, 0), (0.25, 50), (0.5, 100), (0.75, 150)):
        page.mouse.move(*_over(loss, share))
        expect(loss.locator(".at")).to_have_text(str(step))
        expect(loss.locator("output").nth(0)).to_have_text(str(1 + step))
        expect(loss.locator("output").nth(1)).to_have_text(f"{1.5 + step:g}")
        said = wave.locator("output.value").inner_text().replace("\u2212", "-")
        assert abs(float(said) - math.sin(step / 5)) < 1e-6


def test_tap_reads_and_double_tap_zooms_back_on_a_phone(server: Server, phone_page: Page, tools: Run) -> None:
    phone_page.goto(f"{server.address}/r/{tools.id[:7]}?zoom=50~150")
    figure = phone_page.get_by_role("figure", name="loss", exact=True)
    expect(figure.locator("canvas")).to_be_visible()

    phone_page.touchscreen.tap(*_over(figure, 0.5))
    expect(figure.locator(".at")).to_have_text("100")
    expect(figure.locator("output").nth(0)).to_have_text("101")

    phone_page.touchscreen.tap(*_over(figure, 0.5))
    phone_page.touchscreen.tap(*_over(figure, 0.5))
    expect(phone_page).not_to_have_url(re.compile("zoom="))


def test_drag_zooms_every_chart_and_zoom_out_undoes_it(page: Page, loss: Locator, tmp_path: Path) -> None:
    page.mouse.move(*_over(loss, 0.25))
    page.mouse.down()
    page.mouse.move(*_over(loss, 0.5), steps=5)
    page.mouse.up()

    expect(page).to_have_url(re.compile(r"zoom=(49|50)[\d.]*~(99|100)"))
    wave = page.get_by_role("figure", name="wave", exact=True)
    for figure in (loss, wave):
        drawn = drawing.read(figure, tmp_path)
        assert drawing.number(drawn.x_words[0]) == 50
        assert 90 <= drawing.number(drawn.x_words[-1]) <= 100
    drawn, points = _training(loss, tmp_path)
    assert set(_whole(50, 99)) <= set(points), "all between are there"
    assert len(points) <= 55, "others are not drawn"
    assert 45 <= drawing.number(drawn.y_words[0]) <= 60, "y fits what is seen"

    page.get_by_role("button", name="Zoom out").first.click()
    expect(page).not_to_have_url(re.compile("zoom="))
    assert len(_training(loss, tmp_path)[1]) == 201


def test_shift_drag_pans(page: Page, loss: Locator, tmp_path: Path) -> None:
    page.goto(page.url + "?zoom=50~100")
    expect(loss.locator("output").first).to_be_visible()
    expect(loss.locator("canvas")).to_be_visible()
    page.mouse.move(*_over(loss, 0.8))
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(*_over(loss, 0.4), steps=5)
    page.mouse.up()
    page.keyboard.up("Shift")

    expect(page).to_have_url(re.compile(r"zoom=(69\.9|70)[\d.]*~(119\.9|120)"))
    _, points = _training(loss, tmp_path)
    assert set(_whole(71, 119)) <= set(points)
    assert min(points)[0] >= 68


def test_legend_isolates_a_line(page: Page, loss: Locator, tmp_path: Path) -> None:
    entry = loss.get_by_role("listitem").get_by_role("button").first
    assert [line.opacity for line in drawing.read(loss, tmp_path).lines()] == [1, 1]

    entry.click()

    expect(entry).to_have_attribute("aria-pressed", "true")
    assert {line.dashed: line.opacity for line in drawing.read(loss, tmp_path).lines()} == {
        False: 1,
        True: 0.16,
    }
    entry.click()
    expect(entry).to_have_attribute("aria-pressed", "false")
    assert [line.opacity for line in drawing.read(loss, tmp_path).lines()] == [1, 1]


def test_smoothing_draws_a_calmer_line_before_the_raw_one(page: Page, loss: Locator, tmp_path: Path) -> None:
    wave = page.get_by_role("figure", name="wave", exact=True)
    (raw,) = drawing.read(wave, tmp_path).strokes

    page.get_by_role("slider", name="smooth").first.fill("0.9")
    expect(page).to_have_url(re.compile("smooth=0.9"))

    behind, calm = sorted(drawing.read(wave, tmp_path).strokes, key=lambda stroke: stroke.width)
    assert behind.pieces == raw.pieces
    assert (behind.width, behind.opacity, calm.opacity) == (1, 0.22, 1)
    assert _swing(calm) < 0.5 * _swing(raw)


def _swing(stroke: drawing.Stroke) -> float:
    ys = [y for piece in stroke.pieces for _, y in piece]
    return max(ys) - min(ys)


def test_logarithm_makes_equal_factors_equally_tall(page: Page, loss: Locator, tmp_path: Path) -> None:
    page.get_by_role("button", name="log y").first.click()
    expect(page).to_have_url(re.compile("log=1"))

    drawn = drawing.read(loss, tmp_path)
    assert {1, 10, 100} <= {drawing.number(word) for word in drawn.y_words}
    line = next(stroke for stroke in drawn.lines() if not stroke.dashed)
    heights = {round(drawn.x_of(x)): y for x, y in line.pieces[0]}
    decades = [heights[0] - heights[9], heights[9] - heights[99]]  # from 1 to 10 to 100
    assert decades[0] > 20
    assert abs(decades[0] - decades[1]) < 1


def test_filter_leaves_only_matching_charts(page: Page, loss: Locator) -> None:
    page.get_by_placeholder("Find metrics").first.fill("^wa.e$")

    expect(page.get_by_role("figure")).to_have_count(1)
    expect(page.get_by_role("figure", name="wave")).to_be_visible()
    expect(page).to_have_url(re.compile("filter="))


def test_svg_of_a_chart_has_its_title_legend_and_lines(loss: Locator, tmp_path: Path) -> None:
    drawn = drawing.read(loss, tmp_path)

    assert (drawn.title, drawn.legend) == ("loss", ["train", "val"])
    assert [(line.dashed, len(line.pieces[0])) for line in drawn.lines()] == [(False, 201), (True, 201)]


def test_png_of_a_chart_is_twice_as_fine_and_not_empty(page: Page, loss: Locator) -> None:
    width = loss.evaluate("figure => figure.querySelector('.plot').clientWidth")
    loss.get_by_role("button", name="More").click()

    with page.expect_download() as saving:
        page.get_by_role("menuitem", name="Save PNG").click()

    assert saving.value.suggested_filename == "loss.png"
    data = Path(saving.value.path()).read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == 2 * width
    shades = page.evaluate(SHADES, base64.b64encode(data).decode())
    assert shades > 20, "paper, ink and two lines with soft edges"


SHADES = """async data => {
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
    const canvas = new OffscreenCanvas(image.width, image.height);
    const pen = canvas.getContext('2d');
    pen.drawImage(image, 0, 0);
    return new Set(new Uint32Array(pen.getImageData(0, 0, image.width, image.height).data.buffer)).size;
}"""


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
