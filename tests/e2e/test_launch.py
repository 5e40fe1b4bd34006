"""What may be started on a machine is started from the page (K1)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from e2e_server import Server, wait_until
from playwright.sync_api import Page, expect

PROGRAM = """
import sys, farwatch

run = farwatch.init(project=sys.argv[1], name="started-" + sys.argv[3], config={"lr": float(sys.argv[2])}, system=False)
for step in range(5):
    run.log({"loss": 1.0 / (step + 1)}, step=step)
run.finish()
"""


AGAIN = """
import sys, time, farwatch

lr, start = (float(word.partition("=")[2]) for word in sys.argv[2:])
run = farwatch.init(project=sys.argv[1], name=f"from-{start:g}", config={"lr": lr}, system=False)

@run.on("checkpoint")
def save():
    return "saved.pt"

for step in range(int(start), 100_000):
    run.log({"loss": 1.0 / (step + 1)}, step=step)
    time.sleep(0.02)
"""


@contextmanager
def profiles(server: Server, project: str, more: str = "") -> Iterator[None]:
    """What this server's own machine offers for a while."""
    (server.folder / "program.py").write_text(PROGRAM)
    path = server.folder / "launch.toml"
    path.write_text(f"""
        [profiles.digits]
        title = "Train the digits"
        command = ["{server.python}", "program.py", "{project}", "{{lr}}", "{{mark}}"]
        folder = "{server.folder}"
        [profiles.digits.parameters]
        lr = {{ type = "float", min = 0, max = 1, default = 0.1, description = "learning rate" }}
        mark = {{ type = "str" }}
        {more}
        """)
    path.chmod(0o600)
    try:
        server.command("start", "--list")  # starts an agent
        with server.api() as api:
            wait_until(api.profiles, "the agent has told its profiles")
        yield
    finally:
        path.unlink()


@pytest.mark.parametrize("device", ["page", "phone_page"])
def test_profile_is_started_with_its_parameters(
    server: Server, request: pytest.FixtureRequest, project: str, device: str
) -> None:
    page: Page = request.getfixturevalue(device)
    with profiles(server, project), server.api() as api:
        page.goto(f"{server.address}/launch")
        page.get_by_role("button", name="Train the digits").click()
        form = page.get_by_role("form", name="Train the digits")
        expect(form).to_contain_text(re.compile(r"Will run on \S+, in \S+, as \S+"))
        expect(form.get_by_role("textbox", name="lr")).to_have_value("0.1")

        form.get_by_role("textbox", name="lr").fill("3")
        form.get_by_role("button", name="Start").click()
        expect(form).to_contain_text("This has to be in 0 … 1.")
        form.get_by_role("textbox", name="lr").fill("0.5")
        form.get_by_role("textbox", name="mark").fill("here")
        expect(form.locator(".command")).to_contain_text("0.5 here")
        form.get_by_role("button", name="Start").click()
        question = page.get_by_role("dialog", name="Are you sure?")
        expect(question).to_contain_text("Train the digits")
        assert len(api.runs(project)) == 0
        question.get_by_role("button", name="Start").click()

        form.get_by_role("link", name="Started: open its run").click()
        expect(page.get_by_role("heading", name=re.compile("started-here"))).to_be_visible()
        (run,) = server.ended(api, project)
        assert run.config["lr"] == 0.5


test_profile_is_started_with_its_parameters.expected_troubles = "409|404"  # type: ignore[attr-defined]


def test_page_without_profiles_teaches_the_file(server: Server, page: Page) -> None:
    page.route("**/launch/profiles", lambda route: route.fulfill(json={"machines": []}))
    page.goto(f"{server.address}/launch")

    expect(page.get_by_role("heading", name="Nothing to start yet")).to_be_visible()
    expect(page.get_by_text("[profiles.digits]")).to_be_visible()


def test_run_is_started_again_from_its_checkpoint_with_changes(
    server: Server, page: Page, project: str
) -> None:
    (server.folder / "again.py").write_text(AGAIN)
    again = f"""
        [profiles.long]
        command = ["{server.python}", "again.py", "{project}", "--lr={{lr}}", "--from={{from_step}}"]
        folder = "{server.folder}"
        [profiles.long.parameters]
        lr = {{ type = "float", min = 0, max = 1, default = 1e-3 }}
        from_step = {{ type = "int", min = 0, default = 0 }}
        """
    with profiles(server, project, again), server.api() as api:
        assert server.command("start", "long", "lr=0.1", "--yes").returncode == 0
        wait_until(lambda: api.runs(project) and api.runs(project)[0].detail["step"], "the run has points")
        (run,) = api.runs(project)
        assert server.command("checkpoint", run.id).returncode == 0
        (saved,) = [row.step for row in run.commands() if row.op == "checkpoint"]
        assert server.command("stop", run.id).returncode == 0
        server.ended(api, project)

        page.goto(f"{server.address}/r/{run.id[:7]}")
        page.locator("header.head").get_by_role("button", name="More").click()
        page.get_by_role("menuitem", name="Run again…").click()
        part = page.get_by_role("region", name="from-0 again")
        form = part.get_by_role("form")
        expect(form.get_by_role("textbox", name="lr")).to_have_value("0.1")
        part.get_by_role("button", name=f"step {saved:,.0f}").click()
        expect(form.get_by_role("textbox", name="from_step")).to_have_value(f"{saved:.0f}")
        form.get_by_role("textbox", name="lr").fill("0.5")
        expect(part.get_by_role("heading")).to_contain_text(
            re.compile(rf"from-0 #1 again, from step {saved:,.0f}, lr 0.1 →\s*0.5")
        )
        form.get_by_role("button", name="Start").click()
        page.get_by_role("dialog").get_by_role("button", name="Start").click()
        form.get_by_role("link", name="Started: open its run").click()

        expect(page.get_by_role("heading", name=f"from-{saved:.0f}")).to_be_visible()
        (new,) = [one for one in api.runs(project) if one.id != run.id]
        assert new.config["lr"] == 0.5
        wait_until(lambda: api.run(new.id).detail["step"], "it logs")
        assert api.run(new.id).detail["attempts"][0]["first_step"] == saved
        assert server.command("stop", new.id).returncode == 0


test_run_is_started_again_from_its_checkpoint_with_changes.expected_troubles = "409|404"  # type: ignore[attr-defined]


def test_run_of_no_profile_is_run_again_exactly_as_it_was(server: Server, page: Page, project: str) -> None:
    (server.folder / "program.py").write_text(PROGRAM)
    done = server.command("run", "--", str(server.python), "program.py", project, "0.25", "twice")
    assert done.returncode == 0, done.stderr
    with server.api() as api:
        (run,) = server.ended(api, project)
        page.goto(f"{server.address}/launch?again={run.id[:7]}")
        part = page.get_by_role("region", name="started-twice again")
        expect(part).to_contain_text(f"program.py {project} 0.25 twice")
        expect(part).to_contain_text("Exactly as it was")

        part.get_by_role("button", name="Start").click()
        page.get_by_role("dialog").get_by_role("button", name="Start").click()

        expect(page).to_have_url(re.compile(r"/r/"))
        runs = server.ended(api, project, 2)
        assert [one.config["lr"] for one in runs] == [0.25, 0.25]


test_run_of_no_profile_is_run_again_exactly_as_it_was.expected_troubles = "409|404"  # type: ignore[attr-defined]


def test_run_that_nobody_can_start_again_says_so(server: Server, page: Page, project: str) -> None:
    server.train(PROGRAM, project, "0.5", "by-hand")
    with server.api() as api:
        (run,) = server.ended(api, project)
    page.goto(f"{server.address}/launch?again={run.id[:7]}")

    part = page.get_by_role("region", name="started-by-hand again")
    expect(part).to_contain_text("Nothing here knows how this run was started")
    expect(part.get_by_role("button", name="Start")).to_have_count(0)
