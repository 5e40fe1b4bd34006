"""An answer of many numbers, before it is bytes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farwatch.wire import columns

DTYPES = {"f8": "<f8", "f4": "<f4", "i8": "<i8", "i4": "<i4", "u4": "<u4", "u1": "u1"}


@dataclass(frozen=True, slots=True)
class Table:
    """`meta`, and arrays by name with the dtype that they have on the wire."""

    meta: dict[str, Any]
    arrays: dict[str, tuple[str, NDArray[Any]]]

    def encode(self) -> bytes:
        """The binary form, see `farwatch.wire.columns`."""
        packed = [
            (name, dtype, np.ascontiguousarray(array, DTYPES[dtype]).tobytes())
            for name, (dtype, array) in self.arrays.items()
        ]
        return columns.encode(self.meta, packed)

    def plain(self) -> dict[str, Any]:
        """The same as JSON holds it, with non-finite numbers left for the encoder to spell."""
        return {
            "meta": self.meta,
            "arrays": {name: array.tolist() for name, (_, array) in self.arrays.items()},
        }
