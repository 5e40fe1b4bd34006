"""Which steering a run gets: its own, that of one rank among many, or that of one rank whose others are not there."""

import sys

from farwatch.sdk.hand import Hand
from farwatch.sdk.steering import Steering
from farwatch.sdk.writer import Place, Writer
from farwatch.wire.commands import Order


class Single(Steering):
    """Of a process that knows of no others; `torch.distributed` may know better by the time that somebody asks for something."""

    def _why_off(self, order: Order) -> str | None:
        if self.off is None and "torch.distributed" in sys.modules and order.channel != "signal":
            from farwatch.sdk.board import why_not_alone  # for programs that may have ranks

            self.off = why_not_alone()
            if self.off is not None:
                self._run.declare({"off": self.off})
        return self.off


def steering_of(run: Hand, writer: Writer, place: Place) -> Steering:
    """The steering of a run in this process."""
    told = writer.sidecar
    kept = place.kept_file(told) if writer.inbox is not None else None
    if told["world_size"] > 1 and writer.root is not None:
        from farwatch.sdk.ranks import RankedSteering  # for programs that have many

        return RankedSteering(
            run, writer.inbox, kept=kept, pause_max_s=place.pause_max_s, rank=told["rank"], world_size=told["world_size"],
            nth=told["nth"], wait_s=place.ranks_wait_s,
        )  # fmt: skip
    kind = Steering if place.alone else Single
    return kind(run, writer.inbox, kept=kept, pause_max_s=place.pause_max_s)
