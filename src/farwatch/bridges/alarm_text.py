"""What an alarm says: who, what, by how much, whether it is over, the last checkpoint, the time left.

Its first 60 characters make sense alone: that is what a locked phone shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from farwatch.bridges import compose
from farwatch.bridges.base import Attachment, Message, Part
from farwatch.bridges.compose import clock_of, number
from farwatch.service.alerts.finding import at_step
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
    "snoozed": ("snoozed until {time}", "静音到 {time}"),
    "needs": ("a run needs you", "有一个训练需要你"),
    "the_server": ("the server", "服务器"),
    "left": ("{span} left", "剩余 {span}"),
}

ENDS = frozenset({"failed", "out_of_memory"})  # rules that tell of a run's end


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
    who = compose.named(scene.run, detail, lang) if scene.run is not None else word(lang, "the_server")
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
        state = word(lang, "now", value=number(last)) if last is not None else None
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
        lines.append(word(lang, "due", op=due["op"], time=clock_of(due["due_ms"], scene.now)))
    elif due and due.get("state") in ("sending", "sent"):
        lines.append(word(lang, "did", op=due["op"]))
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
        who = "" if detail == "minimal" else str(one["by"])
        what, time = answer_text(one, lang, scene.now), clock_of(one["at_ms"], scene.now)
        parts.append(Part("\n✓ " + word(lang, "answered", who=who, what=what, time=time)))
    parts.append(Part("\n" + compose.where(scene.url, lang)))
    return Message(tuple(parts), picture=None if detail == "minimal" else picture, silent=silent)


def answer_text(answer: Mapping[str, Any], lang: str, now: datetime) -> str:
    """What somebody has done about it, in words."""
    what = str(answer["what"])
    if what == "let_run":
        return word(lang, "let_run")
    if what.startswith("snoozed:"):
        return word(lang, "snoozed", time=clock_of(int(what[8:]), now))
    return what
