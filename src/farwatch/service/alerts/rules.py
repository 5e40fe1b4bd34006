"""Rules as data: what is watched by default, with which thresholds, and what people changed of it.

A rule rings (somebody should look now) or hints (worth knowing, wakes nobody). What people change is kept per server, project and
run; the narrower one counts.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from farwatch.errors import NotFoundError, UsageError
from farwatch.store.meta import Meta
from farwatch.wire.commands import Op

RING, HINT = "ring", "hint"
LEVELS = (RING, HINT)
SERVER = "server"
PROGRAM = "program"
NO_LIMIT = 1e9
THEN_OPS = frozenset({Op.STOP, Op.PAUSE, Op.CHECKPOINT, Op.SET, Op.CALL})


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that people may change: from `low` to `high`; `text` says what it means, with its unit."""

    default: float
    low: float
    high: float
    text: str


@dataclass(frozen=True, slots=True)
class Preset:
    """A rule as it comes. `patterns`: watches metrics, chosen by name unless the rule's `metrics` names others."""

    name: str
    level: str
    title: str
    text: str
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    cooldown_s: float = 600.0
    patterns: bool = False


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "nan", RING, "NaN or infinite",
            "the main metric or a loss is no number any more; a single one that heals is silent",
            {
                "in_a_row": Threshold(3, 1, 10_000, "so many values in a row that are no finite numbers"),
                "wait_s": Threshold(1.0, 0.0, 3_600.0, "or one, if no finite one follows within so many seconds"),
            },
            patterns=True,
        ),
        Preset("failed", RING, "Failed", "a run has ended by an exception, a signal or an exit code", cooldown_s=60.0),
        Preset(
            "out_of_memory", RING, "Out of memory", "a run has ended because the machine or the GPU had no memory left", cooldown_s=60.0
        ),
        Preset("lost", RING, "Lost", "nothing has been heard of a run's machine", cooldown_s=60.0),
        Preset("stalled", RING, "Stalled", "a process lives, but does nothing for far longer than it ever did before", cooldown_s=60.0),
        Preset(
            "disk_full", RING, "Disk full", "the disk of the server, or of a run's machine, is nearly full",
            {
                "server_percent": Threshold(5.0, 0.0, 100.0, "free part of the server's disk under which it rings, percent"),
                "machine_gib": Threshold(1.0, 0.0, 1e6, "free space on a run's machine under which it rings, GiB"),
            },
            cooldown_s=3_600.0,
        ),
        Preset(
            "spike", RING, "Spike that stays", "a loss has jumped up, or has lost half of what it had learned, and does not come back",
            {
                "times": Threshold(1.5, 1.05, 1_000.0, "a jump to so many times the usual value"),
                "noises": Threshold(8.0, 3.0, 100.0, "that is at least so many times the usual noise"),
                "lost_share": Threshold(0.5, 0.05, 10.0, "or a slow rise that has lost this share of the progress"),
                "hold_points": Threshold(60, 5, 1e6, "and has not healed after so many points"),
                "hold_share": Threshold(0.02, 0.0, 1.0, "or after this share of all points so far, if that is more"),
            },
            patterns=True,
        ),
        Preset(
            "plateau", HINT, "Plateau", "the main metric has stopped getting better",
            {
                "after_s": Threshold(1_800.0, 1.0, 1e7, "flat for so many seconds"),
                "share": Threshold(0.33, 0.0, 0.95, "and for this share of all points so far"),
                "least": Threshold(0.003, 0.0, 1.0, "an improvement by less than this share of the whole progress is none"),
            },
            cooldown_s=3_600.0, patterns=True,
        ),
        Preset(
            "overfitting", HINT, "Over-fitting", "the validation loss rises while the training loss does not",
            {
                "evaluations": Threshold(5, 3, 1_000, "so many evaluations since the best one"),
                "rise": Threshold(0.05, 0.0, 10.0, "a rise by this share of the progress, or of the best value"),
            },
            cooldown_s=3_600.0, patterns=True,
        ),
        Preset(
            "slow_step", HINT, "Slow steps", "steps take much longer than they used to",
            {
                "times": Threshold(2.0, 1.1, 1_000.0, "so many times the usual time per step"),
                "hold_s": Threshold(300.0, 10.0, 1e6, "for so many seconds"),
            },
            cooldown_s=3_600.0,
        ),
        Preset(
            "idle_gpu", HINT, "Idle GPU", "a GPU that the run has kept busy does nothing any more",
            {
                "percent": Threshold(5.0, 0.0, 100.0, "utilization below this, percent"),
                "hold_s": Threshold(900.0, 30.0, 1e6, "for so many seconds"),
            },
            cooldown_s=3_600.0,
        ),
        Preset(PROGRAM, RING, "Of the program", "what a program says by `run.alert`; its level `info` is a hint", cooldown_s=0.0),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is in force for one run. `then`: a command as consequence, `{"op", "args", "unless_answered_s"}`."""

    name: str
    level: str
    on: bool
    cooldown_s: float
    numbers: Mapping[str, float]
    metrics: tuple[str, ...] = ()
    snoozed_until_ms: int = 0
    then: Mapping[str, Any] | None = None

    def names(self, metric: str) -> bool | None:
        """Whether a person has named this metric for the rule; None if nobody has named any."""
        return any(fnmatchcase(metric, pattern) for pattern in self.metrics) if self.metrics else None

    def body(self) -> dict[str, Any]:
        """As JSON."""
        preset = PRESETS[self.name]
        return {
            "name": self.name, "title": preset.title, "text": preset.text, "level": self.level, "on": self.on,
            "cooldown_s": self.cooldown_s, "metrics": list(self.metrics), "snoozed_until_ms": self.snoozed_until_ms or None,
            "then": None if self.then is None else dict(self.then),
            "thresholds": [
                {
                    "name": name, "value": self.numbers[name], "default": one.default, "min": one.low, "max": one.high, "text": one.text,
                }
                for name, one in preset.thresholds.items()
            ],
        }  # fmt: skip


def made(name: str, *changes: Mapping[str, Any]) -> Rule:
    """A rule with changes, the later ones over the earlier ones."""
    preset = PRESETS[name]
    told: dict[str, Any] = {}
    for one in changes:
        told.update(one)
    return Rule(
        name,
        told.get("level", preset.level),
        told.get("on", True),
        told.get("cooldown_s", preset.cooldown_s),
        {key: told.get(key, one.default) for key, one in preset.thresholds.items()},
        tuple(told.get("metrics") or ()),
        told.get("snoozed_until_ms") or 0,
        told.get("then"),
    )


def checked(name: str, asked: Any, now_ms: int) -> dict[str, Any]:
    """What a person asks to change of a rule, checked; a value of None is the default again. Raises `UsageError`."""
    preset = PRESETS.get(name)
    if preset is None:
        raise UsageError(f"no rule of this name: `{name[:60]}`", hint=f"there are: {', '.join(PRESETS)}")
    if not isinstance(asked, Mapping):
        raise UsageError(f"changes of `{name}` are an object, or null for the rule as it comes")
    found: dict[str, Any] = {}
    for key, value in asked.items():
        if key == "snooze_s":
            found["snoozed_until_ms"] = now_ms + int(_number(f"{name}.{key}", value, 0.0, NO_LIMIT) * 1000)
        elif value is None:
            found[key] = None
        elif (key == "on" and isinstance(value, bool)) or (key == "level" and value in LEVELS):
            found[key] = value
        elif key == "cooldown_s":
            found[key] = _number(f"{name}.{key}", value, 0.0, NO_LIMIT)
        elif key in preset.thresholds:
            one = preset.thresholds[key]
            found[key] = _number(f"{name}.{key}", value, one.low, one.high)
        elif key == "metrics" and preset.patterns:
            found[key] = _patterns(name, value)
        elif key == "then":
            found[key] = _consequence(name, value)
        else:
            raise UsageError(f"`{name}` has no `{key[:60]}` with this value", hint=_changeable(preset))
    return found


def _changeable(preset: Preset) -> str:
    more = ["metrics"] if preset.patterns else []
    return ", ".join(["on", "level (ring or hint)", "cooldown_s", "snooze_s", "then", *more, *preset.thresholds])


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"`{name}` is a number from {low:g} to {high:g}, not: `{str(value)[:60]}`")
    return value


def _patterns(name: str, value: Any) -> list[str]:
    listed = isinstance(value, list) and len(value) <= 100 and all(isinstance(one, str) and 0 < len(one) <= 200 for one in value)
    if not listed:
        raise UsageError(f"`{name}.metrics` is a list of at most 100 names or patterns with `*`")
    return list(value)


def _consequence(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or value.get("op") not in THEN_OPS or not isinstance(value.get("args", {}), Mapping):
        raise UsageError(
            f'`{name}.then` is {{"op", "args", "unless_answered_s"}}', hint=f"op is one of {', '.join(sorted(THEN_OPS))}"
        )
    if unknown := set(value) - {"op", "args", "unless_answered_s"}:
        raise UsageError(f"`{name}.then` has no: `{sorted(unknown)[0][:60]}`")
    wait_s = _number(f"{name}.then.unless_answered_s", value.get("unless_answered_s", 0), 0.0, 86_400.0)
    return {"op": str(value["op"]), "args": dict(value.get("args", {})), "unless_answered_s": wait_s}


class RuleBook:
    """The rules of all runs. *Threads*: any. *Cost*: a rule in force comes from memory."""

    def __init__(self, meta: Meta) -> None:
        self._meta = meta
        self._lock = threading.Lock()
        with meta.read() as reads:
            self._changes = reads.rule_changes()
        self._known: dict[tuple[str, str], dict[str, Rule]] = {}
        self.version = 0  # grows with every change

    def of(self, project: str, run: str) -> dict[str, Rule]:
        """All rules for a run, by name."""
        scopes = (SERVER, f"project/{project}", f"run/{run}")
        with self._lock:
            key = (f"project/{project}" if scopes[1] in self._changes else "", scopes[2] if scopes[2] in self._changes else "")
            found = self._known.get(key)
            if found is None:
                layers = [self._changes.get(scope, {}) for scope in scopes]
                found = {name: made(name, *(layer.get(name, {}) for layer in layers)) for name in PRESETS}
                self._known[key] = found
            return found

    def server(self) -> dict[str, Rule]:
        """The rules as they are for the whole server."""
        with self._lock:
            return {name: made(name, self._changes.get(SERVER, {}).get(name, {})) for name in PRESETS}

    def changes(self, scope: str) -> dict[str, dict[str, Any]]:
        """What people changed at one scope: `server`, `project/<name>` or `run/<id>`."""
        with self._lock:
            return {name: dict(one) for name, one in self._changes.get(scope, {}).items()}

    def change(self, scope: str, asked: Mapping[str, Any], actor: str, now_ms: int) -> None:
        """Change rules at a scope. `asked`: rule -> what changes; None: as it comes. Raises `UsageError` for what cannot be."""
        listed: dict[str, dict[str, Any] | None] = {}
        with self._lock:
            known = {name: dict(one) for name, one in self._changes.get(scope, {}).items()}
        for name, one in asked.items():
            if one is None and name in PRESETS:
                listed[name] = None
                continue
            both = {**known.get(name, {}), **checked(name, one, now_ms)}
            listed[name] = {key: value for key, value in both.items() if value is not None} or None

        def write(writes: Any) -> None:
            for name, one in listed.items():
                writes.put_rule(scope, name, one)
            writes.add_audit(now_ms, actor, "rules", scope, {"rules": listed})

        self._meta.write(write)
        with self._lock:
            scoped = {**self._changes.get(scope, {})}
            for name, one in listed.items():
                if one is None:
                    scoped.pop(name, None)
                else:
                    scoped[name] = one
            self._changes = {**self._changes, scope: scoped}
            if not scoped:
                del self._changes[scope]
            self._known.clear()
            self.version += 1

    def must(self, name: str) -> Preset:
        """A preset by name; raises `NotFoundError`."""
        if name not in PRESETS:
            raise NotFoundError(f"no rule of this name: `{name[:60]}`", hint=f"there are: {', '.join(PRESETS)}")
        return PRESETS[name]
