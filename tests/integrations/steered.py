"""A person at a real server, who asks things of a run that trains in this process."""

import contextlib
import time
from typing import Any

from e2e_server import Server, wait_until

from farwatch.agent.transport import HttpTransport
from farwatch.errors import NotFoundError
from farwatch.servers import find_server
from farwatch.settings import load


class Person:
    """Asks by `POST /runs/{id}/commands`, and looks at what became of it."""

    def __init__(self, server: Server) -> None:
        found = find_server(load({"FARWATCH_DIR": str(server.folder)}))
        assert found is not None
        self._http = HttpTransport(*found)

    def ask(self, run_id: str, op: str, **args: Any) -> str:
        """Ask, and wait until it lies in the run's inbox: the next safe point takes it."""
        self.detail(run_id)
        row = self._http.request("POST", f"/runs/{run_id}/commands", {"op": op, "args": args, "confirm": True}).json()
        wait_until(lambda: self._arrived(row["id"]), f"{op} is delivered")
        return str(row["id"])

    def ended(self, command: str) -> dict[str, Any]:
        """The command, when it has come to its end."""
        deadline = time.monotonic() + 30
        while True:
            row: dict[str, Any] = self._http.request("GET", f"/commands/{command}?wait_s=5").json()
            if row["state"] != "pending":
                return row
            assert time.monotonic() < deadline, f"{command} is still pending"

    def detail(self, run_id: str) -> dict[str, Any]:
        """The run as its page gets it, once the server knows what may be done with it."""
        found: dict[str, Any] = {}

        def known() -> bool:
            with contextlib.suppress(NotFoundError):
                found.update(self._http.request("GET", f"/runs/{run_id}").json())
            return bool(found) and bool(found["steer"]["hooks"])

        wait_until(known, f"the server knows {run_id}")
        return found

    def close(self) -> None:
        """Ask no more."""
        self._http.close()

    def _arrived(self, command: str) -> bool:
        """Whether it is in the inbox; or done already, of which the journal may tell before the agent tells of the delivery."""
        row: dict[str, Any] = self._http.request("GET", f"/commands/{command}").json()
        return row["delivered_ms"] is not None or row["state"] != "pending"
