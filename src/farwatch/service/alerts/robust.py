"""Statistics that a few wild values do not move.

Median and median absolute deviation (MAD): Hampel, "The influence curve and its role in robust estimation", JASA 69 (1974). The factor
1.4826 makes the MAD of Gaussian noise its standard deviation. Noise beside a trend is estimated from first differences, as by Rice,
"Bandwidth choice for nonparametric regression", Annals of Statistics 12 (1984), with the MAD in place of the sum of squares.
"""

import math
import operator
from collections.abc import Sequence

GAUSS = 1.4826
MEDIAN_LOSS = 1.2533  # the median of n Gaussian values has 1.2533 / sqrt(n) of their standard deviation


def median(values: Sequence[float]) -> float:
    """The middle value; NaN of none."""
    count = len(values)
    if not count:
        return math.nan
    ordered = sorted(values)
    half = count // 2
    return ordered[half] if count % 2 else (ordered[half - 1] + ordered[half]) / 2


def spread(values: Sequence[float], middle: float | None = None) -> float:
    """The standard deviation, by the MAD; 0 of fewer than two. `middle`: their median, where it is known."""
    if len(values) < 2:
        return 0.0
    middle = median(values) if middle is None else middle
    return GAUSS * median([abs(value - middle) for value in values])


def noise(values: Sequence[float]) -> float:
    """The standard deviation around a trend, by the MAD of first differences; 0 of fewer than three."""
    if len(values) < 3:
        return 0.0
    steps = map(operator.sub, values[1:], values)
    return GAUSS * median([*map(abs, steps)]) / math.sqrt(2)
