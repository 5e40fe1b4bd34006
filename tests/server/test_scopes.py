"""Who may read and not steer: every way to change a run answers 403, and nothing happens; the link that they were given shows the run."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from chatting import Ended, Environed
from serving import Running
from writing import Feeder

from farwatch.api import Api
from farwatch.errors import ForbiddenError
from farwatch.server.app import ENDPOINTS

CHANGING = [one for one in ENDPOINTS if one.scope in ("steer", "start") and one.method != "GET" and not one.path.startswith("/chats")]
READ_ONLY = (
    "from farwatch.service.access import Access, Actor\n"
    "Access.owner_actor = lambda self, via: Actor(self.owner, frozenset({'read'}), via, 'reader')"
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """A server with one run, on which whoever proves to be its owner may only read."""
    server = Running(tmp_path_factory.mktemp("scopes") / "state")
    server.start()
    feeder = Feeder(server, "digits", "heron")
    server.stop()
    limited = Environed(server.folder, before=READ_ONLY)
    with contextlib.closing(Ended(limited)):
        limited.start()
        yield limited, str(feeder.run)


@pytest.mark.parametrize("endpoint", CHANGING, ids=lambda one: f"{one.method} {one.path}")
def test_who_lacks_the_scope_changes_nothing(reader: tuple[Running, str], endpoint: Any) -> None:
    server, run = reader
    path = endpoint.path.format(ref=run, id="1", project="digits", machine="box", profile="train")

    reply = server.api(endpoint.method, path, {"op": "stop"} if endpoint.body is not None else None)

    assert (reply.status, reply.code) == (403, "forbidden")
    assert f"`{endpoint.scope}`" in reply.json["error"]["message"]
    assert server.api("GET", f"/runs/{run}/commands").json["commands"] == []


def test_api_that_may_only_read_reads_and_refuses_to_change_with_a_clear_error(reader: tuple[Running, str]) -> None:
    """O2: an `Api` without the scope refuses writes, and says which scope is lacking."""
    server, run = reader
    with Api(server.told["address"], token=json.loads((server.folder / "server.json").read_text())["secret"]) as api:
        assert api.run(run).name
        for change in (lambda: api.run(run).stop(), lambda: api.run(run).set("lr", 0.1), lambda: api.set_rules({"nan": {"on": False}})):
            with pytest.raises(ForbiddenError, match="this needs the scope: `steer`"):
                change()


def test_link_opened_without_the_scope_shows_the_run(reader: tuple[Running, str]) -> None:
    server, run = reader

    assert server.api("GET", f"/runs/{run}").json["name"]
