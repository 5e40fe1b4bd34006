"""Cells of a table in three bytes each: numbers of five digits have 17 bits of them, a sign and a power of ten, and need no more.

As text each digit takes a byte, of which a compressor finds again no more than half. For clients that take `farwatch.wire.columns`:
`meta` is the answer that JSON would be, and `low`, `middle`, `high` (u1) have a byte of each cell, run after run in the order of `columns`.

`low + 256·middle + 65536·(high & 1)`, negative with `high & 2`, times ten to the power of `(high >> 2) - 22`. Where `high >> 2` is 63, the
cell is no such number, and the next one that stands in the `cells` of its run: a text, null, a number with more digits.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from farwatch.service.packed import Table

POWER_MAX = 22  # the largest power of ten that a double holds exactly, so that one operation gives the nearest double
ELSEWHERE = 63
DIGITS_MAX = 1 << 17
EXACT_INT = 2**53
_POWERS = np.array([10.0**power for power in range(POWER_MAX + 1)])


def packed(found: Mapping[str, Any]) -> Table:
    """An answer of `RunTable.query` with its numbers as bytes; a cell that comes back otherwise stays as it is."""
    rows, width = found["runs"], len(found["columns"])
    values = np.full((len(rows), width), math.nan)
    for place, row in enumerate(rows):
        values[place] = [cell if _may_fit(cell) else math.nan for cell in row["cells"]]
    size = np.abs(values)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        power = np.where(size > 0, np.floor(np.log10(size)) - 4, 0.0)
        fits = np.abs(power) <= POWER_MAX  # false for NaN
        power = np.where(fits, power, 0).astype(np.int64)
        scale = _POWERS[np.abs(power)]
        digits = np.rint(np.where(power < 0, size * scale, size / scale))
        fits &= (digits < DIGITS_MAX) & (np.where(power < 0, digits / scale, digits * scale) == size)
    number = np.where(fits, digits, 0).astype(np.uint32)
    high = np.where(fits, (power + POWER_MAX) << 2 | np.signbit(values) << 1 | number >> 16, ELSEWHERE << 2)
    others = (~fits).tolist()
    told = [
        {**row, "cells": [cell for cell, other in zip(row["cells"], marks, strict=True) if other]}
        for row, marks in zip(rows, others, strict=True)
    ]
    arrays = {"low": number & 255, "middle": number >> 8 & 255, "high": high}
    return Table({**found, "runs": told}, {name: ("u1", array.ravel()) for name, array in arrays.items()})


def _may_fit(cell: Any) -> bool:
    return type(cell) is float or (type(cell) is int and -EXACT_INT <= cell <= EXACT_INT)
