"""What is different in a notebook: addresses are links, a cell that raises ends no run, a picture may be replaced in place.

Only what IPython offers to everybody: its events and `IPython.display`. IPython is never imported here before the
program itself has.
"""

import sys
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from farwatch.sdk import place

CellError = BaseException | None
PICTURES_MAX = 4


class Picture(Protocol):
    """A picture on the page that can be drawn again. `asked`: what it shows. `due_ns`: when, by the monotonic clock."""

    asked: object
    due_ns: int

    def redraw(self) -> bool: ...


class Page:
    """What one run has in a notebook: the pictures of it that move, and how it would end by the error of the last cell.

    *Threads*: any; while one draws, the others find nothing to draw.
    """

    def __init__(self, run: Any) -> None:
        self.failure: dict[str, Any] | None = None
        self._run = run
        self._look_ns = 0  # when the run has to look around next, pictures aside
        self._pictures: tuple[Picture, ...] = ()

    def cell_ran(self, failure: dict[str, Any] | None, trace: str) -> None:
        """Record how the cell that has just ended did: `failure` as for the end of a run, or None; `trace` goes to the console."""
        if failure is not None:
            if self._run._lines is not None and trace:
                self._run._lines.add("stderr", trace)
            self._run._patch({"capture": {"cell_error": failure["reason"]}})
        elif self.failure is not None:
            self._run._patch({"capture": {"cell_error": None}})
        self.failure = failure
        self.draw_all()

    def care(self, now_ns: int, look: Callable[[int], None]) -> None:
        """What `log` does when it is time to: `look` around every ten seconds, as without pictures, and draw what is due.

        Drawing counts as what logging has cost, for it held up the program.
        """
        if now_ns > self._look_ns:
            look(now_ns)
            self._look_ns = self._run._care_ns
        spent_ns = self.draw(now_ns)
        self._run._cost.add_time(spent_ns)
        self._run._care_ns = min([self._look_ns, *(picture.due_ns for picture in self._pictures)])

    def follow(self, picture: Picture) -> None:
        """Draw `picture` from now on; it replaces one that shows the same, and the oldest of more than four."""
        others = [other for other in self._pictures if other.asked != picture.asked]
        self._pictures = (*others, picture)[-PICTURES_MAX:]
        self._run._care_ns = 0  # the next call of `log` sees when it is due

    def draw(self, now_ns: int) -> int:
        """Draw what is due; returns how many nanoseconds that took. Never raises: a picture in trouble is let go."""
        pictures, self._pictures = self._pictures, ()
        kept: list[Picture] = []
        for picture in pictures:
            try:
                if picture.due_ns > now_ns or picture.redraw():
                    kept.append(picture)
            except Exception as error:
                self._run._trouble.warn("picture", f"a picture of show() stands still from now on: {error!s:.300}")
        self._pictures = (*kept, *self._pictures)
        return time.monotonic_ns() - now_ns if pictures else 0

    def draw_all(self) -> None:
        """Draw all pictures as things stand now: at the end of a cell, and of the run."""
        for picture in self._pictures:
            picture.due_ns = 0
        self.draw(time.monotonic_ns())


def watch_cells(after: Callable[[CellError], None]) -> None:
    """Have `after` called behind every cell, with the error that the cell raised or None. Nothing outside of IPython.

    What `after` raises is its own concern: a person's next cell must run whatever happens here.
    """
    shell = _shell()
    if shell is None:
        return

    def ran(result: Any) -> None:
        error = getattr(result, "error_before_exec", None) or getattr(result, "error_in_exec", None)
        after(error)

    shell.events.register("post_run_cell", ran)


def link(text: str, address: str) -> bool:
    """Show a line of `text` that ends with a link to `address`. Returns False where that is not possible."""
    import html  # its table of 2,231 entities: only for those who look

    marked = f'<a href="{html.escape(address)}" target="_blank" rel="noopener">{html.escape(address)}</a>'
    return show(f"<code>farwatch: {html.escape(text)}</code> {marked}", f"farwatch: {text} {address}")


def show(page: str, text: str, *, display_id: str | None = None, update: bool = False) -> bool:
    """Show HTML, or `text` where a reader has no HTML; `update` replaces what is shown under `display_id`.

    Returns False outside of a notebook, and where its display is broken: then the caller has to write a line.
    """
    if not place.in_notebook():
        return False
    try:
        from IPython.display import display  # loaded already: this is its kernel

        bundle = {"text/html": page, "text/plain": text}
        display(bundle, raw=True, display_id=display_id, update=update)
    except Exception:  # a border: a kernel that is going down, a display hook of somebody else
        return False
    return True


def told(error: BaseException) -> str:
    """The traceback of a cell's error, from the cell on: without the frames of IPython itself."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and "IPython" in trace.tb_frame.f_globals.get("__name__", "").split("."):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))


def _shell() -> Any:
    ipython: Any = sys.modules.get("IPython")
    return ipython.get_ipython() if hasattr(ipython, "get_ipython") else None
