"""Whatever a program writes is text on every page: no tag of it becomes one, no script of it runs, no statement of it is SQL."""

import urllib.parse

from e2e_server import Server
from playwright.sync_api import Page, expect

TAG = "<img src=x onerror=window.pwned=1>"
SQL = "'); DROP TABLE run; --"
SCRIPT = """
import logging, pathlib, sys, farwatch

tag, sql = sys.argv[2], sys.argv[3]
run = farwatch.init(
    project=sys.argv[1], name=tag + "name", notes=tag + sql + "notes", tags=[tag + "tag", sql], group=tag + "group", job_type=tag,
    config={tag + "key": tag + "value", "sql": sql, "deep": {sql: [tag, sql]}}, system=False,
)
for step in range(3):
    run.log({tag + "metric": step, sql: 2.0 * step, tag + "section/loss": 0.5}, step=step)
run.define_metric(tag + "metric", unit=tag)
run.log({
    "text": tag + sql, tag + "said": tag,
    "picture": farwatch.Image([[0, 255], [255, 0]], caption=tag + "caption"),
    "table": farwatch.Table([[tag + "cell", sql]], columns=[tag + "column", sql]),
    "page": farwatch.Html(tag + "<script>parent.pwned = 1; top.pwned = 1</script>"),
}, step=3)
kept = pathlib.Path(tag + "file.txt")
kept.write_text(tag)
run.save(str(kept).replace("[", "[[]"))
print(tag + "printed", sql)
logging.warning(tag + "logged")
run.alert(tag + "alert", tag + sql, level="error")
run.notify(tag + "message")
run.wait(20)
raise RuntimeError(tag + "raised" + sql)
"""


def test_tags_and_statements_in_every_field_are_shown_as_text(server: Server, page: Page, project: str) -> None:
    hostile = f"{project[:20]} {TAG}"
    trainer = server.training(SCRIPT, hostile, TAG, SQL)
    _, errors = trainer.communicate(timeout=120)
    assert trainer.returncode == 1 and f"RuntimeError: {TAG}raised" in errors, errors
    with server.api() as api:
        run = server.ended(api, hostile)[0]
        assert (run.name, run.notes, run.project) == (TAG + "name", TAG + SQL + "notes", hostile)
        assert run.config == {TAG + "key": TAG + "value", "sql": SQL, "deep": {SQL: [TAG, SQL]}}
        assert {TAG + "metric", SQL, TAG + "section/loss"} <= set(run.metrics())
        assert run.reason == f"RuntimeError: {TAG}raised{SQL}"
        listed = [found.id for found in api.runs(hostile)]
    assert listed == [run.id]

    shown = {
        "": [hostile],
        f"r/{run.id[:7]}": [TAG + "name", TAG + "metric", SQL],
        f"r/{run.id[:7]}/samples": [TAG + "caption", TAG + "cell", TAG + "column", TAG + SQL],
        f"r/{run.id[:7]}/console": [TAG + "printed", TAG + "logged"],
        f"r/{run.id[:7]}/config": [TAG + "key", TAG + "value", SQL],
        f"r/{run.id[:7]}/files": [TAG + "file.txt"],
        f"r/{run.id[:7]}/history": [TAG + "raised" + SQL],
        "alerts": [TAG + "alert"],
    }
    for place, texts in shown.items():
        page.goto(f"{server.address}/{place}")
        for text in texts:
            expect(page.locator("body")).to_contain_text(text)
        _untouched(page)
    page.goto(f"{server.address}/p/{urllib.parse.quote(hostile)}")
    expect(page.get_by_role("link", name=TAG + "name").first).to_be_visible()
    expect(page.get_by_role("figure").first).to_be_visible()
    page.get_by_placeholder("Find, or a condition").fill("'no such tag' in tags")
    expect(page.get_by_text("No run matches.")).to_be_visible()
    page.get_by_placeholder("Find, or a condition").fill(f'"{SQL}" in tags')
    expect(page.get_by_role("link", name=TAG + "name").first).to_be_visible()
    _untouched(page)


# What the frame of the logged page tries, and is not let.
test_tags_and_statements_in_every_field_are_shown_as_text.expected_troubles = r"Content Security Policy|cross-origin frame"  # type: ignore[attr-defined]


def _untouched(page: Page) -> None:
    """Nothing of the texts became a part of the page."""
    assert page.evaluate("window.pwned ?? null") is None
    assert page.locator("[onerror], img[src='x'], body script:not([src])").count() == 0
