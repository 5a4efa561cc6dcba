"""The entries of a column beside those that are missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Entries = tuple[NDArray[Any], NDArray[np.bool_] | None]
"""1-d numbers, and which rows have one; None where all have."""


def as_numbers(values: list[Any], *, integers: bool) -> NDArray[Any]:
    """Python numbers as int64 or uint64 where all are integers that fit and were expected, else as float64."""
    if integers and all(isinstance(value, int) for value in values):
        low, high = min(values, default=0), max(values, default=0)
        if low >= -(1 << 63) and high < 1 << 63:
            return np.array(values, dtype=np.int64)
        if low >= 0 and high < 1 << 64:
            return np.array(values, dtype=np.uint64)
    return np.array(values, dtype=np.float64)
