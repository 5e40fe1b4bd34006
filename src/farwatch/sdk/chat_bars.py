"""Bars that are shown in a chat as well: the arguments of tqdm.contrib's, and no request from the training process.

The bar is Farwatch's; its run's journal names the chat by a digest. What the digest stands for, token included, is kept in `bars.json` of
the state folder, which only this user can read: their server on this machine looks there and does the rest.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from farwatch import servers
from farwatch import settings as settings_module
from farwatch.sdk.bars import Reported, tqdm_class
from farwatch.sdk.say import say
from farwatch.wire.bars import FILE, KEPT_MAX, KEPT_MS, VERSION

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_TRIES, LOCK_STEP_S = 20, 0.01  # a training does not wait for a folder that hangs
ARGUMENTS = {  # of each service, besides those of tqdm: name -> field of the bridge
    "telegram": {"token": "token", "chat_id": "chat"},
    "discord": {"token": "token", "channel_id": "chat", "webhook": "webhook"},
    "slack": {"token": "token", "channel": "chat", "webhook": "webhook"},
}


class ChatBar:
    """What a bar gains that is shown in a chat; mixed into `farwatch.tqdm.tqdm`."""

    _farwatch_service = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = {name: kwargs.pop(name, None) for name in ARGUMENTS[self._farwatch_service]}
        if not kwargs.get("disable"):
            self._farwatch_to = destination(self._farwatch_service, given)
        super().__init__(*args, **kwargs)

    def _farwatch_reports(self) -> Any:
        first = getattr(self, "_farwatch_told", None) is None
        found = super()._farwatch_reports()  # type: ignore[misc]
        if first and found is not None and self._farwatch_to is not None:
            _say_where(self._farwatch_service, self._farwatch_run)  # type: ignore[attr-defined]
        return found


def destination(service: str, given: dict[str, Any]) -> str | None:
    """The digest of a chat, kept with what it takes to write there; None, after saying why, where something is missing.

    What is not given comes from tqdm's own variables, such as `TQDM_TELEGRAM_TOKEN` and `TQDM_TELEGRAM_CHAT_ID`.
    """
    environ = settings_module.environment()
    if settings_module.read("mode") == "disabled":
        return None
    values = {}
    for name, field in ARGUMENTS[service].items():
        value = given[name] if given[name] is not None else environ.get(f"TQDM_{service.upper()}_{name.upper()}")
        if value not in (None, ""):
            values[field] = str(value).strip()
    if given.get("webhook"):
        values = {"webhook": values["webhook"]}
    elif values.get("token"):
        values.pop("webhook", None)
    lacking = [] if values.get("webhook") else [name for name, field in ARGUMENTS[service].items() if field not in (*values, "webhook")]
    if lacking:
        _once(f"this bar is shown on no {service}: it needs {lacking[0]}=…, or TQDM_{service.upper()}_{lacking[0].upper()}")
        return None
    address = environ.get(f"FARWATCH_{service.upper()}_URL")
    if address:
        values["url"] = address
    digest = hashlib.sha256(json.dumps([service, values], sort_keys=True).encode()).hexdigest()[:16]
    try:
        _keep(settings_module.state_dir(settings_module.load()), digest, {"kind": service, "values": values})
    except Exception as error:  # a border: the training goes on without its chat
        _once(f"this bar is shown on no {service}: {error!s:.200}")
        return None
    return digest


def _keep(state: Path, digest: str, entry: dict[str, Any]) -> None:
    """Write down what a digest stands for; entries that nobody has used for long are dropped."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = state / FILE
    with _held(state / f"{FILE}.lock"):
        now_ms = time.time_ns() // 1_000_000
        found = (servers.read_private(path) or {}).get("bars")
        known = {key: one for key, one in (found if isinstance(found, dict) else {}).items() if now_ms - one.get("used_ms", 0) < KEPT_MS}
        known.pop(digest, None)
        known[digest] = {**entry, "used_ms": now_ms}
        while len(known) > KEPT_MAX:
            del known[next(iter(known))]
        fresh = state / f"{FILE}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"version": VERSION, "bars": known}, file)
        os.replace(fresh, path)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """One process at a time, unless it takes too long: two that begin together could forget one of their chats."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        for _ in range(LOCK_TRIES if fcntl is not None else 0):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(LOCK_STEP_S)
        yield
    finally:
        os.close(descriptor)


def _say_where(service: str, run: Any) -> None:
    """Say it where the run goes to a server that cannot know this machine's chats."""
    with contextlib.suppress(Exception):
        server = run._writer.sidecar.get("server")
        local = servers.local_server(settings_module.state_dir(settings_module.load()))
        if server and (local is None or not servers.same_address(local[0], server)):
            _once(f"{server} has no chat for this bar: its token stays on this machine. Connect it there: farwatch connect {service}")


@cache  # each sentence once in a process
def _once(text: str) -> None:
    say(text)


@cache
def chat_class(service: str) -> Any:
    """The class `farwatch.tqdm.<service>.tqdm`. Raises `ImportError` without tqdm."""
    plain = tqdm_class()
    own = ", ".join(f"`{name}`" for name in ARGUMENTS[service])
    doc = f"A bar that is shown on {service.capitalize()} as well. Besides tqdm's arguments it takes {own}.\n\n{Reported.__doc__ or ''}"
    more = {"__doc__": doc, "__module__": f"farwatch.tqdm.{service}", "_farwatch_service": service}
    return type(f"tqdm_{service}", (ChatBar, plain), more)
