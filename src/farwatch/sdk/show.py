"""`farwatch.show`: a run drawn inside the notebook, or in a few lines of text, from its own journal; no server needed.

No thread of ours lives in a training process, so a picture moves when the program itself comes by: `log` redraws it at
most once a second, and never for more than a fiftieth of the time, and the end of every cell does once more. While
nothing is shown, `log` does not even know of this.
"""

import base64
import fnmatch
import html
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from farwatch import settings as settings_module
from farwatch.errors import NotFoundError, UsageError
from farwatch.sdk import drawing, notebook
from farwatch.sdk.curves import Curves, writer_of
from farwatch.sdk.place import choose_journal_root
from farwatch.sdk.run import Run
from farwatch.sdk.session import SESSION
from farwatch.wire.ids import short_id

EVERY_NS = 1_000_000_000
READ_NS = 15_000_000  # how long a redraw inside `log` may read: 75,000 points
DUTY = 50  # a picture that took t to draw is not drawn again within 50 t
CHARTS_MAX = 6  # unless the caller names the metrics
MARGIN_PX = 70  # the least height in which a curve can be seen: its frame takes 40


def show(
    run: Run | str | None = None,
    metrics: str | Iterable[str] | None = None,
    *,
    last: int | None = None,
    height: int = 160,
    live: bool = True,
) -> None:
    """Draw a run's curves here: in a notebook as a picture that moves while the run logs, else as lines of text.

    Reads the journal on this machine, so it works with and without a server. One chart per quantity, `train/…` and `val/…`
    together, by step; bands hold every value; `×` marks a NaN or an infinity. One process's points: of rank 0, of this
    attempt. A picture follows a run of this process until that run ends.

    Args:
        run: A run, or the id of one that was logged on this machine; by default the current run, else the last one.
        metrics: Names or patterns with `*`; by default the first few, without `system/`.
        last: Only the newest so many points of each metric.
        height: Of one chart, in pixels, above 70.
        live: Whether the picture moves. Redrawing happens inside `log`, at most once a second and for at most 2 % of the time.

    Raises:
        UsageError: No run to show, or an argument that cannot be right.
        NotFoundError: No journal of that run is on this machine.
    """
    if last is not None and (isinstance(last, bool) or not isinstance(last, int) or last < 1):
        raise UsageError(f"last must be a number of points above 0, not: `{last}`")
    if isinstance(height, bool) or not isinstance(height, int) or not MARGIN_PX <= height <= 4000:
        raise UsageError(f"height must be pixels from {MARGIN_PX} to 4000, not: `{height}`")
    wanted = (metrics,) if isinstance(metrics, str) else None if metrics is None else tuple(map(str, metrics))
    found = SESSION.latest() if run is None else run
    if found is None:
        raise UsageError("there is no run to show", hint="call farwatch.init() first, or name a run of this machine")
    picture = _of_run(found, wanted, last, height) if isinstance(found, Run) else _of_journal(str(found), wanted, last, height)
    page, text = picture.draw()
    if not notebook.show(page, text, display_id=picture.display_id):
        _write(text)
    elif live and isinstance(found, Run) and found.state == "running":
        found._notebook.follow(picture)


def _of_run(run: Run, wanted: tuple[str, ...] | None, last: int | None, height: int) -> "Picture":
    if run._writer.root is None:
        raise UsageError(f"nothing of {run.name} is kept, so there is nothing to show", hint="mode is `disabled`")

    def committed() -> tuple[str, int]:
        journal = run._writer.journal
        with journal.lock:
            return f"{journal.segment:06d}.fwj", journal.at[3]

    run._journal.hold(lambda: run._pending.flush())  # values of a device that have arrived meanwhile
    head = lambda: (f"{run.name} · {run.state}", run.url)  # noqa: E731
    return Picture(Curves(run._writer.journal.folder, last), head, committed, wanted, height)


def _of_journal(run: str, wanted: tuple[str, ...] | None, last: int | None, height: int) -> "Picture":
    state = settings_module.state_dir(settings_module.load())
    other = choose_journal_root(state, settings_module.environment())
    folder = writer_of(run, dict.fromkeys([state / "journals", *([other] if other else [])]))
    if folder is None:
        raise NotFoundError(f"no journal of this run is on this machine: `{run[:200]}`", hint="farwatch status lists them")
    return Picture(Curves(folder, last), lambda: (short_id(run), None), lambda: None, wanted, height)


class Picture:
    """What one call of `show` has put on the page, and how to draw it again. *Threads*: one at a time."""

    def __init__(
        self,
        curves: Curves,
        head: Callable[[], tuple[str, str | None]],
        committed: Callable[[], tuple[str, int] | None],
        wanted: tuple[str, ...] | None,
        height: int,
    ) -> None:
        self.display_id = f"farwatch-{uuid.uuid4().hex}"
        self.asked: Any = (wanted, height, curves._last)  # the same question again replaces this picture
        self.due_ns = 0
        self._curves = curves
        self._head = head
        self._committed = committed
        self._wanted = wanted
        self._height = height

    def draw(self, limit_ns: int | None = None) -> tuple[str, str]:
        """The picture as HTML and as text; `limit_ns`: how long it may read."""
        began = time.monotonic_ns()
        self._curves.read(self._committed(), limit_ns)
        groups, left_out = self._choose()
        if self._curves.behind:
            left_out = "the run is faster than this picture; it catches up at the end of the cell"
        title, address = self._head()
        spoken = html.escape(title)
        if address is not None:
            spoken += f' · <a href="{html.escape(address)}" target="_blank" rel="noopener">{html.escape(address)}</a>'
        images = [_image(group, self._height) for group in groups]
        note = f"<br><small>{html.escape(left_out)}</small>" if left_out else ""
        if not groups:
            note = "<br><small>nothing is logged yet</small>"
        page = f"<div><code>farwatch: {spoken}</code><br>{' '.join(images)}{note}</div>"
        text = [f"farwatch: {title}" + (f" · {address}" if address else "")]
        text += [drawing.table([curve for group in groups for curve in group.curves]) or "nothing is logged yet"]
        text += [left_out] if left_out else []
        now = time.monotonic_ns()
        self.due_ns = now + max(EVERY_NS, DUTY * (now - began))
        return page, "\n".join(text)

    def redraw(self) -> bool:
        """Replace what is on the page; False if there is no page any more."""
        page, text = self.draw(READ_NS if self.due_ns else None)  # not in a hurry: at the end of a cell
        return notebook.show(page, text, display_id=self.display_id, update=True)

    def _choose(self) -> tuple[list[drawing.Group], str]:
        """The groups to draw, and a word about those that are not."""
        curves = [curve for curve in self._curves.found.values() if curve.count]
        if self._wanted is not None:
            chosen = [c for c in curves if any(c.name == w or fnmatch.fnmatchcase(c.name, w) for w in self._wanted)]
            lacking = [w for w in self._wanted if not any(c.name == w or fnmatch.fnmatchcase(c.name, w) for c in curves)]
            return drawing.groups(chosen), f"not logged: {', '.join(lacking)}" if lacking else ""
        groups = drawing.groups(curve for curve in curves if not curve.name.startswith("system/"))
        more = sum(len(group.curves) for group in groups[CHARTS_MAX:]) + self._curves.left_out
        return groups[:CHARTS_MAX], f"and {more} more: show(metrics=[…])" if more else ""


def _image(group: drawing.Group, height: int) -> str:
    """An image instead of inline SVG: notebooks show it also where they do not trust a page, and its text is nobody's HTML."""
    encoded = base64.b64encode(drawing.svg(group, height).encode()).decode()
    return (
        f'<img src="data:image/svg+xml;base64,{encoded}" width="{drawing.WIDTH}" height="{height}"'
        f' alt="{html.escape(drawing.table(group.curves))}">'
    )


def _write(text: str) -> None:
    """Lines on stdout, in what its encoding can say."""
    stream = sys.stdout
    if stream is None:
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()


