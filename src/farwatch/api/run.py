"""One run, read and described from anywhere."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from farwatch.api.alerts import Alert, ask_alerts
from farwatch.api.contact import Contact, number, quoted, value_of
from farwatch.api.series import Chart, Series, one_series
from farwatch.api.steering import Steerable
from farwatch.clock import Clock, SystemClock
from farwatch.errors import DataError, NotFoundError, UsageError

FRESH_US = (
    500_000  # what was read so recently is not asked for again: `r.state, r.reason, r.config` is one request
)
PART_BYTES = 8 << 20
PAGE = 10_000


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """One captured line: its number, `stdout`, `stderr` or `logging`, when (ms since the epoch), and its text."""

    n: int
    stream: str
    time_ms: int
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Metric:
    """What is known of a metric without reading its points. `min`, `max`, `mean`: over finite values, None without any."""

    name: str
    kind: str
    count: int
    nonfinite: int
    last: float | None
    last_step: float | None
    min: float | None
    min_step: float | None
    max: float | None
    max_step: float | None
    mean: float | None
    x: str | None = None
    goal: str | None = None
    unit: str | None = None
    ranks: tuple[int, ...] = ()
    attempts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a run."""

    path: str
    size_bytes: int
    sha256: str | None
    modified_ms: int | None
    media_type: str | None


class Tags(Set[str]):
    """The tags of a run: a set of text, with `add` and `remove`, which change the server."""

    def __init__(self, run: "Run") -> None:
        self._run = run

    def _current(self) -> Sequence[str]:
        return self._run._detail().get("tags", ())

    def add(self, *tags: str) -> None:
        """Add tags; one that is there already changes nothing."""
        self._run._patch({"tags": {"add": list(tags), "remove": []}})

    def remove(self, *tags: str) -> None:
        """Remove tags; one that is not there changes nothing."""
        self._run._patch({"tags": {"add": [], "remove": list(tags)}})

    def __contains__(self, tag: object) -> bool:
        return tag in self._current()

    def __iter__(self) -> Iterator[str]:
        return iter(self._current())

    def __len__(self) -> int:
        return len(self._current())

    def __repr__(self) -> str:
        return repr(list(self))


class Run(Steerable):
    """A run on a server. Attributes are asked for when read, and are at most half a second old."""

    def __init__(
        self,
        contact: Contact,
        run_id: str,
        row: Mapping[str, Any],
        *,
        complete: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._contact = contact
        self._clock = clock or SystemClock()
        self.id = run_id
        self._row: dict[str, Any] = dict(row)
        self._complete = complete  # a row of a list lacks config and more
        self._read_us = self._clock.mono_us()

    @property
    def _path(self) -> str:
        return f"/runs/{quoted(self.id)}"

    def _detail(self) -> dict[str, Any]:
        now = self._clock.mono_us()
        if not self._complete or now - self._read_us > FRESH_US:
            self._row = self._contact.get(self._path)
            self._complete, self._read_us = True, now
        return self._row

    def _patch(self, patch: Mapping[str, Any]) -> None:
        self._contact.send("PATCH", self._path, patch)
        self._complete = False

    # --- what it is

    @property
    def detail(self) -> dict[str, Any]:
        """Everything that the server says of the run, as plain JSON."""
        return dict(self._detail())

    @property
    def project(self) -> str:
        return str(self._row["project"])

    @property
    def number(self) -> int:
        """Its number within the project."""
        return int(self._row["number"])

    @property
    def state(self) -> str:
        """One of `farwatch.wire.states.State`."""
        return str(self._detail()["state"])

    @property
    def reason(self) -> str:
        return str(self._detail().get("reason") or "")

    @property
    def step(self) -> float | None:
        """The last step."""
        return number(self._detail().get("step"))

    @property
    def attempt(self) -> int:
        return int(self._detail().get("attempt") or 1)

    @property
    def url(self) -> str:
        """Where a browser sees it."""
        return str(
            self._detail().get("url") or f"{self._contact.address}/r/{self._row.get('short', self.id)}"
        )

    @property
    def config(self) -> dict[str, Any]:
        """The inputs of the run, nested as they were given."""
        config: dict[str, Any] = value_of(self._detail().get("config") or {})
        return config

    @property
    def summary(self) -> dict[str, Any]:
        """One current value per metric by its rule (the last one if nothing else was defined), and what was set by hand."""
        return {name: value_of(value) for name, value in self._detail().get("summary", {}).items()}

    @property
    def traceback(self) -> str | None:
        """What the exception printed that ended the run, if one did."""
        return self._detail().get("traceback")

    @property
    def tags(self) -> Tags:
        return Tags(self)

    @property
    def name(self) -> str:
        return str(self._detail()["name"])

    @name.setter
    def name(self, name: str) -> None:
        self._patch({"name": name})

    @property
    def notes(self) -> str:
        return str(self._detail().get("notes") or "")

    @notes.setter
    def notes(self, notes: str) -> None:
        self._patch({"notes": notes})

    # --- its numbers

    def series(
        self,
        name: str,
        *,
        rank: int = 0,
        attempt: int | Literal["latest"] = "latest",
        step_min: float | None = None,
        step_max: float | None = None,
    ) -> Series:
        """Every point of a metric, exact. `attempt="latest"`: the history that the page draws, without what a resume replaced.

        Raises `NotFoundError` if the run has no such metric at this rank.
        """
        body: dict[str, Any] = {"lines": [{"run": self.id, "name": name, "rank": rank, "attempt": attempt}]}
        if step_min is not None:
            body["lo"] = step_min
        if step_max is not None:
            body["hi"] = step_max
        meta, arrays = self._contact.columns("/series", body)
        if not meta["lines"]:
            raise NotFoundError(
                f"run `{self._row.get('short', self.id)}` has no metric of this name: `{name}`",
                hint="see r.metrics()",
            )
        return one_series(self.id, name, rank, self._row.get("attempt") or 1, meta["lines"], arrays)

    def chart(
        self,
        names: Sequence[str],
        *,
        buckets: int = 1000,
        lo: float | None = None,
        hi: float | None = None,
        x: str = "step",
        rank: int = 0,
        attempt: int | Literal["latest", "all"] = "latest",
    ) -> Chart:
        """Lines cut into at most about `buckets` buckets between `lo` and `hi` of `x`: `step`, `time`, `relative` or a metric's name."""
        if isinstance(names, str):
            names = [names]
        lines = [{"run": self.id, "name": name, "rank": rank, "attempt": attempt} for name in names]
        body = {"lines": lines, "x": x, "lo": lo, "hi": hi, "buckets": buckets, "last": True}
        return Chart(*self._contact.columns("/charts", body))

    def metrics(self, match: str | None = None) -> dict[str, Metric]:
        """The metrics by name; `match` is a regular expression."""
        found: dict[str, Metric] = {}
        fields = Metric.__dataclass_fields__
        while True:
            answer = self._contact.get(f"{self._path}/metrics", match=match, limit=PAGE, offset=len(found))
            for row in answer["metrics"]:
                told = {key: number(row[key]) for key in row.keys() & fields}
                many = {key: tuple(row.get(key) or ()) for key in ("ranks", "attempts")}
                found[row["name"]] = Metric(**{**told, "name": row["name"], **many})
            if not answer["metrics"] or len(found) >= answer["total"]:
                return found

    # --- what else it left

    def console(
        self, *, rank: int = 0, tail: int | None = None, match: str | None = None
    ) -> list[ConsoleLine]:
        """Captured lines in order, all or the last `tail`; `match`: only lines with this text."""
        path = f"{self._path}/console"
        if tail is not None:
            return [
                _console_line(row)
                for row in self._contact.get(path, tail=1, limit=tail, rank=rank, q=match)["lines"]
            ]
        lines: list[ConsoleLine] = []
        start = 0
        while True:
            rows = self._contact.get(path, **{"from": start}, limit=PAGE, rank=rank, q=match)["lines"]
            lines += [_console_line(row) for row in rows]
            if not rows:
                return lines
            start = rows[-1]["n"] + 1

    def media(self, name: str | None = None) -> list[dict[str, Any]]:
        """Images, histograms, texts and tables with their step, oldest first.

        An `integer` beyond 2^53, a `datetime` and a `date` have their `value` beside their `text`.
        """
        return [_with_value(item) for item in self._contact.get(f"{self._path}/media", name=name, limit=PAGE)["items"]]

    def files(self) -> list[FileEntry]:
        """The files that the run saved."""
        rows = self._contact.get(f"{self._path}/files")["files"]
        return [
            FileEntry(r["path"], r["size"], r.get("sha256"), r.get("mtime_ms"), r.get("media_type"))
            for r in rows
        ]

    def download(self, path: str, to: str | os.PathLike[str] | None = None) -> Path:
        """Copy a file of the run to this machine and return where it is.

        `to`: a file, or a folder that exists; None: the file's own relative path below the current folder. The file appears when it is
        complete and its hash is right. Raises `NotFoundError`; `DataError` if the bytes are not what was saved.
        """
        entry = next((entry for entry in self.files() if entry.path == path), None)
        if entry is None:
            raise NotFoundError(
                f"run `{self._row.get('short', self.id)}` has no file: `{path}`", hint="see r.files()"
            )
        target = _target(path, to)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        digest = hashlib.sha256()
        with open(part, "wb") as file:
            whole = entry.size_bytes == 0
            while not whole and file.tell() < entry.size_bytes:
                data, whole = self._contact.bytes_of(
                    f"{self._path}/files/{quoted(path, '/')}", file.tell(), PART_BYTES
                )
                if not data:
                    break
                file.write(data)
                digest.update(data)
        if entry.sha256 is not None and digest.hexdigest() != entry.sha256:
            part.unlink()
            raise DataError(
                f"the bytes of `{path}` are not what the run saved", hint="try again; then: farwatch fsck"
            )
        os.replace(part, target)
        return target

    def alerts(self, state: str | None = None) -> list[Alert]:
        """Alerts of the run, newest first; `state`: only `pending`, `firing`, `silenced` or `resolved` ones."""
        return ask_alerts(self._contact, f"{self._path}/alerts", state)

    def messages(self) -> list[dict[str, Any]]:
        """What the program said by `run.notify`, newest first; a picture or file is a path for `download`."""
        return list(self._contact.get(f"{self._path}/messages", limit=1_000)["messages"])

    # --- putting it away

    def archive(self, archived: bool = True) -> None:
        """Hide the run from lists, or show it again."""
        self._patch({"archived": archived})

    def delete(self) -> None:
        """Delete the run; `undelete` brings it back for 30 days."""
        self._contact.send("DELETE", self._path)
        self._complete = False

    def undelete(self) -> None:
        """Bring a deleted run back."""
        self._contact.send("POST", f"{self._path}/undelete")
        self._complete = False

    def delete_metric(self, name: str) -> None:
        """Delete all points of one metric for good."""
        self._contact.send("DELETE", f"{self._path}/metrics", name=name)

    def delete_file(self, path: str) -> None:
        """Delete one file of the run."""
        self._contact.send("DELETE", f"{self._path}/files/{quoted(path, '/')}")

    def __repr__(self) -> str:
        return f"<farwatch run {self._row.get('name', '')} {self._row.get('short', self.id)}>"


def _console_line(row: Mapping[str, Any]) -> ConsoleLine:
    return ConsoleLine(row["n"], row["stream"], row["time_ms"], row["text"])


def _with_value(item: dict[str, Any]) -> dict[str, Any]:
    reader = _VALUES.get(item["type"])
    try:
        return item if reader is None else {**item, "value": reader(item["text"])}
    except (TypeError, ValueError):
        return item  # whoever wrote it calls something else so


_VALUES: Mapping[str, Callable[[str], Any]] = {"integer": int, "datetime": datetime.fromisoformat, "date": date.fromisoformat}


def _target(path: str, to: str | os.PathLike[str] | None) -> Path:
    """Where a file goes. Names come from the run, so they may not leave the folder."""
    parts = PurePosixPath(path)
    if to is None:
        if parts.is_absolute() or ".." in parts.parts or "\\" in path:
            raise UsageError(f"this file's path leads elsewhere: `{path}`", hint="say where it goes: to=")
        return Path(*parts.parts)
    target = Path(to)
    return target / parts.name if target.is_dir() else target
