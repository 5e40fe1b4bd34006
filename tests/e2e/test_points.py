"""What is not a finite number, and what comes in any order of steps."""

from pathlib import Path

import drawing
import pytest
from e2e_server import Server
from playwright.sync_api import Page, expect

ORDER = """
import math, sys, farwatch

with farwatch.init(project=sys.argv[1], system=False) as run:
    for step, value in ((5, 1.0), (3, math.nan), (5, math.inf), (4, 2.0)):
        run.log({"odd": value}, step=step)
    for step, value in enumerate((3.0, 1.0, math.nan, 4.0, 2.0)):
        run.log({"hole": value}, step=step)
"""


def test_odd_values_and_steps_are_kept_and_drawn_in_order_with_gaps(
    server: Server, page: Page, project: str, tmp_path: Path
) -> None:
    """1, NaN, infinity, 2 at steps 5, 3, 5, 4: four points, drawn from 4 to 5, marked at 3 and 5."""
    done = server.train(ORDER, project)
    assert len([line for line in done.stderr.splitlines() if line]) <= 1, done.stderr  # where it is, nothing else
    with server.api() as api:
        run = server.ended(api, project)[0]
        series = run.series("odd")
    assert [repr(value) for value in series.values.tolist()] == ["1.0", "nan", "inf", "2.0"]
    assert series.steps.tolist() == [5, 3, 5, 4]

    page.goto(f"{server.address}/r/{run.id[:7]}")
    odd = page.get_by_role("figure", name="odd", exact=True)
    expect(odd.get_by_text("▲ 2 NaN")).to_be_visible()
    drawn = drawing.read(odd, tmp_path)
    assert drawn.points(drawn.lines()[0]) == [[(4, 2), (5, 1)]]
    assert drawn.marks() == [3, 5]
    assert drawn.x_words[0] == "3"

    hole = page.get_by_role("figure", name="hole", exact=True)
    expect(hole.get_by_text("▲ 1 NaN")).to_be_visible()
    drawn = drawing.read(hole, tmp_path)
    assert drawn.points(drawn.lines()[0]) == [[(0, 3), (1, 1)], [(3, 4), (4, 2)]]
    assert drawn.marks() == [2]


SPIKE = """
import math, sys, farwatch

spike, missing, count = int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with farwatch.init(project=sys.argv[1], system=False, console=False) as run:
    for step in range(count):
        run.log({"loss": 1000.0 if step == spike else math.nan if step == missing else step % 7 / 10}, step=step)
"""


@pytest.fixture(scope="module")
def spiked(server: Server) -> tuple[str, int, int, int]:
    spike, missing, count = 123_457, 77_777, 200_000
    server.train(SPIKE, "spiked", str(spike), str(missing), str(count))
    with server.api() as api:
        return server.ended(api, "spiked")[0].id[:7], spike, missing, count


@pytest.mark.parametrize("half", [100_000, 30_000, 3_000, 300, 20])
def test_one_spike_and_one_nan_are_seen_at_every_zoom(
    server: Server, page: Page, spiked: tuple[str, int, int, int], half: int, tmp_path: Path
) -> None:
    """A place of one point among 200,000, however many others share its pixel; exact under the cursor when zoomed to points."""
    run, spike, missing, count = spiked
    for place in (spike, missing):
        low, high = max(0, place - half), min(count - 1, place + half)
        page.goto(f"{server.address}/r/{run}?zoom={low}~{high}")
        figure = page.get_by_role("figure", name="loss", exact=True)
        expect(figure.locator("output.value")).to_be_visible()
        expect(figure.locator("canvas")).to_be_visible()

        drawn = drawing.read(figure, tmp_path)

        width = (high - low) / 200  # of a place that is drawn
        if place == spike:
            top = min(y for stroke in drawn.strokes for piece in stroke.pieces for _, y in piece)
            at = [x for stroke in drawn.strokes for piece in stroke.pieces for x, y in piece if y == top]
            assert abs(drawn.y_of(top) - 1000) < 5, "as high as it was"
            assert all(abs(drawn.x_of(x) - spike) <= width for x in at)
        else:
            assert [abs(mark - missing) <= width for mark in drawn.marks() if low <= mark <= high].count(True) == 1
    if half <= 20:
        page.goto(f"{server.address}/r/{run}?zoom={spike - half}~{spike + half}")
        figure = page.get_by_role("figure", name="loss", exact=True)
        expect(figure.locator("canvas")).to_be_visible()
        box = figure.locator(".u-over").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        expect(figure.locator("output.value")).to_have_text("1,000")
        expect(figure.locator(".at")).to_have_text(f"{spike:,}")
