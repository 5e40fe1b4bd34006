"""The words of notices about runs: started, how far, a line of metrics, ended. Two languages, and a form without names and values."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from farwatch.bridges.base import Message, Part
from farwatch.service.alerts.finding import shown, span
from farwatch.service.alerts.names import rises
from farwatch.wire.moments import text_of
from farwatch.wire.progress import bar_text
from farwatch.wire.redact import mask_text
from farwatch.wire.states import State

TAIL_LINES = 12
TAIL_MAX = 1_200
METRICS_MAX = 6
NAME_MAX = 60
GLYPHS = {
    State.FINISHED: "✓", State.FAILED: "✕", State.STOPPED: "■", State.PREEMPTED: "◼", State.PAUSED: "❚❚", State.LOST: "?",
    State.STALLED: "…",
}  # fmt: skip

WORDS: dict[str, tuple[str, str]] = {  # name -> English, Chinese
    "started": ("started", "开始"),
    "resumed": ("goes on (attempt {n})", "继续运行（第 {n} 次）"),
    "finished": ("finished after {span}", "完成，用时 {span}"),
    "stopped": ("stopped after {span}", "已停止，用时 {span}"),
    "failed": ("failed after {span}", "失败，用时 {span}"),
    "preempted": ("preempted after {span}", "被抢占，用时 {span}"),
    "step": ("step {step}", "第 {step} 步"),
    "n_steps": ("{n} steps", "{n} 步"),
    "left": ("{span} left", "剩余 {span}"),
    "page": ("page: {url}", "页面：{url}"),
    "local": ("page: only on that machine", "页面：仅在那台机器上"),
    "a_run": ("a run", "一个训练"),
    "best": ("best {name} {value} ({run})", "最佳 {name} {value}（{run}）"),
    "paused": ("paused", "已暂停"),
    "message": ("a run has a message for you", "有一个训练给你发了消息"),
    "count_finished": ("finished", "完成"),
    "count_failed": ("failed", "失败"),
    "count_stopped": ("stopped", "停止"),
    "count_preempted": ("preempted", "被抢占"),
    "condition": ("{name} {op} {limit}: now {value}", "{name} {op} {limit}：现在 {value}"),
}

_STATES_ZH = {
    State.QUEUED: "排队中", State.RUNNING: "运行中", State.PAUSED: "已暂停", State.IDLE: "空闲", State.STALLED: "停住不动",
    State.LOST: "失去联系", State.FINISHING: "收尾中",
    State.FINISHED: "完成", State.STOPPED: "已停止", State.FAILED: "失败", State.PREEMPTED: "被抢占",
}  # fmt: skip

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]")

# How durations are written in Chinese; English is `span`.
_ZH_UNITS = ((172_800.0, 86_400.0, "天", 0), (5_400.0, 3_600.0, "小时", 1), (90.0, 60.0, "分钟", 0), (-1.0, 1.0, "秒", 0))


def say(lang: str, word: str, /, **facts: Any) -> str:
    """A phrase in a language."""
    return WORDS[word][1 if lang == "zh" else 0].format(**facts)


def duration(seconds: float, lang: str) -> str:
    """A duration in a sentence."""
    if lang != "zh":
        return span(seconds)
    for least, unit, word, digits in _ZH_UNITS:
        if seconds >= least:
            return f"{seconds / unit:.{digits}f} {word}"
    return f"{seconds:.0f} 秒"


def named(run: Mapping[str, Any], detail: str, lang: str, most: int = NAME_MAX) -> str:
    """A run's name and number, on one line; in the minimal form no name."""
    if detail == "minimal":
        return say(lang, "a_run")
    name = " ".join(str(run["name"]).split())
    return f"{name if len(name) <= most else name[: most - 1] + '…'} #{run['number']}"


def number(value: Any) -> str:
    """A value of a summary in a sentence."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int) and abs(value) < 10**12:
        return f"{value:,}"
    if isinstance(value, int | float):
        return shown(float(value))
    return " ".join((text_of(value) or str(value)).split())[:80]


def state_of(run_state: str, lang: str) -> str:
    """A run's state in a sentence."""
    return _STATES_ZH.get(State(run_state), run_state) if lang == "zh" else run_state


def metrics_text(values: Mapping[str, Any], wanted: Sequence[str], most: int = METRICS_MAX) -> str:
    """`loss .0312 · val/acc .982`: the wanted metrics that have a value."""
    return " · ".join(f"{name} {number(values[name])}" for name in wanted if values.get(name) is not None)[: 40 * most]


def chosen(values: Mapping[str, Any], main: str | None, first: Sequence[str] = ()) -> list[str]:
    """Which metrics stand in a short line: those named, the main one, then losses and scores by name; never system metrics."""
    names = [name for name in values if not name.startswith("system/") and isinstance(values[name], int | float | str)]
    ranked = sorted(names, key=lambda name: (name not in first, name != main, "loss" not in name.lower(), "acc" not in name.lower(), name))
    return ranked[:METRICS_MAX]


def where(url: str | None, lang: str) -> str:
    """The last line: where to look."""
    return say(lang, "page", url=url) if url else say(lang, "local")


def progress_lines(run: Mapping[str, Any], values: Mapping[str, Any], detail: str, lang: str) -> list[Part]:
    """How far a run is: its bars as it shows them, else its step; and some metrics."""
    parts: list[Part] = []
    meter = run.get("progress")
    if detail == "minimal":
        share = _share(run)
        return [Part(f"{share} %" if share is not None else "…")]
    if meter:
        bars = [meter, *meter.get("bars", ())]
        parts.append(Part("\n".join(bar_text(one) for one in bars[:3]), "code" if len(bars) == 1 else "block"))
    elif run.get("step") is not None:
        total = run.get("total_steps")
        step = f"{number(run['step'])}/{number(total)}" if total else number(run["step"])
        share = _share(run)
        parts.append(Part(say(lang, "step", step=step) + (f" · {share} %" if share is not None else "")))
    line = metrics_text(values, chosen(values, run.get("main_metric"))[:3])
    if line:
        parts.append(Part(("\n" if parts else "") + line))
    return parts


def _share(run: Mapping[str, Any]) -> int | None:
    meter = run.get("progress") or {}
    done, total = (meter.get("n"), meter.get("total")) if meter else (run.get("step"), run.get("total_steps"))
    if not isinstance(done, int | float) or not isinstance(total, int | float) or total <= 0:
        return None
    return max(0, min(100, int(100 * done / total)))


def share_of(run: Mapping[str, Any]) -> int | None:
    """How far a run is, percent from 0 to 100; None if it never said how far it goes."""
    return _share(run)


def running(run: Mapping[str, Any], values: Mapping[str, Any], lang: str, detail: str, url: str | None) -> Message:
    """The one message of a run that goes on, which is changed as it goes."""
    glyph = {State.PAUSED: "❚❚", State.STALLED: "…", State.LOST: "?"}.get(State(run["state"]), "▶")
    state = "" if run["state"] == State.RUNNING else f" · {state_of(run['state'], lang)}"
    word = say(lang, "started") if run["attempt"] == 1 else say(lang, "resumed", n=run["attempt"])
    body = progress_lines(run, values, detail, lang)
    head = f"{glyph} {named(run, detail, lang)}" + (state or ("" if body else f" {word}"))
    return Message((Part(head, "bold"), *([Part("\n"), *body] if body else ()), Part("\n" + where(url, lang))), silent=True)


def ended(
    run: Mapping[str, Any], values: Mapping[str, Any], given: Sequence[str], tail: str, lang: str, detail: str, url: str | None
) -> Message:
    """A run has ended: how, after how long, with what result. `given`: names that the program set in the summary by itself."""
    state = State(run["state"])
    word = say(lang, str(state), span=duration(run["duration_ms"] / 1000, lang))
    parts = [Part(f"{GLYPHS.get(state, '■')} {named(run, detail, lang)} {word}", "bold")]
    if detail != "minimal":
        if run["reason"] and state is not State.FINISHED:
            parts.append(Part("\n" + mask_text(" ".join(str(run["reason"]).split()))[:300]))
        if run.get("step") is not None:
            parts.append(Part("\n" + say(lang, "step", step=number(run["step"]))))
        line = metrics_text(values, chosen(values, run.get("main_metric"), given))
        if line:
            parts.append(Part("\n" + line))
        if tail and state is State.FAILED:
            parts += [Part("\n"), Part(tail_text(tail), "block")]
    parts.append(Part("\n" + where(url, lang)))
    return Message(tuple(parts))


def ended_line(run: Mapping[str, Any], lang: str, detail: str) -> str:
    """The same in one line, for a message that folds many."""
    state = State(run["state"])
    return f"{GLYPHS.get(state, '■')} {named(run, detail, lang)} {say(lang, str(state), span=duration(run['duration_ms'] / 1000, lang))}"


def folded_line(group: str, rows: Sequence[Mapping[str, Any]], lang: str, detail: str) -> str:
    """Many ends in one line: how many of each."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    tally = " · ".join(f"{GLYPHS.get(State(state), '■')} {count} {say(lang, 'count_' + state)}" for state, count in sorted(counts.items()))
    return tally if detail == "minimal" else f"{' '.join(group.split())[:NAME_MAX]}: {tally}"


def folded(
    group: str, rows: Sequence[Mapping[str, Any]], values: Mapping[str, Any], lang: str, detail: str
) -> Message:
    """Many ends as one message: how many of each, the best, and those that failed by name. `values`: main metric by run id."""
    parts = [Part(folded_line(group, rows, lang, detail), "bold")]
    if detail == "minimal":
        return Message(tuple(parts))
    metric = next((row["main_metric"] for row in rows if row.get("main_metric")), None)
    known = {row["id"]: value for row in rows if isinstance(value := values.get(row["id"]), int | float)}
    if metric is not None and known:
        pick = max if rises(metric) else min
        best = pick(known, key=lambda one: known[one])
        name = next(named(row, detail, lang) for row in rows if row["id"] == best)
        parts.append(Part("\n" + say(lang, "best", name=metric, value=number(known[best]), run=name)))
    failed = [named(row, detail, lang) for row in rows if row["state"] == State.FAILED]
    if failed:
        more = f" … +{len(failed) - 10}" if len(failed) > 10 else ""
        parts.append(Part("\n✕ " + ", ".join(failed[:10]) + more))
    return Message(tuple(parts))


def metric_line(run: Mapping[str, Any], step: float, values: Mapping[str, Any], lang: str, detail: str) -> str:
    """One line of metrics at a step."""
    if detail == "minimal":
        return f"{say(lang, 'a_run')}: {say(lang, 'step', step=number(step))}"
    shown_values = metrics_text(values, chosen(values, run.get("main_metric")))
    return f"{named(run, detail, lang)} {say(lang, 'step', step=number(step))}: {shown_values}"


def tail_text(text: str) -> str:
    """The last lines of a console or traceback, without secrets, short enough for a message."""
    lines = mask_text(text).rstrip().splitlines()[-TAIL_LINES:]
    return "\n".join(line[:200] for line in lines)[-TAIL_MAX:]


def log_text(lines: Sequence[str]) -> str:
    """Lines of a console, without secrets and colours, each short enough for a phone."""
    return "\n".join(mask_text(_ESCAPES.sub("", line)).rstrip()[:300] for line in lines)


def clock_of(at_ms: int, now: datetime) -> str:
    """A time of day where the reader is; with the day, if it is another one."""
    moment = datetime.fromtimestamp(at_ms / 1000, now.tzinfo)
    return moment.strftime("%H:%M") if moment.date() == now.date() else moment.strftime("%d %b %H:%M")

