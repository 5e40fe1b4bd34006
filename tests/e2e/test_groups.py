"""Runs of one group as their mean: steps are aligned first, and the band is what was chosen."""

import re
from pathlib import Path

import drawing
from e2e_server import Server
from playwright.sync_api import Page, expect

RUNS = """
import sys, farwatch

for name, group, every, start in (("a", "tuned", 1, 0.0), ("b", "tuned", 2, 10.0), ("c", "plain", 1, 30.0)):
    with farwatch.init(project=sys.argv[1], name=name, group=group, system=False) as run:
        for step in range(0, 41, every):
            run.log({"score": start + step}, step=step)
"""


def test_group_mean_aligns_steps_and_shows_the_chosen_spread(
    server: Server, page: Page, project: str, tmp_path: Path
) -> None:
    """One run logs every step, one every second, 10 above: their mean is 5 above the first at every step."""
    server.train(RUNS, project)
    with server.api() as api:
        server.ended(api, project, count=3)
    page.goto(f"{server.address}/p/{project}")
    figure = page.get_by_role("figure", name="score", exact=True)
    expect(figure.get_by_role("listitem")).to_have_count(3)

    page.get_by_label("Runs of a group").select_option("group mean, min–max")

    expect(page).to_have_url(re.compile("means=minmax"))
    expect(figure.get_by_role("listitem")).to_have_count(2)
    expect(figure.get_by_role("button", name="tuned (2)")).to_be_visible()
    drawn = drawing.read(figure, tmp_path)
    mean = next(line for line in map(drawn.points, drawn.lines()) if len(line[0]) == 41 and line[0][0][1] < 20)
    assert [[round(x), round(y, 1)] for x, y in mean[0]] == [[step, step + 5] for step in range(41)]
    assert _heights(drawn) == {10.0}

    page.get_by_label("Runs of a group").select_option("group mean ± std")
    expect(page).to_have_url(re.compile("means=std"))
    drawn = drawing.read(figure, tmp_path)
    assert _heights(drawn) == {14.1}  # twice 10 / √2: two runs, 10 apart


def _heights(drawn: drawing.Drawing) -> set[float]:
    """How tall the band of the mean is at its places."""
    band = max((piece for _, _, piece in drawn.fills), key=len)
    upper, lower = band[: len(band) // 2], band[len(band) // 2 :][::-1]
    return {
        round(drawn.y_of(top) - drawn.y_of(foot), 1) for (_, top), (_, foot) in zip(upper, lower, strict=True)
    }
