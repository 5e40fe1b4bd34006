"""Who is told of what: rules of batches and changed runs, readers of changed alerts."""

from typing import Protocol

from farwatch.errors import NotFoundError
from farwatch.service.alerts.engine import Engine
from farwatch.service.alerts.register import Register
from farwatch.service.alerts.views import AlertViews
from farwatch.service.hub import Hub
from farwatch.service.runs import RunRow, Runs
from farwatch.store.base import Decoded, Writer
from farwatch.store.meta import AlertRow


class Follower(Protocol):
    """Who wants to know of committed batches and changed runs. Must not wait."""

    def publish(self, writer: Writer, decoded: Decoded) -> None: ...

    def touch(self, run_id: str) -> None: ...


class Told:
    """Stands where ingest and liveness expect a hub: readers hear first, rules and other `listeners` look when they have time."""

    def __init__(self, hub: Hub, engine: Engine) -> None:
        self._hub = hub
        self._engine = engine
        self.listeners: list[Follower] = []

    def publish(self, seq: int, writer: Writer, decoded: Decoded) -> None:
        self._hub.publish(seq, writer, decoded)
        self._engine.publish(seq, writer, decoded)
        for listener in self.listeners:
            listener.publish(writer, decoded)

    def touch(self, run_id: str) -> None:
        self._hub.touch(run_id)
        self._engine.touch(run_id)
        for listener in self.listeners:
            listener.touch(run_id)


class Listener(Protocol):
    """Who wants to know that an alert has changed: `what` is as in `Register`. Must not wait."""

    def __call__(self, row: AlertRow, what: str) -> None: ...


class Announcer:
    """Tells readers of the live stream, and whoever else listens, what has become of an alert."""

    def __init__(self, hub: Hub, runs: Runs, views: AlertViews, register: Register) -> None:
        self._register = register
        self._hub = hub
        self._runs = runs
        self._views = views
        self.listeners: list[Listener] = []

    def show(self, row: AlertRow) -> RunRow | None:
        """Tell readers how an alert is now; returns its run."""
        run = None if row.run_no is None else self._runs.meta.run(row.run_no)
        self._hub.alert(None if run is None else run.id, None if run is None else run.project, self._views.row(row))
        return run

    def look(self, number: int) -> None:
        """Tell readers that it has become known whom an alert has reached."""
        try:
            self.show(self._register.get(number))
        except NotFoundError:
            pass  # it healed before it rang, or went with its run

    def __call__(self, row: AlertRow, what: str) -> None:
        run = self.show(row)
        if run is not None:
            self._hub.touch(run.id)
        for listener in self.listeners:
            listener(row, what)
