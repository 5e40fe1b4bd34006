"""Several processes of one run: their machine metrics, and their lines as they come."""

import contextlib
import json
import re
from typing import Any

from e2e_server import Server, wait_until
from playwright.sync_api import Browser, Page, Route, expect

from farwatch.api import Api
from farwatch.errors import NotFoundError

PROCESS = """
import json, os, sys, time
import farwatch

run = farwatch.init(**json.loads(sys.argv[1]))
print(run.id, file=sys.__stdout__, flush=True)
for line in sys.stdin:
    for step in range(*json.loads(line)):
        run.log({"loss": step + 10.0 * run.rank}, step=step)
    print("done", file=sys.__stdout__, flush=True)
run.finish()
"""


class Ranks:
    """Two processes of one run, as a launcher starts them."""

    def __init__(self, server: Server, project: str, **more: Any) -> None:
        run_id = f"two-{project}"[:60]
        self.processes = [
            server.training(
                PROCESS, json.dumps({"project": project, "id": run_id, "console": False, **more}),
                environment={"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "FARWATCH_SAMPLE_S": "0.5",
                             "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
            )
            for rank in range(2)
        ]  # fmt: skip
        self.run_id, _ = (self._line(rank) for rank in range(2))

    def _line(self, rank: int) -> str:
        out = self.processes[rank].stdout
        assert out is not None
        line = out.readline().strip()
        assert line, self.processes[rank].communicate()[1]
        return line

    def log(self, rank: int, first: int, end: int) -> None:
        """Let a process log the steps from `first` up to `end`."""
        into = self.processes[rank].stdin
        assert into is not None
        into.write(json.dumps([first, end]) + "\n")
        into.flush()
        assert self._line(rank) == "done"

    def end(self) -> None:
        for process in self.processes:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors


def test_each_process_has_cpu_and_memory_of_its_own_on_the_system_tab(
    own_server: Server, browser: Browser, project: str
) -> None:
    ranks = Ranks(own_server, project, system=True)
    names = ("system/process/cpu", "system/process/memory_bytes")
    with own_server.api() as api:
        wait_until(
            lambda: all(_count(api, ranks.run_id, name, rank) >= 2 for name in names for rank in range(2)),
            "two points of CPU and memory of each process",
            25,
        )
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    page.goto(f"{own_server.address}/r/{ranks.run_id}/system")

    for title in ("process/cpu", "process/memory"):
        figure = page.get_by_role("figure", name=title)
        expect(figure.get_by_role("listitem")).to_have_count(2)
        for rank in range(2):
            entry = figure.get_by_role("listitem").filter(has_text=f"rank {rank}")
            expect(entry.locator("output").first).to_have_text(re.compile(r"\d"))
    page.screenshot(path="build/e2e/two-processes.png")
    assert troubles == []
    context.close()
    ranks.end()
    with own_server.api() as api:
        assert "GPU" not in (own_server.folder / "server.log").read_text()
        wait_until(lambda: api.run(ranks.run_id).state == "finished", "the run has ended")


def _count(api: Api, run_id: str, name: str, rank: int) -> int:
    """How many points of a process the server has."""
    with contextlib.suppress(NotFoundError):
        return len(api.run(run_id).series(name, rank=rank).values)
    return 0


def test_lines_of_all_ranks_move_without_being_asked_for_again(
    server: Server, page: Page, project: str
) -> None:
    ranks = Ranks(server, project, system=False)
    for rank in range(2):
        ranks.log(rank, 0, 10)
    with server.api() as api:
        wait_until(
            lambda: all(_count(api, ranks.run_id, "loss", rank) == 10 for rank in range(2)), "both have logged"
        )
    asked: list[str] = []

    def count(route: Route) -> None:
        asked.append(route.request.post_data or "")
        route.continue_()

    page.route("**/api/v1/charts", count)
    page.goto(f"{server.address}/r/{ranks.run_id}?ranks=all")
    figure = page.get_by_role("figure", name="loss", exact=True)
    values = [figure.get_by_role("listitem").filter(has_text=f"rank {rank}").locator("output") for rank in range(2)]
    expect(values[0]).to_have_text("9")
    expect(values[1]).to_have_text("19")
    before = len(asked)

    for step in range(10, 30):
        for rank in range(2):
            ranks.log(rank, step, step + 1)
    expect(values[0]).to_have_text("29")
    expect(values[1]).to_have_text("39")
    assert len(asked) - before <= 1, asked[before:]

    page.get_by_title("Processes").select_option("mean of ranks")
    mean = figure.locator("output.value")
    expect(mean).to_have_text("34")
    before = len(asked)
    ranks.log(0, 30, 32)
    ranks.log(1, 30, 31)
    expect(mean).to_have_text("35")  # step 31 waits for the other
    ranks.log(1, 31, 32)
    expect(mean).to_have_text("36")
    assert len(asked) - before <= 1, asked[before:]
    ranks.end()
