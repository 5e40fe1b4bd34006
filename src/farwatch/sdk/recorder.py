"""Logging: what happens inside `run.log`, and in its slower sisters.

The fast path of `log` is a promise (`bench/`): a plain dict of Python numbers costs under 2 µs, one record in a
memory-mapped file. Everything else — nested names, NumPy, tensors, text, images — goes through `_log_slowly`, which
ends in the same record.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from zlib import crc32

from farwatch.errors import UsageError
from farwatch.sdk import arrays, device, values
from farwatch.sdk.cost import METER_EVERY, Cost
from farwatch.sdk.journal import Journal
from farwatch.sdk.schema import Schema, fork_page
from farwatch.sdk.trouble import Trouble
from farwatch.wire.records import EXACT_INT, Flag, Kind, encode_json

CARE_NS = 10_000_000_000  # how often a call looks after the agent and writes what logging has cost
_mono = time.monotonic_ns


class Recorder:
    """Writes the records of one run in this process.

    *Threads*: any. *Errors*: `log`, `extend`, `save` never raise, whatever they are given; they warn once per cause and
    count. *Cost*: see the module.
    """

    __slots__ = (
        "_alive", "_base_ns", "_bell", "_care_ns", "_cost", "_counter", "_fast", "_finished", "_heard", "_journal", "_known",
        "_lock", "_open_step", "_open_step_before", "_pending", "_previous_ns", "_relative", "_schemas", "_strict", "_trouble",
    )  # fmt: skip  # slots are read faster than a dictionary

    def __init__(
        self, journal: Journal, *, base_ns: int, strict: bool, warn: Callable[[str], object]
    ) -> None:
        self._journal = journal
        self._lock = journal.lock
        self._base_ns = base_ns
        self._strict = strict
        self._trouble = Trouble(warn)
        self._fast: dict[tuple[str, ...], Schema] = {}
        self._schemas = self._fast  # or an empty dictionary: then every call goes the slow way
        self._known: dict[tuple[tuple[str, ...], tuple[type, ...]], Schema] = {}
        self._counter: float | int = 0
        self._relative = Flag.STEP_RELATIVE  # until a step is given, steps count from where the run stands
        self._pending = device.Pending()
        self._alive = fork_page()
        self._care_ns = 0
        self._cost = Cost()
        self._previous_ns = 0
        self._finished = False
        self._bell: Any = (0,)  # one word, raised with each command that comes
        self._heard = 0  # its value when nothing was left to do
        self._open_step: Any = None  # the step of the newest call with `commit=False`
        self._open_step_before: Any = None

    # --- log

    def log(
        self, data: Mapping[str, Any], step: float | None = None, *, commit: bool = True, time: Any = None
    ) -> None:
        """Record values by name at a step; also a safe point.

        `data`: numbers of any library on any device, text, datetimes, `farwatch.Image` and its kin, figures; nested mappings
        are joined with `/`. `step`: any finite number, the run's counter if left out. `commit=False`: log at the counter
        without advancing it. `time`: a `datetime`, integer milliseconds, or seconds as `time.time()` gives them.

        Never raises but with `FARWATCH_STRICT=1`, and never waits for a device, a disk or a network. A point that it
        has recorded survives the death of this process.
        """
        started = _mono()
        try:
            schema = self._schemas.get((*data,))  # empty while a call must go the slow way
            if schema is not None and time is None:
                row = (*data.values(),)
                if schema.few:
                    for value in row:
                        if type(value) is not float:
                            schema, row = self._plain(schema, row)
                            break
                elif schema.types != (*map(type, row),):
                    schema, row = self._plain(schema, row)
                if schema is not None and (step is None or type(step) is int) and self._alive[0]:
                    journal = self._journal
                    with self._lock:
                        if journal.busy:
                            # No lambda: its closure would turn every name in here into a slower one.
                            journal.deferred.append(partial(self._write_row, schema, row, step, commit, started))
                            return
                        try:
                            journal.busy = True
                            head = schema.head
                            before = self._counter
                            if step is None:
                                at_step = self._counter
                                head |= self._relative << 8
                            else:
                                at_step = step
                                self._relative = 0
                            mapping, words, limit, offset, crc, number = journal.at
                            end = offset + schema.span
                            if (
                                schema.home is mapping
                                and end <= limit
                                and type(at_step) is int
                                and not words[offset >> 3]
                            ):
                                # Journal.commit, in place: a call costs as much as the copy that it makes.
                                payload = schema.pack(head, at_step, started, *row)
                                crc = crc32(payload, crc)
                                mapping[offset + 8 : end] = payload
                                words[offset >> 3] = schema.word | crc
                                journal.at = (mapping, words, limit, end, crc, number + 1)
                                if commit:
                                    self._counter = at_step + 1
                                else:
                                    self._keep_open(at_step)
                                schema.last = row
                            elif end > limit and started < journal.retry_ns:
                                journal.dropped += 1  # the disk is full, and was so a moment ago
                                self._advance(step, commit)
                                schema.last = row
                            else:
                                self._write_row(schema, row, step, commit, started)
                        finally:
                            journal.busy = False
                        if journal.deferred:
                            journal.drain()
                    if not number % METER_EVERY:
                        self._cost.add(_mono() - started, METER_EVERY)
                    if started > self._care_ns:
                        self._care(started)
                    if self._bell[0] != self._heard:
                        self._safe_point(at_step, before, commit)
                    return
            self._log_slowly(data, step, commit, time, started)
        except Exception as error:
            self._failed(error)

    def _plain(self, schema: Schema, row: tuple[Any, ...]) -> tuple[Schema | None, tuple[Any, ...]]:
        """Numbers of other types as plain ones, with the schema of these; no schema if some are no numbers."""
        plain = values.numbers(row)
        if plain is None:
            return None, row
        types = (*map(type, plain),)
        return (schema if schema.types == types else self._schema(schema.keys, types)), plain

    def _write_row(self, schema: Schema, row: tuple[Any, ...], step: int | None, commit: bool, started: int) -> None:
        """Write one call of plain numbers; the journal is held."""
        flags = self._relative if step is None else 0
        at_step = self._advance(step, commit)
        self._write(schema, row, at_step, flags | Flag.TIME_NS, started)

    def _advance(self, step: float | int | None, commit: bool) -> float | int:
        """The step of a call, and the counter moved on. (Rule 1.)"""
        if step is None:
            step = self._counter
        else:
            self._relative = 0
        if commit:
            self._counter = step + 1
        else:
            self._keep_open(step)
        return step

    def _keep_open(self, step: float | int) -> None:
        """Note that a call at `step` did not end it."""
        self._counter = step
        self._open_step_before, self._open_step = self._open_step, step

    def _write(self, schema: Schema, row: tuple[Any, ...], step: float | int, flags: int, time: int) -> None:
        """Write one STEP record, behind its schema if this segment has not had it; the journal is held."""
        journal = self._journal
        payload = schema.row(row, step, flags, time)
        if schema.home is not journal.at[0] or journal.at[3] + 8 + len(payload) > journal.at[2]:
            record = schema.record()
            journal.keep_together(len(record) + len(payload) + 32)
            if schema.home is not journal.at[0] and journal.commit(record):
                schema.home = journal.at[0]
        schema.last = row
        if not journal.commit(payload):
            self._warn_full()

    def _schema(self, keys: tuple[str, ...], types: tuple[type, ...]) -> Schema:
        schema = self._known.get((keys, types))
        if schema is None:
            schema = self._known[keys, types] = Schema(len(self._known), keys, types)
        self._fast[keys] = schema
        return schema

    def _log_slowly(self, data: Any, step: Any, commit: bool, time: Any, started: int) -> None:
        """Sort the values of a call into numbers, values on a device, and the rest; then write them as one call."""
        if not self._alive[0]:
            self._after_fork()
        if self._finished:
            self._trouble.warn("finished", "log() after finish(): the run has ended and nothing more is kept")
            return
        if not isinstance(data, Mapping):
            raise values.NotANumber(f"log takes a mapping of names to values, not {type(data).__qualname__}")
        if step is not None:
            step = values.step_number(step)
        at_us = None if time is None else values.time_us(time)
        numbers: dict[str, float | int | bool] = {}
        waiting: dict[str, Any] = {}
        others: list[tuple[str, Any]] = []
        for name, value in values.walk(data):
            self._sort(name, value, numbers, waiting, others)
        rendered = [(name, body) for name, value in others for body in self._render(name, value)]
        transfers = self._pending.start(list(waiting.values())) if waiting else []
        before = self._counter
        self._journal.hold(
            lambda: self._write_call(numbers, list(waiting), transfers, rendered, step, commit, at_us, started)
        )
        self._cost.add(_mono() - started)
        if started > self._care_ns:
            self._care(started)
        if self._bell[0] != self._heard:
            self._safe_point(before if step is None else step, before, commit)

    def _sort(
        self,
        name: str,
        value: Any,
        numbers: dict[str, Any],
        waiting: dict[str, Any],
        others: list[tuple[str, Any]],
    ) -> None:
        kind = type(value)
        if kind is float or kind is bool:
            numbers[name] = value
        elif value is None:
            self._trouble.leave_out("none", f"None is no value; `{name}` was left out")
        elif kind is str or hasattr(value, "render"):
            others.append((name, value))
        elif (moment := values.moment(value)) is not None:
            others.append((name, moment))
        elif device.on_device(value) and values.size_of(value) in (None, 1):
            waiting[name] = value
        else:
            figure = self._as_media(value)
            if figure is not None:
                others.append((name, figure))
                return
            try:
                found = values.number(value)
            except values.NotANumber as error:
                self._trouble.leave_out(f"value:{kind.__qualname__}", f"`{name}` was left out: {error}")
                return
            except Exception as error:
                self._trouble.leave_out(
                    f"value:{kind.__qualname__}", f"`{name}` was left out, reading it failed: {error!r:.200}"
                )
                return
            if type(found) is int and not -EXACT_INT <= found <= EXACT_INT:
                self._trouble.warn("integer", f"`{name}` is beyond 2^53: kept exactly, as text, and not drawn")
                others.append((name, found))
            else:
                numbers[name] = found

    def _write_call(
        self,
        numbers: dict[str, Any],
        waiting: list[str],
        transfers: list[device.Transfer],
        rendered: list[tuple[str, dict[str, Any]]],
        step: float | int | None,
        commit: bool,
        at_us: int | None,
        started: int,
    ) -> None:
        """Write what one call logged, all at its step and time; the journal is held."""
        flags = self._relative if step is None else 0
        step = self._advance(step, commit)
        moment = at_us if at_us is not None else started // 1000
        if at_us is not None:
            flags |= Flag.TIME_GIVEN
        if transfers:
            where, previous = step, self._previous_ns

            def write(found: list[float | None]) -> None:
                arrived = {
                    name: value for name, value in zip(waiting, found, strict=True) if value is not None
                }
                if len(arrived) < len(waiting):
                    self._trouble.warn("device", "values on a device were lost: captured in a CUDA graph, or donated")
                self._write_numbers(numbers | arrived, where, flags, moment)

            self._schemas = {}  # until it has arrived, every call queues behind this one
            self._pending.add(transfers, write)
            self._pending.flush(wait=started - previous > device.WAIT_NS)
        else:
            if self._pending:
                where = step
                self._pending.add([], lambda _: self._write_numbers(numbers, where, flags, moment))
                self._pending.flush()
            elif numbers:
                self._write_numbers(numbers, step, flags, moment)
        self._previous_ns = started
        for name, body in rendered:
            payload = encode_json(Kind.POINT, {"name": name, **body}, step=step, time=moment, flags=flags)
            if not self._journal.commit(payload):
                self._warn_full()

    def _write_numbers(self, numbers: dict[str, Any], step: float | int, flags: int, time_us: int) -> None:
        if not numbers:
            return
        schema = self._schema(tuple(numbers), tuple(map(type, numbers.values())))
        self._write(schema, tuple(numbers.values()), step, flags, time_us)
        if not self._pending:
            self._schemas = self._fast

    # --- arrays

    def extend(self, name: str, values_: Any, steps: Any = None, times: Any = None) -> None:
        """Record many points of one metric: `values_`, and as many `steps` and `times` if given.

        Lists, arrays and tensors of one dimension. Without `steps` the points take the run's counter and advance it.
        `times`: a `datetime`, integer milliseconds or float seconds each. Never raises, like `log`.
        """
        started = _mono()
        try:
            if not self._alive[0]:
                self._after_fork()
            if self._finished:
                self._trouble.warn("finished", "extend() after finish(): the run has ended and nothing more is kept")
                return
            points = arrays.read(name, values_, steps, times)
            if points.count:
                self._journal.hold(lambda: self._write_points(points, started))
            self._cost.add(_mono() - started)
        except Exception as error:
            self._failed(error, f"extend(`{name}`)")

    def _write_points(self, points: arrays.Points, started: int) -> None:
        start, flags = self._counter, 0
        if points.steps is None:
            flags = self._relative
            self._counter = start + points.count
        else:
            start, self._relative = 0, 0
            self._counter = points.step_after()
        for payload in arrays.payloads(points, start, flags, started // 1000):
            if not self._journal.commit(payload):
                self._warn_full()

    # --- definitions

    def define_metric(
        self,
        name: str,
        *,
        x: str | None = None,
        summary: str | None = None,
        goal: str | None = None,
        unit: str | None = None,
    ) -> None:
        """Say how a metric, or all that match a pattern with `*`, should be read.

        `x`: the metric that is its default x axis. `summary`: `last`, `min`, `max` or `mean`. `goal`: `min` or `max`.
        `unit`: shown behind its numbers. Raises `UsageError` for anything else.
        """
        if not isinstance(name, str) or not name:
            raise UsageError("define_metric takes the name of a metric, such as `val/*`")
        if summary not in (None, "last", "min", "max", "mean"):
            raise UsageError(f"summary must be last, min, max or mean, not: `{summary}`")
        if goal not in (None, "min", "max"):
            raise UsageError(f"goal must be min or max, not: `{goal}`")
        given = {"match": name, "x": x, "summary": summary, "goal": goal, "unit": unit}
        self._patch({"define": [{key: value for key, value in given.items() if value is not None}]})

    # --- what the run supplies

    def _render(self, name: str, value: Any) -> list[dict[str, Any]]:
        """Bodies of the POINT records for a value that is no number. The run knows where files go."""
        raise NotImplementedError

    def _as_media(self, value: Any) -> Any:
        raise NotImplementedError

    def _after_fork(self) -> None:
        raise NotImplementedError

    def _look_after_agent(self) -> None:
        raise NotImplementedError

    def _safe_point(self, step: float | int, before: float | int, commit: bool) -> None:
        """Somebody asks for something. `step`: of the call that notices; `before`: the counter before it."""
        raise NotImplementedError

    # --- small parts

    def _now_us(self) -> int:
        return _mono() // 1000

    def _patch(self, body: dict[str, Any], *, vital: bool = False) -> None:
        if not self._alive[0]:
            self._after_fork()
        if not self._finished:
            self._journal.append(encode_json(Kind.PATCH, body, time=self._now_us()), vital=vital)

    def _meter(self) -> dict[str, int]:
        """What logging has cost so far: calls, nanoseconds in all and at worst, points not kept, the run's age.

        Every 17th call of the fast path is timed and stands for its neighbours; all of the others are.
        """
        return {
            "calls": self._cost.calls,
            "total_ns": self._cost.total_ns,
            "worst_ns": self._cost.worst_ns,
            "dropped": self._journal.dropped + self._pending.lost + self._trouble.left_out,
            "wall_ns": _mono() - self._base_ns,
        }

    def _care(self, now_ns: int) -> None:
        """Every ten seconds of logging: say what it cost, and see that an agent lives."""
        self._care_ns = now_ns + CARE_NS
        journal, payload = self._journal, encode_json(Kind.METER, self._meter(), time=self._now_us())

        def keep() -> None:
            if not journal.commit(payload):
                journal.dropped -= 1  # it is no point

        journal.hold(keep)
        self._look_after_agent()

    def _warn_full(self) -> None:
        self._trouble.warn("full", f"{self._journal.full or 'no room'}: points are being dropped, and counted")

    def _failed(self, error: Exception, where: str = "log()") -> None:
        """A call has kept nothing; it raises in a strict run only."""
        if self._strict:
            raise error
        self._trouble.leave_out(f"{type(error).__qualname__}:{where}", f"{where} kept nothing of one call: {error!s:.300}")
