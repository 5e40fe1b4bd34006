"""`farwatch watch`: a run live in the terminal, over SSH as well."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from farwatch.api import Api, ConsoleLine, Line, Run
from farwatch.cli.curve import draw
from farwatch.cli.output import clean, duration, emit, emit_json, server_options, short_number
from farwatch.clock import Clock, SystemClock
from farwatch.errors import ContactError, NotFoundError, QueryError
from farwatch.wire.progress import brief_text
from farwatch.wire.states import FINAL

WAIT_S = 10
PAUSE_S = 0.25  # at most four drawings a second
CONSOLE_LINES = 200
TAIL_LEAST = 3  # lines of the console that charts leave room for
CHART_LEAST, CHART_MOST, FRAME = 3, 10, 2  # lines of a chart inside its frame, and of the frame
WIDE, NARROW = 90, 56  # columns of the terminal: two charts side by side from the first, or the second if they must
STYLES = {
    "running": "green",
    "finished": "blue",
    "failed": "bold red",
    "stalled": "yellow",
    "lost": "yellow",
    "stopped": "magenta",
}


@click.command()
@click.argument("run", required=False)
@click.option("--metric", "match", metavar="REGEX", help="Draw only metrics whose name matches.")
@click.option(
    "--charts", type=click.IntRange(1, 24), default=4, show_default=True, help="Draw at most so many."
)
@click.option("--once", is_flag=True, help="Draw once and end.")
@server_options
def watch(
    run: str | None, match: str | None, charts: int, once: bool, as_json: bool, server: str | None
) -> None:
    """Watch RUN live: state, curves and console. Without RUN: the one that began last.

    Ends with the run; Ctrl-C ends the watching only. Without a terminal, lines are written as they come.
    """
    if match is not None:
        try:
            re.compile(match)
        except re.error as error:
            raise QueryError(f"not a regular expression: `{match}`: {error}") from None
    with Api(server) as api:
        found = api.run(run) if run else _newest(api)
        feed = Feed(found, api, match, charts)
        if as_json:
            for view in feed.views(once):
                emit_json(_told(view))
        elif sys.stdout.isatty():
            _live(feed, once)
        else:
            _lines(feed, once)


def _newest(api: Api) -> Run:
    runs = api.runs(sort="-created", limit=1)
    if not runs:
        raise NotFoundError("there is no run yet", hint="start one; then: farwatch watch")
    return runs[0]


class View:
    """What is drawn at one moment."""

    def __init__(
        self,
        detail: dict[str, Any],
        lines: list[Line],
        console: list[ConsoleLine],
        last: dict[str, Any],
        note: str = "",
    ) -> None:
        self.detail = detail
        self.lines = lines
        self.console = console
        self.last = last
        self.note = note

    @property
    def ended(self) -> bool:
        return self.detail["state"] in FINAL


class Feed:
    """Asks again whenever the server says that something has changed."""

    def __init__(
        self, run: Run, api: Api, match: str | None, charts: int, clock: Clock | None = None
    ) -> None:
        self._run = run
        self._contact = run._contact
        self._match = match
        self._charts = charts
        self._clock = clock or SystemClock()

    def views(self, once: bool) -> Iterator[View]:
        """The present, and then every change until the run has ended. Lost contact is a note, not an end."""
        cursor: str | None = None
        view = self._view()
        while True:
            yield view
            if once or view.ended:
                return
            try:
                body = {"cursor": cursor, "runs": [self._run.id], "console": [self._run.id], "wait_s": WAIT_S, "project": None,
                        "series": [{"run": self._run.id, "name": line.name} for line in view.lines]}  # fmt: skip
                cursor = self._contact.post("/live", body)["cursor"]
                self._clock.sleep(PAUSE_S)
                view = self._view()
            except ContactError as error:
                view = View(view.detail, view.lines, view.console, view.last, note=error.message)
                self._clock.sleep(2)

    def _view(self) -> View:
        detail = self._run.detail
        metrics = self._run.metrics(self._match)
        shown = [m for m in metrics.values() if self._match or not m.name.startswith("system/")]
        shown = sorted(
            shown, key=lambda metric: (metric.count < 2, not metric.name.endswith("loss"), metric.name)
        )[: self._charts]
        lines = self._run.chart([metric.name for metric in shown], buckets=240).lines if shown else []
        last = {metric.name: metric.last for metric in metrics.values()}
        return View(detail, lines, self._run.console(tail=CONSOLE_LINES), last)


def _told(view: View) -> dict[str, Any]:
    keys = ("id", "name", "project", "state", "reason", "step", "duration_ms", "progress")
    return {
        **{key: view.detail.get(key) for key in keys},
        "last": view.last,
        "console": [line.text for line in view.console[-5:]],
    }


def _lines(feed: Feed, once: bool) -> None:
    """Plain lines: the state when it changes, the numbers when they do, the console as it comes."""
    seen = -1
    state, numbers = "", ""
    for view in feed.views(once):
        now = _headline(view)
        if view.detail["state"] != state:
            state = view.detail["state"]
            emit(now)
        for line in view.console:
            if line.n > seen:
                emit(f"  {clean(line.text)}")
                seen = line.n
        told = " ".join(
            f"{clean(name)}={short_number(view.last[name])}" for name in (line.name for line in view.lines)
        )
        if told and told != numbers:
            numbers = told
            emit(f"step {short_number(view.detail.get('step'))}: {told}")


def _headline(view: View) -> str:
    detail = view.detail
    parts = [f"{clean(detail['name'])} {detail['short']}", detail["state"], clean(detail.get("reason") or "")]
    progress = detail.get("progress")
    step = f"step {short_number(detail.get('step'))}"
    if detail.get("total_steps"):
        step += f" of {short_number(detail['total_steps'])}"
    if progress:
        step += f" ({clean(brief_text(progress))})"
    return " · ".join(part for part in [*parts, step, duration(detail.get("duration_ms")), view.note] if part)


def _live(feed: Feed, once: bool) -> None:
    console = Console()
    if once:
        for view in feed.views(once):
            console.print(_screen(view, console.width, console.height - 1))  # the prompt comes below it
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        for view in feed.views(once):
            live.update(_screen(view, console.width, console.height), refresh=True)
    emit(_headline(view))


def _screen(view: View, width: int, height: int) -> Group:
    """The whole picture, never higher than the terminal: what does not fit is left out, charts last."""
    head = Text(
        _headline(view), style=STYLES.get(view.detail["state"], ""), no_wrap=True, overflow="ellipsis"
    )
    tail_least = min(TAIL_LEAST, len(view.console))
    columns, rows, chart_height = _layout(len(view.lines), width, height - 1 - tail_least)
    grid = Table.grid(expand=True, padding=0)
    for _ in range(columns):
        grid.add_column(ratio=1)
    widths = [width // columns + (place < width % columns) for place in range(columns)]
    for start in range(0, columns * rows, columns):
        shown = view.lines[start : start + columns]
        grid.add_row(*(_panel(line, view, wide, chart_height) for line, wide in zip(shown, widths, strict=False)))
    room = height - 1 - rows * (chart_height + FRAME)
    tail = Text(
        "\n".join(clean(line.text) for line in view.console[-room:] if room > 0),
        no_wrap=True,
        overflow="ellipsis",
        style="dim",
    )
    return Group(head, *([grid] if rows else []), *([tail] if tail.plain else []))


def _layout(charts: int, width: int, height: int) -> tuple[int, int, int]:
    """Columns, rows, and lines of a chart's inside, for `charts` charts in `height` lines.

    One column where the window is narrow, unless they would not all fit below one another.
    """
    most = max(0, height // (CHART_LEAST + FRAME))
    columns = 2 if charts > 1 and (width >= WIDE or (charts > most and width >= NARROW)) else 1
    rows = min(-(-charts // columns), most)
    return columns, rows, min(CHART_MOST, height // rows - FRAME) if rows else 0


def _panel(line: Line, view: View, width: int, height: int) -> Panel:
    title = f"{clean(line.name)} {short_number(view.last.get(line.name))}"
    steps = f"{_step(line.x[0])} … {_step(line.x[-1])}" if len(line.x) > 1 else ""
    return Panel(
        Text("\n".join(draw(line, width - 4, height)), no_wrap=True),
        title=Text(title, no_wrap=True, overflow="ellipsis"),
        title_align="left",
        subtitle=Text(steps) if steps else None,
        subtitle_align="right",
        border_style="dim",
    )


def _step(x: float) -> str:
    return short_number(round(float(x)) if abs(x) >= 100 else float(x))  # the middle of a bucket
