"""Commands and alerts on the charts of a run and in its history (W9)."""

import json
import re
from pathlib import Path

import drawing
import pytest
from e2e_server import Server, wait_until
from playwright.sync_api import Page, expect
from test_steer import commands, open_run, set_lr, trained

QUIET = """
import sys, farwatch

run = farwatch.init(project=sys.argv[1], name="quiet", system=False)
for step in range(200):
    run.log({"loss": 2.0 / (step + 1), "lr": 1e-3}, step=step)
run.finish()
"""


@pytest.mark.parametrize("device", ["page", "phone_page"])
def test_applied_command_is_a_mark_on_every_chart_at_its_step(
    server: Server, request: pytest.FixtureRequest, project: str, device: str
) -> None:
    page: Page = request.getfixturevalue(device)
    with trained(server, project) as (run, process):
        open_run(page, server, run)
        charts = [page.get_by_role("figure", name=name, exact=True) for name in ("loss", "lr")]
        expect(charts[0].locator(".u-over")).to_be_visible()
        top = charts[0].locator(".u-over").bounding_box()

        set_lr(page, "×3")

        for chart in charts:
            chart.scroll_into_view_if_needed()
            mark = chart.get_by_role("button", name=re.compile("◆ lr 1e−3 → 3e−3"))
            expect(mark).to_be_visible()
        process.kill()  # marks move with the axis
        (row,) = commands(server, run)
        expect(page.locator("header .state")).not_to_contain_text("running")
        mark = charts[0].get_by_role("button", name="◆ lr")
        if device == "phone_page":
            page.evaluate("scrollTo(0, 0)")
            mark.tap()
        else:
            mark.hover()
        expect(charts[0].locator("ul.float")).to_contain_text(f"lr 1e−3 → 3e−3 {row['actor']}")
        expect(charts[0].locator("ul.float")).to_contain_text(f"@{row['step']:.0f}")
        assert charts[0].locator(".u-over").bounding_box() == top, "nothing jumps"


def test_mark_is_in_the_saved_picture_where_the_command_was_applied(
    server: Server, page: Page, project: str, tmp_path: Path
) -> None:
    with trained(server, project) as (run, process):
        open_run(page, server, run)
        set_lr(page, "×3")
        chart = page.get_by_role("figure", name="lr", exact=True)
        expect(chart.get_by_role("button", name="◆ lr")).to_be_visible()
        process.kill()  # the axis stands still
        expect(page.locator("header .state")).not_to_contain_text("running")

        drawn = drawing.read(chart, tmp_path)

        (row,) = commands(server, run)
        heads = [drawn.x_of(head[0][0]) for head in drawn.heads]  # one more is of the alert that tells of its end
        assert len(heads) in (1, 2) and min(abs(at - row["step"]) for at in heads) <= 2, (heads, row["step"])
        assert drawn.marks() == [], "no mark of what is not a number"


def test_history_tells_who_asked_what_by_which_way_and_how_it_ended(
    server: Server, page: Page, project: str, tmp_path: Path
) -> None:
    with trained(server, project) as (run, _):
        server.command("set", run.id, "temperature", "0.9")
        open_run(page, server, run)
        set_lr(page, "÷3")
        page.get_by_role("button", name="evaluate(n, split)…").click()
        page.get_by_role("dialog").get_by_role("textbox", name="n", exact=True).fill("5000")
        page.get_by_role("dialog").get_by_role("button", name="Call evaluate").click()
        wait_until(
            lambda: all(row["state"] != "pending" for row in commands(server, run)), "all commands have ended"
        )
        page.get_by_role("link", name="History", exact=True).click()
        listed = page.locator("ol.commands > li")
        expect(listed).to_have_count(3)

        actor = commands(server, run)[0]["actor"]
        for item, parts in zip(
            listed.all(),
            (
                ("evaluate(n=5000, split=val)", "there are only 1000 batches", "by page"),
                ("lr 1e−3 → 3.33e−4", "applied at", "by page"),
                ("temperature 0.5 → 0.9", "applied at", "by cli"),
            ),
            strict=True,
        ):
            for part in (*parts, actor):
                expect(item).to_contain_text(part)

        with page.expect_download() as saving:
            page.get_by_role("link", name="interventions.jsonl").click()
        path = tmp_path / "interventions.jsonl"
        saving.value.save_as(path)
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert [(line["op"], line["channel"]) for line in lines] == [("set", "cli"), ("set", "page")]


def test_marks_of_its_runs_are_on_the_charts_of_a_project(server: Server, page: Page, project: str) -> None:
    with trained(server, project) as (run, process):
        server.train(QUIET, project)
        page.goto(f"{server.address}/p/{project}")
        chart = page.get_by_role("figure", name="loss", exact=True)
        expect(chart.locator(".u-over")).to_be_visible()
        assert server.command("set", run.id, "lr", "0.003").returncode == 0

        for name in ("loss", "lr"):
            chart = page.get_by_role("figure", name=name, exact=True)
            mark = chart.get_by_role("button", name=re.compile("◆ calm-heron: lr 1e−3 → 3e−3"))
            expect(mark).to_be_visible()
        process.kill()

        page.get_by_role("checkbox", name="calm-heron").uncheck()
        expect(page.get_by_role("button", name="◆")).to_have_count(0)
        page.get_by_role("checkbox", name="calm-heron").check()
        page.get_by_role("checkbox", name="quiet").uncheck()
        alone = page.get_by_role("figure", name="loss", exact=True)
        expect(alone.get_by_role("button", name=re.compile("◆ lr 1e−3 → 3e−3"))).to_be_visible()
