"""A curve in one line of text, for where no picture can go."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEVELS = "▁▂▃▅▇"
GAP = "·"


def sparkline(values: Sequence[float] | NDArray[np.float64], width: int = 20) -> str:
    """At most `width` letters for values in their order: `▇▅▃▂▁▁`.

    A letter stands for its share of the values, by the one that is farthest from the middle of all, so no spike is lost; one that
    holds a NaN or an infinity is `·`. Values that do not differ are `▃`; none are nothing.
    """
    given = np.asarray(values, dtype=np.float64)
    good = given[np.isfinite(given)]
    parts = np.array_split(given, min(max(1, width), len(given))) if len(given) else []
    if not len(good):
        return GAP * len(parts)
    low, high = float(good.min()) / 2, float(good.max()) / 2  # their difference may be too large for a double
    middle = float(np.median(good / 2))
    letters = []
    for part in parts:
        if not np.isfinite(part).all():
            letters.append(GAP)
            continue
        halves = part / 2
        value = float(halves[np.argmax(np.abs(halves - middle))])
        share = (value - low) / (high - low) if high > low else 0.5
        letters.append(LEVELS[min(len(LEVELS) - 1, int(share * len(LEVELS)))])
    return "".join(letters)
