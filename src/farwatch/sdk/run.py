"""The run as its program holds it: what `farwatch.init` returns."""

import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from farwatch.errors import UsageError
from farwatch.sdk import rendering, saving
from farwatch.sdk.config import Config
from farwatch.sdk.cost import Cost
from farwatch.sdk.hand import Hand
from farwatch.sdk.helm import steering_of
from farwatch.sdk.notebook import Page
from farwatch.sdk.notices import Notices
from farwatch.sdk.recorder import Recorder
from farwatch.sdk.say import say
from farwatch.sdk.steering import NO_BELL, Steering, stop_reason
from farwatch.sdk.summary import Summary, Tags
from farwatch.sdk.writer import Place, Writer
from farwatch.wire.ids import short_id
from farwatch.wire.records import Kind, encode_json
from farwatch.wire.states import FINAL, State

if TYPE_CHECKING:
    from farwatch.sdk.knob import Knob

T = TypeVar("T", float, int, bool, str)
F = TypeVar("F", bound=Callable[..., Any])

WAIT_STEP_S = 0.01


class Run(Recorder):
    """One execution of training code, seen from inside.

    Made by `farwatch.init`. `config`, `summary` and `tags` are live: changing them is recorded. In a `with` block it is
    finished at the end, as failed if an exception leaves the block.
    """

    __slots__ = (
        "__weakref__", "_depth", "_hand", "_lines", "_name", "_notes", "_notices", "_page", "_place", "_reason", "_reports", "_state",
        "_steering", "_writer", "config", "summary", "tags",
    )  # fmt: skip

    def __init__(self, writer: Writer, *, config: dict[str, Any], place: Place) -> None:
        super().__init__(writer.journal, base_ns=writer.base_ns, strict=place.strict, warn=say)
        self._writer = writer
        self._place = place
        self._state = State.RUNNING
        self._reason = ""
        self._depth = 0
        self._page: Page | None = None  # what this run has in a notebook
        self._name = writer.sidecar["name"]
        self._notes = writer.sidecar["notes"]
        self._lines: Any = None  # the console, while it is captured
        self._reports: Any = None  # what progress bars have told, once there is one
        hand = Hand(self)
        self._hand = hand
        self._notices = Notices(hand)
        self._steering: Steering = steering_of(hand, writer, place)
        self._bell = self._steering.bell
        self.config = Config(config, self._config_changed, self._config_deleted)
        self.summary = Summary(self)
        self.tags = Tags(self, writer.sidecar["tags"])

    # --- who it is

    @property
    def id(self) -> str:
        """The id of the run; on ranks above 0 provisional until the server has bound them."""
        return str(self._writer.answer().get("run") or self._writer.sidecar["run"])

    @property
    def project(self) -> str:
        return str(self._writer.sidecar["project"])

    @property
    def name(self) -> str:
        return str(self._name)

    @name.setter
    def name(self, name: str) -> None:
        self._name = str(name)
        self._patch({"name": self._name})

    @property
    def notes(self) -> str:
        return self._notes or ""

    @notes.setter
    def notes(self, notes: str) -> None:
        self._notes = str(notes)
        self._patch({"notes": self._notes})

    @property
    def number(self) -> int | None:
        """The run's number in its project; None until a server has given one."""
        return self._writer.answer().get("number")

    @property
    def url(self) -> str | None:
        """Address of the run's page; None where this machine knows no server."""
        address = self._place.address
        return None if address is None else f"{address}/r/{short_id(self.id)}"

    @property
    def step(self) -> float | int:
        """The step that the next call without one would get."""
        return self._counter

    @property
    def attempt(self) -> int:
        """Which life of the run this is, from 1; as far as a server has told."""
        return int(self._writer.answer().get("attempt") or 1)

    @property
    def rank(self) -> int:
        return int(self._writer.sidecar["rank"])

    @property
    def state(self) -> str:
        return str(self._state)

    def __repr__(self) -> str:
        return f"<farwatch.Run {self.name} {short_id(self.id)} {self._state}>"

    def _repr_html_(self) -> str:
        url = self.url
        return f"<code>farwatch</code> {self.name} " + (f'<a href="{url}">{url}</a>' if url else short_id(self.id))

    # --- files

    def save(self, pattern: str | os.PathLike[str], *, base: str | os.PathLike[str] | None = None) -> list[str]:
        """Keep copies of the files that match a path or glob (`**` matches folders); returns the names they are kept under.

        Names are relative to `base`, by default the working folder, or the file's own folder outside of it. A file
        saved again under one name replaces the earlier one. Never raises; what cannot be read is warned about.
        """
        try:
            if not self._alive[0]:
                self._after_fork()
            if not self._finished and self._writer.spool is not None:
                return saving.save(self, self._writer.spool, os.fspath(pattern), base)
        except Exception as error:
            self._failed(error, "save()")
        return []

    # --- progress

    def progress(
        self, iterable: Any = None, desc: str | None = None, total: float | None = None, *, mute: bool | None = None,
        **arguments: Any,
    ) -> Any:  # fmt: skip
        """Iterate, with a progress bar here and on the run's page: `for batch in run.progress(loader, desc="epoch 1")`.

        Takes and returns what tqdm does, if tqdm is installed; else a small bar on the error stream where that is a terminal. `mute`:
        no bar here; by default what `FARWATCH_MUTE` says. The end of each iteration is a full safe point, and where somebody has
        stopped the run the iteration ends.
        """
        from farwatch.sdk import bars  # a part of the import, for programs that show a bar

        return bars.make(self, iterable, desc, total, mute=mute, **arguments)

    def _reports_of_bars(self) -> Any:
        if self._reports is None:
            from farwatch.sdk.progress import Reports  # as above

            self._reports = Reports(self)
        return self._reports

    # --- the end

    def wait(self, timeout_s: float = 30) -> bool:
        """Whether everything logged so far is on the server, waiting at most `timeout_s` seconds for it."""
        if self._journal.number == 0 or self._place.mode != "online":
            return False
        self._journal.hold(lambda: self._pending.flush(wait=True))
        target = self._journal.number
        deadline = time.monotonic() + timeout_s
        while not self._writer.delivered(target):
            if time.monotonic() >= deadline:
                return False
            time.sleep(WAIT_STEP_S)
        return True

    def finish(self, state: str | None = None, reason: str | None = None, timeout_s: float | None = None) -> None:
        """End the run as `finished`, `failed` or `stopped`; further calls do nothing.

        Returns at once where the agent outlives this process. Where it does not (a container, a Slurm step, Colab), or
        with `timeout_s`, waits for the server to have everything, and names the command that delivers the rest.
        """
        if state is not None and (state not in FINAL or state == State.PREEMPTED):
            raise UsageError(f"state must be finished, failed or stopped, not: `{state}`")
        self._end(State(state or State.FINISHED), reason or "", timeout_s=timeout_s, chosen=state is not None)

    def _end(
        self,
        state: State,
        reason: str,
        *,
        traceback: str | None = None,
        exit_code: int | None = None,
        assumed: bool = False,
        timeout_s: float | None = None,
        chosen: bool = False,
    ) -> None:
        """Say goodbye. `assumed`: the interpreter is leaving and its exit code is not known here.

        `chosen`: the program has named the state; else a run that finishes because somebody stopped it is stopped.
        """
        if not self._alive[0]:
            return  # a fork: the run is its parent's
        with self._lock:
            if self._finished:
                return
            if self._lines is not None:
                self._lines.close()
            if self._reports is not None:
                self._reports.flush()
            self._steering.close("the run has ended")
            stopping = self._steering.stopping
            if stopping is not None and state is State.FINISHED and not chosen:
                state, reason = State.STOPPED, reason or stop_reason(stopping)
            self._journal.hold(lambda: self._pending.flush(wait=True))
            body: dict[str, Any] = {"state": str(state), "reason": reason, "meter": self._meter()}
            if traceback is not None:
                body["traceback"] = traceback[-65_536:]
            if exit_code is not None:
                body["exit_code"] = exit_code
            if assumed:
                body["assumed"] = True
            self._finished = True
            self._schemas = {}
            self._journal.append(encode_json(Kind.GOODBYE, body, time=self._now_us()), vital=True)
            self._state, self._reason = state, reason
            self._bell, self._heard = NO_BELL, 0
        if self._page is not None:
            self._page.draw_all()
        self._place.leave(self)
        if self._place.mode == "online":
            self._wait_at_the_end(timeout_s)
        self._journal.close()

    def _wait_at_the_end(self, timeout_s: float | None) -> None:
        limit = timeout_s if timeout_s is not None else self._place.finish_wait_s()
        if limit <= 0:
            return
        target = self._journal.number
        deadline = time.monotonic() + limit
        patience = time.monotonic() + (limit if timeout_s is not None else min(limit, 2.0))
        seen = -1
        while time.monotonic() < deadline:
            if self._writer.delivered(target):
                return
            expected = self._writer.answer().get("expected", 0)
            if expected > seen:
                seen = expected
                if expected:
                    patience = deadline
            if time.monotonic() > patience:
                break
            time.sleep(WAIT_STEP_S)
        say(f"not everything has reached the server; deliver it with: farwatch sync {self._place.state_dir}")

    # --- steering

    def knob(
        self,
        name: str,
        default: T,
        *,
        min: float | None = None,
        max: float | None = None,
        choices: Iterable[T] | None = None,
        log: bool = False,
        set: Callable[[T], object] | None = None,
    ) -> "Knob[T]":
        """A value that people may change while the training runs; read it as `.value`, where it is used.

        `min`, `max`: limits, inclusive. `choices`: the only values. `log`: it is felt in ratios, as a learning rate is. `set`: called with
        a new value at the safe point where it changes. A value that a person has set stays when the run resumes.
        Raises `UsageError` for a declaration that cannot be right.
        """
        knob: Knob[T] = self._steering.declare_knob(
            name, default, min=min, max=max, choices=choices, log=log, set_=set
        )
        return knob

    def command(self, function: F) -> F:
        """Let people call a function of yours, from page, terminal and chat: `@run.command`.

        Its name, its docstring and its typed arguments (float, int, bool, str, or a Literal of these) make its form. It runs at a
        full safe point; what it returns, or raises, goes back to whoever called it.
        """
        return self._steering.declare_command(function)

    def on(self, event: str) -> Callable[[F], F]:
        """Run a function of yours when somebody asks for a `stop` or a `checkpoint`: `@run.on("stop")`.

        What a checkpoint hook returns, such as the file's path, goes back to whoever asked.
        """
        return lambda function: self._steering.add_hook(event, function)

    @property
    def should_stop(self) -> bool:
        """Whether somebody has stopped the run. A program that reads it leaves its loop by itself; no `Stopped` is raised then."""
        return self._steering.should_stop

    def poll(self, all_ranks: bool = False) -> None:
        """A safe point where everything that people have asked for is done, commands and checkpoints included.

        `all_ranks`: every rank calls this equally often. Raises `Stopped` if the run is to end.
        """
        if self._bell[0] != self._heard or all_ranks:
            self._steering.safe_point(full=True, advanced=True, all_ranks=all_ranks)
        else:
            self._steering.came_by()

    def _step_end(self) -> bool:
        """The end of an iteration of a bar, or of an integration's step: a full safe point. Returns whether to leave the loop."""
        if self._bell[0] != self._heard and self._alive[0]:
            return self._steering.step_end()
        return False

    def _safe_point(self, step: float | int, before: float | int, commit: bool) -> None:
        open_step = self._open_step if commit else self._open_step_before
        self._steering.safe_point(full=False, advanced=step >= before and step != open_step)

    # --- speaking up

    def alert(self, title: str, text: str = "", level: str = "warn", cooldown_s: float = 300) -> None:
        """Raise an alert: it has a state and stands on the alerts page. `level`: `info`, `warn` or `error`.

        One with the same title within `cooldown_s` seconds is left out. Never raises, like `log`.
        """
        self._say_safely("alert()", lambda: self._notices.alert(title, text, level, cooldown_s))

    def notify(self, text: str, image: Any = None, file: str | os.PathLike[str] | None = None) -> None:
        """Send a message: text, and a copy of a picture (anything that `farwatch.Image` takes, or a figure) and of a file.

        Never raises, like `log`.
        """
        self._say_safely("notify()", lambda: self._notices.notify(text, image, file))

    def _say_safely(self, what: str, call: Callable[[], None]) -> None:
        try:
            if not self._alive[0]:
                self._after_fork()
            if self._finished:
                self._trouble.warn("finished", f"{what} after finish(): the run has ended and nothing more is kept")
                return
            call()
        except Exception as error:
            self._failed(error, what)

    def __enter__(self) -> "Run":
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if error is None:
            self.finish()
        else:
            self._place.end_by_exception(self, error)

    # --- what the recorder asks for

    def _config_changed(self, patch: dict[str, Any]) -> None:
        self._record_config(patch)

    def _record_config(self, patch: dict[str, Any], *, vital: bool = False) -> None:
        """Record a change of config, masked; as a file where it is larger than a server takes."""
        masked = self._place.mask(patch)
        if not saving.kept_config(self, self._writer.spool, masked):
            self._patch({"config": masked}, vital=vital)

    def _config_deleted(self, paths: list[str]) -> None:
        self._patch({"config_delete": paths})

    def _render(self, name: str, value: Any) -> list[dict[str, Any]]:
        return rendering.bodies_of(value, self._stored)

    def _stored(self, body: dict[str, Any], content: bytes | Path, media_type: str, suffix: str) -> dict[str, Any]:
        return {**body, **self._hand.keep_beside(content, media_type, suffix)}

    def _as_media(self, value: Any) -> Any:
        return rendering.media_of(value)

    def _after_fork(self) -> None:
        """In a forked child: a journal of its own, as a sibling of the writer that it was forked from."""
        self._alive[0] = 1
        self._steering.disown()
        self._page = None  # it is the parent's
        self._bell, self._heard = NO_BELL, 0
        self._journal.forked()
        self._writer = self._writer.sibling()
        self._journal = self._writer.journal
        self._lock = self._journal.lock
        self._base_ns = self._writer.base_ns
        self._fast, self._known = {}, {}
        self._schemas = self._fast
        self._pending = type(self._pending)()
        self._cost = Cost()

    @property
    def _notebook(self) -> Page:
        """What this run has in the notebook that its program runs in."""
        if self._page is None:
            self._page = Page(self)
        return self._page

    def _care(self, now_ns: int) -> None:
        look = super()._care
        around = look if self._page is None else partial(self._page.care, look=look)
        self._steering.care(now_ns, around)

    def _look_after_agent(self) -> None:
        if self._lines is not None:
            self._lines.poll()
        if self._reports is not None:
            self._reports.flush()
        self._place.ensure_agent()
