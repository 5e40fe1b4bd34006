"""Farwatch: watch and steer your training from afar.

```python
import farwatch

run = farwatch.init(project="digits", config={"lr": 1e-3})
run.log({"train/loss": 0.5}, step=1)
run.finish()
```

Importing this loads the standard library only. Heavier names (`Api`) are loaded when they are first used.
"""

from typing import TYPE_CHECKING, Any

from farwatch.errors import FarwatchError
from farwatch.sdk.redact import REDACT
from farwatch.sdk.run import Run
from farwatch.sdk.session import SESSION as _SESSION
from farwatch.sdk.start import init
from farwatch.sdk.steering import Stopped
from farwatch.version import VERSION as __version__

if TYPE_CHECKING:
    from farwatch.api import Api
    from farwatch.sdk.config import Config
    from farwatch.sdk.knob import Knob
    from farwatch.sdk.listening import listen
    from farwatch.sdk.media import Audio, Histogram, Html, Image, Table, Video
    from farwatch.sdk.show import show
    from farwatch.sdk.summary import Summary

    run: Run | None
    config: Config
    summary: Summary

__all__ = [
    "REDACT",
    "Api",
    "Audio",
    "FarwatchError",
    "Histogram",
    "Html",
    "Image",
    "Knob",
    "Run",
    "Stopped",
    "Table",
    "Video",
    "__version__",
    "alert",
    "config",
    "finish",
    "init",
    "listen",
    "log",
    "notify",
    "run",
    "show",
    "summary",
]


_MEDIA = frozenset({"Audio", "Histogram", "Html", "Image", "Table", "Video"})


def _current() -> Run:
    found = _SESSION.current()
    if found is None:
        from farwatch.errors import UsageError  # the rare path

        raise UsageError("no run is open in this process", hint="call farwatch.init() first")
    return found


def log(data: Any, step: float | None = None, *, commit: bool = True, time: Any = None) -> None:
    """Log to the current run; see `Run.log`. Raises `UsageError` if no run is open."""
    _current().log(data, step, commit=commit, time=time)


def alert(title: str, text: str = "", level: str = "warn", cooldown_s: float = 300) -> None:
    """Raise an alert in the current run; see `Run.alert`. Raises `UsageError` if no run is open."""
    _current().alert(title, text, level, cooldown_s)


def notify(text: str, image: Any = None, file: Any = None) -> None:
    """Send a message from the current run; see `Run.notify`. Without a run, this machine's agent sends it, within a day.

    Never raises, like `log`, and waits for no network.
    """
    found = _SESSION.current()
    if found is not None:
        found.notify(text, image, file)
        return
    from farwatch.sdk.messages import leave  # only for programs without a run

    leave(text, image, file)


def finish(state: str | None = None, reason: str | None = None, timeout_s: float | None = None) -> None:
    """Finish the current run; see `Run.finish`. Does nothing if no run is open."""
    found = _SESSION.current()
    if found is not None:
        found.finish(state, reason, timeout_s)


def __getattr__(name: str) -> Any:
    if name == "run":
        return _SESSION.current()
    if name in ("config", "summary"):
        return getattr(_current(), name)
    if name in _MEDIA:
        from farwatch.sdk import media  # loaded when the first picture is made: a third of the import

        return getattr(media, name)
    if name == "show":
        from farwatch.sdk.show import show  # drawing: only for those who look

        return show
    if name == "listen":
        from farwatch.sdk.listening import listen  # only for those who wait to be started

        return listen
    if name == "Knob":
        from farwatch.sdk.knob import Knob  # only for programs that can be steered

        return Knob
    if name == "Api":
        from farwatch.api import Api  # NumPy and HTTP: only for those who read

        return Api
    raise AttributeError(f"module `farwatch` has no attribute `{name}`")
