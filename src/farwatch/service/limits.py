"""What one run may take, and what a full disk refuses."""

import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from farwatch.clock import Clock
from farwatch.errors import BusyError, DiskFullError, LimitError
from farwatch.settings import Settings
from farwatch.store.base import Store

DISK_US = 1_000_000  # the disk is looked at once a second
PROJECT_US = 5_000_000
RUNS_KEPT = 1_000
MINUTE_US = 60_000_000


@dataclass(slots=True)
class _Names:
    """Names of a run. `minute_us`: when the current minute began; `fresh`: names that came in it."""

    known: set[str]
    minute_us: int = 0
    fresh: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Limits:
    """Quotas of ingest. *Threads*: any. `folder`: where the disk is looked at, None for nowhere."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._names: OrderedDict[str, _Names] = OrderedDict()
        self._lock = threading.Lock()
        self._looked_us = -DISK_US
        self._free_percent = 100.0
        self._projects: dict[str, tuple[int, int]] = {}  # project -> (when it was measured, its bytes)
        self.folder: Path | None = Path(settings.data) if settings.data else getattr(store, "folder", None)

    def check_disk(self) -> None:
        """Raises `DiskFullError` while less than `disk_stop_percent` of the disk is free."""
        now_us = self._clock.mono_us()
        if self.folder is not None and now_us - self._looked_us >= DISK_US:
            self._looked_us = now_us
            try:
                usage = shutil.disk_usage(self.folder)
            except OSError:
                return
            self._free_percent = 100.0 * usage.free / max(usage.total, 1)
        if self._free_percent < self._settings.disk_stop_percent:
            raise DiskFullError(
                f"the server's disk has {self._free_percent:.1f} % left and takes nothing",
                hint="free space on the server; journals wait on their machines",
                retry_after_s=30.0,
            )

    def check_project(self, project: str, measure: Callable[[str], int]) -> None:
        """Raises `DiskFullError` for a project that takes more disk than it may."""
        limit = self._settings.project_max_bytes
        if not limit:
            return
        now_us = self._clock.mono_us()
        when, size = self._projects.get(project, (-PROJECT_US, 0))
        if now_us - when >= PROJECT_US:
            size = measure(project)
            self._projects[project] = (now_us, size)
        if size >= limit:
            raise DiskFullError(
                f"the project `{project}` has {size:,} of {limit:,} bytes and takes nothing more",
                hint="delete runs, or raise `project_max_bytes`; journals wait on their machines",
                retry_after_s=60.0,
            )

    def check_names(self, run: str, names: Iterable[str]) -> None:
        """Raises `LimitError` for a run with too many metrics, `BusyError` for one whose metrics come too fast."""
        held = self._of(run)
        with held.lock:
            fresh = sum(name not in held.known for name in names)
            if not fresh:
                return
            total = len(held.known) + fresh
            now_us = self._clock.mono_us()
            recent = held.fresh if now_us - held.minute_us < MINUTE_US else 0
        if total > self._settings.names_per_run:
            raise LimitError(
                f"a run may have {self._settings.names_per_run} metrics, this one would have {total}",
                hint="names with a number in them, such as a step, are often a mistake",
            )
        if recent and recent + fresh > self._settings.names_per_minute:
            left_s = max(1.0, (MINUTE_US - (now_us - held.minute_us)) / 1e6)
            raise BusyError(
                f"more than {self._settings.names_per_minute} new metrics in a minute",
                hint="its journal waits",
                retry_after_s=left_s,
            )

    def note(self, run: str, names: Iterable[str]) -> None:
        """Count the names of a batch that was kept."""
        held = self._of(run)
        with held.lock:
            before = len(held.known)
            held.known.update(names)
            fresh = len(held.known) - before
            if fresh:
                now_us = self._clock.mono_us()
                if now_us - held.minute_us >= MINUTE_US:
                    held.minute_us, held.fresh = now_us, 0
                held.fresh += fresh

    def _of(self, run: str) -> _Names:
        with self._lock:
            held = self._names.get(run)
            if held is not None:
                self._names.move_to_end(run)
                return held
        known = {info.key.name for info in self._store.series(run)}
        with self._lock:
            held = self._names.setdefault(run, _Names(known))
            while len(self._names) > RUNS_KEPT:
                self._names.popitem(last=False)
            return held
