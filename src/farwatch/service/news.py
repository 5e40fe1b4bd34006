"""Parts of a live answer: points, lines and names of ticks, as JSON."""

import json
from dataclasses import dataclass, field
from typing import Any

from farwatch.service.ticks import Tick
from farwatch.store.meta.rows import spell_nonfinite

POINTS_MAX = 256
LINES_MAX = 1_000


@dataclass(slots=True)
class Changes:
    """Parts of an answer, encoded."""

    rows: list[bytes] = field(default_factory=list)
    points: list[bytes] = field(default_factory=list)
    console: list[bytes] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    new_metrics: dict[str, list[str]] = field(default_factory=dict)
    media: dict[str, list[str]] = field(default_factory=dict)
    alerts: list[bytes] = field(default_factory=list)

    @property
    def any(self) -> bool:
        return bool(
            self.rows or self.points or self.console or self.removed or self.new_metrics or self.media or self.alerts
        )

    def note_names(self, run_id: str, ticks: list[Tick]) -> None:
        """Add names that a run has not logged before, and names of media that it has logged now."""
        names = [name for tick in ticks for name in tick.new_names][:1_000]
        media = sorted({name for tick in ticks for name in tick.media})
        if names:
            self.new_metrics[run_id] = names
        if media:
            self.media[run_id] = media


def encoded(value: Any) -> bytes:
    """ASCII JSON: whatever stands in a text, lone surrogates included, cannot break it."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        return json.dumps(spell_nonfinite(value), separators=(",", ":"), allow_nan=False).encode()


def points_of(ticks: list[Tick], names: frozenset[str], lost: bool) -> list[bytes]:
    """The newest points of some series in ticks of one run, encoded; `lost`: older ticks have left the ring."""
    answers = []
    by_writer: dict[tuple[int, int], list[Tick]] = {}
    for tick in ticks:
        by_writer.setdefault((tick.writer.rank, tick.writer.attempt), []).append(tick)
    for (rank, attempt), own in by_writer.items():
        for name in sorted(name for name in names if any(name in tick.places for tick in own)):
            parts: list[tuple[bytes, bytes, bytes]] = []
            taken, more = 0, lost
            for tick in reversed(own):
                count = tick.count(name)
                if not count:
                    continue
                if taken + count > POINTS_MAX:
                    more = True
                    if taken < POINTS_MAX:
                        parts.append(tick.encoded(name, POINTS_MAX - taken))
                    break
                parts.append(tick.encoded(name))
                taken += count
            if parts:
                parts.reverse()
                head = encoded(
                    {"run": own[0].writer.run, "name": name, "rank": rank, "attempt": attempt, "more": more}
                )
                steps, times, values = (b",".join(column) for column in zip(*parts, strict=True))
                answers.append(
                    head[:-1]
                    + b',"steps":['
                    + steps
                    + b'],"times_ms":['
                    + times
                    + b'],"values":['
                    + values
                    + b"]}"
                )
    return answers


def lines_of(ticks: list[Tick]) -> list[bytes]:
    """Console lines in ticks of one run, encoded, the newest of each rank."""
    by_rank: dict[int, list[bytes]] = {}
    for tick in ticks:
        if tick.lines:
            by_rank.setdefault(tick.writer.rank, []).extend(tick.lines)
    return [
        encoded({"run": ticks[0].writer.run, "rank": rank})[:-1]
        + b',"lines":['
        + b",".join(lines[-LINES_MAX:])
        + b"]}"
        for rank, lines in by_rank.items()
    ]
