"""What a run was given is shown under its path with its type, and can be a column."""

import pytest
from e2e_server import Server
from playwright.sync_api import Page, expect

SCRIPT = """
import argparse, sys, farwatch

for lr in (0.5, 0.25):
    arguments = argparse.Namespace(lr=lr, epochs=20, inner=argparse.Namespace(deep=True))
    given = {"args": arguments, "model": {"layers": {"kind": "conv", "widths": [8, 16]}}, "data/version": "v2"}
    with farwatch.init(project=sys.argv[1], name=f"lr-{lr}", config=given, system=False) as run:
        run.log({"loss": lr}, step=0)
"""

SHOWN = {
    ("args", "lr"): ("0.5", "float"),
    ("args", "epochs"): ("20", "int"),
    ("args", "inner/deep"): ("true", "bool"),
    ("model", "layers/kind"): ("conv", "text"),
    ("model", "layers/widths"): ("[8,16]", "list"),
    ("data", "version"): ("v2", "text"),
}
COLUMNS = {
    "args/lr": ["0.5", "0.25"],
    "args/epochs": ["20", "20"],
    "args/inner/deep": ["true", "true"],
    "model/layers/kind": ["conv", "conv"],
    "data/version": ["v2", "v2"],
}


@pytest.fixture(scope="module")
def given(server: Server) -> str:
    """The short id of the first of two runs with parameters of every kind."""
    server.train(SCRIPT, "parameters")
    with server.api() as api:
        return next(run.id[:7] for run in server.ended(api, "parameters", 2) if run.name == "lr-0.5")


@pytest.mark.parametrize("screen", ["page", "phone_page"])
def test_parameters_stand_under_their_paths_with_their_types(
    server: Server, given: str, screen: str, request: pytest.FixtureRequest
) -> None:
    """T1."""
    opened: Page = request.getfixturevalue(screen)
    opened.goto(f"{server.address}/r/{given}/config")
    expect(opened.get_by_role("heading", name="args")).to_be_visible()
    expect(opened.locator(".type", has_text="float")).to_be_visible()

    found = opened.evaluate("""() => [...document.querySelectorAll('dd:has(.type)')].map(value => [
        value.closest('section').querySelector('h2').textContent, value.previousElementSibling.textContent,
        value.firstChild.textContent, value.querySelector('.type').textContent])""")

    assert {(head, path): (value, kind) for head, path, value, kind in found} == SHOWN


def test_each_parameter_can_be_a_column(server: Server, page: Page, given: str) -> None:
    """T1."""
    page.goto(f"{server.address}/p/parameters")
    expect(page.get_by_role("link", name="lr-0.25")).to_be_visible()
    page.get_by_role("button", name="Columns").click()
    chosen = page.get_by_role("menuitemcheckbox", checked=True)
    for left in range(chosen.count(), 0, -1):
        chosen.first.click()
        expect(chosen).to_have_count(left - 1)

    for path in COLUMNS:
        page.get_by_role("menuitemcheckbox", name=path, exact=True).click()
    page.keyboard.press("Escape")

    for place, (path, values) in enumerate(COLUMNS.items()):
        expect(page.get_by_role("columnheader", name=path)).to_be_visible()
        for name, value in zip(("lr-0.5", "lr-0.25"), values, strict=True):
            row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name))
            expect(row.get_by_role("cell").nth(3 + place)).to_have_text(value)
    page.reload()
    expect(page.get_by_role("columnheader", name="data/version")).to_be_visible()
    page.get_by_role("columnheader", name="args/lr").get_by_role("button").click()
    expect(page.locator("tbody tr").first).to_contain_text("lr-0.25")
    page.get_by_role("columnheader", name="args/lr").get_by_role("button").click()
    expect(page.locator("tbody tr").first).to_contain_text("lr-0.5")
