"""What a page shows rounded, cut or in local time is there in full for who points at it; and what was not kept is said."""

import pytest
from e2e_server import Server
from playwright.sync_api import Locator, Page, Request, expect

SCRIPT = """
import datetime, sys, farwatch

when = datetime.datetime(2026, 11, 30, 20, 15, 0, 123456, datetime.timezone(datetime.timedelta(hours=1)))
for name, share in (("third", 1 / 3), ("seventh", 1 / 7)):
    given = {"lr": share, "when": when, "data": {"since": when.date()}, "looks": "2026-11-30T20:15:00"}
    with farwatch.init(project=sys.argv[1], name=name, config=given, system=False) as run:
        run.log({"loss": share / 7}, step=0)
"""
GROWN = """
import sys, farwatch

with farwatch.init(project=sys.argv[1], config={"lr": 0.1}, system=False) as run:
    run.config["first"] = "x" * 1_000_000
    run.config["second"] = "y" * 15_900_000
"""
SHOWN = "([text, style]) => new Date(text).toLocaleString(undefined, style)"
TO_THE_SECOND = {"dateStyle": "medium", "timeStyle": "medium"}
WHEN = "2026-11-30T20:15:00.123456+01:00"


@pytest.fixture(scope="module")
def short(server: Server) -> str:
    """The short id of one of two runs whose values need more digits than a table shows."""
    server.train(SCRIPT, "exact")
    with server.api() as api:
        return server.ended(api, "exact", 2)[0].id[:7]


def cells_of(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name)).locator("td.end")


def test_a_cell_tells_all_digits_to_who_points_at_it(server: Server, page: Page, short: str) -> None:
    """B6: one small request for a row, by mouse and by keyboard, and nothing moves."""
    asked: list[str] = []

    def note(request: Request) -> None:
        if "exact=" in request.url:
            asked.append(request.url)

    page.on("request", note)
    with page.expect_response(lambda answer: "/runs?" in answer.url and "columns=" in answer.url) as listed:
        page.goto(f"{server.address}/p/exact")
    assert listed.value.headers["content-type"] == "application/x-farwatch-columns"
    third, seventh = cells_of(page, "third"), cells_of(page, "seventh")
    expect(third.nth(0)).to_have_text("0.04762")
    expect(third.nth(1)).to_have_text("0.3333")
    before = [third.nth(place).bounding_box() for place in range(3)]
    assert (third.nth(0).get_attribute("title"), asked) == (None, [])

    third.nth(0).hover()
    expect(third.nth(0)).to_have_attribute("title", repr(1 / 3 / 7))
    third.nth(1).hover()
    expect(third.nth(1)).to_have_attribute("title", repr(1 / 3))
    page.get_by_role("link", name="seventh").focus()
    expect(seventh.nth(0)).to_have_attribute("title", repr(1 / 7 / 7))
    third.nth(0).hover()
    page.wait_for_timeout(300)  # longer than a pointer must rest to be asked for

    assert len(asked) == 2 and all("limit=1" in url for url in asked), asked
    assert [third.nth(place).bounding_box() for place in range(3)] == before


def test_a_datetime_is_shown_as_local_time_and_exact_in_its_title(server: Server, page: Page, short: str) -> None:
    """L3, T1: under its path with its type, and as a column; a text that looks like one is a text."""
    page.goto(f"{server.address}/r/{short}/config")
    expect(page.locator(".type", has_text="datetime")).to_be_visible()
    told = page.evaluate(SHOWN, [WHEN, TO_THE_SECOND])
    day = page.evaluate(SHOWN, ["2026-11-30T00:00", {"dateStyle": "medium"}])

    found = page.evaluate("""() => Object.fromEntries([...document.querySelectorAll('dd:has(.type)')].map(value => [
        value.previousElementSibling.textContent,
        [value.firstChild.textContent, value.title, value.querySelector('.type').textContent]]))""")
    found.pop("lr")

    assert found == {
        "when": [told, WHEN, "datetime"],
        "since": [day, "2026-11-30", "date"],
        "looks": ["2026-11-30T20:15:00", "", "text"],
    }
    assert "30" in told and "20:15" not in told  # it was written in another zone

    page.goto(f"{server.address}/p/exact")
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("menuitemcheckbox", name="when", exact=True).click()
    page.keyboard.press("Escape")
    cell = cells_of(page, "third").filter(has_text=told)
    expect(cell).to_have_attribute("title", WHEN)


def test_config_that_was_not_kept_is_said_where_the_config_is(server: Server, page: Page, project: str) -> None:
    server.train(GROWN, project)
    with server.api() as api:
        (run,) = server.ended(api, project, 1)
        assert set(run.config) == {"lr", "first"}

    page.goto(f"{server.address}/r/{run.id[:7]}/config")

    expect(page.get_by_role("note")).to_have_text("▲ config beyond 16777216 bytes was not kept")
