"""What is answered to people who look: status, runs, tunables, console, machine, curves. Nothing here changes anything."""

from collections.abc import Mapping, Sequence
from typing import Any

from farwatch.bridges import compose
from farwatch.bridges.base import Message, Part, plain
from farwatch.bridges.picture import sparkline
from farwatch.clock import Clock
from farwatch.service.runs import RunRow, Runs
from farwatch.wire.states import State

LOG_LINES = 20
LOG_MAX = 3_000
RUNS_MAX = 15
GPU_MAX = 12
SPARK_POINTS = 40
UNITS = (("percent", "%"), ("bytes", "B"), ("celsius", "°C"), ("watts", "W"))
SIDES = frozenset("train training val valid validation eval test".split())

WORDS: dict[str, tuple[str, str]] = {
    "none": ("No run is known yet.", "还没有任何运行。"),
    "age": ("heard of {span} ago", "{span}前有消息"),
    "pending": ("→ {value} (waiting for its next step)", "→ {value}（等待下一步生效）"),
    "no_knobs": ("{run} declares nothing that can be set.", "{run} 没有可以设置的参数。"),
    "off": ("It cannot be steered: {why}", "不能操作：{why}"),
    "alarms": ("▲ {title}", "▲ {title}"),
    "advice_stop": ("Worth stopping: {why}", "建议停止：{why}"),
    "advice_continue": ("Worth going on: {why}", "建议继续：{why}"),
    "no_log": ("{run} has printed nothing.", "{run} 没有输出。"),
    "no_gpu": ("{run} has sent no measurements of its machine.", "{run} 没有机器指标。"),
    "commands": ("commands: {names}", "命令：{names}"),
}


def word(lang: str, key: str, /, **facts: Any) -> str:
    """A phrase in a language."""
    return WORDS[key][1 if lang == "zh" else 0].format(**facts)


class Answers:
    """Answers from what the server knows. *Threads*: any; reads the database and the store."""

    def __init__(self, runs: Runs, clock: Clock) -> None:
        self._runs = runs
        self._clock = clock

    def status(self, run: RunRow, lang: str, detail: str, url: str | None, firing: Sequence[str]) -> Message:
        """Everything that somebody wants to know first: name, state, how far, metrics, time left, alerts, age of the news."""
        row = self._runs.describe(run)
        values = self._values(run)
        glyph = compose.GLYPHS.get(State(run.state), "●")
        state, lasted = compose.state_of(run.state, lang), compose.duration(row["duration_ms"] / 1000, lang)
        head = f"{glyph} {compose.named(row, detail, lang)} · {state} · {lasted}"
        parts = [Part(head, "bold")]
        if detail == "minimal":
            share = compose.share_of(row)
            return Message((*parts, *([Part(f" · {share} %")] if share is not None else [])))
        if run.reason:
            parts.append(Part("\n" + " ".join(run.reason.split())[:200]))
        body = compose.progress_lines(row, values, detail, lang)
        if body:
            parts += [Part("\n"), *body]
        left_s = None if run.final else self._left_s(row)
        if left_s is not None:
            parts.append(Part("\n" + compose.say(lang, "left", span=compose.duration(left_s, lang))))
        parts += [Part("\n" + word(lang, "alarms", title=title)) for title in firing[:3]]
        advice = self._runs.advice_of(run)
        if advice["say"]:
            parts.append(Part("\n" + word(lang, f"advice_{advice['say']}", why=advice["why"][:200])))
        age_s = (self._clock.wall_us() // 1000 - row["contact_ms"]) / 1000
        if not run.final and age_s > 15:
            parts.append(Part("\n" + word(lang, "age", span=compose.duration(age_s, lang))))
        parts.append(Part("\n" + compose.where(url, lang)))
        return Message(tuple(parts))

    def _left_s(self, row: Mapping[str, Any]) -> float | None:
        meter = row.get("progress") or {}
        left = meter.get("remaining_s")
        if isinstance(left, int | float) and not meter.get("ended"):
            return float(left)
        step, total = row.get("step"), row.get("total_steps")
        if not isinstance(step, int | float) or not isinstance(total, int | float) or not 0 < step < total:
            return None
        return float(row["duration_ms"]) / 1000 * (total - step) / step

    def listed(self, runs: Sequence[RunRow], lang: str, detail: str) -> Message:
        """Runs in a numbered list, one line each."""
        if not runs:
            return plain(word(lang, "none"))
        return plain("\n".join(f"{place}  {self.line(run, lang, detail)}" for place, run in enumerate(runs[:RUNS_MAX], 1)))

    def line(self, run: RunRow, lang: str, detail: str) -> str:
        """A run in one line."""
        row = self._runs.describe(run)
        glyph = compose.GLYPHS.get(State(run.state), "●")
        share = compose.share_of(row)
        parts = [f"{glyph} {compose.named(row, detail, lang)}", compose.state_of(run.state, lang)]
        if share is not None and not run.final:
            parts.append(f"{share} %")
        if detail != "minimal" and row["main_metric"] is not None and row["main_last"] is not None:
            parts.append(f"{row['main_metric']} {compose.number(row['main_last'])}")
        return " · ".join(parts)

    def params(self, run: RunRow, lang: str, detail: str, name: str | None) -> Message:
        """Every tunable with its current and its pending value, and the commands of the program."""
        steer = self._runs.meta.detail(run.no).steer
        who = compose.named(self._runs.describe(run), detail, lang)
        if steer.get("off"):
            return plain(word(lang, "off", why=steer["off"]))
        knobs = {key: about for key, about in (steer.get("knobs") or {}).items() if name in (None, key)}
        if not knobs:
            return plain(word(lang, "no_knobs", run=who))
        with self._runs.meta.read() as reads:
            waiting = {row.args.get("name"): row.args.get("value") for row in reads.pending_commands(run.no) if row.op == "set"}
        parts = [Part(who, "bold")]
        for key, about in list(knobs.items())[:50]:
            line = f"\n{key} = {compose.number(about.get('value'))}{_limits(about)}"
            if key in waiting:
                line += " " + word(lang, "pending", value=compose.number(waiting[key]))
            parts.append(Part(line))
        names = ", ".join(steer.get("commands") or {})
        if names and name is None:
            parts.append(Part("\n" + word(lang, "commands", names=names[:300])))
        return Message(tuple(parts))

    def log(self, run: RunRow, lang: str, detail: str, lines: int | None) -> Message:
        """The end of the console, without secrets."""
        who = compose.named(self._runs.describe(run), detail, lang)
        found = self._runs.console(run.id, limit=lines or LOG_LINES, tail=True)["lines"]
        if not found:
            return plain(word(lang, "no_log", run=who))
        text = compose.log_text([str(one["text"]) for one in found])
        return Message((Part(who, "bold"), Part("\n"), Part(text[-LOG_MAX:], "block")))

    def gpu(self, run: RunRow, lang: str, detail: str) -> Message:
        """The newest measurements of a run's machine, GPUs first."""
        who = compose.named(self._runs.describe(run), detail, lang)
        names = [name for name in self._runs.names.listed(run.id) if name.startswith("system/")]
        ranked = sorted(names, key=lambda name: ("gpu" not in name, "cpu" not in name, "memory" not in name, name))[:GPU_MAX]
        infos = {info.key.name: info for info in self._runs.store.series(run.id, ranked)} if ranked else {}
        lines = [f"{name.removeprefix('system/')}  {_with_unit(name, infos[name].last)}" for name in ranked if name in infos]
        if not lines:
            return plain(word(lang, "no_gpu", run=who))
        return Message((Part(who, "bold"), Part("\n"), Part("\n".join(lines), "block")))

    def sparks(self, run: RunRow, names: Sequence[str], lang: str) -> str:
        """Curves as lines of text, for where no picture can go."""
        lines = []
        for name in names:
            infos = [info for info in self._runs.store.series(run.id, [name]) if info.key.rank == 0]
            if infos:
                drawn = self._runs.store.chart([infos[-1].key], buckets=SPARK_POINTS)[0]
                lines.append(f"{name}  {sparkline(drawn.mean)}  {compose.number(infos[-1].last)}")
        return "\n".join(lines)

    def known_metrics(self, run: RunRow, wanted: Sequence[str]) -> tuple[list[str], str | None]:
        """The metrics to draw: those asked for, as the run spells them, else the main one and its like; and one that there is not."""
        names = self._runs.names.listed(run.id)
        if not wanted:
            main = self._runs.main_metric(run)
            close = [name for name in names if main and name != main and _stem(name) == _stem(main)]
            return ([main, *close[:1]] if main else [name for name in names if not name.startswith("system/")][:1]), None
        chosen = []
        for one in wanted:
            same = [name for name in names if name == one] or [name for name in names if name.lower() == one.lower()]
            ends = same or [name for name in names if name.lower().rpartition("/")[2] == one.lower()]
            if not ends:
                return [], one
            chosen += ends[:3]
        return list(dict.fromkeys(chosen))[:8], None

    def _values(self, run: RunRow) -> dict[str, Any]:
        return self._runs.summary(run) if self._runs.activity.overlay(run).points else dict(self._runs.meta.detail(run.no).given)


def _limits(about: Mapping[str, Any]) -> str:
    if about.get("choices"):
        return f"  [{', '.join(map(compose.number, about['choices'][:8]))}]"
    low, high = ("" if about.get(side) is None else compose.number(about[side]) for side in ("min", "max"))
    return f"  [{low}..{high}]" if low or high else ""


def _with_unit(name: str, value: float) -> str:
    for ending, unit in UNITS:
        if name.endswith(ending):
            return f"{value / 2**30:.2f} GiB" if unit == "B" and abs(value) >= 2**28 else f"{compose.number(value)} {unit}"
    return compose.number(value)


def _stem(name: str) -> str:
    """A metric's name without the words for training and validation: `val/loss` and `train/loss` are one quantity."""
    return "/".join(part for part in name.lower().replace("_", "/").split("/") if part not in SIDES)
