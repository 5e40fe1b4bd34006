"""Rules about states of runs, and about the server's disk. What a state is, and when, others decide: see `service.liveness`."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from farwatch.clock import Clock
from farwatch.service.alerts.context import Context
from farwatch.service.alerts.finding import Finding, Phase
from farwatch.service.alerts.register import Register
from farwatch.service.alerts.rules import Rule
from farwatch.service.runs import Runs
from farwatch.settings import Settings
from farwatch.store.meta import RunRow
from farwatch.wire.states import State

MEMORY = re.compile(r"out of memory|OutOfMemory|\bMemoryError\b|RESOURCE_EXHAUSTED|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
LATE_MS = 3_600_000  # an end that is older rings nobody: it comes from a journal that was synced late
DISK_US = 5_000_000
TAIL = 2_000  # characters of a traceback that hold the error itself


class StateRules:
    """Turns states into alerts. *Threads*: one. Applying the same state again changes nothing."""

    def __init__(self, runs: Runs, register: Register, context: Context, settings: Settings, clock: Clock) -> None:
        self._runs = runs
        self._register = register
        self._context = context
        self._clock = clock
        self._disk_us = clock.mono_us() - DISK_US
        self._folder = Path(settings.data) if settings.data else getattr(runs.store, "folder", None)

    def apply(self, run: RunRow, rules: Mapping[str, Rule]) -> None:
        """Bring the alerts about a run's state in line with it."""
        for rule, state in (("lost", State.LOST), ("stalled", State.STALLED)):
            if run.state == state:
                self._observe(run, rules[rule], f"{run.state}: {run.reason}" if run.reason else run.state, "")
            else:
                why = f"the run has ended: {run.state}" if run.final else f"the run is {run.state}"
                self._register.resolve(run.no, rule, why, recovered=not run.final)
        if run.state != State.FAILED:
            if not run.final:
                for rule in ("failed", "out_of_memory"):
                    self._register.resolve(run.no, rule, "the run goes on", recovered=True)
            return
        ended_ms = run.ended_ms or 0
        if self._register.now_ms() - ended_ms > LATE_MS or self._register.fired(run.no, run.attempt, ("failed", "out_of_memory")):
            return
        trace = self._runs.meta.detail(run.no).traceback or ""
        if MEMORY.search(run.reason) or MEMORY.search(trace[-TAIL:]):
            self._observe(run, rules["out_of_memory"], "out of memory", run.reason)
        else:
            reason = " ".join(run.reason.split())
            self._observe(run, rules["failed"], f"failed: {reason}"[:200] if reason else "failed", trace[-TAIL:].strip())

    def _observe(self, run: RunRow, rule: Rule, title: str, text: str) -> None:
        if not rule.on:
            return
        live = self._runs.activity.overlay(run)
        at_us = (run.ended_ms or live.contact_ms) * 1000
        finding = Finding(rule.name, Phase.FIRING, title, text, None, live.step, at_us)
        self._register.observe(run, finding, rule, lambda: self._context.facts(run, finding))

    def look_at_disk(self, rule: Rule) -> None:
        """Look at the server's own disk, every few seconds."""
        now_us = self._clock.mono_us()
        if self._folder is None or now_us - self._disk_us < DISK_US:
            return
        self._disk_us = now_us
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError:
            return
        percent = 100.0 * usage.free / max(usage.total, 1)
        limit = rule.numbers["server_percent"]
        if percent < limit and rule.on:
            title = f"the server's disk has {percent:.1f} % left"
            text = "Below 5 % files are refused, below 2 % everything; journals then wait on their machines."
            found = Finding("disk_full", Phase.FIRING, title, text, None, None, self._clock.wall_us(), percent)
            self._register.observe(None, found, rule)
        elif percent > 1.2 * limit or not rule.on:
            self._register.resolve(None, "disk_full", "there is room again", recovered=True, value=percent)
