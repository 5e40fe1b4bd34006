"""All alerts with their states. What it says has happened is in the database.

pending: something is odd and may heal by itself; nobody is told. firing: people are told, once. resolved: it is over. A firing alert that
somebody snoozes is shown as silenced until then. There is one open alert per run and rule, and per title for what a program says;
one that comes back within its cool-down is the same one again.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from farwatch.clock import Clock
from farwatch.errors import NotFoundError, UsageError
from farwatch.service.alerts.finding import Finding, Phase
from farwatch.service.alerts.rules import NO_LIMIT, PROGRAM, RING, Rule
from farwatch.service.table import plain
from farwatch.store.meta import AlertRow, Meta, RunRow

PENDING, FIRING, RESOLVED, SILENCED = "pending", "firing", "resolved", "silenced"
OPEN = (PENDING, FIRING)
LISTED_MAX = 1_000
UNWATCHED = frozenset({PROGRAM, "failed", "out_of_memory"})  # no condition of theirs can be over by itself
Key = tuple[int | None, str, str]  # run, rule, title of what a program says


class Register:
    """The alerts of a server.

    *Threads*: any but the one that writes the meta database: changes of alerts are made one after the other under a lock, and written
    while it is held. *Cost*: open alerts are in memory; a change is a durable write, and there are few.

    `on_change` is called with a row and what happened to it: `pending`, `healed`, `fired`, `again`, `resolved`, `acknowledged`,
    `snoozed`, `changed`.
    """

    def __init__(self, meta: Meta, clock: Clock) -> None:
        self._meta = meta
        self._clock = clock
        self._lock = threading.RLock()
        self.on_change: Callable[[AlertRow, str], None] = lambda row, what: None
        self._open: dict[Key, AlertRow] = {}
        self._of_run: dict[int | None, dict[Key, AlertRow]] = {}  # the same by run
        self._lately: dict[Key, AlertRow] = {}  # resolved ones, while they may come back
        with meta.read() as reads:
            for row in reversed(reads.alerts(states=OPEN, limit=1_000_000)):
                self._open[key_of(row)] = row
                self._of_run.setdefault(row.run_no, {})[key_of(row)] = row
            for row in reversed(reads.alerts(states=(RESOLVED,), limit=LISTED_MAX)):
                if row.fired_ms is not None:
                    self._lately[key_of(row)] = row

    def now_ms(self) -> int:
        """Now, in ms since the epoch."""
        return self._clock.wall_us() // 1000

    # --- what rules find

    def observe(
        self, run: RunRow | None, finding: Finding, rule: Rule, facts: Callable[[], Mapping[str, Any]] = dict, title_key: str = ""
    ) -> AlertRow | None:
        """Take what a rule has found. `facts`: asked for once, when it fires: what a person wants to know beside it.

        Returns the alert if it has changed.
        """
        key = (None if run is None else run.no, finding.rule, title_key)
        with self._lock:
            old = self._open.get(key)
            if old is not None and (old.state == FIRING or finding.phase is Phase.PENDING):
                return None
            if old is None and (back := self._come_back(key, rule)) is not None:
                return self._store(back, "again") if finding.phase is Phase.FIRING else None
            now_ms = self.now_ms()
            row = old or AlertRow(
                0, key[0], 1 if run is None else run.attempt, finding.rule, finding.metric, finding.title, finding.text, rule.level,
                PENDING, now_ms, None, None, now_ms, None, None, None, 1, _facts(finding), None,
            )  # fmt: skip
            if finding.phase is Phase.PENDING:
                return self._store(row, "pending")
            row = replace(
                row, state=FIRING, fired_ms=now_ms, modified_ms=now_ms, title=finding.title, text=finding.text, metric=finding.metric,
                level=rule.level, facts={**_facts(finding), **facts()}, consequence=_due(rule, now_ms),
                snoozed_until_ms=rule.snoozed_until_ms if rule.snoozed_until_ms > now_ms else row.snoozed_until_ms,
            )  # fmt: skip
            return self._store(row, "fired")

    def _come_back(self, key: Key, rule: Rule) -> AlertRow | None:
        """The alert that was resolved within the cool-down, firing again."""
        before = self._lately.get(key)
        now_ms = self.now_ms()
        if before is None or before.resolved_ms is None or now_ms - before.resolved_ms >= rule.cooldown_s * 1000:
            return None
        return replace(before, state=FIRING, resolved_ms=None, modified_ms=now_ms, times=before.times + 1)

    def resolve(
        self, run_no: int | None, rule: str, why: str, *, title_key: str = "", recovered: bool = False, value: float | None = None
    ) -> AlertRow | None:
        """Note that it is over; an alert that never fired ends in silence. `recovered`: by itself."""
        with self._lock:
            old = self._open.get((run_no, rule, title_key))
            if old is None:
                return None
            now_ms = self.now_ms()
            facts = {**old.facts, "recovered": recovered, "resolution": why}
            if value is not None:
                facts["last"] = plain(value)
            row = replace(old, state=RESOLVED, resolved_ms=now_ms, modified_ms=now_ms, facts=facts, consequence=_cancelled(old))
            if old.fired_ms is not None:
                return self._store(row, "resolved")
            self._meta.write(lambda writes: writes.delete_alert(row.no), durable=False)
            self.took(row, "healed")
            return row

    def program(
        self, run: RunRow, rule: Rule, told: Mapping[str, Any], level: str, step: float | None, time_us: int, record: tuple[str, int],
        facts: Callable[[Finding], Mapping[str, Any]],
    ) -> AlertRow | None:  # fmt: skip
        """Take what a program says: `title`, `text`, `level` and `cooldown_s` of `told`. `record`: writer and number; the same again
        changes nothing. One that is open, or within its cool-down, counts once more instead of ringing again.
        """
        title = str(told.get("title") or "alert")[:200]
        text = str(told.get("text") or "")[:4_000]
        with self._lock:
            now_ms = self.now_ms()
            key = (run.no, rule.name, title)
            old = self._open.get(key) or self._lately.get(key)
            if old is not None and _has(old, record):
                return None
            seen = {**(old.facts.get("records") or {} if old is not None else {}), record[0]: record[1]}
            more = {"title_key": title, "said": str(told.get("level") or "warn"), "records": seen}
            finding = Finding(rule.name, Phase.FIRING, title, text, None, step, time_us, more=more)
            pause_ms = max(_seconds(told.get("cooldown_s")), rule.cooldown_s) * 1000
            if old is not None and now_ms - (old.facts.get("rang_ms") or 0) < pause_ms:
                kept = {**old.facts, **_facts(finding), "rang_ms": old.facts.get("rang_ms")}
                return self._store(replace(old, text=text, times=old.times + 1, modified_ms=now_ms, facts=kept), "changed")
            found = {**_facts(finding), **facts(finding), "rang_ms": now_ms}
            if old is not None and old.state == FIRING:
                again = replace(old, text=text, times=old.times + 1, modified_ms=now_ms, facts=found, acknowledged_ms=None)
                return self._store(replace(again, acknowledged_by=None), "again")
            snoozed_ms = rule.snoozed_until_ms if rule.snoozed_until_ms > now_ms else None
            row = AlertRow(
                0, run.no, run.attempt, rule.name, None, title, text, level, FIRING, now_ms, now_ms, None, now_ms, snoozed_ms, None, None,
                1, found, _due(rule, now_ms),
            )  # fmt: skip
            return self._store(row, "fired")

    def due(self, now_ms: int) -> list[AlertRow]:
        """Firing alerts whose command is to be sent now."""
        with self._lock:
            return [
                row for row in self._open.values()
                if row.consequence is not None and row.consequence["state"] == "due" and row.consequence["due_ms"] <= now_ms
            ]  # fmt: skip

    def fired(self, run_no: int, attempt: int, rules: Iterable[str]) -> bool:
        """Whether one of these rules has fired in an attempt of a run."""
        with self._meta.read() as reads:
            found = reads.alerts(run_nos=[run_no], limit=LISTED_MAX)
        wanted = set(rules)
        return any(row.rule in wanted and row.attempt == attempt for row in found)

    def forget(self, run_no: int) -> None:
        """Drop the alerts of a run that is gone for good."""
        with self._lock:
            for key in self._of_run.pop(run_no, {}):
                self._open.pop(key, None)
            for key in [key for key in self._lately if key[0] == run_no]:
                del self._lately[key]

    def update(self, row: AlertRow, **facts: Any) -> AlertRow | None:
        """Add facts to an open alert."""
        with self._lock:
            old = self._open.get(key_of(row))
            if old is None or old.no != row.no or all(old.facts.get(name) == value for name, value in facts.items()):
                return None
            return self._store(replace(old, modified_ms=self.now_ms(), facts={**old.facts, **facts}), "changed")

    def _store(self, row: AlertRow, what: str) -> AlertRow:
        stored: AlertRow = self._meta.write(lambda writes: writes.put_alert(row), durable=row.state != PENDING)
        self.took(stored, what)
        return stored

    def took(self, row: AlertRow, what: str) -> None:
        """Note that an alert stands in the database as this, and tell."""
        with self._lock:
            key = key_of(row)
            if row.state == RESOLVED:
                self._open.pop(key, None)
                self._of_run.get(row.run_no, {}).pop(key, None)
                if row.fired_ms is not None:
                    self._lately[key] = row
                while len(self._lately) > LISTED_MAX:
                    self._lately.pop(next(iter(self._lately)))
            else:
                self._open[key] = row
                self._of_run.setdefault(row.run_no, {})[key] = row
                self._lately.pop(key, None)
        self.on_change(row, what)

    # --- what people do

    def answer(self, no: int, asked: Mapping[str, Any], actor: str) -> AlertRow:
        """Acknowledge (`{"acknowledge": true}`), snooze (`{"snooze_s": s}`, 0 wakes it) or resolve (`{"resolve": true}`).

        Raises `NotFoundError`, and `UsageError` for anything else.
        """
        if not asked or set(asked) - {"acknowledge", "snooze_s", "resolve"}:
            raise UsageError("what of the alert?", hint='{"acknowledge": true}, {"snooze_s": 3600} or {"resolve": true}')
        with self._lock:
            row = self.get(no)
            now_ms = self.now_ms()
            row = replace(row, modified_ms=now_ms)
            what = "changed"
            if asked.get("acknowledge") is True:
                what = "acknowledged"
                row = replace(row, acknowledged_ms=now_ms, acknowledged_by=actor, consequence=_cancelled(row, actor))
                if row.rule in UNWATCHED and row.state != RESOLVED:  # nothing but a person can end it
                    facts = {**row.facts, "recovered": False, "resolution": f"acknowledged by {actor}"}
                    row = replace(row, state=RESOLVED, resolved_ms=now_ms, facts=facts)
            if "snooze_s" in asked:
                snooze_s = asked["snooze_s"]
                if isinstance(snooze_s, bool) or not isinstance(snooze_s, int | float) or not 0 <= snooze_s <= NO_LIMIT:
                    raise UsageError("`snooze_s` is a number of seconds")
                what = "snoozed"
                row = replace(row, snoozed_until_ms=now_ms + int(snooze_s * 1000) or None, consequence=_cancelled(row, actor))
            if asked.get("resolve") is True and row.state != RESOLVED:
                what = "resolved"
                facts = {**row.facts, "recovered": False, "resolution": f"by {actor}"}
                row = replace(row, state=RESOLVED, resolved_ms=now_ms, facts=facts, consequence=_cancelled(row, actor))
            return self._store(row, what)

    def mark(self, row: AlertRow, consequence: dict[str, Any]) -> AlertRow:
        """Note how far the command is that an alert asks for."""
        with self._lock:
            return self._store(replace(self.get(row.no), modified_ms=self.now_ms(), consequence=consequence), "changed")

    # --- looking

    def get(self, no: int) -> AlertRow:
        """An alert by its number. Raises `NotFoundError`."""
        with self._lock:
            for row in self._open.values():
                if row.no == no:
                    return row
        with self._meta.read() as reads:
            found = reads.alert(no)
        if found is None:
            raise NotFoundError(f"no alert with the number: `{no}`")
        return found

    def open_of(self, run_no: int | None) -> list[AlertRow]:
        """Open alerts of a run."""
        with self._lock:
            return list(self._of_run.get(run_no, {}).values())

    def all_open(self) -> list[AlertRow]:
        """All open alerts."""
        with self._lock:
            return list(self._open.values())

    def ringing(self, run_no: int) -> int:
        """How many alerts of a run need somebody: they fire, ring, and nobody has silenced them."""
        if not self._of_run.get(run_no):
            return 0  # as for most runs of a long table
        now_ms = self.now_ms()
        return sum(rings(row, now_ms) for row in self.open_of(run_no))

    def list(
        self, run_nos: Iterable[int] | None = None, states: Iterable[str] = (), before: int | None = None, limit: int = 100
    ) -> list[AlertRow]:
        """Alerts, newest first; those that healed before they fired are left out. `states`: any if empty; `silenced` is one."""
        wanted = set(states)
        now_ms = self.now_ms()
        stored = {FIRING if state == SILENCED else state for state in wanted} or None
        found: list[AlertRow] = []
        listed = None if run_nos is None else [*run_nos]
        while len(found) < limit:
            with self._meta.read() as reads:
                page = reads.alerts(
                    run_nos=listed, states=None if stored is None else [*stored], before=before, limit=LISTED_MAX
                )
            found += [
                row for row in page
                if (not wanted or state_of(row, now_ms) in wanted) and not (row.state == RESOLVED and row.fired_ms is None)
            ]  # fmt: skip
            if len(page) < LISTED_MAX:
                break
            before = page[-1].no
        return found[:limit]


def key_of(row: AlertRow) -> Key:
    """What makes an alert this one and no other."""
    return row.run_no, row.rule, str(row.facts.get("title_key") or "")


def state_of(row: AlertRow, now_ms: int) -> str:
    """The state as people see it."""
    return SILENCED if row.state == FIRING and (row.snoozed_until_ms or 0) > now_ms else row.state


def rings(row: AlertRow, now_ms: int) -> bool:
    """Whether an alert needs somebody."""
    return row.level == RING and row.acknowledged_ms is None and state_of(row, now_ms) == FIRING


def _facts(finding: Finding) -> dict[str, Any]:
    band = finding.band
    return {
        "value": plain(finding.value), "step": plain(finding.step), "time_ms": finding.time_us // 1000 or None, "recovered": False,
        "band": None if band is None else {"low": plain(band.low), "usual": plain(band.usual), "high": plain(band.high)},
        **finding.more,
    }  # fmt: skip


def _has(row: AlertRow, record: tuple[str, int]) -> bool:
    return int((row.facts.get("records") or {}).get(record[0], -1)) >= record[1]


def _seconds(value: Any) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= NO_LIMIT
    return float(value) if usable else 300.0


def _due(rule: Rule, now_ms: int) -> dict[str, Any] | None:
    if rule.then is None:
        return None
    wait_s = float(rule.then.get("unless_answered_s", 0))
    return {"op": rule.then["op"], "args": rule.then["args"], "due_ms": now_ms + int(wait_s * 1000), "state": "due"}


def _cancelled(row: AlertRow, actor: str | None = None) -> dict[str, Any] | None:
    if row.consequence is None or row.consequence["state"] != "due":
        return row.consequence
    return {**row.consequence, "state": "not needed", "reason": f"answered by {actor}" if actor else "it is over"}
