"""A server from this checkout, fed over HTTP as `curl` would."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from e2e_server import Server

from farwatch.api import Api, Run

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("api")
    folder.chmod(0o700)
    running = Server(Path(sys.executable), folder, python_path=str(SOURCE))
    running.start()
    yield running
    running.close()


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    with server.api() as opened:
        yield opened


class Feeder:
    """Makes runs through the routes for plain HTTP."""

    def __init__(self, api: Api) -> None:
        self._contact = api._contact

    def run(
        self, project: str, *, points: Sequence[Mapping[str, Any]] = (), config: Mapping[str, Any] | None = None, tags: Sequence[str] = (),
        name: str | None = None, finish: str | None = "finished",
    ) -> Run:  # fmt: skip
        """A run with points `{"step", "metrics", "time_ms"}`; `finish`: its final state, None to leave it open."""
        body = {"project": project, "config": dict(config or {}), "tags": list(tags), "name": name}
        made = self._contact.send(
            "POST", "/runs", {key: value for key, value in body.items() if value is not None}
        )
        run_id = made.get("id") or made["run"]
        if points:
            self._contact._transport().request("POST", f"/runs/{run_id}/log", list(points))
        if finish:
            self._contact.send("POST", f"/runs/{run_id}/finish", {"state": finish, "reason": ""})
        return Run(self._contact, run_id, self._contact.get(f"/runs/{run_id}"), complete=True)


@pytest.fixture
def feed(api: Api) -> Feeder:
    return Feeder(api)
