"""`Run.extend`: many points of one metric in few records."""

import math
import struct
from dataclasses import dataclass
from typing import Any

from farwatch.sdk import values
from farwatch.wire.records import Flag, encode_extend

EXTEND_POINTS = 32_768  # points per record: with steps and times 768 KiB, below the size that spills


@dataclass(frozen=True, slots=True)
class Points:
    """One call of `extend`, read. Columns are bytes of 8-byte numbers, `count` of them; None: not given."""

    name: str
    count: int
    values: bytes
    steps: bytes | None
    times: bytes | None
    flags: int

    def step_after(self) -> float | int:
        """One more than the last step. Only where there are steps."""
        assert self.steps is not None
        kind = "<d" if self.flags & Flag.STEP_FLOAT else "<q"
        last: float | int = struct.unpack_from(kind, self.steps, 8 * (self.count - 1))[0]
        return last + 1


def read(name: Any, given: Any, steps: Any, times: Any) -> Points:
    """Read the arguments of `extend`. Raises `NotANumber` for what cannot be kept."""
    column, count, whole = values.column(given)
    step_column, flags = _steps(steps, count)
    time_column = None if times is None else values.time_column(times)
    if time_column is not None and len(time_column) != 8 * count:
        raise values.NotANumber(f"{count} values and {len(time_column) // 8} times")
    return Points(
        values.metric_name(name), count, column, step_column, time_column, flags | (Flag.VALUES_INT if whole else 0)
    )


def _steps(steps: Any, count: int) -> tuple[bytes | None, int]:
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


def payloads(points: Points, start: float | int, flags: int, time_us: int) -> list[bytes]:
    """The EXTEND records of these points. `start`: step of the first where none are given; `flags`: of the call, beside theirs."""
    flags |= points.flags
    found = []
    for first in range(0, points.count, EXTEND_POINTS):
        last = min(first + EXTEND_POINTS, points.count)
        cut = slice(8 * first, 8 * last)
        payload = encode_extend(
            points.name,
            points.values[cut],
            last - first,
            steps=None if points.steps is None else points.steps[cut],
            step=start + first if not flags & Flag.STEP_FLOAT else float(start),
            times=None if points.times is None else points.times[cut],
            time=time_us,
            flags=flags,
        )
        found.append(payload)
    return found
