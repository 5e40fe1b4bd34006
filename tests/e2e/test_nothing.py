"""Where there is nothing to see, the page says what to do next."""

import re

import pytest
from e2e_server import Server
from playwright.sync_api import Browser, Page, expect

RUN = """
import sys, farwatch
with farwatch.init(project=sys.argv[1], name="only", config={"lr": 0.5}, system=False) as run:
    run.log({"loss": 1.0}, step=0)
"""


@pytest.fixture
def first(server: Server, project: str) -> str:
    """A project with one run, called `only`."""
    server.train(RUN, project)
    with server.api() as api:
        server.ended(api, project)
    return project


@pytest.mark.parametrize("width", [1440, 390])
def test_empty_server_says_what_to_paste_and_shows_the_first_run_by_itself(
    own_server: Server, browser: Browser, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(own_server.address)

    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    expect(page.get_by_text("pip install farwatch")).to_be_visible()
    expect(page.get_by_text("farwatch.init(")).to_be_visible()
    expect(page.get_by_text(f"export FARWATCH_SERVER={own_server.address}")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    with own_server.driven("my-first", name="hello") as trainer:
        trainer.log(0, loss=1.0)
        expect(page.get_by_role("link", name=re.compile("hello"))).to_be_visible()
    page.close()


def test_empty_project_has_lines_with_its_own_name_and_shows_its_first_run(
    server: Server, page: Page, project: str
) -> None:
    page.goto(f"{server.address}/p/{project}")

    expect(page.get_by_role("heading", name=f"No runs in {project} yet")).to_be_visible()
    expect(page.get_by_text(f'farwatch.init(project="{project}"')).to_be_visible()
    with server.driven(project, name="hello") as trainer:
        trainer.log(0, loss=1.0)
        expect(page.get_by_role("link", name="hello")).to_be_visible()


def test_unknown_run_and_unknown_address_lead_back(server: Server, page: Page) -> None:
    page.goto(f"{server.address}/r/nothere")
    expect(page.get_by_role("heading", name="No run with id: nothere")).to_be_visible()
    expect(page.get_by_text("project#12 works as well")).to_be_visible()
    page.get_by_role("link", name="To all projects").click()
    expect(page).to_have_url(f"{server.address}/")

    page.goto(f"{server.address}/x/y/z")
    expect(page.get_by_text("There is nothing at this address.")).to_be_visible()
    expect(page.get_by_role("link", name="To all projects")).to_be_visible()


test_unknown_run_and_unknown_address_lead_back.expected_troubles = r"404"  # type: ignore[attr-defined]


@pytest.mark.parametrize("screen", ["page", "phone_page"])
def test_filter_without_a_match_is_cleared_with_one_click(
    server: Server, first: str, screen: str, request: pytest.FixtureRequest
) -> None:
    opened: Page = request.getfixturevalue(screen)
    opened.goto(f"{server.address}/p/{first}?list=1")
    find = opened.get_by_placeholder("Find, or a condition")
    find.fill("nothing like it")

    expect(opened.get_by_text("No run matches.")).to_be_visible()
    expect(opened.get_by_text("Select runs")).to_be_hidden()
    opened.get_by_role("button", name="Clear the filter").click()

    expect(find).to_have_value("")
    expect(opened.get_by_role("link", name="only")).to_be_visible()


@pytest.mark.parametrize("screen", ["page", "phone_page"])
def test_filter_with_a_mistake_says_where_and_keeps_the_runs(
    server: Server, first: str, screen: str, request: pytest.FixtureRequest
) -> None:
    opened: Page = request.getfixturevalue(screen)
    opened.goto(f"{server.address}/p/{first}?list=1")
    expect(opened.get_by_role("link", name="only")).to_be_visible()
    find = opened.get_by_placeholder("Find, or a condition")
    find.fill("config.lr ==")

    expect(opened.get_by_role("alert")).to_contain_text("at position 13")
    expect(find).to_have_attribute("aria-invalid", "true")
    expect(opened.get_by_role("link", name="only")).to_be_visible()
    find.fill("config.lr == 0.5")
    expect(opened.get_by_role("alert")).to_be_hidden()
    expect(opened.get_by_role("link", name="only")).to_be_visible()


test_filter_with_a_mistake_says_where_and_keeps_the_runs.expected_troubles = r"400|422"  # type: ignore[attr-defined]
