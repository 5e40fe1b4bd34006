"""Which steering a run gets: its own, or that of one rank among many."""

from typing import Any

from farwatch.sdk.steering import Steering
from farwatch.sdk.writer import Place, Writer


def steering_of(run: Any, writer: Writer, place: Place) -> Steering:
    """The steering of a run in this process."""
    told = writer.sidecar
    kept = place.kept_file(told) if writer.inbox is not None else None
    if told["world_size"] > 1 and writer.root is not None:
        from farwatch.sdk.ranks import RankedSteering  # for programs that have many

        return RankedSteering(
            run, writer.inbox, kept=kept, pause_max_s=place.pause_max_s, rank=told["rank"], world_size=told["world_size"],
            nth=told["nth"], wait_s=place.ranks_wait_s,
        )  # fmt: skip
    return Steering(run, writer.inbox, kept=kept, pause_max_s=place.pause_max_s, alone=place.alone)
