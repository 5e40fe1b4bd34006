"""A copy of the server's folder, started elsewhere, shows what the first one showed."""

from pathlib import Path
from typing import Any

from e2e_server import Server
from playwright.sync_api import Browser, Response, expect

SCRIPT = """
import math, farwatch
for lr in (0.5, 0.25):
    with farwatch.init(project="moving", name=f"lr-{lr}", config={"lr": lr}, tags=["kept"], system=False) as run:
        for step in range(300):
            run.log({"loss": math.exp(-lr * step / 50), "wave": math.sin(step / 9)}, step=step)
"""


def test_copy_of_the_folder_shows_the_same_pages(
    own_server: Server, browser: Browser, tmp_path: Path
) -> None:
    """U6."""
    own_server.train(SCRIPT)
    with own_server.api() as api:
        run = next(run.id[:7] for run in own_server.ended(api, "moving", 2) if run.name == "lr-0.5")
    before = _seen(own_server, browser, run)
    copied = own_server.command("backup", str(tmp_path / "copy"))
    own_server.close()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    restored = own_server.command("restore", str(tmp_path / "copy"), "--data", str(elsewhere / "server"))
    assert (copied.returncode, restored.returncode) == (0, 0), copied.stderr + restored.stderr

    moved = Server(own_server.python, elsewhere)
    moved.start()
    try:
        after = _seen(moved, browser, run)
    finally:
        moved.close()

    assert after == before
    assert before["r"]["charts"] and "lr-0.25" in before["p"]["text"]


def _seen(server: Server, browser: Browser, run: str) -> dict[str, Any]:
    """Text and chart data of the page of the project and of that of a run."""
    seen: dict[str, Any] = {}
    for kind, place in (("p", "p/moving"), ("r", f"r/{run}")):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        with page.expect_response(_of_both) as heard:
            page.goto(f"{server.address}/{place}")
        expect(page.locator(".u-over")).to_have_count(2)
        asked = heard.value.request.post_data_json
        answer = page.request.post(heard.value.url, data=asked, headers={"Accept": "application/json"}).json()
        charts = {key: value for key, value in answer.items() if key != "meta"}
        seen[kind] = {"text": page.locator("body").inner_text(), "asked": asked, "charts": charts}
        page.close()
    return seen


def _of_both(answer: Response) -> bool:
    """Whether this is what both charts of a page are drawn from."""
    return answer.url.endswith("/api/v1/charts") and all(
        f'"{name}"' in (answer.request.post_data or "") for name in ("loss", "wave")
    )
