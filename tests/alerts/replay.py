"""Curves fed to the rules as a live run would feed them, and what the rules said when.

`python -m tests.alerts.replay [name …]` prints the table; with `--plot FOLDER` it draws each curve with its marks.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farwatch.service.alerts.finding import Phase
from farwatch.service.alerts.names import rises
from farwatch.service.alerts.rules import PRESETS, Rule, made
from farwatch.service.alerts.watch import Watch
from tests.alerts.curves.record import load

BATCH_S = 4.0
START_US = 1_800_000_000_000_000


@dataclass(frozen=True)
class Said:
    """A change of what a rule says: `what` is pending, firing, healed (never fired) or resolved."""

    rule: str
    what: str
    metric: str | None
    at_step: float
    since: float | None
    title: str


def rules(**changes: dict[str, object]) -> dict[str, Rule]:
    """The presets, some of them changed."""
    return {name: made(name, changes.get(name, {})) for name in PRESETS}


def joined(series: dict[str, np.ndarray]) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All points of a run in the order of their times."""
    names = list(series)
    index = np.repeat(np.arange(len(names), dtype=np.int32), [series[name].shape[1] for name in names])
    steps, times, values = (np.concatenate([series[name][row] for name in names]) for row in range(3))
    order = np.argsort(times, kind="stable")
    return names, index[order], steps[order], (START_US + times[order] * 1e6).astype(np.int64), values[order]


def replay(
    main: tuple[str, bool], series: dict[str, np.ndarray], told: dict[str, Rule] | None = None, batch_s: float = BATCH_S
) -> list[Said]:
    """What the rules say of a run, in order."""
    names, index, steps, times, values = joined(series)
    up = main[1] or rises(main[0])
    watch = Watch(1, "run", 1, told or rules(), lambda: (main[0] if main[0] in watch.known else None, up))
    said: list[Said] = []
    before: dict[str, Phase] = {}
    cuts = np.searchsorted(times, np.arange(times[0], times[-1] + batch_s * 1e6, batch_s * 1e6))
    for first, last in zip(cuts, [*cuts[1:], len(times)], strict=True):
        if first == last:
            continue
        part = slice(first, last)
        present, compact = np.unique(index[part], return_inverse=True)
        now_us = int(times[last - 1])
        watch.feed(
            [names[place] for place in present], compact.astype(np.int32), steps[part], times[part], values[part], now_us
        )
        watch.tick(now_us)
        found = watch.findings()
        for rule, one in found.items():
            if before.get(rule, Phase.QUIET) != one.phase:
                said.append(Said(rule, one.phase.name.lower(), one.metric, float(steps[last - 1]), one.step, one.title))
        for rule in before.keys() - found.keys():
            what = "resolved" if before[rule] is Phase.FIRING else "healed"
            said.append(Said(rule, what, None, float(steps[last - 1]), None, ""))
        before = {rule: one.phase for rule, one in found.items()}
    return said


def table(wanted: list[str]) -> dict[str, list[Said]]:
    """Replay and print."""
    found = {}
    for name, (main, series) in load().items():
        if wanted and name not in wanted:
            continue
        found[name] = said = replay(main, series)
        loud = [one for one in said if one.what in ("firing", "resolved")]
        print(f"{name:32} {'; '.join(f'{one.rule} {one.what} @{one.at_step:g}' for one in loud) or '-'}")
        for one in said:
            if one.what == "firing":
                print(f"{'':34}{one.title}")
        if quiet := [f"{one.rule} {one.what} @{one.at_step:g}" for one in said if one.what in ("pending", "healed")]:
            print(f"{'':34}({', '.join(quiet)})")
    return found


def plot(found: dict[str, list[Said]], folder: Path) -> None:
    """Draw the curves with marks, six on a page."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    curves = load()
    names = list(found)
    for page in range(0, len(names), 6):
        figure, axes = pyplot.subplots(2, 3, figsize=(18, 9))
        for axis, name in zip(axes.flat, names[page : page + 6], strict=False):
            for metric, points in curves[name][1].items():
                if "loss" in metric or metric == curves[name][0][0] or "nll" in metric or "mse" in metric:
                    axis.plot(points[0], points[2], ".-" if len(points[0]) < 200 else "-", lw=0.7, label=metric)
            for one in found[name]:
                colour = {"firing": "red", "pending": "orange", "resolved": "green", "healed": "lime"}[one.what]
                axis.axvline(one.at_step, color=colour, lw=1.2, ls="-" if one.what == "firing" else ":")
                axis.text(one.at_step, axis.get_ylim()[1], f" {one.rule}", color=colour, rotation=90, va="top", fontsize=8)
            values = np.concatenate([points[2] for points in curves[name][1].values()])
            if np.isfinite(values).any() and np.nanmin(values) > 0:
                axis.set_yscale("log")
            axis.set_title(name)
            axis.legend(fontsize=7)
        figure.tight_layout()
        figure.savefig(folder / f"page{page // 6}.png", dpi=60)
        pyplot.close(figure)


if __name__ == "__main__":
    words = sys.argv[1:]
    folder = Path(words.pop(words.index("--plot") + 1)) if "--plot" in words else None
    shown = table([word for word in words if word != "--plot"])
    if folder is not None:
        plot(shown, folder)
