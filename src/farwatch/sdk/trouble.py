"""What a run could not keep: said once per cause, and counted."""

from collections.abc import Callable

# Causes hold names of metrics, files and types, so a program can make new ones for ever: more would flood its terminal.
CAUSES_MAX = 200


class Trouble:
    """Warnings of one run. `left_out`: how many values and calls were not kept because of what they were.

    *Threads*: any; one cause met by two at the same moment may be said twice.
    """

    __slots__ = ("_causes", "_say", "left_out")

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._causes: set[str] = set()
        self.left_out = 0

    def warn(self, cause: str, text: str) -> None:
        """Say `text` unless this cause has been said; the last of 200 causes says that no more are."""
        if cause in self._causes or len(self._causes) >= CAUSES_MAX:
            return
        self._causes.add(cause)
        self._say(text)
        if len(self._causes) == CAUSES_MAX:
            self._say(f"that was warning {CAUSES_MAX}: further ones are counted on the run's page, and not said")

    def leave_out(self, cause: str, text: str) -> None:
        """Count a value, or a call, of which nothing is kept, and warn of it."""
        self.left_out += 1
        self.warn(cause, text)
