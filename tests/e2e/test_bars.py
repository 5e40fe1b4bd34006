"""Durations of epochs as bars: one for each, with a rounded label, while the number stays as it was."""

import re
from pathlib import Path

import drawing
from e2e_server import Server
from playwright.sync_api import Page, expect

EPOCHS = """
import sys, time, farwatch

with farwatch.init(project=sys.argv[1], system=False) as run:
    run.define_metric("epoch/duration_s", unit="s")
    for epoch in range(1, 6):
        began = time.perf_counter()
        time.sleep(0.2)
        run.log({"epoch/duration_s": time.perf_counter() - began}, step=epoch)
"""


def test_epochs_are_bars_with_rounded_labels_and_the_api_has_the_raw_number(
    server: Server, page: Page, project: str, tmp_path: Path
) -> None:
    server.train(EPOCHS, project)
    with server.api() as api:
        run = server.ended(api, project)[0]
        raw = run.series("epoch/duration_s").values.tolist()
    assert len(raw) == 5
    assert all(0.2 <= value <= 0.3 for value in raw)
    assert all(len(repr(value)) > 8 for value in raw), "not rounded on the way"
    page.goto(f"{server.address}/r/{run.id[:7]}")
    figure = page.get_by_role("figure", name="epoch/duration_s", exact=True)
    expect(figure.locator("output.value")).to_be_visible()
    assert drawing.read(figure, tmp_path).words == []

    figure.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Draw as bars").click()
    expect(page).to_have_url(re.compile("bars=epoch/duration_s"))
    figure.get_by_role("button", name="More").click()
    page.get_by_label("Digits on bars").select_option("2")
    expect(page).to_have_url(re.compile("digits=2"))
    page.keyboard.press("Escape")
    page.reload()  # the choice stands in the address
    expect(figure.locator("output.value")).to_be_visible()

    drawn = drawing.read(figure, tmp_path)
    assert drawn.words == [f"{float(f'{value:.2g}'):g}" for value in raw]
    tops = [
        (round(drawn.x_of((box[0][0] + box[1][0]) / 2), 2), drawn.y_of(box[0][1]), drawn.y_of(box[2][1]))
        for _, _, box in drawn.fills
        if len(box) == 4
    ]
    assert [x for x, _, _ in tops] == [1, 2, 3, 4, 5]
    for (_, top, foot), value in zip(tops, raw, strict=True):
        assert abs(top - value) < 0.002
        assert abs(foot) < 0.002, "a bar begins at zero"
    assert drawn.lines() == []
