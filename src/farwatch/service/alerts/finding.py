"""What a detector has to say: nothing, perhaps, or yes."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Phase(IntEnum):
    """How sure a detector is. `PENDING`: something is odd, and may heal by itself."""

    QUIET = 0
    PENDING = 1
    FIRING = 2


@dataclass(frozen=True, slots=True)
class Band:
    """What was usual before: from `low` to `high`, in the middle `usual`."""

    low: float
    usual: float
    high: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule has found in a run, and since when. `step`, `time_us`: of the point where it began."""

    rule: str
    phase: Phase
    title: str
    text: str = ""
    metric: str | None = None
    step: float | None = None
    time_us: int = 0
    value: float | None = None
    band: Band | None = None
    more: dict[str, Any] = field(default_factory=dict)


def shown(value: float) -> str:
    """A number as people write it in a sentence: 4 significant digits."""
    if value != value:
        return "NaN"
    if abs(value) >= 1e5 or (value and abs(value) < 1e-3):
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.4g}"


def at_step(step: float | None) -> str:
    """A step in a sentence."""
    if step is None:
        return ""
    return f"step {int(step):,}" if step == int(step) else f"step {step:g}"


def span(seconds: float) -> str:
    """A duration in a sentence."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
