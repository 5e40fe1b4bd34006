"""What one run may take, and what a full disk refuses."""

import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

from farwatch.clock import Clock
from farwatch.errors import BusyError, DiskFullError, LimitError
from farwatch.service.names import Names
from farwatch.settings import Settings
from farwatch.store.base import Store

DISK_US = 1_000_000  # the disk is looked at once a second
PROJECT_US = 5_000_000
RUNS_KEPT = 1_000
MINUTE_US = 60_000_000


class Limits:
    """Quotas of ingest. *Threads*: any. `folder`: where the disk is looked at, None for nowhere."""

    def __init__(self, store: Store, names: Names, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._names = names
        self._minutes: OrderedDict[str, tuple[int, int]] = (
            OrderedDict()
        )  # run -> (begin of the minute, new names in it)
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
        fresh, known = self._names.fresh(run, names)
        if not fresh:
            return
        if known + fresh > self._settings.names_per_run:
            raise LimitError(
                f"a run may have {self._settings.names_per_run} metrics, this one would have {known + fresh}",
                hint="names with a number in them, such as a step, are often a mistake",
            )
        now_us = self._clock.mono_us()
        since_us, recent = self._minutes.get(run, (now_us, 0))
        if now_us - since_us < MINUTE_US and recent and recent + fresh > self._settings.names_per_minute:
            raise BusyError(
                f"more than {self._settings.names_per_minute} new metrics in a minute",
                hint="its journal waits",
                retry_after_s=max(1.0, (MINUTE_US - (now_us - since_us)) / 1e6),
            )

    def note(self, run: str, names: Iterable[str]) -> None:
        """Count the names of a batch that was kept."""
        fresh = self._names.note(run, names)
        if fresh:
            now_us = self._clock.mono_us()
            since_us, recent = self._minutes.get(run, (now_us, 0))
            if now_us - since_us >= MINUTE_US:
                since_us, recent = now_us, 0
            self._minutes[run] = (since_us, recent + fresh)
            self._minutes.move_to_end(run)
            while len(self._minutes) > RUNS_KEPT:
                self._minutes.popitem(last=False)
