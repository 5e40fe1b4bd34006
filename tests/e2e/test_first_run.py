"""Five lines, and the page shows the curve."""

from e2e_server import Server
from playwright.sync_api import Page, expect

FIVE_LINES = """
import farwatch

run = farwatch.init(project={project!r}, config={{"lr": 0.1}})
for step in range(100):
    run.log({{"loss": 1 / (step + 1)}}, step=step)
run.finish()
"""


def test_five_lines_show_the_curve_with_all_points(server: Server, page: Page, project: str) -> None:
    done = server.train(FIVE_LINES.format(project=project))

    with server.api() as api:
        run = server.ended(api, project)[0]
        series = run.series("loss")
        name = run.name
    assert series.steps.tolist() == list(range(100))
    assert series.values.tolist() == [1 / (step + 1) for step in range(100)]
    said = [line for line in done.stderr.splitlines() if line.startswith("farwatch:")]
    assert said == [f"farwatch: {name} {run.id[:7]} → {server.address}/r/{run.id[:7]}"]

    page.goto(f"{server.address}/r/{run.id[:7]}")
    expect(page.get_by_role("figure", name="loss")).to_be_visible()
    print(page.locator("body").inner_text())
