"""Names, notes and tags: set at start, edited on the page, of one run or of many; and the archive."""

import json
from dataclasses import dataclass

import pytest
from e2e_server import Server, wait_until
from playwright.sync_api import Locator, Page, expect

RUNS = """
import json, sys, farwatch
for given in json.loads(sys.argv[2]):
    with farwatch.init(project=sys.argv[1], system=False, **given) as run:
        run.log({"loss": 1.0}, step=0)
"""


def _runs(server: Server, project: str, *given: dict[str, object]) -> list[str]:
    """Ids of new runs that have ended, in the order given."""
    server.train(RUNS, project, json.dumps(given))
    with server.api() as api:
        found = {run.name: run.id for run in server.ended(api, project, len(given))}
    return [
        found[str(one["name"])] for one in given
    ]  # the order in which they came to the server is nobody's promise


@dataclass(frozen=True)
class Said:
    """What people said about a run."""

    name: str
    notes: str
    tags: list[str]
    archived: bool


def _row(server: Server, run: str) -> Said:
    """As the server has it now."""
    with server.api() as api:
        found = api.run(run).detail
    return Said(found["name"], found["notes"], found["tags"], found["archived"])


def _edit(page: Page) -> Locator:
    """The dialog for what a person says about a run, open."""
    page.get_by_role("button", name="Edit run").click()
    dialog = page.get_by_role("dialog", name="Edit run")
    expect(dialog).to_be_visible()
    return dialog


@pytest.mark.parametrize("screen", ["page", "phone_page"])
def test_what_was_set_at_start_is_edited_and_undone(
    server: Server, project: str, screen: str, request: pytest.FixtureRequest
) -> None:
    opened: Page = request.getfixturevalue(screen)
    (run,) = _runs(server, project, {"name": "first-name", "notes": "a first note", "tags": ["start"]})
    opened.goto(f"{server.address}/r/{run[:7]}")
    dialog = _edit(opened)
    expect(dialog.get_by_label("Name")).to_have_value("first-name")
    expect(dialog.get_by_label("Notes")).to_have_value("a first note")
    expect(dialog.get_by_role("button", name="Remove start")).to_be_visible()

    dialog.get_by_label("Name").fill("second-name")
    dialog.get_by_label("Notes").fill("two\nlines")
    dialog.get_by_label("Tags").fill("a,")
    dialog.get_by_label("Tags").press("Enter")
    dialog.get_by_role("button", name="Remove start").click()
    dialog.get_by_role("button", name="Save").click()

    expect(opened.get_by_role("heading", name="second-name")).to_be_visible()
    now = _row(server, run)
    assert (now.name, now.notes, now.tags) == ("second-name", "two\nlines", ["a"])
    opened.get_by_role("button", name="Undo").click()
    expect(opened.get_by_role("heading", name="first-name")).to_be_visible()
    before = _row(server, run)
    assert (before.name, before.notes, before.tags) == ("first-name", "a first note", ["start"])


@pytest.mark.parametrize("screen", ["page", "phone_page"])
def test_after_a_and_b_without_a_the_list_is_b_and_finds_the_run(
    server: Server, project: str, screen: str, request: pytest.FixtureRequest
) -> None:
    """T2."""
    opened: Page = request.getfixturevalue(screen)
    tagged, _ = _runs(server, project, {"name": "tagged"}, {"name": "other"})
    opened.goto(f"{server.address}/r/{tagged[:7]}")
    for word in ("a", "b"):
        dialog = _edit(opened)
        dialog.get_by_label("Tags").fill(word)
        dialog.get_by_role("button", name="Save").click()
        expect(dialog).to_be_hidden()
    dialog = _edit(opened)
    dialog.get_by_role("button", name="Remove a", exact=True).click()
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()

    assert _row(server, tagged).tags == ["b"]
    opened.goto(f"{server.address}/p/{project}?list=1")
    expect(opened.get_by_role("link", name="other")).to_be_visible()
    opened.get_by_placeholder("Find, or a condition").fill('"b" in tags')
    expect(opened.get_by_role("link", name="other")).to_be_hidden()
    expect(opened.get_by_role("link", name="tagged")).to_be_visible()
    opened.get_by_placeholder("Find, or a condition").fill('"a" in tags')
    expect(opened.get_by_text("No run matches.")).to_be_visible()


@pytest.mark.parametrize("screen", ["page", "phone_page"])
def test_tags_of_several_runs_change_at_once_and_come_back(
    server: Server, project: str, screen: str, request: pytest.FixtureRequest
) -> None:
    opened: Page = request.getfixturevalue(screen)
    runs = _runs(
        server,
        project,
        {"name": "one", "tags": ["all", "x"]},
        {"name": "two", "tags": ["all"]},
        {"name": "three", "tags": ["all"]},
    )
    opened.goto(f"{server.address}/p/{project}?list=1&runs=,")
    for name in ("one", "two"):
        opened.get_by_role("checkbox", name=f"Show {name}").click()
    opened.get_by_role("button", name="Tags of 2 runs").click()
    dialog = opened.get_by_role("dialog", name="Tags of 2 runs")
    expect(dialog.get_by_role("button", name="x 1/2")).to_be_visible()

    dialog.get_by_role("button", name="Remove all", exact=True).click()
    dialog.get_by_label("Tags").fill("new")
    dialog.get_by_role("button", name="Save").click()

    expect(dialog).to_be_hidden()
    assert [_row(server, run).tags for run in runs] == [["x", "new"], ["new"], ["all"]]
    opened.get_by_role("button", name="Undo").click()
    wait_until(
        lambda: [sorted(_row(server, run).tags) for run in runs] == [["all", "x"], ["all"], ["all"]],
        "all tags are back",
    )


@pytest.mark.parametrize("screen", ["page", "phone_page"])
def test_several_runs_go_to_the_archive_and_come_back(
    server: Server, project: str, screen: str, request: pytest.FixtureRequest
) -> None:
    opened: Page = request.getfixturevalue(screen)
    runs = _runs(server, project, {"name": "one"}, {"name": "two"}, {"name": "three"})
    archived = lambda: [_row(server, run).archived for run in runs]  # noqa: E731
    opened.goto(f"{server.address}/p/{project}?list=1&runs={runs[0][:7]},{runs[1][:7]}")

    opened.get_by_role("button", name="Archive 2 runs").click()
    expect(opened.get_by_role("link", name="one")).to_be_hidden()
    expect(opened.get_by_role("link", name="three")).to_be_visible()
    assert archived() == [True, True, False]
    opened.get_by_role("button", name="Undo").click()
    expect(opened.get_by_role("link", name="one")).to_be_visible()
    assert archived() == [False, False, False]

    opened.goto(f"{server.address}/p/{project}?list=1&runs={runs[0][:7]},{runs[1][:7]}")
    opened.get_by_role("button", name="Archive 2 runs").click()
    opened.get_by_role("button", name="Archived runs: 2").click()
    expect(opened.get_by_role("link", name="three")).to_be_hidden()
    expect(opened.get_by_role("link", name="two")).to_be_visible()
    opened.reload()
    opened.get_by_role("button", name="Take 2 runs out of the archive").click()

    expect(opened.get_by_role("link", name="three")).to_be_visible()
    expect(opened.get_by_role("link", name="one")).to_be_visible()
    assert archived() == [False, False, False]
    expect(opened.get_by_role("button", name="Archived runs")).to_be_hidden()


def test_nothing_can_be_archived_before_somebody_has_chosen(server: Server, project: str, page: Page) -> None:
    """The newest runs are drawn by themselves; a button that archives what nobody picked would be a trap."""
    _runs(server, project, {"name": "one"}, {"name": "two"})
    page.goto(f"{server.address}/p/{project}?list=1")
    expect(page.get_by_role("checkbox", name="Show one")).to_be_visible()

    before = page.get_by_role("button", name="Archive").count()
    page.get_by_role("checkbox", name="Show one").click()

    # drawn by itself before, so that the other is what somebody has left
    expect(page.get_by_role("button", name="Archive: two")).to_be_visible()
    assert before == 0
