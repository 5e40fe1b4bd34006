"""`farwatch.listen`: a training function that people start and stop again and again, in one process.

The process waits as a run of its own, the listener. Each start is a new run, a child of it, whose config is the function's
parameters. The function runs in the thread that called `listen`; one thread of ours answers meanwhile, so that a second
start hears at once that the first is still running.
"""

import inspect
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from farwatch.errors import UsageError
from farwatch.sdk.knob import Declared, Knob
from farwatch.sdk.run import Run
from farwatch.sdk.say import say
from farwatch.sdk.session import end_by_exception
from farwatch.sdk.start import init
from farwatch.sdk.steering import Stopped
from farwatch.wire.commands import Op, Order, WrongValue, read_value
from farwatch.wire.ids import new_run_id, run_name, short_id
from farwatch.wire.states import State

LOOK_S = 0.05
CARE_TURNS = 200  # looks between two cares for the agent


def listen(
    function: Callable[..., Any],
    *,
    project: str | None = None,
    name: str | None = None,
    limits: Mapping[str, tuple[float | None, float | None]] | None = None,
    choices: Mapping[str, Iterable[Any]] | None = None,
    **options: Any,
) -> None:
    """Wait for people to start a training function, run it, and wait again, until somebody stops the waiting itself.

    Each parameter of the function has a default and can be set before a start, from page, terminal and chat; `start` may also give values
    for that start alone. A parameter named `run` gets the run; one annotated `farwatch.Knob` gets a knob, which can be changed while the
    function runs; all others get plain values. A start while the function runs is refused: "already running". Stopping the child run ends
    the function at its next safe point, and the process waits again; stopping the listener ends both, and `listen` returns.

    Args:
        function: The training; called in this thread with keyword arguments, once per start.
        project: Of the listener and of every run; as `init` has it.
        name: Of the listener; by default the function's name.
        limits: Lowest and highest value of parameters, `{"lr": (1e-6, 1.0)}`; None for no limit.
        choices: The only values of parameters, `{"optimizer": ["sgd", "adam"]}`.
        options: More arguments of `init` for each run, such as `tags`.

    Raises:
        UsageError: The function's parameters cannot be declared, or this is a rank of several.
    """
    _Listener(function, project, name, dict(limits or {}), dict(choices or {}), options).run()


class _Listener:
    """*Threads*: `run` by the caller's; `_answer` by one of ours, which made the listener's run and serves its commands."""

    def __init__(
        self, function: Callable[..., Any], project: str | None, name: str | None, limits: dict[str, Any], choices: dict[str, Any],
        options: dict[str, Any],
    ) -> None:  # fmt: skip
        self._function = function
        self._options = {"project": project, **options}
        self._name = name or getattr(function, "__name__", "listener")
        self._parameters = _parameters(function)
        for word in (*limits, *choices):
            if word not in self._parameters:
                raise UsageError(f"{self._name} has no parameter `{word}`", hint=f"it has: {', '.join(self._parameters) or 'none'}")
        self._limits, self._choices = limits, choices
        self._changed = threading.Condition()  # over the four below
        self._asked: tuple[str, dict[str, Any]] | None = None
        self._current: tuple[str, dict[str, Any]] | None = None
        self._training: Run | None = None
        self._over = False
        self._run: Run | None = None
        self._failed: BaseException | None = None
        self._ready = threading.Event()

    def run(self) -> None:
        thread = threading.Thread(target=self._serve, name="farwatch-listen", daemon=True)
        thread.start()
        try:
            self._ready.wait()
            if self._failed is not None:
                raise self._failed
            while (asked := self._next()) is not None:
                self._train(*asked)
        except BaseException as error:
            if self._run is not None:
                end_by_exception(self._run, error)
            raise
        finally:
            with self._changed:
                self._over = True
            thread.join(5)

    # --- the caller's thread

    def _next(self) -> tuple[str, dict[str, Any]] | None:
        with self._changed:
            while self._asked is None:
                if self._over:
                    return None
                self._changed.wait(1.0)  # bounded: Ctrl-C is noticed in between
            self._current, self._asked = self._asked, None
            return self._current

    def _train(self, run_id: str, values: dict[str, Any]) -> None:
        listener = self._run
        assert listener is not None
        own = {"id": run_id, "config": values, "parent": listener.id, "reinit": "create_new"}
        run = init(**{"group": listener.name, **self._options, **own})
        with self._changed:
            self._training = run
            if self._over:
                self._pass_stop_on()
        try:
            with run:
                self._function(**self._arguments(run, values))
        except Stopped:
            pass  # back to waiting
        except SystemExit as error:
            say(f"{run.name} left with exit code {error.code}; waiting for the next start")
        except Exception:  # the training's own; its run says so, and the next one may do better
            traceback.print_exc()
        finally:
            with self._changed:
                self._training = self._current = None

    def _arguments(self, run: Run, values: dict[str, Any]) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for word, about in self._parameters.items():
            given[word] = run.knob(word, values[word], **self._about(word)) if about["live"] else values[word]
        if "run" in inspect.signature(self._function).parameters:
            given["run"] = run
        return given

    def _about(self, word: str) -> dict[str, Any]:
        low, high = self._limits.get(word, (None, None))
        return {"min": low, "max": high, "choices": self._choices.get(word)}

    # --- our thread

    def _serve(self) -> None:
        try:
            own = {"name": self._name, "job_type": "listener", "console": False, "system": False, "reinit": "create_new"}
            self._run = run = init(**{**self._options, **own})
            if run._writer.sidecar["world_size"] > 1:
                raise UsageError("listen is for one process; start ranks with a launch profile")
            knobs = {word: run.knob(word, about["default"], **self._about(word)) for word, about in self._parameters.items()}
            run.command(self._start_command(knobs))
            run.command(self._params_command(knobs))
        except BaseException as error:
            self._failed = error
            return
        finally:
            self._ready.set()
        turns = 0
        try:
            while not self._over and not run.should_stop:
                turns += 1
                if turns % CARE_TURNS == 0:
                    run._hand.care()
                time.sleep(LOOK_S)
        finally:  # whatever ends this thread, the program is not to wait for starts that nobody would hear of
            with self._changed:
                self._over = True
                self._pass_stop_on()
                self._changed.notify_all()
        run._end(State.FINISHED, "")

    def _pass_stop_on(self) -> None:
        """Whoever stops the listener stops what it runs."""
        told = self._run._steering.stopping if self._run is not None else None
        if self._training is None or told is None:
            return
        order = Order(f"listen-{uuid.uuid4().hex}", 0, Op.STOP, {}, told.actor, told.channel, 1 << 62)
        self._training._steering.ask(order)

    def _start_command(self, knobs: Mapping[str, Knob[Any]]) -> Callable[..., Any]:
        def start(**given: Any) -> dict[str, Any]:
            values = {word: knob.value for word, knob in knobs.items()}
            for word, value in given.items():
                if value is not None:
                    values[word] = read_value(knobs[word].declared, value, name=word)
            with self._changed:
                busy = self._current or self._asked
                if busy is not None:
                    raise WrongValue(f"already running: {run_name(busy[0])} {short_id(busy[0])}")
                if self._over:
                    raise WrongValue("the listener is ending")
                self._asked = (new_run_id(), values)
                self._changed.notify_all()
                return {"run": self._asked[0], "parameters": values}

        words = [
            inspect.Parameter(word, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=type(about["default"]))
            for word, about in self._parameters.items()
        ]
        start.__doc__ = inspect.getdoc(self._function) or f"Start {self._name}."
        start.__signature__ = inspect.Signature(words)  # type: ignore[attr-defined]
        start.__annotations__ = {one.name: one.annotation for one in words}
        return start

    def _params_command(self, knobs: Mapping[str, Knob[Any]]) -> Callable[..., Any]:
        def params() -> dict[str, Any]:
            """The values that the next start gets, and those of the run that is running."""
            with self._changed:
                running, training = self._current, self._training
            told: dict[str, Any] = {"next": {word: knob.value for word, knob in knobs.items()}, "running": None}
            if running is not None:
                live = training._steering.knobs if training is not None else {}
                now = {word: live[word].value if word in live else value for word, value in running[1].items()}
                told["running"] = {"run": running[0], "parameters": now}
            return told

        return params


def _parameters(function: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """The parameters that people may give: name -> `default`, and whether it is `live`. Raises `UsageError`."""
    declared = Declared(_without_knobs(function))
    found = {}
    for word, parameter in inspect.signature(function).parameters.items():
        if word == "run":
            continue
        if parameter.default is parameter.empty or parameter.default is None:
            raise UsageError(f"the parameter `{word}` needs a default: people may start without naming it")
        found[word] = {"default": parameter.default, "live": _is_knob(parameter.annotation), **{"type": declared.arguments[word]["type"]}}
    return found


def _is_knob(annotation: Any) -> bool:
    words = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return words.split("[")[0].rpartition(".")[2] == "Knob" or getattr(annotation, "__origin__", None) is Knob


def _without_knobs(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function's shape with plain types and without its run, as a command declares itself."""

    def shape(**given: Any) -> None: ...

    kept = [
        one.replace(annotation=type(one.default) if _is_knob(one.annotation) or one.annotation is one.empty else one.annotation)
        for word, one in inspect.signature(function).parameters.items()
        if word != "run"
    ]
    shape.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
    shape.__annotations__ = {one.name: one.annotation for one in kept if not isinstance(one.annotation, str)}
    shape.__name__ = getattr(function, "__name__", "listen")
    return shape
