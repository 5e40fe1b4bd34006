"""Progress bars that tell the run how far it is: tqdm's own, where it is installed, and a small one where it is not.

`Reported` is mixed into the installed tqdm, so that every argument, method and letter on the terminal is tqdm's. What is added:
the run is told what the bar shows; the end of each iteration is a safe point; and tqdm's monitor thread is not needed.
"""

import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import cache, wraps
from typing import Any

from farwatch import settings
from farwatch.sdk.progress import Reports, begin_steps, end_steps, meter_of
from farwatch.sdk.session import SESSION
from farwatch.sdk.unasked import unasked

LOOK_EVERY = 4  # iterations between looks at the clock: one costs as much as the rest of an iteration
MONITOR_S = 10.0  # tqdm's monitor thread wakes so often
_FILE, _DISABLE = 4, 10  # their places among tqdm's arguments


class Reported:
    """What a tqdm class gains. Besides tqdm's arguments it takes `mute` and `run`.

    `mute`: nothing on the terminal; the run is told all the same; by default what `FARWATCH_MUTE` says. `run`: whose progress this
    is; by default the run that is current when the bar is made. With `disable=True` nobody is told; with `disable=None` and no
    terminal, only the run is.
    """

    monitor_interval = 0  # no thread in the trainer: see `_unstick`
    monitor = None

    disable: Any
    leave: Any
    iterable: Any
    miniters: float
    maxinterval: float
    last_print_t: float
    pos: int
    _instances: Any
    _farwatch_widget = False  # a notebook's bar, not a terminal's
    _farwatch_to: str | None = None  # a chat of its own; see `farwatch.sdk.chat_bars`
    _time: Callable[[], float]

    def __init__(self, *args: Any, mute: bool | None = None, run: Any = None, **kwargs: Any) -> None:
        self._farwatch_run = run
        self._farwatch_told: Reports | None = None
        self._farwatch_muted = False
        self._farwatch_left = LOOK_EVERY
        self._farwatch_shown: dict[str, Any] | None = None
        self._farwatch_end: dict[str, Any] | None = None
        listed = list(args)
        if mute is None:
            mute = bool(settings.read("mute"))
        if not self._farwatch_widget and _argument(listed, kwargs, _DISABLE, "disable", False) is None:
            stream = _argument(listed, kwargs, _FILE, "file", None) or sys.stderr
            mute = mute or (hasattr(stream, "isatty") and not stream.isatty())
            _put(listed, kwargs, _DISABLE, "disable", False)
        if mute:
            self._farwatch_muted = True
            _put(listed, kwargs, _FILE, "file", _Nowhere())
            if self._farwatch_widget:
                kwargs["display"] = False
        super().__init__(*listed, **kwargs)
        if mute:
            self._instances.discard(self)  # it takes no line from those that are shown
        if not self.disable:
            self._farwatch_reports()

    # --- what the run is told

    @property
    def format_dict(self) -> dict[str, Any]:
        """What tqdm makes the text of."""
        shown: dict[str, Any] = super().format_dict  # type: ignore[misc]
        self._farwatch_shown = shown
        return shown

    def farwatch_meter(self) -> dict[str, Any]:
        """What the bar shows: now, or when it ended."""
        meter = meter_of(self._farwatch_end or self.format_dict)
        if self._farwatch_to is not None:
            meter["to"] = [self._farwatch_to]
        goes = not (self.leave or (self.leave is None and self.pos == 0))
        if goes and (self._farwatch_to is not None or self._farwatch_run in (None, SESSION.unasked)):
            meter["leave"] = False  # where a run is more than its bars, its message stays
        return meter

    def farwatch_order(self) -> int:
        return abs(self.pos)

    def _farwatch_reports(self) -> Reports | None:
        if self._farwatch_told is None:
            run = self._farwatch_run = self._farwatch_run or SESSION.current() or unasked().run(now=self._farwatch_to is not None)
            if run is not None:  # it may come after the bar
                self._farwatch_told = run._reports_of_bars()
                self._farwatch_told.opened(self)
        return self._farwatch_told

    def display(self, *args: Any, **kwargs: Any) -> Any:
        """Draw, and tell; tqdm calls it."""
        shown = True if self._farwatch_muted else super().display(*args, **kwargs)  # type: ignore[misc]
        if not self.disable:
            reports = self._farwatch_reports()
            if reports is not None:
                reports.changed()
        return shown

    def close(self) -> None:
        """End the bar, as tqdm does, and tell how it ended."""
        if getattr(self, "disable", True):
            return
        self._farwatch_shown = None
        super().close()  # type: ignore[misc]
        if self.disable:  # a notebook's bar may stay
            self._farwatch_end = self._farwatch_shown or self.format_dict
            reports = self._farwatch_reports()
            if reports is not None:
                reports.closed(self)
            else:
                unasked().ended(self)

    # --- iterating

    def __iter__(self) -> Iterator[Any]:
        if self._farwatch_run is None:
            self._farwatch_run = SESSION.current()
        given, run = self.iterable, self._farwatch_run
        if self.disable:
            yield from given if run is None else _until_stopped(given, run)
        else:
            # It puts the iterable back as soon as tqdm has taken it.
            self.iterable = self._farwatch_steps(given, run)
            yield from super().__iter__()  # type: ignore[misc]

    def _farwatch_steps(self, given: Any, run: Any) -> Iterator[Any]:
        """The items that tqdm is to count. It asks for the next when it has counted the last: the step has ended."""
        self.iterable = given
        left = LOOK_EVERY
        step_end = begin_steps(run)
        try:
            for item in given:
                yield item
                if step_end():
                    return
                left -= 1
                if not left:
                    left = LOOK_EVERY
                    if self.miniters > 1:
                        self._unstick()
        finally:
            end_steps(run)

    def _unstick(self) -> None:
        """Do the work of tqdm's monitor: where a fast loop became slow, do not wait for as many iterations as before."""
        if not self.monitor_interval and self._time() - self.last_print_t >= max(self.maxinterval, MONITOR_S):
            self.miniters = 1

    # --- asyncio: as in `tqdm.asyncio`, but the iterable is asked for its iterator once

    def __aiter__(self) -> AsyncIterator[Any]:
        self._farwatch_next: Any = None
        self._farwatch_looped: Any = None
        return self  # type: ignore[return-value]

    async def __anext__(self) -> Any:
        if getattr(self, "_farwatch_next", None) is None:
            given = self.iterable
            self._farwatch_looped = self._farwatch_run or SESSION.current()
            self._farwatch_step_end = begin_steps(self._farwatch_looped)
            if hasattr(given, "__aiter__"):
                self._farwatch_next = given.__aiter__().__anext__
            else:
                self._farwatch_next = _awaited(iter(given))
        else:
            if self._farwatch_step_end():
                self._farwatch_left_loop()
                raise StopAsyncIteration
        try:
            item = await self._farwatch_next()
        except BaseException:
            self._farwatch_left_loop()
            raise
        self.update()  # type: ignore[attr-defined]
        return item

    def _farwatch_left_loop(self) -> None:
        run, self._farwatch_looped = self._farwatch_looped, None
        end_steps(run)
        self.close()

    def send(self, *args: Any, **kwargs: Any) -> Any:
        """Send to the generator that is iterated."""
        return self.iterable.send(*args, **kwargs)

    @classmethod
    def as_completed(cls, fs: Any, **kwargs: Any) -> Iterator[Any]:
        """`asyncio.as_completed` with a bar; see `tqdm.asyncio`."""
        from tqdm.asyncio import tqdm_asyncio  # loads asyncio: for those who use it

        return tqdm_asyncio.as_completed.__func__(cls, fs, **kwargs)  # type: ignore[no-any-return]

    @classmethod
    def gather(cls, *fs: Any, **kwargs: Any) -> Any:
        """`asyncio.gather` with a bar; see `tqdm.asyncio`."""
        from tqdm.asyncio import tqdm_asyncio  # loads asyncio: for those who use it

        return tqdm_asyncio.gather.__func__(cls, *fs, **kwargs)

    # --- one lock with tqdm's own bars

    @classmethod
    def get_lock(cls) -> Any:
        return _base().get_lock()

    @classmethod
    def set_lock(cls, lock: Any) -> None:
        _base().set_lock(lock)


def _watched(update: Callable[..., Any]) -> Callable[..., Any]:
    """tqdm's `update`, which now and then looks whether the bar stands still."""

    @wraps(update)
    def watched(self: Any, n: float | None = 1) -> Any:
        self._farwatch_left -= 1
        if not self._farwatch_left:
            self._farwatch_left = LOOK_EVERY
            if not self.disable and self.miniters > 1:
                self._unstick()
        return update(self, n)

    return watched


def _awaited(items: Iterator[Any]) -> Callable[[], Any]:
    async def following() -> Any:
        for item in items:
            return item
        raise StopAsyncIteration

    return following


def _until_stopped(given: Iterable[Any], run: Any) -> Iterator[Any]:
    """The items of a bar that is not shown: with the same safe points, which other ranks count on."""
    step_end = begin_steps(run)
    try:
        for item in given:
            yield item
            if step_end():
                return
    finally:
        end_steps(run)


class _Nowhere:
    """The terminal of a muted bar."""

    encoding = "utf-8"

    def write(self, text: Any) -> int:
        return len(text)

    def flush(self) -> None:
        return None

    def isatty(self) -> bool:
        return False


def _argument(args: list[Any], kwargs: dict[str, Any], place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


def _put(args: list[Any], kwargs: dict[str, Any], place: int, name: str, value: Any) -> None:
    if len(args) > place:
        args[place] = value
    else:
        kwargs[name] = value


def _base() -> Any:
    from tqdm.std import tqdm  # optional, and only here

    return tqdm


@cache
def tqdm_class() -> Any:
    """The class `farwatch.tqdm.tqdm`: the installed tqdm, for notebooks in a notebook, that tells its run. Raises `ImportError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it looks for a notebook is what is wanted
        from tqdm.autonotebook import tqdm as chosen  # optional, and only here
    own = Reported.__doc__ or ""
    doc = f"{chosen.__doc__ or _base().__doc__}\n\n    Farwatch adds:{own.partition('.')[2]}"
    more = {"__doc__": doc, "__module__": "farwatch.tqdm", "update": _watched(chosen.update)}
    return type("tqdm", (Reported, chosen), {**more, "_farwatch_widget": chosen is not _base()})


def make(
    run: Any, iterable: Any, desc: str | None, total: float | None, *, mute: bool | None, **arguments: Any
) -> Any:
    """The bar of `run.progress`: tqdm's, or a small one."""
    try:
        chosen = tqdm_class()
    except ImportError:
        from farwatch.sdk.small_bar import SmallBar  # for those without tqdm

        return SmallBar(iterable, desc, total, run=run, mute=mute, **arguments)
    return chosen(iterable, desc, total, run=run, mute=mute, **arguments)
