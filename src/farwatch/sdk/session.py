"""The runs of this process, and the ends that it can come to.

The one module-level state of Farwatch: which runs are open in which thread of this process.
"""

import atexit
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from farwatch.sdk import notebook, place
from farwatch.sdk.run import Run
from farwatch.sdk.steering import Stopped
from farwatch.wire.states import State


class Session:
    """The runs of this process, and its hooks into the interpreter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: list[tuple[int, Run]] = []  # (thread that made it, run), oldest first
        self._counts = 0
        self.quiet = False
        self.unasked: Run | None = None  # see `farwatch.sdk.unasked`
        self.bars: Any = None  # what bars have shown before there was a run; see there
        self.messages: Any = None  # those of a program without a run; see `farwatch.sdk.messages`
        self._latest: Run | None = None
        self._hooked = False
        self._excepthook: Any = None
        self._exit: Any = None
        self._exit_code: int | None = None
        self._pid = os.getpid()

    def current(self) -> Run | None:
        """The newest open run of this thread, else of the process; None if there is none."""
        mine = threading.get_ident()
        with self._lock:
            runs = list(self._runs)
        for thread, run in reversed(runs):
            if thread == mine:
                return run
        return runs[-1][1] if runs else None

    def of_this_thread(self) -> Run | None:
        """The newest run of this thread whose `with` block is not open; what a second `init` finds."""
        mine = threading.get_ident()
        with self._lock:
            return next((run for thread, run in reversed(self._runs) if thread == mine and not run._depth), None)

    def latest(self) -> Run | None:
        """The current run, else the one that was begun last in this process; None if there never was one."""
        return self.current() or self._latest

    def add(self, run: Run) -> None:
        with self._lock:
            self._latest = run
            self._runs.append((threading.get_ident(), run))
        self._hook()

    def remove(self, run: Run) -> None:
        with self._lock:
            self._runs = [(thread, other) for thread, other in self._runs if other is not run]

    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the one that loaded us."""
        return os.getpid() != self._pid

    @property
    def began(self) -> bool:
        """Whether this process has ever had a run."""
        return self._counts > 0

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Make a run that nobody asked for, and say nothing of it."""
        self.quiet = True
        try:
            yield
            self.unasked = self.current()
        finally:
            self.quiet = False

    def forget(self, run: Run) -> None:
        """End a run that nobody asked for, as if it had not been: somebody asks for one now."""
        self.unasked = None
        self._counts = 0
        run.finish()

    def count_init(self) -> int:
        with self._lock:
            self._counts += 1
            return self._counts

    # --- how a program ends

    def _hook(self) -> None:
        if self._hooked:
            return
        self._hooked = True
        atexit.register(self._at_exit)
        self._excepthook = sys.excepthook
        sys.excepthook = self._on_exception
        self._exit = sys.exit
        notebook.watch_cells(self._on_cell)
        sys.exit = self._on_sys_exit  # `atexit` is not told the code; `exit()` and argparse come through here as well

    def _on_sys_exit(self, code: Any = None) -> Any:
        self._exit_code = 0 if code is None else code if isinstance(code, int) else 1
        return self._exit(code)

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not self.forked and not place.in_notebook():
            with self._lock:
                runs = [run for _, run in self._runs]
            for run in reversed(runs):
                end_by_exception(run, error)
        self._excepthook(kind, error, trace)

    def _on_cell(self, error: BaseException | None) -> None:
        """Tell the open runs how a cell of the notebook ended. An error ends none of them; what comes behind may. (Rule 13.)"""
        if self.forked:
            return
        with self._lock:
            runs = [run for _, run in self._runs]
        for run in runs:
            try:
                if run._steering.stopping is not None and isinstance(error, Stopped):
                    run._end(State.FINISHED, "")  # somebody stopped it: here no exit of the program follows
                    continue
                kept = run._place.keep_traceback
                quiet = error is None or (isinstance(error, SystemExit) and error.code in (None, 0))
                trace = notebook.told(error) if error is not None and not quiet and kept else ""
                run._notebook.cell_ran(None if error is None or quiet else ending(error, trace, kept=kept), trace)
            except Exception as trouble:  # the border: the person's next cell has to run
                run._failed(trouble, "the end of a cell")

    def _at_exit(self) -> None:
        if self.forked:
            return
        with self._lock:
            runs = [run for _, run in self._runs]
        for run in reversed(runs):
            code = self._exit_code
            if code:
                run._end(State.FAILED, f"exit code {code}", exit_code=code)
            elif run._notebook.failure is not None:
                run._end(**run._notebook.failure)  # a notebook whose last cell raised
            else:
                run._end(State.FINISHED, "", exit_code=code, assumed=code is None)


SESSION = Session()


def end_by_exception(run: Run, error: BaseException) -> None:
    """Finish a run because an exception leaves its program or its `with` block. (Rule 11.)"""
    kept = run._place.keep_traceback
    run._end(**ending(error, "".join(traceback.format_exception(error)) if kept else "", kept=kept))


def ending(error: BaseException, trace: str, *, kept: bool) -> dict[str, Any]:
    """How a run ends by an exception: the arguments of `Run._end`. `kept`: whether its text may be recorded."""
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        state = State.FAILED if code else State.FINISHED
        return {"state": state, "reason": f"exit code {code}" if code else "", "exit_code": code}
    if isinstance(error, KeyboardInterrupt):
        return {"state": State.STOPPED, "reason": "interrupted"}
    if type(error).__name__ == "TrialPruned":
        return {"state": State.STOPPED, "reason": "pruned"}
    told = f"{type(error).__name__}: {error}"[:1000] if kept else type(error).__name__
    return {"state": State.FAILED, "reason": told, "traceback": trace or None}
