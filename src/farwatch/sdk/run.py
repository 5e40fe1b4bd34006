"""The run as its program holds it: what `farwatch.init` returns."""

import glob
import os
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any

from farwatch.errors import UsageError
from farwatch.sdk import values
from farwatch.sdk.config import Config, json_safe
from farwatch.sdk.recorder import Recorder
from farwatch.sdk.say import say
from farwatch.sdk.writer import Place, Writer
from farwatch.wire.ids import short_id
from farwatch.wire.records import Kind, encode_json
from farwatch.wire.states import FINAL, State

TEXT_MAX = 1 << 20  # characters; a longer text is kept as a file
WAIT_STEP_S = 0.01


class Run(Recorder):
    """One execution of training code, seen from inside.

    Made by `farwatch.init`. `config`, `summary` and `tags` are live: changing them is recorded. In a `with` block it is
    finished at the end, as failed if an exception leaves the block.
    """

    __slots__ = (
        "__weakref__", "_depth", "_lines", "_name", "_notes", "_place", "_reason", "_state", "_writer",
        "config", "summary", "tags",
    )  # fmt: skip

    def __init__(self, writer: Writer, *, config: dict[str, Any], place: Place) -> None:
        super().__init__(writer.journal, base_ns=writer.base_ns, strict=place.strict, warn=lambda _, text: say(text))
        self._writer = writer
        self._place = place
        self._state = State.RUNNING
        self._reason = ""
        self._depth = 0
        self._name = writer.sidecar["name"]
        self._notes = writer.sidecar["notes"]
        self._lines: Any = None  # the console, while it is captured
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
        kept: list[str] = []
        try:
            if not self._alive[0]:
                self._after_fork()
            if self._finished or self._writer.spool is None:
                return kept
            root = Path(base).resolve() if base is not None else Path.cwd()
            text = os.fspath(pattern)
            found = sorted(path for path in glob.glob(text, recursive=True, include_hidden=True) if os.path.isfile(path))
            if not found:
                self._warn(f"save:{text}", f"save(`{text}`) matches no file")
            for path in found:
                kept += self._save_one(Path(path), root)
        except Exception as error:
            self._trouble(error, "save()")
        return kept

    def _save_one(self, path: Path, root: Path) -> list[str]:
        full = path.resolve()
        name = full.relative_to(root).as_posix() if full.is_relative_to(root) else full.name
        spool = self._writer.spool
        if spool is None:
            return []
        try:
            stored, size = spool.keep(full, full.suffix[:16])
        except OSError as error:
            self._warn(f"save:{name}", f"`{name}` was not kept: {error}")
            return []
        body = {"path": name, "spool": stored, "size": size, "mtime_ms": full.stat().st_mtime_ns // 1_000_000}
        self._journal.append(encode_json(Kind.FILE, body, time=self._now_us()))
        return [name]

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
        self._end(State(state or State.FINISHED), reason or "", timeout_s=timeout_s)

    def _end(
        self,
        state: State,
        reason: str,
        *,
        traceback: str | None = None,
        exit_code: int | None = None,
        assumed: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        """Say goodbye. `assumed`: the interpreter is leaving and its exit code is not known here."""
        if not self._alive[0]:
            return  # a fork: the run is its parent's
        with self._lock:
            if self._finished:
                return
            if self._lines is not None:
                self._lines.close()
            self._journal.hold(lambda: self._pending.flush(wait=True))
            body: dict[str, Any] = {"state": str(state), "reason": reason, "meter": self.meter()}
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

    @property
    def open_block(self) -> bool:
        """Whether a `with` block of this run is open."""
        return self._depth > 0

    # --- what the recorder asks for

    def _config_changed(self, patch: dict[str, Any]) -> None:
        self._patch({"config": self._place.mask(patch)})

    def _config_deleted(self, paths: list[str]) -> None:
        self._patch({"config_delete": paths})

    def _render(self, name: str, value: Any) -> list[dict[str, Any]]:
        if isinstance(value, bool | int):
            return [{"type": "integer", "text": str(value)}]
        if isinstance(value, str):
            text = value.encode("utf-8", "replace").decode()
            if len(text) <= TEXT_MAX:
                return [{"type": "text", "text": text}]
            return [self._stored({"type": "text", "text": text[:1000]}, text.encode(), "text/plain", ".txt")]
        listed = value if isinstance(value, list | tuple) else [value]
        bodies = []
        for index, item in enumerate(listed):
            rendered = item.render()
            body = dict(rendered.body)
            if len(listed) > 1:
                body["index"] = index
            if rendered.content is not None:
                body = self._stored(body, rendered.content, rendered.media_type, rendered.suffix)
            bodies.append(body)
        return bodies

    def _stored(self, body: dict[str, Any], content: bytes | Path, media_type: str, suffix: str) -> dict[str, Any]:
        if self._writer.spool is None:
            return body
        stored, size = self._writer.spool.keep(content, suffix)
        return {**body, "spool": stored, "size": size, "media_type": media_type}

    def _as_media(self, value: Any) -> Any:
        if isinstance(value, list | tuple) and value and all(hasattr(item, "render") for item in value):
            return list(value)
        from farwatch.sdk import figures  # a third of the import, for programs that draw

        return figures.as_media(value)

    def _after_fork(self) -> None:
        """In a forked child: a journal of its own, as a sibling of the writer that it was forked from."""
        self._alive[0] = 1
        self._journal.forked()
        self._writer = self._writer.sibling()
        self._journal = self._writer.journal
        self._lock = self._journal.lock
        self._base_ns = self._writer.base_ns
        self._fast, self._known = {}, {}
        self._schemas = self._fast
        self._pending = type(self._pending)()
        self._calls = self._total_ns = self._worst_ns = 0

    def _look_after_agent(self) -> None:
        if self._lines is not None:
            self._lines.poll()
        self._place.ensure_agent()


class Summary(MutableMapping[str, Any]):
    """One value per metric: what the program has set, else the last value that it logged."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._set: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._set:
            return self._set[name]
        return self._logged()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._set[name] = value
        try:
            value = values.number(value)
        except values.NotANumber:
            pass
        self._run._patch({"summary": {values.metric_name(name): json_safe(value)}})

    def __delitem__(self, name: str) -> None:
        del self._set[name]
        self._run._patch({"summary": {values.metric_name(name): None}})

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several values at once."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __iter__(self) -> Iterator[str]:
        return iter({**self._logged(), **self._set})

    def __len__(self) -> int:
        return len({**self._logged(), **self._set})

    def __repr__(self) -> str:
        return repr({**self._logged(), **self._set})

    def _logged(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for schema in list(self._run._known.values()):
            found.update(zip(schema.keys, schema.last, strict=False))
        return found


class Tags:
    """The short labels of a run."""

    def __init__(self, run: Run, tags: list[str]) -> None:
        self._run = run
        self._tags = dict.fromkeys(tags)

    def add(self, *tags: str) -> None:
        """Put labels on the run; those that it has are left alone."""
        fresh = [str(tag) for tag in tags if str(tag) not in self._tags]
        self._tags.update(dict.fromkeys(fresh))
        if fresh:
            self._run._patch({"tags": {"add": fresh}})

    def remove(self, *tags: str) -> None:
        """Take labels off the run; those that it has not are ignored."""
        gone = [str(tag) for tag in tags if str(tag) in self._tags]
        for tag in gone:
            del self._tags[tag]
        if gone:
            self._run._patch({"tags": {"remove": gone}})

    def __iter__(self) -> Iterator[str]:
        return iter(self._tags)

    def __contains__(self, tag: object) -> bool:
        return tag in self._tags

    def __len__(self) -> int:
        return len(self._tags)

    def __repr__(self) -> str:
        return repr(list(self._tags))

