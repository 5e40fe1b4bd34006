"""How long to wait before trying again: the one place that decides it."""

from dataclasses import dataclass, field
from random import Random

from farwatch.errors import FarwatchError

FIRST_S = 0.25
CONTACT_MAX_S = 5.0  # a server that comes back is noticed within this
TROUBLE_MAX_S = 30.0
DENIED_S = 10.0
REFUSED_S = 600.0


@dataclass(slots=True)
class Backoff:
    """Doubling waits with jitter, so that a hundred agents do not return at once; a server's own wish comes first."""

    until_us: int = 0
    failures: int = 0
    random: Random = field(default_factory=Random, repr=False)

    def ready(self, now_us: int) -> bool:
        """Whether it may be tried again."""
        return now_us >= self.until_us

    def succeeded(self) -> None:
        """Start from the shortest wait next time."""
        self.failures = 0

    def failed(
        self, now_us: int, error: FarwatchError | None = None, *, at_most_s: float = CONTACT_MAX_S
    ) -> float:
        """Note a failure; returns the wait in seconds."""
        self.failures += 1
        wait_s: float = min(at_most_s, FIRST_S * 2 ** min(self.failures - 1, 20))
        wait_s *= 0.5 + 0.5 * self.random.random()
        told = error.details.get("retry_after_s") if error is not None else None
        if isinstance(told, int | float):
            wait_s = max(wait_s, float(told) * (1 + 0.1 * self.random.random()))
        self.until_us = now_us + int(wait_s * 1e6)
        return wait_s
