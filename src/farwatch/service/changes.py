"""What records that are no numbers change: config, tags, console, media, files, how a run ended.

`read_changes` checks them before they are acknowledged, because a record refused later is one lost. `apply` then cannot fail
for what they say, and is idempotent: it skips records whose number the database has.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from farwatch.errors import BodyError, LimitError
from farwatch.service import states
from farwatch.service.config import delete_path, merge
from farwatch.service.events import apply_command, apply_pause, merge_declared
from farwatch.service.sidecar import NAME_MAX, tag_list, text
from farwatch.settings import Settings
from farwatch.store.base import Decoded, Other
from farwatch.store.meta import CommandRow, DetailRow, RunRow, WriterRow, Writes
from farwatch.store.meta.rows import dump, spell_nonfinite
from farwatch.wire.progress import read_progress
from farwatch.wire.records import HEAD_SIZE, Kind
from farwatch.wire.states import State

JSON_KINDS = frozenset(
    {Kind.PATCH, Kind.POINT, Kind.CONSOLE, Kind.FILE, Kind.EVENT, Kind.METER, Kind.GOODBYE}
)
METRIC_NAME_MAX = 1_000
REASON_MAX = 1_000
MESSAGE_PARTS = ("name", "size", "media_type", "width", "height")
PATH_MAX = 1_000
SIBLING_LINES = 1_000_000_000  # console lines of concurrent writers of one rank are numbered so far apart
OWN_DIFF = "source/uncommitted.diff"


@dataclass(frozen=True, slots=True)
class Change:
    """A checked record: what it says (`body`), its step and time."""

    number: int
    kind: int
    body: dict[str, Any]
    step: float | None
    time_ms: int

    @property
    def deletes(self) -> list[str]:
        """Metrics that this record deletes."""
        asked = self.body.get("delete") if self.kind == Kind.PATCH else None
        names = asked.get("metrics") if isinstance(asked, dict) else None
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def read_changes(decoded: Decoded, settings: Settings) -> list[Change]:
    """Check the records of a batch that are no numbers.

    Raises `BodyError` for one whose body is no object or lacks what its kind needs, `LimitError` for one that is too large.
    """
    return [_read(other, settings) for other in decoded.others if other.record.kind in JSON_KINDS]


def _read(other: Other, settings: Settings) -> Change:
    kind = other.record.kind
    if kind == Kind.PATCH and len(other.record.payload) - HEAD_SIZE > settings.config_max_bytes:
        raise LimitError(
            f"a change of config has more than {settings.config_max_bytes} bytes", hint="save it as a file"
        )
    try:
        body = other.record.body()
    except (ValueError, RecursionError) as error:
        raise BodyError(f"record {other.record.number} has no readable body") from error
    if kind != Kind.CONSOLE and _deeper(body, settings.json_depth_max):
        raise BodyError(f"record {other.record.number} is nested deeper than {settings.json_depth_max}")
    if kind == Kind.POINT and text(body.get("name"), METRIC_NAME_MAX) is None:
        raise BodyError(f"record {other.record.number}: a point without a name")
    if kind == Kind.FILE and (
        clean_path(body.get("path")) is None or text(body.get("spool"), NAME_MAX) is None
    ):
        raise BodyError(f"record {other.record.number}: a file without `path` or `spool`")
    if kind == Kind.CONSOLE and not (_is_count(body.get("n")) and isinstance(body.get("lines"), list)):
        raise BodyError(f"record {other.record.number}: console lines without `n` or `lines`")
    if kind not in (Kind.CONSOLE, Kind.POINT):
        body = spell_nonfinite(body)
    return Change(other.record.number, kind, body, other.step, other.time_us // 1000)


def _deeper(value: Any, levels: int) -> bool:
    """Whether a JSON value has more levels of nesting."""
    if isinstance(value, dict):
        return levels <= 0 or any(_deeper(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels <= 0 or any(_deeper(item, levels - 1) for item in value)
    return False


def clean_path(value: Any) -> str | None:
    """A path below the run's files: relative, without `.` and `..`. It is a name; files are found by hash."""
    path = text(value, PATH_MAX)
    if path is None:
        return None
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < SIBLING_LINES


@dataclass(slots=True)
class Effects:
    """What others have to do once changes are applied: `names` of metrics whose rules or values changed."""

    all_metrics: bool = False
    config: bool = False
    ended: bool = False
    commands: list[CommandRow] = field(default_factory=list)  # that records began or ended


@dataclass(slots=True)
class Applier:
    """Applies the changes of one batch to one run, in one transaction."""

    writes: Writes
    settings: Settings
    writer: WriterRow
    run: RunRow
    detail: DetailRow
    now_ms: int
    effects: Effects = field(default_factory=Effects)
    lines: dict[int, dict[str, Any]] = field(default_factory=dict)
    media: list[dict[str, Any]] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, writes: Writes, settings: Settings, writer_id: str, now_ms: int) -> "Applier | None":
        """None for a writer whose run is gone."""
        writer = writes.writer(writer_id)
        run = None if writer is None else writes.run(writer.run_no)
        if writer is None or run is None or run.purged:
            return None
        return cls(writes, settings, writer, run, writes.detail(run.no), now_ms)

    def apply(self, changes: Iterable[Change]) -> Effects:
        """Apply changes in order; those that the database has are skipped."""
        handlers = {
            Kind.PATCH: self._patch, Kind.POINT: self._point, Kind.CONSOLE: self._console, Kind.FILE: self._file,
            Kind.EVENT: self._event, Kind.METER: self._meter, Kind.GOODBYE: self._goodbye,
        }  # fmt: skip
        last = self.writer.applied
        for change in changes:
            if change.number > self.writer.applied:
                handlers[Kind(change.kind)](change)
                last = max(last, change.number)
        self.writer = replace(self.writer, applied=last)
        self._store()
        return self.effects

    def _store(self) -> None:
        writes, run = self.writes, self.run
        writes.put_detail(self.detail)
        writes.put_run(run)
        writes.put_writer(self.writer)
        writes.put_console(list(self.lines.values()))
        writes.add_media(self.media)
        if self.wanted:
            writes.want_spool(self.writer.no, run.no, dict.fromkeys(self.wanted))
        if self.effects.ended:
            states.settle(writes, run.no, self.now_ms)

    # --- kinds

    def _patch(self, change: Change) -> None:
        body = change.body
        self._patch_config(body)
        given = body.get("summary")
        if isinstance(given, dict):
            values = {
                name: value
                for key, value in given.items()
                if (name := text(key, METRIC_NAME_MAX)) is not None
            }
            kept = {**self.detail.given, **values}
            self.detail = replace(
                self.detail, given={name: value for name, value in kept.items() if value is not None}
            )
            self.effects.all_metrics = True
        self._patch_row(body, change.time_ms)
        defined = body.get("define")
        if isinstance(defined, list):
            self.detail = replace(self.detail, definitions=_define(self.detail.definitions, defined))
            self.effects.all_metrics = True
        asked = body.get("delete")
        if isinstance(asked, dict):
            self._delete(asked)
        captured = body.get("capture")
        if isinstance(captured, dict):
            self._capture(captured, change)
        delivered = body.get("delivered")
        if isinstance(delivered, list):
            self._close_gaps(delivered)
        declared = body.get("steer")
        if isinstance(declared, dict) and self._is_main():
            self.detail = replace(self.detail, steer=merge_declared(self.detail.steer, declared))

    def _close_gaps(self, delivered: list[Any]) -> None:
        """Records of another writer of this run that had been refused have come, in this one's journal."""
        for told in delivered:
            first, count = (_finite(told.get(key)) for key in ("first", "count")) if isinstance(told, dict) else (None, None)
            if first is None or count is None or not isinstance(told.get("writer"), str):
                continue
            writer = self.writes.writer(told["writer"])
            if writer is not None and writer.run_no == self.run.no:
                self.writes.close_gap(writer.no, int(first), int(count))

    def _patch_config(self, body: dict[str, Any]) -> None:
        added, removed = body.get("config"), body.get("config_delete")
        if not isinstance(added, dict) and not isinstance(removed, list):
            return
        config = self.detail.config
        for path in removed if isinstance(removed, list) else ():
            if isinstance(path, str):
                config = delete_path(config, path)
        if isinstance(added, dict):
            config = merge(config, added)
        if len(dump(config)) > self.settings.config_max_bytes:
            self._problem(f"config beyond {self.settings.config_max_bytes} bytes was not kept")
            return
        self.detail = replace(self.detail, config=config)
        self.effects.config = True

    def _patch_row(self, body: dict[str, Any], time_ms: int) -> None:
        run = self.run
        tags = body.get("tags")
        if isinstance(tags, dict):
            removed = set(tag_list(tags.get("remove")))
            kept = [tag for tag in run.tags if tag not in removed] + tag_list(tags.get("add"))
            run = replace(run, tags=list(dict.fromkeys(kept))[: self.settings.tags_max])
        if "notes" in body:
            run = replace(run, notes=text(body["notes"], self.settings.text_max_bytes) or "")
        if (name := text(body.get("name"), NAME_MAX)) is not None:
            run = replace(run, name=name)
        if (total := _finite(body.get("total_steps"))) is not None:
            run = replace(run, total_steps=total)
        progress = body.get("progress")
        if isinstance(progress, dict):  # a clock that is ahead has seen nothing that is yet to come
            run = replace(run, progress=read_progress(progress, min(time_ms, self.now_ms)) or run.progress)
        self.run = run

    def _delete(self, asked: dict[str, Any]) -> None:
        metrics = [name for name in asked.get("metrics") or () if isinstance(name, str)]
        files = [path for path in asked.get("files") or () if isinstance(path, str)]
        if metrics:  # their points have been deleted by ingest
            forget_metrics(self.writes, self.run.no, metrics)
            self.media = [item for item in self.media if item["name"] not in metrics]
            self.detail = replace(
                self.detail,
                given={name: value for name, value in self.detail.given.items() if name not in metrics},
            )
            self.effects.all_metrics = True
        if files:
            self.writes.delete_files(self.run.no, files)

    def _capture(self, captured: dict[str, Any], change: Change) -> None:
        kept = dict(self.detail.capture)
        for key, value in captured.items():
            if key == "source" and isinstance(value, list):
                sources = [item for item in value if isinstance(item, dict)]
                kept["source"] = [
                    path for item in sources if (path := self._keep_source(item, change)) is not None
                ]
            elif key.endswith("_spool") and isinstance(value, str):
                path = (
                    OWN_DIFF
                    if key == "diff_spool"
                    else f"source/{key[:-6]}{PurePosixPath(value).suffix or '.txt'}"
                )
                kept[key.removesuffix("_spool")] = self._keep_file(path, {**captured, "spool": value}, change)
            elif key not in ("size", "mtime_ms", "media_type"):  # those are of the file beside them
                kept[key] = value
        self.detail = replace(self.detail, capture=kept)
        if "cell_error" in captured:
            self._cell_ran(captured["cell_error"])

    def _cell_ran(self, error: Any) -> None:
        """A cell of a notebook has raised: the run goes on, and its row says what happened until a cell ends well."""
        if self.run.state not in (State.RUNNING, State.IDLE):
            return
        told = text(error, REASON_MAX)
        if told is not None:
            self.run = replace(self.run, reason=f"{states.CELL_RAISED}: {' '.join(told.split())}")
        elif self.run.reason.startswith(states.CELL_RAISED):
            self.run = replace(self.run, reason="")

    def _keep_source(self, item: dict[str, Any], change: Change) -> str | None:
        path = clean_path(item.get("path"))
        return None if path is None else self._keep_file(f"source/{path}", item, change)

    def _keep_file(self, path: str, body: dict[str, Any], change: Change) -> str | None:
        spool = text(body.get("spool"), NAME_MAX)
        if spool is None:
            return None
        size, mtime = _finite(body.get("size")), _finite(body.get("mtime_ms"))
        self.writes.put_file(
            {
                "run_no": self.run.no, "path": path, "writer_no": self.writer.no, "spool": spool, "size": int(size or 0),
                "mtime_ms": int(mtime or change.time_ms), "media_type": text(body.get("media_type"), NAME_MAX),
            }
        )  # fmt: skip
        self.wanted.append(spool)
        return path

    def _point(self, change: Change) -> None:
        body = dict(change.body)
        name = text(body.pop("name"), METRIC_NAME_MAX)
        kind = text(body.pop("type", None), 40) or "text"
        spool = text(body.pop("spool", None), NAME_MAX)
        if "text" in body:
            body["text"] = text(body["text"], self.settings.text_max_bytes) or ""
        if spool is not None:
            self.wanted.append(spool)
        self.media.append(
            {
                "run_no": self.run.no, "name": name, "type": kind, "step": change.step, "time_ms": change.time_ms,
                "rank": self.writer.rank, "attempt": self.writer.attempt, "writer_no": self.writer.no, "spool": spool,
                "body_json": dump(body),
            }
        )  # fmt: skip

    def _console(self, change: Change) -> None:
        writer = self.writer
        if writer.console_base is None:
            writer = replace(writer, console_base=self._console_base())
        base = writer.console_base or 0
        stream = text(change.body.get("s"), 20) or "stdout"
        first = change.body["n"]
        for n, line in enumerate(change.body["lines"], first):
            self.lines[base + n] = {
                "run_no": self.run.no, "rank": writer.rank, "n": base + n, "stream": stream, "time_ms": change.time_ms,
                "text": text(line, self.settings.text_max_bytes) or "",
            }  # fmt: skip
            writer = replace(writer, console_next=max(writer.console_next, n + 1))
        self.writer = writer

    def _console_base(self) -> int:
        """The number of this writer's first line: behind the lines of those that have ended, far from those that may still write."""
        others = [
            row
            for row in self.writes.writers_of(self.run.no)
            if row.rank == self.writer.rank and row.console_base is not None
        ]
        if not others:
            return 0
        end = self.writes.console_end(self.run.no, self.writer.rank)
        if all(row.ending == "goodbye" for row in others):
            return end
        return math.ceil(end / SIBLING_LINES) * SIBLING_LINES

    def _file(self, change: Change) -> None:
        path = clean_path(change.body["path"])
        assert path is not None
        self._keep_file(path, change.body, change)

    def _event(self, change: Change) -> None:
        body = change.body
        if isinstance(body.get("notify"), dict):
            body = {"notify": self._message(body["notify"], change)}
        self.writes.put_event(
            {
                "writer_no": self.writer.no, "number": change.number, "run_no": self.run.no, "step": change.step,
                "time_ms": change.time_ms, "body_json": dump(body),
            }
        )  # fmt: skip
        if "command" in body:
            row = apply_command(self.writes, self.run, self.writer, body, change.step, change.time_ms)
            if row is not None:
                self.effects.commands.append(row)
        if isinstance(body.get("paused"), bool) and self._is_main():
            self.run, steer = apply_pause(self.run, self.detail.steer, body["paused"])
            self.detail = replace(self.detail, steer=steer)

    def _message(self, told: dict[str, Any], change: Change) -> dict[str, Any]:
        """What a program says to people; a picture and a file that go with it are files of the run."""
        kept: dict[str, Any] = {"text": text(told.get("text"), self.settings.text_max_bytes) or ""}
        for key in ("image", "file"):
            part = told.get(key)
            if isinstance(part, dict):
                own = f"{self.writer.no}-{change.number}-{text(part.get('name') or part.get('spool'), NAME_MAX)}"
                path = self._keep_file(f"notices/{(clean_path(own) or key).replace('/', '_')}", part, change)
                if path is not None:
                    kept[key] = {"path": path, **{name: part[name] for name in MESSAGE_PARTS if name in part}}
        return kept

    def _is_main(self) -> bool:
        """Whether this writer speaks for the run: rank 0 of its newest attempt."""
        return self.writer.rank == 0 and self.writer.role == "main" and self.writer.attempt == self.run.attempt

    def _meter(self, change: Change) -> None:
        self.writer = replace(self.writer, meter=change.body)

    def _goodbye(self, change: Change) -> None:
        state, reason = states.end_of_goodbye(change.body)
        meter = change.body.get("meter")
        cause = {"state": state, "reason": reason, "exit_code": change.body.get("exit_code")}
        if change.body.get("assumed") is True:
            cause["assumed"] = True
        before = self.writer.cause or {}
        if "killed_by" in before:  # its agent has said so; what the program says on its way out does not undo it
            state, reason = states.end_of_death(before)
            cause = {**before, "state": state, "reason": reason}
        elif self.writer.role == states.RUNNER:
            cause |= {key: change.body[key] for key in ("signal", "oom", "killed_by") if key in change.body}
            cause["joined"] = change.body.get("joined") is True
        self.writer = replace(
            self.writer,
            ending="goodbye",
            ended_ms=max(change.time_ms, self.writer.started_ms),
            last_ms=max(change.time_ms, self.writer.last_ms),
            cause=cause,
            meter=meter if isinstance(meter, dict) else self.writer.meter,
        )
        trace = text(change.body.get("traceback"), self.settings.text_max_bytes)
        if trace is not None and self.writer.rank == 0 and self.writer.role in states.DECIDING:
            self.detail = replace(self.detail, traceback=trace)
        self.effects.ended = True

    def _problem(self, what: str) -> None:
        problems = [*self.detail.capture.get("problems", ()), what]
        self.detail = replace(self.detail, capture={**self.detail.capture, "problems": problems[-20:]})


def forget_metrics(writes: Writes, run_no: int, names: list[str]) -> None:
    """Delete what is kept of metrics outside the store."""
    for start in range(0, len(names), 500):
        writes.delete_media(run_no, names[start : start + 500])


def _define(known: list[dict[str, Any]], told: list[Any]) -> list[dict[str, Any]]:
    """Definitions with new ones added; one with the same pattern replaces what it says again."""
    by_match = {one["match"]: one for one in known}
    for one in told:
        match = text(one.get("match"), METRIC_NAME_MAX) if isinstance(one, dict) else None
        if match is not None:
            kept = {
                key: text(one.get(key), METRIC_NAME_MAX)
                for key in ("x", "summary", "goal", "unit")
                if one.get(key) is not None
            }
            by_match[match] = {**by_match.pop(match, {}), "match": match, **kept}
    return list(by_match.values())[:10_000]


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and abs(value) < 2**63 else None
