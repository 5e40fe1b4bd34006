"""The contract of a probe."""

from typing import Protocol


class Probe(Protocol):
    """One source of system metrics.

    *Threads*: one calls it. *Errors*: none get out; what cannot be read is missing from the answer. *Cost*: a few
    milliseconds a sample. *Ordering*: rates are over the time since the sample before; the first sample has none.
    """

    def sample(self, mono_us: int) -> dict[str, float]:
        """Values by name, without the prefix `system/`: `cpu`, `memory_bytes`, `disk/read_bytes_per_s`, …."""
        ...

    def close(self) -> None:
        """Release what it holds; may be called twice."""
        ...
