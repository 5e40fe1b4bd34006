"""Everything behind the routes of one server, opened in order and closed in the reverse order."""

import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farwatch.bridges.office import Office, Parts
from farwatch.clock import Clock
from farwatch.errors import GapError, UsageError
from farwatch.server.feed import Feed
from farwatch.server.spool import Uploads
from farwatch.service.access import Access
from farwatch.service.alerts import Engine, Register, RuleBook
from farwatch.service.alerts.telling import Announcer, Told
from farwatch.service.alerts.views import AlertViews
from farwatch.service.charts import Charts
from farwatch.service.hub import Hub
from farwatch.service.ingest import Ingest, not_yet
from farwatch.service.launching import Launching
from farwatch.service.liveness import Liveness
from farwatch.service.people import People
from farwatch.service.people_views import PeopleViews
from farwatch.service.runs import Runs
from farwatch.service.steer import Steer
from farwatch.settings import Settings, environment
from farwatch.store.base import Store
from farwatch.store.blobs import Blobs, FolderBlobs
from farwatch.store.meta import Meta
from farwatch.store.sqlite import open_store

READERS = 4
WRITERS = 8
SERVER_ID = "server.id"


@dataclass(slots=True)
class Services:
    """What handlers use. `readers`: threads for queries. `writers`: threads that unpack batches and store files."""

    settings: Settings
    clock: Clock
    access: Access
    store: Store
    runs: Runs
    ingest: Ingest
    liveness: Liveness
    hub: Hub
    charts: Charts
    steer: Steer
    launching: Launching
    alerts: Register
    alert_views: AlertViews
    rules: RuleBook
    people: People
    people_views: PeopleViews
    office: Office
    blobs: Blobs
    uploads: Uploads
    feed: Feed
    data: Path
    server_id: str
    version: str
    address: str
    batches_open: int = 0  # all three are counted on the loop only
    charts_open: int = 0
    cells_open: int = 0
    closers: list[Callable[[], object]] = field(default_factory=list)
    readers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(READERS, "farwatch-read"))
    writers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(WRITERS, "farwatch-write"))

    def error_context(self, error: BaseException) -> dict[str, Any]:
        """What stands beside an error in its answer."""
        return {"epoch": self.store.epoch} if isinstance(error, GapError) else {}

    def wake_waiting(self) -> None:
        """Answer those who wait for news, so that an end need not wait for them. On the loop."""
        self.hub.close()
        self.steer.bell.close()
        self.office.board.hurry()

    def close(self) -> None:
        """Finish what has begun, write what is in memory, release everything; may be called twice."""
        self.writers.shutdown()
        self.readers.shutdown()
        while self.closers:
            self.closers.pop()()


def prepare_data(folder: Path) -> str:
    """Make the data folder if need be and return the id of the server that lives in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / SERVER_ID
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        server_id = path.read_text().strip()
        if not server_id:
            raise UsageError(f"an empty file where the server's id should be: `{path}`") from None
        return server_id
    with os.fdopen(handle, "w") as file:
        server_id = secrets.token_hex(8)
        file.write(server_id + "\n")
    return server_id


def open_services(
    settings: Settings, data: Path, access: Access, address: str, version: str, clock: Clock
) -> Services:
    """Open everything in `data`. Raises `DataError` if another server uses it, or if it was written by a newer one."""
    server_id = prepare_data(data)
    closers: list[Callable[[], object]] = []
    try:
        store = open_store(data, settings, clock, guard=not_yet)
        closers.append(store.close)
        meta = Meta(data / "meta.db", clock)
        closers.append(meta.close)
        runs = Runs(meta, store, settings, clock)
        runs.base_url = settings.url or address
        hub = Hub(store.epoch, store.seq, runs.row, settings, clock, console_base=runs.console_base)
        steer = Steer(meta, runs, settings, clock)
        steer.on_change = hub.touch
        alerts, rules = Register(meta, clock), RuleBook(meta)
        engine = Engine(runs, rules, alerts, settings, clock)
        engine.submit = steer.submit_for
        told = Told(hub, engine)
        runs.on_change = told.touch
        ingest = Ingest(store, meta, runs, told, settings, clock)
        ingest.on_commands = steer.heard
        closers.append(ingest.close)
        people = People(meta, clock, owner=access.owner)
        people_views = PeopleViews(people, meta)
        alert_views = AlertViews(runs, alerts.now_ms, people_views.told)
        announcer = alerts.on_change = Announcer(hub, runs, alert_views, alerts)
        closers.append(engine.close)  # before ingest: it writes what it has found
        blobs = FolderBlobs(data / "blobs")
        runs.drop_blob = blobs.delete
        charts, launching = Charts(store, runs, lambda: hub.seq), Launching(steer, meta, runs, clock)
        office = Office(
            Parts(meta, runs, steer, launching, alerts, alert_views, rules, charts, blobs, people, settings, clock), data, environment()
        )
        announcer.listeners.append(office.alarms.changed)
        office.on_told = announcer.look
        told.listeners.append(office.reporter)
        closers.append(office.close)  # before everything that it asks
        engine.start()
        office.start()
        return Services(
            settings=settings,
            clock=clock,
            access=access,
            store=store,
            runs=runs,
            ingest=ingest,
            hub=hub,
            blobs=blobs,
            data=data,
            liveness=Liveness(meta, runs, told, settings, clock),
            alerts=alerts,
            alert_views=alert_views,
            rules=rules,
            people=people,
            people_views=people_views,
            office=office,
            charts=charts,
            steer=steer,
            launching=launching,
            uploads=Uploads(data, blobs, runs.spooled, settings),
            feed=Feed(runs, store, ingest, settings, clock),
            server_id=server_id,
            version=version,
            address=address,
            closers=closers,
        )
    except BaseException:
        while closers:
            closers.pop()()
        raise
