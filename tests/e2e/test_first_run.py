"""Five lines, and the page shows the curve."""

from pathlib import Path

import drawing
from e2e_server import Server
from playwright.sync_api import Page, expect

FIVE_LINES = """
import farwatch

run = farwatch.init(project={project!r}, config={{"lr": 0.1}})
for step in range(100):
    run.log({{"loss": 1 / (step + 1)}}, step=step)
run.finish()
"""


def test_five_lines_show_the_curve_with_all_points(server: Server, page: Page, project: str, tmp_path: Path) -> None:
    done = server.train(FIVE_LINES.format(project=project))

    with server.api() as api:
        run = server.ended(api, project)[0]
        series = run.series("loss")
        name = run.name
    assert series.steps.tolist() == list(range(100))
    assert series.values.tolist() == [1 / (step + 1) for step in range(100)]
    said = [line for line in done.stderr.splitlines() if line.startswith("farwatch:")]
    assert said == [f"farwatch: {name} {run.id[:7]} → {server.address}/r/{run.id[:7]}"]

    page.goto(f"{server.address}/r/{run.id[:7]}?full=loss")  # large enough for a place per point
    figure = page.get_by_role("dialog").get_by_role("figure", name="loss", exact=True)
    expect(figure.locator("output.value")).to_have_text("0.01")
    drawn = drawing.read(figure, tmp_path)
    (points,) = drawn.points(drawn.lines()[0])
    assert [round(step) for step, _ in points] == list(range(100))
    assert all(abs(value - 1 / (round(step) + 1)) < 0.01 for step, value in points)
