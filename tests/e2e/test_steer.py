"""Steering from the page: the control strip of a run, against a real trainer (B8, B9, K3, K5)."""

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from e2e_server import Server, wait_until
from playwright.sync_api import Page, expect

from farwatch.api import Run

SCRIPT = """
import sys, time, farwatch

run = farwatch.init(project=sys.argv[1], name=sys.argv[2], system=False, console=False)
lr = run.knob("lr", 1e-3, min=1e-6, max=1, log=True)
temperature = run.knob("temperature", 0.5, min=0, max=1)
mode = run.knob("mode", "greedy", choices=["greedy", "top-k"])

@run.command
def evaluate(n: int = 100, split: str = "val") -> str:
    "Looks at n batches."
    if n > 1000:
        raise ValueError("there are only 1000 batches")
    return f"{n} of {split}"

@run.command
def sample():
    return "once upon a time"

@run.on("checkpoint")
def save():
    return "saved.pt"

for step in range(100_000):
    run.log({"loss": 1.0 / (step + 1), "lr": lr.value, "temperature": temperature.value}, step=step)
    time.sleep(0.02)
"""

PLAIN = """
import sys, time, farwatch

run = farwatch.init(project=sys.argv[1], name=sys.argv[2], system=False, console=False)
for step in range(100_000):
    run.log({"loss": 1.0 / (step + 1)}, step=step)
    time.sleep(0.02)
"""

SILENT = """
import sys, time, farwatch

run = farwatch.init(project=sys.argv[1], name=sys.argv[2], system=False, console=False)
sys.stdin.readline()
run.finish()
"""

STUCK = """
import sys, time, farwatch

run = farwatch.init(project=sys.argv[1], name=sys.argv[2], system=False, console=False)

@run.on("checkpoint")
def save():
    sys.stdin.readline()

for step in range(100_000):
    run.log({"loss": 1.0}, step=step)
    time.sleep(0.02)
"""


@contextmanager
def trained(
    server: Server, project: str, script: str = SCRIPT, points: bool = True
) -> Iterator[tuple[Run, subprocess.Popen[str]]]:
    """A run whose trainer goes on until the end of the block, and its process."""
    process = server.training(script, project, "calm-heron")
    try:
        with server.api() as api:
            wait_until(lambda: api.runs(project), "the run is on the server")
            run = api.runs(project)[0]
            if points:
                wait_until(lambda: api.run(run.id).detail["step"], "points have come")
            yield run, process
    finally:
        process.kill()


def open_run(page: Page, server: Server, run: Run) -> None:
    page.goto(f"{server.address}/r/{run.id[:7]}")
    expect(page.get_by_role("toolbar")).to_be_visible()


def commands(server: Server, run: Run) -> list[dict[str, Any]]:
    """Commands of the run as the server keeps them, oldest first."""
    told = json.loads((server.folder / "server.json").read_text())
    request = urllib.request.Request(
        f"{told['address']}/api/v1/runs/{run.id}/commands",
        headers={"Authorization": f"Bearer {told['secret']}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        listed: list[dict[str, Any]] = json.load(answer)["commands"]
    return listed[::-1]


def set_lr(page: Page, factor: str) -> None:
    page.get_by_role("toolbar").get_by_role("button", name="lr").click()
    sheet = page.get_by_role("dialog", name="lr")
    sheet.get_by_role("button", name=factor).click()
    sheet.get_by_role("button", name="Apply").click()


@pytest.mark.parametrize("device", ["page", "phone_page"])
def test_knob_is_set_and_the_training_goes_on_with_it(
    server: Server, request: pytest.FixtureRequest, project: str, device: str
) -> None:
    page: Page = request.getfixturevalue(device)
    with trained(server, project) as (run, _):
        open_run(page, server, run)

        set_lr(page, "×3")

        expect(page.get_by_role("status").filter(has_text="lr 1e−3 → 3e−3")).to_contain_text(
            re.compile(r"applied at \d+")
        )
        expect(page.get_by_role("toolbar").get_by_role("button", name="lr")).to_contain_text("3e−3")
        wait_until(lambda: run.series("lr").values[-1] == 3e-3, "the loop uses the new value")
        (row,) = commands(server, run)
        assert (row["op"], row["channel"], row["old"], row["new"]) == ("set", "page", 1e-3, 3e-3)
        used = run.series("lr")
        assert used.values[used.steps > row["step"]].min() == 3e-3


def test_values_that_a_knob_does_not_take_are_refused_beside_it(
    server: Server, page: Page, project: str
) -> None:
    with trained(server, project) as (run, _):
        open_run(page, server, run)
        page.get_by_role("toolbar").get_by_role("button", name="lr").click()
        sheet = page.get_by_role("dialog", name="lr")
        field = sheet.get_by_role("textbox", name="Exact value")

        for text, said in (("abc", "not a number"), ("1 2", "not a number"), ("5", "1e−6 … 1")):
            field.fill(text)
            expect(sheet.get_by_role("alert")).to_contain_text(said)
            expect(sheet.get_by_role("button", name="Apply")).to_be_disabled()
        field.press("Enter")

        assert commands(server, run) == []
        field.fill("２e-3")  # as other keyboards write it
        field.press("Enter")
        expect(page.get_by_role("status").filter(has_text="lr 1e−3 → 2e−3")).to_contain_text("applied at")


def test_ten_times_a_value_is_asked_for_twice_and_done_once(server: Server, page: Page, project: str) -> None:
    with trained(server, project) as (run, _):
        open_run(page, server, run)

        set_lr(page, "×10")
        question = page.get_by_role("dialog", name="Are you sure?")
        expect(question).to_contain_text("by a factor of 10")
        question.get_by_role("button", name="Cancel").click()
        expect(question).to_have_count(0)
        assert commands(server, run) == []

        page.get_by_role("dialog", name="lr").get_by_role("button", name="Apply").click()
        question.get_by_role("button", name="set lr 0.01").click()

        expect(page.get_by_role("status").filter(has_text="lr 1e−3 → 0.01")).to_contain_text("applied at")
        assert len(commands(server, run)) == 1


test_ten_times_a_value_is_asked_for_twice_and_done_once.expected_troubles = "409"  # type: ignore[attr-defined]


def test_an_answer_that_is_lost_on_its_way_does_nothing_twice(
    server: Server, page: Page, project: str
) -> None:
    with trained(server, project) as (run, _):
        open_run(page, server, run)
        lost = 0

        def lose(route: Any) -> None:
            nonlocal lost
            if route.request.method == "POST" and lost < 2:
                lost += 1
                route.fetch()
                route.abort()
            else:
                route.continue_()

        page.route("**/commands", lose)
        page.get_by_role("button", name="sample", exact=True).click()

        expect(page.get_by_role("status").filter(has_text="sample()")).to_contain_text("once upon a time")
        expect(page.get_by_role("button", name="sample", exact=True)).to_be_enabled()
        assert lost == 2
        assert [row["op"] for row in commands(server, run)] == ["call"]


test_an_answer_that_is_lost_on_its_way_does_nothing_twice.expected_troubles = "ERR_FAILED"  # type: ignore[attr-defined]


@pytest.mark.parametrize("device", ["page", "phone_page"])
def test_pause_holds_the_run_and_unpause_lets_it_go_on(
    server: Server, request: pytest.FixtureRequest, project: str, device: str
) -> None:
    page: Page = request.getfixturevalue(device)
    with trained(server, project) as (run, _), server.api() as api:
        open_run(page, server, run)

        page.get_by_role("button", name="Pause", exact=True).click()

        expect(page.locator("header .state")).to_contain_text("paused")
        stands = api.run(run.id).detail["step"]
        time.sleep(0.3)  # fifteen steps of its loop
        assert api.run(run.id).detail["step"] == stands
        page.get_by_role("button", name="Unpause").click()
        expect(page.locator("header .state")).to_contain_text("running")
        wait_until(lambda: api.run(run.id).detail["step"] > stands, "the loop goes on")


def test_command_has_a_form_of_its_arguments_and_its_answer_comes_back(
    server: Server, page: Page, project: str
) -> None:
    with trained(server, project) as (run, _):
        open_run(page, server, run)
        page.get_by_role("button", name="evaluate(n, split)…").click()
        form = page.get_by_role("dialog", name="evaluate")
        expect(form).to_contain_text("Looks at n batches.")
        number = form.get_by_role("textbox", name="n", exact=True)
        expect(number).to_have_value("100")

        number.fill("x")
        form.get_by_role("button", name="Call evaluate").click()
        expect(form).to_contain_text("This is not a number.")
        number.fill("12")
        form.get_by_role("button", name="Call evaluate").click()

        told = page.get_by_role("status").filter(has_text="evaluate(")
        expect(told).to_contain_text(re.compile(r"evaluate\(n=12, split=val\) · applied at \d+: 12 of val"))
        page.get_by_role("button", name="evaluate(n, split)…").click()
        form.get_by_role("textbox", name="n", exact=True).fill("5000")
        form.get_by_role("button", name="Call evaluate").click()
        expect(told).to_contain_text("there are only 1000 batches")


@pytest.mark.parametrize("by", ["mouse", "keys", "thumb", "confirm"])
def test_stop_is_held_and_ends_the_run(
    server: Server, request: pytest.FixtureRequest, project: str, by: str
) -> None:
    """K3: the script ends by itself with exit code 0 and state stopped."""
    page: Page = request.getfixturevalue("phone_page" if by == "thumb" else "page")
    with trained(server, project) as (run, process), server.api() as api:
        open_run(page, server, run)
        stop = page.get_by_role("button", name="Stop", exact=True)
        box = stop.bounding_box()
        assert box is not None
        at = {"x": box["x"] + 9, "y": box["y"] + 9}

        if by == "mouse":
            stop.click()  # too short
            expect(page.get_by_text("Hold for a second to stop")).to_be_visible()
            page.mouse.move(**at)
            page.mouse.down()
            expect(page.get_by_role("status").filter(has_text="Stop ·")).to_be_visible()
            page.mouse.up()
        elif by == "thumb":
            fingers = page.context.new_cdp_session(page)
            fingers.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
            expect(page.get_by_role("status").filter(has_text="Stop ·")).to_be_visible()
            fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        elif by == "keys":
            stop.focus()
            page.keyboard.press("Space")  # too short
            page.keyboard.down("Space")
            expect(page.get_by_role("status").filter(has_text="Stop ·")).to_be_visible()
            page.keyboard.up("Space")
        else:
            page.keyboard.press(".")
            page.keyboard.press("ArrowLeft")  # around the end of the strip
            expect(stop).to_be_focused()
            page.keyboard.press("Enter")
            sure = page.get_by_role("dialog", name="Stop calm-heron?")
            sure.get_by_role("button", name="Stop").click()

        wait_until(lambda: api.run(run.id).detail["state"] == "stopped", "the run is stopped")
        assert process.wait(30) == 0
        assert [row["op"] for row in commands(server, run)] == ["stop"]
        expect(page.locator("header .state")).to_contain_text("stopped")


def test_a_run_that_declares_nothing_can_be_stopped_paused_and_killed(
    server: Server, page: Page, project: str
) -> None:
    with trained(server, project, PLAIN) as (run, process), server.api() as api:
        open_run(page, server, run)
        names = [name.strip() for name in page.get_by_role("toolbar").get_by_role("button").all_inner_texts()]
        assert [re.sub(r"\W+", " ", name).strip() for name in names] == ["Pause", "Stop hold"]

        page.locator("header").first.get_by_role("button", name="More").click()
        page.get_by_role("menuitem", name="Kill…").click()
        sure = page.get_by_role("dialog", name="Kill calm-heron?")
        expect(sure.get_by_role("button", name="Kill")).to_be_disabled()
        sure.get_by_role("textbox").fill("calm-heron")
        sure.get_by_role("button", name="Kill").click()

        wait_until(lambda: api.run(run.id).detail["state"] == "stopped", "the run is killed")
        assert process.wait(30) != 0
        expect(page.locator("header .state")).to_contain_text("stopped")


def test_page_says_that_a_trainer_has_never_logged(server: Server, page: Page, project: str) -> None:
    with trained(server, project, SILENT, points=False) as (run, process):
        page.clock.install()
        open_run(page, server, run)
        page.get_by_role("button", name="Pause", exact=True).click()
        told = page.get_by_role("status").filter(has_text="Pause")
        expect(told).to_contain_text("waiting for step")

        page.clock.fast_forward(31_000)

        expect(told).to_contain_text("it has not logged anything yet")
        process.communicate("\n", timeout=60)


def test_page_says_since_when_a_hook_hangs(server: Server, page: Page, project: str) -> None:
    with trained(server, project, STUCK) as (run, process):
        page.clock.install()
        open_run(page, server, run)
        page.get_by_role("button", name="Checkpoint").click()
        told = page.get_by_role("status").filter(has_text="Checkpoint")
        expect(told).to_contain_text("being done")

        page.clock.fast_forward(31_000)

        expect(told).to_contain_text(re.compile(r"still in the hook since \d"))
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        expect(told).to_contain_text("applied at")


def test_command_of_the_terminal_is_shown_with_its_way(server: Server, page: Page, project: str) -> None:
    with trained(server, project) as (run, _):
        open_run(page, server, run)

        said = server.command("set", run.id, "temperature", "0.9", "--json")

        assert json.loads(said.stdout)["state"] in ("applied", "pending")
        told = page.get_by_role("status").filter(has_text="temperature")
        expect(told).to_contain_text("0.5 → 0.9 · applied at")
        expect(told).to_contain_text("cli")


def test_run_that_is_fed_by_requests_says_why_it_cannot_be_steered(
    server: Server, page: Page, project: str
) -> None:
    told = json.loads((server.folder / "server.json").read_text())
    headers = {"Authorization": f"Bearer {told['secret']}", "Content-Type": "application/json"}
    body = json.dumps({"project": project, "name": "curled"}).encode()
    asked = urllib.request.Request(f"{told['address']}/api/v1/runs", body, headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        run = json.load(answer)["run"]

    page.goto(f"{server.address}/r/{run}")

    expect(page.get_by_role("toolbar")).to_contain_text("cannot be steered: it is fed by requests")
    expect(page.get_by_role("toolbar").get_by_role("button")).to_have_count(0)
