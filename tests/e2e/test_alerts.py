"""Alerts and their rules on the page (B10, W20)."""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from e2e_server import Server, wait_until
from playwright.sync_api import Browser, Page, expect
from test_steer import commands, open_run, trained

from tests import pace

SCRIPT = """
import sys, time, farwatch

run = farwatch.init(project=sys.argv[1], name=sys.argv[2], system=False, console=False, total_steps=100_000)
lr = run.knob("lr", 1e-3, min=1e-6, max=1, log=True)
bad = False

@run.command
def spoil():
    global bad
    bad = True
    return time.time()

for step in range(100_000):
    run.log({"loss": float("nan") if bad else 1.0 / (step + 1), "other": 3.0 * step}, step=step)
    time.sleep(0.02)
"""


def ask(server: Server, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    told = json.loads((server.folder / "server.json").read_text())
    request = urllib.request.Request(
        f"{told['address']}/api/v1/{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {told['secret']}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture(autouse=True)
def rules_as_they_come(server: Server) -> Iterator[None]:
    """The server is shared: no test leaves its rules or its alerts to the next."""
    yield
    changes = ask(server, "rules")["changes"]
    ask(server, "rules", {"rules": dict.fromkeys(changes)}, "PUT")
    for alert in ask(server, "alerts?state=firing,silenced,pending")["alerts"]:
        ask(server, f"alerts/{alert['id']}", {"resolve": True})


def test_nan_is_an_alert_within_two_seconds_and_can_be_acknowledged(
    server: Server, page: Page, project: str
) -> None:
    with trained(server, project, SCRIPT) as (run, _):
        open_run(page, server, run)
        page.get_by_role("button", name="spoil", exact=True).click()
        told = page.get_by_role("link", name=re.compile("loss is NaN"))
        expect(told).to_be_visible()
        seen = time.time()

        (row,) = [row for row in commands(server, run) if row["op"] == "call"]
        assert seen - float(row["result"]) < 2.5 * pace.slowness(), "two seconds, and what this test needs to look"
        expect(page.get_by_role("button", name="better stop")).to_be_visible()
        expect(page.get_by_role("figure", name="other").get_by_role("button", name="▲ loss")).to_be_visible()
        firing = ask(server, "alerts?limit=1")["firing"]
        expect(page.locator("header").get_by_title(f"{firing} alerts need somebody")).to_be_visible()

        told.click()
        card = page.get_by_role("article", name=re.compile("loss is NaN"))
        expect(card).to_contain_text("calm-heron")
        expect(card).to_contain_text(re.compile(r"usual\s*[\d.e−]+ – [\d.e−]+"))
        expect(card).to_contain_text(re.compile(r"since\s*step [\d,]+"))
        expect(card.get_by_role("figure", name="Points of loss around the alert")).to_be_visible()
        card.get_by_role("button", name="lr ÷3").click()
        expect(card.get_by_role("status").filter(has_text="lr 1e−3 → 3.33e−4")).to_contain_text("applied at")

        card.get_by_role("button", name="Acknowledge").click()

        expect(card).to_contain_text("seen by")
        expect(card.get_by_role("button", name="Acknowledge")).to_have_count(0)
        assert ask(server, "alerts?limit=1")["firing"] == firing - 1
        expect(page.locator("header").get_by_title(f"{firing} alerts need somebody")).to_have_count(0)


def test_alert_is_snoozed_and_switched_off_for_its_run(
    server: Server, phone_page: Page, project: str
) -> None:
    page = phone_page
    with trained(server, project, SCRIPT) as (run, _):
        open_run(page, server, run)
        ask(server, f"runs/{run.id}/commands", {"op": "call", "args": {"name": "spoil"}})
        page.get_by_role("link", name=re.compile("loss is NaN")).click()
        card = page.get_by_role("article", name=re.compile("loss is NaN"))

        card.get_by_role("button", name="Snooze 1 h").click()
        expect(card).to_contain_text("silenced")
        card.get_by_role("button", name="Wake").click()
        expect(card.get_by_role("button", name="Snooze 1 h")).to_be_visible()
        card.get_by_role("button", name="Not for this run").click()

        expect(page.get_by_text("NaN or infinite is off for calm-heron")).to_be_visible()
        assert ask(server, f"runs/{run.id}/rules")["changes"] == {"nan": {"on": False}}
        page.get_by_role("link", name="Resolved").click()
        expect(page.get_by_role("article", name=re.compile("loss is NaN")).first).to_be_visible()


def test_rules_are_changed_for_the_server_and_for_a_project(server: Server, page: Page, project: str) -> None:
    with trained(server, project, SCRIPT):
        page.goto(f"{server.address}/alerts/rules")
        page.get_by_role("switch", name="Plateau").uncheck()
        page.get_by_role("button", name="NaN or infinite").click()
        number = page.get_by_label("so many values in a row that are no finite numbers")
        number.fill("0")
        number.press("Tab")
        expect(page.get_by_text("This has to be in 1 … 10,000.")).to_be_visible()
        number.fill("7")
        number.press("Tab")
        page.get_by_label("what it then does by itself").select_option("pause")
        wait = page.get_by_label("seconds to wait for an answer")
        wait.fill("0")
        wait.press("Tab")
        expect(page.get_by_role("button", name="NaN or infinite")).to_contain_text("→ Pause · at once")
        then = {"op": "pause", "args": {}, "unless_answered_s": 0}
        assert ask(server, "rules")["changes"] == {
            "plateau": {"on": False},
            "nan": {"in_a_row": 7, "then": then},
        }

        page.get_by_label("Rules of").select_option(label=f"project {project}")
        expect(page.get_by_role("switch", name="Plateau")).not_to_be_checked()
        page.get_by_role("switch", name="Plateau").check()
        wait_until(
            lambda: ask(server, f"projects/{project}/rules")["changes"] == {"plateau": {"on": True}},
            "the project has a rule of its own",
        )
        page.get_by_label("Rules of").select_option(label="the whole server")
        page.get_by_role("button", name="Plateau").click()
        page.get_by_role("button", name="As it comes").click()
        expect(page.get_by_role("switch", name="Plateau")).to_be_checked()


def test_rule_pauses_the_run_and_the_page_says_so(server: Server, page: Page, project: str) -> None:
    with trained(server, project, SCRIPT) as (run, _):
        then = {"op": "pause", "args": {}, "unless_answered_s": 0}
        ask(server, f"projects/{project}/rules", {"rules": {"nan": {"then": then}}}, "PUT")
        open_run(page, server, run)

        page.get_by_role("button", name="spoil", exact=True).click()

        expect(page.locator("header .state")).to_contain_text("paused")
        page.get_by_role("link", name="History", exact=True).click()
        expect(page.locator("ol.commands > li").filter(has_text="Pause")).to_contain_text("by rule")
        page.get_by_role("link", name=re.compile("loss is NaN")).first.click()
        card = page.get_by_role("article", name=re.compile("loss is NaN"))
        expect(card).to_contain_text(re.compile(r"then\s*Pause · sent"))
        card.get_by_role("button", name="Unpause").click()
        expect(card.get_by_role("button", name="Pause", exact=True)).to_have_count(0)


def test_alert_stops_its_run_by_keyboard(server: Server, page: Page, project: str) -> None:
    with trained(server, project, SCRIPT) as (run, process), server.api() as api:
        ask(server, f"runs/{run.id}/commands", {"op": "call", "args": {"name": "spoil"}})
        wait_until(lambda: ask(server, f"runs/{run.id}/alerts")["alerts"], "the alert is there")
        page.goto(f"{server.address}/alerts?run={run.id[:7]}")
        card = page.get_by_role("article", name=re.compile("loss is NaN"))
        card.get_by_role("button", name="Stop calm-heron").focus()

        page.keyboard.press("Enter")  # nothing is held: it asks
        sure = page.get_by_role("dialog", name="Stop calm-heron?")
        expect(sure).to_be_visible()
        page.keyboard.press("Escape")
        expect(sure).to_have_count(0)
        expect(card.get_by_role("button", name="Stop calm-heron")).to_be_focused()
        assert [row["op"] for row in commands(server, run)] == ["call"]
        page.keyboard.press("Enter")
        sure.get_by_role("button", name="Stop", exact=True).focus()
        page.keyboard.press("Enter")

        expect(card.get_by_role("status").filter(has_text="Stop ·")).to_be_visible()
        wait_until(lambda: api.run(run.id).detail["state"] == "stopped", "the run is stopped")
        assert process.wait(30) == 0


def test_alert_and_reason_are_in_the_language_of_the_page(
    server: Server, browser: Browser, project: str
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="zh-CN")
    with trained(server, project, SCRIPT) as (run, process):
        page = context.new_page()
        page.goto(f"{server.address}/r/{run.id[:7]}")
        page.get_by_role("button", name="spoil", exact=True).click()
        told = page.get_by_role("link", name=re.compile("loss 从第 [\\d,]+ 步起为 NaN"))
        expect(told).to_be_visible()
        page.get_by_role("button", name="建议停止").click()
        expect(page.get_by_text(re.compile("步起为 NaN. 此前最后一个值是"))).to_be_visible()
        page.keyboard.press("Escape")
        mark = page.get_by_role("figure", name="other").get_by_role("button", name=re.compile("▲ loss 从第"))
        expect(mark).to_be_visible()

        told.click()
        card = page.get_by_role("article", name=re.compile("loss 从第"))
        expect(card).to_contain_text(re.compile(r"\d+\s秒前"))
        card.get_by_role("button", name="确认").click()
        expect(card).to_contain_text("已确认")

        process.kill()
        card.get_by_role("link", name="calm-heron").click()
        expect(page.locator("header.head")).to_contain_text("失败")
        expect(page.locator("header.head")).to_contain_text("被信号 9 终止")
    context.close()


FLAT = """
import random, sys, time, farwatch

run = farwatch.init(project=sys.argv[1], name=sys.argv[2], system=False, console=False)
for step in range(100_000):
    run.log({"loss": max(0.2, 1.0 - step / 250) + 1e-4 * random.random()}, step=step)
    time.sleep(0.01)
"""


def test_flat_loss_is_one_hint_on_the_page(server: Server, page: Page, project: str) -> None:
    """W20: flat for the configured time: exactly one alert, and no lamp."""
    ask(server, "rules", {"rules": {"plateau": {"after_s": 4, "share": 0.2}}}, "PUT")
    with trained(server, project, FLAT) as (run, _):
        open_run(page, server, run)
        told = page.get_by_role("link", name=re.compile("loss has been flat"))
        expect(told).to_be_visible(timeout=40_000 * pace.slowness())
        told.click()

        expect(page.get_by_role("article", name=re.compile("loss has been flat"))).to_have_count(1)
        assert [(row["rule"], row["level"]) for row in ask(server, f"alerts?run={run.id}")["alerts"]] == [("plateau", "hint")]
