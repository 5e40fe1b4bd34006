"""Runs that are fed by plain requests, with `curl` alone.

The server writes the journal that an SDK would have written and hands it to ingest as batches, so that there is one way in: what is
true of a logged point is true of these. One line per run, taken in turns.
"""

import hashlib
import math
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from farwatch.clock import Clock
from farwatch.errors import LimitError, NotFoundError, RefusedError, UsageError
from farwatch.service.ingest import Ingest
from farwatch.service.runs import Runs
from farwatch.settings import Settings
from farwatch.store.base import Store
from farwatch.wire import moments
from farwatch.wire.batch import Batch
from farwatch.wire.ids import is_run_id, new_run_id
from farwatch.wire.records import EXACT_INT, Flag, Kind, encode_head, encode_json, encode_schema
from farwatch.wire.segment import frame
from farwatch.wire.states import FINAL, State

ENTRIES_MAX = 100_000
COMMIT_S = 60.0
_WORDS = {
    "nan": math.nan,
    "infinity": math.inf,
    "inf": math.inf,
    "-infinity": -math.inf,
    "-inf": -math.inf,
    "+infinity": math.inf,
}


@dataclass(slots=True)
class _Line:
    """How far one run's own journal has come; under its lock."""

    writer: str
    expected: int
    crc: int
    schemas: dict[tuple[tuple[str, ...], str], int]
    next_step: float
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, body: bytearray, payload: bytes) -> None:
        """Frame one more record."""
        framed, self.crc = frame(payload, self.crc)
        body += framed
        self.expected += 1


@dataclass(slots=True)
class Feed:
    """Makes, feeds and ends runs for clients without a journal.

    *Threads*: any, blocking until the data are on disk.
    """

    runs: Runs
    store: Store
    ingest: Ingest
    settings: Settings
    clock: Clock
    _lines: dict[str, _Line] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, body: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """Make a run, or continue the one whose id is given. Returns what `register` says of it."""
        run_id = body.get("id") or new_run_id()
        if not isinstance(run_id, str) or not is_run_id(run_id):
            raise UsageError(
                "a run id has 1 to 128 characters of `A-Za-z0-9._-`, the first a letter or digit"
            )
        config, tags = body.get("config") or {}, body.get("tags") or []
        if not isinstance(config, dict) or not isinstance(tags, list):
            raise UsageError("`config` is an object and `tags` is a list")
        sidecar = self._sidecar(run_id, body, actor)
        said = self.runs.register(sidecar, actor)
        line = self._open(run_id, sidecar["writer"], said)
        with line.lock:
            if line.expected == 0:
                self._send(line, [encode_json(Kind.HELLO, sidecar), *_patch(config, body)])
        return {**said, "writer": sidecar["writer"]}

    def _sidecar(self, run_id: str, body: Mapping[str, Any], actor: str) -> dict[str, Any]:
        now_us = self.clock.wall_us()
        for name in ("project", "name", "notes", "group", "job_type"):
            if body.get(name) is not None and not isinstance(body[name], str):
                raise UsageError(f"`{name}` must be text")
        return {
            "format": 1,
            "wire": 1,
            "writer": self._next_writer(run_id),
            "run": run_id,
            "run_given": bool(body.get("id")),
            "resume": body.get("resume") or "allow",
            "from_step": None,
            "project": body.get("project") or "default",
            "name": body.get("name"),
            "group": body.get("group"),
            "job_type": body.get("job_type"),
            "parent": None,
            "notes": body.get("notes"),
            "tags": [str(tag) for tag in body.get("tags") or []],
            "mode": "online",
            "server": None,
            "pid": 0,
            "pid_start": None,
            "boot_id": None,
            "pid_ns": None,
            "uid": None,
            "host": "",
            "user": actor,
            "executable": "",
            "cwd": "",
            "argv": [],
            "rank": 0,
            "local_rank": 0,
            "world_size": 1,
            "rendezvous": None,
            "main": True,
            "sibling_of": None,
            "nth": 0,
            "wall_us": now_us,
            "mono_us": self.clock.mono_us(),
            "system": False,
            "console": False,
            "total_steps": body.get("total_steps"),
            "source": None,
            "requirements": "infer",
            "python": "",
            "version": "",
            "started_ms": now_us // 1000,
            "role": "http",
        }

    def log(self, run_id: str, body: Any) -> dict[str, Any]:
        """Log one entry `{"step", "metrics", "time_ms"}` or a list of these. Returns how many, and the next step."""
        entries = body if isinstance(body, list) else [body]
        if len(entries) > ENTRIES_MAX:
            raise LimitError(f"at most {ENTRIES_MAX} entries at once")
        line = self._line(run_id)
        with line.lock:
            records: list[bytes] = []
            schemas = dict(line.schemas)
            step = line.next_step
            for entry in entries:
                step = self._entry(entry, step, schemas, records)
            self._send(line, records)
            line.schemas, line.next_step = schemas, step
            return {"run": run_id, "entries": len(entries), "next_step": step}

    def _entry(
        self, entry: Any, step: float, schemas: dict[tuple[tuple[str, ...], str], int], records: list[bytes]
    ) -> float:
        """Append the records of one call; returns the step after it."""
        if not isinstance(entry, dict) or not isinstance(entry.get("metrics"), dict):
            raise UsageError('an entry is {"step": 1, "metrics": {"loss": 0.5}}')
        given = entry.get("step")
        at: float | int = step if given is None else _number(given, "step")
        if not math.isfinite(at) or abs(at) > 2**62:
            raise UsageError("a step is a finite number")
        time_ms = entry.get("time_ms")
        time_us = self.clock.wall_us() if time_ms is None else int(_number(time_ms, "time_ms") * 1000)
        if abs(time_us) > 2**62:
            raise UsageError("`time_ms` is milliseconds since 1970")
        at = int(at) if float(at).is_integer() else float(at)
        numbers: dict[str, float] = {}
        for name, value in _flat(entry["metrics"]):
            moment = moments.text_of(value)
            if (
                moment is not None
                or (isinstance(value, str) and value.lower() not in _WORDS)
                or (isinstance(value, int) and abs(value) > EXACT_INT)
            ):
                text = {"name": name, "type": _type_of(value), "text": moment or str(value)}
                if len(text["text"].encode("utf-8", "replace")) > self.settings.text_max_bytes:
                    raise LimitError(f"a text may have {self.settings.text_max_bytes} bytes")
                records.append(encode_json(Kind.POINT, text, step=at, time=time_us, flags=Flag.TIME_GIVEN))
            elif value is not None:
                numbers[name] = _number(value, name)
        if numbers:
            key = (tuple(numbers), "f" * len(numbers))
            if key not in schemas:
                schemas[key] = max(schemas.values(), default=-1) + 1
                records.append(encode_schema(schemas[key], *key))
            head = encode_head(Kind.STEP, step=at, time=time_us, flags=Flag.TIME_GIVEN, aux32=schemas[key])
            records.append(head + struct.pack(f"<{len(numbers)}d", *numbers.values()))
        return at + 1

    def finish(self, run_id: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """End a run that was fed here. Ending it again with the same state changes nothing."""
        state = asked.get("state") or State.FINISHED
        if state not in FINAL:
            raise UsageError("a run ends as finished, failed, stopped or preempted")
        reason = str(asked.get("reason") or "")
        line = self._line(run_id)
        with line.lock:
            body = {"state": str(state), "reason": reason, "meter": {}}
            self._send(
                line, [encode_json(Kind.GOODBYE, body, time=self.clock.wall_us(), flags=Flag.TIME_GIVEN)]
            )
        with self._lock:
            self._lines.pop(run_id, None)
        return self.runs.row(run_id)

    def _send(self, line: _Line, records: list[bytes]) -> None:
        if not records:
            return
        first, crc = line.expected, line.crc
        body = bytearray()
        for payload in records:
            line.add(body, payload)
        try:
            batch = Batch(line.writer, first, len(records), crc, line.crc, bytes(body))
            self.ingest.submit(line.writer, batch.encode(), "identity").result(COMMIT_S)
        except BaseException:
            line.expected, line.crc = first, crc
            raise

    def _next_writer(self, run_id: str) -> str:
        """The id of the run's next journal here: the first that has not been used."""
        nth = 0
        while self.store.writer(_writer_id(run_id, nth)) is not None:
            nth += 1
        return _writer_id(run_id, nth)

    def _line(self, run_id: str) -> _Line:
        """The open journal of a run. Raises `RefusedError` (409) for a run that has ended or that a program of its own logs to."""
        with self._lock:
            line = self._lines.get(run_id)
        if line is not None:
            return line
        row = self.runs.row(run_id)
        if row["state"] in FINAL:
            raise RefusedError(
                f"the run has ended: `{run_id}`",
                hint=f'POST /runs with {{"id": "{run_id}"}} continues it as a new attempt',
                status=409,
            )
        nth = 0
        while self.store.writer(_writer_id(run_id, nth + 1)) is not None:
            nth += 1
        writer = _writer_id(run_id, nth)
        if self.store.writer(writer) is None:
            raise RefusedError(
                f"the run was not made by a request: `{run_id}`",
                hint="log to it from its own program",
                status=409,
            )
        return self._open(run_id, writer, self.runs.writer_status(writer))

    def _open(self, run_id: str, writer: str, said: Mapping[str, Any]) -> _Line:
        known = self.store.writer(writer)
        if known is None:
            raise NotFoundError(f"no writer with id: `{writer}`")
        schemas = {(tuple(names), types): number for number, (names, types) in known[2].items()}
        step = self.runs.row(run_id).get("step")
        made = _Line(
            writer, int(said["expected"]), int(said["crc"]), schemas, 0 if step is None else float(step) + 1
        )
        made.next_step = int(made.next_step) if made.next_step == int(made.next_step) else made.next_step
        with self._lock:
            return (
                self._lines.setdefault(run_id, made)
                if self._lines.get(run_id, made).writer == writer
                else self._replace(run_id, made)
            )

    def _replace(self, run_id: str, made: _Line) -> _Line:
        self._lines[run_id] = made
        return made


def _writer_id(run_id: str, nth: int) -> str:
    return hashlib.sha256(f"http:{run_id}:{nth}".encode()).hexdigest()[:32]


def _patch(config: dict[str, Any], body: Mapping[str, Any]) -> list[bytes]:
    return [encode_json(Kind.PATCH, {"config": _plain(config)})] if config else []


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, (int, float)) and abs(value) < 2**1023:
        return float(value)
    if isinstance(value, float):
        return value
    if isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    raise UsageError(f'`{name[:100]}` must be a number, or "NaN", "Infinity", "-Infinity"')


def _type_of(value: Any) -> str:
    """What a value that is kept as text is."""
    if isinstance(value, dict):
        return "datetime" if moments.DATETIME in value else "date"
    return "text" if isinstance(value, str) else "integer"


def _flat(metrics: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Names joined with `/`, values as they are; an empty name becomes `unnamed`."""
    for key, value in metrics.items():
        name = before + (str(key) or "unnamed")
        if isinstance(value, dict) and moments.moment_of(value) is None:
            yield from _flat(value, name + "/")
        elif isinstance(value, list):
            raise UsageError(f"`{name[:100]}` holds a list; log one number per step")
        else:
            yield name, value
