"""Messages of a program that has no run: left in a folder beside the journals, from where the agent sends them.

Each is a folder of its own, which appears all at once under a name that sorts by time and serves as its id; see `farwatch.wire.messages`.
No socket is opened here, and no thread.
"""

import atexit
import contextlib
import itertools
import json
import mimetypes
import os
import shutil
import time
from pathlib import Path
from typing import Any

from farwatch import settings as settings_module
from farwatch.errors import FarwatchError
from farwatch.sdk import place, rendering, start
from farwatch.sdk.notices import TEXT_MAX, plain_text
from farwatch.sdk.say import say
from farwatch.sdk.session import SESSION
from farwatch.sdk.trouble import Trouble
from farwatch.wire.messages import BODY, FILE_MAX_BYTES, FOLDER

WAITING_MAX = 1_000  # more wait for a server only where something calls in a loop
WAIT_STEP_S = 0.05


def leave(text: Any, image: Any, file: Any) -> None:
    """Leave a message of this process; never raises."""
    if SESSION.messages is None:
        SESSION.messages = Messages()
    SESSION.messages.leave(text, image, file)


class Messages:
    """Leaves messages. *Threads*: any. *Errors*: none but with `FARWATCH_STRICT=1`; one warning per cause.

    *Cost*: a folder and a file; attachments are copied.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._trouble = Trouble(say)
        self._place: start.RunPlace | None = None
        self._left: list[Path] = []
        self._waits = False

    def leave(self, text: Any, image: Any, file: Any) -> None:
        """Leave one message for the agent."""
        try:
            self._leave(text, image, file)
        except Exception as error:
            if self._place is not None and self._place.strict:
                raise
            self._trouble.warn(f"notify:{type(error).__name__}", f"notify() failed, and the message is lost: {error!s:.200}")

    def _leave(self, text: Any, image: Any, file: Any) -> None:
        settings = settings_module.load()
        if settings.mode != "online":
            if settings.mode == "offline":
                self._trouble.warn("offline", "notify() without a run sends nothing in mode offline: messages do not wait for days")
            return
        root = place.choose_journal_root(settings_module.state_dir(settings), settings_module.environment())
        if root is None:
            raise OSError("this node has no local disk that can be written; set FARWATCH_DIR to a folder on one")
        folder = root.parent / FOLDER
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        if not place.is_private(folder):
            raise OSError(f"`{folder}` is not yours alone")
        if sum(1 for _ in os.scandir(folder)) >= WAITING_MAX:
            self._trouble.warn("many", f"{WAITING_MAX} messages wait already: notify() leaves no more until some are sent")
            return
        server, address = start.server_of(settings, root.parent)
        body = {"text": plain_text(text, TEXT_MAX), "made_ms": time.time_ns() // 1_000_000, "server": server}
        self._left.append(self._put(folder, body, image, file))
        self._wake(settings, root.parent, address)

    def _put(self, folder: Path, body: dict[str, Any], image: Any, file: Any) -> Path:
        name = f"{time.time_ns():020d}-{os.getpid()}-{next(self._numbers)}-{os.urandom(4).hex()}"
        fresh = folder / f".{name}"
        os.mkdir(fresh, 0o700)
        try:
            if image is not None:
                self._attach(body, "image", fresh, lambda: _picture(image))
            if file is not None:
                self._attach(body, "file", fresh, lambda: _file(Path(os.fspath(file))))
            _write(fresh / BODY, json.dumps(body).encode())
            os.rename(fresh, folder / name)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        return folder / name

    def _attach(self, body: dict[str, Any], key: str, folder: Path, made: Any) -> None:
        """Copy what goes with it; a message goes without what could not be read."""
        try:
            told, content = made()
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            if size > FILE_MAX_BYTES:
                raise OSError(f"{size} bytes; {FILE_MAX_BYTES} is the most that can be sent")
            if isinstance(content, bytes):
                _write(folder / key, content)
            else:
                _write(folder / key, b"")
                with open(content, "rb") as source, open(folder / key, "wb") as target:
                    shutil.copyfileobj(source, target)
            body[key] = told
        except (FarwatchError, OSError, TypeError, ValueError) as error:
            with contextlib.suppress(OSError):
                os.unlink(folder / key)
            self._trouble.warn(f"notify:{key}", f"notify() goes without its {key}: {error!s:.200}")

    def _wake(self, settings: settings_module.Settings, state: Path, address: str | None) -> None:
        if self._place is None or self._place.state_dir != state:
            self._place = start.RunPlace(settings, state, mode=settings.mode, redact=None, keep_traceback=False)
        self._place.address = address
        self._place.ensure_agent()
        if not self._waits and place.agent_dies_with_us():
            self._waits = True
            atexit.register(self._wait, os.getpid())

    def _wait(self, pid: int) -> None:
        """Where nobody would send the rest after us, wait for the agent; not at all where no server is known."""
        if self._place is None or self._place.address is None or os.getpid() != pid:
            return
        deadline = time.monotonic() + self._place.finish_wait_s()
        while time.monotonic() < deadline and any(path.exists() for path in self._left):
            time.sleep(WAIT_STEP_S)


def _picture(image: Any) -> tuple[dict[str, Any], bytes | Path]:
    found = rendering.picture_of(image).render()
    if found.content is None:
        raise ValueError("there is no picture in it")
    return {"name": f"picture{found.suffix}", "media_type": found.media_type}, found.content


def _file(path: Path) -> tuple[dict[str, Any], Path]:
    return {"name": path.name[:200], "media_type": mimetypes.guess_type(path.name)[0]}, path


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
