"""What happens in the training shows on a page that is open."""

import contextlib
import re
from pathlib import Path

import drawing
import psutil
from e2e_server import Server
from playwright.sync_api import Page, expect

from tests import pace


def soon_ms(limit_ms: float = 2_000) -> float:
    """So soon is live; on a machine that others fill, as much later as all else."""
    return limit_ms * pace.slowness()


def test_chart_moves_and_a_new_metric_gets_one_without_reload(
    server: Server, page: Page, project: str
) -> None:
    with server.driven(project) as trainer:
        trainer.log(0, loss=1.0)
        page.goto(f"{server.address}/r/{trainer.run_id[:7]}")
        value = page.get_by_role("figure", name="loss", exact=True).locator("output.value")
        expect(value).to_have_text("1")

        for step in range(1, 50):
            trainer.log(step, loss=1 / step)
        expect(value).to_have_text(re.compile("^0.0204"), timeout=soon_ms())
        trainer.log(50, loss=0.015625, accuracy=0.75)

        expect(value).to_have_text(re.compile("^0.0156"), timeout=soon_ms())
        expect(page.get_by_role("figure", name="accuracy").locator("output.value")).to_have_text(
            "0.75", timeout=soon_ms()
        )


def test_late_and_second_pages_show_the_whole_history(server: Server, page: Page, project: str) -> None:
    with server.driven(project) as trainer:
        for step in range(500):
            trainer.log(step, loss=float(step))
        second = page.context.new_page()
        for opened in (page, second):
            opened.goto(f"{server.address}/r/{trainer.run_id[:7]}")
            figure = opened.get_by_role("figure", name="loss", exact=True)
            expect(figure.locator("output.value")).to_have_text("499")
            # 500 points are drawn as about 250 places, each of which says the mean of its two.
            assert _reading(opened, 0.0)[1] in (0.0, 0.5)
            assert 245 < _reading(opened, 0.5)[0] < 255
        trainer.log(500, loss=7.0)
        for opened in (page, second):
            opened.mouse.move(0, 0)
            expect(
                opened.get_by_role("figure", name="loss", exact=True).locator("output.value")
            ).to_have_text("7", timeout=soon_ms())


def _reading(page: Page, share: float) -> tuple[float, float]:
    """Step and value under the cursor at a share of the width of the chart."""
    box = page.get_by_role("figure", name="loss", exact=True).locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 1 + share * (box["width"] - 2), box["y"] + box["height"] / 2)
    figure = page.get_by_role("figure", name="loss", exact=True)
    return float(figure.locator(".at").inner_text()), float(figure.locator("output.value").inner_text())


def test_console_shows_both_streams_and_logging_in_order(server: Server, page: Page, project: str) -> None:
    with server.driven(project) as trainer:
        trainer.log(0, loss=1.0)
        page.goto(f"{server.address}/r/{trainer.run_id[:7]}/console")
        trainer.do(print="from stdout")
        trainer.do(complain="from stderr")
        trainer.do(warn="from logging")
        trainer.do(print="\x1b[31mred\x1b[0m and \x1b[1mbold\x1b[0m")
        console = page.get_by_role("log", name="Console")

        expect(console).to_contain_text("red and bold", timeout=soon_ms(3_000))

        lines = [line for line in console.locator(".text").all_inner_texts() if line.strip()]
        wanted = ["from stdout", "from stderr", "WARNING:root:from logging", "red and bold"]
        assert [line for line in lines if any(part in line for part in wanted)] == wanted
        assert "\x1b" not in console.inner_text()


def test_project_page_shows_a_run_that_starts_while_it_is_open(
    server: Server, page: Page, project: str
) -> None:
    with server.driven(project, name="first") as first:
        first.log(0, loss=1.0)
        page.goto(f"{server.address}/p/{project}")
        expect(page.get_by_role("link", name="first")).to_be_visible()
        with server.driven(project, name="second") as second:
            second.log(0, loss=2.0)

            expect(page.get_by_role("link", name="second")).to_be_visible(timeout=soon_ms(5_000))


def test_page_opened_at_step_500_shows_every_point_and_training_is_one_process(
    server: Server, page: Page, project: str, tmp_path: Path
) -> None:
    """A viewer costs the training nothing: no process more, and a late one sees what an early one saw."""
    with server.driven(project) as trainer:
        page.goto(f"{server.address}/r/{trainer.run_id[:7]}")
        for step in range(500):
            trainer.log(step, loss=float(step * step % 97))
        before = _trainers(server)
        second = page.context.new_page()
        second.goto(
            f"{server.address}/r/{trainer.run_id[:7]}?full=loss"
        )  # large enough for a place per point
        whole = second.get_by_role("dialog").get_by_role("figure", name="loss", exact=True)
        expect(whole.locator("output.value")).to_have_text(str(499 * 499 % 97))

        drawn = drawing.read(whole, tmp_path)
        with server.api() as api:
            assert api.run(trainer.run_id).series("loss").steps.tolist() == list(range(500))
        (points,) = drawn.points(drawn.lines()[0])
        assert [round(x) for x, _ in points] == list(range(500))
        assert [round(y) for _, y in points] == [step * step % 97 for step in range(500)]
        assert before == _trainers(server) == [trainer.process.pid]
        second.close()


def _trainers(server: Server) -> list[int]:
    """Processes of this server's training scripts."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if any(word.startswith(str(server.folder / "train-")) for word in words):
                found.append(process.pid)
    return sorted(found)
