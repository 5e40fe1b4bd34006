"""Logging: what happens inside `run.log`, and in its slower sisters.

The fast path of `log` is a promise (`bench/`): a plain dict of Python numbers costs under 2 µs, one record in a
memory-mapped file. Everything else — nested names, NumPy, tensors, text, images — goes through `_log_slowly`, which
ends in the same record.
"""

import math
import struct
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from zlib import crc32

from farwatch.errors import UsageError
from farwatch.sdk import device, values
from farwatch.sdk.journal import Journal
from farwatch.sdk.schema import Schema, fork_page
from farwatch.wire.records import EXACT_INT, Flag, Kind, encode_extend, encode_json

CARE_NS = 10_000_000_000  # how often a call looks after the agent and writes what logging has cost
EXTEND_POINTS = 32_768  # points per EXTEND record: with steps and times 768 KiB, below the size that spills
# One call of so many is timed: two looks at the clock are a tenth of what they measure. A prime, for records are counted
# and a program that prints a line with each call would else never, or always, be timed.
METER_EVERY = 17
_SLOW = object()
_mono = time.monotonic_ns


class Recorder:
    """Writes the records of one run in this process.

    *Threads*: any. *Errors*: `log`, `extend`, `save` never raise, whatever they are given; they warn once per cause and
    count. *Cost*: see the module.
    """

    __slots__ = (
        "_alive", "_base_ns", "_bell", "_calls", "_care_ns", "_counter", "_fast", "_finished", "_heard", "_journal", "_known",
        "_lock", "_open_step", "_open_step_before", "_pending", "_previous_ns", "_relative", "_schemas", "_strict", "_total_ns",
        "_warn_once", "_warned", "_worst_ns",
    )  # fmt: skip  # slots are read faster than a dictionary

    def __init__(
        self, journal: Journal, *, base_ns: int, strict: bool, warn: Callable[[str, str], None]
    ) -> None:
        self._journal = journal
        self._lock = journal.lock
        self._base_ns = base_ns
        self._strict = strict
        self._warn_once = warn
        self._warned: set[str] = set()
        self._fast: dict[tuple[str, ...], Schema] = {}
        self._schemas = self._fast  # or an empty dictionary: then every call goes the slow way
        self._known: dict[tuple[tuple[str, ...], tuple[type, ...]], Schema] = {}
        self._counter: float | int = 0
        self._relative = Flag.STEP_RELATIVE  # until a step is given, steps count from where the run stands
        self._pending = device.Pending()
        self._alive = fork_page()
        self._care_ns = 0
        self._calls = 0
        self._total_ns = 0
        self._worst_ns = 0
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

        `data`: numbers of any library on any device, text, `farwatch.Image` and its kin, figures; nested mappings are
        joined with `/`. `step`: any finite number, the run's counter if left out. `commit=False`: log at the counter
        without advancing it. `time`: a `datetime`, integer milliseconds, or seconds as `time.time()` gives them.

        Never raises but with `FARWATCH_STRICT=1`, and never waits for a device, a disk or a network. A point that it
        has recorded survives the death of this process.
        """
        started = _mono()
        try:
            schema = self._schemas.get((*data,))  # empty while a call must go the slow way
            if schema is not None and time is None:
                row = (*data.values(),)
                odd: Any = None
                if schema.few:
                    for value in row:
                        if type(value) is not float:
                            odd = _SLOW
                            break
                elif schema.types != (*map(type, row),):
                    odd = _SLOW
                if odd is not None:
                    plain = values.numbers(row)
                    if plain is not None:
                        row, odd = plain, None
                        if schema.types != (*map(type, row),):
                            schema = self._schema(schema.keys, (*map(type, row),))
                if odd is None and (step is None or type(step) is int) and self._alive[0]:
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
                        self._count(started, METER_EVERY)
                    if started > self._care_ns:
                        self._care(started)
                    if self._bell[0] != self._heard:
                        self._safe_point(at_step, before, commit)
                    return
            self._log_slowly(data, step, commit, time, started)
        except Exception as error:
            self._trouble(error)

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
            self._warn("finished", "log() after finish(): the run has ended and nothing more is kept")
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
        self._count(started)
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
            self._warn("none", f"None is no value; `{name}` was left out")
        elif kind is str or hasattr(value, "render"):
            others.append((name, value))
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
                self._warn(f"value:{kind.__qualname__}", f"`{name}` was left out: {error}")
                return
            except Exception as error:
                self._warn(
                    f"value:{kind.__qualname__}", f"`{name}` was left out, reading it failed: {error!r:.200}"
                )
                return
            if type(found) is int and not -EXACT_INT <= found <= EXACT_INT:
                self._warn("integer", f"`{name}` is beyond 2^53: kept exactly, as text, and not drawn")
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
                    self._warn("device", "values on a device were lost: captured in a CUDA graph, or donated")
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
                self._warn("finished", "extend() after finish(): the run has ended and nothing more is kept")
                return
            column, count, whole = values.column(values_)
            step_column, step_flag = self._step_column(steps, count)
            time_column = None if times is None else values.time_column(times)
            if time_column is not None and len(time_column) != 8 * count:
                raise values.NotANumber(f"{count} values and {len(time_column) // 8} times")
            if count:
                flags = step_flag | (Flag.VALUES_INT if whole else 0)
                self._journal.hold(
                    lambda: self._write_extend(
                        values.metric_name(name), column, count, step_column, time_column, flags, started
                    )
                )
            self._count(started)
        except Exception as error:
            self._trouble(error, f"extend(`{name}`)")

    def _step_column(self, steps: Any, count: int) -> tuple[bytes | None, int]:
        if steps is None:
            return None, 0
        column, found, whole = values.column(steps)
        if found != count:
            raise values.NotANumber(f"{count} values and {found} steps")
        if not whole:
            for (step,) in struct.iter_unpack("<d", column):
                if not math.isfinite(step):
                    raise values.NotANumber(f"steps must be finite, one is {step}")
        return column, 0 if whole else Flag.STEP_FLOAT

    def _write_extend(
        self,
        name: str,
        column: bytes,
        count: int,
        steps: bytes | None,
        times: bytes | None,
        flags: int,
        started: int,
    ) -> None:
        start = self._counter
        if steps is None:
            flags |= self._relative
            self._counter = start + count
        else:
            self._relative = 0
            self._counter = (
                struct.unpack_from("<d" if flags & Flag.STEP_FLOAT else "<q", steps, 8 * (count - 1))[0] + 1
            )
            start = 0
        for first in range(0, count, EXTEND_POINTS):
            last = min(first + EXTEND_POINTS, count)
            cut = slice(8 * first, 8 * last)
            payload = encode_extend(
                name,
                column[cut],
                last - first,
                steps=None if steps is None else steps[cut],
                step=start + first if not flags & Flag.STEP_FLOAT else float(start),
                times=None if times is None else times[cut],
                time=started // 1000,
                flags=flags,
            )
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

    def _count(self, started: int, calls: int = 1) -> None:
        """Add what a call has cost; `calls`: how many calls this one stands for.

        It stands for its neighbours with no more than four times the mean so far: a page fault or an interruption
        happened to itself alone.
        """
        spent = _mono() - started
        usual = spent if self._calls < 64 else min(spent, 4 * self._total_ns // self._calls)
        self._calls += calls
        self._total_ns += spent + usual * (calls - 1)
        if spent > self._worst_ns:
            self._worst_ns = spent

    def meter(self) -> dict[str, int]:
        """What logging has cost so far: calls, nanoseconds in all and at worst, records dropped, the run's age.

        Every 17th call of the fast path is timed and stands for its neighbours; all of the others are.
        """
        return {
            "calls": self._calls,
            "total_ns": self._total_ns,
            "worst_ns": self._worst_ns,
            "dropped": self._journal.dropped + self._pending.lost,
            "wall_ns": _mono() - self._base_ns,
        }

    def _care(self, now_ns: int) -> None:
        """Every ten seconds of logging: say what it cost, and see that an agent lives."""
        self._care_ns = now_ns + CARE_NS
        self._journal.append(encode_json(Kind.METER, self.meter(), time=self._now_us()))
        self._look_after_agent()

    def _warn_full(self) -> None:
        self._warn("full", f"{self._journal.full or 'no room'}: points are being dropped, and counted")

    def _warn(self, cause: str, text: str) -> None:
        if cause not in self._warned:
            self._warned.add(cause)
            self._warn_once(cause, text)

    def _trouble(self, error: Exception, where: str = "log()") -> None:
        if self._strict:
            raise error
        self._warn(f"{type(error).__qualname__}:{where}", f"{where} kept nothing of one call: {error!s:.300}")
