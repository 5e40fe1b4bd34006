"""What an alarm says: who, what, by how much, whether it is over, the last checkpoint, the time left.

Its first 60 characters make sense alone: that is what a locked phone shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from farwatch.bridges import compose
from farwatch.bridges.base import Attachment, Message, Part
from farwatch.bridges.compose import clock_of, number
from farwatch.bridges.phrases import told
from farwatch.service.alerts.finding import at_step
from farwatch.service.alerts.register import UNWATCHED, AlertRow
from farwatch.wire.redact import mask_text

TITLES_ZH = {
    "nan": "{metric} 变成了 {value}", "failed": "失败：{reason}", "out_of_memory": "内存不足", "lost": "失去联系", "stalled": "停住不动",
    "disk_full": "磁盘快满了", "spike": "{metric} 从 {usual} 升到 {value}", "plateau": "{metric} 停在 {value}",
    "overfitting": "过拟合：{metric} 升到 {value}", "slow_step": "每步变慢", "idle_gpu": "GPU 空闲",
}  # fmt: skip

WORDS: dict[str, tuple[str, str]] = {
    "usual": ("usual {low} to {high}", "平常 {low} 到 {high}"),
    "now": ("not recovered, now {value}", "尚未恢复，现在 {value}"),
    "not_over": ("not recovered", "尚未恢复"),
    "recovered": ("recovered", "已恢复"),
    "over": ("over: {why}", "已结束：{why}"),
    "since": ("since {time}", "自 {time}"),
    "after": ("after {span}", "用时 {span}"),
    "again": ("{n} times", "第 {n} 次"),
    "checkpoint": ("last checkpoint: step {step}, {time}", "最近检查点：第 {step} 步，{time}"),
    "checkpoint_at": ("last checkpoint: {time}", "最近检查点：{time}"),
    "no_checkpoint": ("no checkpoint known", "没有已知的检查点"),
    "moved": ("with it: {what}", "同时变化：{what}"),
    "due": ("{op} by itself at {time} unless answered", "若无人回应，{time} 自动执行 {op}"),
    "did": ("{op} was asked for by itself", "已自动执行 {op}"),
    "answered": ("{who}: {what}, {time}", "{who}：{what}，{time}"),
    "let_run": ("let it run", "继续运行"),
    "seen": ("seen", "已看到"),
    "applied": ("applied", "已执行"),
    "at_step": (" at step {step}", "，第 {step} 步"),
    "why": (": {why}", "：{why}"),
    "many": ("{n} more: {what}", "另有 {n} 个：{what}"),
    "many_need": ("{n} more runs need you", "另有 {n} 个训练需要你"),
    "many_over": ("{n} of them over", "其中 {n} 个已结束"),
    "snoozed": ("snoozed until {time}", "静音到 {time}"),
    "needs": ("a run needs you", "有一个训练需要你"),
    "the_server": ("the server", "服务器"),
    "left": ("{span} left", "剩余 {span}"),
}

ENDS = frozenset({"failed", "out_of_memory"})  # rules that tell of a run's end
NAME_MAX = 28  # of a run in a headline: what has happened must stand within the first 60 characters
NAMED_MAX = 10

LABELS: dict[str, tuple[str, str]] = {
    "stop": ("■ Stop", "■ 停止"), "pause": ("❚❚ Pause", "❚❚ 暂停"), "lr3": ("{knob} ÷ 3", "{knob} ÷ 3"), "keep": ("Let it run", "继续运行"),
    "snooze": ("Snooze 1 h", "静音 1 小时"), "checkpoint": ("⤓ Checkpoint", "⤓ 存检查点"), "again": ("↻ Start again", "↻ 重新开始"),
    "seen": ("Seen", "知道了"),
}  # fmt: skip

RULES: dict[str, tuple[str, str]] = {  # what many runs have in common
    "nan": ("NaN or infinite", "NaN 或无穷"), "failed": ("failed", "失败"), "out_of_memory": ("out of memory", "内存不足"),
    "lost": ("lost contact", "失去联系"), "stalled": ("stalled", "停住不动"), "disk_full": ("disk nearly full", "磁盘快满了"),
    "spike": ("a spike that stays", "突升未恢复"), "plateau": ("no longer better", "不再改善"), "overfitting": ("over-fitting", "过拟合"),
    "slow_step": ("slow steps", "每步变慢"), "idle_gpu": ("GPU idle", "GPU 空闲"), "program": ("a message of the program", "程序的提醒"),
}  # fmt: skip


def word(lang: str, key: str, /, **facts: Any) -> str:
    """A phrase in a language."""
    return WORDS[key][1 if lang == "zh" else 0].format(**facts)


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that an alarm's words are made of.

    `alert`: as `AlertViews.row` shows it. `run`: as `RunViews.row`, None for what is about the server. `values`: its summary.
    `answers`: who did what, `{"by", "what", "at_ms"}`. `tail`: the end of a traceback. `now`: the reader's time.
    """

    alert: Mapping[str, Any]
    run: Mapping[str, Any] | None
    values: Mapping[str, Any]
    answers: tuple[Mapping[str, Any], ...]
    tail: str
    url: str | None
    now: datetime


def headline(scene: Scene, lang: str, detail: str) -> str:
    """The first line, which makes sense alone."""
    alert = scene.alert
    over = alert["state"] == "resolved"
    glyph = "✓" if over else "△" if alert["level"] == "hint" else "▲"
    if detail == "minimal":
        return f"{glyph} {word(lang, 'needs')} · {clock_of(alert['fired_ms'] or alert['opened_ms'], scene.now)}"
    who = compose.named(scene.run, detail, lang, NAME_MAX) if scene.run is not None else word(lang, "the_server")
    return f"{glyph} {who}: {title(alert, lang)}"


def title(alert: Mapping[str, Any], lang: str) -> str:
    """What has happened, in a few words."""
    text = " ".join(mask_text(str(alert["title"])).split())
    template = TITLES_ZH.get(alert["rule"]) if lang == "zh" else None
    if template is None:
        return text[:200]
    band = alert.get("band") or {}
    reason = text.partition(": ")[2] or text
    value, usual = number(alert.get("value")), number(band.get("usual"))
    return template.format(metric=alert.get("metric") or "?", value=value, usual=usual, reason=reason)[:200]


def body(scene: Scene, lang: str) -> list[str]:
    """The lines below, of which each says one thing."""
    alert, run = scene.alert, scene.run
    lines = []
    band = alert.get("band")
    value = alert.get("value")
    state = word(lang, "recovered") if alert["recovered"] else None
    if alert["state"] == "resolved" and not alert["recovered"] and alert.get("resolution"):
        state = word(lang, "over", why=alert["resolution"])
    elif state is None and alert["state"] != "resolved":
        last = scene.values.get(alert["metric"]) if alert.get("metric") else None
        if last is not None:
            state = word(lang, "now", value=number(last))
        elif alert["rule"] not in UNWATCHED:
            state = word(lang, "not_over")
    usual = word(lang, "usual", low=number(band["low"]), high=number(band["high"])) if band and value is not None else None
    lines.append(_joined(usual, state))
    since = alert.get("time_ms") or alert["fired_ms"] or alert["opened_ms"]
    step = at_step(alert["step"]) if isinstance(alert.get("step"), int | float) else None
    if lang == "zh" and step is not None:
        step = compose.say(lang, "step", step=number(alert["step"]))
    times = word(lang, "again", n=alert["times"]) if alert["times"] > 1 else None
    ended = run is not None and alert["rule"] in ENDS and run.get("duration_ms") is not None
    lasted = word(lang, "after", span=compose.duration(run["duration_ms"] / 1000, lang)) if run is not None and ended else None
    lines.append(_joined(word(lang, "since", time=clock_of(since, scene.now)), step, lasted, times))
    if run is not None and alert["state"] != "resolved":
        lines.append(_joined(_checkpoint(alert, lang, scene.now)))
        share, left_s = compose.share_of(run), alert.get("left_s")
        left = word(lang, "left", span=compose.duration(float(left_s), lang)) if isinstance(left_s, int | float) else None
        lines.append(_joined(f"{share} %" if share is not None else None, left))
    moved = ", ".join(f"{one['name']} {number(one['before'])} → {number(one['at'])}" for one in alert.get("moved") or ())
    lines.append(word(lang, "moved", what=moved[:300]) if moved else "")
    due = alert.get("consequence")
    if due and due.get("state") == "due" and alert["state"] != "resolved":
        lines.append(word(lang, "due", op=told(lang, f"op_{due['op']}"), time=clock_of(due["due_ms"], scene.now)))
    elif due and due.get("state") in ("sending", "sent"):
        lines.append(word(lang, "did", op=told(lang, f"op_{due['op']}")))
    if alert["rule"] in ENDS and scene.values:
        lines.append(compose.metrics_text(scene.values, [name for name in scene.values if not name.startswith("system/")][:4]))
    return [line for line in lines if line]


def _checkpoint(alert: Mapping[str, Any], lang: str, now: datetime) -> str:
    found = alert.get("checkpoint")
    if not found:
        return word(lang, "no_checkpoint")
    time = clock_of(found["time_ms"], now)
    if found.get("step") is None:
        return word(lang, "checkpoint_at", time=time)
    return word(lang, "checkpoint", step=number(found["step"]), time=time)


def _joined(*parts: str | None) -> str:
    return " · ".join(part for part in parts if part)


def message(scene: Scene, lang: str, detail: str, *, picture: Attachment | None, silent: bool) -> Message:
    """The whole message, without its buttons."""
    parts = [Part(headline(scene, lang, detail), "bold")]
    if detail != "minimal":
        parts += [Part("\n" + line) for line in body(scene, lang)]
        text = " ".join(str(scene.alert["text"]).split())
        if scene.alert["rule"] == "program" and text:
            parts.append(Part("\n" + mask_text(text)[:600]))
        if scene.tail:
            parts += [Part("\n"), Part(compose.tail_text(scene.tail), "block")]
    for one in scene.answers:
        what, time = answer_text(one, lang, scene.now, detail), clock_of(one["at_ms"], scene.now)
        said = word(lang, "answered", who=one["by"], what=what, time=time) if detail != "minimal" else f"{what}, {time}"
        parts.append(Part("\n✓ " + said))
    parts.append(Part("\n" + compose.where(scene.url, lang)))
    return Message(tuple(parts), picture=None if detail == "minimal" else picture, silent=silent)


def label(lang: str, verb: str, knob: str = "") -> str:
    """What stands on a button. `knob`: the learning rate's name; empty where no names are shown."""
    return LABELS[verb][1 if lang == "zh" else 0].format(knob=knob).strip()


def answer_text(answer: Mapping[str, Any], lang: str, now: datetime, detail: str) -> str:
    """What somebody has done about it, in words, and what became of that."""
    what = str(answer["what"])
    if what.startswith("snoozed:"):
        return word(lang, "snoozed", time=clock_of(int(what[8:]), now))
    if what not in LABELS or what == "seen":
        return word(lang, what) if what in ("let_run", "seen") else what
    minimal = detail == "minimal"
    said = label(lang, what, "" if minimal else str(answer.get("knob") or ""))
    state = answer.get("state")
    if state is None or state == "pending":
        return said
    if state != "applied":
        reason = f": {' '.join(str(answer['reason']).split())}" if answer.get("reason") and not minimal else ""
        return f"{said} · {told(lang, f'state_{state}')}{reason}"[:200]
    if minimal:
        return f"{said} · {word(lang, 'applied')}"
    step = "" if answer.get("step") is None else word(lang, "at_step", step=number(answer["step"]))
    old, new = answer.get("old"), answer.get("new")
    change = word(lang, "why", why=f"{number(old)} → {number(new)}") if old is not None and new is not None else ""
    return f"{said} · {word(lang, 'applied')}{step}{change}"


Folded = Sequence[tuple[AlertRow, Mapping[str, Any]]]  # alerts with their runs


def folded_line(group: str, rule: str, alerts: Folded, lang: str, detail: str) -> str:
    """Many alerts of one group in one line."""
    n = len(alerts)
    if detail == "minimal":
        return f"▲ {word(lang, 'many_need', n=n)}"
    rules = RULES.get(rule)
    said = word(lang, "many", n=n, what=rule if rules is None else rules[1 if lang == "zh" else 0])
    return f"▲ {' '.join(group.split())[:NAME_MAX]}: {said}"


def folded(group: str, rule: str, alerts: Folded, lang: str, detail: str) -> Message:
    """Many alerts of one group as one message: how many of what, which runs, how many are over."""
    parts = [Part(folded_line(group, rule, alerts, lang, detail), "bold")]
    if detail != "minimal":
        names = [compose.named(run, detail, lang) for _, run in alerts]
        more = f" … +{len(names) - NAMED_MAX}" if len(names) > NAMED_MAX else ""
        parts.append(Part("\n" + ", ".join(names[:NAMED_MAX]) + more))
        over = sum(row.resolved_ms is not None for row, _ in alerts)
        if over:
            parts.append(Part("\n" + word(lang, "many_over", n=over)))
    return Message(tuple(parts))
