"""Runs are found, described and put away from anywhere."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from farwatch.api import Api
from farwatch.errors import ContactError, ForbiddenError, NotFoundError, QueryError
from farwatch.settings import load
from tests.api.conftest import Feeder


def _seed(feed: Feeder, project: str) -> list[str]:
    """Six runs with accuracies 0.85 … 0.95, every other one tagged; their names."""
    names = []
    for index in range(6):
        accuracy = round(0.85 + 0.02 * index, 2)
        feed.run(
            project, name=f"run-{index}", tags=["x"] if index % 2 else [], config={"opt": {"lr": 10.0**-index}},
            points=[{"step": 0, "metrics": {"acc": 0.5}}, {"step": 1, "metrics": {"acc": accuracy}}],
        )  # fmt: skip
        names.append(f"run-{index}")
    return names


def test_query_returns_exactly_the_matching_rows_in_order(api: Api, feed: Feeder) -> None:
    _seed(feed, "query")

    found = api.runs(
        "query",
        where='summary.acc >= 0.9 and "x" in tags',
        sort="-summary.acc",
        columns=["config.opt/lr", "summary.acc.max"],
    )

    assert [run.name for run in found] == ["run-5", "run-3"]
    assert (found.columns, found.cells) == (
        ["config.opt/lr", "summary.acc.max"],
        [[1e-5, 0.95], [1e-3, 0.91]],
    )
    assert found.total == 2
    frame = found.to_pandas()
    assert frame["name"].tolist() == ["run-5", "run-3"]
    assert frame["summary.acc.max"].tolist() == [0.95, 0.91]
    assert str(frame["created"].dt.tz) == "UTC"


def test_limit_and_pages_give_every_run_once(api: Api, feed: Feeder, monkeypatch: pytest.MonkeyPatch) -> None:
    names = _seed(feed, "pages")
    monkeypatch.setattr("farwatch.api.runs.PAGE", 4)

    assert sorted(run.name for run in api.runs("pages")) == names
    limited = api.runs("pages", sort="created", limit=5)
    assert ([run.name for run in limited], limited.total) == (names[:5], 6)


@pytest.mark.parametrize("where", ["summary.acc >=", "__import__('os')", "acc === 3", "("])
def test_wrong_query_gives_a_readable_error(api: Api, feed: Feeder, where: str) -> None:
    with pytest.raises(QueryError) as caught:
        api.runs("query", where=where)

    assert len(str(caught.value)) > 10


def test_run_is_found_by_id_by_its_letters_and_by_number(api: Api, feed: Feeder) -> None:
    made = feed.run("found", name="one")

    assert {api.run(ref).id for ref in (made.id, made.id[:7], "found#1")} == {made.id}
    with pytest.raises(NotFoundError, match="no"):
        api.run("found#99")


def test_description_is_changed_and_read_back(api: Api, feed: Feeder) -> None:
    run = feed.run("described", config={"opt": {"lr": 0.1}, "layers": [1, 2], "bad": "NaN"})

    run.name, run.notes = "better", "twice as good"
    run.tags.add("a", "b")
    run.tags.remove("a")

    again = api.run(run.id)
    assert (again.name, again.notes, list(again.tags), again.state) == (
        "better",
        "twice as good",
        ["b"],
        "finished",
    )
    assert again.config["opt"] == {"lr": 0.1}
    assert again.config["layers"] == [1, 2]
    assert "b" in run.tags and len(run.tags) == 1


def test_archived_run_is_hidden_and_deleted_one_comes_back(api: Api, feed: Feeder) -> None:
    run = feed.run("away", points=[{"step": 1, "metrics": {"loss": 0.25}}])

    run.archive()
    assert len(api.runs("away")) == 0
    assert len(api.runs("away", archived=True)) == 1
    run.archive(False)
    run.delete()
    assert len(api.runs("away")) == 0
    run.undelete()
    assert [found.id for found in api.runs("away")] == [run.id]
    assert run.series("loss").values.tolist() == [0.25]


def test_no_server_is_said_with_what_to_do(tmp_path: object) -> None:
    with pytest.raises(ContactError, match="farwatch serve"):
        Api(settings=load({"FARWATCH_DIR": str(tmp_path)}))


class _ReadOnly(BaseHTTPRequestHandler):
    """A server that answers reading and refuses a change, as one does to a read token."""

    def do_GET(self) -> None:
        self._answer(
            200,
            b'{"id": "abc", "short": "abc", "name": "n", "project": "p", "number": 1, "tags": [], "state": "running"}',
        )

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(
            403,
            b'{"error": {"code": "forbidden", "message": "this token may only read", "hint": "ask for log", "id": "x"}}',
        )

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the test speaks through its assertions."""


def test_read_token_is_refused_with_a_clear_error() -> None:
    with HTTPServer(("127.0.0.1", 0), _ReadOnly) as server:
        threading.Thread(target=server.serve_forever, name="read-only", daemon=True).start()
        with Api(f"http://127.0.0.1:{server.server_port}", token="fw_read") as api:
            run = api.run("abc")

            with pytest.raises(ForbiddenError, match="may only read"):
                run.tags.add("x")
        server.shutdown()
