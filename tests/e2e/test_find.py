"""A run is found by what the terminal said."""

from e2e_server import Server, wait_until
from playwright.sync_api import Page, expect

from farwatch.api import Api

SAYS = """
import sys, farwatch
run = farwatch.init(project=sys.argv[1], id=sys.argv[2] if len(sys.argv) > 2 else None, system=False)
run.log({"loss": 1.0})
run.finish()
"""


def test_id_on_the_home_page_opens_the_run_and_an_unknown_one_stays(
    server: Server, page: Page, project: str
) -> None:
    server.train(SAYS, project)
    with server.api() as api:
        run = server.ended(api, project)[0]
        name = run.name
    page.goto(server.address)
    find = page.get_by_placeholder("Open a run")

    find.fill("zzzzzzz")
    find.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("No run with id: zzzzzzz")
    expect(page).to_have_url(f"{server.address}/")
    find.fill(run.id[:7])
    find.press("Enter")

    expect(page).to_have_url(f"{server.address}/r/{run.id[:7]}")
    expect(page.get_by_role("heading", name=name)).to_be_visible()


test_id_on_the_home_page_opens_the_run_and_an_unknown_one_stays.expected_troubles = r"404"  # type: ignore[attr-defined]


def test_own_id_continues_the_same_run_after_its_last_step(server: Server, project: str) -> None:
    run_id = f"own-{project}"

    with server.api() as api:
        for attempt in (1, 2):
            server.train(SAYS, project, run_id)
            wait_until(lambda: _ended_at(api, project, attempt), f"attempt {attempt} has ended")  # noqa: B023  # at once
        run = api.run(run_id)
        assert [found.id for found in api.runs(project)] == [run_id]
        assert run.series("loss").steps.tolist() == [0.0, 1.0]


def _ended_at(api: Api, project: str, attempt: int) -> bool:
    return any((run.attempt, run.state) == (attempt, "finished") for run in api.runs(project))


def test_page_of_an_unknown_run_says_so(server: Server, page: Page) -> None:
    page.goto(f"{server.address}/r/nothere")

    expect(page.get_by_text("nothere")).to_be_visible()
    expect(page.get_by_role("link", name="To all projects")).to_be_visible()


test_page_of_an_unknown_run_says_so.expected_troubles = r"404"  # type: ignore[attr-defined]


def test_page_that_is_opened_too_early_shows_the_run_when_it_comes(
    server: Server, page: Page, project: str
) -> None:
    page.goto(f"{server.address}/r/early-{project}")
    expect(page.get_by_role("link", name="To all projects")).to_be_visible()

    with server.driven(project, id=f"early-{project}", name="an-early-bird"):
        expect(page.get_by_role("heading", name="an-early-bird")).to_be_visible()


test_page_that_is_opened_too_early_shows_the_run_when_it_comes.expected_troubles = r"404"  # type: ignore[attr-defined]
